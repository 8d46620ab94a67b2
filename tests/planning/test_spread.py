"""Totals spread over members: exact sums, fair parts, and everything that has no answer."""

from __future__ import annotations

import time
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sacnb.errors import QueryError, RowsError
from sacnb.planning import spread

STORES = pl.DataFrame({"Store": ["A", "B", "C"], "Amount": [1.0, 1.0, 1.0]})


def parts(frame: pl.DataFrame, measure: str = "Amount") -> list[Decimal]:
    return frame.get_column(measure).to_list()


@given(
    total=st.decimals(-(10**12), 10**12, places=3),
    weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=12),
    scale=st.integers(3, 7),
    sign=st.sampled_from([1, -1]),
)
def test_parts_add_up_and_none_is_a_unit_off(total: Decimal, weights: list[int], scale: int, sign: int) -> None:
    assume(sum(weights))
    reference = pl.DataFrame(
        {"Store": [f"{at:02}" for at in range(len(weights))], "Amount": [sign * w for w in weights]}
    )
    found = parts(spread(total, reference, measure="Amount", scale=scale))
    assert sum(found) == total
    unit = Fraction(1, 10**scale)
    for part, weight in zip(found, weights, strict=True):
        assert abs(Fraction(part) - Fraction(total) * weight / sum(weights)) < unit
    assert [-part for part in found] == parts(spread(-total, reference, measure="Amount", scale=scale))


def test_totals_of_many_digits_are_exact_whatever_the_programs_own_precision() -> None:
    total = Decimal("123456789012345678901234567890.12")
    frame = pl.DataFrame({"Amount": pl.Series([total], dtype=pl.Decimal(38, 2))})
    with localcontext(prec=5):
        found = parts(spread(frame, STORES))
        small = parts(spread(Decimal("1234567.89"), STORES))
    with localcontext(prec=60):
        assert (sum(found), sum(small)) == (total, Decimal("1234567.89"))


def test_a_total_that_is_no_number_is_refused() -> None:
    for total in (Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(QueryError, match="must be a number"):
            spread(total, STORES)


@given(
    totals=st.lists(st.integers(-500, 500), min_size=2, max_size=4),
    weights=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=4, max_size=4),
)
def test_each_total_of_several_keys_is_met_by_its_own_shares(totals: list[int], weights: list[list[int]]) -> None:
    months = [f"20250{at + 1}" for at in range(len(totals))]
    reference = pl.DataFrame(
        [(f"20250{m + 1}", "NSE"[s], w) for m, row in enumerate(weights) for s, w in enumerate(row)],
        schema=["Date", "Store", "Pieces"],
        orient="row",
    )
    frame = pl.DataFrame({"Version": "public.Plan", "Date": months, "Pieces": totals})
    found = spread(frame, reference, measure="Pieces", scale=0, zero="equal")
    assert found.columns == ["Version", "Date", "Store", "Pieces"]
    sums = found.group_by("Version", "Date", maintain_order=True).agg(pl.col("Pieces").sum())
    assert [int(value) for value in sums["Pieces"]] == totals
    assert found.height == 3 * len(totals)
    assert spread(frame, reference.reverse(), measure="Pieces", scale=0, zero="equal").equals(found)


def test_left_over_units_go_to_the_largest_remainder_then_weight_then_member() -> None:
    assert parts(spread(1, STORES, scale=2)) == [Decimal("0.34"), Decimal("0.33"), Decimal("0.33")]
    half = pl.DataFrame({"Store": ["A", "B", "C"], "Amount": [1.0, 3.0, 0.0]})
    assert parts(spread(2, half, scale=0)) == [0, 2, 0]  # 0.5 and 1.5: the larger weight gets the unit


def test_a_total_without_the_column_takes_the_same_shares_each_time() -> None:
    totals = pl.DataFrame({"Date": ["202501", "202502"], "Amount": [Decimal("10.00"), Decimal("0.01")]})
    found = spread(totals, STORES)
    assert found["Date"].to_list() == ["202501"] * 3 + ["202502"] * 3
    assert found.schema["Amount"] == pl.Decimal(38, 2)
    assert parts(found) == list(map(Decimal, ["3.34", "3.33", "3.33", "0.01", "0.00", "0.00"]))


def test_floats_are_spread_as_they_are_shown_at_the_scale_of_sac() -> None:
    found = spread(pl.DataFrame({"Amount": [0.1 + 0.2]}), STORES)
    assert sum(parts(found)) == Decimal("0.3")
    assert found.schema["Amount"] == pl.Decimal(38, 7)


