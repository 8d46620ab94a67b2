"""What went wrong on the way, out of the errors that requests and urllib3 wrap into each other."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from typing import Final

import requests
import urllib3

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
