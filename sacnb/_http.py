"""What went wrong on the way, out of the errors that requests and urllib3 wrap into each other.

Read the two HTTP headers that speak of time.

The proxies of the environment, read once per address instead of once per request.

Empty what a traceback would show of secrets.

Scheme, host and port: to whom a token may be shown.
"""

from __future__ import annotations

import http.client
import math
import ssl
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from sacnb._settings.tenant_url import is_loopback

_MAX_DEPTH: Final = 10

# The first line that fits any of the causes decides. Words of ours instead of the libraries' text, which quotes the
# addresses of proxies with their passwords.
_WORDS: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (urllib3.exceptions.ProxyError, "proxy", "the proxy refused or cannot be reached"),
    (urllib3.exceptions.NameResolutionError, "unknown_host", "the host name is not known"),
    (urllib3.exceptions.NewConnectionError, "no_connection", "the connection was refused"),
    (urllib3.exceptions.ConnectTimeoutError, "connect_timeout", "no connection in time"),
    (requests.ConnectTimeout, "connect_timeout", "no connection in time"),
    (urllib3.exceptions.TimeoutError, "read_timeout", "no bytes in time"),
    (requests.Timeout, "read_timeout", "no bytes in time"),
    (urllib3.exceptions.SSLError, "tls", "the TLS connection failed"),
    (requests.exceptions.SSLError, "tls", "the TLS connection failed"),
    (http.client.IncompleteRead, "truncated", "the answer was cut short"),
    (urllib3.exceptions.ProtocolError, "connection_reset", "the connection broke"),
    (requests.ConnectionError, "connection_reset", "the connection broke"),
)


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it wraps: ``reason``, then the first exception among its arguments, and so on inwards."""
    current: BaseException | None = error
    for _ in range(_MAX_DEPTH):
        if current is None:
            return
        yield current
        reason = getattr(current, "reason", None)
        if isinstance(reason, BaseException):
            current = reason
        else:
            current = next((argument for argument in current.args if isinstance(argument, BaseException)), None)


def in_words(error: BaseException) -> tuple[str, str]:
    """A short kind of ``error`` for logs and counters, and the same in words."""
    found = list(causes(error))
    for error_class, kind, words in _WORDS:
        if any(isinstance(cause, error_class) for cause in found):
            return kind, words
    return type(error).__name__, type(error).__name__


def is_certificate_error(error: BaseException) -> bool:
    """Whether the other side's certificate was not trusted, which no retry changes."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error))


def surely_not_sent(error: BaseException) -> bool:
    """Whether not even a connection came about, so that the request cannot have had any effect."""
    return in_words(error)[0] in {"proxy", "unknown_host", "no_connection", "connect_timeout"}


def read_http_date(text: str | None) -> datetime | None:
    """An HTTP date as an aware UTC datetime, or ``None`` where there is none that can be read."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # "-0000" leaves a date naive; HTTP dates are GMT whatever they say.
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None


def read_retry_after_s(text: str | None, *, server_date: datetime | None, now: datetime) -> float | None:
    """``Retry-After`` in seconds, never negative, or ``None`` where it says nothing that can be read.

    A date is measured against ``server_date``, the ``Date`` of the same reply, because this machine's clock may be
    wrong; only without one against ``now``.
    """
    if text is None:
        return None
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        moment = read_http_date(text)
        if moment is None:
            return None
        seconds = max((moment - (server_date or now)).total_seconds(), 0.0)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def environment_proxies(url: str) -> dict[str, str]:
    """The proxies that requests would use for ``url`` by the environment and the system's settings, NO_PROXY included.

    None for this machine itself, also where NO_PROXY forgets it: a proxy would look for it in the wrong place, and
    would be shown what may travel in plain http only because it never leaves the machine.
    """
    return {} if is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url)


def seal(error: BaseException) -> None:
    """Clear the local variables of every finished frame that ``error``, its causes and its contexts came through.

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


_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """The part of an address that decides who receives a request."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> Origin | None:
        """The origin of an absolute ``url``; ``None`` where it has none, or names a user, which no tenant's does.

        Read with the parser that requests itself picks the connection with, so that the two cannot disagree.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not parts.scheme or not host or parts.username is not None or parts.password is not None:
            return None
        return cls(parts.scheme, host.lower(), port if port is not None else _DEFAULT_PORTS.get(parts.scheme))

    @classmethod
    def of_link(cls, base: str, link: str) -> Origin | None:
        """The origin that ``link``, found in an answer from ``base``, leads to; ``None`` where it leads nowhere."""
        try:
            return cls.of(urljoin(base, link))
        except ValueError:
            return None

    @property
    def may_carry_secrets(self) -> bool:
        """Whether it is https, or plain http to this machine."""
        return self.scheme == "https" or (self.scheme == "http" and is_loopback(self.host))
