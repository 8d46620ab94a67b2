"""The hints of errors about a result: each names a call that the user can make, with its real names."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from sacnb._odata.schema import Schema
from sacnb._results.result import Result
from sacnb.errors import PrecisionWarning, SacError

BOTH = {"base": "public.Plan", "against": "public.Actual"}
ROW = ["public.Plan", "202401", "N", 1, 2]


@pytest.fixture
def result(facts: Callable[..., tuple[pa.Table, Schema]], result_of: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that makes a result without some columns of its model."""

    def make(without: str, rows: list[list[Any]]) -> Result:
        columns = ["Version", "Date", "Region", "Amount", "Heads"]
        table, schema = facts(columns, rows, measures=("Amount", "Heads"))
        return result_of(table.drop_columns(without.split()), schema)

    return make


@pytest.mark.parametrize(
    ("without", "ask", "hint"),
    [
        ("Date", lambda one: one.tidy(), "Fetch it too: facts(dims=['Version', 'Region', 'Date'])."),
        ("Date", lambda one: one.tidy(date="Date"), "Fetch it too: facts(dims=['Version', 'Region', 'Date'])."),
        ("Date", lambda one: one.plot("year"), "Fetch it too: facts(dims=['Version', 'Region', 'Date'])."),
        ("Date", lambda one: one.plot(kind="line"), "Fetch it too: facts(dims=['Version', 'Region', 'Date'])."),
        (
            "Date Heads",
            lambda one: one.variance(**BOTH, grain="year"),
            "Fetch it too: facts(dims=['Version', 'Region', 'Date']).",
        ),
        ("Version Heads", lambda one: one.variance(**BOTH), "Fetch it too: facts(dims=['Date', 'Region', 'Version'])."),
        ("Region", lambda one: one.plot(by="Region"), "Fetch it too: facts(dims=['Version', 'Date', 'Region'])."),
        ("Heads", lambda one: one.plot(measure="Heads"), "Fetch it too: facts(measures=['Amount', 'Heads'])."),
        ("Amount Heads", lambda one: one.tidy(), "Fetch it too: facts(measures=['Amount'])."),
        ("", lambda one: one.variance(**BOTH), "Choose it: measure='Amount'."),
        ("", lambda one: one.plot(by="Version"), "Choose one measure: measure='Amount'."),
    ],
)
def test_a_hint_is_a_call_that_can_be_made(
    result: Callable[..., Result], without: str, ask: Callable[[Result], Any], hint: str
) -> None:
    with pytest.raises(SacError) as caught:
        ask(result(without, [ROW]))
    assert caught.value.hint == hint


def test_a_tidy_frame_does_not_ask_for_an_argument_that_it_lacks(result: Callable[..., Result]) -> None:
    exact = result("Heads", [["public.Plan", "202401", "N", "12345678901234567.5", 2]])
    for call, remedy in (
        (exact.tidy, "The result has all digits: result.arrow(), or result.polars(decimals=True)."),
        (exact.polars, "Ask for decimals=True."),
    ):
        with pytest.warns(PrecisionWarning) as warned:
            call()
        assert str(warned[0].message).endswith(remedy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact.polars(decimals=True)
        exact.arrow()
