"""Every misbehaviour of the sandbox ends in the right rows or in the right typed error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import sacnb
import sacnb.sandbox
from sacnb._tenant import Tenant
from sacnb.errors import (
    AuthError,
    BadAnswer,
    ForbiddenError,
    RefreshError,
    RequestError,
    RowCountWarning,
    SacError,
    ServerError,
    ThrottledError,
)
from sacnb.sandbox import MISBEHAVIOURS, Sandbox
from sacnb.sandbox.misbehaviours import EMPTY_FORMS

RIGHT_ROWS = None
# The shapes of a page that leave the values as they are.
SAME_VALUES = [
    "blanks", "json_dumps", "pretty", "escaped", "extra_members", "exponents", "exponent_once", "number_text_once",
]  # fmt: skip
# Of a Retry-After, what servers send and what none should: fractions, signs, lists, other dates, words.
RETRY_AFTER = [
    "", " ", "1.5", " 2 ", "+2", "-1", "0", "0x10", "1e9", "inf", "nan", "99999999999999999999", "120, 60", "2;x",
    "soon", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Fri, 31 Dec 9999 23:59:59 GMT",
    "2026-11-20T08:00:00Z", "Mon, 00 Foo 2026 25:61:61 GMT",
]  # fmt: skip
KEYS = ["Version", "Date", "Sector"]
ROWS = 228  # one sector: 120 months of actuals and a plan that begins a year later; three pages
QUESTION: dict[str, Any] = {"where": {"Sector": "31"}, "page_size": 100}


@dataclass(frozen=True)
class Case:
    """A misbehaviour with its options, and what a user must get: the right rows, or this error with these words."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    error: type[SacError] | None = RIGHT_ROWS
    says: str = ""
    also: tuple[str, dict[str, Any]] | None = None
    warns: str = ""
    in_order: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.options or ''} -> {self.error.__name__ if self.error else 'right rows'}"


