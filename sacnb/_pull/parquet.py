"""Pull a question into a folder of Parquet files, in bounded memory, and resume where an earlier run stopped."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sacnb._cache.staging import StagingArea
from sacnb._cache.state import PartFile, is_recent
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._files import DISK_FULL
from sacnb._frames.convert import arrow_schema, concat
from sacnb._pull.checkpoints import Checkpoints, Staging, plan_of
from sacnb._pull.collect import sum_tables
from sacnb._pull.duplicates import copied_run, repeated_rows, row_hashes
from sacnb._pull.plan import Job, Plan
from sacnb._pull.publish import ParquetFolder, Publication, locked, recover, refuse_foreign
from sacnb._pull.pull import Pull
from sacnb._pull.totals import Tally, check_records
from sacnb.errors import ExportError, InconsistentAnswer, UnknownNameError

__all__ = ["ROWS_PER_PART", "ParquetFolder", "PartWriter", "encode", "schema_of", "to_parquet", "widen"]

# One row group a file. Smaller ones make files larger (a fifth, at 50,000 rows) and slower to read, larger ones cost
# memory while they are written.
ROWS_PER_PART: Final = 500_000
# A part is encoded in blocks, so that its rows never have to be copied into one table.
_BLOCKS_PER_PART: Final = 10


class PartWriter:
    """A sink that writes the rows of each segment into part files of ``rows_per_part``; the last one may be smaller.

    The number of rows alone decides where a part and its blocks end, which its bytes depend on; the sizes of pages and
    the time do not.
    """

    def __init__(self, area: StagingArea, rows_per_part: int = ROWS_PER_PART) -> None:
        self._area = area
        self._rows_per_part = rows_per_part
        self._rows_per_block = max(rows_per_part // _BLOCKS_PER_PART, 1)
        self._segments: defaultdict[int, _Waiting] = defaultdict(_Waiting)

    def add(self, segment: int, table: pa.Table) -> None:
        """Take the next rows of a segment. Raises OSError where a part cannot be written."""
        waiting = self._segments[segment]
        waiting.tables.append(table)
        waiting.rows += table.num_rows
        del table
        while waiting.rows >= (wanted := min(self._rows_per_block, self._rows_per_part - waiting.block_rows)):
            waiting.make_block(wanted)
            if waiting.block_rows == self._rows_per_part:
                self._write(segment)

    def finish(self, segment: int) -> None:
        """Write what is left of a segment."""
        waiting = self._segments[segment]
        if waiting.rows:
            waiting.make_block(waiting.rows)
        if waiting.block_rows:
            self._write(segment)
        del self._segments[segment]

    def restart(self, segment: int) -> None:
        """Forget the rows of a segment."""
        self._segments.pop(segment, None)

    def _write(self, segment: int) -> None:
        waiting = self._segments[segment]
        data = encode(concat(waiting.blocks))
        rows, waiting.block_rows = waiting.block_rows, 0
        waiting.blocks.clear()
        self._area.write_part(segment, data, rows)
        del data
        # Return what the part took to the system before more pages come; it lowers the peak by about 10 MB.
        pa.default_memory_pool().release_unused()


@dataclass(slots=True)
class _Waiting:
    """Rows of a segment that are in no part yet: in blocks, and then in tables as they came."""

    tables: deque[pa.Table] = field(default_factory=deque)
    rows: int = 0
    blocks: list[pa.Table] = field(default_factory=list)
    block_rows: int = 0

    def make_block(self, rows: int) -> None:
        """Turn the first *rows* rows of the tables into a block, without a copy where one table has them."""
        tables, missing = [], rows
        while missing:
            table = self.tables.popleft()
            if table.num_rows > missing:
                self.tables.appendleft(table.slice(missing))
                table = table.slice(0, missing)
            tables.append(table)
            missing -= table.num_rows
        self.rows -= rows
        self.blocks.append(tables[0] if len(tables) == 1 else concat(tables).combine_chunks())
        self.block_rows += rows


def encode(table: pa.Table) -> pa.Buffer:
    """Encode a table as Parquet: zstd, checksums, one row group. The same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        row_group_size=max(table.num_rows, 1),
        write_page_checksum=True,
    )
    return sink.getvalue()


def widen(area: StagingArea, segment: int, schema: pa.Schema) -> None:
    """Write the parts of a segment in these types: a page with more digits than the others made some parts wider."""
    for index, part in enumerate(area.segment(segment).parts):
        path = area.rows / part.file
        if pq.read_schema(path).equals(schema):
            continue
        with pq.ParquetFile(path) as file:
            table = file.read()
        area.replace_part(segment, index, encode(table.cast(schema)))


def schema_of(area: StagingArea, parts: Sequence[PartFile], declared: pa.Schema) -> pa.Schema:
    """Return the types that hold the values of every part: those declared, or wider ones."""
    schemas = [declared, *(pq.read_schema(area.rows / part.file) for part in parts)]
    return pa.unify_schemas(schemas, promote_options="permissive")


