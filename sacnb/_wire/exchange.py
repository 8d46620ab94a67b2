"""Send one request: attach the token, renew it once where it is refused, answer a CSRF challenge, judge the answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import requests
import urllib3
from requests.cookies import RequestsCookieJar

from sacnb._auth.guard import TokenGuard
from sacnb._auth.token import TokenEnvelope
from sacnb._connections import Interrupt, Watch, watch
from sacnb._endpoints import CSRF_HEADER
from sacnb._fork import renew_after_fork
from sacnb._http import read_http_date, read_retry_after_s, seal
from sacnb._settings import Secret
from sacnb._wire.authorizer import Authorizer, UselessRenewals
from sacnb._wire.failures import (
    TOO_EARLY,
    is_transient,
    login_page,
    no_answer,
    redirected,
    refusal,
    too_late,
)
from sacnb._wire.message import Answer, Received, Request, UndecodableBody, check_shape, read_body, request_id
from sacnb._wire.retry import RetryableFailure, RetryBudget, RetryPlan, RetryRun
from sacnb._wire.telemetry import FailureEvent, RequestEvent, RetryEvent, Telemetry, current_trace_id, log
from sacnb.errors import BadAnswer, Cancelled, SacError

# Of a refusal only the beginning is read: it is a sentence, or a web page around one.
_MAX_REFUSAL_BYTES: Final = 65_536
_MIN_TIMEOUT_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Csrf:
    """A CSRF token with the bearer token it was given for, and the cookies of the session that it belongs to."""

    bearer: TokenEnvelope
    value: Secret
    cookies: RequestsCookieJar


class CsrfKeeper:
    """Keeps the CSRF token of a session; a new bearer token makes it worthless. Only writing requests use it."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start without a token: the parent keeps its own."""
        self._lock = threading.Lock()
        self._kept: Csrf | None = None

    def get(self, bearer: TokenEnvelope) -> Csrf | None:
        """Return the CSRF token for *bearer*, if there is one."""
        kept = self._kept
        return kept if kept is not None and kept.bearer.value == bearer.value else None

    def learn(self, bearer: TokenEnvelope, response: requests.Response) -> None:
        """Keep the ``x-csrf-token`` that *response* gives to *bearer*, and cookies as long as there is such a token."""
        header = response.headers.get(CSRF_HEADER, "").strip()
        with self._lock:
            kept = self.get(bearer)
            cookies = RequestsCookieJar() if kept is None else kept.cookies.copy()
            for one in (*response.history, response):
                cookies.update(one.cookies)
            if header and header.lower() not in {"fetch", "required"}:
                self._kept = Csrf(bearer, Secret(header), cookies)
            elif kept is not None:
                self._kept = replace(kept, cookies=cookies)

    def drop(self, refused: Csrf | None) -> None:
        """Forget *refused*, unless another thread has fetched a newer token meanwhile."""
        with self._lock:
            if self._kept is not None and refused is not None and self._kept.value == refused.value:
                self._kept = None


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts of a session that send a request. ``transmit`` sends it once, and leaves the body unread."""

    guard: TokenGuard
    telemetry: Telemetry
    plan: RetryPlan
    timeout: tuple[float, float]
    csrf: CsrfKeeper
    csrf_url: str
    useless: UselessRenewals
    transmit: Callable[[Request, TokenEnvelope, Csrf | None, tuple[float, float]], requests.Response]
    now: Callable[[], datetime]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    random: Callable[[], float]


def carry_out(
    engine: Engine,
    request: Request,
    *,
    deadline_s: float | None = None,
    cancelled: Callable[[], bool] | None = None,
    budget: RetryBudget | None = None,
) -> Answer:
    """Return the good answer to *request*, after as many attempts as the plan allows.

    Raises what ``SacSession.fetch`` says.
    """
    plan = engine.plan if deadline_s is None else replace(engine.plan, deadline_s=max(deadline_s, 0.0))
    run = RetryRun(
        plan,
        request.operation,
        clock=engine.clock,
        sleep=engine.sleep,
        random=engine.random,
        cancelled=cancelled,
        budget=budget,
    )
    try:
        with (
            watch(plan.deadline_s) as watched,
            cancelled.over(watched) if isinstance(cancelled, Interrupt) else nullcontext(),
        ):
            exchange = Exchange(engine, request, run, watched)
            return run.run(exchange.send, exchange.on_wait)
    except BaseException as error:
        seal(error)
        if isinstance(error, SacError):
            error.outcome = error.outcome or run.outcome()
            if not isinstance(error, Cancelled):
                status = getattr(error, "status", None)
                engine.telemetry.on_failure(
                    FailureEvent(request.operation, type(error).__name__, status, current_trace_id())
                )
        raise


class Exchange:
    """One request until it is answered. ``send`` is one attempt, to be run by a RetryRun."""

    def __init__(self, engine: Engine, request: Request, run: RetryRun, watched: Watch) -> None:
        self._engine = engine
        self._request = request
        self._run = run
        self._watched = watched
        self._authorizer = authorizer_for(engine, request)
        self._csrf: Csrf | None = None  # sent with the last attempt
        self._csrf_was_fetched = False

    def send(self) -> Answer | RetryableFailure:
        """Return the answer, or a failure; one is also raised. Raises SacError where another attempt cannot help."""
        received = self._authorizer.send(self._send, again=self._fetch_csrf)
        if 200 <= received.status < 300:
            return self._take(received)
        return self._judge(received)

    def on_wait(self, failure: RetryableFailure, delay_s: float, tries: int) -> None:
        """Log a wait and count it."""
        request, attempts = self._request, self._run.plan.max_attempts
        announce_retry(self._engine, request, failure.cause, delay_s, tries)
        log.log(
            logging.WARNING if failure.is_throttle else logging.INFO,
            "%s: %s; waiting %.1f s before attempt %d of %d.",
            request.operation,
            f"{request.service.name} throttles (429)" if failure.is_throttle else f"no good answer ({failure.cause})",
            delay_s,
            tries + 1,
            attempts,
            extra={"request_id": getattr(failure.error, "request_id", None)},
        )

    # -- CSRF --------------------------------------------------------------------------------------------------------

    def _fetch_csrf(self, received: Received) -> bool:
        """Fetch a CSRF token if *received* asks for one; return whether to send the request again with it."""
        if self._csrf_was_fetched or not self._wants_csrf(received):
            return False
        self._csrf_was_fetched = True
        engine = self._engine
        engine.csrf.drop(self._csrf)
        announce_retry(engine, self._request, "csrf")
        request = Request(
            method="GET",
            url=engine.csrf_url,
            operation="csrf",
            headers={"Accept": "application/json", CSRF_HEADER: "fetch"},
            body=None,
            is_idempotent=True,
            expect="any",
        )
        carry_out(engine, request, deadline_s=self._run.remaining_s(), cancelled=self._run.cancelled)
        return True

    def _wants_csrf(self, received: Received) -> bool:
        """Return whether a refusal only asks for a CSRF token, or for another one because its session has ended."""
        if self._request.is_safe:
            return False
        if received.status == 403:
            required = received.headers.get(CSRF_HEADER, "").lower() == "required"
            if required or b"csrf" in received.body.lower():  # the latter was seen in clients (unconfirmed)
                return True
        # A server that has forgotten the session behind the cookies refuses them in one of these ways.
        is_refused = received.status in {400, 403} or (300 <= received.status < 400 and "Location" in received.headers)
        return is_refused and self._csrf is not None and len(self._csrf.cookies) > 0

    # -- one sending -------------------------------------------------------------------------------------------------

    def _send(self, token: TokenEnvelope) -> Received:
        engine, request = self._engine, self._request
        self._csrf = None if request.is_safe else engine.csrf.get(token)
        sending = _Sending(engine.clock())
        try:
            response = sending.response = engine.transmit(request, token, self._csrf, self._timeout())
            body, sending.bytes_received = self._read(response)
            received = received_from(response, body)
        except (OSError, urllib3.exceptions.HTTPError, UndecodableBody) as error:  # those of requests are OSErrors
            failure = self._failure(error, sending)
            sending.error_kind = failure.cause
        except BaseException as error:
            sending.error_kind = error.cause if isinstance(error, RetryableFailure) else type(error).__name__
            raise
        else:
            if request.wants_csrf:
                engine.csrf.learn(token, response)
            return received
        finally:
            self._record(sending)
        self._run.raise_if_cancelled()  # it may be why the connection broke
        # Raised out here, so that the libraries' error, with the request on it, is not its context.
        raise failure

    def _failure(self, error: Exception, sending: _Sending) -> RetryableFailure:
        if self._watched.ended == "deadline":
            return too_late(self._request, self._run.plan.deadline_s)
        headers_came = sending.response is not None
        return no_answer(self._request, error, headers_came=headers_came)

    def _timeout(self) -> tuple[float, float]:
        left_s = max(self._run.remaining_s(), _MIN_TIMEOUT_S)
        connect_s, read_s = self._engine.timeout
        return min(connect_s, left_s), min(read_s, left_s)

    def _read(self, response: requests.Response) -> tuple[bytes, int]:
        encoding = response.headers.get("Content-Encoding", "")
        if not 200 <= response.status_code < 300:
            return read_refusal(response, between=self._between_packets)
        max_bytes = self._request.bound.megabytes * 1_000_000
        read = read_body(response.raw, encoding, between=self._between_packets, max_bytes=max_bytes)
        # The end of a body that ends with its connection looks the same when the connection was shut down.
        self._between_packets()
        return read

    def _between_packets(self) -> None:
        self._run.raise_if_cancelled()
        if self._watched.ended == "deadline" or self._run.remaining_s() <= 0:
            raise too_late(self._request, self._run.plan.deadline_s)

    def _record(self, sending: _Sending) -> None:
        response = sending.response
        status = reference = None
        if response is not None:
            response.close()  # back to the pool if it was read to its end, else away with the connection
            status, reference = response.status_code, request_id(response.headers)
        self._run.note(status, sending.error_kind, reference)
        self._engine.telemetry.on_request(
            RequestEvent(
                operation=self._request.operation,
                method=self._request.method,
                url=self._request.shown_url,
                status=status,
                error_kind=sending.error_kind,
                elapsed_s=self._engine.clock() - sending.started,
                bytes_received=sending.bytes_received,
                request_id=reference,
                trace_id=current_trace_id(),
            )
        )

    # -- judging what came -------------------------------------------------------------------------------------------

    def _take(self, received: Received) -> Answer:
        request = self._request
        if received.is_page and not request.accepts_pages:
            raise login_page(request, received.status)
        answer = received.answer(self._run.outcome())
        try:
            check_shape(answer, request.expect)
            if request.check is not None:
                request.check(answer)
        except BadAnswer as error:
            if not error.truncated:
                raise
            failure = RetryableFailure("truncated", error, may_retry=request.is_idempotent)
        else:
            return answer
        raise failure

    def _judge(self, received: Received) -> RetryableFailure:
        request, status = self._request, received.status
        if 300 <= status < 400 and "Location" in received.headers:
            raise redirected(request, received.url, received.headers["Location"])
        error = refusal(request, received)
        wait_s = read_retry_after_s(
            received.headers.get("Retry-After"), server_date=received.server_date, now=self._engine.now()
        )
        if status in {429, TOO_EARLY}:  # whatever the method: it has not been carried out
            return RetryableFailure(str(status), error, is_throttle=status == 429, retry_after_s=wait_s)
        if is_transient(status):
            return RetryableFailure(
                str(status),
                error,
                may_retry=request.is_idempotent,
                retry_after_s=wait_s if status == 503 else None,
            )
        raise error


@dataclass(slots=True)
class _Sending:
    """One sending, filled in while it lasts."""

    started: float
    response: requests.Response | None = None
    bytes_received: int = 0
    error_kind: str | None = None


def received_from(response: requests.Response, body: bytes) -> Received:
    """Return *response* as a value."""
    return Received(
        url=response.url,
        status=response.status_code,
        headers=response.headers,
        body=body,
        request_id=request_id(response.headers),
        server_date=read_http_date(response.headers.get("Date")),
    )


def read_refusal(response: requests.Response, between: Callable[[], None] = lambda: None) -> tuple[bytes, int]:
    """Return the beginning of a body that explains a refusal, and the number of bytes read; empty if it is damaged."""
    encoding = response.headers.get("Content-Encoding", "")
    try:
        return read_body(response.raw, encoding, between=between, max_bytes=_MAX_REFUSAL_BYTES, cut=True)
    except (OSError, urllib3.exceptions.HTTPError, UndecodableBody):
        return b"", 0  # the status is the message, and must not be hidden by a damaged explanation of it


def authorizer_for(engine: Engine, request: Request) -> Authorizer:
    """Return what sends *request* with the engine's tokens."""
    return Authorizer(engine.guard, engine.useless, request, lambda cause: announce_retry(engine, request, cause))


def announce_retry(engine: Engine, request: Request, cause: str, delay_s: float = 0.0, attempt: int = 1) -> None:
    """Count a retry of *request*, and tell the hooks of it."""
    engine.telemetry.on_retry(
        RetryEvent(
            operation=request.operation,
            cause=cause,
            delay_s=delay_s,
            attempt=attempt,
            max_attempts=engine.plan.max_attempts,
            trace_id=current_trace_id(),
        )
    )
