"""One access token as an immutable value, its lifetime, and the policy and the event of its refresh."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeGuard

from sacnb._settings import Secret
from sacnb.errors import RefreshError, SettingsError

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
    """Return ``expires_in`` as positive seconds (servers also send a string); ``None`` where it is none."""
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
RefreshResult = Literal["success", "retrying", "failed"]

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
