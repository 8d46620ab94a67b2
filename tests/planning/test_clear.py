"""Slices emptied through the import service: with zeros, or deleted down to one row."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from sales import MONTHS, STORES, facts

from sacnb import Model
from sacnb.errors import ConfirmationError, QueryError, UnknownNameError
from sacnb.planning import clear

JANUARY = {"Date": ["202401"], "Store": ["S1"]}


def test_the_combinations_of_a_frame_get_zeros_and_nothing_else_changes(model: Model) -> None:
    before = facts(model)
    pairs = {"Date": [202401, 202402], "Store": ["S1", "S2"]}
    dry = clear(model, pairs, version="public.Plan", dry_run=True)
    assert dry.changes is not None
    assert dry.changes.height == 2
    assert facts(model) == before
    report = clear(model, pairs, version="public.Plan")
    zeros = {("public.Plan", "202401", "S1"): (0, 0), ("public.Plan", "202402", "S2"): (0, 0)}
    assert facts(model) == {**before, **zeros}
    report.undo()
    assert facts(model) == before


def test_a_dimension_that_is_left_out_is_cleared_as_a_whole_and_a_measure_can_stay(model: Model) -> None:
    before = facts(model)
    clear(model, {"Version": ["public.Plan"], "Date": ["202401"]}, measures="Amount")
    changed = {key: values for key, values in facts(model).items() if values != before[key]}
    assert changed == {
        ("public.Plan", "202401", store): (0, before["public.Plan", "202401", store][1]) for store in STORES
    }


def test_deleting_needs_the_number_of_rows_and_leaves_one_of_zeros(model: Model) -> None:
    with pytest.raises(ConfirmationError) as caught:
        clear(model, {"Date": ["202401"]}, version="public.Plan", delete=True)
    assert caught.value.rows == len(STORES)
    clear(model, {"Date": ["202401"]}, version="public.Plan", delete=True, confirm=len(STORES))
    january = {key: values for key, values in facts(model).items() if key[1] == "202401"}
    assert january == {("public.Plan", "202401", "S0"): (0, 0)}


def test_more_members_than_a_filter_takes_are_found_and_checked(model: Model) -> None:
    months = [*MONTHS, "202601", "202602", "202603", "202604", "202605", "202606", "202607"]
    with pytest.raises(UnknownNameError, match="There is no member '202601' in the dimension 'Date'"):
        clear(model, {"Date": months, "Store": ["S1"] * len(months)}, version="public.Plan")


@pytest.mark.parametrize(
    ("described", "arguments", "error", "message"),
    [
        (JANUARY, {}, QueryError, "No version is named"),
        ({**JANUARY, "Version": ["public.Plan"]}, {"version": "public.Plan"}, QueryError, "named twice"),
        ({"Stor": ["S1"]}, {"version": "public.Plan"}, UnknownNameError, "no dimension 'Stor'"),
        ({"Store": ["S9"]}, {"version": "public.Plan"}, UnknownNameError, "no member 'S9'"),
        ({"Store": [1.5]}, {"version": "public.Plan"}, QueryError, "must hold members as texts"),
        ({"Store": ["S1", None]}, {"version": "public.Plan"}, QueryError, "holds nulls"),
        ({"Store": []}, {"version": "public.Plan"}, QueryError, "must hold members as texts|has no rows"),
        (JANUARY, {"version": "public.Empty"}, QueryError, "has no facts with these members"),
        (JANUARY, {"version": "public.Plan", "measures": "Amuont"}, UnknownNameError, "no measure 'Amuont'"),
        (JANUARY, {"version": "public.Plan", "confirm": 1}, QueryError, "confirm belongs to delete=True"),
        (
            JANUARY,
            {"version": "public.Plan", "delete": True, "measures": "Amount"},
            QueryError,
            "with all their measures",
        ),
    ],
)
def test_what_describes_no_slice_is_refused(
    model: Model, described: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = facts(model)
    with pytest.raises(error, match=message):
        clear(model, pl.DataFrame(described), **arguments)
    assert facts(model) == before
