"""Fetch the next page while one is decoded and another is written: three kinds of threads, one order.

Each *stream* thread follows one segment after the other; a small pool decodes, which is native code and needs no
interpreter lock; the caller's thread iterates and writes. Pages of a segment come out in the order in which they were
fetched. ``ahead`` bounds the pages that are fetched, or being fetched, and not yet done with: where the disk is slower
than the network, the streams wait for it, and memory holds a few pages whatever the size of the model.

Nothing here knows SAC: segments are iterators, and the work on a page is a function.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from sacnb._fork import is_forked_since
from sacnb.errors import Cancelled, SacError

__all__ = ["Arrived", "Ended", "Failed", "Pipeline", "decode_threads"]

# Decoding is native code; more threads than this would only wait for the network.
_MAX_WORKERS: Final = 4


def decode_threads() -> int:
    """Return the number of decode threads: one a core, since fetching mostly waits."""
    return min(_MAX_WORKERS, os.cpu_count() or 1)


_log = logging.getLogger("sacnb.pull")

T = TypeVar("T")  # a page as it is fetched
R = TypeVar("R")  # what is made of it
_Q = TypeVar("_Q")

# Longest wait before checking again whether the user has cancelled.
_POLL_S: Final = 0.1
# Time for the threads to end: longer than any of them needs, except one that is just connecting.
_JOIN_S: Final = 0.9


@dataclass(frozen=True, slots=True)
class Arrived(Generic[R]):
    """The next page of a segment."""

    segment: int
    value: R


@dataclass(frozen=True, slots=True)
class Ended:
    """All pages of a segment have been given out."""

    segment: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A page could not be fetched; all pages of the segment before it have been given out."""

    segment: int
    error: BaseException


class _Pending(Generic[T, R]):
    """A place in the order, taken when a page is fetched and filled when it is decoded."""

    __slots__ = ("event", "page", "segment")

    def __init__(self, segment: int, page: T | None = None, event: Arrived[R] | Ended | Failed | None = None) -> None:
        self.segment = segment
        self.page = page
        self.event: Arrived[R] | Ended | Failed | _Broken | None = event


@dataclass(frozen=True, slots=True)
class _Broken:
    """Error of the work on a page, which ends the whole pipeline."""

    error: BaseException


