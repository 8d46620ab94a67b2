"""The catalogue of misbehaviours, and the rules that say which are switched on and when they strike.

This module imports nothing heavy: the command line lists the catalogue without the extra.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = [
    "ACTIONS", "COMMON_OPTIONS", "EMPTY_FORMS", "IMPORTS", "KINDS", "MISBEHAVIOURS", "OPTIONS", "PAGE_SHAPES",
    "Misbehaviour", "Option", "Rules",
]  # fmt: skip

PAGES: Final = ("facts", "aggregation", "master_data", "master", "hierarchy")
IMPORTS: Final = (
    "import_models", "import_create", "import_upload", "import_validate", "import_run", "import_status", "import_rows",
    "import_jobs", "import_delete",
)  # fmt: skip
ACTIONS: Final = ("action_start", "action_status")
API: Final = (
    *(*PAGES, "delta", "subscriptions", "namespaces", "providers", "service", "metadata", "csrf", "directory"),
    *(*IMPORTS, *ACTIONS, "count", "other"),
)
# The values of ``on``: a kind of request, or a group of kinds.
KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "pages": PAGES,
        "import": IMPORTS,
        "action": ACTIONS,
        "api": API,
        "token": ("token",),
        "authorize": ("authorize",),
        "any": (*API, "token"),
        **{kind: (kind,) for kind in API},
        "tracked": (*PAGES, "delta"),
    }
)
COMMON_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "times": "number of strikes before it switches itself off; by default it stays on",
        "every": "strike only each n-th matching request (1: each)",
        "after": "number of matching requests to spare first",
        "on": "the requests to strike: " + ", ".join(KINDS),
    }
)


@dataclass(frozen=True, slots=True)
class Option:
    """An option of misbehaviours: its description, and the test for its values."""

    description: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_wait(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _one_of(*choices: Any) -> Option:
    return Option("one of: " + ", ".join(str(choice) for choice in choices), lambda value: value in choices)


PAGE_SHAPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # The values stay as they are
        "blanks": "a blank after each comma between members",
        "json_dumps": "blanks after commas and colons, as Python's json.dumps writes them",
        "pretty": "one member per line, indented",
        "escaped": "every character beyond ASCII is escaped, as surrogate pairs where needed",
        "extra_members": "each row has members that the metadata does not declare, one of them nested",
        "exponents": "every number of a measure has an exponent",
        "exponent_once": "one number of the page has an exponent",
        "number_text_once": "one number of the page is a string",
        # The values change: see sacnb.sandbox.pages
        "null_key_once": "the last dimension is null in one row",
        "null_keys": "the last dimension is null in one row of a hundred",
        "text_number_once": "the last dimension is the bare number 12 in one row",
        "lone_surrogate_once": "the last dimension is half a surrogate pair in one row",
        "row_separators": "the last dimension begins with },{ in every row",
        "more_digits_once": "one number has ten decimals, more than declared",
        "more_digits": "every number has ten decimals, more than declared",
        "null_measures": "the first measure is null in one row of three",
        "measures_left_out": "the first measure is left out of every second row",
        "deep_value": "the first row has a member of 10,000 nested lists",
    }
)
EMPTY_FORMS: Final = ("list", "null", "missing", "204")
OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "seconds": Option("seconds, a number", _is_number),
        "retry_after_s": Option("seconds, or null for no header", lambda v: v is None or _is_number(v)),
        "delay_s": Option("seconds, at least 0", _is_wait),
        "pause_s": Option("seconds between two chunks, at least 0", _is_wait),
        "chunks": Option("a number of chunks, at least 1", _is_count),
        "keep": Option("the part of the body that is sent, from 0 to 1", lambda v: _is_wait(v) and v <= 1),
        "rows": Option("a number of rows, at least 1", _is_count),
        "status": Option("an error status, from 400 to 599", lambda v: _is_count(v) and 400 <= v <= 599),
        "interim_status": _one_of(102, 103),
        "redirect_status": _one_of(301, 302, 303, 307, 308),
        "location": Option("a URL; {url} stands for that of the request", _is_text),
        "body_kib": Option("KiB of blanks, at least 0", lambda v: v == 0 or _is_count(v)),
        "kib": Option("a number of KiB, at least 1", _is_count),
        "mib": Option("a number of MiB, at least 1", _is_count),
        "off_by_bytes": Option(
            "a number of bytes, not 0", lambda v: isinstance(v, int) and not isinstance(v, bool) and v != 0
        ),
        "origin": Option("scheme and host, a text", _is_text),
        "column": Option("a name, a text", _is_text),
        "text": Option("a text, or null", lambda v: v is None or _is_text(v)),
        "to": Option("'self' or 'first'", lambda v: v in ("self", "first")),
        "where": Option("'after' or 'inside'", lambda v: v in ("after", "inside")),
        "value": Option("a text, a number, or null", lambda v: v is None or isinstance(v, str | int | float)),
        "number": _one_of(1002, 1007),
        "polls": Option("a number of answers, at least 1", _is_count),
        "step": Option("the number of a step, at least 1", _is_count),
        "said": Option("true or false", lambda v: isinstance(v, bool)),
        "links": Option("true or false", lambda v: isinstance(v, bool)),
        "form": _one_of(*EMPTY_FORMS),
        "shape": _one_of(*PAGE_SHAPES),
    }
)


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """A misbehaviour.

    ``on`` names the requests it strikes by default, ``within`` those it can strike at most. ``options`` holds its own
    options with their defaults, ``times`` its default of the common option.
    """

    __module__ = "sacnb.sandbox"

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
        # Tokens and sessions
        entry("token_lifetime", "tokens are valid for this many seconds from now on", "token", seconds=2),
        entry("unauthorized", "401 for a valid token", within="api"),
        entry("revoke_tokens", "all tokens issued so far are revoked, once by default", within="api", times=1),
        entry("dead_token_status", "a dead token is refused with this status, not 401", within="api", status=403),
        entry("session_forced", "a session cookie is set although the client asked for none", within="api"),
        entry("session_ended", "requests that carry a session cookie are refused", within="api", status=401),
        # Refusals
        entry("throttle_seconds", "429 with Retry-After in seconds", retry_after_s=1),
        entry("throttle_date", "429 with Retry-After as an HTTP date, which may be past", retry_after_s=1),
        entry("throttle_bare", "429 without Retry-After"),
        entry("throttle_text", "429 with this text as Retry-After", text="soon"),
        entry("forbidden", "403 [3401]: the OAuth client is not allowed to interact with the API", within="api"),
        entry("not_allowed_400", "400: the OAuth client is not allowed to interact with the API", within="api"),
        entry("error_404", "404 with the HTML body of a gateway"),
        entry("error_408", "408 Request Timeout"),
        entry("error_425", "425 Too Early"),
        entry("error_500", "500 Internal Server Error"),
        entry("error_502", "502 with the HTML body of a gateway"),
        entry("error_503", "503 Service Unavailable; retry_after_s adds a Retry-After", retry_after_s=None),
        entry("error_504", "504 with the HTML body of a gateway"),
        entry("error_message_object", "the message of every error is an object with a value"),
        entry("html_login", "an HTML login page with status 200"),
        entry("redirect", "a redirect, with a body of blanks", redirect_status=302, location="{url}", body_kib=0),
        # The connection
        entry("interim_answers", "interim answers come before the answer", interim_status=103, chunks=1, pause_s=0.05),
        entry("reset_before_body", "the connection is reset before the answer"),
        entry("answer_lost", "the request is carried out, and the connection is reset before the answer", within="api"),
        entry("reset_mid_body", "the connection is reset after half of the body"),
        entry("slow_headers", "status line and headers come in chunks with pauses", chunks=8, pause_s=0.05),
        entry("slow_bytes", "the body comes in chunks with pauses", chunks=8, pause_s=0.05),
        entry("two_lengths", "the answer has two Content-Length headers that differ"),
        entry("wrong_length", "Content-Length is off by this many bytes", off_by_bytes=10),
        entry("truncated_json", "the JSON is cut off, in an answer that is otherwise complete", keep=0.6),
        entry("truncated_gzip", "the gzip stream is cut off, in an answer that is otherwise complete", keep=0.6),
        entry("gzip_tail", "zero bytes follow the gzip stream"),
        entry("gzip_bomb", "blanks follow the JSON; a small gzip stream unpacks to this many MiB", mib=16),
        entry("skewed_date", "the Date header is off by this many seconds, on every answer", "any", seconds=7200),
        # Paging
        entry("page_cap", "pages end after these rows; links=true links small pages", "pages", rows=100, links=False),
        entry("page_skipped", "a page is answered with its successor, whose nextLink leads on", "pages"),
        entry("page_swapped", "a page and its successor come in each other's place", "pages"),
        entry("page_repeated", "a page is answered with the rows of the page before it", "pages"),
        entry("unstable_order", "without $orderby, each page beyond the first sees another order of rows", "pages"),
        entry("endless_pages", "pages have no rows, and each links to another one", "pages"),
        entry("empty_last_page", "the last page links to one more page, which is empty", "pages", form="list"),
        entry("empty_page", "a page without rows has this form of value", "pages", form="null"),
        entry("next_link_service_relative", "nextLink is 'FactData?...'", "pages"),
        entry("next_link_root_relative", "nextLink is '/api/v1/...'", "pages"),
        entry("next_link_absolute", "nextLink is a full URL, as without misbehaviour", "pages"),
        entry("next_link_other_host", "nextLink carries the tenant's other host, with or without .api", "pages"),
        entry("next_link_cross_origin", "nextLink points to another host", "pages", origin="https://elsewhere.invalid"),
        entry("next_link_looping", "nextLink points to its own page, or to the 'first'", "pages", to="self"),
        entry("next_link_expired", "following this nextLink always ends in an error", "pages", status=410),
        entry("next_link_first", "nextLink stands before value", "pages"),
        entry("next_link_empty", "the last page has a nextLink that is empty, blank or null", "pages", text=""),
        # Rows and counts
        entry("count_left_out", "@odata.count is missing", "pages"),
        entry("count_needs_all_columns", "@odata.count is missing if $select leaves columns out", "pages"),
        entry("rows_repeated", "the last rows of the page come twice, against @odata.count", "pages", rows=1),
        entry("rows_missing", "the last rows of the page are missing, against @odata.count", "pages", rows=1),
        entry("rows_lost", "the last rows of the page are missing, against @des.entitiesInPage too", "pages", rows=1),
        entry("numeric_strings", "numbers come as strings", "pages"),
        entry("unknown_column", "rows have a column that the metadata does not declare", "pages", column="Surprise"),
        entry("nulls_left_out", "a null measure is left out of its row", "pages"),
        entry("page_shape", "the JSON of a page has another shape, by name", "pages", shape="blanks"),
        entry("stream_error", "an error object within the answer, 'after' value or 'inside'", "pages", where="after"),
        # Change tracking
        entry("delta_expired", "a delta link, or a link within its pages, ends in an error", "delta", status=410),
        entry("delta_forgets", "a delta link that is asked again has no changes", "delta"),
        entry("delta_page_repeated", "a page of changes is answered with the one before it", "delta"),
        entry("delta_page_missing", "a page of changes is answered with its successor", "delta"),
        entry("delta_pages_swapped", "pages of changes come in another order", "delta"),
        entry("delta_rows_partial", "changed rows have only the measures that changed", "delta"),
        entry("delta_removed_form", "deleted rows have the form of OData 4.01, with @removed", "delta"),
        entry("delta_ignored", "a delta link is answered with all rows, and no link", "delta"),
        entry("delta_link_missing", "the last page has no deltaLink", "facts", within="tracked"),
        entry("delta_link_cross_origin", "deltaLink points to another host", "facts", within="tracked",
              origin="https://elsewhere.invalid"),
        # Metadata
        entry("no_hierarchy_400", "MasterWithHierarchy of a flat dimension is a 400 instead of a 404", "hierarchy"),
        entry("hierarchy_annotations", "$metadata annotates hierarchies (the form is unconfirmed)", "metadata"),
        # The import service
        entry("import_limit", "creating a job is refused: too many active jobs (1002, or 1007 of the model)",
              "import_create", number=1002),
        entry("upload_limit", "an upload of more than this many KiB is refused with 413", "import_upload", kib=64),
        entry("upload_drops_rows", "the last rows of an upload are dropped; said=false: only the counts show it",
              "import_upload", rows=1, said=True),
        entry("rejected_rows_flat", "rejected rows are flat, with _REJECTION_REASON", "import"),
        entry("affected_rows_counted", "cleanAndReplaceAffectedRows is a count, not a list of members", "import"),
        entry("run_writes_nothing", "a run is reported as completed, and has written nothing", "import_run"),
        entry("run_fails", "a run ends as FAILED, with this description", "import_run", text="Internal error"),
        entry("import_is_slow", "a run is still PROCESSING in this many answers to come", "import_run", polls=2),
        # Multi-actions
        entry("action_is_slow", "a run is still running in this many answers to come", "action_start", polls=3),
        entry("action_fails", "this step of a run fails; those before it have written", "action_start", step=2),
        # The token endpoint
        entry("expires_in", "expires_in has this value, true or not; null leaves it out", "token", value="3600"),
        entry("same_token", "the token endpoint returns the last token while it is valid", "token"),
        entry("token_down", "the token endpoint resets the connection", "token"),
        entry("token_slow", "the token endpoint answers after a delay", "token", delay_s=1.0),
        entry("token_429", "the token endpoint answers 429; null: without Retry-After", "token", retry_after_s=1),
        entry("token_500", "the token endpoint answers 500", "token"),
        entry("token_invalid_client", "the token endpoint refuses the right client id and secret", "token"),
        # The login of named users
        entry("login_wrong_state", "the browser is sent back with another state", "authorize"),
        entry("login_refused", "the login is refused although the password is right", "authorize"),
        entry("code_expired", "the code of a login has expired when it is exchanged", "token"),
        entry("refresh_token_expired", "the refresh token has expired, and with it the login", "token"),
        entry("refresh_token_kept", "a refresh brings no new refresh token: the old one stays valid", "token"),
        entry("refresh_token_missing", "the token endpoint hands out no refresh token", "token"),
    ]  # fmt: skip
    return MappingProxyType({e.name: e for e in entries})


MISBEHAVIOURS: Final[Mapping[str, Misbehaviour]] = _catalogue()


class _Rule:
    """A misbehaviour that is switched on, with the number of matching requests and of strikes."""

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
    """The misbehaviours that are switched on; safe to change from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[str, _Rule] = {}

    def switch_on(self, name: str, options: Mapping[str, Any]) -> None:
        """Switch a misbehaviour on, with new options if it is on already.

        Raises:
            ValueError: an unknown name or option, or a value out of range.
        """
        _known(name)
        rule = _Rule(MISBEHAVIOURS[name], options)
        with self._lock:
            self._rules[name] = rule

    def switch_off(self, name: str | None = None) -> None:
        """Switch one misbehaviour off, or all of them; it need not be on."""
        if name is not None:
            _known(name)
        with self._lock:
            if name is None:
                self._rules.clear()
            else:
                self._rules.pop(name, None)

    def take(self, name: str, kind: str) -> Mapping[str, Any] | None:
        """Return the options of the misbehaviour if it strikes this request, else ``None``; count the strike."""
        with self._lock:
            rule = self._rules.get(name)
            return rule.options if rule is not None and rule.strikes(kind) else None

    def is_quiet(self, names: Iterable[str]) -> bool:
        """Return whether none of these misbehaviours can strike."""
        with self._lock:
            return all(name not in self._rules or self._rules[name].is_spent for name in names)

    def describe(self) -> list[dict[str, Any]]:
        """Return the misbehaviours that are switched on, with their options and numbers of strikes."""
        with self._lock:
            return [rule.describe() for rule in self._rules.values()]


