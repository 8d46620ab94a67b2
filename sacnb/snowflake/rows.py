"""Turn frames and Arrow streams into lines of JSON.

polars writes the lines: decimals as texts of all their digits (as Snowflake's own SDK sends them), dates and times in
ISO form, so that nothing passes through a float or a Python object. What JSON cannot say, NaN and the infinities,
polars writes as null; so it is refused before, unless the caller wants nulls.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._fork import refuse_polars_after_fork
from sacnb._frames.convert import from_frame
from sacnb.errors import QueryError

__all__ = [
    "NotFinite",
    "batches",
    "ndjson",
    "refuse_bad_text",
    "refuse_not_finite",
    "schema_of",
    "writable",
    "written_type",
]

NotFinite = Literal["error", "null"]


def batches(data: object) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a frame (polars, pandas), a table, a batch, or a stream or an iterable of batches.

    Raises QueryError for anything else.
    """
    for batch in _batches(data):
        if "" in batch.schema.names:
            raise QueryError(f"A column of {batch.schema.names} has no name.", hint="Rename it.")
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
        yield from from_frame("rows", data).to_batches()
    elif isinstance(data, pl.DataFrame):
        yield from _of_polars(data).to_arrow().to_batches()
    elif isinstance(data, pl.LazyFrame):
        for frame in data.collect_batches():
            yield from _of_polars(frame).to_arrow().to_batches()
    elif hasattr(data, "__next__") or isinstance(data, list | tuple):  # a stream of ours, whose errors stay its own
        for batch in cast("Iterable[Any]", data):
            if not isinstance(batch, pa.RecordBatch | pa.Table | pl.DataFrame):
                raise _unexpected(batch)
            yield from _batches(batch)
    elif hasattr(data, "__arrow_c_stream__"):
        try:
            reader = pa.RecordBatchReader.from_stream(data)
        except pa.ArrowInvalid:  # a single column
            raise _unexpected(data) from None
        yield from reader
    else:
        raise _unexpected(data)


def _unexpected(data: object) -> QueryError:
    return QueryError(
        f"rows must be a polars or pandas frame, an Arrow table or a stream of record batches, got a "
        f"{type(data).__name__}.",
        hint="A list of dicts becomes a frame with polars.DataFrame(rows).",
    )


def _of_polars(frame: pl.DataFrame) -> pl.DataFrame:
    """Return *frame* without types that Arrow has not: whole numbers of 128 bits become texts, as decimals do."""
    objects = [name for name, kind in frame.schema.items() if kind == pl.Object]
    if objects:
        raise QueryError(f"Column {objects[0]!r} holds Python objects, which JSON cannot say.")
    texts = {name: _without_128_bits(kind) for name, kind in frame.schema.items()}
    return frame.cast(cast("Any", {name: kind for name, kind in texts.items() if kind != frame.schema[name]}))


def _without_128_bits(kind: Any) -> Any:
    if isinstance(kind, pl.List):
        return pl.List(_without_128_bits(kind.inner))
    if isinstance(kind, pl.Array):
        return pl.Array(_without_128_bits(kind.inner), kind.size)
    if isinstance(kind, pl.Struct):
        return pl.Struct({one.name: _without_128_bits(one.dtype) for one in kind.fields})
    return pl.String if kind in {pl.Int128, pl.UInt128} else kind


def schema_of(data: Any) -> pa.Schema:
    """Return the schema of a frame, a table or a stream, of which no row is read. Raises QueryError for others."""
    if isinstance(data, pa.Schema):
        return data
    if isinstance(data, pl.LazyFrame):
        data = pl.DataFrame(schema=data.collect_schema())
    if isinstance(data, pl.DataFrame):
        return _of_polars(data.clear()).to_arrow().schema
    found = getattr(data, "schema", None)
    if isinstance(found, pa.Schema):  # a table, a batch, a stream
        return found
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        return from_frame("rows", data).schema
    if hasattr(data, "__arrow_c_stream__"):
        with suppress(pa.ArrowInvalid):  # a single column
            return pa.RecordBatchReader.from_stream(data).schema
    raise QueryError(f"rows must be an Arrow schema, a table, a stream or a frame, got a {type(data).__name__}.")


def ndjson(part: pa.RecordBatch) -> bytes:
    """Return *part* as lines, each ended. Raises QueryError in a forked process, and for what polars cannot write."""
    refuse_polars_after_fork()
    lines = io.BytesIO()  # without a target polars returns text, which costs as much again to decode and encode
    try:
        cast("pl.DataFrame", pl.from_arrow(part)).write_ndjson(lines)
    # polars panics on dates beyond its years.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        bad = next((field_ for field_ in part.schema if not _can_be_written(part.select([field_.name]))), None)
        where = "The rows" if bad is None else f"Column {bad.name!r} ({bad.type})"
        raise QueryError(
            f"{where} cannot be written as JSON: {str(error).partition(chr(10))[0]}",
            hint="Convert the column, for example to text.",
        ) from None
    return lines.getvalue()


