"""How many retries the requests of one run may take together.

Four tries for one request are patience; four tries for each of a thousand pages are a siege. The numbers are those of
the AWS SDKs' standard retry mode, which has served for years: 500 to spend, 5 for a retry, 10 for one after a timeout,
the price back where the retry helped, and 1 for every request that needed none.
"""

from __future__ import annotations

import threading
from typing import Final

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
