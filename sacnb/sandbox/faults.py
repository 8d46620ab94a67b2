"""Answers that misbehaviours give before a request is looked at: throttling, failures, login pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from sacnb.sandbox.exchange import Answer, Exchange, Refusal

__all__ = ["forced_answer", "retry_after"]

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
