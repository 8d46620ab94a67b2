"""Turn frames and Arrow streams into compressed NDJSON, cut by the size that goes over the wire.

polars writes the lines: decimals as texts of all their digits (as Snowflake's own SDK sends them), dates and times in
ISO form, so that nothing passes through a float or a Python object. What JSON cannot say, NaN and the infinities,
polars writes as null; so it is refused before, unless the caller wants nulls.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._fork import refuse_polars_after_fork
from sacnb.errors import QueryError

__all__ = ["MAX_APPEND_BYTES", "Chunk", "Chunker", "Compression", "NotFinite", "batches"]

# Snowflake refuses more on the wire. A chunk is closed well before, since the codec holds back what it has not written.
MAX_APPEND_BYTES: Final = 4_000_000
_TARGET_BYTES: Final = 3_000_000
_SLICE_BYTES: Final = 400_000
_FIRST_SLICE_ROWS: Final = 1_000
_MAX_SLICE_ROWS: Final = 20_000
_MAX_DECIMAL_DIGITS: Final = 38

Compression = Literal["zstd", "gzip"]
NotFinite = Literal["error", "null"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The body of one append: ``first`` and ``last`` are the numbers of its rows in the channel, from 1."""

    body: bytes = field(repr=False)
    encoding: Compression
    raw_bytes: int
    first: int
    last: int


class Chunker:
    """Cuts batches into chunks; ``rows`` is the number of rows so far, those before the first batch included."""

    def __init__(
        self,
        rows: int,
        *,
        compression: Compression = "zstd",
        not_finite: NotFinite = "error",
        target_bytes: int = _TARGET_BYTES,
    ) -> None:
        self.rows = rows
        self._compression: Compression = compression
        self._refuses = not_finite == "error"
        self._target = target_bytes
        self._slice_rows = _FIRST_SLICE_ROWS
        self._begin()

    def _begin(self) -> None:
        self._first = self.rows + 1
        self._raw = 0
        self._sink = pa.BufferOutputStream()
        self._stream = pa.CompressedOutputStream(self._sink, self._compression)

    def add(self, batch: pa.RecordBatch) -> Iterator[Chunk]:
        """Take a batch in, and yield the chunks that it fills. Raises QueryError for what no JSON can hold."""
        if self._refuses:
            _refuse_not_finite(batch, self.rows)
        batch = _writable(batch)
        start = 0
        while start < len(batch):
            part = batch.slice(start, self._slice_rows)
            start += len(part)
            for lines, rows in _lines(part):
                yield from self._put(lines, rows)

    def _put(self, lines: bytes, rows: int) -> Iterator[Chunk]:
        if len(lines) > _SLICE_BYTES and self._raw:  # one row that may fill an append by itself
            yield self._end()
        self._stream.write(lines)
        self._raw += len(lines)
        self.rows += rows
        self._slice_rows = max(1, min(_MAX_SLICE_ROWS, _SLICE_BYTES * rows // (2 * max(len(lines), 1))))
        if self._sink.tell() >= self._target or len(lines) > _SLICE_BYTES:
            yield self._end()

    def finish(self) -> Iterator[Chunk]:
        """Yield what is left, if anything is."""
        if self._raw:
            yield self._end()

    def _end(self) -> Chunk:
        self._stream.close()
        body = self._sink.getvalue().to_pybytes()
        chunk = Chunk(body, self._compression, self._raw, self._first, self.rows)
        self._begin()
        if len(body) > MAX_APPEND_BYTES:
            raise QueryError(
                f"Row {chunk.last:,} has {len(body):,} bytes after compression; Snowflake takes at most "
                f"{MAX_APPEND_BYTES:,} in one append.",
                hint="Leave its longest column out, or put that into a stage.",
            )
        return chunk


def batches(data: object) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a frame (polars, pandas), a table, a batch, or a stream or an iterable of batches.

    Raises QueryError for anything else.
    """
    for batch in _batches(data):
        if len(set(batch.schema.names)) != batch.num_columns:
            raise QueryError(f"The columns {batch.schema.names} have the same name twice.")
        yield batch


def _batches(data: Any) -> Iterator[pa.RecordBatch]:
    library = type(data).__module__.partition(".")[0]
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, pa.Table):
        yield from data.to_batches()
    elif library == "pandas" and hasattr(data, "columns"):
        yield from pa.Table.from_pandas(data, preserve_index=False).to_batches()
    elif library == "polars" and hasattr(data, "collect_batches"):  # a LazyFrame
        for frame in data.collect_batches():
            yield from frame.to_arrow().to_batches()
    elif hasattr(data, "__next__") or isinstance(data, list | tuple):  # a stream of ours, whose errors stay its own
        for batch in cast("Iterable[Any]", data):
            if not isinstance(batch, pa.RecordBatch | pa.Table):
                raise _unexpected(batch)
            yield from _batches(batch)
    elif hasattr(data, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(data)
    else:
        raise _unexpected(data)


def _unexpected(data: object) -> QueryError:
    return QueryError(
        f"rows must be a polars or pandas frame, an Arrow table or a stream of record batches, got a "
        f"{type(data).__name__}.",
        hint="A list of dicts becomes a frame with polars.DataFrame(rows).",
    )


def _lines(part: pa.RecordBatch) -> Iterator[tuple[bytes, int]]:
    """Yield *part* as lines, halved until each piece is small or one row."""
    text = _ndjson(part)
    if len(text) <= _SLICE_BYTES or len(part) == 1:
        yield text, len(part)
        return
    half = len(part) // 2
    yield from _lines(part.slice(0, half))
    yield from _lines(part.slice(half))


def _ndjson(part: pa.RecordBatch) -> bytes:
    refuse_polars_after_fork()
    lines = io.BytesIO()  # without a target polars returns text, which costs as much again to decode and encode
    cast("pl.DataFrame", pl.from_arrow(part)).write_ndjson(lines)
    return lines.getvalue()


def _writable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return *batch* with texts for what polars cannot write: binary in hexadecimal, decimals that are too wide."""
    columns, changed = list(batch.columns), False
    for index, field_ in enumerate(batch.schema):
        kind = field_.type
        if pa.types.is_dictionary(kind):
            columns[index] = columns[index].cast(kind.value_type)
            kind, changed = kind.value_type, True
        if pa.types.is_decimal(kind) and kind.precision > _MAX_DECIMAL_DIGITS:
            columns[index], changed = columns[index].cast(pa.string()), True
        elif pa.types.is_float16(kind):
            columns[index], changed = columns[index].cast(pa.float32()), True
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            as_hex = [None if value is None else value.hex().upper() for value in columns[index].to_pylist()]
            columns[index], changed = pa.array(as_hex, pa.string()), True
    return pa.RecordBatch.from_arrays(columns, batch.schema.names) if changed else batch


def _refuse_not_finite(batch: pa.RecordBatch, rows_before: int) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for leaf in _leaves(column):
            if not pa.types.is_floating(leaf.type):
                continue
            finite = pc.is_finite(leaf.cast(pa.float64()))
            if pc.all(finite, min_count=0).as_py():
                continue
            where = f" (row {rows_before + pc.index(finite, False).as_py() + 1:,})" if leaf is column else ""
            raise QueryError(
                f"Column {name!r} holds NaN or an infinity{where}, which JSON cannot say.",
                hint="Pass not_finite='null' to write nulls in their place, or clean the column.",
            )


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of values in a column, those within lists and structs too."""
    kind = column.type
    if pa.types.is_struct(kind):
        for child in column.flatten():
            yield from _leaves(child)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(column.flatten())
    else:
        yield column
