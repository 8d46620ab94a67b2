"""Work of a panel in the background: one job at a time, in a thread of our own that can be stopped and is joined."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Final

from sacnb._connections import Interrupt

__all__ = ["Job", "Later", "Worker", "later"]

_log = logging.getLogger("sacnb.notebook")

Job = Callable[[Interrupt], None]
# Calls the action after that many seconds, unless the function that is returned is called before.
Later = Callable[[float, Callable[[], None]], Callable[[], None]]

# Waits come in slices: one without an end cannot be interrupted on Windows, and a request that just begins can only be
# stopped a moment later.
_SLICE_S: Final = 0.1
# Longer than a job needs to end once it is stopped, but for one that is just connecting.
_SLICES_TO_END: Final = 30


def later(delay_s: float, action: Callable[[], None]) -> Callable[[], None]:
    """Call ``action`` after ``delay_s`` seconds in a thread that keeps no kernel alive; returns what calls it off."""
    timer = threading.Timer(delay_s, action)
    timer.daemon = True
    timer.start()
    return timer.cancel


class Worker:
    """Runs one job at a time; safe for threads.

    ``on_change`` is told when a job begins and when it has ended. While it is told of the end, the next job can be
    started, from within it too.
    """

    def __init__(self, name: str, on_change: Callable[[], None]) -> None:
        self._name = name
        self._on_change = on_change
        # Held while a change is told, so that beginnings and ends are told in their order.
        self._lock = threading.RLock()
        self._interrupt = Interrupt()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether a job runs."""
        return self._is_busy

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._is_closed

    def start(self, job: Job) -> bool:
        """Begin ``job`` in the background; false, and nothing is done, while another one runs, or after ``close``.

        ``job`` looks after its own errors; the switch that it is handed is set when it is to end early.
        """
        with self._lock:
            if self._is_busy or self._is_closed:
                return False
            self._is_busy = True
            self._interrupt = Interrupt()
            # With the context of whoever asks: output and log records of the job belong to their cell.
            run = contextvars.copy_context().run
            # A daemon, since one that hangs in connect() must not keep the kernel from ending.
            self._thread = threading.Thread(target=run, args=(self._run, job), name=self._name, daemon=True)
            self._on_change()
            try:
                self._thread.start()
            except RuntimeError:  # no more threads to be had
                self._end()
                raise
            return True

    def stop(self) -> bool:
        """Have the job end early; false where none runs."""
        with self._lock:
            if self._is_busy:
                self._interrupt.set()
            return self._is_busy

    def wait(self) -> None:
        """Wait for the end of the job that runs now; Ctrl-C stops it."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        try:
            while thread.is_alive():
                thread.join(_SLICE_S)
        except KeyboardInterrupt:
            self.stop()
            raise

    def close(self) -> None:
        """Take no more jobs, stop the one that runs, and wait for its end. Closing twice does nothing."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        for _ in range(_SLICES_TO_END):
            # Again and again: a request may just have got to the point where it can be stopped.
            self.stop()
            thread.join(_SLICE_S)
            if not thread.is_alive():
                return
        _log.debug("%s is still connecting, and ends by itself.", self._name)

    def _run(self, job: Job) -> None:
        try:
            job(self._interrupt)
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._is_busy = False
            self._on_change()
