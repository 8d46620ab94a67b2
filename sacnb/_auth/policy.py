"""When a token is renewed, and the event that tells of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sacnb.errors import SettingsError

RefreshReason = Literal["absent", "aging", "expired", "rejected", "forced"]
RefreshResult = Literal["success", "retrying", "failed"]

MIN_MARGIN_S: Final = 30.0
_THRESHOLD_CAP_S: Final = 120.0
_THRESHOLD_SHARE: Final = 0.20


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """How early a token is renewed, and how long a fruitless early renewal is not repeated. All in seconds.

    ``margin_s`` replaces the threshold of min(120 s, a fifth of the lifetime); it is at least 30 s, and is ignored for
    a token that lives no longer than it, since such a token would be renewed with every request.
    ``min_cooldown_s`` never holds back the renewal of a token that is expired, rejected or forced.
    ``max_skew_s`` is how far the server's clock may be from ours before it is reckoned with.
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
        """The seconds before expiry at which a token with a lifetime of ``ttl_s`` seconds counts as aging."""
        if self.margin_s is not None and self.margin_s < ttl_s:
            return self.margin_s
        return min(_THRESHOLD_CAP_S, _THRESHOLD_SHARE * ttl_s)


@dataclass(frozen=True, slots=True)
class RefreshEvent:
    """What happened to a token, without any secret.

    ``attempt_id`` (a UUID) is shared by the events of one renewal. ``delay_s`` is the wait before the next try, or the
    cooldown after a failed one. ``coalesced`` counts the other callers that were waiting for the same renewal.
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
