"""Sending an answer, whole or spoiled on its way."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from sacnb.sandbox.exchange import Answer, Exchange

__all__ = ["Parcel", "deliver", "pack", "reset", "wants_gzip"]


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
