"""``since`` and ``until`` keep the right members, whichever way a column is written, or are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._odata.expression import Expression
from sacnb._odata.query import to_odata
from sacnb._odata.schema import Column, Schema
from sacnb._odata.where import bounds
from sacnb.errors import QueryError

Judge = Callable[[Expression, Mapping[str, Any]], bool]
DATE = Column("Date", "Edm.String", "dimension")
FIRST, LAST = date(2009, 1, 1), date(2011, 12, 31)


def days() -> Iterator[date]:
    return (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1))


def periods(written: Callable[[date], str]) -> dict[str, tuple[date, date]]:
    """Every member of a column that is written like this, with the first and last day it stands for."""
    found: dict[str, tuple[date, date]] = {}
    for day in days():
        member = written(day)
        found[member] = (found.get(member, (day, day))[0], day)
    return found


def fiscal_periods() -> dict[str, tuple[date, date]]:
    """Opening and closing periods of each year: they belong to January and to December."""
    months = {"00": 1, "13": 12, "14": 12, "15": 12, "16": 12}
    return {
        f"{year}{period}": (date(year, month, 1), date(year, month, 31))
        for year in range(FIRST.year, LAST.year + 1)
        for period, month in months.items()
    }


FORMS: dict[str, tuple[str | None, dict[str, tuple[date, date]]]] = {
    "YYYYMM": ("month", periods(lambda d: f"{d:%Y%m}")),
    "YYYYMM with fiscal periods": ("month", periods(lambda d: f"{d:%Y%m}") | fiscal_periods()),
    "YYYYMMDD": ("day", periods(lambda d: f"{d:%Y%m%d}")),
    "YYYY-MM-DD": ("day", periods(lambda d: f"{d:%Y-%m-%d}")),
    "YYYY": ("year", periods(lambda d: f"{d:%Y}")),
}
# How these are written is not known, so every plausible form has to be right, for whole years.
UNKNOWN_FORMS: dict[str, tuple[str | None, dict[str, tuple[date, date]]]] = {
    "YYYYQ": ("quarter", periods(lambda d: f"{d.year}{(d.month + 2) // 3}")),
    "YYYYQn": ("quarter", periods(lambda d: f"{d.year}Q{(d.month + 2) // 3}")),
    "YYYY-Qn": ("quarter", periods(lambda d: f"{d.year}-Q{(d.month + 2) // 3}")),
    "quarter as its last month": ("quarter", periods(lambda d: f"{d.year}{(d.month + 2) // 3 * 3:02d}")),
    "YYYYMM of unknown grain": (None, FORMS["YYYYMM"][1]),
    "YYYYMMDD of unknown grain": (None, FORMS["YYYYMMDD"][1]),
    "YYYY-MM-DD of unknown grain": (None, FORMS["YYYY-MM-DD"][1]),
    "YYYY of unknown grain": (None, FORMS["YYYY"][1]),
}


def kept(judge: Judge, members: Mapping[str, Any], expression: Expression | None) -> set[str]:
    assert expression is not None
    return {member for member in members if judge(expression, {"Date": member})}


def overlapping(members: Mapping[str, tuple[date, date]], since: date, until: date) -> set[str]:
    return {member for member, (first, last) in members.items() if last >= since and first <= until}


DAYS = st.dates(date(2008, 6, 1), date(2012, 6, 30))


@pytest.mark.parametrize("form", FORMS)
@given(one=DAYS, other=DAYS)
def test_the_members_between_two_days_are_kept(judge: Judge, form: str, one: date, other: date) -> None:
    grain, members = FORMS[form]
    since, until = min(one, other), max(one, other)
    rows = {**members, "#": None, "": None}
    both = kept(judge, rows, bounds(DATE, since, until, grain))  # type: ignore[arg-type]
    assert both == overlapping(members, since, until)
    below = kept(judge, rows, bounds(DATE, None, until, grain))  # type: ignore[arg-type]
    assert below == overlapping(members, date.min, until)
    above = kept(judge, rows, bounds(DATE, since, None, grain))  # type: ignore[arg-type]
    assert above == overlapping(members, since, date.max)


@pytest.mark.parametrize("form", [*FORMS, *UNKNOWN_FORMS])
@pytest.mark.parametrize(
    ("since", "until"), [("2009", "2010"), ("2010", "2010"), (None, "2010"), ("2010", None), (2009, 2011)]
)
def test_whole_years_are_right_in_every_form(judge: Judge, form: str, since: Any, until: Any) -> None:
    grain, members = {**FORMS, **UNKNOWN_FORMS}[form]
    low = date(int(since), 1, 1) if since else date.min
    high = date(int(until), 12, 31) if until else date.max
    found = kept(judge, {**members, "#": None, "": None}, bounds(DATE, since, until, grain))  # type: ignore[arg-type]
    assert found == overlapping(members, low, high)


@pytest.mark.parametrize("form", ["{year}{week:02d}", "{year}W{week:02d}", "{year}-W{week:02d}"])
def test_on_weeks_a_year_is_a_year_of_weeks(judge: Judge, form: str) -> None:
    members = {form.format(year=year, week=week): year for year in range(2008, 2013) for week in range(1, 53)}
    found = kept(judge, {**members, "#": None}, bounds(DATE, "2009", "2010", "week"))
    assert found == {member for member, year in members.items() if year in (2009, 2010)}


@pytest.mark.parametrize("grain", ["week", "quarter", None])
@pytest.mark.parametrize(("since", "until"), [("2010-05", None), (None, "2010-05"), ("2010", "2010-08")])
def test_parts_of_a_year_are_refused_where_the_form_is_not_known(grain: Any, since: Any, until: Any) -> None:
    with pytest.raises(QueryError, match="only whole years") as caught:
        bounds(DATE, since, until, grain)
    assert "where=" in str(caught.value)


def test_quarters_that_make_whole_years_are_not_refused() -> None:
    assert bounds(DATE, "2009-Q1", "2010-Q4", "quarter") == bounds(DATE, "2009", "2010", "quarter")
    assert bounds(DATE, "2009-02", "2010-11", "quarter") == bounds(DATE, "2009", "2010", "quarter")


PERIODS: list[tuple[Any, str, str]] = [
    ("2010-q2", "201004", "201006"),
    ("2010-02", "201002", "201002"),
    ("201002", "201002", "201002"),
    (201002, "201002", "201002"),
    (" 2010-02 ", "201002", "201002"),
    ("2010-02-28", "201002", "201002"),
    ("20100228", "201002", "201002"),
    ("2010-W05", "201002", "201002"),
    ("2010W05", "201002", "201002"),
    (date(2010, 2, 28), "201002", "201002"),
    (datetime(2010, 2, 28, 23, 59), "201002", "201002"),  # noqa: DTZ001
    (datetime(2010, 2, 28, 23, 59, tzinfo=UTC), "201002", "201002"),
    (pd.Timestamp("2010-02-28"), "201002", "201002"),
]


@pytest.mark.parametrize(("when", "first", "last"), PERIODS, ids=repr)
def test_periods_are_understood_in_their_common_forms(schema: Schema, when: Any, first: str, last: str) -> None:
    expression = bounds(DATE, when, when, "month")
    assert expression is not None
    assert to_odata(expression, schema) == f"Date ge '{first}' and Date le '{last}'"


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2010", "Date ge '2010' and Date lt '2011'"),
        (2010, "Date ge '2010' and Date lt '2011'"),
        (2010.0, "Date ge '2010' and Date lt '2011'"),
        (np.datetime64("2010"), "Date ge '2010' and Date lt '2011'"),
        ("2010-Q1", "Date ge '2010' and Date le '201003'"),
        ("2010Q4", "Date ge '201010' and Date lt '2011'"),
        ("2010-01", "Date ge '2010' and Date le '201001'"),
        ("2010-12-24", "Date ge '201012' and Date lt '2011'"),
        ("2010-W04", "Date ge '2010' and Date le '201001'"),
        ("2009-W53", "Date ge '200912' and Date le '201001'"),
        ("2010-13", "Date ge '201013' and Date le '201013'"),
        ("201000", "Date ge '201000' and Date le '201000'"),
        (201016, "Date ge '201016' and Date le '201016'"),
    ],
    ids=repr,
)
def test_the_first_and_last_month_take_in_the_fiscal_periods_beside_them(
    schema: Schema, when: Any, expected: str
) -> None:
    expression = bounds(DATE, when, when, "month")
    assert expression is not None
    assert to_odata(expression, schema) == expected


def test_months_of_numpy_and_pandas_keep_their_length(schema: Schema) -> None:
    by_text = bounds(schema.column("Day"), "2010-02", "2010-02", "day")
    for when in (np.datetime64("2010-02"), pd.Period("2010-02")):
        assert bounds(schema.column("Day"), when, when, "day") == by_text  # type: ignore[arg-type]
    week = bounds(schema.column("Day"), "2010-W05", "2010-W05", "day")
    assert bounds(schema.column("Day"), *[pd.Period("2010-02-03", "W")] * 2, "day") == week


@pytest.mark.parametrize(("name", "grain"), [("Day", "day"), ("Instant", "day"), ("Date", "quarter"), ("Date", None)])
def test_a_fiscal_period_is_refused_on_what_holds_no_months(schema: Schema, name: str, grain: Any) -> None:
    with pytest.raises(QueryError, match=r"'201013' is a fiscal period, and '\w+' holds .*, not months"):
        bounds(schema.column(name), "2010-13", None, grain)


@pytest.mark.parametrize(
    "when",
    [
        *("", "soon", "2010-17", "2010-99", "2010-Q5", "2010-13-01", "2010-W54", "2010-02-30", "20100230", "2010-0228"),
        *("201", "20101", "2010-1", "2010/01", "0999", "9999", 999, 20100, True, 2010.5, pd.NaT),
        *("٢٠١٠", b"2010", float("inf"), np.datetime64("NaT")),
    ],
    ids=repr,
)
def test_what_is_no_period_is_refused(when: Any) -> None:
    for since, until, name in ((when, None, "since"), (None, when, "until")):
        with pytest.raises(QueryError, match=name):
            bounds(DATE, since, until, "month")


def test_no_bounds_no_filter() -> None:
    assert bounds(DATE, None, None, "month") is None


@pytest.mark.parametrize("edm_type", ["Edm.String", "Edm.Date", "Edm.DateTimeOffset"])
@pytest.mark.parametrize(("since", "until"), [("2011", "2010"), ("2010-01-02", "2010-01-01")])
def test_bounds_the_wrong_way_round_are_refused(edm_type: str, since: str, until: str) -> None:
    column = Column("Date", edm_type, "dimension")
    assert bounds(column, until, since, "day") is not None
    with pytest.raises(QueryError, match="Swap"):
        bounds(column, since, until, "day")


@pytest.mark.parametrize(("since", "until"), [("2010-14", "2010-13"), ("2011-01", "2010-16"), ("2010-12", "2010-00")])
def test_fiscal_periods_the_wrong_way_round_are_refused(since: str, until: str) -> None:
    assert bounds(DATE, until, since, "month") is not None
    with pytest.raises(QueryError, match="Swap"):
        bounds(DATE, since, until, "month")


@pytest.mark.parametrize("edm_type", ["Edm.Decimal", "Edm.Int32", "Edm.Boolean", "Edm.Fancy"])
def test_a_column_that_is_no_date_is_refused(edm_type: str) -> None:
    with pytest.raises(QueryError, match="need a date"):
        bounds(Column("Date", edm_type, "measure"), "2010", None, None)


EAST = timezone(timedelta(hours=2))
TYPED: list[tuple[str, Any, Any, str]] = [
    ("Day", "2010-Q1", "2010-03", "Day ge 2010-01-01 and Day le 2010-03-31"),
    ("Day", "2010", None, "Day ge 2010-01-01"),
    ("Day", None, date(2010, 3, 5), "Day le 2010-03-05"),
    ("Instant", "2010-01", "2010-02", "Instant ge 2010-01-01T00:00:00Z and Instant lt 2010-03-01T00:00:00Z"),
    ("Instant", "2010", None, "Instant ge 2010-01-01T00:00:00Z"),
    ("Instant", None, "2010", "Instant lt 2011-01-01T00:00:00Z"),
    (
        "Instant",
        datetime(2010, 1, 1, 2, tzinfo=EAST),
        datetime(2010, 1, 1, 1, tzinfo=UTC),
        "Instant ge 2010-01-01T00:00:00Z and Instant le 2010-01-01T01:00:00Z",
    ),
    ("Instant", None, datetime(2010, 1, 1, 0, tzinfo=UTC), "Instant le 2010-01-01T00:00:00Z"),
    ("Instant", datetime(2010, 1, 1), None, "Instant ge 2010-01-01T00:00:00Z"),  # noqa: DTZ001
]


@pytest.mark.parametrize(("name", "since", "until", "expected"), TYPED)
def test_typed_dates_are_compared_as_what_they_are(
    schema: Schema, name: str, since: Any, until: Any, expected: str
) -> None:
    expression = bounds(schema.column(name), since, until, "day")
    assert expression is not None
    assert to_odata(expression, schema) == expected


def test_an_instant_needs_its_time_zone(schema: Schema) -> None:
    with pytest.raises(QueryError, match="time zone"):
        bounds(schema.column("Instant"), datetime(2010, 1, 1, 8), None, "day")  # noqa: DTZ001


def test_the_order_of_instants_is_that_of_the_clock_and_not_of_the_calendar(schema: Schema) -> None:
    late, later = datetime(2010, 1, 2, 1, tzinfo=EAST), datetime(2010, 1, 1, 23, 30, tzinfo=UTC)
    assert bounds(schema.column("Instant"), late, later, "day") is not None
    assert bounds(schema.column("Instant"), late, late, "day") is not None
    with pytest.raises(QueryError, match="Swap"):
        bounds(schema.column("Instant"), later, late, "day")
