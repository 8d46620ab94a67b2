"""Misbehave on request, each with the number of times and the requests it concerns."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MISBEHAVIOURS", "Rules"]

MISBEHAVIOURS: Final[Mapping[str, str]] = {
    "delayed_commit": "rows are committed after `polls` requests for the status",
    "never_commit": "rows are never committed",
    "stale_token": "an append is refused with STALE_CONTINUATION_TOKEN_SEQUENCER, and its channel with it",
    "second_writer": "somebody else opens the channel just before an append",
    "invalid_channel": "the status of a channel is ERR_CHANNEL_MUST_BE_REOPENED, and its appends are refused with 409",
    "dropped_channel": "the channel is gone, and its history with it",
    "row_errors": "one row of each append cannot be loaded",
    "open_in_progress": "opening a channel is refused with 409 ERR_OPEN_CHANNEL_IN_PROGRESS",
    "throttle": "429 without Retry-After",
    "throttle_seconds": "429 with Retry-After in seconds (`seconds`)",
    "throttle_date": "429 with Retry-After as a date (`seconds` from now)",
    "error_500": "500 before anything is done",
    "error_503": "503 before anything is done",
    "error_after": "the request is carried out and answered with 500",
    "lost_request": "the connection breaks before anything is done",
    "lost_answer": "the request is carried out and the connection breaks",
    "expired_token": "401 as for a token that has expired",
    "forbidden": "403 as for a role that lacks a right",
    "documented_answers": "host name, scoped token and status come as the reference describes them, not as to the SDK",
    "slow": "the answer takes `seconds`",
}
_OPTIONS: Final = frozenset({"times", "on", "every", "polls", "seconds"})


@dataclass(slots=True)
class _Rule:
    """``times`` left (None: always), for each ``every``-th request of the kinds ``on`` (empty: any)."""

    times: int | None
    on: frozenset[str]
    every: int
    options: Mapping[str, Any]
    seen: int = 0


class Rules:
    """The misbehaviours that are switched on; safe for threads."""

    def __init__(self) -> None:
        self._rules: dict[str, _Rule] = {}
        self._lock = threading.Lock()

    def switch_on(self, name: str, options: Mapping[str, Any]) -> None:
        """Switch a misbehaviour on. Raises ValueError for an unknown name or option."""
        if name not in MISBEHAVIOURS:
            raise ValueError(f"There is no misbehaviour {name!r}. There is: {', '.join(MISBEHAVIOURS)}.")
        if unknown := options.keys() - _OPTIONS:
            raise ValueError(f"{name} has no option {min(unknown)!r}. There is: {', '.join(sorted(_OPTIONS))}.")
        on = options.get("on", ())
        kinds = frozenset([on] if isinstance(on, str) else on)
        with self._lock:
            self._rules[name] = _Rule(options.get("times"), kinds, int(options.get("every", 1)), dict(options))

    def switch_off(self, name: str | None = None) -> None:
        """Switch one misbehaviour off, or all."""
        with self._lock:
            if name is None:
                self._rules.clear()
            else:
                self._rules.pop(name, None)

    def take(self, name: str, kind: str) -> Mapping[str, Any] | None:
        """Return the options of a misbehaviour if it strikes a request of *kind*, and count it; otherwise ``None``."""
        with self._lock:
            rule = self._rules.get(name)
            if rule is None or (rule.on and kind not in rule.on) or rule.times == 0:
                return None
            rule.seen += 1
            if rule.seen % rule.every:
                return None
            if rule.times is not None:
                rule.times -= 1
            return rule.options