def _check(misbehaviour: Misbehaviour, option: str, value: Any) -> None:
    name = misbehaviour.name
    if option == "on":
        if value not in KINDS or not set(KINDS[value]) & set(KINDS[misbehaviour.within]):
            usable = [kind for kind, kinds in KINDS.items() if set(kinds) & set(KINDS[misbehaviour.within])]
            raise ValueError(f"{name}: on={value!r} is not one of: {', '.join(usable)}.")
    elif option in misbehaviour.options:
        if not OPTIONS[option].accepts(value):
            raise ValueError(f"{name}: {option} takes {OPTIONS[option].description}, not {value!r}.")
    elif option not in COMMON_OPTIONS:
        known = ", ".join([*misbehaviour.options, *COMMON_OPTIONS])
        raise ValueError(f"The misbehaviour {name!r} has no option {option!r}; it has: {known}.")


def _known(name: str) -> None:
    if name not in MISBEHAVIOURS:
        close = ", ".join(difflib.get_close_matches(name, MISBEHAVIOURS, n=3))
        hint = f"Did you mean: {close}?" if close else f"Known misbehaviours: {', '.join(MISBEHAVIOURS)}."
        raise ValueError(f"Unknown misbehaviour {name!r}. {hint}")


def _whole(name: str, option: str, value: object, *, least: int, optional: bool = False) -> int | None:
    if value is None and optional:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: {option} must be a whole number, at least {least}, not {value!r}.")
    return value
