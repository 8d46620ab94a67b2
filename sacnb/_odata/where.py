"""``since`` and ``until`` as a filter on a date column, right for the way the column is written, or refused.

SAC writes dates as strings at the model's grain. Months are ``YYYYMM`` (SAP's samples). Years as ``YYYY`` and days as
``YYYYMMDD`` or ``YYYY-MM-DD`` are unconfirmed, and how quarters and weeks are written is not known at all. Strings
compare from left to right, so this much is certain: a bound at the turn of a year needs only the year, and is right for
every form that begins with four digits of one. Anything finer is asked only where the form is known, and for days in
both forms at once; where it would be a guess, it is refused.

``#`` (unassigned) and empty text sort before every digit. A lower bound is therefore always sent, also when only
``until`` is given, so that neither slips in.

Filters: build one with ``col``, take one from keywords, bound one by dates, write one as OData.

The tree is in ``tree``, its text in ``render``, dates in ``bounds``; this is the door to all of them.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sacnb._odata.expression import And, ColumnRef, Comparison, Expression, Membership, Not, Or, TextMatch, col
from sacnb._odata.render import canonical_filter, is_never, to_odata
from sacnb._odata.schema import Column, Grain
from sacnb.errors import QueryError

__all__ = [
    "And",
    "ColumnRef",
    "Comparison",
    "Expression",
    "Membership",
    "Not",
    "Or",
    "TextMatch",
    "When",
    "both",
    "bounds",
    "canonical_filter",
    "col",
    "from_where",
    "is_never",
    "to_odata",
]

When = str | int | date | datetime

_FORMS: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:-?Q(?P<quarter>[1-4])|-?W(?P<week>[0-9]{2})"
    r"|(?P<dash>-?)(?P<month>[0-9]{2})(?:(?P=dash)(?P<day>[0-9]{2}))?)?",
    re.IGNORECASE,
)
_BEFORE_ALL_DIGITS: Final = "0"
_MONTHS: Final[Mapping[str | None, int]] = {"month": 1, "quarter": 3, "year": 12}


def bounds(column: Column, since: When | None, until: When | None, grain: Grain | None) -> Expression | None:
    """The filter that keeps the rows of ``column`` from ``since`` to ``until``, both included; ``None`` without bounds.

    A bound is a year (``"2010"``), quarter (``"2010-Q1"``), month (``"2010-01"``, ``"201001"``), ISO week
    (``"2010-W05"``), day (``"2010-01-31"``, ``"20100131"``), date or datetime. A bound finer than ``grain`` takes in
    the whole period that holds it: ``since`` January 15 on months begins with January. On weeks, a year is a year of
    ISO weeks. For a column of instants (``Edm.DateTimeOffset``) days are days of UTC, and a datetime with a time zone
    is taken to the microsecond.

    Raises:
        QueryError: a bound cannot be read, ``since`` lies after ``until``, or the column is not a date or is written in
            a way that is not known well enough to compare with.
    """
    if since is None and until is None:
        return None
    first = _days_of(since, "since")[0] if since is not None else None
    last = _days_of(until, "until")[1] if until is not None else None
    if column.edm_type == "Edm.DateTimeOffset":
        low = _instant(since) or (_midnight(first) if first else None)
        end = _instant(until)
        high = end or (_midnight(last + timedelta(days=1)) if last else None)
        _check_order(since, until, swapped=bool(low and high and (low > high or (low == high and not end))))
        return _instants(column, low, high, up_to_and_with=end is not None)
    _check_order(since, until, swapped=bool(first and last and first > last))
    match column.edm_type:
        case "Edm.Date":
            return _between(column, first, last)
        case "Edm.String":
            return _strings(column, first, last, grain)
    raise QueryError(
        f"since and until need a date, and {column.name!r} holds {column.edm_type}.",
        hint="Name the date column, or filter with where=.",
    )


def _strings(column: Column, first: date | None, last: date | None, grain: Grain | None) -> Expression:
    if grain in _MONTHS:
        first = _month_start(first, _MONTHS[grain]) if first else None
        last = _month_end(last, _MONTHS[grain]) if last else None
    if grain == "month":
        return _written_between(column, first, last, "{0.year:04d}{0.month:02d}")
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


def _instants(column: Column, low: datetime | None, high: datetime | None, *, up_to_and_with: bool) -> Expression:
    if high is None or up_to_and_with:
        return _between(column, low, high)
    before = col(column.name) < high
    return before if low is None else (col(column.name) >= low) & before


def _check_order(since: When | None, until: When | None, *, swapped: bool) -> None:
    if swapped:
        raise QueryError(f"since={since!r} lies after until={until!r}.", hint="Swap them.")


def _instant(when: When | None) -> datetime | None:
    if not isinstance(when, datetime) or (when.tzinfo is None and when.time() == time()):
        return None
    if when.utcoffset() is None:
        raise QueryError(
            f"{when.isoformat()} does not say its time zone, and is compared with instants.",
            hint="Give the datetime a tzinfo, for example datetime.timezone.utc, or give a date.",
        )
    return when


def _days_of(when: When, which: str) -> tuple[date, date]:
    """The first and the last day of what a bound names.

    Raises:
        QueryError: it names no period, or one outside of the years 1000 to 9998.
    """
    try:
        first, last = _period(when)
    except (ValueError, TypeError):
        raise QueryError(
            f"{which}={when!r} is not a period.",
            hint="Give '2010', '2010-Q1', '2010-01', '2010-W05', '2010-01-31', or a date.",
        ) from None
    if not 1000 <= first.year <= last.year <= 9998:
        raise QueryError(f"{which}={when!r} lies outside of the years 1000 to 9998.")
    return first, last


def _period(when: When) -> tuple[date, date]:
    if isinstance(when, datetime):
        return when.date(), when.date()
    if isinstance(when, date):
        return when, when
    if isinstance(when, bool) or not isinstance(when, str | int):
        raise TypeError
    found = _FORMS.fullmatch(str(when).strip())
    if found is None:
        raise ValueError
    return _named(found)


def _named(found: re.Match[str]) -> tuple[date, date]:
    year = int(found["year"])
    if found["week"]:
        monday = date.fromisocalendar(year, int(found["week"]), 1)
        return monday, monday + timedelta(days=6)
    if found["day"]:
        day = date(year, int(found["month"]), int(found["day"]))
        return day, day
    if found["month"]:
        first = date(year, int(found["month"]), 1)
        return first, _month_end(first, 1)
    if found["quarter"]:
        first = date(year, int(found["quarter"]) * 3 - 2, 1)
        return first, _month_end(first, 3)
    return date(year, 1, 1), date(year, 12, 31)


def _month_start(day: date, months: int) -> date:
    """The first day of the period of so many months, counted from January, that holds ``day``."""
    return date(day.year, (day.month - 1) // months * months + 1, 1)


def _month_end(day: date, months: int) -> date:
    month = _month_start(day, months).month + months - 1
    return date(day.year, month, calendar.monthrange(day.year, month)[1])


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def from_where(where: Mapping[str, object] | Expression | None) -> Expression | None:
    """A filter from keywords, all of which must hold: ``{"Version": "public.Actual", "Sector": ["31", "32"]}``.

    A plain value means equal, a list (or tuple, set, series) means one of its values, ``None`` means no value; an empty
    list matches no row. An ``Expression`` is passed through. Nothing to filter by gives ``None``.

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


def both(one: Expression | None, other: Expression | None) -> Expression | None:
    """The two filters joined by ``and``; either may be missing."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _condition(name: str, wanted: object) -> Expression:
    if isinstance(wanted, Expression | ColumnRef):
        raise QueryError(
            f"where[{name!r}] holds the condition {wanted!r}, not a value.",
            hint="Give expressions as where= itself, joined with &.",
        )
    if isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes):
        return col(name).is_in(wanted)
    return col(name) == wanted
