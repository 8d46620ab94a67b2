"""Many requests, one purse for their retries."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from sacnb._wire.retry import RetryableFailure, RetryBudget, RetryPlan, RetryRun
from sacnb.errors import SacError


def failing(cause: str = "503") -> RetryableFailure:
    return RetryableFailure(cause, SacError("It failed."))


def tries_of(passing: Any, budget: RetryBudget, failures: int, cause: str = "503") -> int:
    """Return the attempts of a request that fails *failures* times before it is answered."""
    sent = 0

    def attempt() -> RetryableFailure | str:
        nonlocal sent
        sent += 1
        return failing(cause) if sent <= failures else "answer"

    run = RetryRun(RetryPlan(), "op", clock=passing.clock, sleep=passing.sleep, random=lambda: 0.5, budget=budget)
    with contextlib.suppress(SacError):
        run.run(attempt)
    return sent


def test_requests_that_fail_for_good_use_the_budget_up_and_then_get_one_try(passing: Any) -> None:
    budget = RetryBudget(40)  # eight retries
    assert [tries_of(passing, budget, 99) for _ in range(4)] == [4, 4, 3, 1]
    assert budget.left == 0


def test_a_retry_that_helped_costs_nothing(passing: Any) -> None:
    budget = RetryBudget(10)
    assert [tries_of(passing, budget, 1) for _ in range(50)] == [2] * 50
    assert budget.left == 10


def test_of_two_retries_only_the_last_helped(passing: Any) -> None:
    budget = RetryBudget(20)
    assert tries_of(passing, budget, 2) == 3
    assert budget.left == 15


def test_a_timeout_costs_double(passing: Any) -> None:
    budget = RetryBudget(40)
    tries_of(passing, budget, 99, "read_timeout")
    assert budget.left == 10


def test_good_answers_fill_it_up_again_but_not_over(passing: Any) -> None:
    budget = RetryBudget(30)
    tries_of(passing, budget, 99)
    assert budget.left == 15
    for _ in range(20):
        tries_of(passing, budget, 0)
    assert budget.left == 30


@pytest.mark.parametrize("cause", ["429", "500", "connection_reset"])
def test_every_other_cause_costs_the_same(cause: str) -> None:
    budget = RetryBudget()
    assert budget.spend(cause) == 5
    assert budget.left == 495


def test_the_error_says_why_it_was_not_tried_again(passing: Any) -> None:
    run = RetryRun(RetryPlan(), "op", clock=passing.clock, sleep=passing.sleep, budget=RetryBudget(0))
    with pytest.raises(SacError, match="too many requests of this download have failed"):
        run.run(failing)
    assert passing.slept == []
