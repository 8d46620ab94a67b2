"""Arrow inside, polars and pandas outside: the schema of a frame, and the way out of it.

Measures are decimals inside. Frames show them as float64, correctly rounded, unless exact decimals are asked for; a
``PrecisionWarning`` says when digits would be lost.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl
import pyarrow as pa

from sacnb._frames.edm import MAX_DECIMAL_DIGITS, arrow_type
from sacnb._frames.floats import first_lossy, to_float64
from sacnb._odata.schema import Column
from sacnb.errors import BadAnswer, ContractError, PrecisionWarning, warn_user

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMN_KEY",
    "arrow_field",
    "arrow_schema",
    "column_from_dict",
    "column_of",
    "column_to_dict",
    "concat",
    "to_float64",
    "to_pandas",
    "to_polars",
    "with_floats",
]

# The key of a field's metadata under which its column is written down as JSON; it survives Parquet and Arrow files.
COLUMN_KEY: Final = b"sacnb.column"

_POLARS_DECIMAL_DIGITS: Final = 38


def column_to_dict(column: Column) -> dict[str, Any]:
    """A column as plain values for JSON, in a fixed order."""
    return {
        "name": column.name,
        "edm_type": column.edm_type,
        "role": column.role,
        "nullable": column.nullable,
        "max_length": column.max_length,
        "precision": column.precision,
        "scale": column.scale,
        "label": column.label,
    }


def column_from_dict(values: dict[str, Any]) -> Column:
    """The column that ``column_to_dict`` was given.

    Raises:
        TypeError: A value is missing or unknown.
    """
    return Column(**values)


def arrow_field(column: Column) -> pa.Field:
    """The Arrow field of a column; its metadata holds the column itself.

    Every field may hold null: ``Nullable`` of SAC's ``$metadata`` is kept as a fact about the column, and is not a
    promise that the rows keep.
    """
    text = json.dumps(column_to_dict(column), ensure_ascii=False)
    return pa.field(column.name, arrow_type(column), metadata={COLUMN_KEY: text.encode()})


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a frame with these columns, in their order."""
    return pa.schema([arrow_field(column) for column in columns])


def column_of(field: pa.Field) -> Column | None:
    """The column a field was made from, or ``None`` for a field that is not ours."""
    text = (field.metadata or {}).get(COLUMN_KEY)
    return None if text is None else column_from_dict(json.loads(text))


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Pages of the same columns as one table, in their order, without copying where their types are the same.

    A page that held more digits than its column declared has a wider type there; the whole column then gets it.

    Args:
        tables: At least one table, each from ``decode_rows`` with the same columns.

    Raises:
        BadAnswer: No type holds both the values of one page and those of another, such as the year 9999 beside a
            time stamp with nanoseconds, or decimals that together need more than 76 digits.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as e:
        raise BadAnswer(f"The pages do not fit together: {e}", hint="Select fewer columns, or report the model.") from e


def with_floats(table: pa.Table) -> pa.Table:
    """The table with every decimal column as float64, correctly rounded.

    Warns:
        PrecisionWarning: A column holds values of more digits than a float64 keeps (about 16).
    """
    lost: list[str] = []
    for i, field in enumerate(table.schema):
        if not pa.types.is_decimal(field.type):
            continue
        values = table.column(i)
        found = first_lossy(values)
        if found is not None:
            lost.append(f"{found[0]:,} of {len(values):,} values of {field.name!r}, such as {found[1]}")
        table = table.set_column(i, field.with_type(pa.float64()), to_float64(values))
    if lost:
        warn_user(
            f"A float64 keeps about 16 digits; it loses some of {'; '.join(lost)}. Ask for decimals=True.",
            PrecisionWarning,
        )
    return table


def to_polars(table: pa.Table, *, decimals: bool = False) -> pl.DataFrame:
    """The table as a polars frame.

    Decimals become ``Float64``, or with ``decimals=True`` ``Decimal`` of the same digits. Integers, strings, dates,
    ``Datetime("us", "UTC")``, ``Time``, ``Duration("us")``, booleans and binaries keep their types.

    Raises:
        ContractError: ``decimals=True`` and a value needs more than the 38 digits polars has.

    Warns:
        PrecisionWarning: Digits are lost in a float64.
    """
    table = _narrowed(table) if decimals else with_floats(table)
    return pl.DataFrame(table)


def _narrowed(table: pa.Table) -> pa.Table:
    """The table with 256-bit decimals, which polars cannot read at all, as 128-bit ones."""
    for i, field in enumerate(table.schema):
        if not pa.types.is_decimal256(field.type):
            continue
        narrow = pa.decimal128(_POLARS_DECIMAL_DIGITS, min(field.type.scale, _POLARS_DECIMAL_DIGITS))
        try:
            table = table.set_column(i, field.with_type(narrow), table.column(i).cast(narrow))
        except pa.ArrowInvalid as e:
            raise ContractError(
                f"{field.name!r} holds values of more than {_POLARS_DECIMAL_DIGITS} digits, which polars has no type "
                f"for (Arrow has {MAX_DECIMAL_DIGITS}).",
                hint="Use arrow() or pandas(decimals=True), or leave decimals=True away.",
            ) from e
    return table


def to_pandas(
    table: pa.Table, *, decimals: bool = False, backend: Literal["numpy", "pyarrow"] = "numpy"
) -> pd.DataFrame:
    """The table as a pandas frame.

    Decimals become float64, or with ``decimals=True`` exact Arrow decimals. With ``backend="numpy"`` strings get
    pandas' own string type (``str`` in pandas 3, ``string`` in pandas 2), integers and booleans the nullable ``Int64``
    family and ``boolean``, dates ``datetime64[ms]``, time stamps ``datetime64[us, UTC]``; times, binaries and exact
    decimals stay in Arrow. With ``backend="pyarrow"`` every column stays in Arrow, which is the quickest.

    Warns:
        PrecisionWarning: Digits are lost in a float64.
    """
    import pandas as pd

    if not decimals:
        table = with_floats(table)
    mapper = pd.ArrowDtype if backend == "pyarrow" else _numpy_types(pd)
    frame: pd.DataFrame = table.to_pandas(types_mapper=mapper, date_as_object=False)
    return frame


def _numpy_types(pd: Any) -> Any:
    """What pandas dtype an Arrow type gets; ``None`` leaves the choice to pyarrow."""
    # pandas 3 has one string type that is also its default; before that the default was object.
    text = pd.StringDtype(na_value=float("nan")) if int(pd.__version__.split(".")[0]) >= 3 else pd.StringDtype()
    fixed = {
        pa.string(): text,
        pa.bool_(): pd.BooleanDtype(),
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
    }

    def mapper(kind: pa.DataType) -> Any:
        if pa.types.is_decimal(kind) or pa.types.is_time(kind) or pa.types.is_binary(kind):
            return pd.ArrowDtype(kind)
        return fixed.get(kind)

    return mapper
