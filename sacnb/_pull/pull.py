"""One pull: chains through the pipeline, page after page, with everything that is counted, compared and kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from sacnb._cache.state import PageFile
from sacnb._frames.decode import decode_rows
from sacnb._pull.checkpoints import Checkpoints, Copy
from sacnb._pull.duplicates import KeyWatch
from sacnb._pull.failures import Inconsistent, Where, remedy_for
from sacnb._pull.pipeline import Arrived, Ended, Failed, Pipeline
from sacnb._pull.plan import Chain, Item, Job, LaneFinished, LaneRestarted, PageRows, Plan
from sacnb._pull.progress import Meter
from sacnb._pull.source import Fetched, PageSize, PageSource, Start
from sacnb._wire.interrupt import Interrupt
from sacnb._wire.telemetry import Event, RetryEvent, current_trace_id
from sacnb.errors import BadAnswer, RowCountWarning, warn_user

__all__ = ["Pull"]

_log = logging.getLogger("sacnb.export")

_MAX_RESTARTS: Final = 3
# Decoding is native code; more threads than this would only wait for the wire.
_MAX_WORKERS: Final = 4


def _workers(streams: int) -> int:
    """How many threads decode: one for each core, but one less for a single stream, which unpacks its pages itself."""
    cores = os.cpu_count() or 1
    return max(1, min(_MAX_WORKERS, cores if streams > 1 else cores - 1))


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A page as it leaves the worker."""

    index: int
    mark: str
    next_mark: str | None
    count: int | None
    table: pa.Table
    copy: Copy | None


@dataclass(slots=True)
class _Lane:
    """How far a lane is. ``pages`` are those that came in this run, since it began or began anew."""

    chain: Chain
    start: Start
    where: Where = "beginning"
    announced: int | None = None
    received: int = 0
    pages: int = 0
    restarts: int = 0
    next_mark: str | None = None


