"""State of the token (current and previous value, failures, cooldowns) and its rules; no threads in here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sacnb._auth.token import RefreshPolicy, RefreshReason, TokenEnvelope
from sacnb.errors import RefreshError, RetryOutcome

log = logging.getLogger("sacnb.auth")

_ESCALATE_AT: Final = 3
# Remember a final refusal for this long (jittered): a user's loop must not hammer the token endpoint until it locks the
# client out.
_REFUSAL_MEMORY_S: Final = (10.0, 20.0)
# Cap Retry-After, as for requests: a value of hours would freeze the notebook.
_RETRY_AFTER_CAP_S: Final = 60.0
# Lengthen a cooldown by up to this share, so that many notebooks do not come back together.
_COOLDOWN_JITTER: Final = 0.25


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed refresh, kept to raise its error again in another thread or a little later."""

    message: str
    error_code: str
    hint: str | None
    retry_after_s: float | None
    outcome: RetryOutcome | None
    at: datetime

    @classmethod
    def of(cls, error: RefreshError, at: datetime) -> Failure:
        """Return the failure in ``error``."""
        return cls(error.message, error.error_code, error.hint, error.retry_after_s, error.outcome, at)

    def error(self, note: str = "", *, retry_after_s: float | None = None) -> RefreshError:
        """Return a new error of the same content; each thread raises its own, since tracebacks grow on the object."""
        return RefreshError(
            self.message + note,
            error_code=self.error_code,
            last_attempt_at=self.at,
            retry_after_s=self.retry_after_s if retry_after_s is None else retry_after_s,
            hint=self.hint,
            outcome=self.outcome,
        )


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of the wall clock; a clock that is set back before its start ends it too."""

    start: datetime
    seconds: float

    def left_s(self, now: datetime) -> float:
        passed_s = (now - self.start).total_seconds()
        return self.seconds - passed_s if 0 <= passed_s < self.seconds else 0.0


def _left_s(span: _Span | None, now: datetime) -> float:
    return span.left_s(now) if span is not None else 0.0


class TokenState:
    """State of the token: current and previous value, consecutive failures, cooldowns.

    Not thread-safe: the guard calls it under its lock. ``random`` gives numbers in [0, 1).
    """

    def __init__(self, policy: RefreshPolicy, random: Callable[[], float]) -> None:
        self.token: TokenEnvelope | None = None
        self._latest: TokenEnvelope | None = None  # the last one obtained, kept when it is rejected
        self._policy = policy
        self._random = random
        self._failures = 0  # in a row
        self._refusal: Failure | None = None
        self._refused: _Span | None = None  # the source is not asked
        self._cooldown: _Span | None = None  # the source is not asked early
        self._stuck: _Span | None = None  # rejecting does not help: the rejected token came back
        self._warned_no_progress = False

    def may_refresh_early(self, token: TokenEnvelope, now: datetime) -> bool:
        """Return whether to refresh an aging ``token`` now: it is the current one, and no cooldown runs."""
        return self.token is token and not _left_s(self._cooldown, now) and not _left_s(self._refused, now)

    def reject(self, token: TokenEnvelope, now: datetime) -> None:
        """Drop ``token`` if it is the current one, by identity: a source may hand out the same text again."""
        if self.token is token and not _left_s(self._stuck, now):
            self.token = None

    def reason_to_refresh(self) -> RefreshReason:
        """Return why callers would have to wait for a refresh now."""
        if self.token is not None:
            return "expired"
        return "absent" if self._latest is None else "rejected"

    def refusal(self, now: datetime, *, is_final: bool) -> RefreshError | None:
        """Return the error to raise instead of asking, while an earlier answer still counts.

        ``is_final`` selects answers that will not change by themselves; otherwise a ``Retry-After``, with the seconds
        that are left of it.
        """
        left_s = _left_s(self._refused, now)
        if self._refusal is None or not left_s or (self._refusal.error_code == "non_retriable") is not is_final:
            return None
        note = f" (Remembered: the token endpoint is not asked again for {left_s:.0f} s.)"
        return self._refusal.error(note, retry_after_s=None if is_final else left_s)

    def succeed(self, fresh: TokenEnvelope, reason: RefreshReason, now: datetime) -> None:
        """Enter the token of a successful refresh."""
        previous, self.token, self._latest = self._latest, fresh, fresh
        self._failures = 0
        self._refusal = self._refused = self._cooldown = self._stuck = None
        if previous is None:
            return
        is_rejected_again = reason == "rejected" and fresh.value == previous.value
        if fresh.expires_at_local > previous.expires_at_local and not is_rejected_again:
            return
        # The identity provider caches: asking again would bring the same token again.
        self._cooldown = _Span(now, self._cooldown_s())
        if is_rejected_again:
            self._stuck = _Span(now, self._memory_s())
        if not self._warned_no_progress:
            self._warned_no_progress = True
            log.warning(
                "The token endpoint handed out a token that is no newer than the one it replaces; it is used, and not "
                "refreshed early for %.0f s.",
                self._cooldown.seconds,
            )

    def fail(self, failure: Failure, reason: RefreshReason, *, was_asked: bool) -> tuple[Failure, float, bool]:
        """Enter a failed refresh; ``was_asked`` is false where the source was not asked, and nothing new is known.

        Return the failure to raise, the cooldown that follows in seconds, and whether it escalates.
        """
        if was_asked:
            self._failures += 1
        escalates = was_asked and self._failures == _ESCALATE_AT
        if was_asked and self._failures >= _ESCALATE_AT:
            note = f" This is failure {self._failures} in a row (refresh_escalated)."
            failure = Failure.of(failure.error(note), failure.at)
        if escalates:
            log.error("refresh_escalated: %s", failure.message)
        if was_asked and failure.error_code == "non_retriable":
            self._refusal, self._refused = failure, _Span(failure.at, self._memory_s())
        elif was_asked and failure.retry_after_s:
            self._refusal = failure
            self._refused = _Span(failure.at, min(failure.retry_after_s, _RETRY_AFTER_CAP_S))
        if reason != "aging":
            return failure, 0.0, escalates
        self._cooldown = _Span(failure.at, self._cooldown_s())
        return failure, self._cooldown.seconds, escalates

    def _cooldown_s(self) -> float:
        return self._policy.min_cooldown_s * (1 + _COOLDOWN_JITTER * self._random())

    def _memory_s(self) -> float:
        low, high = _REFUSAL_MEMORY_S
        return low + (high - low) * self._random()
