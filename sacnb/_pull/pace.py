"""How fast all streams of a pull may ask together: as fast as they can, until SAC says otherwise.

SAC publishes no limit. So there is none at first; a 429 sets one, at half the pace at which the last requests were
sent, and holds every stream back for as long as SAC asked the one to wait. Good answers raise it again, little by
little. It is a token bucket that holds one token: requests are spread evenly, since a burst is what got refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Pace"]

_WINDOW: Final = 20
_CUT: Final = 0.5
_GROWTH: Final = 1.05
_SLOWEST_PER_S: Final = 0.1


class Pace:
    """Gives each request its turn. Shared by all streams, safe for threads; ``clock`` is monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: deque[float] = deque(maxlen=_WINDOW)
        self._turns: dict[int, float] = {}
        self._per_s: float | None = None
        self._next_at = float("-inf")
        self._cut_at = float("-inf")

    @property
    def per_s(self) -> float | None:
        """The limit in requests per second; ``None`` as long as there is none."""
        return self._per_s

    def turn(self) -> float:
        """Take the next turn: the seconds to wait before sending."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next_at)
            if self._per_s is not None:
                self._next_at = at + 1 / self._per_s
            self._sent.append(at)
            self._turns[threading.get_ident()] = at
            return at - now

    def throttled(self, wait_s: float) -> None:
        """This thread's request was answered with 429, and will be repeated after ``wait_s`` seconds.

        Of several that were under way at once, the first cuts the pace; the others had no chance to know of it.
        """
        with self._lock:
            now = self._clock()
            self._next_at = max(self._next_at, now + wait_s)
            if self._turns.get(threading.get_ident(), now) < self._cut_at:
                return
            self._cut_at = now
            self._per_s = max(self._pace_so_far(now) * _CUT, _SLOWEST_PER_S)

    def answered(self) -> None:
        """A request was answered well."""
        with self._lock:
            if self._per_s is not None:
                self._per_s *= _GROWTH

    def _pace_so_far(self, now: float) -> float:
        if self._per_s is not None:
            return self._per_s
        lasted = now - self._sent[0] if self._sent else 0.0
        return len(self._sent) / lasted if lasted > 0 else float(len(self._sent))
