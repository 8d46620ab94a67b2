"""Turn frames and Arrow streams into lines of JSON.

polars writes the lines: decimals as texts of all their digits (as Snowflake's own SDK sends them), dates and times in
ISO form, so that nothing passes through a float or a Python object. What JSON cannot say, NaN and the infinities,
polars writes as null; so it is refused before, unless the caller wants nulls.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._fork import refuse_polars_after_fork
from sacnb.errors import QueryError

__all__ = ["NotFinite", "batches", "ndjson", "refuse_not_finite", "writable"]

_MAX_DECIMAL_DIGITS: Final = 38

NotFinite = Literal["error", "null"]


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


def ndjson(part: pa.RecordBatch) -> bytes:
    """Return *part* as lines, each ended. Raises QueryError in a forked process."""
    refuse_polars_after_fork()
    lines = io.BytesIO()  # without a target polars returns text, which costs as much again to decode and encode
    cast("pl.DataFrame", pl.from_arrow(part)).write_ndjson(lines)
    return lines.getvalue()


def writable(batch: pa.RecordBatch) -> pa.RecordBatch:
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


def refuse_not_finite(batch: pa.RecordBatch, rows_before: int) -> None:
    """Raise QueryError for NaN and infinities, within lists and structs too; *rows_before* is for the row number."""
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
