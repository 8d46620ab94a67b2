"""One request from its first sending to a good answer, by the rules that hold for all of them.

The CSRF token that writing requests carry.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import requests
import urllib3

from sacnb._auth.token import TokenEnvelope
from sacnb._endpoints import CSRF_HEADER
from sacnb._http import read_http_date, read_retry_after_s
from sacnb._settings import Secret
from sacnb._wire.failures import (
    error_for,
    is_transient,
    login_page,
    no_answer,
    read_problem,
    redirected,
    too_late,
    unauthorized,
)
from sacnb._wire.message import Answer, Demand, Received, UndecodableBody, check_shape, read_body, request_id
from sacnb._wire.retry import Campaign, Setback
from sacnb._wire.telemetry import RequestEvent, RetryEvent, current_trace_id, log
from sacnb.errors import AuthError, BadAnswer

if TYPE_CHECKING:
    from sacnb._wire.session import SacSession

# Of a refusal only the beginning is read: it is a sentence, or a web page around one.
_MAX_REFUSAL_BYTES: Final = 65_536
_MIN_TIMEOUT_S: Final = 0.05


class Exchange:
    """Carries a demand out. ``attempt`` is one try, to be run by a campaign."""

    def __init__(self, session: SacSession, demand: Demand, campaign: Campaign) -> None:
        self._session = session
        self._demand = demand
        self._campaign = campaign
        self._rejected: TokenEnvelope | None = None
        self._csrf_was_fetched = False

    def attempt(self) -> Answer | Setback:
        """One try: the answer, or a setback, returned or raised. Raises SacError where another try is no use."""
        received = self._send_accepted()
        if 200 <= received.status < 300:
            return self._take(received)
        return self._refused(received)

    def on_wait(self, setback: Setback, delay_s: float, tries: int) -> None:
        """Tell of a wait: to the log and to the telemetry."""
        demand, attempts = self._demand, self._campaign.plan.max_attempts
        self._tell_retry(setback.cause, delay_s, tries)
        log.log(
            logging.WARNING if setback.is_throttle else logging.INFO,
            "%s: %s; waiting %.1f s before try %d of %d.",
            demand.operation,
            "SAC throttles (429)" if setback.is_throttle else f"no good answer ({setback.cause})",
            delay_s,
            tries + 1,
            attempts,
            extra={"request_id": getattr(setback.error, "request_id", None)},
        )

    # -- who we are: 401 and CSRF ------------------------------------------------------------------------------------

    def _send_accepted(self) -> Received:
        """Send with a valid token; a 401 costs the token and is answered with one more try, never with a third."""
        while True:
            token = self._session.guard.ensure(self._campaign.cancelled).token
            if self._rejected is not None and token.value == self._rejected.value:
                raise self._unauthorized("and the token service hands the rejected token out again")
            csrf = None if self._demand.is_safe else self._session.csrf.get(token)
            received = self._send(token, csrf)
            if received.status == 401:
                if self._rejected is not None:
                    raise self._unauthorized("also to a fresh token")
                self._reject(token, received)
            elif self._wants_csrf(received) and not self._csrf_was_fetched:
                self._csrf_was_fetched = True
                self._session.csrf.drop(csrf)
                self._tell_retry("csrf", 0.0, 1)
                self._session.fetch_csrf(self._campaign)
            else:
                return received

    def _reject(self, token: TokenEnvelope, received: Received) -> None:
        self._rejected = token
        log.warning(
            "%s: SAC answered 401; the token is given up and the request sent once more.",
            self._demand.operation,
            extra={"request_id": received.request_id},
        )
        self._tell_retry("401", 0.0, 1)
        self._session.guard.reject(token)

    def _unauthorized(self, how: str) -> AuthError:
        demand = self._demand
        return unauthorized(demand.operation, demand.method, demand.shown_url, how)

    def _wants_csrf(self, received: Received) -> bool:
        """Whether a 403 only asks for a CSRF token: by its header, or (seen in clients, unconfirmed) by its text."""
        if received.status != 403 or self._demand.is_safe:
            return False
        return received.headers.get(CSRF_HEADER, "").lower() == "required" or b"csrf" in received.body.lower()

    # -- one sending -------------------------------------------------------------------------------------------------

    def _send(self, token: TokenEnvelope, csrf: Secret | None) -> Received:
        sending = _Sending(self._session.clock())
        try:
            response = sending.response = self._session.transmit(self._demand, token, csrf, self._timeout())
            body, sending.bytes_received = self._read(response)
            received = _received(response, body)
        except (requests.RequestException, urllib3.exceptions.HTTPError, UndecodableBody) as error:
            setback = no_answer(self._demand, error, headers_came=sending.response is not None)
            sending.error_kind = setback.cause
        except BaseException as error:
            sending.error_kind = error.cause if isinstance(error, Setback) else type(error).__name__
            raise
        else:
            self._session.csrf.learn(token, received.headers.get(CSRF_HEADER))
            return received
        finally:
            self._record(sending)
        # Raised out here, so that the libraries' error, with the request on it, is not its context.
        raise setback

    def _timeout(self) -> tuple[float, float]:
        left_s = max(self._campaign.remaining_s(), _MIN_TIMEOUT_S)
        connect_s, read_s = self._session.timeout
        return min(connect_s, left_s), min(read_s, left_s)

    def _read(self, response: requests.Response) -> tuple[bytes, int]:
        encoding = response.headers.get("Content-Encoding", "")
        if 200 <= response.status_code < 300:
            return read_body(response.raw, encoding, between=self._between_packets)
        try:
            return read_body(response.raw, encoding, between=self._between_packets, max_bytes=_MAX_REFUSAL_BYTES)
        except (urllib3.exceptions.HTTPError, UndecodableBody):
            return b"", 0  # the status is the message, and must not be hidden by a damaged explanation of it

    def _between_packets(self) -> None:
        """The read timeout is for one packet, and an answer may drip in: look at the user and at the deadline."""
        self._campaign.raise_if_cancelled()
        if self._campaign.remaining_s() <= 0:
            raise too_late(self._demand, self._campaign.plan.deadline_s)

    def _record(self, sending: _Sending) -> None:
        response = sending.response
        status = reference = None
        if response is not None:
            response.close()  # back to the pool if it was read to its end, else away with the connection
            status, reference = response.status_code, request_id(response.headers)
        self._campaign.note(status, sending.error_kind, reference)
        self._session.telemetry.on_request(
            RequestEvent(
                operation=self._demand.operation,
                method=self._demand.method,
                url=self._demand.shown_url,
                status=status,
                error_kind=sending.error_kind,
                elapsed_s=self._session.clock() - sending.started,
                bytes_received=sending.bytes_received,
                request_id=reference,
                trace_id=current_trace_id(),
            )
        )

    # -- judging what came -------------------------------------------------------------------------------------------

    def _take(self, received: Received) -> Answer:
        demand = self._demand
        if received.is_page and not demand.accepts_pages:
            raise login_page(demand, received.status)
        answer = received.answer(self._campaign.outcome())
        try:
            check_shape(answer, demand.expect)
            if demand.check is not None:
                demand.check(answer)
        except BadAnswer as error:
            if not error.truncated:
                raise
            setback = Setback("truncated", error, may_retry=demand.is_idempotent)
        else:
            return answer
        raise setback

    def _refused(self, received: Received) -> Setback:
        demand, status = self._demand, received.status
        if 300 <= status < 400 and "Location" in received.headers:
            raise redirected(demand.operation, received.url, received.headers["Location"])
        error = error_for(
            status,
            read_problem(received.body, received.headers.get("Content-Type")),
            method=demand.method,
            url=demand.shown_url,
            request_id=received.request_id,
            operation=demand.operation,
        )
        wait_s = read_retry_after_s(
            received.headers.get("Retry-After"), server_date=received.server_date, now=self._session.now()
        )
        if status == 429:  # whatever the method: what SAC throttles, it has not done
            return Setback("429", error, is_throttle=True, retry_after_s=wait_s)
        if is_transient(status):
            return Setback(
                str(status),
                error,
                may_retry=demand.is_idempotent,
                retry_after_s=wait_s if status == 503 else None,
            )
        raise error

    def _tell_retry(self, cause: str, delay_s: float, attempt: int) -> None:
        self._session.telemetry.on_retry(
            RetryEvent(
                operation=self._demand.operation,
                cause=cause,
                delay_s=delay_s,
                attempt=attempt,
                max_attempts=self._campaign.plan.max_attempts,
                trace_id=current_trace_id(),
            )
        )


@dataclass(slots=True)
class _Sending:
    """What is known of one sending when it is over."""

    started: float
    response: requests.Response | None = None
    bytes_received: int = 0
    error_kind: str | None = None


def _received(response: requests.Response, body: bytes) -> Received:
    return Received(
        url=response.url,
        status=response.status_code,
        headers=response.headers,
        body=body,
        request_id=request_id(response.headers),
        server_date=read_http_date(response.headers.get("Date")),
    )


class CsrfKeeper:
    """Keeps the one CSRF token, with the bearer token it was given for; a new bearer token makes it worthless."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[TokenEnvelope, Secret] | None = None

    def get(self, bearer: TokenEnvelope) -> Secret | None:
        """The CSRF token for ``bearer``, if there is one."""
        kept = self._kept
        return kept[1] if kept is not None and kept[0].value == bearer.value else None

    def learn(self, bearer: TokenEnvelope, header: str | None) -> None:
        """Keep what a reply to ``bearer`` carried in ``x-csrf-token``, unless it is a word of the protocol."""
        if header and header.strip().lower() not in {"fetch", "required"}:
            with self._lock:
                self._kept = (bearer, Secret(header.strip()))

    def drop(self, refused: Secret | None) -> None:
        """Forget the token ``refused``, unless another thread has fetched a newer one meanwhile."""
        with self._lock:
            if self._kept is not None and refused is not None and self._kept[1] == refused:
                self._kept = None
