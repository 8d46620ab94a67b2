"""Bring a user's frame into the columns of the model, and collect everything that SAC would not take."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._arguments import plain
from sacnb._frames.convert import EXACT_INTEGER, POLARS_DECIMAL_DIGITS, from_frame
from sacnb._write.check import ROW, Problems
from sacnb.errors import QueryError

if TYPE_CHECKING:
    from sacnb._write.target import Dates, ImportColumn, ImportTable

__all__ = ["Layout", "Prepared", "prepare", "read_frame", "with_full_names"]

_DIGITS: Final = 38
# Not \\d, which other scripts' digits match, too, and decimals do not read.
_PLAIN_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"


@dataclass(frozen=True, slots=True)
class Layout:
    """The way from the user's columns to those of the model.

    ``mapping`` names the source column of a model column, ``constants`` the value of columns that the frame does not
    have. ``pivot`` is the dimension whose members are the headings of the columns left over, and the measure that is in
    them.
    """

    mapping: Mapping[str, str]
    constants: Mapping[str, Any]
    pivot: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows to send: keys as texts, measures as decimals, with ``ROW``, the number of the row they came from.

    ``rounded`` is the number of floats that have more decimals than the model, by measure.
    """

    rows: pl.DataFrame
    rounded: Mapping[str, int]


def read_frame(frame: object) -> pl.DataFrame:
    """Return any frame that speaks Arrow, or a mapping of columns, as polars.

    Raises:
        QueryError: it is something else.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
            return cast("pl.DataFrame", pl.from_arrow(_for_polars(from_frame("frame", frame))))
        if not isinstance(frame, Mapping):
            raise TypeError(type(frame).__name__)
        return pl.DataFrame({name: _column(values) for name, values in frame.items()})
    except QueryError:
        raise
    # polars panics on decimals that are not finite.
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        why = str(error).partition("\n")[0].removesuffix(".")  # after it, polars explains itself
        raise QueryError(
            f"frame must be a frame (polars, pandas, pyarrow, DuckDB, a Result) or a dict of columns: {why}.",
            hint="A list of dicts becomes a frame with polars.DataFrame(rows)." if isinstance(frame, list) else None,
        ) from None


def _column(values: Any) -> Any:
    """Return values for polars, which takes the type of the first one: all numbers of a list as one type."""
    if isinstance(values, Iterator | KeysView | ValuesView):
        values = list(values)
    elif type(values).__module__ == "numpy" and values.ndim:
        if values.dtype.kind == "M" and np.datetime_data(values.dtype)[0] in {"Y", "M", "W", "h", "m", "s"}:
            return values.astype("datetime64[ms]")
        values = values.tolist() if values.dtype.kind == "O" else values
    kinds = set(map(type, values)) - {type(None)} if isinstance(values, list | tuple) else set()
    if len(kinds) < 2:
        return values
    found = [plain(one) for one in values]
    kinds = set(map(type, found)) - {type(None)}
    if kinds <= {int, float} and all(abs(one) <= EXACT_INTEGER for one in found if type(one) is int):
        return [None if one is None else float(one) for one in found]
    if kinds <= {int, float, Decimal}:  # exact: a float has the digits that it is shown with
        return [None if one is None else Decimal(str(one)) for one in found]
    return [None if one is None else str(one) for one in found] if kinds <= {int, str} else found


def _for_polars(table: pa.Table) -> pa.Table:
    """Return the table without types that polars has not: decimals of 256 bits, offsets in place of time zones."""
    for at, field_ in enumerate(table.schema):
        kind, column = field_.type, table.column(at)
        if pa.types.is_decimal256(kind):
            narrow = pa.decimal128(POLARS_DECIMAL_DIGITS, min(kind.scale, POLARS_DECIMAL_DIGITS))
            try:
                column = column.cast(narrow)
            except pa.ArrowInvalid:  # texts keep all digits
                column = column.cast(pa.string())
        elif pa.types.is_timestamp(kind) and (kind.tz or "").startswith(("+", "-")):
            column = pc.local_timestamp(column)
        elif isinstance(kind, pa.BaseExtensionType):
            column = column.cast(kind.storage_type)
        table = table.set_column(at, field_.name, column)
    return table


def with_full_names(frame: pl.DataFrame, full: Mapping[str, str]) -> pl.DataFrame:
    """Return *frame* with full names for short ones, unless it has both.

    Raises QueryError where two short names have one full name.
    """
    wanted = {name: to for name, to in full.items() if to not in frame.columns}
    for to in wanted.values():
        alike = [name for name, one in wanted.items() if one == to]
        if len(alike) > 1:
            raise QueryError(f"The columns {' and '.join(map(repr, alike))} both stand for {to!r}.", hint="Drop one.")
    return frame.rename(wanted)


def prepare(
    frame: pl.DataFrame, table: ImportTable, layout: Layout, dates: Mapping[str, Dates], problems: Problems
) -> Prepared:
    """Return the rows in the model's columns. Problems are added to *problems*; the rows that have one stay."""
    frame = _with_row_numbers(frame)
    rounded: Counter[str] = Counter()
    if layout.pivot is not None:
        frame = _unpivot(frame, table, layout, problems, rounded)
        dimension = layout.pivot[0]
        if dimension in dates and dimension in frame.columns:
            headings = frame.get_column(dimension).unique()
            written = headings.map_elements(dates[dimension].of_heading, return_dtype=pl.String)
            frame = frame.with_columns(pl.col(dimension).replace_strict(headings, written))
    row = frame.get_column(ROW)

    def converted(series: pl.Series, column: ImportColumn, row: pl.Series) -> pl.Series:
        if column.kind == "number" and not column.is_key:  # members are texts
            series, count = _as_decimal(series, column, row, problems)
            rounded[column.name] += count
        elif column.kind == "text" or column.is_key:
            series = _as_text(series, column, dates.get(column.name), row, problems)
        return series.alias(column.name)

    sources = _sources(frame, table, layout, problems)
    _check_columns(sources, table, layout, problems)
    made = [row]
    for column in table.columns:
        source = frame.get_column(sources[column.name]) if column.name in sources else None
        series = None if source is None else converted(source.alias(column.name), column, row)
        if column.name in layout.constants and (source is None or source.null_count()):
            # Converted by itself: in the type of the column it might lose digits.
            at = row if source is None else row.filter(source.is_null())
            filler = converted(_constant(column.name, layout.constants[column.name], at.len()), column, at)
            series = filler if source is None or series is None else _filled(source, series, filler)
        if series is not None:
            made.append(series)
    return Prepared(pl.DataFrame(made), {name: count for name, count in rounded.items() if count})


