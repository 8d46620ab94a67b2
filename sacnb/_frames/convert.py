"""Convert between Arrow, used inside, and the polars and pandas frames that users get.

Measures are decimals inside. Frames show them as float64, correctly rounded, unless exact decimals are asked for; a
``PrecisionWarning`` names the columns that lose digits. pyarrow's own cast to float64 is not used: it multiplies by a
power of ten and is off by one unit in the last place for a quarter of typical measures (``413534.2`` becomes
``413534.19999999995``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._fork import refuse_polars_after_fork
from sacnb._frames.types import MAX_DECIMAL_DIGITS, arrow_type
from sacnb._odata.schema import Column
from sacnb.errors import BadAnswer, ContractError, PrecisionWarning, QueryError, warn_user

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMN_KEY",
    "EXACT_INTEGER",
    "POLARS_DECIMAL_DIGITS",
    "arrow_field",
    "arrow_schema",
    "column_from_dict",
    "column_of",
    "column_to_dict",
    "concat",
    "first_lossy",
    "from_frame",
    "mean_float64",
    "to_float64",
    "to_pandas",
    "to_polars",
    "with_floats",
]

# Integers up to 2^53 and powers of ten up to 10^22 are exact in a float64: dividing one by the other rounds once, and
# so correctly.
EXACT_INTEGER: Final = 2**53
_EXACT_POWER: Final = 22
# Every decimal of at most 15 significant digits survives the way to float64 and back (DBL_DIG).
_SAFE_INTEGER: Final = 10**15


def _unscaled(array: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the integers of a decimal128 array and a mask of those that fit into 64 bits; nulls hold anything."""
    words = np.frombuffer(array.buffers()[1], dtype="<i8").reshape(-1, 2)[array.offset : array.offset + len(array)]
    low, high = words[:, 0], words[:, 1]
    return low, high == low >> 63


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_]:
    if not array.null_count:
        return np.zeros(len(array), dtype=np.bool_)
    valid = np.unpackbits(np.frombuffer(array.buffers()[0], dtype=np.uint8), bitorder="little")
    missing: npt.NDArray[np.bool_] = valid[array.offset : array.offset + len(array)] == 0
    return missing


