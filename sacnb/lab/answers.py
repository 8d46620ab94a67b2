"""The JSON of the routes: states, errors and their status. ``docs/lab_api.yaml`` describes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from sacnb._auth.token import TokenEnvelope
from sacnb._redact import redact_text
from sacnb.errors import (
    AuthError,
    BadAnswer,
    Cancelled,
    ErrorText,
    MissingExtraError,
    NoAnswerError,
    QueryError,
    RefreshError,
    RequestError,
    SacError,
    SettingsError,
    ThrottledError,
    UnknownNameError,
)

__all__ = ["Reply", "error_json", "refused", "token_json", "when"]

# When to come back, where the token endpoint does not say: past the guard's memory of a final refusal.
_RETRY_AFTER_S: Final = 20.0
# The first that fits. A refusal of SAC is a bad gateway: the status of an answer is the Jupyter server's own.
_STATUS: Final[tuple[tuple[type[SacError], HTTPStatus], ...]] = (
    (UnknownNameError, HTTPStatus.NOT_FOUND),
    (QueryError, HTTPStatus.BAD_REQUEST),
    (SettingsError, HTTPStatus.CONFLICT),
    (MissingExtraError, HTTPStatus.CONFLICT),
    (RefreshError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ThrottledError, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoAnswerError, HTTPStatus.GATEWAY_TIMEOUT),
    (RequestError, HTTPStatus.BAD_GATEWAY),
    (AuthError, HTTPStatus.BAD_GATEWAY),
    (BadAnswer, HTTPStatus.BAD_GATEWAY),
    (Cancelled, HTTPStatus.SERVICE_UNAVAILABLE),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of a route."""

    body: Mapping[str, Any]
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


def when(moment: datetime | None) -> str | None:
    """Return a time as JSON has it."""
    return None if moment is None else moment.isoformat(timespec="seconds")


def token_json(token: TokenEnvelope | None, now: datetime) -> dict[str, Any]:
    """Return the state of a token, without the token."""
    if token is None:
        return {"state": "absent", "issued_at": None, "expires_at": None, "remaining_s": None}
    if not token.end_is_known:
        return {"state": "endless", "issued_at": when(token.issued_at), "expires_at": None, "remaining_s": None}
    return {
        "state": "expired" if token.is_expired(now) else "valid",
        "issued_at": when(token.issued_at),
        "expires_at": when(token.expires_at_local),
        "remaining_s": round(token.remaining_s(now), 3),
    }


def error_json(error: SacError) -> dict[str, Any]:
    """Return an error in words and in the attributes from which a kernel makes it again; redacted."""
    text = ErrorText.of(error)
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "message": redact_text(text.headline),
        "hint": redact_text(text.hint),
        "details": [redact_text(line) for line in text.details],
    }
    for name in ("status", "code", "sac_number", "request_id", "error_code", "retry_after_s"):
        value = getattr(error, name, None)
        if value is not None:
            found[name] = redact_text(value) if isinstance(value, str) else value
    if isinstance(error, RefreshError):
        found["last_attempt_at"] = when(error.last_attempt_at)
        found["retry_after_s"] = _RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
    if error.outcome is not None:
        found["attempts"] = len(error.outcome.attempts)
    return found


def refused(error: SacError) -> Reply:
    """Return the answer for an error: its status, when to come back, and the error headers."""
    body = error_json(error)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {"X-Sacnb-Error": str(body.get("error_code", body["type"]))}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(math.ceil(body.get("retry_after_s", _RETRY_AFTER_S)))
    if "attempts" in body:
        headers["X-Sacnb-Attempts"] = str(body["attempts"])
    if "request_id" in body:
        headers["X-Request-Id"] = body["request_id"]
    return Reply({"error": body}, status, headers)