def _can_be_written(part: pa.RecordBatch) -> bool:
    with suppress(pl.exceptions.PolarsError, pl.exceptions.PanicException):
        cast("pl.DataFrame", pl.from_arrow(part)).write_ndjson(io.BytesIO())
        return True
    return False


def writable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return *batch* with texts for what polars cannot write: binary in hexadecimal, decimals that are too wide.

    Raises QueryError for a type that has no form in JSON.
    """
    columns, changed = list(batch.columns), False
    for index, field_ in enumerate(batch.schema):
        kind = written_type(field_)
        if kind != field_.type:
            columns[index], changed = _converted(columns[index], kind), True
    return pa.RecordBatch.from_arrays(columns, batch.schema.names) if changed else batch


def written_type(field_: pa.Field) -> pa.DataType:
    """Return the type in which a column is written. Raises QueryError for one that has no form in JSON."""
    kind = _written(field_.type)
    if kind is None:
        raise QueryError(f"Column {field_.name!r} has the type {field_.type}, for which Snowflake has no column.")
    return kind


def _written(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which values of *kind* are written, ``None`` where there is none."""
    is_text = _is_binary(kind) or kind == pa.uuid()
    if not is_text and isinstance(kind, pa.BaseExtensionType):
        return _written(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        inner = _written(kind.value_type)
        return pa.large_string() if inner == pa.string_view() else inner  # Arrow does not take from views
    if pa.types.is_nested(kind):
        return _written_nested(kind)
    if is_text or pa.types.is_decimal256(kind) or (pa.types.is_decimal(kind) and kind.scale < 0):
        kind = pa.string()
    elif pa.types.is_float16(kind):
        kind = pa.float32()
    elif pa.types.is_timestamp(kind) and (kind.tz or "").startswith(("+", "-", "Z")):
        kind = pa.timestamp(kind.unit, "UTC")  # the same moment; polars knows zones by their names only
    return None if pa.types.is_interval(kind) else kind


def _written_nested(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_union(kind):
        return None
    inner = [_written(kind.field(at).type) for at in range(kind.num_fields)]
    if None in inner:
        return None
    is_same = all(kind.field(at).type == one for at, one in enumerate(inner))
    if pa.types.is_map(kind):
        return kind if is_same else pa.map_(kind.key_type, _written(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(at).with_type(one) for at, one in enumerate(inner)])
    return kind if is_same and not _is_view(kind) else pa.large_list(inner[0])


def _is_binary(kind: pa.DataType) -> bool:
    is_plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return bool(is_plain or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind))


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    is_plain = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_plain or _is_view(kind)


def _converted(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return _converted(column.dictionary, kind).take(column.indices)
    if pa.types.is_run_end_encoded(column.type):
        return _converted(pc.run_end_decode(column), kind)
    if isinstance(column.type, pa.BaseExtensionType) and column.type != pa.uuid():
        return _converted(column.storage, kind)
    if column.type == kind:
        return column
    is_thousands = pa.types.is_decimal(column.type) and column.type.scale < 0
    is_odd = is_thousands or _is_binary(column.type) or pa.types.is_nested(column.type) or column.type == pa.uuid()
    if not is_odd:
        return column.cast(kind)
    # Value by value: rare types, and none of them large.
    return pa.array([_plain(value) for value in column.to_pylist()], kind)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, tuple):  # an entry of a map
        return tuple(_plain(one) for one in value)
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


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


def refuse_bad_text(batch: pa.RecordBatch) -> None:
    """Raise QueryError for texts that are not UTF-8, which Arrow passes on unseen, within lists and structs too."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for leaf in _leaves(column):
            if not (
                pa.types.is_string(leaf.type) or pa.types.is_large_string(leaf.type) or leaf.type == pa.string_view()
            ):
                continue
            try:
                leaf.validate(full=True)
            except pa.ArrowInvalid as error:
                raise QueryError(
                    f"Column {name!r} holds a text that is not UTF-8: {error}.",
                    hint="Decode the column from its bytes, or cast it to binary.",
                ) from None


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of values in a column, those within lists and structs too."""
    kind = column.type
    if pa.types.is_struct(kind):
        for child in column.flatten():
            yield from _leaves(child)
    elif _is_list(kind):
        yield from _leaves(column.flatten())
    elif pa.types.is_map(kind):
        start, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        yield from _leaves(column.items.slice(start, end - start))
    elif pa.types.is_dictionary(kind):
        values = column.dictionary
        is_number = pa.types.is_floating(values.type)  # a NaN that no row has does no harm
        yield from _leaves(values.take(column.indices.unique()) if is_number else values)
    elif pa.types.is_run_end_encoded(kind):
        yield from _leaves(pc.run_end_decode(column))
    elif isinstance(kind, pa.BaseExtensionType):
        yield from _leaves(column.storage)
    else:
        yield column