def _numbers(values: npt.NDArray[Any], nulls: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return a numpy array as an Arrow array, without ``pa.array``, which spends a quarter second importing pandas."""
    kind = pa.from_numpy_dtype(values.dtype)
    valid = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(values)])


def _within(low: npt.NDArray[np.int64], fits: npt.NDArray[np.bool_], limit: int) -> npt.NDArray[np.bool_]:
    return fits & (low > -limit) & (low < limit)


def _array_to_float64(array: pa.Array) -> pa.Array:
    if not pa.types.is_decimal128(array.type) or array.type.scale > _EXACT_POWER or not len(array):
        # By way of text, slower but right for every value: Arrow's parser rounds correctly.
        return array.cast(pa.string()).cast(pa.float64())
    low, fits = _unscaled(array)
    nulls = _nulls(array)
    easy = _within(low, fits, EXACT_INTEGER)
    values = low / np.float64(10.0**array.type.scale)
    hard = np.flatnonzero(~easy & ~nulls)
    if len(hard):
        rest = array.take(_numbers(hard)).cast(pa.string()).cast(pa.float64())
        values[hard] = np.frombuffer(rest.buffers()[1], dtype=np.float64)[rest.offset : rest.offset + len(rest)]
    return _numbers(values, nulls if array.null_count else None)


def to_float64(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers as float64, each rounded correctly, as ``float(Decimal)`` would; nulls stay null.

    Args:
        values: A chunked array of any decimal, integer or floating type.
    """
    if not pa.types.is_decimal(values.type):
        return values.cast(pa.float64(), safe=False)
    return pa.chunked_array([_array_to_float64(chunk) for chunk in values.chunks], pa.float64())


def mean_float64(sums: pa.ChunkedArray, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Divide sums without nulls by their counts: the nearest float64 where both have less than 16 digits.

    Dividing the float64 of a sum would round twice: three values of 0.1 would have a mean of 0.09999999999999999.
    """
    rounded = to_float64(sums).combine_chunks()
    if not len(rounded):
        return np.empty(0)
    means: npt.NDArray[np.float64] = np.frombuffer(rounded.buffers()[1], dtype=np.float64)[: len(rounded)] / counts
    exact = sums.combine_chunks()
    if pa.types.is_decimal128(exact.type):
        low, fits = _unscaled(exact)
        divisors = counts * np.float64(10.0**exact.type.scale)
        easy = _within(low, fits, EXACT_INTEGER) & (divisors < EXACT_INTEGER)
        means[easy] = low[easy] / divisors[easy]
    return means


def _lossy_candidates(array: pa.Array) -> pa.Array:
    """Return the values of more than 15 digits, zeros at their end included, without nulls."""
    if not pa.types.is_decimal128(array.type) or not len(array):
        return array.drop_null()
    low, fits = _unscaled(array)
    return array.take(_numbers(np.flatnonzero(~_within(low, fits, _SAFE_INTEGER) & ~_nulls(array))))


def first_lossy(values: pa.ChunkedArray) -> tuple[int, str] | None:
    """Count the decimals that lose digits as float64, with the first of them as text; ``None`` if none does.

    A value is lost where the shortest text of its float64 is another number: ``12345678901234567.1234567`` is, and
    ``12345678901234.5000000`` is not.
    """
    count, example = 0, ""
    for chunk in values.chunks:
        found = _lossy_candidates(chunk)
        if not len(found):
            continue
        # The shortest text of the float64 never has more digits after the point than the value it came from, but
        # rounding up may carry into one more digit before it: so both sides get a wider decimal.
        wide = pa.decimal256(MAX_DECIMAL_DIGITS, chunk.type.scale)
        back = found.cast(pa.string()).cast(pa.float64()).cast(pa.string()).cast(wide)
        lost = found.filter(pc.not_equal(found.cast(wide), back))
        if len(lost):
            example = example or lost[0].cast(pa.string()).as_py()
            count += len(lost)
    return (count, example) if count else None


# The key under which a field's metadata holds its column as JSON; it survives Parquet and Arrow files.
COLUMN_KEY: Final = b"sacnb.column"

POLARS_DECIMAL_DIGITS: Final = 38
_LARGE_CHUNK_ROWS: Final = 500_000


def column_to_dict(column: Column) -> dict[str, Any]:
    """Return a column as plain values for JSON, in a fixed order."""
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
    """Return the column that ``column_to_dict`` was given.

    Raises:
        TypeError: A value is missing or unknown.
    """
    return Column(**values)


def arrow_field(column: Column) -> pa.Field:
    """Return the Arrow field of a column; its metadata holds the column itself.

    Every field may hold null: ``Nullable`` of SAC's ``$metadata`` is kept as a fact about the column, and is not a
    promise that the rows keep.
    """
    text = json.dumps(column_to_dict(column), ensure_ascii=False)
    return pa.field(column.name, arrow_type(column), metadata={COLUMN_KEY: text.encode()})


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a frame with these columns, in their order."""
    return pa.schema([arrow_field(column) for column in columns])


def column_of(field: pa.Field) -> Column | None:
    """Return the column a field was made from, or ``None`` for a field that is not ours."""
    text = (field.metadata or {}).get(COLUMN_KEY)
    return None if text is None else column_from_dict(json.loads(text))


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Join pages of the same columns into one table, in their order, without a copy where their types are the same.

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


def with_floats(table: pa.Table, *, remedy: str = "Ask for decimals=True.") -> pa.Table:
    """Return the table with every decimal column as float64, correctly rounded; *remedy* ends the warning.

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
            f"A float64 keeps about 16 digits; it loses some of {'; '.join(lost)}. {remedy}",
            PrecisionWarning,
        )
    return table


def to_polars(table: pa.Table, *, decimals: bool = False) -> pl.DataFrame:
    """Return the table as a polars frame.

    Decimals become ``Float64``, or with ``decimals=True`` ``Decimal`` of the same digits. Integers, strings, dates,
    ``Datetime("us", "UTC")``, ``Time``, ``Duration("us")``, booleans and binaries keep their types.

    Raises:
        ContractError: ``decimals=True`` and a value needs more than the 38 digits polars has.
        SacError: This process is a fork in which polars cannot work.

    Warns:
        PrecisionWarning: Digits are lost in a float64.
    """
    refuse_polars_after_fork()
    table = _narrowed(table) if decimals else with_floats(table)
    # Joining the chunks doubles the time and the memory. Large ones, as a cache entry has, serve as well as one.
    are_large = all(column.num_chunks * _LARGE_CHUNK_ROWS <= len(table) for column in table.columns)
    return pl.DataFrame(pl.from_arrow(table, rechunk=not are_large))


def _narrowed(table: pa.Table) -> pa.Table:
    """Return the table with its 256-bit decimals, which polars cannot read at all, as 128-bit ones."""
    for i, field in enumerate(table.schema):
        if not pa.types.is_decimal256(field.type):
            continue
        narrow = pa.decimal128(POLARS_DECIMAL_DIGITS, min(field.type.scale, POLARS_DECIMAL_DIGITS))
        try:
            table = table.set_column(i, field.with_type(narrow), table.column(i).cast(narrow))
        except pa.ArrowInvalid as e:
            raise ContractError(
                f"{field.name!r} holds values of more than {POLARS_DECIMAL_DIGITS} digits, which polars has no type "
                f"for (Arrow has {MAX_DECIMAL_DIGITS}).",
                hint="Use arrow() or pandas(decimals=True), or leave decimals=True out.",
            ) from e
    return table


def from_frame(argument: str, frame: Any) -> pa.Table:
    """Return a pandas frame, or anything else that speaks Arrow, as a table.

    Of pandas an index with names becomes columns, because grouping makes them; periods become the times at which they
    begin.

    Raises:
        QueryError: *frame* is no table, or Arrow has no type for one of its columns.
    """
    try:
        if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
            frame = _plain_pandas(frame)
            return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if not hasattr(frame, "__arrow_c_stream__"):
            return pa.Table.from_batches([pa.record_batch(frame)])
        return pa.RecordBatchReader.from_stream(frame).read_all()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        why = ": ".join(str(one) for one in error.args) or type(error).__name__
        raise QueryError(f"{argument} must be a table, and this {type(frame).__name__} is none: {why}") from None


def _plain_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    if any(name is not None for name in frame.index.names):
        unnamed = [level for level, name in enumerate(frame.index.names) if name is None]
        frame = frame.reset_index(level=unnamed, drop=True) if unnamed else frame
        frame = frame.reset_index()
    periods = [place for place, kind in enumerate(frame.dtypes) if str(kind).startswith("period[")]
    if periods:
        columns = [one.dt.to_timestamp() if at in periods else one for at, (_, one) in enumerate(frame.items())]
        frame = type(frame)(dict(enumerate(columns))).set_axis(frame.columns, axis=1)
    return frame


def to_pandas(
    table: pa.Table, *, decimals: bool = False, backend: Literal["numpy", "pyarrow"] = "numpy"
) -> pd.DataFrame:
    """Return the table as a pandas frame.

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
    """Return the function that maps Arrow types to pandas dtypes; its ``None`` leaves the choice to pyarrow."""
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
