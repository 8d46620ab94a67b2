"""Read what HTTP says: where an address leads to, what a header means, and why no answer came.

Nothing is sent from here; ``_connections`` does that.
"""

from __future__ import annotations

import hashlib
import http.client
import math
import re
import ssl
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from sacnb._redact import one_line, redact_text
from sacnb._settings.tenant_url import is_loopback

__all__ = [
    "Challenge",
    "HeaderLines",
    "Origin",
    "SeenLinks",
    "causes",
    "environment_proxies",
    "in_words",
    "is_certificate_error",
    "is_web_page",
    "read_challenge",
    "read_http_date",
    "read_retry_after_s",
    "seal",
    "surely_not_sent",
]

# -- addresses --------------------------------------------------------------------------------------------------------

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
# Parsers disagree about these: some read a backslash as a slash, others drop tabs and line ends.
_AMBIGUOUS: Final = re.compile(r"[\x00-\x1f\x7f]|^[^?#]*\\")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: the part of an address that decides who receives a request."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> Origin | None:
        """Return the origin of an absolute *url*; ``None`` where it has none, or names a user, which no tenant's does.

        Read with the parser with which requests picks the connection, so that the two cannot disagree.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not parts.scheme or not host or parts.username is not None or parts.password is not None:
            return None
        return cls(parts.scheme, host.lower(), port if port is not None else _DEFAULT_PORTS.get(parts.scheme))

    @property
    def may_carry_secrets(self) -> bool:
        """Return whether it is https, or plain http to this machine."""
        return self.scheme == "https" or (self.scheme == "http" and is_loopback(self.host))

    def resolve(self, base: str, location: str) -> str | None:
        """Return the address that a ``Location`` in an answer from *base* leads to; ``None`` if it leaves this origin.

        It is in the form in which requests connects to it. An address that parsers read differently, such as
        ``http:////host``, counts as leaving: ``urljoin`` keeps the host of *base*, and requests connects to the other.
        """
        location = location.strip()
        if _AMBIGUOUS.search(location):
            return None
        try:
            parts = urlsplit(location)
            if (parts.scheme or location.startswith("//")) and not parts.netloc:
                return None
            prepared = requests.PreparedRequest()
            prepared.prepare_url(urljoin(base, location), None)
        except (ValueError, requests.RequestException):
            return None
        url = prepared.url or ""
        return url if Origin.of(url) == self else None


def environment_proxies(url: str) -> dict[str, str]:
    """Return the proxies that requests would use for *url* by the environment and the system's settings.

    None for this machine itself, also where NO_PROXY forgets it: a proxy would look for it in the wrong place, and
    would be shown what may travel in plain http only because it never leaves the machine.
    """
    return {} if is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url)


# Digests of 16 bytes: 10 MB with all that holds them.
_MAX_SEEN: Final = 100_000


class SeenLinks:
    """The last links that were followed, as digests: a link has up to 32 KB, and a model thousands of pages."""

    def __init__(self) -> None:
        self._order: deque[bytes] = deque()
        self._known: set[bytes] = set()

    def add(self, url: str) -> None:
        """Remember *url*."""
        digest = self._digest(url)
        if digest in self._known:
            return
        if len(self._order) >= _MAX_SEEN:
            self._known.discard(self._order.popleft())
        self._order.append(digest)
        self._known.add(digest)

    def __contains__(self, url: object) -> bool:
        return self._digest(str(url)) in self._known

    @staticmethod
    def _digest(url: str) -> bytes:
        return hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=16).digest()


# -- headers and bodies -----------------------------------------------------------------------------------------------


_HEADER: Final = re.compile(rb"[!-9;-~]+:|[ \t]")
_MOST_DROPPED: Final = 100


class HeaderLines:
    """The head of an answer for http.client, less the lines that are no headers: it would stop reading headers there.

    ``dropped`` is their number: names that are not ASCII, and lines without a colon.
    """

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self.dropped = 0

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line, of at most *limit* bytes."""
        line = self._next(limit)
        while line.strip() and not line.startswith(b"HTTP/") and not _HEADER.match(line):
            if self.dropped == _MOST_DROPPED:
                raise http.client.HTTPException(f"more than {_MOST_DROPPED} lines in the place of headers")
            self.dropped += 1
            line = self._next(limit)
            while line.startswith((b" ", b"\t")):  # of the dropped line
                line = self._next(limit)
        return line

    def _next(self, limit: int) -> bytes:
        return re.sub(rb"^([!-9;-~]+)[ \t]+:", rb"\1:", self._lines.readline(limit))


