"""The misbehaviours by name: what each does, its options and their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = ["COMMON_OPTIONS", "KINDS", "MISBEHAVIOURS", "OPTIONS", "Misbehaviour", "Option"]

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