CASES = [
    # Tokens
    Case("token_lifetime", {"seconds": 1}),
    Case("unauthorized", {"times": 1, "on": "facts"}),
    Case("unauthorized", {"every": 3, "on": "facts"}),
    Case("unauthorized", {"on": "facts"}, AuthError, "401"),
    Case("revoke_tokens", {"on": "facts", "after": 1}),
    Case("expires_in", {"value": 10}),
    Case("expires_in", {"value": 3599}),
    Case("expires_in", {"value": 43199}),
    Case("expires_in", {"value": "3600"}),
    Case("expires_in", {"value": 0}),
    Case("expires_in", {"value": None}),
    Case("same_token"),
    Case("token_down", {"times": 1}),
    Case("token_down", {}, RefreshError, "SAC_TOKEN_URL"),
    Case("token_slow", {"delay_s": 0.05}),
    Case("token_429", {"times": 1}),
    Case("token_429", {"times": 1, "retry_after_s": None}),
    Case("token_429", {}, RefreshError, "429"),
    Case("token_500", {"times": 1}),
    Case("token_500", {}, RefreshError, "500"),
    Case("token_invalid_client", {}, RefreshError, "SAC_CLIENT_SECRET"),
    Case("dead_token_status", {"status": 403}, also=("revoke_tokens", {"on": "facts", "after": 1})),
    Case("session_forced"),
    Case("session_ended", {"on": "facts"}, also=("session_forced", {})),
    # Refusals
    Case("throttle_seconds", {"times": 2, "on": "facts"}),
    Case("throttle_date", {"times": 2, "on": "facts"}),
    Case("throttle_bare", {"times": 2, "on": "facts"}),
    Case("throttle_bare", {"on": "facts"}, ThrottledError, "429"),
    *(Case("throttle_text", {"times": 2, "on": "facts", "text": text}) for text in RETRY_AFTER),
    Case("throttle_text", {"on": "facts"}, ThrottledError, "429"),
    Case("throttle_seconds", {"on": "facts", "retry_after_s": 30}, ThrottledError, "429"),
    Case("throttle_seconds", {"times": 2, "on": "facts", "retry_after_s": 0}),
    Case("throttle_date", {"times": 2, "on": "facts", "retry_after_s": -5}),
    Case("forbidden", {"on": "facts"}, ForbiddenError, "3401"),
    Case("not_allowed_400", {"on": "facts"}, ForbiddenError, "not allowed"),
    Case("error_404", {"on": "facts"}, RequestError, "404"),
    Case("error_408", {"times": 2, "on": "facts"}),
    Case("error_408", {"on": "facts"}, ServerError, "408"),
    Case("error_425", {"times": 2, "on": "facts"}),
    Case("error_425", {"on": "facts"}, SacError, "425"),
    Case("redirect", {"times": 1, "on": "facts"}),
    Case("redirect", {"on": "facts", "location": "https://elsewhere.invalid/"}, SacError, "elsewhere.invalid"),
    Case("redirect", {"on": "token", "location": "https://elsewhere.invalid/"}, SacError),
    *(Case(f"error_{status}", {"times": 2, "on": "facts"}) for status in (500, 502, 503, 504)),
    *(Case(f"error_{status}", {"on": "facts"}, ServerError, str(status)) for status in (500, 502, 503, 504)),
    Case("error_503", {"times": 1, "on": "facts", "retry_after_s": 2}),
    Case("error_message_object"),
    Case("html_login", {"on": "facts"}, AuthError, "login page"),
    # The connection
    Case("reset_before_body", {"times": 1, "on": "facts", "after": 1}),
    Case("reset_before_body", {"on": "facts"}, RequestError),
    Case("answer_lost", {"times": 1, "on": "facts", "after": 1}),
    Case("answer_lost", {"on": "facts"}, RequestError),
    Case("reset_mid_body", {"times": 1, "on": "facts", "after": 1}),
    Case("reset_mid_body", {"on": "facts"}, SacError),
    Case("interim_answers", {"on": "facts", "pause_s": 0.01}),
    Case("slow_headers", {"on": "facts", "chunks": 4, "pause_s": 0.01}),
    Case("two_lengths", {"on": "facts"}, SacError),
    *(
        Case("wrong_length", {"on": "facts", "times": 1, "after": 1, "off_by_bytes": count})
        for count in (10, -10, -(1 << 20))
    ),
    Case("wrong_length", {"on": "facts"}, SacError),
    Case("gzip_tail", {"on": "facts"}),
    Case("gzip_bomb", {"on": "facts", "mib": 2}),
    Case("slow_bytes", {"on": "facts", "chunks": 4, "pause_s": 0.01}),
    Case("truncated_json", {"times": 1, "on": "facts", "after": 1}),
    Case("truncated_json", {"on": "facts"}, BadAnswer),
    Case("truncated_gzip", {"times": 1, "on": "facts", "after": 1}),
    Case("truncated_gzip", {"on": "facts"}, BadAnswer),
    Case("skewed_date", {"seconds": 7200}),
    Case("skewed_date", {"seconds": -7200}),
    # Paging
    Case("next_link_service_relative"),
    Case("next_link_root_relative"),
    Case("next_link_absolute"),
    Case("next_link_first"),
    Case("next_link_cross_origin", {}, BadAnswer, "elsewhere.invalid"),
    Case("next_link_looping", {"to": "self"}, BadAnswer),
    Case("next_link_looping", {"to": "first"}, BadAnswer),
    Case("next_link_expired", {"status": 410}, RequestError, "410"),
    *(Case("next_link_empty", {"text": text}) for text in ("", " ", None)),
    Case("next_link_other_host", {}, BadAnswer, "localhost"),
    Case("page_cap", {"rows": 50}),
    Case("page_cap", {"rows": 50, "links": True}),
    Case("page_skipped", {"times": 1}, BadAnswer, "228"),
    Case("page_repeated", {"times": 1}, BadAnswer),
    Case("page_swapped", {"times": 1}, in_order=False),
    Case("unstable_order", {}, BadAnswer),
    Case("endless_pages", {}, BadAnswer),
    *(Case("empty_last_page", {"form": form}) for form in EMPTY_FORMS),
    Case("empty_page"),
    # Metadata
    Case("no_hierarchy_400"),
    Case("hierarchy_annotations"),
    # Rows
    Case("count_left_out", warns="no row count"),
    Case("count_needs_all_columns"),
    Case("rows_lost", {"times": 1}),
    Case("rows_lost", {}, BadAnswer),
    *(Case("page_shape", {"shape": shape}) for shape in SAME_VALUES),
    Case("page_shape", {"shape": "deep_value"}, BadAnswer),
    Case("rows_repeated", {"times": 1}, BadAnswer, "228"),
    Case("rows_missing", {"times": 1}, BadAnswer, "228"),
    Case("numeric_strings"),
    Case("unknown_column"),
    Case("nulls_left_out"),
    *(Case("stream_error", {"where": where, "times": 1, "after": 1}) for where in ("after", "inside")),
    *(Case("stream_error", {"where": where}, BadAnswer) for where in ("after", "inside")),
]


