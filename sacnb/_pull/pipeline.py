"""Fetch the next page while the last one is decoded and the one before is written: three kinds of threads, one order.

Each *stream* thread follows one lane (a run of pages that link to each other) after the other; a small pool decodes,
which is native code and needs no interpreter lock; whoever iterates writes. Pages of a lane come out in the order they
were fetched in. ``ahead`` bounds how many pages are fetched, or being fetched, and not yet done with: where the disk is
slower than the wire, the streams wait for it, and memory holds a few pages whatever the size of the model.

Nothing here knows SAC: lanes are iterators, and the work on a page is a function.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from sacnb.errors import Cancelled

__all__ = ["Arrived", "Ended", "Failed", "Pipeline"]

_log = logging.getLogger("sacnb.export")

T = TypeVar("T")  # a page as it is fetched
R = TypeVar("R")  # what is made of it
_Q = TypeVar("_Q")

# How long a wait may take before it is looked whether the user has stopped the pull.
_POLL_S: Final = 0.1
# How long the threads get to end. Longer than any of them needs, but for one that is just connecting.
_JOIN_S: Final = 0.9


@dataclass(frozen=True, slots=True)
class Arrived(Generic[R]):
    """The next page of a lane."""

    lane: int
    value: R


@dataclass(frozen=True, slots=True)
class Ended:
    """A lane has come to its end."""

    lane: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A page could not be fetched; all pages of the lane before it have been given out."""

    lane: int
    error: BaseException


class _Slot(Generic[T, R]):
    """A place in the order, taken when a page is fetched and filled when it is decoded."""

    __slots__ = ("event", "lane", "page")

    def __init__(self, lane: int, page: T | None = None, event: Arrived[R] | Ended | Failed | None = None) -> None:
        self.lane = lane
        self.page = page
        self.event: Arrived[R] | Ended | Failed | _Broken | None = event


@dataclass(frozen=True, slots=True)
class _Broken:
    """What is wrong with a page; nobody can go on from it."""

    error: BaseException


class Pipeline(Generic[T, R]):
    """A context manager: within it threads run, after it none does. Iterate it for what comes; one thread at a time.

    Args:
        work: Makes of a page what is given out; called by several threads at once.
        streams: How many lanes are followed at the same time.
        workers: How many pages are worked on at the same time.
        ahead: How many pages may be fetched, or being fetched, and not yet done with. The one that was given out last
            counts until the next one is asked for.
        stop: Called, perhaps several times, to end fetches that are under way.
        cancelled: Whether the user has stopped it; looked at often.
        clock: Monotonic seconds; for how long the end may take.

    Raises, when iterated, Cancelled and whatever ``work`` raised; what a lane raises is given out as ``Failed``.
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
        # Guards all that follows.
        self._state = threading.Condition()
        self._lanes: deque[tuple[int, Callable[[], Iterator[T]]]] = deque()
        self._to_work_on: deque[_Slot[T, R]] = deque()
        self._order: deque[_Slot[T, R]] = deque()
        self._free = ahead
        self._open = 0  # lanes whose end has not been given out
        self._is_held = False  # the page that was given out last is still being used
        self._is_over = False
        names = [("stream", self._run_stream)] * streams + [("decode", self._run_worker)] * workers
        self._threads = [
            threading.Thread(
                target=contextvars.copy_context().run,  # the trace id of the pull goes with the thread
                args=(target,),
                name=f"sacnb-{kind}-{number}",
                daemon=True,  # one that hangs in connect() must not keep the interpreter from ending
            )
            for number, (kind, target) in enumerate(names)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._state:
            self._is_over = True
            self._state.notify_all()
        if threading.current_thread() in self._threads:
            # Whoever iterated let go of it, and the garbage was collected here, anywhere in the code below. This thread
            # goes on where it was, sees that all is over, and cannot wait for itself.
            self._stop()
            return
        with self._state:
            self._lanes.clear()
            self._to_work_on.clear()
            self._order.clear()
        deadline = self._clock() + _JOIN_S
        for thread in self._threads:
            while thread.is_alive() and self._clock() < deadline:
                # Again and again: a fetch may just have got to the point where it can be stopped.
                self._stop()
                thread.join(_POLL_S)
            if thread.is_alive():
                _log.debug("%s is still connecting, and ends by itself.", thread.name)

    def add(self, lane: int, start: Callable[[], Iterator[T]]) -> None:
        """Have a lane followed, after those added before; ``start`` is called by the thread that follows it."""
        with self._state:
            self._open += 1
            self._lanes.append((lane, start))
            self._state.notify_all()

    def __iter__(self) -> Iterator[Arrived[R] | Ended | Failed]:
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Arrived[R] | Ended | Failed | None:
        """What comes next in order; ``None`` once every lane has ended."""
        self._let_go()
        while True:
            if self._cancelled is not None and self._cancelled():
                raise Cancelled("The pull was stopped.", hint="The last good result is as it was.")
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

    def _let_go(self) -> None:
        with self._state:
            if self._is_held:
                self._is_held = False
                self._give_back()

    def _give_back(self) -> None:
        self._free += 1
        self._state.notify_all()

    # -- the threads -------------------------------------------------------------------------------------------------

    def _run_stream(self) -> None:
        while (found := self._take(self._lanes)) is not None:
            lane, start = found
            try:
                self._follow(lane, start())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever iterates
                self._post(_Slot(lane, event=Failed(lane, error)))

    def _follow(self, lane: int, pages: Iterator[T]) -> None:
        while self._reserve():
            try:
                page = next(pages, None)
            except BaseException:
                self._release()
                raise
            if page is None:
                self._release()
                self._post(_Slot(lane, event=Ended(lane)))
                return
            self._post(_Slot(lane, page))
            del page  # or it would live as long as it takes to fetch the next one

    def _run_worker(self) -> None:
        while (slot := self._take(self._to_work_on)) is not None:
            assert slot.page is not None  # noqa: S101 - only slots with a page get here
            event: Arrived[R] | _Broken
            try:
                event = Arrived(slot.lane, self._work(slot.page))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever iterates
                event = _Broken(error)
            with self._state:
                slot.page = None
                slot.event = event
                self._state.notify_all()
            del slot, event

    def _take(self, queue: deque[_Q]) -> _Q | None:
        """The next of ``queue``, awaited; ``None`` when all is over."""
        with self._state:
            while not queue and not self._is_over:
                self._state.wait()
            return None if self._is_over else queue.popleft()

    def _reserve(self) -> bool:
        """Wait for room for one more page; false when all is over."""
        with self._state:
            while self._free <= 0 and not self._is_over:
                self._state.wait()
            self._free -= 1
            return not self._is_over

    def _release(self) -> None:
        with self._state:
            self._give_back()

    def _post(self, slot: _Slot[T, R]) -> None:
        with self._state:
            if self._is_over:
                return
            self._order.append(slot)
            if slot.event is None:
                self._to_work_on.append(slot)
            self._state.notify_all()
