"""Send again, after a wait, for as long as the plan allows; the only file that knows ``backoff``.

``backoff`` is archived upstream, and calls a function of asyncio that Python 3.14 deprecates. Only its two decorators
are used, and only in ``Campaign.run``: a loop of ten lines could take their place.

How many retries the requests of one run may take together.

Four tries for one request are patience; four tries for each of a thousand pages are a siege. The numbers are those of
the AWS SDKs' standard retry mode, which has served for years: 500 to spend, 5 for a retry, 10 for one after a timeout,
the price back where the retry helped, and 1 for every request that needed none.
"""

from __future__ import annotations

import math
import random as _random
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar, cast

import backoff

from sacnb._auth.guard import RefreshRunner
from sacnb._auth.token import TokenEnvelope
from sacnb._connections import watch
from sacnb.errors import Attempt, Cancelled, RefreshError, RetryOutcome, SacError, SettingsError

__all__ = ["RetryBudget"]

_CAPACITY: Final = 500
_RETRY_COST: Final = 5
_TIMEOUT_COST: Final = 10
_GOOD_ANSWER: Final = 1
_TIMEOUTS: Final = frozenset({"read_timeout", "connect_timeout"})


class RetryBudget:
    """What is left to spend on retries; shared by all requests of a run, safe for threads."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._left = capacity
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """What is left of the capacity."""
        return self._left

    def spend(self, cause: str) -> int | None:
        """Pay for a retry after ``cause`` (a status or an error kind): the price, or ``None`` if it cannot be paid."""
        price = _TIMEOUT_COST if cause in _TIMEOUTS else _RETRY_COST
        with self._lock:
            if price > self._left:
                return None
            self._left -= price
        return price

    def earn(self, price: int | None) -> None:
        """Take in that a request was answered well: after a retry that cost ``price``, or after none (``None``)."""
        with self._lock:
            self._left = min(self._capacity, self._left + (_GOOD_ANSWER if price is None else price))


_T = TypeVar("_T")

# A request is given at least this long, even when the deadline has all but passed.
_LEAST_S: Final = 0.05
# How often a wait looks whether the user has stopped the operation.
_CANCEL_SLICE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """How often a request is sent, and how long is waited in between; all times in seconds.

    ``deadline_s`` is for one request with all its retries: a wait that would end after it is not begun.
    ``jitter`` is ``"full"`` (anything from 0 to the delay) or ``"decorrelated"`` (from the first delay to three times
    the last wait). ``throttle_delay_s`` is the range of the first wait after a 429 that does not say how long;
    ``retry_after_cap_s`` the longest wait that a server can ask for. Raises SettingsError for what makes no sense.
    """

    max_attempts: int = 4
    initial_delay_s: float = 0.2
    multiplier: float = 1.8
    max_delay_s: float = 5.0
    jitter: Literal["full", "decorrelated"] = "full"
    deadline_s: float = 900.0
    throttle_delay_s: tuple[float, float] = (1.0, 3.0)
    retry_after_cap_s: float = 60.0

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
        """The wait before retry number ``retry`` (from 0), the one before having been ``previous_s``."""
        if self.jitter == "decorrelated":
            low, high = self.initial_delay_s, max(previous_s, self.initial_delay_s) * 3
            return min(self.max_delay_s, low + (high - low) * random())
        return min(self.max_delay_s, self.initial_delay_s * self._growth(retry)) * random()

    def throttle_wait_s(self, retry: int, retry_after_s: float | None, random: Callable[[], float]) -> float:
        """The wait after the 429 number ``retry`` (from 0): what the server asks for, capped, or our own, growing."""
        if retry_after_s is not None:
            return min(retry_after_s, self.retry_after_cap_s)
        low, high = self.throttle_delay_s
        return min(self.retry_after_cap_s, (low + (high - low) * random()) * self._growth(retry))

    def _growth(self, retry: int) -> float:
        try:
            return float(self.multiplier**retry)
        except OverflowError:
            return math.inf


class Setback(Exception):
    """A try that failed. Returned for an answer that was a refusal, raised for an answer that did not come whole.

    ``error`` is what the user gets if it stays the last try. ``may_retry`` is false where the request may have taken
    effect and must not do so twice, or where trying again is no use.
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


OnWait = Callable[[Setback, float, int], None]