def test_weights_that_are_empty_get_nothing_and_other_measures_are_left_out() -> None:
    reference = STORES.with_columns(pl.Series("Share", [0.25, None, 0.75]), Price=pl.lit(2.5))
    found = spread(100, reference, measure="Amount", weight="Share", scale=0)
    assert found.rows() == [("A", 25), ("B", 0), ("C", 75)]


@pytest.mark.parametrize("convert", [pl.DataFrame.lazy, pl.DataFrame.to_arrow, lambda f: pd.DataFrame(f.to_dicts())])
def test_any_frame_that_speaks_arrow_is_taken(convert: Any) -> None:
    assert spread(pa.table({"Amount": [3.0]}), convert(STORES))["Amount"].to_list() == [1, 1, 1]


def test_weights_of_both_signs_are_taken_when_asked() -> None:
    reference = pl.DataFrame({"Store": ["A", "B"], "Amount": [3.0, -1.0]})
    assert parts(spread(100, reference, signed=True, scale=0)) == [150, -50]


@pytest.mark.parametrize(
    ("totals", "reference", "problem"),
    [
        ({"Amount": [1.0]}, {"Store": ["A", "B"], "Amount": [0.0, None]}, "zero reference"),
        ({"Amount": [1.0]}, {"Store": ["A", "B"], "Amount": [1.0, -2.0]}, "mixed signs"),
        ({"Amount": [1.0]}, {"Store": ["A", "B"], "Amount": [1.0, float("nan")]}, "type"),
        ({"Amount": [float("inf")]}, {"Store": ["A"], "Amount": [1.0]}, "type"),
        ({"Amount": pl.Series([None], dtype=pl.Float64)}, {"Store": ["A"], "Amount": [1.0]}, "null"),
        ({"Amount": [Decimal("0.12345678")]}, {"Store": ["A"], "Amount": [1.0]}, "precision"),
        ({"Amount": [1.0]}, {"Store": ["A", "A"], "Amount": [1.0, 2.0]}, "duplicate key"),
        ({"Amount": [1.0, 2.0]}, {"Store": ["A"], "Amount": [1.0]}, "duplicate key"),
        ({"D": ["2"], "Amount": [1.0]}, {"D": ["1"], "Store": ["A"], "Amount": [1.0]}, "no reference"),
    ],
)
def test_what_cannot_be_spread_is_a_problem_with_its_row(
    totals: dict[str, Any], reference: dict[str, Any], problem: str
) -> None:
    with pytest.raises(RowsError) as caught:
        spread(pl.DataFrame(totals), pl.DataFrame(reference), scale=7)
    assert set(caught.value.problems["problem"]) == {problem}
    assert caught.value.problems["row"].null_count() == 0


def test_a_total_of_zero_needs_no_reference() -> None:
    assert parts(spread(0, STORES.with_columns(Amount=0.0))) == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "Nope"}, "totals has no column 'Nope'"),
        ({"weight": "Nope"}, "reference has no column 'Nope'"),
        ({"over": "Nope"}, "must name columns that the reference has"),
        ({"scale": 39}, "scale must be at most 38"),
        ({"zero": "maybe"}, "zero must be 'error' or 'equal'"),
        ({"signed": "yes"}, "signed must be True or False"),
        ({"totals": STORES}, "must name columns that the reference has"),
        ({"totals": STORES.with_columns(B=1.5)}, "measure is missing: totals has 2 columns"),
        ({"totals": {"Store": [1], "Amount": [1.0]}}, "'Store' is Int64 in totals and String in reference"),
        ({"totals": {"Amount": ["1"]}, "measure": "Amount"}, "must be numbers, and has the type String"),
        ({"totals": {"Amount": [1e37]}}, "more than the 38 digits"),
        ({"totals": "a frame"}, "must be a frame"),
    ],
)
def test_arguments_are_checked_at_the_door(arguments: dict[str, Any], message: str) -> None:
    given = {"totals": {"Amount": [1.0]}, **arguments}
    with pytest.raises(QueryError, match=message):
        spread(given.pop("totals"), STORES, **given)


def test_a_problem_of_each_total_costs_no_more_than_one() -> None:
    count = 3_000
    keys = [str(number) for number in range(count)]
    reference = pl.DataFrame({"Store": keys, "Date": ["202401"] * count, "Amount": [0.0] * count})
    started = time.process_time()
    with pytest.raises(RowsError) as caught:
        spread(pl.DataFrame({"Store": keys, "Amount": [1.0] * count}), reference)
    assert caught.value.problems.get_column("row").to_list() == list(range(count))
    assert time.process_time() - started < 0.5
