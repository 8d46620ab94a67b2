"""Give out the rows of a pull as they come: record batches for any library that reads Arrow, in bounded memory.

Segments come in any order, and a stream gives its rows in one: pages ahead of their turn wait on the disk.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import tempfile
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.ipc

from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._files import DISK_FULL, remove
from sacnb._fork import is_forked_since
from sacnb._frames.convert import arrow_schema
from sacnb._odata.schema import Column
from sacnb._pull.duplicates import Hashes, KeyWatch, Repeats
from sacnb._pull.plan import Job, Plan, Records, Sink
from sacnb._pull.pull import Pull
from sacnb._pull.totals import Tally, check_records
from sacnb.errors import BadAnswer, ExportError, InconsistentAnswer

__all__ = ["BatchStream", "Spool"]


class Spool:
    """Tables of segments whose turn has not come, in files that are removed when the context is left.

    The tables of a segment come out in the order in which they were put in. Memory holds none of them.

    Raises:
        ExportError: The folder for temporary files is full or cannot be used.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._folder: Path | None = None
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is None or is_forked_since(self._pid):  # the files are the parent's
            return
        with contextlib.suppress(OSError):  # a writer that cannot flush to a full disk; the files are removed anyway
            for writer in self._writers.values():
                writer.close()
        self._writers.clear()
        with contextlib.suppress(OSError):
            remove(self._folder)

    def put(self, segment: int, table: pa.Table) -> None:
        """Keep a table until its segment's turn has come."""
        with self._refusals():
            if segment not in self._writers:
                options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
                self._writers[segment] = pa.ipc.new_stream(str(self._new_file(segment)), table.schema, options=options)
            self._writers[segment].write_table(table)

    def take(self, segment: int) -> Iterator[pa.Table]:
        """Give out the tables of a segment, once."""
        writer = self._writers.pop(segment, None)
        if writer is None:
            return
        path = self._path(segment)
        with self._refusals():
            writer.close()
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])
            path.unlink()

    def drop(self, segment: int) -> None:
        """Forget the tables of a segment."""
        writer = self._writers.pop(segment, None)
        if writer is not None:
            with self._refusals():
                writer.close()
                self._path(segment).unlink()

    def _new_file(self, segment: int) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sacnb-stream-"))
        path = self._path(segment)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return path

    def _path(self, segment: int) -> Path:
        assert self._folder is not None  # noqa: S101 - made before the first file
        return self._folder / f"{segment:04d}.arrows"

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = self._folder.parent if self._folder is not None else "for temporary files"
            reason = error.strerror or str(error)
            full = "is full" if error.errno in DISK_FULL else "cannot be used"
            raise ExportError(
                f"The folder {folder}, in which a stream of several partitions keeps rows until their turn, {full} "
                f"({reason}).",
                hint="Free some space, set the environment variable TMPDIR to a folder on another disk, or leave out "
                "partitions: one stream needs no such files.",
            ) from error


class _InOrder:
    """A sink that queues the rows of the first segment, then those of the second, and so on, whichever came first."""

    def __init__(self, spool: Spool, convert: Callable[[pa.Table], pa.Table]) -> None:
        self._spool = spool
        self._convert = convert
        self._turn = 0
        self._has_begun = False  # rows of this segment have been given out, and cannot be taken back
        self._finished: set[int] = set()
        self._ready: deque[pa.Table] = deque()

    def may_restart(self, segment: int) -> bool:
        return segment != self._turn or not self._has_begun

    def add(self, segment: int, table: pa.Table) -> None:
        if segment == self._turn:
            self._has_begun = True
            self._ready.append(self._convert(table))
        else:
            self._spool.put(segment, self._convert(table))

    def finish(self, segment: int) -> None:
        self._finished.add(segment)

    def restart(self, segment: int) -> None:
        self._spool.drop(segment)

    def ready(self) -> Iterator[pa.Table]:
        """Give out all tables whose turn has come."""
        while self._ready:
            yield self._ready.popleft()
        while self._turn in self._finished:
            self._turn, self._has_begun = self._turn + 1, False
            for table in self._spool.take(self._turn):
                self._has_begun = True
                yield table


