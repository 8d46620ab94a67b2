"""Run one pull: segments through the pipeline, page after page, counted, compared and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from sacnb._cache.state import PageFile
from sacnb._connections import Interrupt
from sacnb._fork import refuse_polars_after_fork
from sacnb._frames.decode import decode_rows
from sacnb._pull.checkpoints import Checkpoints, Copy
from sacnb._pull.count import count_all, count_quietly, is_narrowed
from sacnb._pull.duplicates import KeyWatch
from sacnb._pull.pipeline import Arrived, Ended, Failed, Pipeline, decode_threads
from sacnb._pull.plan import Job, LimitedSink, Plan, Position, Segment, Sink, compare, remedy_for
from sacnb._pull.progress import Meter
from sacnb._pull.source import Fetched, PageSize, PageSource, Start
from sacnb._wire.telemetry import TelemetrySummary
from sacnb.errors import BadAnswer, ErrorText, InconsistentAnswer, SacError

__all__ = ["Pull"]

_log = logging.getLogger("sacnb.pull")

_MAX_RESTARTS: Final = 3


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A page as it leaves the worker."""

    index: int
    link: str
    next_link: str | None
    count: int | None
    table: pa.Table
    copy: Copy | None


@dataclass(slots=True)
class _Run:
    """State of a segment in this run. ``pages`` counts those fetched since it began or restarted."""

    segment: Segment
    start: Start
    position: Position = "beginning"
    announced: int | None = None
    received: int = 0
    pages: int = 0
    restarts: int = 0
    next_link: str | None = None
    withheld: pa.Table | None = None  # the last page, where SAC counts more rows and sends no link
    in_parts: int = 0  # rows that are in part files of an earlier run, whose pages may be fetched again