def _with_row_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.int_range(frame.height, dtype=pl.UInt32).alias(ROW))


def _unpivot(
    frame: pl.DataFrame, table: ImportTable, layout: Layout, problems: Problems, rounded: Counter[str]
) -> pl.DataFrame:
    """Turn each column that the model does not have into rows; an empty cell is no row."""
    assert layout.pivot is not None  # noqa: S101 - asked by the caller
    dimension, measure = layout.pivot
    known = {*layout.mapping.values(), *(name for name in table.names if name not in layout.mapping), ROW}
    wide = [name for name in frame.columns if name not in known]
    if not wide:
        problems.add("missing column", f"pivot finds no columns to turn into rows of {dimension!r}.")
        return frame
    for name in (dimension, measure):
        if name in frame.columns:
            problems.add("unexpected column", f"pivot makes the column {name!r}; the frame has it, too.", column=name)
    index = [name for name in frame.columns if name not in {*wide, dimension, measure}]
    if table.column(measure).kind == "number":
        # Each by itself: no type of numbers has all digits of a column of whole numbers and one of floats.
        for name in wide:
            target = replace(table.column(measure), name=name)
            series, count = _as_decimal(frame.get_column(name), target, frame.get_column(ROW), problems)
            frame = frame.with_columns(series.alias(name))
            rounded[measure] += count
    elif len({frame.schema[name] for name in wide}) > 1:
        frame = frame.with_columns(pl.col(wide).cast(pl.String, strict=False))
    long = frame.unpivot(wide, index=index, variable_name=dimension, value_name=measure)
    long = long.filter(pl.col(measure).is_not_null()).sort(ROW, maintain_order=True)
    if wide and not long.height:
        problems.add("null", f"All cells under {', '.join(wide)} are empty.")
    return long


