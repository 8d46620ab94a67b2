"""Read a body to its very end, or say that it did not come whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

# What to ask for: exactly what is understood below. The zlib module reads both, and lets other threads run meanwhile.
ACCEPT_ENCODING: Final = "gzip, deflate"

_CHUNK_BYTES: Final = 131_072
_GZIP: Final = 16 + zlib.MAX_WBITS


class UndecodableBody(Exception):
    """The body is cut short, damaged, or encoded in a way that was not asked for; ``is_foreign`` is the last."""

    def __init__(self, reason: str, *, is_foreign: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_foreign = is_foreign


class _Decoder(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> None:
        """Raise UndecodableBody if the end is missing."""


class _Identity:
    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        """A body as it is has no end mark; urllib3 compares its length with Content-Length."""


class _Gzip:
    """Any number of gzip members, one after the other (RFC 1952 2.2), with zero padding at the end.

    zlib raises nothing when the stream just stops: ``eof`` of the last member must be looked at.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> bytes:
        parts = []
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                self._member = zlib.decompressobj(_GZIP)
            parts.append(self._member.decompress(data))
            data = self._member.unused_data
        return b"".join(parts)

    def close(self) -> None:
        if not self._member.eof:
            raise UndecodableBody("the gzip stream ends before its end mark")


class _Deflate:
    """HTTP's "deflate" is a zlib stream (RFC 9110 8.4.1.2), but some servers send the bare deflate data instead."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()
        self._head = b""
        self._is_decided = False

    def feed(self, data: bytes) -> bytes:
        if self._is_decided:
            return self._stream.decompress(data)
        self._head += data
        if len(self._head) < 2:
            return b""
        self._is_decided = True
        # A zlib header is a multiple of 31 and names method 8.
        if self._head[0] & 0x0F != 8 or int.from_bytes(self._head[:2]) % 31:
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._stream.decompress(self._head)

    def close(self) -> None:
        if not self._stream.eof:
            raise UndecodableBody("the deflate stream ends before its end mark")


def _decoder(encoding: str) -> _Decoder:
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return _Identity()
    if name in {"gzip", "x-gzip"}:
        return _Gzip()
    if name == "deflate":
        return _Deflate()
    raise UndecodableBody(f"it is encoded as {name[:40]!r}, which was not asked for", is_foreign=True)


def read_body(
    raw: Any, encoding: str, *, between: Callable[[], None] = lambda: None, max_bytes: int | None = None
) -> tuple[bytes, int]:
    """The decoded body of a urllib3 response, and the number of bytes that came for it.

    ``between`` is called after every packet, and may raise to stop. With ``max_bytes`` the rest is left unread.
    Raises UndecodableBody, and urllib3's own errors where the connection breaks or the length is not as announced.
    """
    decoder = _decoder(encoding)
    parts: list[bytes] = []
    received = decoded = 0
    while True:
        # read1 returns with what has arrived; read would wait for a full chunk, and nobody could stop it meanwhile.
        data = raw.read1(_CHUNK_BYTES)
        if not data:
            break
        received += len(data)
        try:
            part = decoder.feed(data)
        except zlib.error as error:
            raise UndecodableBody(f"it cannot be decompressed ({error})") from None
        parts.append(part)
        decoded += len(part)
        if max_bytes is not None and decoded >= max_bytes:
            return b"".join(parts)[:max_bytes], received
        between()
    if received:  # an announced encoding of nothing is nothing: HEAD, 204, and some servers' empty answers
        decoder.close()
    return b"".join(parts), received
