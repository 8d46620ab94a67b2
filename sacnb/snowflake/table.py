"""Print the statement that makes a table for the rows of a model or a frame."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from sacnb.snowflake.names import identifier, quoted, split_table
from sacnb.snowflake.rows import schema_of, written_type

__all__ = ["create_table"]

_MAX_DIGITS: Final = 38


def create_table(rows: object, table: str, *, database: str | None = None, schema: str | None = None) -> str:
    """Return ``create table if not exists`` for *rows*: an Arrow schema, or anything that has one or is a frame.

    Columns keep their names in double quotes, letters as they are: rows find their columns by these names. Decimals
    become NUMBER with all their digits, up to Snowflake's 38; members and dates of SAC are text, as SAC sends them.

    Raises QueryError for a type that Snowflake has no column for.
    """
    table, database, schema = split_table(table, database, schema)
    names = [identifier(*pair) for pair in (("database", database), ("schema", schema)) if pair[1] is not None]
    place = ".".join(quoted(name) for name in (*names, identifier("table", table)))
    columns = [f"    {quoted(field.name)} {_type_of(field)}" for field in schema_of(rows)]
    return "create table if not exists {} (\n{}\n);".format(place, ",\n".join(columns))


def _type_of(field: pa.Field) -> str:
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType) and kind != pa.uuid():
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if pa.types.is_decimal(kind):
        return _number(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NTZ" if kind.tz is None else "TIMESTAMP_TZ"
    for is_kind, name in _NAMES:
        if is_kind(kind):
            return name
    return "VARCHAR" if written_type(field) == pa.string() else "VARIANT"


def _number(precision: int, scale: int) -> str:
    if scale < 0:
        precision, scale = precision - scale, 0
    return f"NUMBER({min(precision, _MAX_DIGITS)}, {min(scale, _MAX_DIGITS - 1)})"


_NAMES: Final[tuple[tuple[Any, str], ...]] = (
    (pa.types.is_boolean, "BOOLEAN"),
    (lambda kind: kind == pa.uint64(), "NUMBER(20, 0)"),
    (pa.types.is_integer, "NUMBER(19, 0)"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (pa.types.is_string, "VARCHAR"),
    (pa.types.is_large_string, "VARCHAR"),
    (pa.types.is_string_view, "VARCHAR"),
    (pa.types.is_duration, "VARCHAR"),
    (pa.types.is_null, "VARCHAR"),
    (pa.types.is_binary, "BINARY"),
    (pa.types.is_large_binary, "BINARY"),
    (pa.types.is_fixed_size_binary, "BINARY"),
    (pa.types.is_binary_view, "BINARY"),
)