def _check_columns(sources: Mapping[str, str], table: ImportTable, layout: Layout, problems: Problems) -> None:
    """Add a problem for each column that is missing, and for defaults of an unknown one."""
    for target in layout.constants:
        if target not in table.names:
            problems.add("unknown column", f"defaults: the model has no column {target!r}.{_near(target, table.names)}")
    chosen = {*sources, *layout.constants}
    for key in table.keys:
        if key not in chosen:
            problems.add("missing column", f"The dimension {key!r} is missing. Add it, or give defaults.", column=key)
    measures = [name for name in table.measures if table.column(name).kind == "number"]
    if measures and not any(name in chosen for name in table.measures):
        problems.add("missing column", f"None of the measures is there: {', '.join(measures)}.")


def _sources(frame: pl.DataFrame, table: ImportTable, layout: Layout, problems: Problems) -> dict[str, str]:
    """Return the source column of each model column that the frame has."""
    have = [name for name in frame.columns if name != ROW]
    sources = {name: name for name in have if name in table.names and name not in layout.mapping}
    for target, source in layout.mapping.items():
        if target not in table.names:
            problems.add("unknown column", f"mapping: the model has no column {target!r}.{_near(target, table.names)}")
        elif source not in have:
            problems.add("missing column", f"mapping: the frame has no column {source!r}.{_near(source, have)}")
        else:
            sources[target] = source
            if source in table.names and source not in layout.mapping:
                message = f"mapping gives {source!r} to {target!r}, and the model has a column {source!r}, too."
                problems.add("ambiguous column", f"{message} Name both, or rename it in the frame.", column=source)
    for name in have:
        if name not in {*sources.values(), *layout.mapping.values()}:
            problems.add("unknown column", f"The model has no column {name!r}.{_near(name, table.names)}", column=name)
    return sources


def _constant(target: str, value: Any, height: int) -> pl.Series:
    """Return a column of one value. Raises QueryError for one that no cell can hold."""
    found = plain(value.value if isinstance(value, Enum) else value)
    if type(found).__name__ == "Period" and hasattr(found, "to_timestamp"):
        found = found.to_timestamp()
    if (
        found is None
        or isinstance(found, str | int | float | date)
        or (isinstance(found, Decimal) and found.is_finite())
    ):
        with suppress(TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):  # pandas' NaT is a date
            return pl.Series(target, [found], strict=False).new_from_index(0, height)
    raise QueryError(f"defaults[{target!r}] must be a text, a number or a date, got {value!r}.")


def _filled(source: pl.Series, series: pl.Series, filler: pl.Series) -> pl.Series:
    """Return *series* with the values of *filler* where *source* is null."""
    kept = pl.DataFrame([source.is_null().alias("hole"), series.alias("value")])
    value = pl.lit(filler[0], dtype=filler.dtype)
    filled = pl.when("hole").then(value).otherwise("value").alias(series.name)
    return kept.select(filled).to_series()


def _near(name: str, known: Sequence[str]) -> str:
    folded = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=2)
    return f" Did you mean {' or '.join(repr(folded[one]) for one in close)}?" if close else ""


# -- texts ------------------------------------------------------------------------------------------------------------


def _as_text(
    series: pl.Series, column: ImportColumn, dates: Dates | None, row: pl.Series, problems: Problems
) -> pl.Series:
    kind = series.dtype
    if isinstance(kind, pl.Date | pl.Datetime) and dates is not None:
        if dates.format is None:
            problems.add(
                "date format",
                f"How {column.name!r} writes its dates is not known; give them as texts"
                + (f" such as {dates.example!r}." if dates.example else "."),
                column=column.name,
            )
            return series.cast(pl.String)
        return series.dt.strftime(dates.format)
    if kind.is_integer():
        return series.cast(pl.String)
    if isinstance(kind, pl.String | pl.Categorical | pl.Null | pl.Enum):
        text = series.cast(pl.String)
        _check_texts(pl.DataFrame([row, text]), column, problems)
        return text
    if series.null_count() < series.len():
        problems.add("type", f"{column.name!r} takes texts, and the frame has {kind}.", column=column.name)
    return (
        series.cast(pl.String, strict=False)
        if not kind.is_nested() and kind != pl.Object
        else pl.Series(series.name, [None] * series.len(), dtype=pl.String)
    )


def _check_texts(pair: pl.DataFrame, column: ImportColumn, problems: Problems) -> None:
    if column.max_length is not None:
        long = pair.filter(pl.col(column.name).str.len_chars() > column.max_length)
        message = f"The text is longer than the {column.max_length} characters of {column.name!r}."
        problems.add_rows(long, column.name, "length", message)