class Pull:
    """Pulls a plan: iterate ``items`` once, to its end, within one operation of the telemetry.

    What ``checkpoints`` hold is not pulled again, and what is pulled goes there page by page.
    """

    def __init__(self, job: Job, plan: Plan, checkpoints: Checkpoints | None = None) -> None:
        self.watch = KeyWatch(job.columns)
        self.meter = Meter(job.progress, job.clock, expected_rows=plan.expected_rows)
        self._job = job
        self._plan = plan
        self._checkpoints = checkpoints or Checkpoints()
        self._columns = job.columns
        self._stop = Interrupt()
        self._source = PageSource(job.context, job.tenant_url, stop=self._stop)
        self._sizes = PageSize(plan.page_size or job.query.page_size)
        self._lanes = [_Lane(chain, Start(None)) for chain in plan.chains]

    def items(self, may_restart: Callable[[int], bool] = lambda _: True) -> Generator[Item, None, None]:
        """What comes: pages in the order of their lane, the lanes in any order, each finished once.

        No more rows than the query's ``top`` come; the lanes that would bring them are left out. ``may_restart`` is
        asked before a lane begins anew; without its leave the error is raised. Memory is bounded as long as a page is
        let go of before the next one is asked for.

        Raises BadAnswer where the number of rows is not the one that SAC announced, Cancelled, and what the session
        raises. Repeated keys are for whoever iterates to look for, in ``watch``.
        """
        limit = self._job.query.top
        with closing(self._items(may_restart)) as items:
            # Several chains were each asked for that many rows; together they may have more.
            yield from items if limit is None or len(self._lanes) < 2 else _limited(items, limit)

    def _items(self, may_restart: Callable[[int], bool]) -> Generator[Item, None, None]:
        open_lanes: list[int] = []
        for number in range(len(self._lanes)):
            if (yield from self._restore(number)):
                yield LaneFinished(number)
            else:
                open_lanes.append(number)
        if self.meter.resumed_rows:
            self.meter.tell()
        # With a limit the lanes come in their order, so that the first rows are those of the first lane.
        streams = 1 if self._job.query.top is not None else max(1, min(self._job.streams, len(open_lanes)))
        workers = _workers(streams)
        with (
            self._throttled(),
            Pipeline(
                self._work,
                streams=streams,
                workers=workers,
                ahead=streams + workers + 2,
                stop=self._stop.set,
                cancelled=self._job.cancelled,
            ) as pipeline,
        ):
            for number in open_lanes:
                pipeline.add(number, self._pages(number))
            for event in pipeline:
                match event:
                    case Arrived(number, decoded):
                        yield PageRows(number, self._take_in(number, decoded))
                    case Ended(number):
                        lane = self._lanes[number]
                        self._compare(lane.announced, lane.received)
                        self._sizes.grow(lane.start.page_size)
                        yield LaneFinished(number)
                    case Failed(number, error):
                        self._begin_anew(number, error, may_restart)
                        yield LaneRestarted(number)
                        pipeline.add(number, self._pages(number))
        self._compare(self._plan.expected_rows, self.meter.rows, is_vital=self._plan.page_size is not None)

    # -- one lane ----------------------------------------------------------------------------------------------------

    def _pages(self, number: int) -> Callable[[], Iterator[tuple[int, Fetched]]]:
        lane = self._lanes[number]

        def pages() -> Iterator[tuple[int, Fetched]]:
            if lane.start.mark is None:  # chosen now, when its turn has come: it may have changed meanwhile
                lane.start = Start(self._sizes.current)
            for fetched in self._source.pages(lane.chain, lane.start):
                yield number, fetched
                del fetched

        lane.next_mark = lane.start.mark
        return pages

    def _work(self, numbered: tuple[int, Fetched]) -> _Decoded:
        """Decode a page and copy it to the disk; called by several threads at once."""
        number, fetched = numbered
        try:
            # Nobody waits for the wire while the last page is decoded, so nothing hides the time that takes.
            table = decode_rows(fetched.page.view, self._columns, by_all_cores=fetched.next_mark is None)
        except BadAnswer as error:
            if not error.truncated:
                raise
            # An error that SAC put among the rows is found here, when the request has long been answered.
            table = decode_rows(self._source.again(fetched).view, self._columns)
        self._job.context.telemetry.on_rows(table.num_rows)
        return _Decoded(
            fetched.index,
            fetched.mark,
            fetched.next_mark,
            fetched.page.count,
            table,
            self._checkpoints.write(
                number,
                fetched.index,
                table,
                is_all=len(self._lanes) == 1 and fetched.index == 0 and fetched.next_mark is None,
            ),
        )

    def _take_in(self, number: int, decoded: _Decoded) -> pa.Table:
        lane, table = self._lanes[number], decoded.table
        # A page that was asked for by its number announces the rows of all lanes together.
        if lane.announced is None and decoded.count is not None and lane.chain.packages is None:
            limit = self._job.query.top
            lane.announced = decoded.count if limit is None else min(decoded.count, limit)
            self.meter.expect(number, lane.announced)
        if decoded.copy is not None:
            page = PageFile(
                decoded.index,
                decoded.copy.file,
                lane.received,
                table.num_rows,
                decoded.copy.sha256,
                decoded.mark,
                decoded.next_mark,
            )
            self._checkpoints.add(number, page, announced=lane.announced)
        lane.received += table.num_rows
        lane.pages += 1
        lane.next_mark = decoded.next_mark
        # Here, in a thread that mostly waits, and not where pages are decoded, which is what a fast network waits for.
        self.watch.add(number, self.watch.hashes(table))
        self._job.observe(table)
        self.meter.add(number, table.num_rows)
        if lane.announced is not None and lane.received > lane.announced and self._job.check_count:
            self._compare(lane.announced, lane.received)  # no need to wait for the end, if it ever comes
        return table

    def _begin_anew(self, number: int, error: BaseException, may_restart: Callable[[int], bool]) -> None:
        """Have the lane begin anew if that may help; else raise ``error``."""
        lane = self._lanes[number]
        remedy = remedy_for(error, "link" if lane.pages else lane.where)
        if remedy == "smaller pages" and (self._plan.page_size or not self._sizes.shrink(lane.start.page_size)):
            remedy = "give up"
        if remedy != "give up" and lane.restarts < _MAX_RESTARTS and may_restart(number) and self._is_there(number):
            self._restart(number, error, with_smaller_pages=remedy == "smaller pages")
            return
        if lane.next_mark is not None and remedy_for(error, "link that failed before") == "smaller pages":
            self._checkpoints.note_failure(number, lane.next_mark)
        raise error

    def _is_there(self, number: int) -> bool:
        """Whether SAC answers at all, where that is in doubt and much would be thrown away."""
        lane = self._lanes[number]
        return bool(lane.pages) or lane.where != "link that failed before" or self._source.answers(lane.chain)

    def _restart(self, number: int, error: BaseException, *, with_smaller_pages: bool) -> None:
        lane = self._lanes[number]
        _log.warning(
            "%s: part %d of %d begins anew%s, since a page could not be had: %s",
            self._job.what,
            number + 1,
            len(self._lanes),
            f" with pages of {self._sizes.current:,} rows" if with_smaller_pages else "",
            error,
        )
        self._lanes[number] = _Lane(lane.chain, Start(None), restarts=lane.restarts + 1)
        self._checkpoints.restart(number)
        self.watch.forget(number)
        self.meter.restart(number)

    # -- what an earlier run pulled ------------------------------------------------------------------------------------

    def _restore(self, number: int) -> Generator[Item, None, bool]:
        """Give out what an earlier run pulled of a lane, and say whether that is all of it."""
        state, lane = self._checkpoints.lane(number), self._lanes[number]
        if state.next_mark is None and not state.is_complete:
            return False
        for part in state.parts:
            self._resume(number, self._checkpoints.read_part(part.file, self.watch.names), part.rows)
        for page in state.pages:
            table = self._checkpoints.read(page).slice(max(0, state.part_rows - page.first_row))
            self._resume(number, table, table.num_rows)
            yield PageRows(number, table)
        lane.received, lane.announced = state.rows, state.announced
        if state.announced is not None:
            self.meter.expect(number, state.announced)
        if state.is_complete:
            self._compare(state.announced, state.rows)
            return True
        lane.where = "link that failed before" if state.failed_mark == state.next_mark else "resumed link"
        lane.start = Start(self._sizes.current, state.next_index, state.next_mark, state.announced)
        return False

    def _resume(self, number: int, table: pa.Table, rows: int) -> None:
        self.watch.add(number, self.watch.hashes(table))
        self._job.observe(table)
        self.meter.resume(number, rows)

    # -- the whole ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _throttled(self) -> Iterator[None]:
        """Hear of every 429 of this pull, and slow all its streams down."""
        trace_id = current_trace_id()

        def hook(event: Event) -> None:
            if isinstance(event, RetryEvent) and event.cause == "429" and event.trace_id == trace_id:
                self._source.pace.throttled(event.delay_s)

        remove = self._job.context.telemetry.add_hook(hook)
        try:
            yield
        finally:
            remove()

    def _compare(self, announced: int | None, received: int, *, is_vital: bool = False) -> None:
        if announced is None or announced == received:
            return
        what = self._job.what
        problem = f"SAC announced {announced:,} rows of {what} and sent {received:,}; rows are missing or repeated."
        if self._job.check_count or is_vital:
            hint = "Pull again; if the model is being written to, use facts(..., check_count=False)."
            raise Inconsistent(problem, hint=hint)
        warn_user(problem, RowCountWarning)


def _limited(items: Iterator[Item], limit: int) -> Iterator[Item]:
    """The items up to ``limit`` rows, of lanes that come one after the other."""
    left = limit
    of_this_lane = 0
    for item in items:
        match item:
            case PageRows(lane, table):
                rows = min(table.num_rows, left)
                yield PageRows(lane, table.slice(0, rows))
                left, of_this_lane = left - rows, of_this_lane + rows
                if not left:
                    yield LaneFinished(lane)
                    return
            case LaneRestarted():
                left, of_this_lane = left + of_this_lane, 0
                yield item
            case LaneFinished():
                of_this_lane = 0
                yield item
