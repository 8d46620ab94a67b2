"""Build filters from what users pass as ``where``, ``since`` and ``until``.

SAC writes dates as text at the model's grain. Months are ``YYYYMM`` (SAP's samples). Years as ``YYYY`` and days as
``YYYYMMDD`` or ``YYYY-MM-DD`` are unconfirmed; the form of quarters and weeks is unknown. Texts compare from left to
right, so a bound at the turn of a year needs only the year, and is right for every form that begins with its four
digits. Finer bounds are sent only where the form is known (days in both forms at once), and refused elsewhere.

A month column may hold fiscal periods besides 01 to 12: 00 for opening balances and 13 to 16 for closing entries. A
bound at the turn of a year is therefore sent as the year alone: period 00 belongs to January, 13 to 16 to December.

``#`` (unassigned) and empty text sort before every digit. A lower bound is always sent, also when only ``until`` is
given, so that neither slips in.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sacnb._arguments import elements, plain, required_text, text
from sacnb._odata.expression import And, ColumnRef, Comparison, Expression, Membership, Not, Or, TextMatch, col
from sacnb._odata.schema import Column, Grain
from sacnb.errors import QueryError

__all__ = ["Under", "When", "both", "bounds", "columns_of", "fixed_columns", "from_where", "members_named", "under"]

When = str | int | date | datetime

_FORMS: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:-?Q(?P<quarter>[1-4])|-?W(?P<week>[0-9]{2})"
    r"|(?P<dash>-?)(?P<month>[0-9]{2})(?:(?P=dash)(?P<day>[0-9]{2}))?)?",
    re.IGNORECASE,
)
_OPENING: Final = "00"
_CLOSING: Final = ("13", "14", "15", "16")
_BEFORE_ALL_DIGITS: Final = "0"
_MONTHS: Final[Mapping[str | None, int]] = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class _Bound:
    """A period that a user named: its first and last day, and its text where it is a fiscal period."""

    first: date
    last: date
    fiscal: str | None = None


def bounds(column: Column, since: When | None, until: When | None, grain: Grain | None) -> Expression | None:
    """Return the filter that keeps rows of ``column`` from ``since`` to ``until``, both included; ``None`` for all.

    A bound is a year (``"2010"``), quarter (``"2010-Q1"``), month (``"2010-01"``, ``"201001"``), ISO week
    (``"2010-W05"``), day (``"2010-01-31"``, ``"20100131"``), date, datetime or pandas Period; on months also a fiscal
    period (``"2010-13"``). A bound finer than ``grain`` takes in the whole period that holds it: ``since`` January 15
    on months begins with January. On weeks, a year is a year of ISO weeks. For a column of time stamps
    (``Edm.DateTimeOffset``) days are days of UTC, and a datetime with a time zone counts to the microsecond.

    Raises:
        QueryError: A bound cannot be read, ``since`` lies after ``until``, or the column holds no dates or is written
            in a form that cannot be compared safely.
    """
    since, until = _plain(since), _plain(until)
    low = _bound(since, "since") if since is not None else None
    high = _bound(until, "until") if until is not None else None
    if low is None and high is None:
        return None
    if column.edm_type == "Edm.DateTimeOffset":
        return _instants(column, since, until, low, high)
    if low is not None and high is not None:
        swapped = low.first > high.last or (low.fiscal is not None and low.fiscal > (high.fiscal or low.fiscal))
        _check_order(since, until, swapped=swapped)
    match column.edm_type:
        case "Edm.Date":
            _refuse_fiscal(column, "days", low, high)
            return _between(column, low.first if low else None, high.last if high else None)
        case "Edm.String" if grain == "month":
            return _months(column, low, high)
        case "Edm.String":
            _refuse_fiscal(column, f"{grain}s" if grain else "dates of an unknown grain", low, high)
            return _texts(column, low.first if low else None, high.last if high else None, grain)
    raise QueryError(
        f"since and until need a date, and {column.name!r} holds {column.edm_type}.",
        hint="Name the date column with date=, or filter with where=.",
    )


def _months(column: Column, low: _Bound | None, high: _Bound | None) -> Expression:
    text = _BEFORE_ALL_DIGITS
    if low is not None:
        year = f"{low.first.year:04d}"
        text = low.fiscal or (year if low.first.month == 1 else f"{year}{low.first.month:02d}")
    lower = col(column.name) >= text
    if high is None:
        return lower
    if high.fiscal is None and high.last.month == 12:
        return lower & (col(column.name) < f"{high.last.year + 1:04d}")
    return lower & (col(column.name) <= (high.fiscal or f"{high.last.year:04d}{high.last.month:02d}"))


def _texts(column: Column, first: date | None, last: date | None, grain: Grain | None) -> Expression:
    if grain in _MONTHS:
        first = _month_start(first, _MONTHS[grain]) if first else None
        last = _month_end(last, _MONTHS[grain]) if last else None
    if (first is None or (first.month, first.day) == (1, 1)) and (last is None or (last.month, last.day) == (12, 31)):
        lower = col(column.name) >= (f"{first.year:04d}" if first else _BEFORE_ALL_DIGITS)
        return lower & (col(column.name) < f"{last.year + 1:04d}") if last else lower
    if grain == "day":
        dashed = col(column.name).contains("-")
        compact = _written_between(column, first, last, "{0.year:04d}{0.month:02d}{0.day:02d}")
        return (compact & ~dashed) | (_written_between(column, first, last, "{0:%Y-%m-%d}") & dashed)
    known = f"{grain}s are" if grain else "a date of unknown grain is"
    raise QueryError(
        f"How {known} written in {column.name!r} is not known, so only whole years can be compared safely.",
        hint="Give whole years (since='2010'), or name the members in where=, as model.members() shows them.",
    )


def _written_between(column: Column, first: date | None, last: date | None, form: str) -> Expression:
    low = form.format(first) if first else _BEFORE_ALL_DIGITS
    return _between(column, low, form.format(last) if last else None)


def _between(column: Column, low: str | date | None, high: str | date | None) -> Expression:
    if low is None:
        return col(column.name) <= high
    lower = col(column.name) >= low
    return lower if high is None else lower & (col(column.name) <= high)


def _instants(
    column: Column, since: When | None, until: When | None, low: _Bound | None, high: _Bound | None
) -> Expression:
    _refuse_fiscal(column, "time stamps", low, high)
    first = _instant(since) or (_midnight(low.first) if low else None)
    end = _instant(until)
    last = end or (_midnight(high.last + timedelta(days=1)) if high else None)
    _check_order(since, until, swapped=bool(first and last and (first > last or (first == last and not end))))
    if last is None or end is not None:
        return _between(column, first, last)
    before = col(column.name) < last
    return before if first is None else (col(column.name) >= first) & before


def _refuse_fiscal(column: Column, holds: str, *named: _Bound | None) -> None:
    for bound in named:
        if bound is not None and bound.fiscal is not None:
            raise QueryError(
                f"{bound.fiscal!r} is a fiscal period, and {column.name!r} holds {holds}, not months.",
                hint="Fiscal periods 00 and 13 to 16 stand in columns of months. Give a month, or filter with where=.",
            )


def _check_order(since: When | None, until: When | None, *, swapped: bool) -> None:
    if swapped:
        raise QueryError(f"since={since!r} lies after until={until!r}.", hint="Swap them.")


def _instant(when: When | None) -> datetime | None:
    if not isinstance(when, datetime) or (when.tzinfo is None and when.time() == time()):
        return None
    if when.utcoffset() is None:
        raise QueryError(
            f"{when.isoformat()} does not say its time zone, and is compared with time stamps.",
            hint="Give the datetime a tzinfo, for example datetime.timezone.utc, or give a date.",
        )
    return when


def _plain(when: Any) -> Any:
    """Return a bound as Python's own; numpy's months and years keep their length by becoming text."""
    unit = str(getattr(getattr(when, "dtype", None), "str", ""))
    return str(when) if unit.endswith(("M8[M]", "M8[Y]")) else plain(when)


def _bound(when: object, which: str) -> _Bound:
    """Return the period that a bound names.

    Raises:
        QueryError: It names no period, or one outside of the years 1000 to 9998.
    """
    try:
        found = _period(when)
    except (ValueError, TypeError, OverflowError):
        raise QueryError(
            f"{which}={when!r} is not a period.",
            hint="Give '2010', '2010-Q1', '2010-01', '2010-W05', '2010-01-31', or a date.",
        ) from None
    if not 1000 <= found.first.year <= found.last.year <= 9998:
        raise QueryError(f"{which}={when!r} lies outside of the years 1000 to 9998.")
    return found


def _period(when: Any) -> _Bound:
    if isinstance(when, datetime):
        return _Bound(when.date(), when.date())
    if isinstance(when, date):
        return _Bound(when, when)
    if type(when).__name__ == "Period" and hasattr(when, "start_time"):  # of pandas
        return _Bound(when.start_time.date(), when.end_time.date())
    if isinstance(when, float) and when.is_integer():
        when = int(when)
    if isinstance(when, bool) or not isinstance(when, str | int):
        raise TypeError
    found = _FORMS.fullmatch(str(when).strip())
    if found is None:
        raise ValueError
    return _named(found)


def _named(found: re.Match[str]) -> _Bound:
    year = int(found["year"])
    if found["week"]:
        monday = date.fromisocalendar(year, int(found["week"]), 1)
        return _Bound(monday, monday + timedelta(days=6))
    if found["day"]:
        day = date(year, int(found["month"]), int(found["day"]))
        return _Bound(day, day)
    if found["month"] == _OPENING or found["month"] in _CLOSING:
        day = date(year, 1, 1) if found["month"] == _OPENING else date(year, 12, 31)
        return _Bound(day, day, f"{found['year']}{found['month']}")
    if found["month"]:
        first = date(year, int(found["month"]), 1)
        return _Bound(first, _month_end(first, 1))
    if found["quarter"]:
        first = date(year, int(found["quarter"]) * 3 - 2, 1)
        return _Bound(first, _month_end(first, 3))
    return _Bound(date(year, 1, 1), date(year, 12, 31))


def _month_start(day: date, months: int) -> date:
    """Return the first day of the period of so many months, counted from January, that holds ``day``."""
    return date(day.year, (day.month - 1) // months * months + 1, 1)


def _month_end(day: date, months: int) -> date:
    month = _month_start(day, months).month + months - 1
    return date(day.year, month, calendar.monthrange(day.year, month)[1])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def from_where(where: Mapping[str, object] | Expression | None) -> Expression | None:
    """Return a filter from keywords that must all hold: ``{"Version": "public.Actual", "Sector": ["31", "32"]}``.

    A plain value means equal, a list (or anything else that can be iterated) means one of its values, ``None`` means no
    value; an empty list matches no row. An ``Expression`` is passed through. Nothing to filter by gives ``None``.

    Raises:
        QueryError: ``where`` is neither, or holds something that is no plain value.
    """
    if where is None or isinstance(where, Expression):
        return where
    if not isinstance(where, Mapping):
        raise QueryError(
            f"where got {where!r}, a {type(where).__name__}.",
            hint="Give a dict of column to value or list of values, or an expression such as col('Sector') == '31'.",
        )
    result: Expression | None = None
    for name, wanted in where.items():
        result = both(result, _condition(name, wanted))
    return result


@dataclass(frozen=True, slots=True)
class Under:
    """A member of a hierarchy with all members below it; made by ``under``."""

    member: str
    hierarchy: str | None = None

    def __repr__(self) -> str:
        return f"under({self.member!r})" if self.hierarchy is None else f"under({self.member!r}, {self.hierarchy!r})"


def under(member: str, hierarchy: str | None = None) -> Under:
    """Stand for a member of a hierarchy and all members below it.

    As a value of ``where``: ``model.facts(where={"Sector": sacnb.under("30")})``.

    SAC has rows of the lowest members only, as a rule, and a filter on a parent finds none. *hierarchy* is the name of
    one, if the dimension has several; by default the first. The members are read when the query is made.

    Raises:
        QueryError: *member* is not text.
    """
    return Under(required_text("member", member), text("hierarchy", hierarchy))


def both(one: Expression | None, other: Expression | None) -> Expression | None:
    """Return the two filters joined by ``and``; either may be missing."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def columns_of(expression: Expression | None) -> set[str]:
    """Return the names of the columns in a filter."""
    match expression:
        case Comparison(column=column) | Membership(column=column) | TextMatch(column=column):
            return {column}
        case Not(operand=operand):
            return columns_of(operand)
        case And(operands=operands) | Or(operands=operands):
            return set().union(*(columns_of(operand) for operand in operands))
    return set()