class Pipeline(Generic[T, R]):
    """Threads that run within a ``with`` block; iterate it, in one thread at a time, for the events in order.

    Args:
        work: Turns a page into what is given out; called by several threads at once.
        streams: Number of segments that are followed at the same time.
        workers: Number of pages that are worked on at the same time.
        ahead: Number of pages that may be fetched, or being fetched, and not yet done with. The one given out last
            counts until the next one is asked for.
        stop: Called, perhaps several times, to end fetches that are under way.
        cancelled: Returns whether the user has cancelled; called often.
        clock: Monotonic seconds, for the time that the threads get to end.

    Iterating raises Cancelled and the errors of *work*; an error of a segment is given out as ``Failed``.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        *,
        streams: int,
        workers: int,
        ahead: int,
        stop: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._stop = stop
        self._cancelled = cancelled
        self._clock = clock
        self._pid = os.getpid()
        # Guards all that follows.
        self._state = threading.Condition()
        self._segments: deque[tuple[int, Callable[[], Iterator[T]]]] = deque()
        self._to_work_on: deque[_Pending[T, R]] = deque()
        self._order: deque[_Pending[T, R]] = deque()
        self._free = ahead
        self._open = 0  # segments whose end has not been given out
        self._is_held = False  # the page that was given out last is still in use
        self._is_over = False
        names = [("stream", self._run_stream)] * streams + [("decode", self._run_worker)] * workers
        self._threads = [
            threading.Thread(
                target=contextvars.copy_context().run,  # carries the trace id of the pull
                args=(target,),
                name=f"sacnb-{kind}-{number}",
                daemon=True,  # one that hangs in connect() must not keep the interpreter from ending
            )
            for number, (kind, target) in enumerate(names)
        ]

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # Ctrl-C between two starts: __exit__ is not called for a block that was not entered
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, and wait for them for a moment. Closing again does no harm."""
        self._end()
        if is_forked_since(self._pid):  # the threads, and the sockets that stop() would shut down, are the parent's
            return
        if threading.current_thread() in self._threads:
            # The caller dropped the pipeline, and the garbage collector ran in this thread, anywhere in the code below.
            # The thread continues where it was, sees the end, and cannot wait for itself.
            self._stop()
            return
        with self._state:
            self._segments.clear()
            self._to_work_on.clear()
            self._order.clear()
        deadline = self._clock() + _JOIN_S
        for thread in self._threads:
            while thread.is_alive() and self._clock() < deadline:
                # Keep trying: the request may only now have become interruptible.
                self._stop()
                thread.join(_POLL_S)
            if thread.is_alive():
                _log.debug("%s is still connecting, and ends by itself.", thread.name)

    def _end(self) -> None:
        self._is_over = True
        if not is_forked_since(self._pid):  # another thread may have held the lock at the fork, and is not here
            with self._state:
                self._state.notify_all()

    def add(self, segment: int, start: Callable[[], Iterator[T]]) -> None:
        """Follow a segment after those added before; *start* is called by the thread that follows it."""
        with self._state:
            self._open += 1
            self._segments.append((segment, start))
            self._state.notify_all()

    def __iter__(self) -> Iterator[Arrived[R] | Ended | Failed]:
        try:
            while (event := self._next()) is not None:
                yield event
        finally:  # a second chance, in case Ctrl-C hits __exit__ before it has done anything
            self._end()

    def _next(self) -> Arrived[R] | Ended | Failed | None:
        """Return the next event in order; ``None`` once every segment has ended."""
        if is_forked_since(self._pid):
            raise SacError(
                "This download runs in the process that started it, and a fork of that process cannot continue it.",
                hint="Connect and download in the worker.",
            )
        self._release_held()
        while True:
            if self._cancelled is not None and self._cancelled():
                raise Cancelled("Download cancelled.", hint="The cached result is unchanged.")
            with self._state:
                if not self._order and not self._open:
                    return None
                if not self._order or self._order[0].event is None:
                    self._state.wait(_POLL_S)
                    continue
                event = self._order.popleft().event
                match event:
                    case _Broken(error):
                        raise error
                    case Arrived():
                        self._is_held = True
                    case _:
                        self._open -= 1
                return event

    def _release_held(self) -> None:
        with self._state:
            if self._is_held:
                self._is_held = False
                self._give_back()

    def _give_back(self) -> None:
        self._free += 1
        self._state.notify_all()

    # -- the threads -------------------------------------------------------------------------------------------------

    def _run_stream(self) -> None:
        while (found := self._take(self._segments)) is not None:
            segment, start = found
            try:
                self._follow(segment, start())
            except BaseException as error:  # noqa: BLE001 - raised where the pipeline is iterated
                self._post(_Pending(segment, event=Failed(segment, error)))

    def _follow(self, segment: int, pages: Iterator[T]) -> None:
        while self._reserve():
            try:
                page = next(pages, None)
            except BaseException:
                self._release()
                raise
            if page is None:
                self._release()
                self._post(_Pending(segment, event=Ended(segment)))
                return
            self._post(_Pending(segment, page))
            del page  # free it before the next fetch

    def _run_worker(self) -> None:
        while (pending := self._take(self._to_work_on)) is not None:
            assert pending.page is not None  # noqa: S101 - only slots with a page get here
            event: Arrived[R] | _Broken
            try:
                event = Arrived(pending.segment, self._work(pending.page))
            except BaseException as error:  # noqa: BLE001 - raised where the pipeline is iterated
                event = _Broken(error)
            with self._state:
                pending.page = None
                pending.event = event
                self._state.notify_all()
            del pending, event

    def _take(self, queue: deque[_Q]) -> _Q | None:
        """Wait for the next of *queue*; return ``None`` at the end of the pipeline."""
        with self._state:
            while not queue and not self._is_over:
                self._state.wait()
            return None if self._is_over else queue.popleft()

    def _reserve(self) -> bool:
        """Wait for room for one more page; return false at the end of the pipeline."""
        with self._state:
            while self._free <= 0 and not self._is_over:
                self._state.wait()
            self._free -= 1
            return not self._is_over

    def _release(self) -> None:
        with self._state:
            self._give_back()

    def _post(self, pending: _Pending[T, R]) -> None:
        with self._state:
            if self._is_over:
                return
            self._order.append(pending)
            if pending.event is None:
                self._to_work_on.append(pending)
            self._state.notify_all()
