"""One request, its answer or refusal, the answers that misbehaviours give instead, and the way an answer is sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import struct
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from aiohttp import web

from sacnb.sandbox.encoding import gzip_bytes, gzip_with_blanks

__all__ = [
    "Answer",
    "Exchange",
    "Parcel",
    "Refusal",
    "deliver",
    "forced_answer",
    "pack",
    "reset",
    "retry_after",
    "wants_gzip",
]

_INTERIM: Final = {102: b"Processing", 103: b"Early Hints"}
_TAIL_BYTES: Final = 16
_HTML: Final = "text/html;charset=utf-8"
_LOGIN: Final = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1>"
    b'<form method="post" action="/login"><input name="username"><input name="password" type="password">'
    b"</form></body></html>"
)
_GATEWAY: Final = {404: "Not Found", 502: "Bad Gateway", 504: "Gateway Timeout"}
_FORCED: Final = (
    "throttle_seconds", "throttle_date", "throttle_bare", "throttle_text", "error_404", "error_408", "error_425",
    "error_500", "error_502", "error_503", "error_504", "html_login", "redirect",
)  # fmt: skip


@dataclass(eq=False)
class Refusal(Exception):
    """An answer with an error status.

    ``number`` is the number that SAC puts in brackets at the end of its message. Only numbers seen on live tenants are
    used: 1305 (endpoint not valid), 1402 (key column not selected), 3401 (client not allowed), 3707 (entity set
    absent), 3905 (data audit is off). No raw error body of the Data Export Service is published: clients of live
    tenants parse the envelope ``{"error": {"code": <correlation id>, "message": ...}}``. The words are the sandbox's.
    """

    status: int
    message: str
    number: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message if self.number is None else f"{self.message} [{self.number}]"

    def body(self, *, as_object: bool = False) -> bytes:
        """Return the JSON envelope; ``as_object`` writes ``message`` as ``{"lang", "value"}``, as clients report."""
        text = str(self)
        message: str | dict[str, str] = {"lang": "en", "value": text} if as_object else text
        return json.dumps({"error": {"code": str(uuid.uuid4()), "message": message}}, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to send: ``body``, or ``zipped`` where only the compressed body is kept."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json;charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    zipped: bytes | None = field(default=None, repr=False)

    def pack(self) -> Answer:
        """Return the same answer, compressed."""
        return self if self.zipped is not None else replace(self, body=b"", zipped=gzip_bytes(self.body))

    def unpack(self) -> Answer:
        """Return the same answer, not compressed."""
        return self if self.zipped is None else replace(self, body=gzip.decompress(self.zipped), zipped=None)


@dataclass(slots=True)
class Exchange:
    """A request: ``path`` and ``query`` still encoded, ``origin`` as the client addressed the server.

    ``struck`` lists the misbehaviours that struck it.
    """

    kind: str
    method: str
    path: str
    query: str
    origin: str
    headers: Mapping[str, str] = field(repr=False)
    ask: Callable[[str, str], Mapping[str, Any] | None] = field(repr=False)
    struck: list[str] = field(default_factory=list)

    def take(self, name: str) -> Mapping[str, Any] | None:
        """Return the options of the misbehaviour if it strikes this request, else ``None``."""
        options = self.ask(name, self.kind)
        if options is not None:
            self.struck.append(name)
        return options

    def strikes(self, name: str) -> bool:
        """Return whether the misbehaviour strikes this request."""
        return self.take(name) is not None


def retry_after(wait_s: float | None) -> dict[str, str]:
    """Return a ``Retry-After`` header in seconds, or no header."""
    return {} if wait_s is None else {"Retry-After": str(wait_s)}


def forced_answer(exchange: Exchange, now: Callable[[], datetime]) -> Answer | None:
    """Return the answer of the first of these misbehaviours that strikes, or ``None``.

    Raises:
        Refusal: the answer is an error in SAC's envelope.
    """
    for name in _FORCED:
        options = exchange.take(name)
        if options is not None:
            return _force(exchange, name, options, now)
    return None


def _force(exchange: Exchange, name: str, options: Mapping[str, Any], now: Callable[[], datetime]) -> Answer:
    match name:
        case "throttle_seconds":
            raise Refusal(429, "Too many requests", headers=retry_after(options["retry_after_s"]))
        case "throttle_date":
            # HTTP dates have whole seconds; round up, so that the wait is never shorter than asked for.
            until = now() + timedelta(seconds=options["retry_after_s"] or 0, microseconds=999_999)
            date = format_datetime(until.replace(microsecond=0), usegmt=True)
            raise Refusal(429, "Too many requests", headers={"Retry-After": date})
        case "throttle_bare":
            raise Refusal(429, "Too many requests")
        case "throttle_text":
            raise Refusal(429, "Too many requests", headers={"Retry-After": options["text"] or ""})
        case "error_408":
            raise Refusal(408, "Request Timeout")
        case "error_425":
            raise Refusal(425, "Too Early")
        case "error_500":
            raise Refusal(500, "Internal Server Error")
        case "error_503":
            raise Refusal(503, "Service Unavailable", headers=retry_after(options["retry_after_s"]))
        case "html_login":
            return Answer(200, _LOGIN, _HTML)
        case "redirect":
            target = f"{exchange.origin}{exchange.path}" + (f"?{exchange.query}" if exchange.query else "")
            headers = {"Location": options["location"].replace("{url}", target)}
            return Answer(options["redirect_status"], b" " * (options["body_kib"] << 10), _HTML, headers)
        case _:
            return _gateway(int(name.removeprefix("error_")))


def _gateway(status: int) -> Answer:
    title = _GATEWAY[status]
    body = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, body.encode(), _HTML)


def reset(request: web.BaseRequest) -> None:
    """Reset the connection with a RST, instead of closing it."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    # With a linger time of zero the kernel resets the connection instead of closing it.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
    transport.abort()


