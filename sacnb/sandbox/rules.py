"""Which misbehaviours are switched on, and whether one strikes now."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sacnb.sandbox.misbehaviours import COMMON_OPTIONS, KINDS, MISBEHAVIOURS, OPTIONS, Misbehaviour

__all__ = ["Rules"]


class _Rule:
    """A misbehaviour that is switched on, and how often it could have struck and did."""

    def __init__(self, misbehaviour: Misbehaviour, given: Mapping[str, Any]) -> None:
        name = misbehaviour.name
        for option, value in given.items():
            _check(misbehaviour, option, value)
        on = given.get("on", misbehaviour.on)
        self.misbehaviour = misbehaviour
        self.on = str(on)
        self.kinds = frozenset(KINDS[self.on])
        self.times = _whole(name, "times", given.get("times", misbehaviour.times), least=1, optional=True)
        self.every = _whole(name, "every", given.get("every", 1), least=1) or 1
        self.after = _whole(name, "after", given.get("after", 0), least=0) or 0
        own = {**misbehaviour.options, **{k: v for k, v in given.items() if k not in COMMON_OPTIONS}}
        self.options: Mapping[str, Any] = MappingProxyType(own)
        self.seen = self.struck = 0

    @property
    def is_spent(self) -> bool:
        return self.times is not None and self.struck >= self.times

    def strikes(self, kind: str) -> bool:
        if kind not in self.kinds or self.is_spent:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.seen - self.after) % self.every:
            return False
        self.struck += 1
        return True

    def describe(self) -> dict[str, Any]:
        common = {"on": self.on, "times": self.times, "every": self.every, "after": self.after}
        return {"name": self.misbehaviour.name, **self.options, **common, "seen": self.seen, "struck": self.struck}


class Rules:
    """The misbehaviours that are switched on, safe to change from any thread while requests run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, _Rule] = {}

    def switch_on(self, name: str, options: Mapping[str, Any]) -> None:
        """Switch a misbehaviour on, in the place of one of the same name.

        Raises:
            ValueError: an unknown name or option, or a value that makes no sense.
        """
        _known(name)
        rule = _Rule(MISBEHAVIOURS[name], options)
        with self._lock:
            self._rules[name] = rule

    def switch_off(self, name: str | None = None) -> None:
        """Switch one misbehaviour off, or all of them; one that is not on is no error."""
        if name is not None:
            _known(name)
        with self._lock:
            if name is None:
                self._rules.clear()
            else:
                self._rules.pop(name, None)

    def take(self, name: str, kind: str) -> Mapping[str, Any] | None:
        """The options of the misbehaviour if it strikes a request of this kind now, else ``None``; a strike counts."""
        with self._lock:
            rule = self._rules.get(name)
            return rule.options if rule is not None and rule.strikes(kind) else None

    def is_quiet(self, names: Iterable[str]) -> bool:
        """Whether none of these misbehaviours can strike."""
        with self._lock:
            return all(name not in self._rules or self._rules[name].is_spent for name in names)

    def describe(self) -> list[dict[str, Any]]:
        """Every misbehaviour that is switched on, with its options and how often it struck."""
        with self._lock:
            return [rule.describe() for rule in self._rules.values()]


def _check(misbehaviour: Misbehaviour, option: str, value: Any) -> None:
    name = misbehaviour.name
    if option == "on":
        if value not in KINDS or not set(KINDS[value]) & set(KINDS[misbehaviour.within]):
            usable = [kind for kind, kinds in KINDS.items() if set(kinds) & set(KINDS[misbehaviour.within])]
            raise ValueError(f"{name}: on={value!r} is none of: {', '.join(usable)}.")
    elif option in misbehaviour.options:
        if not OPTIONS[option].accepts(value):
            raise ValueError(f"{name}: {option} takes {OPTIONS[option].description}, not {value!r}.")
    elif option not in COMMON_OPTIONS:
        known = ", ".join([*misbehaviour.options, *COMMON_OPTIONS])
        raise ValueError(f"The misbehaviour {name!r} has no option {option!r}; it has: {known}.")


def _known(name: str) -> None:
    if name not in MISBEHAVIOURS:
        close = difflib.get_close_matches(name, MISBEHAVIOURS, n=3) or list(MISBEHAVIOURS)
        raise ValueError(f"There is no misbehaviour {name!r}; there is: {', '.join(close)}.")


def _whole(name: str, option: str, value: object, *, least: int, optional: bool = False) -> int | None:
    if value is None and optional:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {option} must be a whole number from {least} on, not {value!r}.")
    return value
