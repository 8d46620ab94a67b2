"""The misbehaviours by name: what each does, its options and their defaults."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = ["COMMON_OPTIONS", "KINDS", "MISBEHAVIOURS", "OPTIONS", "Misbehaviour", "Option", "Rules"]

PAGES: Final = ("facts", "aggregation", "master_data", "master", "hierarchy")
API: Final = (*PAGES, "namespaces", "providers", "service", "metadata", "csrf", "import", "other")
# What ``on`` may name: a kind of request, or a group of kinds.
KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"pages": PAGES, "api": API, "token": ("token",), "any": (*API, "token"), **{kind: (kind,) for kind in API}}
)
COMMON_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "times": "how often it strikes before it switches itself off; without it, until it is switched off",
        "every": "it strikes each n-th matching request (1: each)",
        "after": "how many matching requests are spared first",
        "on": "the requests it strikes: " + ", ".join(KINDS),
    }
)


@dataclass(frozen=True, slots=True)
class Option:
    """What an option of a misbehaviour means, and which values it takes."""

    description: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_wait(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "seconds": Option("seconds, a number", _is_number),
        "retry_after_s": Option("seconds from 0 on, or null for no header", lambda v: v is None or _is_wait(v)),
        "delay_s": Option("seconds from 0 on", _is_wait),
        "pause_s": Option("seconds between two chunks, from 0 on", _is_wait),
        "chunks": Option("how many chunks, from 1 on", _is_count),
        "keep": Option("the part of the body that is kept, from 0 to 1", lambda v: _is_wait(v) and v <= 1),
        "rows": Option("how many rows, from 1 on", _is_count),
        "status": Option("an error status, from 400 to 599", lambda v: _is_count(v) and 400 <= v <= 599),
        "origin": Option("scheme and host, a text", lambda v: isinstance(v, str)),
        "column": Option("a name, a text", lambda v: isinstance(v, str)),
        "to": Option("'self' or 'first'", lambda v: v in ("self", "first")),
        "where": Option("'after' or 'inside'", lambda v: v in ("after", "inside")),
        "value": Option("anything that JSON can hold", lambda v: v is None or isinstance(v, str | int | float)),
    }
)


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One way to misbehave.

    ``on`` is what it strikes unless told otherwise, ``within`` the widest it can strike. ``options`` holds its own
    options with their defaults, beside the common ones; ``times`` is its own default of the common option.
    """

    name: str
    description: str
    on: str
    within: str
    options: Mapping[str, Any]
    times: int | None


def _catalogue() -> Mapping[str, Misbehaviour]:
    def entry(
        name: str,
        description: str,
        on: str = "api",
        *,
        within: str | None = None,
        times: int | None = None,
        **options: Any,
    ) -> Misbehaviour:
        widest = within or ("any" if on == "api" else on)
        return Misbehaviour(name, description, on, widest, MappingProxyType(options), times)

    entries = [
        # Tokens at the API
        entry("token_lifetime", "tokens issued from now on live this many seconds", "token", seconds=2),
        entry("unauthorized", "401 for a token that is good", within="api"),
        entry("revoke_tokens", "all tokens so far are revoked, once unless told otherwise", within="api", times=1),
        # Refusals
        entry("throttle_seconds", "429 with Retry-After in seconds", retry_after_s=1),
        entry("throttle_date", "429 with Retry-After as an HTTP date", retry_after_s=1),
        entry("throttle_bare", "429 without Retry-After"),
        entry("forbidden", "403 [3401]: the OAuth client is not allowed to interact with the API", within="api"),
        entry("error_500", "500 Internal Server Error"),
        entry("error_502", "502 with the HTML body of a gateway"),
        entry("error_503", "503 Service Unavailable; retry_after_s adds a Retry-After", retry_after_s=None),
        entry("error_504", "504 with the HTML body of a gateway"),
        entry("error_message_object", "the message of every error is an object with a value"),
        entry("html_login", "an HTML login page with status 200"),
        # The connection
        entry("reset_before_body", "the connection is reset before anything is answered"),
        entry("reset_mid_body", "the connection is reset after half of the body"),
        entry("slow_bytes", "the body drips: chunks with pauses", chunks=8, pause_s=0.05),
        entry("truncated_json", "the JSON is cut off, in an answer that is otherwise whole", keep=0.6),
        entry("truncated_gzip", "the gzip stream is cut off, in an answer that is otherwise whole", keep=0.6),
        entry("skewed_date", "the Date header is off by this many seconds, on every answer", "any", seconds=7200),
        # Paging
        entry("next_link_service_relative", "nextLink is 'FactData?...'", "pages"),
        entry("next_link_root_relative", "nextLink is '/api/v1/...'", "pages"),
        entry("next_link_absolute", "nextLink is a full URL, as it is without misbehaviour", "pages"),
        entry("next_link_cross_origin", "nextLink points to another host", "pages", origin="https://elsewhere.invalid"),
        entry("next_link_looping", "nextLink points to its own page, or to the 'first'", "pages", to="self"),
        entry("next_link_expired", "following this nextLink always ends in an error", "pages", status=410),
        entry("next_link_first", "nextLink stands before value", "pages"),
        # Rows
        entry("rows_repeated", "the last rows of the page come twice, against @odata.count", "pages", rows=1),
        entry("rows_missing", "the last rows of the page are missing, against @odata.count", "pages", rows=1),
        entry("numeric_strings", "numbers come as strings", "pages"),
        entry("unknown_column", "rows have a column that the metadata does not know", "pages", column="Surprise"),
        entry("nulls_left_out", "a null measure is left out of its row", "pages"),
        entry("stream_error", "an error object in mid-answer, 'after' value or 'inside'", "pages", where="after"),
        # The token endpoint
        entry("expires_in", "expires_in says this, true or not; null leaves it out", "token", value="3600"),
        entry("same_token", "the token endpoint hands back the last token while it lives", "token"),
        entry("token_down", "the token endpoint resets the connection", "token"),
        entry("token_slow", "the token endpoint takes its time", "token", delay_s=1.0),
        entry("token_429", "the token endpoint answers 429; null: without Retry-After", "token", retry_after_s=1),
        entry("token_500", "the token endpoint answers 500", "token"),
        entry("token_invalid_client", "the token endpoint refuses a good client id and secret", "token"),
    ]  # fmt: skip
    return MappingProxyType({e.name: e for e in entries})


MISBEHAVIOURS: Final[Mapping[str, Misbehaviour]] = _catalogue()


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
