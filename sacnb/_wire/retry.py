"""Retry requests by a plan, within a budget; the only file that imports ``backoff``.

``backoff`` is archived upstream, and its decorators call a function of asyncio that Python 3.14 deprecates. So one of
them is used, once, for ``_attempt``: a loop of ten lines could take its place.

Limits for one request are not enough: a thousand pages with four attempts each would hammer SAC. So the requests of a
pull share a budget. Its numbers are those of the AWS SDKs' standard retry mode: 500 to spend, 5 for a retry, 10 for one
after a timeout, the price back where the retry helped, and 1 for every request that needed none.
"""

from __future__ import annotations

import math
import random as _random
import threading
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar, cast

import backoff

from sacnb._auth.guard import RefreshRunner
from sacnb._auth.token import TokenEnvelope
from sacnb._connections import current_watch, watch
from sacnb.errors import Attempt, Cancelled, RefreshError, RetryOutcome, SacError, SettingsError

__all__ = ["RetryBudget", "RetryPlan", "RetryRun", "RetryableFailure", "refresh_runner"]

_CAPACITY: Final = 500
_RETRY_COST: Final = 5
_TIMEOUT_COST: Final = 10
_GOOD_ANSWER: Final = 1
_TIMEOUTS: Final = frozenset({"read_timeout", "connect_timeout"})


class RetryBudget:
    """Budget for retries, shared by all requests of a pull; safe for threads."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._left = capacity
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Return what is left of the capacity."""
        return self._left

    def spend(self, cause: str) -> int | None:
        """Return the price of a retry after *cause* (a status or an error kind), or ``None`` if it cannot be paid."""
        price = _TIMEOUT_COST if cause in _TIMEOUTS else _RETRY_COST
        with self._lock:
            if price > self._left:
                return None
            self._left -= price
        return price

    def earn(self, price: int | None) -> None:
        """Add to the budget after a good answer: the *price* of the retry that brought it, or 1 without one."""
        with self._lock:
            self._left = min(self._capacity, self._left + (_GOOD_ANSWER if price is None else price))


_T = TypeVar("_T")

# A request is given at least this long, even when the deadline has all but passed.
_LEAST_S: Final = 0.05
# How often a wait looks whether the user has stopped the operation.
_CANCEL_SLICE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """Number of attempts for one request, and the waits between them in seconds.

    ``deadline_s`` is for one request with all its retries: a wait that would end after it is not begun.
    ``jitter`` is ``"full"`` (anything from 0 to the delay) or ``"decorrelated"`` (from the first delay to three times
    the last wait). ``throttle_delay_s`` is the range of the first wait after a 429 that does not say how long;
    ``retry_after_cap_s`` the longest wait that a server can ask for, ``max_throttles`` the number of 429 that are
    followed by another attempt (by default as many as there are attempts). Raises SettingsError for what makes no
    sense.
    """

    max_attempts: int = 4
    initial_delay_s: float = 0.2
    multiplier: float = 1.8
    max_delay_s: float = 5.0
    jitter: Literal["full", "decorrelated"] = "full"
    deadline_s: float = 900.0
    throttle_delay_s: tuple[float, float] = (1.0, 3.0)
    retry_after_cap_s: float = 60.0
    max_throttles: int | None = None

    def __post_init__(self) -> None:
        times = (
            self.initial_delay_s,
            self.max_delay_s,
            self.deadline_s,
            self.retry_after_cap_s,
            *self.throttle_delay_s,
        )
        problems = []
        if self.max_attempts < 1:
            problems.append(f"SAC_MAX_ATTEMPTS is {self.max_attempts!r}; expected 1 or more.")
        if not all(math.isfinite(seconds) and seconds >= 0 for seconds in times):
            problems.append(f"The times of a retry plan must be 0 seconds or more; they are {times}.")
        if self.multiplier < 1:
            problems.append(f"The multiplier of a retry plan is {self.multiplier!r}; expected 1 or more.")
        if self.jitter not in ("full", "decorrelated"):
            problems.append(f"The jitter of a retry plan is {self.jitter!r}; expected 'full' or 'decorrelated'.")
        if problems:
            raise SettingsError(problems)

    def transient_delay_s(self, retry: int, previous_s: float, random: Callable[[], float]) -> float:
        """Return the wait before retry number *retry* (from 0), the one before having been *previous_s*."""
        if self.jitter == "decorrelated":
            low, high = self.initial_delay_s, max(previous_s, self.initial_delay_s) * 3
            return min(self.max_delay_s, low + (high - low) * random())
        return min(self.max_delay_s, self.initial_delay_s * self._growth(retry)) * random()

    def throttle_wait_s(self, retry: int, retry_after_s: float | None, random: Callable[[], float]) -> float:
        """Return the wait after 429 number *retry* (from 0): the ``Retry-After``, capped, or our own, growing."""
        if retry_after_s is not None:
            return min(retry_after_s, self.retry_after_cap_s)
        low, high = self.throttle_delay_s
        return min(self.retry_after_cap_s, (low + (high - low) * random()) * self._growth(retry))

    def _growth(self, retry: int) -> float:
        try:
            return float(self.multiplier**retry)
        except OverflowError:
            return math.inf


