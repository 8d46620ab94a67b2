"""``EDM_TYPES``: a provider that is not shaped as SAC shapes its own, with every primitive type of OData."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final

import polars as pl

from sacnb.sandbox.model import Model, table_model
from sacnb.sandbox.schema import Column, polars_type

__all__ = ["edm_types"]

_COLUMNS: Final = (
    Column("Id", "Edm.Int32", key=True, nullable=False),
    Column("Boolean", "Edm.Boolean"),
    Column("Byte", "Edm.Byte"),
    Column("SByte", "Edm.SByte"),
    Column("Int16", "Edm.Int16"),
    Column("Int32", "Edm.Int32"),
    Column("Int64", "Edm.Int64"),
    Column("Single", "Edm.Single"),
    Column("Double", "Edm.Double"),
    Column("Decimal", "Edm.Decimal", precision=31, scale=7),
    Column("String", "Edm.String", max_length=256),
    Column("Date", "Edm.Date"),
    Column("TimeOfDay", "Edm.TimeOfDay", precision=6),
    Column("DateTimeOffset", "Edm.DateTimeOffset", precision=6),
    Column("Duration", "Edm.Duration", precision=6),
    Column("Guid", "Edm.Guid"),
    Column("Binary", "Edm.Binary", max_length=64),
)
# One list per column: ordinary values, the ends of each type's range, and null.
_VALUES: Final[dict[str, list[Any]]] = {
    "Boolean": [True, False, True, None],
    "Byte": [0, 7, 255, None],
    "SByte": [-128, 7, 127, None],
    "Int16": [-(2**15), 7, 2**15 - 1, None],
    "Int32": [-(2**31), 7, 2**31 - 1, None],
    "Int64": [-(2**63), 7, 2**63 - 1, 2**53 + 1, None],
    "Single": [0.5, -1.25, 16_777_216.0, math.nan, math.inf, None],
    "Double": [0.1, -1e300, 1e-300, 12345.678, math.nan, math.inf, -math.inf, None],
    "Decimal": [
        Decimal("0.1"), Decimal("-12.3400000"), Decimal("999999999999999999999999.9999999"),
        Decimal("-999999999999999999999999.9999999"), Decimal("0.0000001"), Decimal(0), None,
    ],
    "String": ["plain", "", "Zürich ", "O'Hare", 'quote" and \\', "2024-01-31", "null", "42", None],
    "Date": [date(2024, 2, 29), date(1970, 1, 1), date(1582, 10, 15), date(9999, 12, 31), None],
    "TimeOfDay": [time(0, 0), time(23, 59, 59, 999_999), time(7, 30), None],
    "DateTimeOffset": [
        datetime(2024, 2, 29, 23, 59, 59, 123_456, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1899, 12, 31, tzinfo=UTC), None,
    ],
    "Duration": [
        timedelta(0), timedelta(days=1, hours=2, minutes=3, seconds=4, microseconds=500_000),
        -timedelta(seconds=90), timedelta(days=400), None,
    ],
    "Guid": ["01234567-89ab-cdef-0123-456789abcdef", "ffffffff-ffff-4fff-bfff-ffffffffffff", None],
    "Binary": [b"", b"\x00\xff\xfe", b"plain", bytes(range(48)), None],
}  # fmt: skip
_ROWS: Final = 60


@cache
def edm_types() -> Model:
    """60 rows; the columns run through their values at different speeds, so that most combinations occur."""
    data = {"Id": list(range(1, _ROWS + 1))}
    data.update({name: [values[row % len(values)] for row in range(_ROWS)] for name, values in _VALUES.items()})
    schema = {column.name: polars_type(column) for column in _COLUMNS}
    return table_model(
        "EDM_TYPES",
        name="Every Edm type",
        description="For tests: a provider unlike SAC's own, with a column of every primitive type of OData.",
        columns=_COLUMNS,
        rows=pl.DataFrame(data, schema=schema),
    )
