"""Requests that can be sent any number of times, and answers read to their end."""

from __future__ import annotations

import json as _json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

import requests
from requests.structures import CaseInsensitiveDict

from sacnb._endpoints import CSRF_HEADER, CUSTOM_AUTH_HEADER, REQUEST_ID_HEADERS
from sacnb._http import is_web_page
from sacnb._redact import one_line, redact_text, redact_url
from sacnb._settings.variables import ANSWER, Bound
from sacnb.errors import BadAnswer, RetryOutcome

try:  # unpacks faster than zlib
    from isal import isal_zlib as _inflate
except ImportError:  # there is no wheel for this platform
    import zlib as _inflate  # type: ignore[no-redef]

# -- requests ---------------------------------------------------------------------------------------------------------

Expect = Literal["json", "xml", "csv", "any"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_IDEMPOTENT_METHODS: Final = SAFE_METHODS | {"PUT", "DELETE"}
# In a query these may stand as they are, and SAC's "$" must; a blank becomes %20, since SAC refuses "+" in places.
_QUERY_SAFE: Final = "$,:'()*@/"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that requests go to: its name in messages, the setting with its address, and headers for each request.

    ``hints`` are remedies by status (an int) or by kind of failure (``"login"``, ``"unauthorized"``, ``"certificate"``,
    ``"network"``, ``"doubt"``, ``"too_long"``, ``"deadline"``); without any, those for SAC are used.
    """

    name: str
    address_setting: str
    headers: Mapping[str, str]
    hints: Mapping[int | str, str] = field(default_factory=dict, repr=False)


SAC: Final = Service("SAC", "SAC_TENANT_URL", {CUSTOM_AUTH_HEADER: "true"})


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a service. ``url`` is absolute; ``is_idempotent`` says that carrying it out twice does no harm."""

    method: str
    url: str
    operation: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    is_idempotent: bool
    expect: Expect
    check: Check | None = None
    service: Service = SAC
    bound: Bound = ANSWER

    @property
    def shown_url(self) -> str:
        """The address without secrets."""
        return redact_url(self.url)

    @property
    def is_safe(self) -> bool:
        """True for a method that only reads."""
        return self.method in SAFE_METHODS

    @property
    def accepts_pages(self) -> bool:
        """True if a web page may be the answer; SAC's API has none, so one is a login page otherwise."""
        return "html" in self.headers.get("Accept", "")

    @property
    def wants_csrf(self) -> bool:
        """True if the answer may carry a CSRF token, and the cookies that belong to it."""
        return not self.is_safe or CSRF_HEADER in self.headers


def with_query(url: str, params: Mapping[str, str] | None) -> str:
    """Return *url* with *params* appended to its query."""
    if not params:
        return url
    query = "&".join(f"{quote(k, safe=_QUERY_SAFE)}={quote(v, safe=_QUERY_SAFE)}" for k, v in params.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


def encode_body(json: Any, data: bytes | str | Mapping[str, str] | None) -> tuple[bytes | None, str | None]:
    """Return the body as bytes, and its type where it is known: a JSON value, a form, text (as UTF-8) or bytes."""
    if json is not None:
        return _json.dumps(json, ensure_ascii=False, allow_nan=False).encode(), "application/json"
    if isinstance(data, Mapping):
        form = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in data.items())
        return form.encode("ascii"), "application/x-www-form-urlencoded"
    return data.encode() if isinstance(data, str) else data, None


def may_be_repeated(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request may be sent twice: by its method, or because it has an ``Idempotency-Key``."""
    return method in _IDEMPOTENT_METHODS or any(name.lower() == "idempotency-key" for name in headers)


# -- bodies -----------------------------------------------------------------------------------------------------------

# Exactly what is understood below. Both modules read it, and let other threads run meanwhile.
ACCEPT_ENCODING: Final = "gzip, deflate"

_CHUNK_BYTES: Final = 131_072
# A packet of a kilobyte may unpack to a megabyte. Larger steps could exceed the bound before it is checked.
_STEP_BYTES: Final = 4_194_304
_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"


class UndecodableBody(Exception):
    """The body is cut short, damaged, too long, or encoded in a way that was not asked for.

    ``may_retry`` is true where it may come whole the next time.
    """

    def __init__(self, reason: str, *, may_retry: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_retry = may_retry


class TooLong(UndecodableBody):
    """The body is longer than the bound."""

    def __init__(self) -> None:
        super().__init__("it is too long", may_retry=False)


class _Decoder(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what *data* unpacks to, in steps."""

    def close(self) -> None:
        """Raise UndecodableBody if the end is missing."""


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def close(self) -> None:
        """Do nothing: there is no end mark, and urllib3 compares the length with Content-Length."""


def _unpack(stream: Any, data: bytes) -> Iterator[bytes]:
    part = data
    while part and not stream.eof:
        part = stream.decompress(data, _STEP_BYTES)
        data = stream.unconsumed_tail  # what zlib has taken in may still unpack to more, also where this is empty
        yield part


class _Gzip:
    """Any number of gzip members, one after the other (RFC 1952 2.2), and padding or garbage after the last.

    As gzip itself does, whatever does not begin like a member is left out. zlib raises nothing when the stream just
    stops: ``eof`` of the last member must be looked at.
    """

    def __init__(self) -> None:
        self._member = _inflate.decompressobj(_GZIP)
        self._rest = b""
        self._is_over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._is_over:
            if self._member.eof:
                data = (self._rest + data).lstrip(b"\0")
                if len(data) < len(_GZIP_MAGIC):
                    self._rest = data
                    return
                self._rest, self._is_over = b"", not data.startswith(_GZIP_MAGIC)
                if self._is_over:
                    return
                self._member = _inflate.decompressobj(_GZIP)
            yield from _unpack(self._member, data)
            data = self._member.unused_data

    def close(self) -> None:
        if not self._member.eof:
            raise UndecodableBody("the gzip stream ends before its end mark")


class _Deflate:
    """HTTP's "deflate" is a zlib stream (RFC 9110 8.4.1.2), but some servers send the bare deflate data instead."""

    def __init__(self) -> None:
        self._stream = _inflate.decompressobj()
        self._head = b""
        self._is_decided = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._is_decided:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            self._is_decided = True
            # A zlib header is a multiple of 31 and names method 8.
            if data[0] & 0x0F != 8 or int.from_bytes(data[:2]) % 31:
                self._stream = _inflate.decompressobj(-zlib.MAX_WBITS)
        yield from _unpack(self._stream, data)

    def close(self) -> None:
        if not self._stream.eof:
            raise UndecodableBody("the deflate stream ends before its end mark")


def _decoder(encoding: str) -> _Decoder:
    names = [name for part in encoding.split(",") if (name := part.strip().lower()) not in {"", "identity"}]
    if not names:
        return _Identity()
    if names in (["gzip"], ["x-gzip"]):
        return _Gzip()
    if names == ["deflate"]:
        return _Deflate()
    raise UndecodableBody(f"it is encoded as {encoding.strip()[:40]!r}, which was not asked for", may_retry=False)


def read_body(
    raw: Any,
    encoding: str,
    *,
    between: Callable[[], None] = lambda: None,
    max_bytes: int | None = None,
    cut: bool = False,
) -> tuple[bytes, int]:
    """Return the decoded body of a urllib3 response, and the number of bytes that came for it.

    ``between`` is called after every packet, and may raise to stop. ``max_bytes`` bounds what came and what it unpacks
    to: beyond it TooLong is raised or, with ``cut``, the rest is left unread.
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
            for part in decoder.feed(data):
                parts.append(part)
                decoded += len(part)
                if max_bytes is not None and max(received, decoded) > max_bytes:
                    if cut:
                        return b"".join(parts)[:max_bytes], received
                    raise TooLong
        except (zlib.error, _inflate.error) as error:  # type: ignore[misc]  # isal's stub calls the class an instance
            raise UndecodableBody(f"it cannot be decompressed ({error})") from None
        between()
    if received:  # an announced encoding of nothing is nothing: HEAD, 204, and some servers' empty answers
        decoder.close()
    return b"".join(parts), received


def read_whole(response: requests.Response, max_bytes: int) -> None:
    """Read the body of *response* as requests does. Raises TooLong beyond *max_bytes*, and the errors of requests."""
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            response.close()
            raise TooLong
    response._content = b"".join(parts)  # where requests keeps what it has read itself


# -- answers ----------------------------------------------------------------------------------------------------------

# The session keeps what is in these to itself.
_KEPT_BACK: Final = frozenset({"set-cookie", CSRF_HEADER, "www-authenticate"})
_PEEK_BYTES: Final = 256
_BOM: Final = b"\xef\xbb\xbf"
_UUID: Final = re.compile(r"[0-9A-Fa-f-]{36}")
# How a whole body begins and, for each beginning, ends, past blanks.
_FRAMES: Final[Mapping[str, Mapping[bytes, bytes]]] = {"json": {b"{": b"}", b"[": b"]"}, "xml": {b"<": b">"}}


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A good answer: 2xx, its body complete and decoded.

    ``url`` is the address it came from, to resolve links against; ``headers`` ignore case and are without cookies and
    tokens; ``server_date`` is its ``Date`` header, aware and in UTC; ``outcome`` says what it took to get it.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(compare=False)
    body: bytes
    request_id: str | None
    outcome: RetryOutcome
    server_date: datetime | None

    @property
    def content_type(self) -> str | None:
        """The ``Content-Type`` header, as it is."""
        return self.headers.get("Content-Type")

    def __repr__(self) -> str:
        return f"<Answer {self.status} {redact_url(self.url)} {len(self.body):,} bytes>"


# Checks an answer while it can still be asked for again: BadAnswer(truncated=True) makes the session do that.
Check = Callable[[Answer], None]


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """A reply before it is judged; private to this package."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str | None
    server_date: datetime | None

    def answer(self, outcome: RetryOutcome) -> Answer:
        """Return the reply as an answer to give out."""
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _KEPT_BACK}
        headers: Mapping[str, str] = CaseInsensitiveDict(kept)
        return Answer(self.url, self.status, headers, self.body, self.request_id, outcome, self.server_date)

    @property
    def is_page(self) -> bool:
        """True for a web page."""
        return is_web_page(self.body, self.headers.get("Content-Type"))


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return SAC's id of a request, under any of the names seen (unconfirmed)."""
    found = next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), None)
    return found if found is None or _UUID.fullmatch(found) else one_line(redact_text(found), 200)


def check_shape(answer: Answer, expect: Expect) -> None:
    """Raise BadAnswer if the body cannot be what was expected, ``truncated`` where its end is missing.

    A look at its two ends, which costs nothing; whoever parses it checks the rest.
    """
    if expect not in _FRAMES or (answer.status in {202, 204, 205} and not answer.body):
        return
    ends = _FRAMES[expect]
    head = answer.body[:_PEEK_BYTES].removeprefix(_BOM).lstrip() or answer.body.removeprefix(_BOM).lstrip()
    where = f"The answer from {redact_url(answer.url)}"
    if not head:
        raise BadAnswer(f"{where} is empty; expected {expect.upper()}.", truncated=True)
    if head[:1] not in ends:
        raise BadAnswer(
            f"{where} is not {expect.upper()} (its type is {one_line(answer.content_type or 'not said', 100)}).",
            hint="Look at SAC_TENANT_URL: does it point at the tenant itself, and not at a portal or proxy?",
        )
    tail = answer.body[-_PEEK_BYTES:].rstrip() or answer.body.rstrip()
    if tail[-1:] != ends[head[:1]]:
        raise BadAnswer(f"{where} is cut short ({len(answer.body):,} bytes arrived).", truncated=True)
