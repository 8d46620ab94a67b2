"""Turn a refusal, an answer that is not whole, or none at all, into one typed error; say whether to retry."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

from sacnb._http import (
    Challenge,
    Origin,
    in_words,
    is_certificate_error,
    is_web_page,
    read_challenge,
    surely_not_sent,
)
from sacnb._redact import one_line, redact_text, redact_url
from sacnb._settings.variables import DOCUMENT
from sacnb._wire.message import SAC, Received, Request, Service, TooLong, UndecodableBody
from sacnb._wire.retry import RetryableFailure
from sacnb.errors import (
    AuthError,
    BadAnswer,
    ForbiddenError,
    LiveConnectionError,
    NoAnswerError,
    NotFoundError,
    RequestError,
    ServerError,
    ThrottledError,
)

_MAX_READ_BYTES: Final = 65_536
_MAX_MESSAGE_CHARS: Final = 8_000

# SAC puts the number that means something in brackets at the end of the message; error.code is a correlation id.
_SAC_NUMBER: Final = re.compile(r"\[(\d{3,5})\]\s*\.?\s*$")
_TITLE_BEGIN: Final = re.compile(r"<(?:title|h1)(?:\s[^<>]*)?>", re.IGNORECASE)
_TITLE_END: Final = re.compile(r"</(?:title|h1)>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")

_NOT_ALLOWED: Final = 3401
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
    _NOT_ALLOWED: "The OAuth client is not granted this API: System > Administration > App Integration, 'Access'.",
    3707: "The model has no such entity set; its service document lists those it has.",
    3905: "Data audit is switched off for this model.",
}
_HINT_BY_STATUS: Final[Mapping[int | str, str]] = {
    400: "SAC did not understand the request; names and quoting in $select and $filter are the usual causes.",
    # Restricted Export as a cause is an inference (docs/sac_facts.md); sharing is asked of named users only.
    403: "Tick the API under 'Access' of the OAuth client in App Integration. If it is ticked, the model's preference "
    "'Restricted Export' may be on: then nobody can export it. A named user also needs the model shared.",
    404: "Check the id: sac.models() lists what this client can see.",
    405: "SAC does not offer this method here.",
    406: "SAC refuses the asked-for format here.",
    408: "SAC took too long; a smaller SAC_PAGE_SIZE or a narrower filter may help.",
    412: "The model has a live connection, or SAP Datasphere stores its data (a seamless planning model). SAC exports "
    "acquired (imported) models only.",
    413: "The request is too large; send fewer rows at a time.",
    414: "The address is too long; use fewer members in one filter.",
    425: "SAC, or the network before it, is not ready for the request; try again later.",
    429: "SAC throttles this client; wait, or lower SAC_STREAMS.",
    502: "SAC is busy or being maintained; a smaller SAC_PAGE_SIZE may help.",
    503: "SAC is busy or being maintained; try again later.",
    504: "SAC took too long; a smaller SAC_PAGE_SIZE or a narrower filter may help.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a server tells it: ``code`` (SAC: a correlation id), ``message``, and SAC's bracketed number."""

    code: str | None
    message: str
    sac_number: int | None


def read_problem(body: bytes, content_type: str | None = None) -> Problem:
    """Return the problem in *body*: OData, SCIM and OAuth envelopes, other JSON, a web page's title, or plain text.

    Never fails. The message is one short line, without secrets.
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
        message = _from_page(text) if text[:1] == "<" or is_web_page(body, content_type) else text
    # One line of it is shown.
    message = one_line(redact_text(message[:_MAX_MESSAGE_CHARS]))
    number = _SAC_NUMBER.search(message)
    return Problem(one_line(redact_text(code), 100) if code else None, message, int(number[1]) if number else None)


def _from_json(value: Any) -> tuple[str | None, str | None]:
    """Return code and message of a parsed answer; the message is ``None`` where no envelope is known."""
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
    messages = value.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[0], dict):  # multi-actions
        texts = filter(None, (_text(one.get("message")) for one in messages if isinstance(one, dict)))
        if said := "; ".join(texts):
            return _text(messages[0].get("code")), said
    for key in ("detail", "message", "error_description", "title", "fault"):  # SCIM, RFC 9457, gateways
        if message := _text(value.get(key)):
            return _text(value.get("code")) or _text(value.get("status")), message
    return None, None


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        return next((found for key in ("value", "message", "faultstring") if (found := _text(value.get(key)))), None)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and str(value) else None


def _from_page(text: str) -> str:
    begin = _TITLE_BEGIN.search(text)
    end = _TITLE_END.search(text, begin.end()) if begin else None
    return html.unescape(_TAG.sub(" ", text[begin.end() : end.start()] if begin and end else text))


# Too Early: the server refuses to act on the request before it knows that nobody repeats it (RFC 8470, 5.2).
TOO_EARLY: Final = 425


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed in a moment: 408, 425 and 5xx, but not 501 and 505."""
    return status in {408, TOO_EARLY} or (500 <= status <= 599 and status not in {501, 505})