def read_http_date(text: str | None) -> datetime | None:
    """Return an HTTP date as an aware UTC datetime, or ``None`` where there is none that can be read."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # "-0000" leaves a date naive; HTTP dates are GMT whatever they say.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# HTTP counts whole seconds. Less is no wait: the usual, growing pauses are longer.
_LEAST_WAIT_S: Final = 1.0


def read_retry_after_s(text: str | None, *, server_date: datetime | None, now: datetime) -> float | None:
    """Return ``Retry-After`` in seconds, or ``None`` where it names no wait: below a second, in the past, or nonsense.

    A date is measured against ``server_date``, the ``Date`` of the same reply, because this machine's clock may be
    wrong; only without one against ``now``.
    """
    if text is None:
        return None
    try:
        seconds = float(text.strip())
    except ValueError:
        moment = read_http_date(text.strip())
        seconds = (moment - (server_date or now)).total_seconds() if moment is not None else 0.0
    return seconds if math.isfinite(seconds) and seconds >= _LEAST_WAIT_S else None


_CHALLENGE: Final = re.compile(r"(?:^|,)\s*bearer(?:\s+|$)", re.IGNORECASE)
# A name is tried from its beginning alone, or a long word would take time by the square of its length.
_CHALLENGE_PARAMETER: Final = re.compile(r'(?<![\w-])([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """A refusal of a bearer token, as ``WWW-Authenticate`` explains it (RFC 6750, section 3)."""

    error: str = ""
    description: str = ""
    scope: str = ""

    def __str__(self) -> str:
        said = ": ".join(filter(None, (self.error, self.description)))
        return f"{said} (scope {self.scope})" if self.scope else said


def read_challenge(headers: Mapping[str, str]) -> Challenge:
    """Return what the bearer challenge in *headers* says, without secrets; an empty one where there is none."""
    text = headers.get("WWW-Authenticate", "")
    found = _CHALLENGE.search(text)
    if found is None:
        return Challenge()
    parameters = {
        name.lower(): one_line(redact_text(re.sub(r"\\(.)", r"\1", quoted) or plain), 200)
        for name, quoted, plain in _CHALLENGE_PARAMETER.findall(text[found.end() :])
    }
    return Challenge(*(parameters.get(name, "") for name in ("error", "error_description", "scope")))


_BOM: Final = b"\xef\xbb\xbf"
_PAGE_HEAD_BYTES: Final = 1024


def is_web_page(body: bytes, content_type: str | None = None) -> bool:
    """Return whether an answer is a web page, by its type or by its first bytes; usually it is a login page."""
    if content_type is not None and "html" in content_type.lower():
        return True
    head = body[:_PAGE_HEAD_BYTES].removeprefix(_BOM).lstrip().lower()
    return head.startswith(b"<") and (b"<html" in head or b"<!doctype html" in head)


# -- failures ---------------------------------------------------------------------------------------------------------

_MAX_DEPTH: Final = 10
_MAX_DETAIL_CHARS: Final = 200

# The first line that fits any of the causes decides. Words of ours instead of the libraries' text, which quotes the
# addresses of proxies with their passwords.
_WORDS: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (urllib3.exceptions.ProxyError, "proxy", "the proxy refused or cannot be reached"),
    (requests.exceptions.InvalidProxyURL, "proxy", "the address of the proxy cannot be read"),
    (urllib3.exceptions.NameResolutionError, "unknown_host", "the host name is not known"),
    (ConnectionRefusedError, "no_connection", "the connection was refused"),
    (urllib3.exceptions.NewConnectionError, "no_connection", "no connection could be made"),
    (urllib3.exceptions.ConnectTimeoutError, "connect_timeout", "no connection in time"),
    (requests.ConnectTimeout, "connect_timeout", "no connection in time"),
    (urllib3.exceptions.TimeoutError, "read_timeout", "no bytes in time"),
    (requests.Timeout, "read_timeout", "no bytes in time"),
    (urllib3.exceptions.SSLError, "tls", "the TLS connection failed"),
    (requests.exceptions.SSLError, "tls", "the TLS connection failed"),
    (http.client.IncompleteRead, "truncated", "the answer was cut short"),
    # Headers of a response; for those of a request, requests raises an InvalidHeader of its own.
    (urllib3.exceptions.InvalidHeader, "bad_header", "its headers contradict each other"),
    (requests.TooManyRedirects, "redirects", "it redirects in a circle"),
    (urllib3.exceptions.ProtocolError, "connection_reset", "the connection broke"),
    (requests.ConnectionError, "connection_reset", "the connection broke"),
)
_SAY_ENOUGH: Final = frozenset({"unknown_host", "connect_timeout", "read_timeout", "truncated", "redirects"})


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what it wraps, inwards: its ``reason``, an exception among its arguments, or its cause."""
    current: BaseException | None = error
    for _ in range(_MAX_DEPTH):
        if current is None:
            return
        yield current
        reason = getattr(current, "reason", None)
        if isinstance(reason, BaseException):
            current = reason
        else:
            wrapped = (argument for argument in current.args if isinstance(argument, BaseException))
            current = next(wrapped, None) or current.__cause__


def in_words(error: BaseException) -> tuple[str, str]:
    """Return a short kind of *error* for logs and counters, and the same in words, those of the innermost cause too."""
    found = list(causes(error))
    for error_class, kind, words in _WORDS:
        if any(isinstance(cause, error_class) for cause in found):
            detail = "" if kind in _SAY_ENOUGH else _detail(found[-1])
            return kind, f"{words} ({detail})" if detail and detail.lower() not in words else words
    kind = type(error).__name__
    detail = _detail(found[-1])
    return kind, f"{kind}: {detail}" if detail else kind


def _detail(innermost: BaseException) -> str:
    """Return what the operating system or a library says, without secrets and on one line."""
    text = innermost.strerror if isinstance(innermost, OSError) and innermost.strerror else str(innermost)
    return one_line(redact_text(text), _MAX_DETAIL_CHARS).rstrip(".")


def is_certificate_error(error: BaseException) -> bool:
    """Return whether the other side's certificate was not trusted, which no retry changes."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error))


def surely_not_sent(error: BaseException) -> bool:
    """Return whether not even a connection came about, so that the request cannot have had any effect."""
    return in_words(error)[0] in {"proxy", "unknown_host", "no_connection", "connect_timeout"}


def seal(error: BaseException) -> None:
    """Clear the local variables of every finished frame that *error*, its causes and its contexts came through.

    Tools that print tracebacks with locals (rich, Sentry, pytest --showlocals) would otherwise show the header
    dictionaries of requests and the send buffer of http.client, with the bearer token in them. The lines of the
    traceback stay. The request and response that requests hangs on its exceptions go too, for the same reason.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        if isinstance(current, requests.RequestException):
            current.request = None
            current.response = None
        if isinstance(current, BaseExceptionGroup):
            todo.extend(current.exceptions)
        todo += [current.__cause__, current.__context__]
