"""Keep one token valid for any number of threads, with as few requests to the token endpoint as possible."""

from __future__ import annotations

import logging
import random as _random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol

from sacnb._auth.sources import MIGRATE_HINT, TokenSource
from sacnb._auth.token import Failure, RefreshPolicy, RefreshReason, TokenEnvelope, TokenState, utc_now
from sacnb._connections import current_watch
from sacnb._fork import renew_after_fork
from sacnb.errors import Cancelled, RefreshError

log = logging.getLogger("sacnb.auth")

# Callers wait in slices: a wait without an end cannot be interrupted on Windows, and would not see a cancellation.
_WAIT_SLICE_S: Final = 0.2

RefreshResult = Literal["success", "retrying", "failed"]


@dataclass(frozen=True, slots=True)
class RefreshEvent:
    """One step of a token refresh, without any secret.

    ``attempt_id`` (a UUID) is shared by the events of one refresh. ``delay_s`` is the wait before the next attempt, or
    the cooldown after a failed one. ``coalesced`` counts the other callers that were waiting for the same refresh.
    ``escalated`` is true on the third failure in a row.
    """

    attempt_id: str
    reason: RefreshReason
    outcome: RefreshResult
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    delay_s: float = 0.0
    error_kind: str | None = None
    coalesced: int = 0
    escalated: bool = False


