"""What a panel says, word for word."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from sacnb._auth.token import UNKNOWN_END, TokenEnvelope
from sacnb._odata.schema import Column, Schema
from sacnb._pull import Progress
from sacnb._results.result import Result, ResultInfo
from sacnb._settings import Secret
from sacnb._wire.telemetry import RetryEvent
from sacnb.notebook.words import as_html, cancelled, failed, how_far, retrying, shown, token_state

NOON = datetime(2026, 11, 20, 12, 0).astimezone()  # here, so that the clock times below hold in any time zone


def result(at: datetime, *, rows: int = 2880, stale: bool = False) -> Result:
    columns = (Column("Amount", "Edm.Double", "measure"),)
    schema = Schema("SALES", "FactData", columns)
    table = pa.table({"Amount": [1.0] * rows})
    info = ResultInfo.describe(
        table,
        schema,
        provider_id="SALES",
        namespace="sac",
        entity_set="FactData",
        query="q",
        tenant_host="sandbox",
        principal="sandbox",
        source="sandbox",
        last_refresh_time=at.astimezone(UTC),
    )
    return Result(table, schema, info, "why" if stale else None, stale)


@pytest.mark.parametrize(
    ("of", "now", "words"),
    [
        (result(NOON), NOON, "fresh, 2,880 rows, 12:00"),
        (result(NOON, rows=1), NOON, "fresh, 1 row, 12:00"),
        (
            result(NOON, stale=True),
            NOON + timedelta(minutes=52),
            "SAC did not answer; showing data from 12:00, 52 minutes old at 12:52",
        ),
        (
            result(NOON - timedelta(days=2), stale=True),
            NOON,
            "SAC did not answer; showing data from 2026-11-18 12:00, 2 days old at 12:00",
        ),
    ],
)
def test_how_the_data_are(of: Result, now: datetime, words: str) -> None:
    assert shown(of, NOON, now) == words


def test_a_pull_that_went_on_says_from_when_its_data_are() -> None:
    now = NOON + timedelta(hours=3)
    assert shown(result(NOON), now, now) == "resumed, 2,880 rows; showing data from 12:00, 3 hours old at 15:00"


def test_what_is_shown_where_nothing_new_came() -> None:
    later = NOON + timedelta(hours=1)
    assert cancelled(None, NOON) == "stopped; there is no data yet"
    assert failed(None, NOON) == "failed; there is no data yet"
    assert cancelled(result(NOON), later) == "stopped; showing data from 12:00, 1 hour old at 13:00"
    assert failed(result(NOON), later) == "failed; showing data from 12:00, 1 hour old at 13:00"


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(1000, 1, None, 0.1), "1,000 rows, 1 page"),
        (Progress(1000, 1, 3420, 0.1), "1,000 of 3,420 rows, 1 page"),
        (
            Progress(12_000, 12, 36_000, 3.0),
            "12,000 of 36,000 rows, 12 pages, 4,000 rows a second, about 6 s left",
        ),
        (Progress(1_000, 1, 121_000, 2.0), "1,000 of 121,000 rows, 1 page, 500 rows a second, about 4 min left"),
        (Progress(3420, 4, 3420, 1.0), "3,420 of 3,420 rows, 4 pages, 3,420 rows a second"),
        (Progress(0, 1, 0, 2.0), "0 of 0 rows, 1 page"),
        # Rows of an earlier run were not pulled now.
        (
            Progress(30_000, 12, 36_000, 3.0, resumed_rows=18_000),
            "30,000 of 36,000 rows, 12 pages, 4,000 rows a second, about 2 s left",
        ),
        (Progress(18_000, 0, 36_000, 3.0, resumed_rows=18_000), "18,000 of 36,000 rows, 0 pages"),
    ],
)
def test_how_far_it_is(progress: Progress, words: str) -> None:
    assert how_far(progress) == words


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("429", "SAC answered 429; trying again in 7 s (2 of 4)"),
        ("read_timeout", "no good answer (read timeout); trying again in 7 s (2 of 4)"),
    ],
)
def test_why_it_takes_longer(cause: str, words: str) -> None:
    assert retrying(RetryEvent("pull facts", cause, 7.2, 1, 4, None)) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Token: valid until 13:00."),
        ({"expires_at": NOON + timedelta(days=1)}, "Token: valid until 2026-11-21 12:00."),
        ({"expires_at": NOON}, "Token: ended at 12:00; the next question gets a new one."),
        ({"expires_at": UNKNOWN_END}, "Token: pasted; it does not say when it ends."),
        # The server's clock is two hours ahead of ours; what counts is what the wall says here.
        (
            {"expires_at": NOON + timedelta(hours=3), "clock_offset": timedelta(hours=2)},
            "Token: valid until 13:00.",
        ),
    ],
)
def test_how_the_token_is(changes: dict[str, Any], words: str) -> None:
    token = TokenEnvelope(Secret("canary"), NOON, NOON + timedelta(hours=1))
    assert token_state(dataclasses.replace(token, **changes), NOON) == words


def test_before_the_first_question_there_is_no_token() -> None:
    assert token_state(None, NOON) == "Token: none yet; the first question gets one."


def test_text_becomes_html_with_nothing_of_its_own() -> None:
    assert as_html(["a < b", 'say "hi" & go']) == "<div>a &lt; b<br>say &quot;hi&quot; &amp; go</div>"
    assert as_html(["x"], role="status") == '<div role="status">x</div>'
    assert as_html([]) == ""
