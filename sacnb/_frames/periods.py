"""Read dates as SAC writes them, a text at the model's grain, into the first day of the period they mean.

``YYYYMM`` is SAP's own form for months and the only one its documents show. Days, weeks, quarters and years are
unconfirmed, so every form is read that can mean only one thing; ``2024.1`` and ``202405`` are read as a quarter and as
a week where the column is known to hold quarters or weeks. Text that cannot be read is left out and counted.

SAP's fiscal years have up to 16 periods, and 00 for opening balances. Among months, 00 is read as January and 13 to 16
as December, so that sums over a year are right; tables that hold such periods say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl
import pyarrow as pa

from sacnb._odata.schema import Column, DateColumn, Grain, Schema
from sacnb.errors import ContractError, UnknownNameError

__all__ = [
    "COARSER",
    "GRAINS",
    "Dates",
    "Period",
    "Periods",
    "date_column",
    "date_range",
    "dates_of",
    "grain_as_written",
    "parse_period",
    "read_periods",
    "target_grain",
    "truncate",
]

GRAINS: Final[tuple[Grain, ...]] = ("day", "week", "month", "quarter", "year")
# Weeks span months, quarters and years: a sum over weeks would put days into the wrong one.
COARSER: Final[Mapping[Grain, tuple[Grain, ...]]] = {
    "day": ("week", "month", "quarter", "year"),
    "week": (),
    "month": ("quarter", "year"),
    "quarter": ("year",),
    "year": (),
}

_YEAR: Final = r"(?P<year>\d{4})"
# Forms that mean one thing in every column.
_PLAIN: Final[tuple[tuple[Grain, re.Pattern[str]], ...]] = (
    ("day", re.compile(_YEAR + r"(?P<dash>[-./]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)", re.ASCII)),
    ("month", re.compile(_YEAR + r"[-./M]?(?P<month>\d\d)", re.ASCII)),
    ("week", re.compile(_YEAR + r"[-.]?W(?P<week>\d\d)", re.ASCII)),
    ("quarter", re.compile(_YEAR + r"[-.]?Q(?P<quarter>[1-4])", re.ASCII)),
    ("year", re.compile(_YEAR, re.ASCII)),
)
# Forms that are clear only with the column's grain.
_TOLD: Final[Mapping[Grain, re.Pattern[str]]] = {
    "week": re.compile(_YEAR + r"[-./]?(?P<week>\d\d)", re.ASCII),
    "quarter": re.compile(_YEAR + r"[-./]?(?P<quarter>[1-4])", re.ASCII),
}
# The month as which each fiscal period besides 01 to 12 is read.
_FISCAL: Final[Mapping[int, int]] = {0: 1, 13: 12, 14: 12, 15: 12, 16: 12}
# Above the last fiscal period, six digits can only be a week.
_LAST_FISCAL_PERIOD: Final = 16
_LAST_WEEK: Final = 53
_SIX_DIGITS: Final = re.compile(r"\d{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """The first day of a period, and its length. Weeks are ISO weeks and begin on Monday.

    ``is_fiscal`` marks the periods 00 and 13 to 16 of a fiscal year, which stand for January and December.
    """

    first_day: date
    grain: Grain
    is_fiscal: bool = False


@dataclass(frozen=True, slots=True)
class Periods:
    """The meaning of a column's texts: the first day of each that could be read, the grain they share.

    ``fiscal`` holds the texts among them that are fiscal periods and no calendar months.
    """

    first_days: Mapping[str, date]
    grain: Grain | None
    fiscal: frozenset[str] = frozenset()


def parse_period(text: str, grain: Grain | None = None) -> Period | None:
    """Return the period that a text means; ``None`` where it means none or could mean several.

    Args:
        text: As SAC sends it: ``"202405"``, ``"20240531"``, ``"2024-05-31"``, ``"2024"``, ``"2024Q2"``, ``"2024W22"``.
        grain: The grain the column is known to have; it settles ``"2024.2"``, ``"20242"`` and ``"202422"``.
    """
    told = _TOLD.get(grain) if grain is not None else None
    forms = ((grain, told),) if grain is not None and told is not None else ()
    for kind, form in (*forms, *_PLAIN):
        match = form.fullmatch(text)
        if match is not None:
            return _period(kind, {name: int(part) for name, part in match.groupdict().items() if name != "dash"})
    return None


def _period(grain: Grain, parts: Mapping[str, int]) -> Period | None:
    year = parts["year"]
    try:
        if grain == "week":
            return Period(date.fromisocalendar(year, parts["week"], 1), grain)
        month = 3 * parts["quarter"] - 2 if grain == "quarter" else parts.get("month", 1)
        is_fiscal = grain == "month" and month in _FISCAL
        return Period(date(year, _FISCAL[month] if is_fiscal else month, parts.get("day", 1)), grain, is_fiscal)
    except ValueError:
        return None  # there is no month 17, no 30 February, no week 54


def read_periods(texts: Iterable[str], declared: Grain | None = None) -> Periods:
    """Read the dates of a column from its distinct texts.

    All dates of a column have one grain: the declared one, as long as at least one text has it, and otherwise the
    finest that occurs. A text of another grain is not read: the year ``2024`` is not January in a column of months.

    Where the grain is not declared and six digits end in 17 to 53, they could be weeks in which some look like months;
    then no text of six digits is read.
    """
    known = list(texts)
    found = {text: period for text in known if (period := parse_period(text, declared)) is not None}
    if declared is None and any(map(_looks_like_week, known)):
        found = {text: period for text, period in found.items() if _SIX_DIGITS.fullmatch(text) is None}
    grains = {period.grain for period in found.values()}
    grain = declared if declared in grains else next((grain for grain in GRAINS if grain in grains), declared)
    read = {text: period for text, period in found.items() if period.grain == grain}
    fiscal = frozenset(text for text, period in read.items() if period.is_fiscal)
    return Periods({text: period.first_day for text, period in read.items()}, grain, fiscal)


def _looks_like_week(text: str) -> bool:
    return _SIX_DIGITS.fullmatch(text) is not None and _LAST_FISCAL_PERIOD < int(text[4:]) <= _LAST_WEEK


def grain_as_written(text: str | date | None) -> Grain | None:
    """Return the grain that one date of a column shows, such as ``"month"`` for ``"202405"``; ``None`` if none.

    A bound is compared with the dates as text, so the grain of a month is only told where it is written ``YYYYMM``;
    ``"202413"`` may be a week as well.
    """
    if isinstance(text, date):
        return "day"
    period = None if text is None else parse_period(str(text))
    if period is None or period.grain != "month":
        return None if period is None else period.grain
    is_week_too = period.is_fiscal and not str(text).endswith("00")
    return "month" if _SIX_DIGITS.fullmatch(str(text)) and not is_week_too else None


_TRUNCATE: Final = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Dates:
    """The dates of a table's rows.

    ``days`` holds the first day of each row's period and null where there is none; ``grain`` is what they share, and
    ``None`` if not one could be read. ``instants`` is true for time stamps, of which a day may have many.
    ``unreadable`` shows some of the texts that are no dates, ``fiscal`` some of the fiscal periods that were read as
    January or December; ``fiscal_rows`` counts the rows in them.
    """

    days: pl.Series
    grain: Grain | None
    instants: bool = False
    unreadable: tuple[str, ...] = ()
    fiscal: tuple[str, ...] = ()
    fiscal_rows: int = 0


def date_column(table: pa.Table, schema: Schema, wanted: str | DateColumn | None = None) -> DateColumn:
    """Return the wanted date column, or the first of the schema that the table has.

    Raises:
        ContractError: The schema knows of none.
        UnknownNameError: The table has no column of the wanted name.
    """
    if wanted is None:
        for column in schema.date_columns:
            if column.name in table.column_names:
                return column
        there = f"Say which one it is with date=; there is: {', '.join(map(repr, table.column_names))}."
        raise ContractError(
            f"The result of {schema.provider_id!r} has no column that is known to hold dates.",
            hint=how_to_fetch(table, schema, schema.date_columns[:1]) or there,
        )
    found = wanted if isinstance(wanted, DateColumn) else DateColumn(wanted, schema.grain_of(wanted))
    if found.name not in table.column_names:
        raise unfetched("column", found.name, table, schema)
    return found


def unfetched(kind: str, name: str, table: pa.Table, schema: Schema) -> UnknownNameError:
    """Return the error for a column that a result does not have; its remedy is to fetch it, if the model has it."""
    names = [column.name for column in schema.columns if kind in {"column", column.role}]
    there = [name for name in table.column_names if kind == "column" or name in names]
    error = UnknownNameError(kind, name, there, where=f"the result of {schema.provider_id!r}")
    if name in schema.names:
        error.hint = how_to_fetch(table, schema, [schema.column(name)])
    return error


def how_to_fetch(table: pa.Table, schema: Schema, missing: Sequence[Column | DateColumn]) -> str | None:
    """Return the call of ``facts()`` that also fetches the first of *missing*; ``None`` where there is none."""
    roles = {column.name: column.role for column in schema.columns}
    for column in (schema.column(one.name) for one in missing if one.name in roles):
        if column.role == "attribute":
            return f"Fetch it too: facts(select={[*table.column_names, column.name]!r})."
        fetched = [name for name in table.column_names if roles.get(name) == column.role]
        argument = "measures" if column.role == "measure" else "dims"
        return f"Fetch it too: facts({argument}={[*fetched, column.name]!r})."
    return None


def dates_of(table: pa.Table, column: DateColumn) -> Dates:
    """Read the dates in a column of the table: texts, numbers, dates or time stamps (in UTC)."""
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
    fiscal = sorted(read.fiscal)
    return Dates(
        days,
        read.grain,
        unreadable=tuple(unreadable[:_EXAMPLES]),
        fiscal=tuple(fiscal[:_EXAMPLES]),
        fiscal_rows=int(texts.is_in(fiscal).sum()) if fiscal else 0,
    )


def date_range(table: pa.Table, schema: Schema) -> tuple[date | None, date | None]:
    """Return the first day of the first and of the last period in the table's dates; ``None`` where there is none."""
    try:
        column = date_column(table, schema)
    except ContractError:
        return None, None
    # Read distinct dates only: a million rows have about a hundred.
    different = pa.table({column.name: table.column(column.name).unique()})
    days = dates_of(different, column).days
    first, last = days.min(), days.max()
    return (first if isinstance(first, date) else None), (last if isinstance(last, date) else None)


def target_grain(name: str, have: Grain | None, wanted: Grain | None) -> Grain:
    """Return the grain to bring the dates of column ``name`` to.

    Raises:
        ContractError: It cannot be made of the grain they have.
    """
    if wanted is not None and wanted not in GRAINS:
        raise ContractError(f"There is no grain {wanted!r}.", hint=f"The grains are {', '.join(GRAINS)}.")
    if have is None:
        return wanted or "day"  # no date could be read, so the frame is empty
    possible = (have, *COARSER[have])
    if wanted is None or wanted in possible:
        return wanted or have
    why = "weeks cross the borders of months" if have == "week" and wanted != "day" else "a finer grain is not there"
    raise ContractError(
        f"{name!r} has the grain {have}, and {wanted} cannot be made of it: {why}.",
        hint=f"Ask for {' or '.join(possible)}.",
    )


def truncate(days: pl.Series, grain: Grain) -> pl.Series:
    """Replace each day by the first day of its period; weeks begin on Monday."""
    return days.dt.truncate(_TRUNCATE[grain])