@dataclass(frozen=True, slots=True)
class Parcel:
    """The bytes to send, and the options of the misbehaviours that disturb their way."""

    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str]
    interim: Mapping[str, Any] | None = None
    slow_headers: Mapping[str, Any] | None = None
    two_lengths: bool = False
    off_by_bytes: int = 0
    breaks: bool = False
    drip: Mapping[str, Any] | None = None


def pack(exchange: Exchange, answer: Answer, now: Callable[[], datetime]) -> Parcel:
    """Return the answer ready to send: compressed if the client accepts that, damaged if a misbehaviour strikes."""
    body, headers = _body(exchange, answer)
    if answer.status != 204:
        headers["Content-Type"] = answer.content_type
    # Not documented for SAC; the router of SAP's cloud adds this header.
    headers["X-Vcap-Request-Id"] = str(uuid.uuid4())
    skew = exchange.take("skewed_date")
    wrong = exchange.take("wrong_length") if body else None
    headers["Date"] = format_datetime(_moved(now(), skew["seconds"] if skew else 0), usegmt=True)
    return Parcel(
        answer.status,
        body,
        headers,
        interim=exchange.take("interim_answers"),
        slow_headers=exchange.take("slow_headers"),
        two_lengths=exchange.strikes("two_lengths"),
        off_by_bytes=wrong["off_by_bytes"] if wrong else 0,
        breaks=bool(body) and exchange.strikes("reset_mid_body"),
        drip=exchange.take("slow_bytes") if body else None,
    )


def _moved(moment: datetime, seconds: float) -> datetime:
    """Return another moment, in whole seconds, within the years that a date can have."""
    try:
        return (moment + timedelta(seconds=seconds)).replace(microsecond=0)
    except OverflowError:
        return datetime(9999 if seconds > 0 else 1, 12, 31, tzinfo=moment.tzinfo)


