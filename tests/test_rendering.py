"""Objects in a notebook: text, static HTML and Markdown, escaped, small, the same every time."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from IPython.lib.pretty import pretty

from sacnb._auth.token import UNKNOWN_END
from sacnb._logs import CellHandler, print_warnings
from sacnb._rendering import MAX_BYTES, fact_table
from sacnb._tenant import Check, Diagnosis, Tenant, TokenStatus
from sacnb._wire.telemetry import TelemetrySummary
from sacnb.errors import (
    ErrorText,
    ForbiddenError,
    MixedVersionsWarning,
    SacError,
    SettingsError,
    UnknownNameError,
    warn_user,
)
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
HOSTILE = "<img src=x onerror=alert(1)> *a*|b $x$ & `b`"


def summary(**changes: Any) -> TelemetrySummary:
    counts: dict[str, Any] = dict.fromkeys(
        ("requests", "refresh_failures", "coalesced", "escalations", "failures", "rows", "bytes"), 0
    )
    return TelemetrySummary(**{**counts, "retries": {}, "refreshes": {}, "seconds_waited": 0.0, **changes})


AT = datetime(2026, 11, 20, 7, 26, tzinfo=UTC)
OBJECTS = {
    "diagnosis": Diagnosis((Check("host", "failed", HOSTILE, HOSTILE),)),
    "token": TokenStatus(AT, AT.replace(hour=8), 2040.0, renewed=True),
    "telemetry": summary(requests=1200, retries={HOSTILE: 2}),
    "error": ForbiddenError(HOSTILE, hint=HOSTILE),
    "settings error": SettingsError([HOSTILE, HOSTILE]),
    "unknown name": UnknownNameError("model", HOSTILE, ["US_EMPLOYMENT"]),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_everything_shows_as_static_escaped_html_and_markdown(name: str) -> None:
    shown: Any = OBJECTS[name]
    page, markdown = shown._repr_html_(), shown._repr_markdown_()
    assert page.startswith("<div")
    for forbidden in ("<img", "<script", "<style", "<link"):
        assert forbidden not in page.replace("&lt;img", "")
    assert re.search(r"(?<!\\)[<*|$`]", markdown.replace("**", "").replace("| ", "").replace(" |", "")) is None
    assert (page, markdown) == (shown._repr_html_(), shown._repr_markdown_())


@pytest.mark.parametrize(
    "shown",
    [
        Diagnosis(tuple(Check(f"check {i}", "ok", "x" * 100) for i in range(5000))),
        SacError("x" * 10 * MAX_BYTES),
        SettingsError(["<" * 100] * 5000),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_long_text_is_cut_with_a_note(shown: Any) -> None:
    for text in (shown._repr_html_(), shown._repr_markdown_()):
        assert len(text.encode()) <= MAX_BYTES
        assert "to keep the notebook small" in text


def test_an_error_of_a_request_has_its_address_last() -> None:
    url = "https://acme.example/FactData?$select=Version,Date&$filter=Date%20ge%20'2015'"
    message = f"pull facts: GET {url} was answered 403 (request id 7d57e0fc): You may not [3401]."
    error = ForbiddenError(message, url=url, status=403, request_id="7d57e0fc", hint="Ask for the grant.")
    text = ErrorText.of(error)
    assert text.headline == 'The request "pull facts" was answered 403: You may not [3401].'
    assert text.hint == "Ask for the grant."
    assert text.details == (f"GET {url}", "SAC's request id, for SAP's support: 7d57e0fc")
    assert str(error) == f"{message} Ask for the grant."


def test_a_notebook_shows_warnings_as_text_and_not_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warnings.showwarning", lambda *_place: None)
    print_warnings()
    print_warnings()  # once is enough
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warn_user("Two versions are mixed.", MixedVersionsWarning)
        warnings.warn("not of sacnb", stacklevel=1)
    handler = CellHandler()
    logger = logging.getLogger("sacnb.test")
    for level, message, extra in (
        (logging.WARNING, "part 1 starts again\x1b[31m", None),
        (logging.WARNING, "SAC did not deliver", {"printed": True}),
    ):
        handler.handle(logger.makeRecord(logger.name, level, "", 1, message, (), None, extra=extra))
    shown = capsys.readouterr()
    assert shown.out == "Warning: Two versions are mixed.\nWarning: part 1 starts again\\x1b[31m\n"
    assert shown.err == ""


def test_an_error_says_what_it_is_what_happened_and_what_to_do() -> None:
    error = UnknownNameError("model", "US_EMPLOYMNT", ["US_EMPLOYMENT"])
    error.add_note("Names are not ids.")
    assert error._repr_html_() == (
        "<div><p><strong>UnknownNameError</strong></p><p>There is no model &#x27;US_EMPLOYMNT&#x27;.</p>"
        "<p>Did you mean &#x27;US_EMPLOYMENT&#x27;?</p><p>Names are not ids.</p></div>"
    )
    assert error._repr_markdown_() == (
        "**UnknownNameError**\n\nThere is no model 'US\\_EMPLOYMNT'.\n\nDid you mean 'US\\_EMPLOYMENT'?\n\n"
        "Names are not ids."
    )


def test_a_diagnosis_is_a_table_with_the_verdict_above() -> None:
    diagnosis = Diagnosis((Check("host", "ok", "answers"), Check("token", "failed", "refused", "Renew it.")))
    assert pretty(diagnosis) == str(diagnosis)
    assert str(diagnosis).splitlines() == [
        "Not healthy: 1 of 2 failed",
        "check  status  found    what to do",
        "host   ok      answers",
        "token  failed  refused  Renew it.",
    ]
    assert str(Diagnosis(diagnosis.checks[:1])).startswith("Healthy")


def test_a_token_is_shown_by_its_times() -> None:
    token: Any = OBJECTS["token"]
    assert pretty(token) == str(token)
    for time in ("2026-11-20 07:26:00 UTC", "2026-11-20 08:26:00 UTC"):
        assert time in token._repr_html_()


def test_a_token_that_does_not_tell_its_end_shows_no_year_9999() -> None:
    token: Any = TokenStatus(AT, UNKNOWN_END, 1e11, renewed=False, end_is_known=False)
    for shown in (str(token), token._repr_html_(), token._repr_markdown_()):
        assert "does not say" in shown
        assert "9999" not in shown


def test_a_tenant_shows_where_it_is_and_no_secret(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    first, second = connect_to(sandbox), connect_to(sandbox, page_size=7)
    for text in (first._repr_html_(), first._repr_markdown_()):
        assert "embedded sandbox" in text
        assert "client credentials" in text
        assert sandbox.client_id not in text
        assert sandbox.client_secret not in text
        assert str(sandbox.tenant_url) not in text  # its port is another one each time
    assert first._repr_html_() == second._repr_html_()


def test_the_text_of_telemetry_is_aligned() -> None:
    lines = str(summary(requests=1200, rows=5)).splitlines()
    assert lines[0] == "requests        1,200 (0 failed after all retries)"
    assert repr(summary()) == str(summary())
    assert "<td" in fact_table("t", {"a": "b"}).html()