class Campaign:
    """One request with all its tries: runs them by the plan, and keeps the history.

    ``clock`` is monotonic, ``random`` gives numbers in [0, 1). ``cancelled`` is looked at before each try and during
    waits. ``budget`` is what this request may spend on retries together with others.
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
        self._transients = 0
        self._previous_s = 0.0
        self._deadline_refused = False
        self._budget = budget
        self._budget_refused = False
        self._price: int | None = None  # of the last retry

    def run(self, attempt: Callable[[], _T | Setback], on_wait: OnWait | None = None) -> _T:
        """The first result of ``attempt`` that is not a setback. Raises the error of the last setback, or Cancelled.

        ``on_wait`` is told of each setback, the wait in seconds, and the number of the try that failed (from 1).
        """
        self._on_wait = on_wait

        def watched() -> _T | Setback:
            self.raise_if_cancelled()
            return attempt()

        # jitter, max_tries and max_time stay unused: they know neither our clock nor Retry-After, and two decorators
        # would count apart. One plan decides for both, see _waits.
        waits = cast("Callable[..., Generator[float, None, None]]", self._waits)  # its types forget what it sends
        answered = backoff.on_predicate(waits, _is_setback, jitter=None, logger=None)(watched)
        retried = backoff.on_exception(waits, Setback, jitter=None, logger=None)(answered)
        try:
            result = retried()
        except Setback as setback:
            result = setback
        if isinstance(result, Setback):
            raise self._final(result)
        if self._budget is not None:
            self._budget.earn(self._price)
        return result

    def _waits(self) -> Generator[float, Setback, None]:
        """The wait generator that ``backoff`` asks after each setback; to end it is to give up.

        ``backoff`` would sleep by ``time.sleep``, which nobody can hand in. So the wait is done here, with the sleep
        that was handed in, and ``backoff`` is left with nothing to sleep. Ctrl-C passes through either.
        """
        setback = yield 0.0  # this first one primes the generator, and is not a wait
        while (delay_s := self._next_delay_s(setback)) is not None:
            self._wait(setback, delay_s)
            setback = yield 0.0

    def _next_delay_s(self, setback: Setback) -> float | None:
        """The seconds to wait before the next try; ``None`` if there is none."""
        if not setback.may_retry or self._tries >= self.plan.max_attempts:
            return None
        if setback.is_throttle or setback.retry_after_s is not None:
            delay_s = self.plan.throttle_wait_s(self._throttles, setback.retry_after_s, self._random)
            self._throttles += 1
        else:
            delay_s = self.plan.transient_delay_s(self._transients, self._previous_s, self._random)
            self._transients += 1
            self._previous_s = delay_s
        if delay_s >= self.remaining_s():
            self._deadline_refused = True
            return None
        if self._budget is not None:
            self._price = self._budget.spend(setback.cause)
            self._budget_refused = self._price is None
        return None if self._budget_refused else delay_s

    def _wait(self, setback: Setback, delay_s: float) -> None:
        self.raise_if_cancelled()  # it may be why this try failed, and then nobody needs to be told of a wait
        if self._attempts:
            self._attempts[-1] = replace(self._attempts[-1], delay_s=delay_s)
        if self._on_wait is not None:
            self._on_wait(setback, delay_s, self._tries)
        self._tries += 1
        if self.cancelled is None:
            self._sleep(delay_s)
            return
        slices = max(1, math.ceil(delay_s / _CANCEL_SLICE_S))
        for _ in range(slices):
            self.raise_if_cancelled()
            self._sleep(delay_s / slices)

    def _final(self, setback: Setback) -> SacError:
        error = setback.error
        if self._deadline_refused:
            error.message += f" There was no time for another try within the deadline of {self.plan.deadline_s:g} s."
        if self._budget_refused:
            error.message += " It was not tried again, since too many requests of this pull failed before."
        error.outcome = error.outcome or self.outcome()
        return error

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if the user has stopped the operation."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled(f"{self._operation} was stopped.")

    def remaining_s(self) -> float:
        """The seconds until the deadline; negative after it."""
        return self.plan.deadline_s - (self._clock() - self._started)

    def note(self, status: int | None, error_kind: str | None, request_id: str | None) -> None:
        """Keep in the history that a request was sent."""
        self._attempts.append(Attempt(status=status, error_kind=error_kind, delay_s=0.0, request_id=request_id))

    def outcome(self) -> RetryOutcome:
        """The history so far."""
        attempts = tuple(self._attempts)
        final = attempts[-1].status if attempts else None
        return RetryOutcome(self._operation, attempts, final, self._clock() - self._started)


def _is_setback(result: object) -> bool:
    return isinstance(result, Setback)


def refresh_runner(
    plan: RetryPlan,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> RefreshRunner:
    """What a TokenGuard needs to repeat a failed request for a token by ``plan``.

    Asking for a token creates nothing, so it can be repeated; its 429 and ``Retry-After`` are honoured.
    """

    def run(
        fetch: Callable[[], TokenEnvelope],
        on_retry: Callable[[RefreshError, float], None],
        cancelled: Callable[[], bool] | None = None,
    ) -> TokenEnvelope:
        campaign = Campaign(plan, "token", clock=clock, sleep=sleep, random=random, cancelled=cancelled)

        def attempt() -> TokenEnvelope:
            try:
                with watch(max(campaign.remaining_s(), _LEAST_S)):
                    token = fetch()
            except RefreshError as error:
                setback = Setback(
                    "token",
                    error,
                    may_retry=error.error_code == "refresh_failed",
                    retry_after_s=error.retry_after_s,
                )
                campaign.note(None, error.error_code, None)
            else:
                return token
            raise setback

        return campaign.run(attempt, lambda setback, delay_s, _: on_retry(cast("RefreshError", setback.error), delay_s))

    return run
