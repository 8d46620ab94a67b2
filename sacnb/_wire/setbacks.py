"""What it means that no answer came, or not a whole one, or not from the tenant: the error, and whether to retry."""

from __future__ import annotations

from typing import Final

import requests

from sacnb._http import in_words, is_certificate_error, surely_not_sent
from sacnb._wire.demand import Demand
from sacnb._wire.message import UndecodableBody
from sacnb._wire.origin import Origin
from sacnb._wire.redact import redact_url
from sacnb._wire.retry import Setback
from sacnb.errors import AuthError, BadAnswer, NoAnswerError, RequestError

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
_DOUBT_HINT: Final = "It was not sent again, since SAC may have carried it out: look before you repeat it."


def no_answer(demand: Demand, error: Exception, *, headers_came: bool) -> Setback:
    """The setback for an ``error`` of requests, urllib3 or the decoding; ``headers_came`` says that an answer began."""
    kind, words = in_words(error)
    if isinstance(error, UndecodableBody):
        return _not_whole(demand, error.reason, is_foreign=error.is_foreign)
    if headers_came and kind != "read_timeout":
        return _not_whole(demand, words)
    what = f"{demand.operation}: {demand.method} {demand.shown_url}"
    if isinstance(error, requests.TooManyRedirects | ValueError):  # the latter: an address or header that is none
        invalid = RequestError(f"{what} cannot be sent ({words}).", method=demand.method, url=demand.shown_url)
        return Setback(kind, invalid, may_retry=False)
    was_not_sent = surely_not_sent(error)
    is_untrusted = is_certificate_error(error)
    refusal = NoAnswerError(
        f"{what} got no answer: {'the TLS certificate is not trusted' if is_untrusted else words}.",
        method=demand.method,
        url=demand.shown_url,
        hint=_CERTIFICATE_HINT if is_untrusted else _NETWORK_HINT if was_not_sent else _doubt(demand),
    )
    return Setback(kind, refusal, may_retry=not is_untrusted and (demand.is_idempotent or was_not_sent))


def _not_whole(demand: Demand, reason: str, *, is_foreign: bool = False) -> Setback:
    bad = BadAnswer(
        f"{demand.operation}: the answer from {demand.shown_url} did not come whole: {reason}.",
        truncated=not is_foreign,
        hint=_doubt(demand),
    )
    return Setback("truncated", bad, may_retry=demand.is_idempotent and not is_foreign)


def too_late(demand: Demand, deadline_s: float) -> Setback:
    """The setback for an answer that is still dripping in at the deadline."""
    error = NoAnswerError(
        f"{demand.operation}: the answer from {demand.shown_url} was still coming at the deadline of {deadline_s:g} s.",
        method=demand.method,
        url=demand.shown_url,
        hint="Raise SAC_DEADLINE_S, or lower SAC_PAGE_SIZE.",
    )
    return Setback("deadline", error, may_retry=False)


def _doubt(demand: Demand) -> str | None:
    return None if demand.is_idempotent else _DOUBT_HINT


def unauthorized(operation: str, method: str, shown_url: str, how: str) -> AuthError:
    """The error for a 401 that a fresh token did not, or could not, cure."""
    return AuthError(f"{operation}: SAC answered 401 to {method} {shown_url}, {how}.", hint=_UNAUTHORIZED_HINT)


def redirected(operation: str, url: str, location: str) -> AuthError:
    """The error for a redirect that is not followed, because the token may not go there."""
    target = Origin.of_link(url, location)
    where = f"{target.scheme}://{target.host}" if target is not None else "another address"
    return AuthError(
        f"{operation}: {redact_url(url)} redirects to {where}, most likely a login page; the token is not sent there.",
        hint=_LOGIN_HINT,
    )


def login_page(demand: Demand, status: int) -> AuthError:
    """The error for a web page where data should be."""
    return AuthError(
        f"{demand.operation}: {demand.shown_url} answered {status} with a web page, most likely a login page, instead "
        "of data.",
        hint=_LOGIN_HINT,
    )
