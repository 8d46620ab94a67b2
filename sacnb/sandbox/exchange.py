"""One request and its answer, between the HTTP server and what it serves."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from sacnb.sandbox.encoding import gzip_bytes

__all__ = ["Answer", "Exchange", "Parcel", "Refusal", "deliver", "pack", "reset", "wants_gzip"]


@dataclass(eq=False)
class Refusal(Exception):
    """An answer with an error status.

    ``number`` is the number SAC puts in brackets at the end of its message. Only numbers seen on live tenants are
    used: 1305 (endpoint not valid), 1402 (key column not selected), 3401 (client not allowed), 3707 (entity set
    absent), 3905 (data audit is off). No raw error body of the Data Export Service was ever published: the envelope
    ``{"error": {"code": <correlation id>, "message": ...}}`` is what clients of live tenants parse, and the words of
    the messages are the sandbox's own.
    """

    status: int
    message: str
    number: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message if self.number is None else f"{self.message} [{self.number}]"

    def body(self, *, as_object: bool = False) -> bytes:
        """The JSON envelope; ``as_object`` gives ``message`` as ``{"lang", "value"}``, which some clients have met."""
        text = str(self)
        message: str | dict[str, str] = {"lang": "en", "value": text} if as_object else text
        return json.dumps({"error": {"code": str(uuid.uuid4()), "message": message}}, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What will be sent: ``body``, or ``zipped`` where the body is kept only in its compressed form."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json;charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    zipped: bytes | None = field(default=None, repr=False)

    def pack(self) -> Answer:
        """The same answer in its compressed form."""
        return self if self.zipped is not None else replace(self, body=b"", zipped=gzip_bytes(self.body))

    def unpack(self) -> Answer:
        """The same answer with its body as it is."""
        return self if self.zipped is None else replace(self, body=gzip.decompress(self.zipped), zipped=None)


@dataclass(slots=True)
class Exchange:
    """A request: ``path`` and ``query`` as they came, still encoded; ``origin`` as the client addressed us.

    ``take`` and ``strikes`` ask whether a misbehaviour strikes; those that did are in ``struck``.
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
        """The options of the misbehaviour if it strikes this request, else ``None``."""
        options = self.ask(name, self.kind)
        if options is not None:
            self.struck.append(name)
        return options

    def strikes(self, name: str) -> bool:
        """Whether the misbehaviour strikes this request."""
        return self.take(name) is not None


def reset(request: web.BaseRequest) -> None:
    """Reset the connection: the peer gets a RST, not a polite end."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    # A linger time of zero makes the kernel throw the connection away instead of closing it.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
    transport.abort()


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes over the wire, and how: ``breaks`` resets the connection half way, ``drip`` sends in slow chunks."""

    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str]
    breaks: bool
    drip: Mapping[str, Any] | None


def pack(exchange: Exchange, answer: Answer, now: Callable[[], datetime]) -> Parcel:
    """The answer ready to be sent: compressed if the client asked for that, spoiled if a misbehaviour strikes."""
    body, headers = _body(exchange, answer)
    headers["Content-Type"] = answer.content_type
    # Not documented for SAC; the router of SAP's cloud adds it.
    headers["X-Vcap-Request-Id"] = str(uuid.uuid4())
    skew = exchange.take("skewed_date")
    moment = now() + timedelta(seconds=skew["seconds"] if skew else 0)
    headers["Date"] = format_datetime(moment.replace(microsecond=0), usegmt=True)
    breaks = bool(body) and exchange.strikes("reset_mid_body")
    return Parcel(answer.status, body, headers, breaks, exchange.take("slow_bytes") if body else None)


async def deliver(request: web.BaseRequest, parcel: Parcel) -> web.StreamResponse:
    """Send the parcel."""
    body = parcel.body
    if not parcel.breaks and parcel.drip is None:
        return web.Response(status=parcel.status, body=body, headers=parcel.headers)
    response = web.StreamResponse(status=parcel.status, headers=parcel.headers)
    response.content_length = len(body)
    await response.prepare(request)
    if parcel.breaks:
        await response.write(body[: max(1, len(body) // 2)])
        reset(request)
        return response
    if parcel.drip is not None:
        step = max(1, -(-len(body) // int(parcel.drip["chunks"])))
        for low in range(0, len(body), step):
            await response.write(body[low : low + step])
            await asyncio.sleep(parcel.drip["pause_s"])
    await response.write_eof()
    return response


def _body(exchange: Exchange, answer: Answer) -> tuple[bytes, dict[str, str]]:
    """The bytes to send and the headers that belong to them."""
    headers = {**answer.headers, "Vary": "Accept-Encoding"}
    is_json = answer.status == 200 and answer.content_type.startswith("application/json")
    cut = exchange.take("truncated_json") if is_json else None
    if cut:
        whole = answer.unpack().body
        answer = Answer(answer.status, whole[: max(1, int(len(whole) * cut["keep"]))])
    if not wants_gzip(exchange.headers.get("Accept-Encoding", "")):
        return answer.unpack().body, headers
    body = answer.pack().zipped or b""
    headers["Content-Encoding"] = "gzip"
    cut = exchange.take("truncated_gzip")
    return body[: max(1, int(len(body) * cut["keep"]))] if cut else body, headers


def wants_gzip(accept_encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header takes gzip."""
    for item in accept_encoding.lower().split(","):
        coding, _, weight = item.strip().partition(";")
        if coding.strip() in {"gzip", "*"} and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return True
    return False