class RefreshRunner(Protocol):
    """Repeats ``fetch`` until it succeeds or must be given up; calls ``on_retry`` with each failure and wait (seconds).

    The room above provides it, since it decides how to wait and how often.
    """

    def __call__(
        self, fetch: Callable[[], TokenEnvelope], on_retry: Callable[[RefreshError, float], None]
    ) -> TokenEnvelope:
        """Return the token of ``fetch``. Raises its last RefreshError, or Cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class EnsureResult:
    """A token to send now.

    ``refresh_applied`` is true for the token of a refresh that this call ran or waited for, ``attempts`` the number of
    requests to the token endpoint that it took.
    """

    token: TokenEnvelope
    refresh_applied: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class RefreshOutcome:
    """Outcome of the latest refresh. Waiters compare ``number`` to see whether a refresh finished meanwhile."""

    number: int = 0
    failure: Failure | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RefreshLease:
    """The right to ask the source; there is one at a time."""

    thread: int


class TokenGuard:
    """Gives out a valid token; however many threads ask, one refresh runs and all get its token.

    A token inside the policy's threshold is *aging*: one caller refreshes it, with one request and no retry, while the
    others keep using it, and a failure is only logged. For a token that is expired, absent, rejected or forced all
    callers wait for the one refresh, and its failure is raised to each of them.

    A caller that is cancelled stops waiting, and leaves a refresh that it ran to the next one. A forked child keeps the
    token, but no lock, no waiter and no refresh of its parent.

    ``run`` repeats failed requests where callers wait; without it there is one attempt. ``listener`` receives every
    RefreshEvent, outside of all locks. ``now`` is the wall clock; ``random`` gives numbers in [0, 1).
    """

    def __init__(
        self,
        source: TokenSource,
        policy: RefreshPolicy | None = None,
        *,
        run: RefreshRunner | None = None,
        listener: Callable[[RefreshEvent], None] | None = None,
        now: Callable[[], datetime] = utc_now,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.source = source
        self.policy = policy or RefreshPolicy()
        self._run = run
        self._listener = listener
        self._now = now
        self._token_state = TokenState(self.policy, random)
        self._outcome = RefreshOutcome()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Take a new lock, without the lease: the threads of the parent do not exist in a forked child."""
        # Guards the state, and is never held while the source is asked or the listener called.
        self._changed = threading.Condition()
        self._lease: RefreshLease | None = None
        self._waiting = 0

    @property
    def principal(self) -> str:
        """Return the owner of the tokens; stable, not secret."""
        return self.source.principal

    @property
    def waiting(self) -> int:
        """Return the number of callers that wait for a refresh now."""
        return self._waiting

    def peek(self) -> TokenEnvelope | None:
        """Return the token, expired or not, without asking for one; ``None`` before the first and after a 401."""
        return self._token_state.token

    def ensure(self) -> EnsureResult:
        """Return a token that is valid now.

        Raises RefreshError, with ``error_code`` ``"refresh_failed"`` (try again later) or ``"non_retriable"``, and
        Cancelled as soon as the request that waits for the token is stopped (the watch around this call).
        """
        token = self._token_state.token
        now = self._now()
        if token is None or token.is_expired(now):
            return self._refresh(forced=False)
        remaining_s = token.remaining_s(now)
        if remaining_s <= self.policy.threshold_s(token.lifetime_s):
            refreshed = self._refresh_early(token)
            if refreshed is not None:
                return refreshed
        log.debug("Token reused; %.0f s remain.", remaining_s, extra=self._record(token))
        return EnsureResult(token, refresh_applied=False, attempts=0)

    def reject(self, token: TokenEnvelope) -> None:
        """Drop ``token``, which SAC refused, if it is still the current one.

        Of twenty threads refused with the same token only the first still finds it here: they cause one refresh.
        """
        with self._changed:
            self._token_state.reject(token, self._now())

    def force(self) -> EnsureResult:
        """Refresh now, whatever the age; simultaneous callers share one refresh. Raises as ``ensure`` does."""
        return self._refresh(forced=True)

    def adopt(self, obtain: Callable[[datetime], TokenEnvelope]) -> TokenEnvelope:
        """Enter the token that *obtain* brings, once, in place of a refresh: a login, whose token all use from then on.

        Waits for a refresh that is running. Raises RefreshError, and whatever *obtain* raises.
        """
        lease = RefreshLease(threading.get_ident())
        try:
            with self._changed:
                self._wait_for_outcome(lease)
                self._lease = lease
            result, _ = self._fetch(lease, "forced", patient=False, obtain=obtain)
        finally:
            self._release(lease)
        if isinstance(result, Failure):
            raise result.error()
        return result

    def _refresh_early(self, token: TokenEnvelope) -> EnsureResult | None:
        """Refresh an aging ``token``; return ``None`` where this caller is to keep using it."""
        lease = RefreshLease(threading.get_ident())
        try:
            with self._changed:
                if self._lease is not None or not self.source.renewable:
                    return None
                if not self._token_state.may_refresh_early(token, self._now()):
                    return None
                self._lease = lease
            result, attempts = self._fetch(lease, "aging", patient=False)
        finally:
            self._release(lease)
        if isinstance(result, TokenEnvelope):
            return EnsureResult(result, refresh_applied=True, attempts=attempts)
        log.warning("The early refresh of the token failed; the old token is kept. %s", result.message)
        if self._token_state.token is token and not token.is_expired(self._now()):
            return EnsureResult(token, refresh_applied=False, attempts=attempts)
        return self._refresh(forced=False)  # it expired meanwhile

    def _refresh(self, *, forced: bool) -> EnsureResult:
        """Wait for a refresh that is running, look again, and fetch."""
        lease = RefreshLease(threading.get_ident())
        try:
            with self._changed:
                outcome = self._wait_for_outcome(lease)
                if outcome is not None and outcome.failure is not None:
                    raise outcome.failure.error()
                token, now = self._token_state.token, self._now()
                if token is not None and not token.is_expired(now) and (outcome is not None or not forced):
                    attempts = outcome.attempts if outcome is not None else 0
                    return EnsureResult(token, refresh_applied=outcome is not None, attempts=attempts)
                reason = "forced" if forced else self._token_state.reason_to_refresh()
                self._raise_if_pointless(reason, now)
                self._lease = lease
            result, attempts = self._fetch(lease, reason, patient=True)
        finally:
            self._release(lease)
        if isinstance(result, Failure):
            raise result.error()
        return EnsureResult(result, refresh_applied=True, attempts=attempts)

    def _wait_for_outcome(self, lease: RefreshLease) -> RefreshOutcome | None:
        """Wait until no refresh runs. Return the outcome of the last one that was waited for, ``None`` without one."""
        before = self._outcome.number
        while self._lease is not None:
            if self._lease.thread == lease.thread:
                raise RuntimeError("A token was requested by the very call that refreshes it (a hook or a source).")
            _raise_if_ended()
            self._waiting += 1
            try:
                self._changed.wait(_WAIT_SLICE_S)
            finally:
                self._waiting -= 1
        return self._outcome if self._outcome.number != before else None

    def _raise_if_pointless(self, reason: RefreshReason, now: datetime) -> None:
        """Refuse to ask a source that cannot help, or that has just refused and would refuse again."""
        if not self.source.renewable and reason in ("rejected", "forced"):
            what = (
                "The server rejected the pasted token (401)"
                if reason == "rejected"
                else "A pasted token cannot be refreshed"
            )
            hint = getattr(self.source, "migrate_hint", MIGRATE_HINT)
            raise RefreshError(f"{what}.", error_code="non_retriable", last_attempt_at=now, hint=hint)
        refusal = self._token_state.refusal(now, is_final=True)
        if refusal is not None:
            raise refusal

    def _fetch(
        self,
        lease: RefreshLease,
        reason: RefreshReason,
        *,
        patient: bool,
        obtain: Callable[[datetime], TokenEnvelope] | None = None,
    ) -> tuple[TokenEnvelope | Failure, int]:
        """Ask the source, as the owner of ``lease``; enter the result and let the next caller in before the listener.

        ``obtain`` is asked instead of the source.

        Anything but a RefreshError (Ctrl-C, Cancelled, a defect of the source) passes through and counts as no attempt.
        """
        attempt_id = str(uuid.uuid4())
        attempts = 0

        def fetch() -> TokenEnvelope:
            nonlocal attempts
            now = self._now()
            with self._changed:
                refusal = self._token_state.refusal(now, is_final=False)
            if refusal is not None:
                raise refusal  # as if the endpoint had repeated its Retry-After
            attempts += 1
            return (obtain or self.source.fetch)(now)

        def on_retry(error: RefreshError, delay_s: float) -> None:
            self._tell(RefreshEvent(attempt_id, reason, "retrying", delay_s=delay_s, error_kind=error.error_code))

        result: TokenEnvelope | Failure
        try:
            result = self._run(fetch, on_retry) if patient and self._run is not None else fetch()
        except RefreshError as error:
            watched = current_watch()
            if watched is not None and watched.ended is not None:
                raise  # the time of this caller's request is up, which is not the failure of the others
            result = Failure.of(error, self._now())
        with self._changed:
            if isinstance(result, TokenEnvelope):
                event = self._succeed(attempt_id, reason, result, attempts)
            else:
                result, event = self._fail(attempt_id, reason, result, attempts)
            self._release(lease)
        self._tell(event)
        return result, attempts

    def _succeed(self, attempt_id: str, reason: RefreshReason, fresh: TokenEnvelope, attempts: int) -> RefreshEvent:
        now = self._now()
        self._token_state.succeed(fresh, reason, now)
        self._outcome = RefreshOutcome(self._outcome.number + 1, None, attempts)
        log.info(
            "Token refreshed (%s): %.0f s remain%s; %d waiting callers served.",
            reason,
            fresh.remaining_s(now),
            ", lifetime clamped" if fresh.was_clamped else "",
            self._waiting,
            extra=self._record(fresh),
        )
        return RefreshEvent(
            attempt_id,
            reason,
            "success",
            issued_at=fresh.issued_at,
            expires_at=fresh.expires_at,
            coalesced=self._waiting,
        )

    def _record(self, token: TokenEnvelope) -> dict[str, object]:
        """Return the attributes of a log record about *token*, for those who read logs by program."""
        return {"was_clamped": token.was_clamped, "margin_s": self.policy.threshold_s(token.lifetime_s)}

    def _fail(
        self, attempt_id: str, reason: RefreshReason, failure: Failure, attempts: int
    ) -> tuple[Failure, RefreshEvent]:
        failure, delay_s, escalated = self._token_state.fail(failure, reason, was_asked=attempts > 0)
        if reason != "aging":  # callers that wait by then ask again, with retries
            self._outcome = RefreshOutcome(self._outcome.number + 1, failure, attempts)
        event = RefreshEvent(
            attempt_id,
            reason,
            "failed",
            delay_s=delay_s,
            error_kind=failure.error_code,
            coalesced=self._waiting,
            escalated=escalated,
        )
        return failure, event

    def _release(self, lease: RefreshLease) -> None:
        with self._changed:
            if self._lease is lease:
                self._lease = None
                self._changed.notify_all()

    def _tell(self, event: RefreshEvent) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except Exception:
            # A broken progress bar must not cost a pull its token.
            log.exception("A listener for refresh events failed.")


def _raise_if_ended() -> None:
    """Raise Cancelled where the caller's request is stopped, RefreshError where its time is up."""
    watched = current_watch()
    ended = None if watched is None else watched.ended
    if ended == "stopped":
        raise Cancelled("The operation was cancelled while it waited for a token.")
    if ended == "deadline":
        raise RefreshError("The deadline passed while the request waited for a token.")
