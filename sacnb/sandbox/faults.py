"""Answers that are forced upon a request before it is even looked at: throttling, failures, login pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from .exchange import Answer, Exchange
from .problems import Refusal

__all__ = ["forced_answer", "throttled"]

_HTML: Final = "text/html;charset=utf-8"
_LOGIN: Final = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1>"
    b'<form method="post" action="/login"><input name="username"><input name="password" type="password">'
    b"</form></body></html>"
)


def throttled(retry_after: str | None) -> Refusal:
    """A 429; ``retry_after`` is the header as it goes out."""
    return Refusal(429, "Too many requests", headers={} if retry_after is None else {"Retry-After": retry_after})


def forced_answer(exchange: Exchange, now: Callable[[], datetime]) -> Answer | None:
    """The answer a misbehaviour forces upon the request, or ``None``.

    Raises:
        Refusal: where the forced answer is an error in SAC's envelope.
    """
    for name, force in _FORCED.items():
        options = exchange.take(name)
        if options is not None:
            return force(options, now)
    return None


def _throttle_seconds(options: Mapping[str, Any], now: Callable[[], datetime]) -> Answer:
    raise throttled(str(options["retry_after_s"]))


def _throttle_date(options: Mapping[str, Any], now: Callable[[], datetime]) -> Answer:
    # A Retry-After date has whole seconds: rounded up, so that it never says less than was asked for.
    until = (now() + timedelta(seconds=options["retry_after_s"], microseconds=999_999)).replace(microsecond=0)
    raise throttled(format_datetime(until, usegmt=True))


def _throttle_bare(options: Mapping[str, Any], now: Callable[[], datetime]) -> Answer:
    raise throttled(None)


def _error_500(options: Mapping[str, Any], now: Callable[[], datetime]) -> Answer:
    raise Refusal(500, "Internal Server Error")


def _error_503(options: Mapping[str, Any], now: Callable[[], datetime]) -> Answer:
    wait = options["retry_after_s"]
    raise Refusal(503, "Service Unavailable", headers={} if wait is None else {"Retry-After": str(wait)})


def _gateway(status: int, title: str) -> Callable[[Mapping[str, Any], Callable[[], datetime]], Answer]:
    body = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>".encode()
    return lambda options, now: Answer(status, body, _HTML)


_FORCED: Final[Mapping[str, Callable[[Mapping[str, Any], Callable[[], datetime]], Answer]]] = {
    "throttle_seconds": _throttle_seconds,
    "throttle_date": _throttle_date,
    "throttle_bare": _throttle_bare,
    "error_500": _error_500,
    "error_502": _gateway(502, "Bad Gateway"),
    "error_503": _error_503,
    "error_504": _gateway(504, "Gateway Timeout"),
    "html_login": lambda options, now: Answer(200, _LOGIN, _HTML),
}
