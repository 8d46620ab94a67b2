"""Pages into Parquet files of half a million rows, each written as soon as its rows are there."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sacnb._frames.convert import concat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sacnb._cache.staging import StagingArea
    from sacnb._cache.state import PartFile

__all__ = ["ROWS_PER_PART", "PartWriter", "encode", "schema_of", "widen"]

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
