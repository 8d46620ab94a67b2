"""What a date means as SAC writes it, and what no date is."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._frames.periods import COARSER, GRAINS, grain_as_written, parse_period, read_periods
from sacnb._odata.schema import Grain

READ: list[tuple[str, Grain | None, Grain, date]] = [
    # text, what the column is known to hold, what it means
    ("202105", None, "month", date(2021, 5, 1)),
    ("202105", "month", "month", date(2021, 5, 1)),
    ("2021-05", None, "month", date(2021, 5, 1)),
    ("2021.05", None, "month", date(2021, 5, 1)),
    ("2021M05", None, "month", date(2021, 5, 1)),
    ("20210531", None, "day", date(2021, 5, 31)),
    ("2021-05-31", None, "day", date(2021, 5, 31)),
    ("2021/05/31", None, "day", date(2021, 5, 31)),
    ("20240229", "day", "day", date(2024, 2, 29)),
    ("2021", None, "year", date(2021, 1, 1)),
    ("2021Q3", None, "quarter", date(2021, 7, 1)),
    ("2021-Q3", None, "quarter", date(2021, 7, 1)),
    ("20213", "quarter", "quarter", date(2021, 7, 1)),
    ("2021.3", "quarter", "quarter", date(2021, 7, 1)),
    ("2021W05", None, "week", date(2021, 2, 1)),
    ("202105", "week", "week", date(2021, 2, 1)),
    ("2021.05", "week", "week", date(2021, 2, 1)),
    ("2020W53", None, "week", date(2020, 12, 28)),
    ("2020W01", None, "week", date(2019, 12, 30)),  # ISO weeks begin on Monday, in the year before if need be
]


@pytest.mark.parametrize(("text", "known", "grain", "first_day"), READ)
def test_a_date_is_the_first_day_of_its_period(text: str, known: Grain | None, grain: Grain, first_day: date) -> None:
    period = parse_period(text, known)
    assert period is not None
    assert (period.first_day, period.grain) == (first_day, grain)


@pytest.mark.parametrize("known", [None, *GRAINS])
@pytest.mark.parametrize(
    "text",
    [
        "#", "", " ", "null", "public.Actual", "<root>", "202199", "20210230", "2021-05-32", "2021-0531", "21-05",
        "2021Q5", "2021Q0", "2021W54", "2021-W53", "0000", "00000101", "2021001", "202105 ", "\u0662\u0660\u0662\u0661",
        "2021-05-31T00:00:00Z", "31.05.2021", "-2021", "1e3", "99999", "20215",
    ],
)  # fmt: skip
def test_what_is_no_date_is_not_read(text: str, known: Grain | None) -> None:
    assert parse_period(text, known) is None


def test_six_digits_are_a_month_or_a_week() -> None:
    assert parse_period("202117") is None
    assert parse_period("202117", "month") is None
    assert parse_period("202117", "week") is not None


@pytest.mark.parametrize("form", ["{}{}", "{}-{}", "{}.{}", "{}M{}"])
@pytest.mark.parametrize(("period", "month"), [("00", 1), ("13", 12), ("14", 12), ("15", 12), ("16", 12)])
def test_fiscal_periods_are_january_and_december(form: str, period: str, month: int) -> None:
    for known in (None, "month"):
        found = parse_period(form.format("2021", period), known)  # type: ignore[arg-type]
        assert found is not None
        assert (found.first_day, found.grain, found.is_fiscal) == (date(2021, month, 1), "month", True)


@pytest.mark.parametrize("text", ["20213", "2021.3"])
def test_a_quarter_without_its_letter_needs_to_be_told(text: str) -> None:
    assert parse_period(text) is None
    assert parse_period(text, "month") is None


@given(st.dates(date(1, 1, 1), date(9999, 12, 20)))
def test_every_day_month_and_week_is_read_back(day: date) -> None:
    year, week, _ = day.isocalendar()
    for text, grain, first in [
        (day.strftime("%Y%m%d").zfill(8), "day", day),
        (day.isoformat(), "day", day),
        (f"{day.year:04}{day.month:02}", "month", day.replace(day=1)),
        (f"{year:04}W{week:02}", "week", day - timedelta(days=day.weekday()) if day > date(1, 1, 7) else None),
        (f"{day.year:04}", "year", day.replace(month=1, day=1)),
    ]:
        period = parse_period(text)
        assert first is None or (period is not None and (period.first_day, period.grain) == (first, grain))


COLUMNS: list[tuple[list[str], Grain | None, Grain | None, set[str]]] = [
    # the texts of a column, its declared grain, the grain it has, and the texts that are read
    (["202401", "202402", "#", ""], "month", "month", {"202401", "202402"}),
    (["202401", "202402", "#"], None, "month", {"202401", "202402"}),
    (["202401", "2024"], None, "month", {"202401"}),  # a year is not January
    (["20240101", "202401"], None, "day", {"20240101"}),
    (["20240101", "202401"], "month", "month", {"202401"}),
    (["20240101", "20240102"], "month", "day", {"20240101", "20240102"}),  # what was declared was wrong
    (["202400", "202401", "202413", "202416"], None, "month", {"202400", "202401", "202413", "202416"}),
    (["202401", "202452"], "week", "week", {"202401", "202452"}),
    (["202401", "202452"], None, None, set()),  # weeks or months: nobody knows
    (["202401", "202452", "20240101"], None, "day", {"20240101"}),
    (["202401", "202452"], "month", "month", {"202401"}),
    (["20241", "20244"], "quarter", "quarter", {"20241", "20244"}),
    (["20241", "20244"], None, None, set()),
    (["2024Q1", "2024Q4", "2024W01"], None, "week", {"2024W01"}),
    (["#"], "month", "month", set()),
    (["#"], None, None, set()),
    ([], None, None, set()),
]


@pytest.mark.parametrize(("texts", "declared", "grain", "read"), COLUMNS)
def test_a_column_has_one_grain(texts: list[str], declared: Grain | None, grain: Grain | None, read: set[str]) -> None:
    found = read_periods(texts, declared)
    assert found.grain == grain
    assert set(found.first_days) == read


def test_what_a_grain_can_become_is_coarser() -> None:
    for grain, coarser in COARSER.items():
        assert all(GRAINS.index(other) > GRAINS.index(grain) for other in coarser)
    assert COARSER["week"] == ()  # weeks cross the borders of months and years


@pytest.mark.parametrize(
    ("text", "grain"),
    [
        ("202405", "month"),
        ("20240531", "day"),
        ("2024", "year"),
        ("202400", "month"),
        ("202413", None),
        ("2024-05", None),
        (date(2024, 5, 31), "day"),
        ("#", None),
        (None, None),
    ],
)
def test_one_date_shows_its_grain(text: str | date | None, grain: Grain | None) -> None:
    assert grain_as_written(text) == grain