class Pull:
    """Pulls a plan: ``run`` once, to its end, within one operation of the telemetry.

    What ``checkpoints`` hold is not pulled again, and each new page is added to them.

    Raises:
        SacError: This process is a fork in which polars cannot work.
    """

    def __init__(self, job: Job, plan: Plan, checkpoints: Checkpoints | None = None) -> None:
        refuse_polars_after_fork()  # here and not when keys are hashed, which would wait forever
        self.watch = KeyWatch(job.columns)
        self.meter = Meter(job.progress, job.clock, expected_rows=plan.expected_rows)
        self._job = job
        self._plan = plan
        self._checkpoints = checkpoints or Checkpoints()
        self._columns = job.columns
        self._stop = Interrupt()
        self._source = PageSource(
            job.context, job.tenant_url, stop=self._stop, share=job.share, note_delta_link=job.note_delta_link
        )
        self._sizes = PageSize(plan.page_size or job.query.page_size)
        self.counted = 0  # rows that SAC announced to a single segment, whatever the limit
        self._said: set[str] = set()
        self._runs = [_Run(segment, Start(None)) for segment in plan.segments]

    def run(self, sink: Sink, may_restart: Callable[[int], bool] = lambda _: True) -> None:
        """Pull everything into *sink*; see ``steps``."""
        for _ in self.steps(sink, may_restart):
            pass

    def steps(self, sink: Sink, may_restart: Callable[[int], bool] = lambda _: True) -> Generator[None, None, None]:
        """Pull everything into *sink*, and yield after each page.

        Pages come in the order of their segment, the segments in any order, each finished once. No more rows than the
        query's ``top`` come; segments that would bring them are left out. *may_restart* is asked before a segment
        restarts; where it returns false the error is raised. Memory is bounded if *sink* does not keep the pages.

        Raises:
            BadAnswer: The number of rows is not the one that SAC announced. Repeated keys are left to the caller, who
                finds them with ``watch``.
            Cancelled: The user cancelled.
            SacError: The session's errors.
        """
        limit, before = self._job.query.top, self._job.context.telemetry.summary()
        if limit is not None and len(self._runs) > 1:
            # Each segment was asked for that many rows; together they may have more.
            sink = limited = LimitedSink(sink, limit)
            for _ in self._steps(sink, may_restart):
                yield
                if limited.is_full:
                    break
        else:
            yield from self._steps(sink, may_restart)
        self._log_end(before)

    def _log_end(self, before: TelemetrySummary) -> None:
        """Log what the pull did; waits are those of the whole connection meanwhile."""
        after, meter = self._job.context.telemetry.summary(), self.meter
        retries = sum(after.retries.values()) - sum(before.retries.values())
        waited = after.seconds_waited - before.seconds_waited
        resumed = f", {meter.resumed_rows:,} of them from an earlier run" if meter.resumed_rows else ""
        done = f"{meter.rows:,} rows{resumed} in {meter.pages:,} pages, in {meter.elapsed_s:.1f} s"
        waits = f", {waited:.1f} s of them waiting for {retries} retr{'y' if retries == 1 else 'ies'}"
        _log.info("%s: downloaded %s%s.", self._job.label, done, waits if retries else "")

    def _steps(self, sink: Sink, may_restart: Callable[[int], bool]) -> Generator[None, None, None]:
        open_segments: list[int] = []
        for number in range(len(self._runs)):
            if (yield from self._restore(number, sink)):
                sink.finish(number)
            else:
                open_segments.append(number)
        if self.meter.resumed_rows:
            self.meter.report()
        # With a limit the segments come in their order, so that the first rows are those of the first segment.
        streams = 1 if self._job.query.top is not None else max(1, min(self._job.streams, len(open_segments)))
        workers = decode_threads()
        with (
            self._source.slowed_down(self._job.context.telemetry),
            Pipeline(
                self._work,
                streams=streams,
                workers=workers,
                ahead=streams + workers + 1,
                stop=self._stop.set,
                cancelled=self._job.cancelled,
            ) as pipeline,
        ):
            for number in open_segments:
                pipeline.add(number, self._pages(number))
            for event in pipeline:
                match event:
                    case Arrived(number, decoded):
                        self._hand_on(number, self._take_in(number, decoded), sink)
                        del event, decoded  # free the page before the next one is asked for
                        yield
                    case Ended(number) if self._page_on(number, may_restart):
                        sink.restart(number)
                        pipeline.add(number, self._pages(number))
                    case Ended(number):
                        self._end(number, sink)
                    case Failed(number, error):
                        self._restart_or_raise(number, error, may_restart)
                        sink.restart(number)
                        pipeline.add(number, self._pages(number))
        expected = self._plan.expected_rows
        if expected is None and self._is_unchecked():
            expected = count_all(self._job, self.meter)
        compare(self._job, expected, self.meter.rows, is_vital=self._plan.page_size is not None)

    def _hand_on(self, number: int, table: pa.Table, sink: Sink) -> None:
        """Give a page to the sink; withhold a first one where SAC counts more rows, and sends no link."""
        run = self._runs[number]
        is_cut = run.next_link is None and 0 < run.received < (run.announced or 0)
        if is_cut and run.pages == 1 and run.start.link is None and self._plan.page_size is None:
            run.withheld = table
        else:
            sink.add(number, table)

    def _end(self, number: int, sink: Sink) -> None:
        run = self._runs[number]
        if run.withheld is not None:
            sink.add(number, run.withheld)
        compare(self._job, max(run.in_parts, run.received), run.received, is_vital=True)
        compare(self._job, run.announced, run.received)
        self._sizes.grow(run.start.page_size)
        sink.finish(number)

    # -- one segment -------------------------------------------------------------------------------------------------

    def _pages(self, number: int) -> Callable[[], Iterator[tuple[int, Fetched]]]:
        run = self._runs[number]

        def pages() -> Iterator[tuple[int, Fetched]]:
            if run.start.link is None:  # chosen only when its turn has come: the size may have changed meanwhile
                run.start = Start(self._sizes.current)
            for fetched in self._source.pages(run.segment, run.start):
                yield number, fetched
                del fetched

        run.next_link = run.start.link
        return pages

    def _work(self, numbered: tuple[int, Fetched]) -> _Decoded:
        """Decode a page and copy it to the disk; called by several threads at once."""
        number, fetched = numbered
        try:
            # Nothing is fetched while the last page is decoded, so use all cores for it.
            table = decode_rows(fetched.page.view, self._columns, by_all_cores=fetched.next_link is None)
        except BadAnswer as error:
            if not error.truncated:
                raise
            # An error that SAC put among the rows shows up only here, long after the request succeeded.
            table = decode_rows(self._source.again(fetched).view, self._columns)
        table = self._all_of(fetched, table)
        self._job.context.telemetry.on_rows(table.num_rows)
        is_all = len(self._runs) == 1 and fetched.index == 0 and fetched.next_link is None
        copy = self._checkpoints.write(number, fetched.index, table, is_all=is_all)
        return _Decoded(fetched.index, fetched.link, fetched.next_link, fetched.page.count, table, copy)

    def _all_of(self, fetched: Fetched, table: pa.Table) -> pa.Table:
        """Return the rows of a page if they are as many as the page says, and fetch it once more if not."""
        if fetched.page.rows_in_page in {None, table.num_rows}:
            return table
        page = self._source.again(fetched)
        table = decode_rows(page.view, self._columns)
        if page.rows_in_page not in {None, table.num_rows}:
            raise InconsistentAnswer(
                f"A page of {self._job.label} holds {table.num_rows:,} rows, and says itself that it has "
                f"{page.rows_in_page:,}.",
                hint="No data was saved. Download again; if it happens again, report it to your SAC administrator.",
            )
        return table

    def _take_in(self, number: int, decoded: _Decoded) -> pa.Table:
        """Count a page, and return the rows of it that have not been given out."""
        run, table = self._runs[number], decoded.table
        # A page that was asked for by its number announces the rows of all segments together.
        if run.announced is None and decoded.count is not None and run.segment.packages is None:
            limit = self._job.query.top
            self.counted = decoded.count if len(self._runs) == 1 else 0
            run.announced = decoded.count if limit is None else min(decoded.count, limit)
            self.meter.expect(number, run.announced)
        is_only_page = len(self._runs) == 1 and run.pages == 0 and decoded.next_link is None
        if is_only_page and run.announced is None and is_narrowed(self._job) and 0 < len(table) != self._job.query.top:
            run.announced = count_quietly(self._job)
        if decoded.copy is not None:
            copy, rows = decoded.copy, table.num_rows
            page = PageFile(decoded.index, copy.file, run.received, rows, copy.sha256, decoded.link, decoded.next_link)
            self._checkpoints.add(number, page, announced=run.announced)
        before, run.received = run.received, run.received + table.num_rows
        run.pages += 1
        run.next_link = decoded.next_link
        if run.in_parts > before:
            table = self._without_known(number, table, before)
        # Hash on this thread, which is mostly idle; on a fast network the decode threads are the bottleneck.
        self.watch.add(number, self.watch.hashes(table))
        self._job.observe(table)
        self.meter.add(number, table.num_rows)
        if run.announced is not None and run.received > run.announced and self._job.check_count:
            compare(self._job, run.announced, run.received)  # no need to wait for the end, if it ever comes
        return table

    def _without_known(self, number: int, table: pa.Table, first_row: int) -> pa.Table:
        """Return the rows of a page, fetched again, that are not in part files; those that are must be the same."""
        known = min(self._runs[number].in_parts - first_row, table.num_rows)
        if not self._checkpoints.has_rows(number, first_row, table.slice(0, known)):
            raise InconsistentAnswer(
                f"A page of {self._job.label} has other rows now than when the download was begun.",
                hint="Download again; it starts over.",
            )
        return table.slice(known)

    def _restart_or_raise(self, number: int, error: BaseException, may_restart: Callable[[int], bool]) -> None:
        """Restart a segment if that may help; otherwise raise *error*."""
        run = self._runs[number]
        remedy = remedy_for(error, "link" if run.pages else run.position)
        if remedy == "smaller pages" and (self._plan.page_size or not self._sizes.shrink(run.start.page_size)):
            remedy = "give up"
        if remedy != "give up" and run.restarts < _MAX_RESTARTS and may_restart(number) and self._is_there(number):
            self._restart(number, error, with_smaller_pages=remedy == "smaller pages")
            return
        if run.next_link is not None and remedy_for(error, "link that failed before") == "smaller pages":
            self._checkpoints.note_failure(number, run.next_link)
        raise error

    def _is_there(self, number: int) -> bool:
        """Probe SAC with a one-row page before discarding downloaded pages, where it may be down."""
        run = self._runs[number]
        return bool(run.pages) or run.position != "link that failed before" or self._source.answers(run.segment)

    def _restart(self, number: int, error: BaseException, *, with_smaller_pages: bool) -> None:
        _log.warning(
            "%s: restarting part %d of %d%s because a page could not be fetched: %s",
            self._job.label,
            number + 1,
            len(self._runs),
            f" with pages of {self._sizes.current:,} rows" if with_smaller_pages else "",
            ErrorText.of(error).headline if isinstance(error, SacError) else error,
        )
        self._begin_anew(number, Start(None))

    def _begin_anew(self, number: int, start: Start) -> None:
        run = self._runs[number]
        self._runs[number] = _Run(run.segment, start, restarts=run.restarts + 1)
        self._checkpoints.restart(number)
        self.watch.forget(number)
        self.meter.restart(number)

    def _page_on(self, number: int, may_restart: Callable[[int], bool]) -> bool:
        """Restart a segment that SAC cut off without a link: in pages as small as SAC makes them, or by ``$skip``.

        A hard limit on pages was reported from live tenants. Small pages come first, because they may have links;
        ``$skip`` needs an order, in which SAC may be slower.
        """
        run = self._runs[number]
        if run.withheld is None or run.restarts >= _MAX_RESTARTS or not may_restart(number):
            return False
        asked = run.start.page_size
        if asked is None or asked > run.received:
            self._sizes.limit(run.received)
            how, start = f"in pages of {run.received:,} rows", Start(None)
        else:
            keys = [column.name for column in self._columns if column.role == "dimension"]
            how = "with $skip, in the order of all dimensions"
            start = Start(asked, link=run.segment.first_by_skip(keys, self._sizes.current))
        level = logging.INFO if how in self._said else logging.WARNING
        self._said.add(how)
        _log.log(
            level,
            "%s: SAC counts %s rows and stopped after %s without a link to the next page. Reading them %s.",
            self._job.label,
            f"{run.announced:,}",
            f"{run.received:,}",
            how,
        )
        self._begin_anew(number, start)
        return True

    # -- rows of an earlier run ----------------------------------------------------------------------------------------

    def _restore(self, number: int, sink: Sink) -> Generator[None, None, bool]:
        """Give out the rows that an earlier run pulled of a segment; return whether that is all of it."""
        state, run = self._checkpoints.segment(number), self._runs[number]
        if state.next_link is None and not state.is_complete:
            return False
        for part in state.parts:
            self._resume(number, self._checkpoints.read_part(part.file, self.watch.names), part.rows)
        for page in state.pages:
            table = self._checkpoints.read(page).slice(max(0, state.part_rows - page.first_row))
            self._resume(number, table, table.num_rows)
            sink.add(number, table)
            yield
        run.received, run.announced, run.in_parts = state.next_row, state.announced, state.part_rows
        if state.announced is not None:
            self.meter.expect(number, state.announced)
        if state.is_complete:
            compare(self._job, state.announced, state.rows)
            return True
        run.position = "link that failed before" if state.failed_link == state.next_link else "resumed link"
        run.start = Start(self._sizes.current, state.next_index, state.next_link, state.announced)
        return False

    def _resume(self, number: int, table: pa.Table, rows: int) -> None:
        self.watch.add(number, self.watch.hashes(table))
        self._job.observe(table)
        self.meter.resume(number, rows)

    # -- the whole pull ----------------------------------------------------------------------------------------------

    def _is_unchecked(self) -> bool:
        """Return whether there were several pages, and no page said how many rows there are."""
        counted = all(run.announced is not None for run in self._runs)
        several = self.meter.pages > len(self._runs) or self.meter.resumed_rows > 0
        return self._job.check_count and several and not counted