def fixed_columns(expression: Expression | None) -> set[str]:
    """Return the names of the columns that have the same value in every row that a filter keeps."""
    match expression:
        case Comparison(column=column, operator="eq") | Membership(column=column, values=(_,)):
            return {column}
        case And(operands=operands):
            return set().union(*(fixed_columns(operand) for operand in operands))
    return set()


def members_named(where: Expression | None) -> dict[str, set[str]]:
    """Return by column the texts of each ``==`` and ``is_in`` that every row must match."""
    found: dict[str, set[str]] = {}
    parts: Sequence[Expression] = where.operands if isinstance(where, And) else () if where is None else (where,)
    for part in parts:
        if isinstance(part, Comparison) and part.operator == "eq" and isinstance(part.value, str):
            found.setdefault(part.column, set()).add(part.value)
        elif isinstance(part, Membership):
            found.setdefault(part.column, set()).update(value for value in part.values if isinstance(value, str))
    return found


def _condition(name: str, wanted: object) -> Expression:
    if isinstance(wanted, Expression | ColumnRef):
        raise QueryError(
            f"where[{name!r}] holds the condition {wanted!r}, not a value.",
            hint="Give expressions as where= itself, joined with &.",
        )
    several = elements(f"where[{name!r}]", wanted)
    return col(name) == wanted if several is None else col(name).is_in(several)
