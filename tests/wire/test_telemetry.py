"""Counters, hooks and the fields of log records."""

from __future__ import annotations

import contextvars
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sacnb
from sacnb._auth import RefreshEvent
from sacnb._wire import Telemetry
from sacnb._wire.telemetry import (
    Event,
    FailureEvent,
    RequestEvent,
    RetryEvent,
    RowsEvent,
    current_trace_id,
    room_logger,
)

REQUEST = RequestEvent("op", "GET", "https://t.example/x", 200, None, 0.5, 100, "r-1", "t-1")
RETRY = RetryEvent("op", "429", 2.5, 1, 4, "t-1")
FAILURE = FailureEvent("op", "ServerError", 503, "t-1")


def refresh(outcome: Any = "success", **options: Any) -> RefreshEvent:
    return RefreshEvent("id", options.pop("reason", "expired"), outcome, **options)


def test_everything_is_counted_and_told() -> None:
    telemetry = Telemetry()
    heard: list[Event] = []
    telemetry.add_hook(heard.append)
    told: list[Event] = [
        refresh(reason="absent", coalesced=3),
        refresh("retrying", delay_s=1.5),
        refresh("failed", coalesced=2, escalated=True),
        refresh("failed"),
        refresh(),
    ]
    for event in told:
        telemetry.on_refresh(event)  # type: ignore[arg-type]
    telemetry.on_request(REQUEST)
    telemetry.on_request(REQUEST)
    telemetry.on_retry(RETRY)
    telemetry.on_failure(FAILURE)
    telemetry.on_rows(7)
    telemetry.on_rows(5)
    summary = telemetry.summary()
    assert (summary.requests, summary.bytes, summary.rows, summary.failures) == (2, 200, 12, 1)
    assert summary.retries == {"token": 1, "429": 1}
    assert summary.refreshes == {"absent": 1, "expired": 1}
    assert (summary.refresh_failures, summary.coalesced, summary.escalations) == (2, 5, 1)
    assert summary.seconds_waited == 4.0
    assert heard == [*told, REQUEST, REQUEST, RETRY, FAILURE, RowsEvent(7, None), RowsEvent(5, None)]


def test_a_summary_is_a_value_of_its_own() -> None:
    telemetry = Telemetry()
    before = telemetry.summary()
    telemetry.on_retry(RETRY)
    assert before.retries == {}
    assert before == Telemetry().summary()


def test_a_summary_can_be_read() -> None:
    telemetry = Telemetry()
    assert "retries         none (0.0 s waited)" in str(telemetry.summary())
    for _ in range(1234):
        telemetry.on_request(REQUEST)
    telemetry.on_retry(RETRY)
    text = repr(telemetry.summary())
    assert "requests        1,234 (0 failed after all retries)" in text
    assert "retries         429 1 (2.5 s waited)" in text
    assert "bytes           123,400" in text


def test_a_hook_can_be_taken_off_again() -> None:
    telemetry = Telemetry()
    heard: list[Event] = []
    remove = telemetry.add_hook(heard.append)
    telemetry.on_rows(1)
    remove()
    remove()
    telemetry.on_rows(2)
    assert heard == [RowsEvent(1, None)]


def test_removing_a_hook_leaves_an_equal_one() -> None:
    telemetry = Telemetry()
    first: list[Event] = []
    second: list[Event] = []
    remove = telemetry.add_hook(lambda event: first.append(event))  # noqa: PLW0108 - two different functions
    telemetry.add_hook(lambda event: second.append(event))  # noqa: PLW0108
    remove()
    telemetry.on_rows(1)
    assert (len(first), len(second)) == (0, 1)


def test_a_hook_that_fails_stops_neither_the_others_nor_the_request(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    heard: list[Event] = []

    def broken(_: Event) -> None:
        raise ValueError("password=canary")

    telemetry.add_hook(broken)
    telemetry.add_hook(heard.append)
    telemetry.on_rows(1)
    assert heard
    assert "A telemetry hook failed" in caplog.text
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_counting_is_safe_for_threads(in_threads: Callable[..., list[Any]]) -> None:
    telemetry = Telemetry()
    in_threads(16, lambda _: [telemetry.on_request(REQUEST) or telemetry.on_rows(2) for _ in range(500)])
    assert (telemetry.summary().requests, telemetry.summary().rows) == (8000, 16000)


def test_one_operation_has_one_trace_id_and_the_outer_one_wins() -> None:
    telemetry = Telemetry()
    assert current_trace_id() is None
    with telemetry.operation("outer") as outer:
        assert len(outer) == 32
        with telemetry.operation("inner") as inner:
            assert inner == outer == current_trace_id()
        assert current_trace_id() == outer
    assert current_trace_id() is None
    with telemetry.operation("next") as another:
        assert another != outer


def test_an_operation_that_fails_ends() -> None:
    with pytest.raises(ValueError, match="x"), Telemetry().operation("op"):
        raise ValueError("x")
    assert current_trace_id() is None


def test_a_thread_takes_the_trace_id_along_if_it_is_given_the_context() -> None:
    seen: dict[str, str | None] = {}
    with Telemetry().operation("op") as trace_id:
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=lambda: context.run(lambda: seen.update(copied=current_trace_id()))),
            threading.Thread(target=lambda: seen.update(bare=current_trace_id())),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert seen == {"copied": trace_id, "bare": None}


@pytest.mark.parametrize("room", ["auth", "wire", "export"])
def test_records_carry_their_ids_and_no_secret(room: str, caplog: pytest.LogCaptureFixture) -> None:
    room_logger(room)
    logger = room_logger(room)
    with Telemetry().operation("op") as trace_id:
        logger.warning("client_secret=%s", "canary")
        logger.warning("two", extra={"request_id": "r-2"})
    logger.warning("three")
    records = [record for record in caplog.records if record.name == f"sacnb.{room}"]
    assert [(record.trace_id, record.request_id) for record in records] == [  # type: ignore[attr-defined]
        (trace_id, None),
        (trace_id, "r-2"),
        (None, None),
    ]
    assert "canary" not in caplog.text
    assert all(record.levelno == logging.WARNING for record in records)


def test_records_of_every_room_carry_the_trace_id() -> None:
    package = Path(sacnb.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py") if "sandbox" not in path.parts)
    named = set(re.findall(r'getLogger\("(sacnb[.\w]*)"\)', code))
    silent = {name for name in named if not logging.getLogger(name).filters}
    assert len(named) > 5
    assert not silent, "name them in sacnb/_wire/telemetry.py"