def test_every_misbehaviour_has_a_case() -> None:
    imports = {name for name, entry in MISBEHAVIOURS.items() if entry.within.startswith("import")}
    actions = {name for name, entry in MISBEHAVIOURS.items() if entry.within.startswith("action")}
    # Those of a login strike no technical user; the tests of the sandbox show each.
    logins = {name for name in MISBEHAVIOURS if name.startswith(("login_", "code_", "refresh_token_"))}
    changes = {name for name in MISBEHAVIOURS if name.startswith("delta_")}
    assert {case.name for case in CASES} == set(MISBEHAVIOURS) - imports - actions - logins - changes
    shown = (Path(__file__).parents[1] / "sandbox" / "test_misbehaviours.py").read_text(encoding="utf-8")
    assert [name for name in sorted(logins) if f'"{name}"' not in shown] == []
    runs = (Path(__file__).parents[1] / "actions" / "test_multi_action.py").read_text(encoding="utf-8")
    assert [name for name in sorted(actions) if f'"{name}"' not in runs] == []
    tracked = (Path(__file__).parents[1] / "track" / "test_track.py").read_text(encoding="utf-8")
    assert [name for name in sorted(changes) if f'"{name}"' not in tracked] == []
    # Those of imports strike no download; the tests of writing show them.
    writes = (Path(__file__).parents[1] / "write" / "test_write.py").read_text(encoding="utf-8")
    assert [name for name in sorted(imports) if f'"{name}"' not in writes] == []


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Return the rows of a sandbox that behaves, and of its own: other tests write to the one of the process."""
    with (
        sacnb.sandbox.start() as own,
        sacnb.connect(
            own.tenant_url,
            token_url=own.token_url,
            client_id=own.client_id,
            client_secret=own.client_secret,
            cache_dir=tmp_path_factory.mktemp("cache"),
        ) as tenant,
    ):
        return tenant.model("US_EMPLOYMENT").facts(**QUESTION).fetch().arrow()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_ends_in_the_right_rows_or_in_the_right_error(
    case: Case, expected: pa.Table, sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    connect_to = partial(connect_to, max_empty_pages=50)  # a thousand requests take seconds
    assert len(expected) == ROWS

    sandbox.misbehave(case.name, **case.options)
    if case.also is not None:
        name, options = case.also
        sandbox.misbehave(name, **options)
    facts = lambda: connect_to(sandbox).model("US_EMPLOYMENT").facts(**QUESTION).fetch()  # noqa: E731
    if case.error is RIGHT_ROWS:
        with pytest.warns(RowCountWarning, match=case.warns) if case.warns else nullcontext():
            found, right = facts().arrow(), expected
            if not case.in_order:
                assert not found.equals(right)
                found, right = (table.sort_by([(name, "ascending") for name in KEYS]) for table in (found, right))
            assert found.equals(right)
        return
    with pytest.raises(case.error) as caught:
        facts()
    assert case.says in str(caught.value)
    assert sandbox.client_secret not in str(caught.value)
