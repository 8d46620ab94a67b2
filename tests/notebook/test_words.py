"""The words of the notebook."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import sacnb.replay
from sacnb._auth.token import UNKNOWN_END, TokenEnvelope
from sacnb._odata.schema import Column, Schema
from sacnb._pull import Progress
from sacnb._results.result import Result, ResultInfo
from sacnb._settings import Secret
from sacnb._wire.telemetry import RetryEvent
from sacnb.notebook.words import (
    as_html,
    cancelled_status,
    failed_status,
    progress_text,
    result_status,
    retry_text,
    token_text,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture(autouse=True)
def _an_hour_ahead_of_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from _zone("CET-1", monkeypatch)


def _zone(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of the process cannot be set on Windows")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


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
        (result(NOON), NOON, "fresh, 2,880 rows, 12:00 UTC+1"),
        (result(NOON, rows=1), NOON, "fresh, 1 row, 12:00 UTC+1"),
        (
            result(NOON, stale=True),
            NOON + timedelta(minutes=52),
            "SAC did not answer; showing data from 12:00 UTC+1, 52 minutes old at 12:52",
        ),
        (
            result(NOON - timedelta(days=2), stale=True),
            NOON,
            "SAC did not answer; showing data from 2026-11-18 12:00 UTC+1, 2 days old at 12:00",
        ),
    ],
)
def test_the_state_of_the_data(of: Result, now: datetime, words: str) -> None:
    assert result_status(of, NOON, now) == words


def test_a_resumed_download_shows_the_age_of_its_data() -> None:
    now = NOON + timedelta(hours=3)
    assert (
        result_status(result(NOON), now, now)
        == "resumed, 2,880 rows; showing data from 12:00 UTC+1, 3 hours old at 15:00"
    )


def test_the_state_without_new_data() -> None:
    later = NOON + timedelta(hours=1)
    assert cancelled_status(None, NOON) == "cancelled; no data yet"
    assert failed_status(None, NOON) == "failed; no data yet"
    assert cancelled_status(result(NOON), later) == "cancelled; showing data from 12:00 UTC+1, 1 hour old at 13:00"
    assert failed_status(result(NOON), later) == "failed; showing data from 12:00 UTC+1, 1 hour old at 13:00"


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(1000, 1, None, 0.1), "1,000 rows, 1 page"),
        (Progress(1000, 1, 3420, 0.1), "1,000 of 3,420 rows, 1 page"),
        (
            Progress(12_000, 12, 36_000, 3.0),
            "12,000 of 36,000 rows, 12 pages, 4,000 rows/s, about 6 s left",
        ),
        (Progress(1_000, 1, 121_000, 2.0), "1,000 of 121,000 rows, 1 page, 500 rows/s, about 4 min left"),
        (Progress(3420, 4, 3420, 1.0), "3,420 of 3,420 rows, 4 pages, 3,420 rows/s"),
        (Progress(0, 1, 0, 2.0), "0 of 0 rows, 1 page"),
        # Rows of an earlier run were not pulled now.
        (
            Progress(30_000, 12, 36_000, 3.0, resumed_rows=18_000),
            "30,000 of 36,000 rows, 12 pages, 4,000 rows/s, about 2 s left",
        ),
        (Progress(18_000, 0, 36_000, 3.0, resumed_rows=18_000), "18,000 of 36,000 rows, 0 pages"),
    ],
)
def test_progress_in_words(progress: Progress, words: str) -> None:
    assert progress_text(progress) == words


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("429", "SAC answered 429; retrying in 7 s (2 of 4)"),
        ("read_timeout", "no valid answer (read timeout); retrying in 7 s (2 of 4)"),
    ],
)
def test_a_retry_in_words(cause: str, words: str) -> None:
    assert retry_text(RetryEvent("pull facts", cause, 7.2, 1, 4, None)) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Token valid until 13:00 UTC+1"),
        ({"expires_at": NOON + timedelta(days=1)}, "Token valid until 2026-11-21 12:00 UTC+1"),
        ({"expires_at": NOON}, "Token expired at 12:00 UTC+1; the next request gets a new one."),
        ({"expires_at": UNKNOWN_END}, "Pasted token; it does not say when it expires."),
        # The server's clock is two hours ahead of ours; what counts is what the wall says here.
        (
            {"expires_at": NOON + timedelta(hours=3), "clock_offset": timedelta(hours=2)},
            "Token valid until 13:00 UTC+1",
        ),
    ],
)
def test_the_state_of_the_token(changes: dict[str, Any], words: str) -> None:
    token = TokenEnvelope(Secret("canary"), NOON, NOON + timedelta(hours=1))
    assert token_text(dataclasses.replace(token, **changes), NOON) == words


def test_before_the_first_request_there_is_no_token() -> None:
    assert token_text(None, NOON) == "No token yet; the next request gets one."


def test_text_is_escaped_in_html() -> None:
    assert as_html(["a < b", 'say "hi" & go']) == "<div>a &lt; b<br>say &quot;hi&quot; &amp; go</div>"
    assert as_html(["x"], role="status") == '<div role="status">x</div>'
    assert as_html([]) == ""
    assert as_html(["\x1b[2J\u202e"]) == "<div>\\x1b[2J\\u202e</div>"


@pytest.mark.parametrize(
    ("zone", "words"),
    [("UTC0", "11:00 UTC"), ("IST-5:30", "16:30 UTC+5:30"), ("NST3:30", "07:30 UTC-3:30"), ("EST5", "06:00 UTC-5")],
)
def test_a_time_carries_its_zone(zone: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextmanager(_zone)(zone, monkeypatch):
        assert result_status(result(NOON), NOON, NOON) == f"fresh, 2,880 rows, {words}"


def test_a_replay_shows_utc_on_every_machine(tmp_path: Path) -> None:
    with sacnb.replay.cassette(tmp_path / "a.json", mode="record"):
        assert result_status(result(NOON), NOON, NOON) == "fresh, 2,880 rows, 11:00 UTC"
