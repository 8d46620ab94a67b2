"""The tidy contract: what is in it, what is left out and counted, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._frames.periods import date_range
from sacnb._frames.tidy import tidy
from sacnb._odata.schema import Column, DateColumn, Grain, Schema
from sacnb.errors import ContractError, PrecisionWarning, UnknownNameError

Facts = Callable[..., tuple[pa.Table, Schema]]
NAMES = ["Date", "Region", "Amount"]


def test_the_long_frame(facts: Facts) -> None:
    table, schema = facts(
        ["Version", "Date", Column("Note", "Edm.String", "attribute"), "Region", "Amount"],
        [
            ["public.Plan", "202402", "x", "North", 3],
            ["public.Actual", "202402", "x", "#", 2.5],
            ["public.Actual", "202401", None, "Pacific West ", 1],
        ],
    )
    made = tidy(table, schema)
    assert dict(made.frame.schema) == {
        "date": pl.Date,
        "dim_Version": pl.String,
        "dim_Region": pl.String,
        "value": pl.Float64,
    }
    assert made.frame.rows() == [  # sorted by date, then by the dimensions in the model's order
        (date(2024, 1, 1), "public.Actual", "Pacific West ", 1.0),
        (date(2024, 2, 1), "public.Actual", "#", 2.5),
        (date(2024, 2, 1), "public.Plan", "North", 3.0),
    ]
    assert (made.grain, made.rows_without_date, made.rows_without_value, made.note) == ("month", 0, 0, "")
    assert len(made) == 3
    assert pl.DataFrame(made).equals(made.frame)  # any reader of Arrow streams takes it


def test_a_tidy_frame_shows_its_rows_and_what_was_left_out(facts: Facts) -> None:
    made = tidy(*facts(NAMES, [["202401", "A", 1.5], ["#", "B", 2]]))
    assert repr(made) == (
        "1 row by month\n"
        "1 of 2 rows has no date that can be read (such as '#'): left out.\n"
        "date        dim_Region  value\n"
        "2024-01-01  A             1.5"
    )
    assert "left out" in made._repr_html_()
    assert made._repr_markdown_().startswith("**1 row by month**")


def test_several_measures_stand_below_each_other(facts: Facts) -> None:
    table, schema = facts(
        ["Date", "Amount", "Price"], [["202401", 1, None], ["202402", 2, 20]], measures=["Amount", "Price"]
    )
    made = tidy(table, schema)
    assert made.frame.columns == ["date", "dim_measure", "value"]
    assert made.frame.rows() == [
        (date(2024, 1, 1), "Amount", 1.0),
        (date(2024, 2, 1), "Amount", 2.0),
        (date(2024, 2, 1), "Price", 20.0),
    ]
    assert made.rows_without_value == 1
    assert tidy(table.drop_columns(["Price"]), schema).frame.columns == ["date", "value"]


def test_rows_without_a_date_or_a_value_leave_and_are_counted(facts: Facts) -> None:
    rows = [
        ["202401", "A", 1], ["#", "A", 1], ["", "A", 1], ["202417", "B", 1], [None, "B", 1], ["2024", "B", 1],
        ["202402", "A", None], ["#", "C", None],
    ]  # fmt: skip
    made = tidy(*facts(NAMES, rows))
    assert made.frame.rows() == [(date(2024, 1, 1), "A", 1.0)]
    assert (made.rows_without_date, made.rows_without_value) == (6, 1)
    assert made.note == (
        "6 of 8 rows have no date that can be read (such as null, '', '#') and 1 value is null: left out."
    )


def test_fiscal_periods_count_in_january_and_december_and_are_named(facts: Facts) -> None:
    rows = [
        ["202400", "A", 1], ["202401", "A", 2], ["202412", "A", 4], ["202413", "A", 8], ["202416", "A", 16],
        ["202413", "B", 32], ["202501", "A", 64],
    ]  # fmt: skip
    january, december, next_january = date(2024, 1, 1), date(2024, 12, 1), date(2025, 1, 1)
    for grain in ("month", None):
        made = tidy(*facts(NAMES, rows, grain=grain))  # type: ignore[arg-type]
        assert made.grain == "month"
        assert made.frame.rows() == [
            (january, "A", 3.0), (december, "A", 28.0), (december, "B", 32.0), (next_january, "A", 64.0),
        ]  # fmt: skip
        assert made.rows_without_date == 0
        assert made.note.startswith(
            "4 of 7 rows are in fiscal periods (such as '202400', '202413', '202416'): period 00 counts as January, "
            "13 to 16 as December. Each month is the sum of its fiscal periods;"
        )
    by_year = tidy(*facts(NAMES, rows), "year", agg="last")
    assert by_year.frame.rows() == [(january, "A", 16.0), (january, "B", 32.0), (next_january, "A", 64.0)]


def test_two_rows_of_one_fiscal_period_still_share_their_key(facts: Facts) -> None:
    with pytest.raises(ContractError, match="share their key"):
        tidy(*facts(NAMES, [["202413", "A", 1], ["202413", "A", 2]]))


def test_a_frame_of_which_nothing_is_left_is_empty_and_says_why(facts: Facts) -> None:
    made = tidy(*facts(NAMES, [["#", "A", 1], ["n/a", "A", 1]], grain=None), "quarter")
    assert len(made) == 0
    assert dict(made.frame.schema) == {"date": pl.Date, "dim_Region": pl.String, "value": pl.Float64}
    assert made.rows_without_date == 2
    assert len(tidy(*facts(NAMES, []))) == 0


@pytest.mark.parametrize("edm_type", ["Edm.Double", "Edm.Single"])
def test_not_a_number_is_no_value(facts: Facts, edm_type: str) -> None:
    columns = ["Date", Column("Amount", edm_type, "measure")]
    table, schema = facts(columns, [["202401", "NaN"], ["202402", "INF"], ["202403", 0.5]])
    made = tidy(table, schema)
    assert made.frame["value"].to_list() == [float("inf"), 0.5]
    assert made.rows_without_value == 1


def test_identical_keys_are_an_error_and_not_a_sum(facts: Facts) -> None:
    rows = [["202401", "A", 1], ["202401", "B", 2], ["202401", "A", 3]]
    table, schema = facts(NAMES, rows)
    with pytest.raises(ContractError, match=r"2 rows share their key.*2024-01-01, Region=A"):
        tidy(table, schema)
    with pytest.raises(ContractError, match="202401, Region=A"):
        tidy(table, schema, "year")  # a repeated row stays a repeated row
    with pytest.raises(ContractError, match="2024-01-01"):
        tidy(*facts(NAMES, [["202401", None, 1], ["202401", None, 2]]))


def test_one_period_in_two_spellings_is_one_key_and_a_sum_when_coarser(facts: Facts) -> None:
    table, schema = facts(NAMES, [["202401", "A", 1], ["2024-01", "A", 2]])
    with pytest.raises(ContractError, match="share their key"):
        tidy(table, schema)
    assert tidy(table, schema, "year").frame["value"].to_list() == [3.0]


YEARS = [[f"{year}{month:02}", region, value] for year in (2023, 2024) for month in range(1, 13)
         for region, value in (("A", month), ("B", 0.1))]  # fmt: skip


@pytest.mark.parametrize(
    ("agg", "grain", "a", "b"),
    [
        ("sum", "quarter", [6, 15, 24, 33], 0.3),
        ("sum", "year", [78], 1.2),
        ("mean", "quarter", [2, 5, 8, 11], 0.1),
        ("min", "quarter", [1, 4, 7, 10], 0.1),
        ("max", "year", [12], 0.1),
        ("first", "year", [1], 0.1),
        ("last", "quarter", [3, 6, 9, 12], 0.1),
    ],
)
def test_a_coarser_grain_aggregates(facts: Facts, agg: Any, grain: Grain, a: list[int], b: float) -> None:
    table, schema = facts(NAMES, YEARS[::-1])
    made = tidy(table, schema, grain, agg=agg)
    values = {region: made.frame.filter(dim_Region=region)["value"].to_list() for region in "AB"}
    assert values["A"] == a * 2
    assert values["B"] == [b] * 2 * len(a)  # 0.1 + 0.1 + 0.1 is 0.3, because it is summed before it is rounded
    assert made.grain == grain
    assert f"Each {grain} is the {agg} of its months" in made.note
    assert ("headcounts" in made.note) == (agg == "sum")


def test_nulls_take_no_part_in_an_aggregate(facts: Facts) -> None:
    rows = [["202401", "A", None], ["202402", "A", 4], ["202403", "A", None], ["202401", "B", None]]
    for agg in ("sum", "mean", "min", "max", "first", "last"):
        made = tidy(*facts(NAMES, rows), "quarter", agg=agg)  # type: ignore[arg-type]
        assert made.frame.rows() == [(date(2024, 1, 1), "A", 4.0)]
        assert made.rows_without_value == 3


@pytest.mark.parametrize("edm_type", ["Edm.Int64", "Edm.Double", "Edm.Decimal"])
def test_every_kind_of_measure_can_be_summed(facts: Facts, edm_type: str) -> None:
    columns = ["Date", Column("Amount", edm_type, "measure", precision=60, scale=2)]
    table, schema = facts(columns, [["202401", 2**40], ["202402", 2**40], ["202403", None]])
    assert tidy(table, schema, "year").frame["value"].to_list() == [float(2**41)]


def test_sums_of_integers_do_not_overflow(facts: Facts) -> None:
    columns = ["Date", Column("Amount", "Edm.Int64", "measure")]
    table, schema = facts(columns, [["202401", 2**63 - 1], ["202402", 2**63 - 1]])
    with pytest.warns(PrecisionWarning):
        assert tidy(table, schema, "year").frame["value"].to_list() == [float(2**64)]


def test_lost_digits_are_warned_about(facts: Facts) -> None:
    columns = ["Date", Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7)]
    table, schema = facts(columns, [["202401", "12345678901234567.1234567"]])
    with pytest.warns(PrecisionWarning, match="'Amount'"):
        tidy(table, schema)


def test_the_order_in_which_sac_sends_rows_does_not_matter(facts: Facts) -> None:
    one, other = tidy(*facts(NAMES, YEARS), "quarter"), tidy(*facts(NAMES, YEARS[::-1]), "quarter")
    assert one.frame.equals(other.frame)


DAYS = [["2024-01-01", 1], ["2024-01-07", 2], ["2024-01-08", 4], ["2024-03-31", 8], ["2024-12-30", 16]]


@pytest.mark.parametrize(
    ("grain", "rows"),
    [
        ("day", [(date.fromisoformat(day), float(value)) for day, value in DAYS]),
        (
            "week",
            [(date(2024, 1, 1), 3.0), (date(2024, 1, 8), 4.0), (date(2024, 3, 25), 8.0), (date(2024, 12, 30), 16.0)],
        ),
        ("month", [(date(2024, 1, 1), 7.0), (date(2024, 3, 1), 8.0), (date(2024, 12, 1), 16.0)]),
        ("quarter", [(date(2024, 1, 1), 15.0), (date(2024, 10, 1), 16.0)]),
        ("year", [(date(2024, 1, 1), 31.0)]),
    ],
)
@pytest.mark.parametrize("edm_type", ["Edm.String", "Edm.Date", "Edm.DateTimeOffset"])
def test_days_become_any_grain(facts: Facts, edm_type: str, grain: Grain, rows: list[Any]) -> None:
    time = "T23:59:59Z" if edm_type == "Edm.DateTimeOffset" else ""
    columns = [Column("Date", edm_type, "dimension"), "Amount"]
    table, schema = facts(columns, [[day + time, value] for day, value in DAYS], grain="day")
    assert tidy(table, schema, grain).frame.rows() == rows


def test_time_stamps_of_one_day_are_summed_when_days_are_asked_for(facts: Facts) -> None:
    columns = [Column("Date", "Edm.DateTimeOffset", "dimension"), "Amount"]
    table, schema = facts(columns, [["2024-01-31T10:00:00Z", 1], ["2024-01-31T22:00:00Z", 2]], grain="day")
    with pytest.raises(ContractError, match="share their key"):
        tidy(table, schema)
    made = tidy(table, schema, "day")
    assert made.frame.rows() == [(date(2024, 1, 31), 3.0)]
    assert "Each day is the sum of its time stamps" in made.note


@pytest.mark.parametrize(
    ("have", "text", "wanted", "words"),
    [
        ("month", "202401", "day", "a finer grain is not there. Ask for month or quarter or year."),
        ("month", "202401", "week", "a finer grain is not there"),
        ("year", "2024", "quarter", "Ask for year."),
        ("quarter", "2024Q1", "month", "Ask for quarter or year."),
        ("week", "2024W01", "month", "weeks cross the borders of months. Ask for week."),
        ("week", "2024W01", "year", "weeks cross the borders of months"),
        ("week", "2024W01", "day", "a finer grain is not there"),
        ("month", "202401", "decade", "There is no grain 'decade'"),
    ],
)
def test_a_grain_that_cannot_be_made(facts: Facts, have: Grain, text: str, wanted: Any, words: str) -> None:
    table, schema = facts(NAMES, [[text, "A", 1]], grain=have)
    with pytest.raises(ContractError) as caught:
        tidy(table, schema, wanted)
    assert words in str(caught.value)


def test_which_date_column(facts: Facts) -> None:
    table, schema = facts(["Date", "Added", "Amount"], [["202401", "20230615", 1]], dates=["Date", "Added"])
    assert tidy(table, schema).frame.rows() == [(date(2024, 1, 1), "20230615", 1.0)]
    made = tidy(table, schema, date="Added")
    assert made.frame.columns == ["date", "dim_Date", "value"]
    assert made.frame.rows() == [(date(2023, 6, 15), "202401", 1.0)]
    assert tidy(table.drop_columns(["Date"]), schema).frame["date"].to_list() == [date(2023, 6, 15)]
    with pytest.raises(UnknownNameError, match="Did you mean 'Added'"):
        tidy(table, schema, date="Aded")


def test_a_column_can_be_told_its_grain(facts: Facts) -> None:
    table, schema = facts(["Week", "Amount"], [["202401", 1], ["202452", 2]], dates=[])
    with pytest.raises(ContractError, match=r"known to hold dates.*date=.*'Week', 'Amount'"):
        tidy(table, schema)
    assert tidy(table, schema, date="Week").rows_without_date == 2  # months or weeks: nobody knows
    made = tidy(table, schema, date=DateColumn("Week", "week"))
    assert made.frame["date"].to_list() == [date(2024, 1, 1), date(2024, 12, 23)]


def test_numbers_can_be_dates_and_other_types_dimensions(facts: Facts) -> None:
    columns = [
        Column("Year", "Edm.Int32", "dimension"),
        Column("Number", "Edm.Int64", "dimension"),
        Column("Day", "Edm.Date", "dimension"),
        Column("Flag", "Edm.Boolean", "dimension"),
        Column("Raw", "Edm.Binary", "dimension"),
        "Amount",
    ]
    table, schema = facts(columns, [[2024, 7, "2024-01-31", True, "AP8=", 1]], dates=[])
    made = tidy(table, schema, date="Year")
    assert made.frame.rows() == [(date(2024, 1, 1), "7", "2024-01-31", "true", "AP8=", 1.0)]
    assert set(made.frame.select(pl.selectors.starts_with("dim_")).dtypes) == {pl.String}


def test_without_a_measure_there_is_no_tidy_frame(facts: Facts) -> None:
    table, schema = facts(["Date", "Region"], [["202401", "A"]])
    with pytest.raises(ContractError, match="no measure"):
        tidy(table, schema)


def test_a_dimension_called_measure_cannot_stand_beside_two_measures(facts: Facts) -> None:
    table, schema = facts(["Date", "measure", "Amount", "Price"], [["202401", "A", 1, 2]], measures=["Amount", "Price"])
    with pytest.raises(ContractError, match="'Amount', 'Price'"):
        tidy(table, schema)
    assert tidy(table.drop_columns(["Price"]), schema).frame.columns == ["date", "dim_measure", "value"]


def test_an_unknown_aggregation(facts: Facts) -> None:
    with pytest.raises(ContractError, match="sum, mean, min, max, first, last"):
        tidy(*facts(NAMES, [["202401", "A", 1]]), agg="median")  # type: ignore[arg-type]


@given(
    st.dictionaries(
        st.tuples(st.integers(2020, 2023), st.integers(1, 12), st.sampled_from("AB#")),
        st.integers(-(10**12), 10**12),
        max_size=30,
    )
)
def test_sums_are_those_of_the_rows(values: dict[tuple[int, int, str], int]) -> None:
    import json

    from sacnb._frames.decode import decode_rows

    columns = (
        Column("Date", "Edm.String", "dimension"),
        Column("Region", "Edm.String", "dimension"),
        Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
    )
    schema = Schema("S", "FactData", columns, date_columns=(DateColumn("Date", "month"),))
    rows = [{"Date": f"{y}{m:02}", "Region": r, "Amount": v} for (y, m, r), v in values.items()]
    table = decode_rows(json.dumps(rows).encode(), columns)
    wanted: dict[tuple[date, str], int] = {}
    for (year, month, region), value in values.items():
        quarter = (date(year, 3 * ((month - 1) // 3) + 1, 1), region)
        wanted[quarter] = wanted.get(quarter, 0) + value
    made = tidy(table, schema, "quarter").frame
    assert made.rows() == [(*key, float(value)) for key, value in sorted(wanted.items())]


def test_the_range_of_dates(facts: Facts) -> None:
    assert date_range(*facts(NAMES, [["202403", "A", 1], ["202401", "A", None], ["#", "A", 1]])) == (
        date(2024, 1, 1),
        date(2024, 3, 1),
    )
    assert date_range(*facts(NAMES, [["#", "A", 1]])) == (None, None)
    assert date_range(*facts(["Region", "Amount"], [["A", 1]])) == (None, None)
