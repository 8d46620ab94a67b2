"""Stop requests that wait for their answer.

``cancelled`` of ``SacSession.fetch`` is called between packets. A server that takes a minute to make a page sends none,
and the thread waits in ``recv`` meanwhile. An ``Interrupt`` is a ``cancelled`` that also ends that wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sacnb._connections import Watch
from sacnb._fork import renew_after_fork

__all__ = ["Interrupt"]


class Interrupt:
    """A switch that stops the requests it was handed to as ``cancelled``; safe for threads, set once and for all."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the requests of the parent process."""
        # Reentrant: a pull that was let go of is ended wherever garbage is collected, perhaps in here.
        self._lock = threading.RLock()
        self._watches: set[Watch] = set()

    def __call__(self) -> bool:
        """Return whether it is set."""
        return self._is_set.is_set()

    def set(self) -> None:
        """Stop the requests under way, and those that would follow."""
        self._is_set.set()
        with self._lock:
            for watched in self._watches:
                watched.end("stopped")

    @contextmanager
    def over(self, watched: Watch) -> Iterator[None]:
        """End *watched* when this is set within the block."""
        with self._lock:
            self._watches.add(watched)
        try:
            if self():
                watched.end("stopped")
            yield
        finally:
            with self._lock:
                self._watches.discard(watched)
