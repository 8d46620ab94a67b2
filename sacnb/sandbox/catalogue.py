"""The misbehaviours by name: what each does, its options and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

__all__ = ["COMMON_OPTIONS", "KINDS", "MISBEHAVIOURS", "Misbehaviour"]

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
class Misbehaviour:
    """One way to misbehave: ``options`` holds its own options with their defaults, beside the common ones."""

    name: str
    description: str
    on: str = "api"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    times: int | None = None


def _catalogue() -> Mapping[str, Misbehaviour]:
    def entry(name: str, description: str, on: str = "api", times: int | None = None, **options: Any) -> Misbehaviour:
        return Misbehaviour(name, description, on, MappingProxyType(options), times)

    entries = [
        # Tokens at the API
        entry("token_lifetime", "tokens issued from now on live this many seconds", "token", seconds=2),
        entry("unauthorized", "401 for a token that is good"),
        entry("revoke_tokens", "every token issued so far is revoked, once unless told otherwise", times=1),
        # Refusals
        entry("throttle_seconds", "429 with Retry-After in seconds", retry_after_s=1),
        entry("throttle_date", "429 with Retry-After as an HTTP date", retry_after_s=1),
        entry("throttle_bare", "429 without Retry-After"),
        entry("forbidden", "403 [3401]: the OAuth client is not allowed to interact with the API"),
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