class RetryableFailure(Exception):
    """A failed attempt: returned for a refusal, raised for an answer that did not come whole.

    ``error`` is raised to the user if this attempt stays the last. ``may_retry`` is false where the request may have
    taken effect and must not do so twice, or where another attempt cannot help.
    """

    def __init__(
        self,
        cause: str,
        error: SacError,
        *,
        may_retry: bool = True,
        is_throttle: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.error = error
        self.may_retry = may_retry
        self.is_throttle = is_throttle
        self.retry_after_s = retry_after_s
        self.run: RetryRun | None = None  # set by the run that it ends or delays


OnWait = Callable[[RetryableFailure, float, int], None]


class RetryRun:
    """The attempts of one request: runs them by the plan, and keeps the history.

    ``clock`` is monotonic, ``random`` gives numbers in [0, 1). ``cancelled`` is called before each attempt and during
    waits. ``budget`` is shared with other requests.
    """

    def __init__(
        self,
        plan: RetryPlan,
        operation: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
        cancelled: Callable[[], bool] | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self.plan = plan
        self._operation = operation
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self.cancelled = cancelled
        self._on_wait: OnWait | None = None
        self._started = clock()
        self._attempts: list[Attempt] = []
        self._tries = 1
        self._throttles = 0
        self._refused = 0  # with 429
        self._transients = 0
        self._previous_s = 0.0
        self._deadline_refused = False
        self._budget = budget
        self._budget_refused = False
        self._price: int | None = None  # of the last retry

    def run(self, send: Callable[[], _T | RetryableFailure], on_wait: OnWait | None = None) -> _T:
        """Return the first result of *send* that is no failure. Raises the error of the last failure, or Cancelled.

        ``on_wait`` is called with each failure, the wait in seconds, and the number of the attempt (from 1).
        """
        self._on_wait = on_wait
        try:
            result: _T | RetryableFailure = _attempt(self, send)
        except RetryableFailure as failure:
            result = failure
        if isinstance(result, RetryableFailure):
            raise self._final(result)
        if self._budget is not None:
            self._budget.earn(self._price)
        return result

    def wait(self, failure: RetryableFailure) -> bool:
        """Wait before the next attempt; return false where *failure* is the last one. Raises Cancelled."""
        delay_s = self._next_delay_s(failure)
        if delay_s is None:
            return False
        self._wait(failure, delay_s)
        return True

    def _next_delay_s(self, failure: RetryableFailure) -> float | None:
        """Return the seconds to wait before the next attempt; ``None`` if there is none."""
        if not failure.may_retry or self._tries >= self.plan.max_attempts:
            return None
        if failure.is_throttle:
            if self._refused == self.plan.max_throttles:
                return None
            self._refused += 1
        if failure.is_throttle or failure.retry_after_s is not None:
            delay_s = self.plan.throttle_wait_s(self._throttles, failure.retry_after_s, self._random)
            self._throttles += 1
        else:
            delay_s = self.plan.transient_delay_s(self._transients, self._previous_s, self._random)
            self._transients += 1
            self._previous_s = delay_s
        if delay_s >= self.remaining_s():
            self._deadline_refused = True
            return None
        if self._budget is not None:
            self._price = self._budget.spend(failure.cause)
            self._budget_refused = self._price is None
        return None if self._budget_refused else delay_s

    def _wait(self, failure: RetryableFailure, delay_s: float) -> None:
        self.raise_if_cancelled()  # it may be why this attempt failed, and then no wait is announced
        if self._attempts:
            self._attempts[-1] = replace(self._attempts[-1], delay_s=delay_s)
        if self._on_wait is not None:
            self._on_wait(failure, delay_s, self._tries)
        self._tries += 1
        if self.cancelled is None:
            self._sleep(delay_s)
            return
        slices = max(1, math.ceil(delay_s / _CANCEL_SLICE_S))
        for _ in range(slices):
            self.raise_if_cancelled()
            self._sleep(delay_s / slices)

    def _final(self, failure: RetryableFailure) -> SacError:
        error = failure.error
        if self._deadline_refused:
            error.message += f" Another attempt would end after the deadline of {self.plan.deadline_s:g} s."
        if self._budget_refused:
            error.message += " There was no retry, because too many requests of this download have failed."
        error.outcome = error.outcome or self.outcome()
        return error

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if the user has stopped the operation."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled(f"{self._operation} was stopped.")

    def remaining_s(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self.plan.deadline_s - (self._clock() - self._started)

    def note(self, status: int | None, error_kind: str | None, request_id: str | None) -> None:
        """Add an attempt to the history."""
        self._attempts.append(Attempt(status=status, error_kind=error_kind, delay_s=0.0, request_id=request_id))

    def outcome(self) -> RetryOutcome:
        """Return the history so far."""
        attempts = tuple(self._attempts)
        final = attempts[-1].status if attempts else None
        return RetryOutcome(self._operation, attempts, final, self._clock() - self._started)


def _waits() -> Generator[float, RetryableFailure, None]:
    """Generate the waits for ``backoff``, which asks after each failure; it gives up at the end.

    ``backoff`` would call ``time.sleep``, which a test cannot replace, and knows neither our clock nor Retry-After. So
    the run waits itself, and ``backoff`` is told to wait 0 seconds.
    """
    failure = yield 0.0  # this first one primes the generator, and is not a wait
    while failure.run is not None and failure.run.wait(failure):
        failure = yield 0.0


with warnings.catch_warnings():
    # Decorating once, at import, and not for each request: Python 3.14 warns of what backoff calls there.
    warnings.simplefilter("ignore", DeprecationWarning)

    @backoff.on_exception(cast("Callable[..., Any]", _waits), RetryableFailure, jitter=None, logger=None)
    def _attempt(run: RetryRun, send: Callable[[], _T | RetryableFailure]) -> _T:
        run.raise_if_cancelled()
        try:
            result = send()
            if isinstance(result, RetryableFailure):
                raise result
        except RetryableFailure as failure:
            failure.run = run
            raise
        return result


def refresh_runner(
    plan: RetryPlan,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> RefreshRunner:
    """Return the function with which a TokenGuard retries the request for a token by *plan*.

    Asking for a token creates nothing, so it can be repeated; its 429 and ``Retry-After`` are honoured.
    """

    def run(fetch: Callable[[], TokenEnvelope], on_retry: Callable[[RefreshError, float], None]) -> TokenEnvelope:
        around = current_watch()  # of the request that waits for the token
        cancelled = None if around is None else (lambda: around.ended == "stopped")
        retries = RetryRun(plan, "token", clock=clock, sleep=sleep, random=random, cancelled=cancelled)

        def attempt() -> TokenEnvelope:
            try:
                with watch(max(retries.remaining_s(), _LEAST_S)):
                    token = fetch()
            except RefreshError as error:
                failure = RetryableFailure(
                    "token",
                    error,
                    may_retry=error.error_code == "refresh_failed",
                    retry_after_s=error.retry_after_s,
                )
                retries.note(None, error.error_code, None)
            else:
                return token
            raise failure

        return retries.run(attempt, lambda failure, delay_s, _: on_retry(cast("RefreshError", failure.error), delay_s))

    return run
