"""Which Arrow type each OData (Edm) type gets.

Every primitive type of OData v4 has a frame type; a type this table does not know becomes a string that holds the
value as SAC sent it, so that a new type never stops a pull.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from sacnb._odata.schema import Column

__all__ = ["DECIMAL", "INTEGERS", "MAX_DECIMAL_DIGITS", "PLAIN_TEXT", "arrow_type", "decimal_type", "wire_type"]

DECIMAL: Final = "Edm.Decimal"

INTEGERS: Final = {
    "Edm.Byte": pa.uint8(),
    "Edm.SByte": pa.int8(),
    "Edm.Int16": pa.int16(),
    "Edm.Int32": pa.int32(),
    "Edm.Int64": pa.int64(),
}

# Strings that must come as text: a JSON object in their place is an error and not a value.
PLAIN_TEXT: Final = ("Edm.String", "Edm.Guid")

_TYPES: Final = {
    **INTEGERS,
    "Edm.Single": pa.float32(),
    "Edm.Double": pa.float64(),
    "Edm.Boolean": pa.bool_(),
    "Edm.String": pa.string(),
    "Edm.Guid": pa.string(),
    "Edm.Date": pa.date32(),
    "Edm.TimeOfDay": pa.time64("us"),
    "Edm.DateTimeOffset": pa.timestamp("us", tz="UTC"),
    "Edm.Duration": pa.duration("us"),
    "Edm.Binary": pa.binary(),
}

# decimal256's own limit; no decimal beyond it has an Arrow type.
MAX_DECIMAL_DIGITS: Final = 76
_DECIMAL128_DIGITS: Final = 38
# Where $metadata names no scale (or a variable one): room for 28 digits before and 10 after the point. A page that
# needs more gets more, see the careful path; SAC's own measures name theirs, Decimal(31,7).
_VARIABLE_SCALE: Final = 10


def decimal_type(precision: int | None, scale: int | None) -> pa.DataType:
    """The Arrow decimal for a precision and scale: 128 bits wide up to 38 digits, 256 above.

    ``None`` for the scale stands for a missing or variable one. Digits beyond 76 have no Arrow type; values that need
    them are refused when they are read.
    """
    if scale is None:
        scale = _VARIABLE_SCALE
        precision = max(_DECIMAL128_DIGITS, (precision or 0) + scale)
    scale = min(scale, MAX_DECIMAL_DIGITS)
    digits = min(max(precision or _DECIMAL128_DIGITS, scale, 1), MAX_DECIMAL_DIGITS)
    return pa.decimal128(digits, scale) if digits <= _DECIMAL128_DIGITS else pa.decimal256(digits, scale)


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type a column has in a frame; ``string`` for a type that is not an OData primitive of the table."""
    if column.edm_type == DECIMAL:
        return decimal_type(column.precision, column.scale)
    return _TYPES.get(column.edm_type, pa.string())


def wire_type(column: Column) -> pa.DataType:
    """The Arrow type a column's JSON values are first read as.

    Dates, times, durations and binaries are JSON strings. ``pyarrow.json`` would take a number for a date, and bytes
    as they stand for a base64 text, so these columns are read as strings and then parsed by our own rules.
    """
    kind = arrow_type(column)
    if pa.types.is_temporal(kind) or pa.types.is_binary(kind):
        return pa.string()
    return kind