# -- numbers ----------------------------------------------------------------------------------------------------------


def _as_decimal(series: pl.Series, column: ImportColumn, row: pl.Series, problems: Problems) -> tuple[pl.Series, int]:
    """Return a measure as decimals of the model's scale, and how many floats had to be rounded to it."""
    scale = column.scale if column.scale is not None else 7
    whole_digits = max(0, (column.precision or 31) - scale)
    kind = series.dtype
    text = None
    if kind.is_float():
        text = series.cast(pl.Float64).cast(pl.String)
    elif kind.is_integer() or kind.is_decimal() or kind in {pl.String, pl.Null}:
        text = series.cast(pl.String)
    elif series.null_count() < series.len():
        problems.add("type", f"{column.name!r} takes numbers, and the frame has {kind}.", column=column.name)
    if text is None:
        return pl.Series(column.name, [None] * series.len(), dtype=pl.Decimal(_DIGITS, scale)), 0
    pair = pl.DataFrame([row, text.alias(column.name)])
    name = pl.col(column.name)
    blank = pl.when(name.str.strip_chars() == "").then(None).otherwise(name.str.strip_chars())
    pair = pair.with_columns(blank.alias(column.name))
    bad = pair.filter(name.is_not_null() & ~name.str.contains(_PLAIN_NUMBER))
    problems.add_rows(bad, column.name, "type", f"{column.name!r} takes numbers.")
    pair = pair.with_columns(pl.when(name.str.contains(_PLAIN_NUMBER)).then(name).alias(column.name))
    whole = f"[0-9]{{1,{whole_digits}}}" if whole_digits > 0 else "0"
    decimals = rf"(\.[0-9]{{1,{scale}}})?" if scale > 0 else ""
    is_short = pl.col(column.name).str.contains(f"^-?{whole}{decimals}$")
    odd = pair.filter(name.is_not_null() & ~is_short)
    exact, rounded = _read_odd(odd, column.name, whole_digits, scale, problems, may_round=kind.is_float())
    short = pair.with_columns(pl.when(is_short).then(name).str.to_decimal(scale=scale).alias(column.name))
    if odd.height:
        fixed = odd.select(ROW).with_columns(exact.alias("\0exact"), pl.Series("\0at", _positions(pair, is_short)))
        short = (
            short.with_row_index("\0at")
            .join(fixed.select("\0at", "\0exact"), on="\0at", how="left", maintain_order="left")
            .select(ROW, pl.coalesce("\0exact", column.name).alias(column.name))
        )
    return short.get_column(column.name).cast(pl.Decimal(_DIGITS, scale)), rounded


def _positions(pair: pl.DataFrame, is_short: pl.Expr) -> pl.Series:
    name = pl.col(pair.columns[1])
    return pair.with_row_index("\0at").filter(name.is_not_null() & ~is_short).get_column("\0at")


def _read_odd(
    odd: pl.DataFrame, column: str, whole_digits: int, scale: int, problems: Problems, *, may_round: bool
) -> tuple[pl.Series, int]:
    """Read the numbers that are not written plainly: exponents, and more digits than the model has."""
    found: list[Decimal | None] = []
    verdicts: list[str | None] = []
    rounded = 0
    step = Decimal(1).scaleb(-scale)
    with localcontext() as context:
        context.prec = 400
        for text in odd.get_column(column):
            number = Decimal(text)
            try:
                value = number.quantize(step, ROUND_HALF_EVEN)
            except InvalidOperation:
                value = None
            if value is None or value.adjusted() >= whole_digits:
                found.append(None)
                verdicts.append(f"The number has more than the {whole_digits} digits of {column!r} before the point.")
            elif value != number and not may_round:
                found.append(None)
                verdicts.append(f"The number has more than the {scale} decimals of {column!r}. Round it first.")
            else:
                rounded += value != number
                found.append(value)
                verdicts.append(None)
    wrong = odd.with_columns(pl.Series("\0why", verdicts, dtype=pl.String)).filter(pl.col("\0why").is_not_null())
    problems.add_rows(wrong, column, "precision", pl.col("\0why"))
    return pl.Series(found, dtype=pl.Decimal(_DIGITS, scale)), rounded
