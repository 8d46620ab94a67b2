"""The access token as an immutable value, its lifetime, the policy of its refresh, and its state; no threads here."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeGuard

from sacnb._settings import Secret
from sacnb.errors import RefreshError, RetryOutcome, SettingsError

log = logging.getLogger("sacnb.auth")

MIN_LIFETIME_S: Final = 30.0
MAX_LIFETIME_S: Final = 3600.0
LIFETIME_SETTING: Final = "SAC_TOKEN_LIFETIME_S"
# When a token ends that does not tell: the last moment a datetime can hold.
UNKNOWN_END: Final = datetime.max.replace(tzinfo=UTC)

# What may stand in a header after "Bearer ". Anything else is refused here, in silence about the value: requests would
# refuse it too, but with the value in its message.
_TOKEN_SHAPE = re.compile(r"[\x21-\x7e]+")


def utc_now() -> datetime:
    """Return the wall clock in UTC. Ages are judged on it, so that a laptop that slept sees that a token expired."""
    return datetime.now(UTC)


class WarnOnce:
    """Log a WARNING for a key the first time, and never again."""

    def __init__(self) -> None:
        self._said: dict[str, object] = {}

    def __call__(self, key: str, message: str, *args: object) -> None:
        """Log ``message % args`` unless ``key`` was warned about before."""
        mark = object()
        if self._said.setdefault(key, mark) is mark:  # one step, so that no lock is needed
            log.warning(message, *args)


# For the life of the process: a token is refreshed every hour, and the same warning every hour would be noise.
PROCESS_WARNINGS: Final = WarnOnce()


@dataclass(frozen=True, slots=True)
class TokenEnvelope:
    """An access token with its times (aware, UTC, on the issuer's clock).

    Only ``value.reveal()`` shows the token, and it cannot be pickled. ``clock_offset`` is the lead of the issuer's
    clock over ours, where it is too large to ignore: with it a wrong clock on this machine neither keeps an expired
    token nor drops a fresh one.
    """

    value: Secret
    issued_at: datetime
    expires_at: datetime
    scope: str | None = None
    was_clamped: bool = False
    clock_offset: timedelta = timedelta(0)

    @property
    def lifetime_s(self) -> float:
        """Return the seconds from issue to expiry."""
        return (self.expires_at - self.issued_at).total_seconds()

    @property
    def end_is_known(self) -> bool:
        """Return whether the expiry is known; of a pasted token that is no JWT only SAC knows it."""
        return self.expires_at != UNKNOWN_END

    @property
    def expires_at_local(self) -> datetime:
        """Return the moment of expiry on this machine's clock."""
        return self.expires_at - self.clock_offset

    def remaining(self, now: datetime) -> timedelta:
        """Return the time left at ``now`` on this machine's clock; never negative."""
        return max(self.expires_at_local - now, timedelta(0))

    def remaining_s(self, now: datetime) -> float:
        """Return the seconds left at ``now`` on this machine's clock; never negative."""
        return self.remaining(now).total_seconds()

    def is_expired(self, now: datetime) -> bool:
        """Return whether nothing is left at ``now``."""
        return now >= self.expires_at_local


def is_token_text(text: object) -> TypeGuard[str]:
    """Return whether *text* can be sent as a bearer token."""
    return isinstance(text, str) and _TOKEN_SHAPE.fullmatch(text) is not None


def _token_in(reply: Mapping[str, Any]) -> Secret:
    text = reply.get("access_token")
    if not is_token_text(text):
        raise RefreshError(
            "The access token is empty or holds blanks, line breaks or other characters that no token has.",
            error_code="non_retriable",
            hint="Look at SAC_TOKEN_URL: is it the 'Token URL' of System > Administration > App Integration?",
        )
    return Secret(text)


def clamp_chosen_lifetime_s(seconds: float, *, setting: str, warn_once: WarnOnce = PROCESS_WARNINGS) -> float:
    """Return a lifetime that we choose, clamped to 30 to 3600 seconds; warn once per setting where that changes it."""
    effective = min(max(seconds, MIN_LIFETIME_S), MAX_LIFETIME_S) if math.isfinite(seconds) else MAX_LIFETIME_S
    if effective != seconds:
        warn_once(
            setting,
            "%s is %g seconds; %g is used, since it must be within %g to %g.",
            setting,
            seconds,
            effective,
            MIN_LIFETIME_S,
            MAX_LIFETIME_S,
        )
    return effective


def _declared_lifetime_s(raw: object) -> float | None:
    """Return ``expires_in`` as positive seconds (servers also send a string); ``None`` for anything else."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        seconds = float(raw)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _effective_lifetime_s(raw: object, assumed_lifetime_s: float, warn_once: WarnOnce) -> tuple[float, bool]:
    """Return the lifetime to use, and whether it differs from the declared or configured one."""
    declared = _declared_lifetime_s(raw)
    if declared is None:
        effective = clamp_chosen_lifetime_s(assumed_lifetime_s, setting=LIFETIME_SETTING, warn_once=warn_once)
        return effective, effective != assumed_lifetime_s
    if declared > MAX_LIFETIME_S:
        # An early refresh is harmless, and a revoked client should be noticed within an hour.
        warn_once(
            "expires_in above",
            "SAC declares a token lifetime of %g seconds; %g is used: tokens are refreshed earlier than necessary.",
            declared,
            MAX_LIFETIME_S,
        )
        return MAX_LIFETIME_S, True
    if declared < MIN_LIFETIME_S:
        # Counting it as longer than it is would send dead tokens on purpose.
        warn_once(
            "expires_in below",
            "SAC declares a token lifetime of %g seconds, which is used as it is although it is below %g; "
            "see 'Token Lifetime' in App Integration.",
            declared,
            MIN_LIFETIME_S,
        )
    return declared, False


def envelope_from_reply(
    reply: Mapping[str, Any],
    *,
    now: datetime,
    server_date: datetime | None = None,
    assumed_lifetime_s: float = MAX_LIFETIME_S,
    max_skew_s: float = 30.0,
    warn_once: WarnOnce = PROCESS_WARNINGS,
) -> TokenEnvelope:
    """Return the token in the token endpoint's JSON reply.

    ``now`` is this machine's clock when the token was asked for, ``server_date`` the server's at the same moment (its
    ``Date`` header); if the two differ by more than ``max_skew_s`` seconds the envelope is shifted by the difference.
    Missing, zero, negative or unreadable ``expires_in`` means ``assumed_lifetime_s``, clamped.
    Raises RefreshError, which never quotes the reply, if there is no bearer token in it.
    """
    token_type = reply.get("token_type")
    if token_type is not None and str(token_type).lower() != "bearer":
        raise RefreshError(
            f"The token endpoint gave a token of type {str(token_type)[:40]!r}; expected 'bearer'.",
            error_code="non_retriable",
            hint="Look at SAC_TOKEN_URL.",
        )
    value = _token_in(reply)
    lifetime_s, was_clamped = _effective_lifetime_s(reply.get("expires_in"), assumed_lifetime_s, warn_once)
    offset = timedelta(0)
    if server_date is not None and abs(server_date - now) > timedelta(seconds=max_skew_s):
        offset = server_date - now
    scope = reply.get("scope")
    try:
        expires_at = now + offset + timedelta(seconds=lifetime_s)
    except OverflowError:  # a server whose clock shows the end of the year 9999
        offset, expires_at = timedelta(0), now + timedelta(seconds=lifetime_s)
    return TokenEnvelope(
        value=value,
        issued_at=now + offset,
        expires_at=expires_at,
        scope=scope if isinstance(scope, str) else None,
        was_clamped=was_clamped,
        clock_offset=offset,
    )


RefreshReason = Literal["absent", "aging", "expired", "rejected", "forced"]

MIN_MARGIN_S: Final = 30.0
_THRESHOLD_CAP_S: Final = 120.0
_THRESHOLD_SHARE: Final = 0.20


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """The time of an early refresh, and the pause after one that failed; all in seconds.

    ``margin_s`` replaces the threshold of min(120 s, a fifth of the lifetime); it is at least 30 s, and is ignored for
    a token that lives no longer than it, since such a token would be refreshed with every request.
    ``min_cooldown_s`` never delays the refresh of a token that is expired, rejected or forced.
    ``max_skew_s`` is the difference of the server's clock from ours that is ignored.
    """

    margin_s: float | None = None
    min_cooldown_s: float = 300.0
    max_skew_s: float = 30.0

    def __post_init__(self) -> None:
        if self.margin_s is not None and not (math.isfinite(self.margin_s) and self.margin_s >= MIN_MARGIN_S):
            raise SettingsError(
                f"SAC_REFRESH_MARGIN_S is {self.margin_s!r}; expected at least {MIN_MARGIN_S:g} seconds, such as 60."
            )

    def threshold_s(self, ttl_s: float) -> float:
        """Return the seconds before expiry at which a token with a lifetime of ``ttl_s`` seconds counts as aging."""
        if self.margin_s is not None and self.margin_s < ttl_s:
            return self.margin_s
        return min(_THRESHOLD_CAP_S, _THRESHOLD_SHARE * ttl_s)


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
    code: str | None
    hint: str | None
    retry_after_s: float | None
    outcome: RetryOutcome | None
    at: datetime

    @classmethod
    def of(cls, error: RefreshError, at: datetime) -> Failure:
        """Return the failure in ``error``."""
        return cls(error.message, error.error_code, error.code, error.hint, error.retry_after_s, error.outcome, at)

    def error(self, note: str = "", *, retry_after_s: float | None = None) -> RefreshError:
        """Return a new error of the same content; each thread raises its own, since tracebacks grow on the object."""
        return RefreshError(
            self.message + note,
            error_code=self.error_code,
            code=self.code,
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
