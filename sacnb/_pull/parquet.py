"""A pull into a folder of Parquet files, in bounded memory, that goes on where it stopped.

Pages into Parquet files of half a million rows, each written as soon as its rows are there.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sacnb._cache.staging import StagingArea
from sacnb._cache.state import ROWS_FORM, PartFile, put, to_json
from sacnb._frames.convert import arrow_schema, concat
from sacnb._pull.checkpoints import Checkpoints, Staging, plan_of
from sacnb._pull.duplicates import repeated_rows
from sacnb._pull.failures import Inconsistent
from sacnb._pull.plan import Job, LaneFinished, LaneRestarted, PageRows, Plan
from sacnb._pull.pull import Pull
from sacnb.errors import ExportError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sacnb._cache.staging import StagingArea
    from sacnb._cache.state import PartFile

__all__ = [
    "MANIFEST_FORMAT",
    "ROWS_PER_PART",
    "ParquetFolder",
    "PartWriter",
    "encode",
    "schema_of",
    "to_parquet",
    "widen",
]

# One row group a file. Smaller ones make files larger (a fifth, at 50,000 rows) and slower to read, larger ones cost
# memory while they are written.
ROWS_PER_PART: Final = 500_000
# A part is encoded in blocks, so that its rows never have to be copied into one piece.
_BLOCKS_PER_PART: Final = 10


class PartWriter:
    """Writes the rows of each lane into parts of ``rows_per_part``; the last one of a lane has what is left.

    Where a part ends, and where its blocks do, which its bytes depend on, is decided by the number of rows alone: not
    by the pages they came in, and not by time.
    """

    def __init__(self, area: StagingArea, rows_per_part: int = ROWS_PER_PART) -> None:
        self._area = area
        self._rows_per_part = rows_per_part
        self._rows_per_block = max(rows_per_part // _BLOCKS_PER_PART, 1)
        self._lanes: defaultdict[int, _Waiting] = defaultdict(_Waiting)

    def add(self, lane: int, table: pa.Table) -> None:
        """The next rows of a lane. Raises OSError where a part cannot be written."""
        waiting = self._lanes[lane]
        waiting.tables.append(table)
        waiting.rows += table.num_rows
        del table
        while waiting.rows >= (wanted := min(self._rows_per_block, self._rows_per_part - waiting.block_rows)):
            waiting.make_block(wanted)
            if waiting.block_rows == self._rows_per_part:
                self._write(lane)

    def finish(self, lane: int) -> None:
        """A lane has no more rows."""
        waiting = self._lanes[lane]
        if waiting.rows:
            waiting.make_block(waiting.rows)
        if waiting.block_rows:
            self._write(lane)
        del self._lanes[lane]

    def restart(self, lane: int) -> None:
        """A lane begins anew."""
        self._lanes.pop(lane, None)

    def _write(self, lane: int) -> None:
        waiting = self._lanes[lane]
        data = encode(concat(waiting.blocks))
        rows, waiting.block_rows = waiting.block_rows, 0
        waiting.blocks.clear()
        self._area.write_part(lane, data, rows)


@dataclass(slots=True)
class _Waiting:
    """Rows of a lane that are in no part yet: in blocks, and then in tables as they came."""

    tables: deque[pa.Table] = field(default_factory=deque)
    rows: int = 0
    blocks: list[pa.Table] = field(default_factory=list)
    block_rows: int = 0

    def make_block(self, rows: int) -> None:
        """The first ``rows`` rows of the tables as a block, without a copy where one table has them."""
        pieces, missing = [], rows
        while missing:
            table = self.tables.popleft()
            if table.num_rows > missing:
                self.tables.appendleft(table.slice(missing))
                table = table.slice(0, missing)
            pieces.append(table)
            missing -= table.num_rows
        self.rows -= rows
        self.blocks.append(pieces[0] if len(pieces) == 1 else concat(pieces).combine_chunks())
        self.block_rows += rows


def encode(table: pa.Table) -> pa.Buffer:
    """A table as a Parquet file: zstd, checksums, one row group. The same rows give the same bytes."""
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


def widen(area: StagingArea, lane: int, schema: pa.Schema) -> None:
    """Have every part of a lane in these types: a page with more digits than the others made some parts wider."""
    for index, part in enumerate(area.lane(lane).parts):
        path = area.rows / part.file
        if pq.read_schema(path).equals(schema):
            continue
        with pq.ParquetFile(path) as file:
            table = file.read()
        area.replace_part(lane, index, encode(table.cast(schema)))


def schema_of(area: StagingArea, parts: Sequence[PartFile], declared: pa.Schema) -> pa.Schema:
    """The types that hold the values of every part: those declared, or wider ones."""
    schemas = [declared, *(pq.read_schema(area.rows / part.file) for part in parts)]
    return pa.unify_schemas(schemas, promote_options="permissive")


MANIFEST_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class ParquetFolder:
    """A folder of Parquet files that holds the answer to a question, and the manifest beside it.

    ``resumed_rows`` of the rows were pulled by an earlier run; ``started_at`` is when the first one was begun, in UTC.
    """

    path: Path
    manifest: Path
    row_count: int
    files: tuple[str, ...]
    size_bytes: int
    started_at: datetime
    finished_at: datetime
    resumed_rows: int = 0

    def __repr__(self) -> str:
        resumed = f", {self.resumed_rows:,} of them pulled by an earlier run" if self.resumed_rows else ""
        return f"<ParquetFolder {self.path}: {self.row_count:,} rows in {len(self.files)} files{resumed}>"


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
    """Pull a question into ``folder``, which holds what it held before or the whole answer, and never a part of it.

    The files are written into a hidden folder beside it, which takes its place at the end. The manifest is written
    last, and beside the folder: polars, for one, refuses a folder in which anything but Parquet files lies.

    Raises:
        ExportError: something else is in the folder, another process is pulling the same into it, or the system refuses
            to write; what was pulled is kept for the next run.
        SacError: what pulling raises.
    """
    folder = Path(os.path.realpath(folder))
    _refuse_foreign(folder)
    target = str(folder)
    rows = folder.with_name(f".{folder.name}.{staging.id(target=target)[:8]}.partial")
    with _refusals(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        area = staging.open(rows, target=target)
        if area is None:
            raise ExportError(f"Another process is pulling the same into {folder}.", hint="Wait for it to end.")
        try:
            return _pull_into(job, plan, folder, area, about=about, finish=finish, rows_per_part=rows_per_part)
        except (Inconsistent, UnknownNameError):
            area.discard()
            raise
        finally:
            area.close()


def _pull_into(
    job: Job,
    make_plan: Callable[[Job], Plan],
    folder: Path,
    area: StagingArea,
    *,
    about: Mapping[str, Any],
    finish: Callable[[], None],
    rows_per_part: int,
) -> ParquetFolder:
    with job.context.telemetry.operation(f"export {job.what}"):
        plan = plan_of(area, job, make_plan)
        writer = PartWriter(area, rows_per_part)
        running = Pull(job, plan, Checkpoints(area, is_needed=True))
        with closing(running.items()) as items:
            for item in items:
                match item:
                    case PageRows(lane, table):
                        writer.add(lane, table)
                        del table, item
                    case LaneFinished(lane):
                        writer.finish(lane)
                    case LaneRestarted(lane):
                        writer.restart(lane)
        parts = _settle(running, job, area, len(plan.chains))
        finish()
    return _publish(folder, area, parts, running, about=about)


def _settle(running: Pull, job: Job, area: StagingArea, lanes: int) -> tuple[PartFile, ...]:
    """All parts in their order, of one schema, and sure to hold each key once."""
    parts = [(lane, part) for lane in range(lanes) for part in area.lane(lane).parts]
    names = running.watch.names

    def keys() -> Iterator[Any]:
        import pyarrow.parquet as pq

        for _, part in parts:
            with pq.ParquetFile(area.rows / part.file) as file:
                yield file.read(columns=names)

    repeats = running.watch.exact_repeats(keys(), running.watch.suspects())
    if repeats is not None:
        raise repeated_rows(job.what, *repeats)
    declared = arrow_schema(job.columns)
    if not parts:  # a folder without a file would be no table at all
        return (area.write_part(0, encode(declared.empty_table()), 0),)
    schema = schema_of(area, [part for _, part in parts], declared)
    for lane in range(lanes):
        widen(area, lane, schema)
    return tuple(part for lane in range(lanes) for part in area.lane(lane).parts)


def _publish(
    folder: Path, area: StagingArea, parts: tuple[PartFile, ...], running: Pull, *, about: Mapping[str, Any]
) -> ParquetFolder:
    """Put the parts in the place of the folder, and write the manifest."""
    files = tuple(part.file for part in parts)
    for path in area.rows.iterdir():
        if path.name not in files:
            path.unlink()
    result = ParquetFolder(
        path=folder,
        manifest=folder.with_name(f"{folder.name}.manifest.json"),
        row_count=sum(part.rows for part in parts),
        files=files,
        size_bytes=sum(part.size_bytes for part in parts),
        started_at=area.started_at,
        finished_at=area.now(),
        resumed_rows=running.meter.resumed_rows,
    )
    manifest = {
        "format": MANIFEST_FORMAT,
        "complete": True,
        **about,
        "started_at": result.started_at.isoformat(),
        "finished_at": result.finished_at.isoformat(),
        "row_count": result.row_count,
        "keys_compared": running.watch.keys,
        "parts": [
            {"file": part.file, "rows": part.rows, "size_bytes": part.size_bytes, "sha256": part.sha256}
            for part in parts
        ],
    }
    retired = folder.with_name(f".{folder.name}.retired")
    if retired.exists():
        shutil.rmtree(retired)
    if folder.exists():
        folder.rename(retired)
    area.rows.rename(folder)
    put(result.manifest, to_json(manifest), durable=True)
    shutil.rmtree(retired, ignore_errors=True)
    area.discard()
    return result


def _refuse_foreign(folder: Path) -> None:
    """Only what an export wrote is ever replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file, and a folder was expected.", hint="Name a folder.")
    foreign = sorted(path.name for path in folder.iterdir() if not ROWS_FORM.fullmatch(path.name))
    if foreign:
        raise ExportError(
            f"{folder} holds {foreign[0]!r}, which was not written by an export, and is not replaced.",
            hint="Name a folder that is empty or does not exist.",
        )


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Turn what the system refuses into an ``ExportError`` that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        raise ExportError(
            f"{error.filename or folder} cannot be written ({error.strerror or error}).",
            hint=("Free some space" if full else "Look at the folder, and close what has it open")
            + ", and run it again: it goes on where it stopped.",
        ) from error
