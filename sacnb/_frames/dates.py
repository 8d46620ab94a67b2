"""The dates of a table: which column holds them, what they are, and how coarse they may be made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl
import pyarrow as pa

from sacnb._frames.periods import COARSER, GRAINS, read_periods
from sacnb._odata.schema import DateColumn, Grain, Schema
from sacnb.errors import ContractError, UnknownNameError

__all__ = ["Dates", "date_column", "date_range", "dates_of", "target_grain", "truncate"]

_TRUNCATE: Final = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Dates:
    """The dates of a table's rows.

    ``days`` holds the first day of each row's period and null where there is none; ``grain`` is what they share, and
    ``None`` if not one could be read. ``instants`` is true for time stamps, of which a day may have many.
    ``unreadable`` shows some of the texts that are no dates.
    """

    days: pl.Series
    grain: Grain | None
    instants: bool = False
    unreadable: tuple[str, ...] = ()


def date_column(table: pa.Table, schema: Schema, wanted: str | DateColumn | None = None) -> DateColumn:
    """The wanted date column, or the first of the schema that the table has.

    Raises:
        ContractError: The schema knows of none.
        UnknownNameError: The table has no column of the wanted name.
    """
    if wanted is None:
        for column in schema.date_columns:
            if column.name in table.column_names:
                return column
        raise ContractError(
            f"The result of {schema.provider_id!r} has no column that is known to hold dates.",
            hint=f"Say which one it is with date=; there is: {', '.join(map(repr, table.column_names))}.",
        )
    found = wanted if isinstance(wanted, DateColumn) else DateColumn(wanted, schema.grain_of(wanted))
    if found.name not in table.column_names:
        raise UnknownNameError("column", found.name, table.column_names, where=f"the result of {schema.provider_id!r}")
    return found


def dates_of(table: pa.Table, column: DateColumn) -> Dates:
    """The dates in a column of the table, whether SAC sends them as texts, numbers, dates or time stamps (in UTC)."""
    values = pl.Series(table.column(column.name))
    if values.dtype == pl.Date:
        grain = column.grain or "day"
        return Dates(truncate(values, grain), grain)
    if isinstance(values.dtype, pl.Datetime):
        grain = column.grain or "day"
        return Dates(truncate(values.dt.date(), grain), grain, instants=True)
    texts = values.cast(pl.String)
    different = texts.unique().sort()
    read = read_periods(different.drop_nulls(), column.grain)
    unreadable = ["null" if text is None else repr(text) for text in different if text not in read.first_days]
    days = texts.replace_strict(dict(read.first_days), default=None, return_dtype=pl.Date)
    return Dates(days, read.grain, unreadable=tuple(unreadable[:_EXAMPLES]))


def date_range(table: pa.Table, schema: Schema) -> tuple[date | None, date | None]:
    """The first day of the first and of the last period in the table's date column; ``None`` where there is none."""
    try:
        column = date_column(table, schema)
    except ContractError:
        return None, None
    # Of a million rows a hundred have different dates, and only those need to be read.
    different = pa.table({column.name: table.column(column.name).unique()})
    days = dates_of(different, column).days
    first, last = days.min(), days.max()
    return (first if isinstance(first, date) else None), (last if isinstance(last, date) else None)


def target_grain(name: str, have: Grain | None, wanted: Grain | None) -> Grain:
    """The grain to bring the dates of column ``name`` to.

    Raises:
        ContractError: It cannot be made of the grain they have.
    """
    if wanted is not None and wanted not in GRAINS:
        raise ContractError(f"There is no grain {wanted!r}.", hint=f"The grains are {', '.join(GRAINS)}.")
    if have is None:
        return wanted or "day"  # not one date could be read: the frame is empty, whatever its grain
    possible = (have, *COARSER[have])
    if wanted is None or wanted in possible:
        return wanted or have
    why = "weeks cross the borders of months" if have == "week" and wanted != "day" else "a finer grain is not there"
    raise ContractError(
        f"{name!r} has the grain {have}, and {wanted} cannot be made of it: {why}.",
        hint=f"Ask for {' or '.join(possible)}.",
    )


def truncate(days: pl.Series, grain: Grain) -> pl.Series:
    """Each day's period by its first day; weeks begin on Monday."""
    return days.dt.truncate(_TRUNCATE[grain])