def _error_class(status: int, service: Service = SAC) -> type[RequestError]:
    if status in {408, TOO_EARLY} or status >= 500:
        return ServerError
    known: dict[int, type[RequestError]] = {403: ForbiddenError, 404: NotFoundError, 429: ThrottledError}
    if service is SAC:
        known[412] = LiveConnectionError
    return known.get(status, RequestError)


def refusal(request: Request, received: Received) -> RequestError:
    """Return the error for a *received* refusal of *request*. Its outcome is added by the sender."""
    problem = read_problem(received.body, received.headers.get("Content-Type"))
    return error_for(
        received.status,
        problem,
        method=request.method,
        url=request.shown_url,
        request_id=received.request_id,
        operation=request.operation,
        challenge=read_challenge(received.headers),
        service=request.service,
    )


def error_for(
    status: int,
    problem: Problem,
    *,
    method: str,
    url: str,
    request_id: str | None,
    operation: str,
    challenge: Challenge | None = None,
    service: Service = SAC,
) -> RequestError:
    """Return the error for an answer with *status*; *url* is redacted already."""
    challenge = challenge or Challenge()
    said = "; ".join(filter(None, (problem.message, str(challenge))))
    reference = f" (request id {request_id})" if request_id else ""
    # Others report it with 400 too, and without its number.
    number = _NOT_ALLOWED if "not allowed to interact with api" in problem.message.lower() else problem.sac_number
    number = number if service is SAC else None
    hint = _HINT_BY_NUMBER.get(number) if number is not None else None
    if hint is None and challenge.error in {"invalid_token", "invalid_request"}:
        hint = _hint(service, "unauthorized")
    return (ForbiddenError if number == _NOT_ALLOWED else _error_class(status, service))(
        _sentence(f"{operation}: {method} {url} was answered {status}{reference}" + (f": {said}" if said else "")),
        method=method,
        url=url,
        status=status,
        code=problem.code,
        sac_number=problem.sac_number if service is SAC else None,
        request_id=request_id,
        hint=hint or _hint(service, status),
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


_LOGIN_HINT: Final = (
    "The two usual causes: SAC_TENANT_URL is not the tenant's own address, or the OAuth client is not set up for API "
    "access (System > Administration > App Integration: purpose and 'Access')."
)
_UNAUTHORIZED_HINT: Final = (
    "Likely causes: the API is not ticked under 'Access' of the OAuth client (System > Administration > App "
    "Integration), SAC_TOKEN_URL belongs to another tenant or region than SAC_TENANT_URL, or the client was deleted."
)
_CERTIFICATE_HINT: Final = "Set SAC_CA_BUNDLE to a PEM file with your company's certificate authority."
_NETWORK_HINT: Final = "Look at SAC_TENANT_URL and at the network: VPN, proxy variables. 'sacnb doctor' tests each."
_SAC_HINTS: Final[Mapping[int | str, str]] = {
    **_HINT_BY_STATUS,
    "login": _LOGIN_HINT,
    "unauthorized": _UNAUTHORIZED_HINT,
    "certificate": _CERTIFICATE_HINT,
    "network": _NETWORK_HINT,
    "doubt": "It was not sent again because SAC may have carried it out; check in SAC before you repeat it.",
    "too_long": "A lower SAC_PAGE_SIZE makes pages shorter.",
    "deadline": "Raise SAC_DEADLINE_S, or lower SAC_PAGE_SIZE.",
}


def _hint(service: Service, key: int | str) -> str | None:
    return (service.hints or _SAC_HINTS).get(key)


def no_answer(request: Request, error: Exception, *, headers_came: bool) -> RetryableFailure:
    """Return the failure for an *error* of requests, urllib3 or the decoding; *headers_came*: an answer began."""
    if isinstance(error, TooLong):
        return too_long(request)
    if isinstance(error, UndecodableBody):
        return _not_whole(request, error.reason, may_retry=error.may_retry)
    kind, words = in_words(error)
    if kind in {"bad_header", "redirects"} or (headers_came and kind != "read_timeout"):
        return _not_whole(request, words, kind=kind)
    what = f"{request.operation}: {request.method} {request.shown_url}"
    if isinstance(error, ValueError) and kind != "proxy":  # an address or a header that is none
        invalid = RequestError(f"{what} cannot be sent ({words}).", method=request.method, url=request.shown_url)
        return RetryableFailure(kind, invalid, may_retry=False)
    was_not_sent = surely_not_sent(error)
    is_untrusted = is_certificate_error(error)
    failed = NoAnswerError(
        f"{what} got no answer: {'the TLS certificate is not trusted' if is_untrusted else words}.",
        method=request.method,
        url=request.shown_url,
        hint=_hint(request.service, "certificate" if is_untrusted else "network")
        if is_untrusted or was_not_sent
        else _doubt(request),
    )
    return RetryableFailure(kind, failed, may_retry=not is_untrusted and (request.is_idempotent or was_not_sent))


def _not_whole(request: Request, reason: str, *, kind: str = "truncated", may_retry: bool = True) -> RetryableFailure:
    bad = BadAnswer(
        f"{request.operation}: the answer from {request.shown_url} is incomplete: {reason}.",
        truncated=may_retry,
        hint=_doubt(request),
    )
    cause = kind if kind in {"bad_header", "redirects"} else "truncated"
    return RetryableFailure(cause, bad, may_retry=request.is_idempotent and may_retry)


def too_long(request: Request) -> RetryableFailure:
    """Return the failure for an answer that is longer than its bound when it is unpacked."""
    bound = request.bound
    hint = None if bound.setting == DOCUMENT.setting else _hint(request.service, "too_long")
    error = BadAnswer(
        f"{request.operation}: the answer from {request.shown_url} is longer than {bound.megabytes:,} MB "
        f"({bound.setting}); the rest was not read.",
        hint=f"{f'{hint} ' if hint else ''}If the answer is right, raise {bound.setting}.",
    )
    return RetryableFailure("too_long", error, may_retry=False)


def too_late(request: Request, deadline_s: float) -> RetryableFailure:
    """Return the failure for an answer that is still coming, or awaited, at the deadline."""
    error = NoAnswerError(
        f"{request.operation}: the answer from {request.shown_url} was still coming at the deadline of "
        f"{deadline_s:g} s.",
        method=request.method,
        url=request.shown_url,
        hint=_hint(request.service, "deadline"),
    )
    return RetryableFailure("deadline", error, may_retry=False)


def _doubt(request: Request) -> str | None:
    return None if request.is_idempotent else _hint(request.service, "doubt")


def unauthorized(request: Request, how: str, received: Received) -> AuthError:
    """Return the error for a 401 that a fresh token did not, or could not, cure."""
    problem = read_problem(received.body, received.headers.get("Content-Type"))
    said = "; ".join(filter(None, (problem.message, str(read_challenge(received.headers)))))
    what = f"{request.operation}: {request.service.name} answered 401 to {request.method} {request.shown_url}, {how}"
    return AuthError(_sentence(f"{what}: {said}" if said else what), hint=_hint(request.service, "unauthorized"))


def redirected(request: Request, url: str, location: str) -> AuthError:
    """Return the error for a redirect from *url* that is not followed, because the token may not go there."""
    try:
        target = Origin.of(urljoin(url, location))
    except ValueError:
        target = None
    # Where it seems to lead to this very origin parsers disagree about it, and no name would be right.
    is_elsewhere = target is not None and target != Origin.of(url)
    where = f"{target.scheme}://{target.host}" if target is not None and is_elsewhere else "another address"
    return AuthError(
        f"{request.operation}: {redact_url(url)} redirects to {one_line(where, 200)}, most likely a login page; the "
        "token is not sent there.",
        hint=_hint(request.service, "login"),
    )


def login_page(request: Request, status: int) -> AuthError:
    """Return the error for a web page where data should be."""
    return AuthError(
        f"{request.operation}: {request.shown_url} answered {status} with a web page, most likely a login page, "
        "instead of data.",
        hint=_hint(request.service, "login"),
    )
