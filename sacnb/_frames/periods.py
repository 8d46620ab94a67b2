"""Dates as SAC writes them: a string at the model's grain, and the first day of the period it means.

``YYYYMM`` is SAP's own form for months and the only one its documents show. Days, weeks, quarters and years are
unconfirmed, so every form is read that can mean only one thing; ``2024.1`` and ``202405`` are read as a quarter and as
a week where the column is known to hold quarters or weeks. What cannot be read is no error: it is left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from sacnb._odata.schema import Grain

__all__ = ["COARSER", "GRAINS", "Period", "Periods", "grain_as_written", "parse_period", "read_periods"]

GRAINS: Final[tuple[Grain, ...]] = ("day", "week", "month", "quarter", "year")
# Weeks fit into no month, quarter or year: a sum over them would put days into the wrong one.
COARSER: Final[Mapping[Grain, tuple[Grain, ...]]] = {
    "day": ("week", "month", "quarter", "year"),
    "week": (),
    "month": ("quarter", "year"),
    "quarter": ("year",),
    "year": (),
}

_YEAR: Final = r"(?P<year>\d{4})"
# Each of these means one thing, whatever the column.
_PLAIN: Final[tuple[tuple[Grain, re.Pattern[str]], ...]] = (
    ("day", re.compile(_YEAR + r"(?P<dash>[-./]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)", re.ASCII)),
    ("month", re.compile(_YEAR + r"[-./M]?(?P<month>\d\d)", re.ASCII)),
    ("week", re.compile(_YEAR + r"[-.]?W(?P<week>\d\d)", re.ASCII)),
    ("quarter", re.compile(_YEAR + r"[-.]?Q(?P<quarter>[1-4])", re.ASCII)),
    ("year", re.compile(_YEAR, re.ASCII)),
)
# These need to be told the column's grain.
_TOLD: Final[Mapping[Grain, re.Pattern[str]]] = {
    "week": re.compile(_YEAR + r"[-./]?(?P<week>\d\d)", re.ASCII),
    "quarter": re.compile(_YEAR + r"[-./]?(?P<quarter>[1-4])", re.ASCII),
}
# SAP's fiscal calendars have up to 16 periods a year; above that, six digits can only be a week.
_LAST_FISCAL_PERIOD: Final = 16
_LAST_WEEK: Final = 53
_SIX_DIGITS: Final = re.compile(r"\d{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """The first day of a period, and how long the period is. Weeks are ISO weeks and begin on Monday."""

    first_day: date
    grain: Grain


@dataclass(frozen=True, slots=True)
class Periods:
    """What the texts of a column mean: the first day of each that could be read, and the grain they share."""

    first_days: Mapping[str, date]
    grain: Grain | None


def parse_period(text: str, grain: Grain | None = None) -> Period | None:
    """The period a text means, or ``None`` where it means none or could mean several.

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
        return Period(date(year, month, parts.get("day", 1)), grain)
    except ValueError:
        return None  # there is no month 13, no 30 February, no week 54


def read_periods(texts: Iterable[str], declared: Grain | None = None) -> Periods:
    """The dates of a column, from its different texts.

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
    return Periods({text: period.first_day for text, period in found.items() if period.grain == grain}, grain)


def _looks_like_week(text: str) -> bool:
    return _SIX_DIGITS.fullmatch(text) is not None and _LAST_FISCAL_PERIOD < int(text[4:]) <= _LAST_WEEK


def grain_as_written(text: str | date | None) -> Grain | None:
    """The grain that one date of a column shows, such as ``"month"`` for ``"202405"``; ``None`` if it shows none."""
    if isinstance(text, date):
        return "day"
    period = None if text is None else parse_period(str(text))
    return None if period is None else period.grain
