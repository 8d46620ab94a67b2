"""Pages into Parquet files of half a million rows, each written as soon as its rows are there."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sacnb.frames.convert import concat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sacnb.cache.lanes import PartFile
    from sacnb.cache.staging import StagingArea

__all__ = ["ROWS_PER_PART", "PartWriter", "encode", "schema_of", "widen"]

# One row group a file. Smaller ones make files larger (a fifth, at 50,000 rows) and slower to read, larger ones cost
# memory while they are written.
ROWS_PER_PART: Final = 500_000


class PartWriter:
    """Writes the rows of each lane into parts of ``rows_per_part``; the last one of a lane has what is left.

    Where a part ends depends on the number of rows alone, and not on the pages they came in, or on time.
    """

    def __init__(self, area: StagingArea, rows_per_part: int = ROWS_PER_PART) -> None:
        self._area = area
        self._rows_per_part = rows_per_part
        self._waiting: defaultdict[int, deque[pa.Table]] = defaultdict(deque)

    def add(self, lane: int, table: pa.Table) -> None:
        """The next rows of a lane. Raises OSError where a part cannot be written."""
        self._waiting[lane].append(table)
        while sum(one.num_rows for one in self._waiting[lane]) >= self._rows_per_part:
            self._write(lane, self._rows_per_part)

    def finish(self, lane: int) -> None:
        """A lane has no more rows."""
        rows = sum(one.num_rows for one in self._waiting[lane])
        if rows:
            self._write(lane, rows)
        del self._waiting[lane]

    def restart(self, lane: int) -> None:
        """A lane begins anew."""
        self._waiting[lane].clear()

    def _write(self, lane: int, rows: int) -> None:
        waiting, taken, missing = self._waiting[lane], [], rows
        while missing:
            table = waiting.popleft()
            if table.num_rows > missing:
                waiting.appendleft(table.slice(missing))
                table = table.slice(0, missing)
            taken.append(table)
            missing -= table.num_rows
            del table
        self._area.write_part(lane, encode(_in_one_piece(taken)), rows)


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


def _in_one_piece(tables: list[pa.Table]) -> pa.Table:
    """The tables as one with one chunk a column.

    They are taken out of the list, and made whole column by column: memory never holds everything twice.
    """
    table = concat(tables)
    tables.clear()
    schema, columns = table.schema, deque(table.columns)
    del table
    whole = []
    while columns:
        whole.append(pa.concat_arrays(columns.popleft().chunks))
    return pa.table(whole, schema=schema)
