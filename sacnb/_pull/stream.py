"""The rows of a pull as they come: record batches for whatever reads Arrow, in bounded memory.

Lanes come in any order, and a stream gives its rows in one: what comes ahead of its turn waits on the disk.
"""

from __future__ import annotations

import contextvars
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.ipc

from sacnb._frames.convert import arrow_schema
from sacnb._pull.duplicates import Hashes
from sacnb._pull.plan import Job, LaneFinished, LaneRestarted, PageRows, Plan
from sacnb._pull.pull import Pull
from sacnb.errors import BadAnswer

__all__ = ["BatchStream", "Spool"]


class Spool:
    """Tables of lanes whose turn has not come, in files that are gone when the context is left.

    One lane's tables come out in the order they were put in. Memory holds none of them.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in list(self._writers):
            self.drop(lane)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, lane: int, table: pa.Table) -> None:
        """Keep a table until its lane's turn has come. Raises OSError where the disk is full."""
        if lane not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            self._writers[lane] = pa.ipc.new_stream(str(self._path(lane)), table.schema, options=options)
        self._writers[lane].write_table(table)

    def take(self, lane: int) -> Iterator[pa.Table]:
        """What was put in for a lane, once."""
        writer = self._writers.pop(lane, None)
        if writer is None:
            return
        writer.close()
        path = self._path(lane)
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
        path.unlink()

    def drop(self, lane: int) -> None:
        """Forget what was put in for a lane."""
        writer = self._writers.pop(lane, None)
        if writer is not None:
            writer.close()
            self._path(lane).unlink()

    def _path(self, lane: int) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sacnb-stream-"))
        return self._folder / f"{lane:04d}.arrows"


@dataclass(slots=True)
class _Turn:
    """Whose rows are given out now, and whether any have been: those cannot be taken back."""

    lane: int = 0
    has_begun: bool = False

    def may_restart(self, lane: int) -> bool:
        return lane != self.lane or not self.has_begun


class BatchStream:
    """The rows of a question, a page at a time, once. Nothing is asked before the first batch is.

    Iterate it, or hand it to anything that reads Arrow streams: ``polars.DataFrame(stream)``,
    ``pyarrow.table(stream)``, DuckDB. A context manager; leaving it early, or letting go of it, stops the pull.
    ``schema`` is fixed beforehand. What goes wrong is raised by the iteration; other libraries wrap it into an error of
    their own, and ``error`` keeps the original.
    """

    def __init__(self, job: Job, plan: Callable[[Job], Plan], *, finish: Callable[[], None] = lambda: None) -> None:
        cancelled, asked = threading.Event(), job.cancelled
        self._cancel = cancelled.set
        self.schema: pa.Schema = arrow_schema(job.columns)
        self.error: BaseException | None = None
        # A context of its own for the steps of the pull: its operation must not become that of whoever iterates.
        self._context = contextvars.copy_context()
        job = replace(job, cancelled=lambda: cancelled.is_set() or (asked is not None and asked()))
        # Not a method: it would hold on to this object, and never be stopped by letting go of it.
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
        """Stop the pull, from any thread: within a second whoever iterates gets Cancelled."""
        self._cancel()

    def close(self) -> None:
        """Stop the pull and its threads; nothing more comes."""
        self._close()

    def read_all(self) -> pa.Table:
        """All that is left, as one table. Raises what iterating does."""
        return pa.Table.from_batches(list(self), self.schema)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The batches for any library that reads Arrow streams."""
        return pa.RecordBatchReader.from_batches(self.schema, self).__arrow_c_stream__(requested_schema)


def _batches(
    job: Job, plan: Callable[[Job], Plan], schema: pa.Schema, finish: Callable[[], None]
) -> Generator[pa.RecordBatch, None, None]:
    with (
        job.context.telemetry.operation(f"stream {job.what}"),
        Spool() as spool,
        closing(_in_order(Pull(job, plan(job)), spool, job.what, schema)) as tables,
    ):
        for table in tables:
            yield from table.to_batches()
        finish()


def _in_order(running: Pull, spool: Spool, what: str, schema: pa.Schema) -> Generator[pa.Table, None, None]:
    """The rows of the first lane, then those of the second, and so on, whichever came first."""
    turn = _Turn()
    finished: set[int] = set()
    with closing(running.items(may_restart=turn.may_restart)) as items:
        for item in items:
            match item:
                case PageRows(lane, table):
                    _refuse_repeats(what, running.watch.early_suspects())
                    if lane != turn.lane:
                        spool.put(lane, _fixed(table, what, schema))
                        continue
                    turn.has_begun = True
                    yield _fixed(table, what, schema)
                case LaneRestarted(lane):
                    spool.drop(lane)
                case LaneFinished(lane):
                    finished.add(lane)
                    while turn.lane in finished:
                        turn.lane, turn.has_begun = turn.lane + 1, False
                        for table in spool.take(turn.lane):
                            turn.has_begun = True
                            yield table
    _refuse_repeats(what, running.watch.suspects())


def _fixed(table: pa.Table, what: str, schema: pa.Schema) -> pa.Table:
    """The table in the types that were promised: nothing is rounded to fit."""
    try:
        return table.cast(schema)
    except pa.ArrowInvalid as error:
        raise BadAnswer(
            f"A page of {what} has more digits than $metadata declares, and a stream has one schema: {error}",
            hint="Use fetch() or to_parquet(), which widen the column.",
        ) from error


def _refuse_repeats(what: str, suspects: Hashes) -> None:
    if len(suspects):
        raise BadAnswer(
            f"Rows of {what} share their key with another row, at least {len(suspects):,} of them.",
            hint="Use none of what was streamed, and pull again. (By a hash of 64 bits, which of a hundred thousand "
            "pulls is wrong about one; fetch() and to_parquet() look at the keys themselves.)",
        )
