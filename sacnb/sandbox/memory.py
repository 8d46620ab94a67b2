"""A bounded memory of results that cost something to compute."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Memory"]

T = TypeVar("T")


class Memory(Generic[T]):
    """The results used last, up to ``max_bytes``; however many threads ask for the same one, it is computed once.

    A result that is larger than the whole memory is computed and given, but not kept.
    """

    def __init__(self, max_bytes: int, size: Callable[[T], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._lock = threading.Lock()
        self._busy: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result under ``key``; what ``compute`` raises is raised, and nothing is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            busy, waiters = self._busy.get(key, (threading.Lock(), 0))
            self._busy[key] = busy, waiters + 1
        try:
            with busy:
                with self._lock:
                    if key in self._kept:
                        return self._kept[key]
                result = compute()
                self._keep(key, result)
                return result
        finally:
            with self._lock:
                busy, waiters = self._busy[key]
                if waiters == 1:
                    del self._busy[key]
                else:
                    self._busy[key] = busy, waiters - 1

    def _keep(self, key: Hashable, result: T) -> None:
        size = self._size(result)
        if size > self._max_bytes:
            return
        with self._lock:
            self._kept[key] = result
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= self._size(oldest)