def to_parquet(
    job: Job,
    plan: Callable[[Job], Plan],
    folder: Path,
    staging: Staging,
    *,
    about: Mapping[str, Any],
    finish: Callable[[], None] = lambda: None,
    rows_per_part: int = ROWS_PER_PART,
) -> ParquetFolder:
    """Pull a question into *folder*, which holds what it held before or the whole answer, and never a part of it.

    The files are written into a hidden folder beside it, which takes its place at the end. The manifest lies beside
    the folder: polars, for one, refuses a folder in which anything but Parquet files lies.

    Raises:
        ExportError: Something else is in the folder, another export to it is running, or the system refuses to write;
            the rows that were pulled are kept for the next run.
        SacError: Errors of the pull.
    """
    folder = Path(os.path.realpath(folder))
    if not folder.name:
        raise ExportError(f"{folder} cannot be replaced by an export.", hint="Name a folder below it.")
    sleep = job.context.session.sleep
    target = str(folder)
    question = staging.id(target=target)
    with _refusals(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            found = recover(folder, sleep=sleep)
            refuse_foreign(folder)
            if found is not None and _is_answer(found, question, staging):
                return found.result
            area = staging.open(folder.with_name(f".{folder.name}.{question[:8]}.partial"), target=target)
            if area is None:
                raise ExportError(f"Another process is exporting to {folder}.", hint="Wait for it to end.")
            try:
                return _pull_into(job, plan, folder, area, question, about=about, finish=finish, rows=rows_per_part)
            except (InconsistentAnswer, UnknownNameError):
                area.discard()
                raise
            finally:
                area.close()


def _is_answer(found: Publication, question: str, staging: Staging) -> bool:
    """Return whether a run of the same question that ended while it published had pulled all that is asked for."""
    return staging.resume and found.question == question and is_recent(found.manifest["started_at"], staging.now())


def _pull_into(
    job: Job,
    make_plan: Callable[[Job], Plan],
    folder: Path,
    area: StagingArea,
    question: str,
    *,
    about: Mapping[str, Any],
    finish: Callable[[], None],
    rows: int,
) -> ParquetFolder:
    with job.context.telemetry.operation(f"export {job.label}"):
        plan = plan_of(area, job, make_plan)
        pull = Pull(job, plan, Checkpoints(area, is_needed=True))
        pull.run(PartWriter(area, rows))
        repeated_keys = _settle(pull, job, area, len(plan.segments))
        parts = _parts(area, max(len(plan.segments), 1))
        if repeated_keys and job.repeated == "sum":
            parts = _sum(pull, job, area, parts, target=len(plan.segments), rows_per_part=rows)
        finish()
    publication = Publication.of(
        folder,
        parts,
        rows=area.rows,
        area=area.directory,
        question=question,
        about={
            **about,
            "started_at": area.started_at.isoformat(),
            "finished_at": area.now().isoformat(),
            "keys_compared": pull.watch.keys,
            "repeated_keys": repeated_keys,
        },
        resumed_rows=pull.meter.resumed_rows,
    )
    publication.begin()
    return publication.finish(sleep=job.context.session.sleep)


def _settle(pull: Pull, job: Job, area: StagingArea, segments: int) -> int:
    """Bring all parts into one schema, and return the number of keys with several records.

    Raises:
        InconsistentAnswer: Rows came twice, or a key did where that is an error.
    """
    parts = _parts(area, segments)
    declared = arrow_schema(job.columns)
    if not parts:  # a folder without a file would be no table at all
        area.write_part(0, encode(pa.Table.from_batches([], declared)), 0)
        return 0
    schema = schema_of(area, parts, declared)
    for segment in range(segments):
        widen(area, segment, schema)
    suspects = pull.watch.suspects()
    repeats = pull.watch.exact_repeats(_tables(area, parts, pull.watch.names), suspects)
    if repeats is None:
        return 0
    if job.repeated == "error" or job.query.entity_set == FACT_DATA_AGGREGATION:
        raise repeated_rows(job.label, repeats.rows, repeats.first)
    tally, hashes = Tally(job.columns), []
    for table in _tables(area, parts):
        tally.add(table)
        hashes.append(row_hashes(table))
    edges = pull.watch.edges
    if edges[-1] < tally.rows:
        edges.append(tally.rows)
    job.note_records(check_records(job, tally, repeats, copied_run(np.concatenate(hashes), edges)))
    return repeats.keys


def _parts(area: StagingArea, segments: int) -> tuple[PartFile, ...]:
    return tuple(part for segment in range(segments) for part in area.segment(segment).parts)


def _tables(area: StagingArea, parts: Sequence[PartFile], columns: list[str] | None = None) -> Iterator[pa.Table]:
    for part in parts:
        with pq.ParquetFile(area.rows / part.file) as file:
            yield file.read(columns=columns)


def _sum(
    pull: Pull, job: Job, area: StagingArea, parts: Sequence[PartFile], *, target: int, rows_per_part: int
) -> tuple[PartFile, ...]:
    """Write parts with one row for each key, as the segment *target*, and return them."""
    watch = pull.watch
    total = sum(part.rows for part in parts)
    suspects = watch.suspects() if watch.keys == total else None  # there were too many rows to compare them all
    area.restart(target)  # an earlier run may have ended here
    writer = PartWriter(area, rows_per_part)
    tables = _tables(area, parts)
    for table in sum_tables(tables, job.columns, suspects, watch, shares=-(-total // rows_per_part)):
        writer.add(target, table)
    writer.finish(target)
    summed = area.segment(target).parts
    widen(area, target, schema_of(area, summed, arrow_schema(job.columns)))
    return area.segment(target).parts


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system into an ``ExportError`` with a remedy."""
    try:
        yield
    except OSError as error:
        remedy = "Free some space" if error.errno in DISK_FULL else "Look at the folder, and close what has it open"
        raise ExportError(
            f"{error.filename or folder} cannot be written ({error.strerror or error}).",
            hint=f"{remedy}, and run it again: it resumes where it stopped.",
        ) from error
