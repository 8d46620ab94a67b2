"""Read what a server says went wrong, in whichever envelope, and turn it into one typed error with a hint."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sacnb._wire.redact import redact_text
from sacnb.errors import (
    ForbiddenError,
    LiveConnectionError,
    NotFoundError,
    RequestError,
    ServerError,
    ThrottledError,
)

_MAX_MESSAGE: Final = 500
_MAX_READ_BYTES: Final = 65_536

# SAC puts the number that means something in brackets at the end of the message; error.code is a correlation id.
_SAC_NUMBER: Final = re.compile(r"\[(\d{3,5})\]\s*\.?\s*$")
_TITLE: Final = re.compile(r"<(?:title|h1)[^>]*>(.*?)</(?:title|h1)>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^>]*>")

# Seen on live tenants (unconfirmed by SAP's documents), except 1001 to 1011, which are in SAP's guide.
_HINT_BY_NUMBER: Final[Mapping[int, str]] = {
    1001: "The import job is in another state; ask for its status.",
    1002: "Too many import jobs are open for this user or model; delete abandoned ones.",
    1003: "The import job is in another state; ask for its status.",
    1004: "A field of the mapping does not exist in the model.",
    1007: "Too many import jobs are open for this user or model; delete abandoned ones.",
    1010: "A request for the same job is still in progress; wait for it.",
    1011: "No row of the upload was valid; look at the invalid rows of the job.",
    1305: "SAC has no such endpoint.",
    1402: "$select must name every dimension of FactData; for fewer, ask FactDataAggregation.",
    3401: "The OAuth client is not granted this API: System > Administration > App Integration, 'Access'.",
    3707: "The model has no such entity set; its service document lists those it has.",
    3905: "Data audit is switched off for this model.",
}
_HINT_BY_STATUS: Final[Mapping[int, str]] = {
    400: "SAC did not understand the request; names and quoting in $select and $filter are the usual causes.",
    # Restricted Export as a cause is an inference (docs/sac_facts.md); sharing is asked of named users only.
    403: "Tick the API under 'Access' of the OAuth client in App Integration. If it is ticked, the model's preference "
    "'Restricted Export' may be on: then nobody can export it. A named user also needs the model shared.",
    404: "Check the id: sac.models() lists what this client can see.",
    405: "SAC does not offer this method here.",
    406: "SAC refuses the asked-for format here.",
    408: "SAC took too long; a smaller SAC_PAGE_SIZE or a narrower filter may help.",
    412: "The model has a live connection, and SAC exports acquired (imported) models only.",
    413: "The request is too large; send fewer rows at a time.",
    414: "The address is too long; use fewer members in one filter.",
    429: "SAC throttles this client; wait, or lower SAC_STREAMS.",
    502: "SAC is busy or being maintained; a smaller SAC_PAGE_SIZE may help.",
    503: "SAC is busy or being maintained; try again later.",
    504: "SAC took too long; a smaller SAC_PAGE_SIZE or a narrower filter may help.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a server said: its ``code`` (SAC: a correlation id), its ``message``, and SAC's bracketed number."""

    code: str | None
    message: str
    sac_number: int | None


def read_problem(body: bytes, content_type: str | None = None) -> Problem:
    """The problem in ``body``: OData, SCIM and OAuth envelopes, other JSON, a web page's title, or plain text.

    Never fails, and never gives back more than a few lines; what looks like a secret is taken out.
    """
    text = body[:_MAX_READ_BYTES].decode("utf-8", "replace").lstrip("\ufeff").strip()
    code, message = None, None
    if text[:1] in {"{", "["}:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        code, message = _from_json(value)
    if message is None:
        message = _from_page(text) if text[:1] == "<" or "html" in (content_type or "").lower() else text
    message = _one_line(redact_text(message))
    number = _SAC_NUMBER.search(message)
    return Problem(redact_text(code)[:100] if code else None, message, int(number[1]) if number else None)


def _from_json(value: Any) -> tuple[str | None, str | None]:
    """Code and message of a parsed answer; the message is ``None`` where no envelope is known."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None, None
    error = value.get("error")
    if isinstance(error, dict):  # OData: {"error": {"code", "message" or {"value"}}}
        return _text(error.get("code")), _text(error.get("message")) or _text(error.get("code"))
    if isinstance(error, str):  # OAuth: {"error", "error_description"}
        description = _text(value.get("error_description"))
        return error, f"{error}: {description}" if description else error
    for key in ("detail", "message", "error_description", "title", "fault"):  # SCIM, RFC 9457, gateways
        if message := _text(value.get(key)):
            return _text(value.get("code")) or _text(value.get("status")), message
    return None, None


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((found for key in ("value", "message", "faultstring") if (found := _text(value.get(key)))), None)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and str(value) else None


def _from_page(text: str) -> str:
    title = _TITLE.search(text)
    return html.unescape(_TAG.sub(" ", title[1] if title else text))


def _one_line(text: str) -> str:
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…"


def is_transient(status: int) -> bool:
    """Whether the same request may succeed in a moment: 408 and 5xx, but not 501 and 505, which are final."""
    return status == 408 or (500 <= status <= 599 and status not in {501, 505})


def _error_class(status: int) -> type[RequestError]:
    if status == 408 or status >= 500:
        return ServerError
    known: Mapping[int, type[RequestError]] = {
        403: ForbiddenError,
        404: NotFoundError,
        412: LiveConnectionError,
        429: ThrottledError,
    }
    return known.get(status, RequestError)


def error_for(
    status: int, problem: Problem, *, method: str, url: str, request_id: str | None, operation: str
) -> RequestError:
    """The error for an answer with ``status``; ``url`` is redacted already. Its outcome is added by the sender."""
    said = f": {problem.message}" if problem.message else ""
    reference = f" (request id {request_id})" if request_id else ""
    error_class = _error_class(status)
    number_hint = _HINT_BY_NUMBER.get(problem.sac_number) if problem.sac_number is not None else None
    return error_class(
        _sentence(f"{operation}: {method} {url} was answered {status}{reference}{said}"),
        method=method,
        url=url,
        status=status,
        sac_number=problem.sac_number,
        request_id=request_id,
        hint=number_hint or _HINT_BY_STATUS.get(status),
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