async def deliver(request: web.BaseRequest, parcel: Parcel) -> web.StreamResponse:
    """Send the parcel."""
    if parcel.interim is not None:
        await _send_interim(request, parcel.interim)
    if parcel.slow_headers is not None or parcel.two_lengths or parcel.off_by_bytes:
        return await _send_raw(request, parcel)
    body = parcel.body
    if not parcel.breaks and parcel.drip is None:
        return web.Response(status=parcel.status, body=body, headers=parcel.headers)
    response = web.StreamResponse(status=parcel.status, headers=parcel.headers)
    response.content_length = len(body)
    with suppress(ConnectionResetError):  # the client has gone, which is no failure of the sandbox
        await response.prepare(request)
        if parcel.breaks:
            await response.write(body[: max(1, len(body) // 2)])
            reset(request)
            return response
        if parcel.drip is not None:
            for chunk in _chunks(body, parcel.drip):
                await response.write(chunk)
                await asyncio.sleep(parcel.drip["pause_s"])
        await response.write_eof()
    return response


async def _send_interim(request: web.BaseRequest, options: Mapping[str, Any]) -> None:
    status = int(options["interim_status"])
    head = b"HTTP/1.1 %d %s\r\nLink: </style.css>; rel=preload\r\n\r\n" % (status, _INTERIM[status])
    for _ in range(int(options["chunks"])):
        if request.transport is None or request.transport.is_closing():
            return
        request.transport.write(head)
        await asyncio.sleep(options["pause_s"])


async def _send_raw(request: web.BaseRequest, parcel: Parcel) -> web.StreamResponse:
    """Send status line, headers and body as they are, and close the connection."""
    length = max(len(parcel.body) + parcel.off_by_bytes, 0)
    headers = [*parcel.headers.items(), ("Content-Length", str(length))]
    if not parcel.off_by_bytes:  # a client that believes the length finds the rest before the next answer
        headers.append(("Connection", "close"))
    if parcel.two_lengths:
        headers.append(("Content-Length", str(len(parcel.body) + 1)))
    lines = [f"HTTP/1.1 {parcel.status} Sandbox", *(f"{name}: {value}" for name, value in headers), "", ""]
    head = "\r\n".join(lines).encode("latin-1")
    pauses = parcel.slow_headers or {"chunks": 1, "pause_s": 0}
    for chunk in [*_chunks(head, pauses), parcel.body]:
        if request.transport is None or request.transport.is_closing():
            break
        request.transport.write(chunk)
        await asyncio.sleep(pauses["pause_s"])
    if request.transport is not None:
        request.transport.close()
    return web.Response()  # never sent: the connection is closed


def _chunks(data: bytes, options: Mapping[str, Any]) -> list[bytes]:
    step = max(1, -(-len(data) // int(options["chunks"])))
    return [data[low : low + step] for low in range(0, len(data), step)]


def _body(exchange: Exchange, answer: Answer) -> tuple[bytes, dict[str, str]]:
    """Return the bytes to send, and the headers that describe them."""
    headers = {**answer.headers, "Vary": "Accept-Encoding"}
    if answer.status == 204:
        return b"", headers
    is_json = 200 <= answer.status < 300 and answer.content_type.startswith("application/json")
    cut = exchange.take("truncated_json") if is_json else None
    if cut:
        whole = answer.unpack().body
        answer = Answer(answer.status, whole[: max(1, int(len(whole) * cut["keep"]))])
    if not wants_gzip(exchange.headers.get("Accept-Encoding", "")):
        return answer.unpack().body, headers
    bomb = exchange.take("gzip_bomb") if is_json else None
    body = gzip_with_blanks(answer.unpack().body, bomb["mib"]) if bomb else answer.pack().zipped or b""
    headers["Content-Encoding"] = "gzip"
    cut = exchange.take("truncated_gzip")
    if cut:
        return body[: max(1, int(len(body) * cut["keep"]))], headers
    return (body + bytes(_TAIL_BYTES) if exchange.strikes("gzip_tail") else body), headers


def wants_gzip(accept_encoding: str) -> bool:
    """Return whether an ``Accept-Encoding`` header accepts gzip."""
    for item in accept_encoding.lower().split(","):
        coding, _, weight = item.strip().partition(";")
        if coding.strip() in {"gzip", "*"} and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return True
    return False
