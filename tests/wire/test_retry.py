"""The plan, and a run by it, without a network."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._wire.retry import RetryableFailure, RetryPlan, RetryRun, refresh_runner
from sacnb.errors import RefreshError, SacError, SettingsError


def transient(**options: Any) -> RetryableFailure:
    return RetryableFailure("503", SacError("It failed."), **options)


def run(plan: RetryPlan, passing: Any, attempt: Callable[[], Any], **options: Any) -> Any:
    options.setdefault("random", lambda: 0.5)
    return RetryRun(plan, "op", clock=passing.clock, sleep=passing.sleep, **options).run(attempt)


# -- the plan --------------------------------------------------------------------------------------------------------


def test_full_jitter_is_anything_up_to_a_growing_delay() -> None:
    plan = RetryPlan()
    ceilings = [plan.transient_delay_s(retry, 0, lambda: 1.0) for retry in range(8)]
    assert ceilings == pytest.approx([0.2, 0.36, 0.648, 1.1664, 2.09952, 3.779136, 5.0, 5.0])
    assert plan.transient_delay_s(3, 0, lambda: 0.0) == 0.0


def test_decorrelated_jitter_grows_from_the_last_wait() -> None:
    plan = RetryPlan(jitter="decorrelated")
    assert plan.transient_delay_s(0, 0.0, lambda: 0.0) == pytest.approx(0.2)
    assert plan.transient_delay_s(0, 0.0, lambda: 1.0) == pytest.approx(0.6)
    assert plan.transient_delay_s(1, 1.0, lambda: 0.5) == pytest.approx(1.6)
    assert plan.transient_delay_s(9, 4.0, lambda: 1.0) == 5.0


@given(
    st.sampled_from(["full", "decorrelated"]),
    st.integers(0, 10_000),
    st.floats(0, 5),
    st.floats(0, 1, exclude_max=True),
)
def test_no_delay_is_negative_or_beyond_the_most(jitter: Any, retry: int, previous_s: float, number: float) -> None:
    plan = RetryPlan(jitter=jitter)
    assert 0 <= plan.transient_delay_s(retry, previous_s, lambda: number) <= 5
    assert 0 <= plan.throttle_wait_s(retry, None, lambda: number) <= 60
    assert 0 <= plan.throttle_wait_s(retry, previous_s * 1000, lambda: number) <= 60


def test_throttling_without_a_word_waits_one_to_three_seconds_and_more_each_time() -> None:
    plan = RetryPlan()
    assert plan.throttle_wait_s(0, None, lambda: 0.0) == 1.0
    assert plan.throttle_wait_s(0, None, lambda: 1.0) == 3.0
    assert plan.throttle_wait_s(1, None, lambda: 0.0) == 1.8
    assert plan.throttle_wait_s(9, None, lambda: 0.0) == 60.0


def test_delays_can_be_seeded(passing: Any) -> None:
    def delays(seed: int) -> list[float]:
        passing.slept.clear()
        with pytest.raises(SacError):
            run(RetryPlan(max_attempts=9), passing, transient, random=Random(seed).random)
        return list(passing.slept)

    assert delays(7) == delays(7) != delays(8)


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"initial_delay_s": -1},
        {"max_delay_s": math.nan},
        {"deadline_s": math.inf},
        {"throttle_delay_s": (-1.0, 3.0)},
        {"multiplier": 0.5},
        {"jitter": "some"},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        RetryPlan(**options)


def test_all_that_makes_no_sense_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        RetryPlan(max_attempts=0, multiplier=0, jitter="x", deadline_s=-1)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 4


# -- a run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raised", [False, True])
def test_returned_and_raised_failures_share_one_budget(raised: bool, passing: Any) -> None:
    """Two decorators that each counted for themselves would try sixteen times."""
    turns = itertools.cycle([raised, not raised])
    tries = 0

    def attempt() -> RetryableFailure:
        nonlocal tries
        tries += 1
        if next(turns):
            raise transient()
        return transient()

    with pytest.raises(SacError, match="It failed"):
        run(RetryPlan(), passing, attempt)
    assert tries == 4
    assert len(passing.slept) == 3


def test_the_first_good_result_ends_it(passing: Any) -> None:
    results = iter([transient(), transient(is_throttle=True), "good", "never"])
    assert run(RetryPlan(), passing, lambda: next(results)) == "good"
    assert passing.slept == pytest.approx([0.1, 2.0])


def test_other_errors_pass_at_once(passing: Any) -> None:
    def attempt() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(RetryPlan(), passing, attempt)
    assert passing.slept == []


def test_a_failure_that_must_not_be_repeated_is_not(passing: Any) -> None:
    with pytest.raises(SacError):
        run(RetryPlan(), passing, lambda: transient(may_retry=False))
    assert passing.slept == []


@given(st.floats(0, 60), st.lists(st.floats(0, 1, exclude_max=True), min_size=20, max_size=20))
def test_no_sleep_ends_after_the_deadline(deadline_s: float, numbers: list[float]) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    feed = itertools.cycle(numbers)
    run = RetryRun(
        RetryPlan(deadline_s=deadline_s, max_attempts=20),
        "op",
        clock=lambda: now,
        sleep=sleep,
        random=lambda: next(feed),
    )
    with pytest.raises(SacError):
        run.run(lambda: transient(is_throttle=now > 1))
    assert now <= deadline_s


def test_the_error_says_that_there_was_no_time(passing: Any) -> None:
    with pytest.raises(SacError, match=r"It failed\. Another attempt would end after the deadline of 1 s"):
        run(RetryPlan(deadline_s=1), passing, lambda: transient(retry_after_s=2.0))


def test_backoff_itself_does_not_sleep(passing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own time.sleep is left with nothing to do: all waiting is done by the sleep that was handed in."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(SacError):
        run(RetryPlan(), passing, transient)
    assert slept == [0.0, 0.0, 0.0]


def test_the_error_holds_no_other_errors(passing: Any) -> None:
    def attempt() -> None:
        raise transient()

    with pytest.raises(SacError) as caught:
        run(RetryPlan(), passing, attempt)
    assert caught.value.__context__ is None


# -- for the guard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "tries", "slept"),
    [
        (RefreshError("x"), 4, [0.1, 0.18, 0.324]),
        (RefreshError("x", retry_after_s=5.0), 4, [5.0, 5.0, 5.0]),
        (RefreshError("x", retry_after_s=5000.0), 2, [60.0]),
        (RefreshError("x", error_code="non_retriable"), 1, []),
    ],
)
def test_asking_for_a_token_is_repeated_by_the_plan(
    error: RefreshError, tries: int, slept: list[float], passing: Any
) -> None:
    asked = 0
    told: list[tuple[RefreshError, float]] = []

    def fetch() -> Any:
        nonlocal asked
        asked += 1
        raise error

    plan = RetryPlan(deadline_s=100)
    runner = refresh_runner(plan, clock=passing.clock, sleep=passing.sleep, random=lambda: 0.5)
    with pytest.raises(RefreshError) as caught:
        runner(fetch, lambda failed, delay_s: told.append((failed, delay_s)))
    assert caught.value is error
    assert asked == tries
    assert passing.slept == pytest.approx(slept)
    assert told == [(error, delay) for delay in passing.slept]
    assert error.outcome is not None
    assert [attempt.delay_s for attempt in error.outcome.attempts] == [*passing.slept, 0.0]