class BatchStream:
    """The rows of a question, a page at a time, once. Nothing is asked before the first batch is.

    Iterate it, or pass it to anything that reads Arrow streams: ``polars.DataFrame(stream)``,
    ``pyarrow.table(stream)``, DuckDB. It is a context manager; leaving it early, or dropping it, stops the pull.
    ``schema`` is fixed beforehand. Iterating raises errors as they happen; other libraries wrap them into errors of
    their own, and ``error`` keeps the original. ``repeated`` says how several records for one key are treated:
    ``"keep"`` or ``"error"``. ``records`` is empty until the last batch, and then holds the number of such keys.
    """

    __module__ = "sacnb"

    def __init__(self, job: Job, plan: Callable[[Job], Plan], *, finish: Callable[[], None] = lambda: None) -> None:
        cancelled, asked = threading.Event(), job.cancelled
        self._cancel = cancelled.set
        self.schema: pa.Schema = arrow_schema(job.columns)
        self.error: BaseException | None = None
        self.repeated = job.repeated
        self.records = Records()
        # The pull's steps run in a context of their own: its telemetry operation must not become the caller's.
        self._label = job.label
        self._context = contextvars.copy_context()
        this = weakref.ref(self)

        def note(records: Records) -> None:
            note_records(records)
            if (stream := this()) is not None:
                stream.records = records

        note_records = job.note_records
        job = replace(
            job,
            cancelled=lambda: cancelled.is_set() or (asked is not None and asked()),
            note_records=note,
        )
        # A function and not a method, which would keep this object alive: dropping it must stop the pull.
        self._pages = _batches(job, plan, self.schema, finish)
        self._close = weakref.finalize(self, self._context.run, self._pages.close)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        try:
            return self._context.run(next, self._pages)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """Stop the pull, from any thread: within a second the iteration raises Cancelled."""
        self._cancel()

    def close(self) -> None:
        """Stop the pull and its threads; no more batches come."""
        self._close()

    def read_all(self) -> pa.Table:
        """Return the remaining rows as one table. Raises what iterating does."""
        return pa.Table.from_batches(list(self), self.schema)

    def __repr__(self) -> str:
        return f"<BatchStream of {self._label}: {', '.join(self.schema.names)}>"

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the batches for any library that reads Arrow streams."""
        return pa.RecordBatchReader.from_batches(self.schema, self).__arrow_c_stream__(requested_schema)


def _batches(
    job: Job, plan: Callable[[Job], Plan], schema: pa.Schema, finish: Callable[[], None]
) -> Generator[pa.RecordBatch, None, None]:
    with job.context.telemetry.operation(f"stream {job.label}"), Spool() as spool:
        pull = Pull(job, plan(job))
        sink = _InOrder(spool, lambda table: _cast(table, job.label, schema))
        is_error = job.repeated == "error" or job.query.entity_set == FACT_DATA_AGGREGATION
        tallies = _Tallies(sink, job.columns)
        with closing(pull.steps(sink if is_error else tallies, sink.may_restart)) as steps:
            for _ in steps:
                if is_error:
                    _refuse_repeats(job.label, pull.watch.early_suspects())
                for table in sink.ready():
                    yield from table.to_batches()
        for table in sink.ready():
            yield from table.to_batches()
        suspects = pull.watch.suspects()
        if is_error:
            _refuse_repeats(job.label, suspects)
        elif len(suspects):
            _check(job, pull.watch, suspects, tallies)
        finish()


class _Tallies:
    """A sink that adds up the measures of each page on its way to another: a stream's rows are gone at its end."""

    def __init__(self, sink: Sink, columns: Sequence[Column]) -> None:
        self._sink = sink
        self._columns = columns
        self.pages: defaultdict[int, list[Tally]] = defaultdict(list)

    def add(self, segment: int, table: pa.Table) -> None:
        tally = Tally(self._columns)
        tally.add(table)
        self.pages[segment].append(tally)
        self._sink.add(segment, table)

    def finish(self, segment: int) -> None:
        self._sink.finish(segment)

    def restart(self, segment: int) -> None:
        self.pages.pop(segment, None)
        self._sink.restart(segment)

    def alike(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Return pairs of pages with the same number of rows and the same sums."""
        first: dict[Any, tuple[int, int]] = {}
        for segment, tallies in self.pages.items():
            for page, tally in enumerate(tallies):
                same = first.setdefault((tally.rows, tally.sums), (segment, page))
                if same != (segment, page):
                    yield same, (segment, page)


def _check(job: Job, watch: KeyWatch, suspects: Hashes, tallies: _Tallies) -> None:
    """Tell records from rows that came twice, without the rows.

    Raises:
        BadAnswer: Rows came twice.
    """
    whole = Tally(job.columns)
    for pages in tallies.pages.values():
        for tally in pages:
            whole.merge(tally)
    repeats = Repeats(watch.rows_of(suspects), {}, len(suspects))
    try:
        records = check_records(job, whole, repeats, watch.copied_pages(tallies.alike()))
    except InconsistentAnswer as error:
        raise BadAnswer(error.message, hint="Discard what was streamed, and download again.") from error
    job.note_records(records)


def _cast(table: pa.Table, label: str, schema: pa.Schema) -> pa.Table:
    """Return the table in the promised types; nothing is rounded to fit."""
    try:
        return table.cast(schema)
    except pa.ArrowInvalid as error:
        raise BadAnswer(
            f"A page of {label} has more digits than $metadata declares, and a stream has one schema: {error}",
            hint="Use fetch() or to_parquet(), which widen the column.",
        ) from error


def _refuse_repeats(label: str, suspects: Hashes) -> None:
    if len(suspects):
        raise BadAnswer(
            f"Rows of {label} share their key with another row, at least {len(suspects):,} of them.",
            hint="Discard what was streamed. If the model keeps several records for one cell, ask for them: "
            "stream(repeated='keep'). (By a hash of 64 bits, which is wrong in about one of "
            "a hundred thousand downloads; fetch() and to_parquet() compare the keys themselves.)",
        )
