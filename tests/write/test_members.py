"""Members and their attributes, written before the facts that use them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from sales import facts, plan

from sacnb import Model
from sacnb._write.report import differs
from sacnb.errors import RowsError, UnknownNameError, WriteError
from sacnb.sandbox import Sandbox


def test_a_new_member_takes_facts_afterwards(model: Model) -> None:
    with pytest.raises(RowsError, match="unknown member"):
        model.write(plan(1).with_columns(Store=pl.lit("S9")), version="public.Plan")
    report = model.write_members("Store", pl.DataFrame({"ID": ["S9", "S1"], "Description": ["New", "Renamed"]}))
    assert (report.rows, report.verified, report.can_undo) == (2, True, False)
    members = dict(model.members("Store").select("id", "description").rows())
    assert (members["S9"], members["S1"], members["S2"]) == ("New", "Renamed", "S2")
    model.write(plan(1).with_columns(Store=pl.lit("S9")), version="public.Plan")
    assert ("public.Plan", "202401", "S9") in facts(model)


def test_what_members_returns_can_be_written_back(model: Model) -> None:
    frame = model.members("Store")
    assert model.write_members("Store", frame).verified
    assert model.members("Store").equals(frame)


@pytest.mark.parametrize(
    ("written", "found", "is_number", "same"),
    [
        ("NaN", "NaN", False, True),
        ("Infinity", "Infinity", False, True),
        ("007", "7", False, False),
        ("1.0", "1", False, False),
        ("", None, False, True),
        (Decimal("1.1000000"), 1.1, True, True),
        (Decimal("1E+2"), "100", True, True),
        (Decimal("0E-7"), None, True, False),
        (Decimal("0E-7"), 0, True, True),
        (Decimal("1.1"), "many", True, False),
        (None, None, True, True),
    ],
)
def test_texts_read_back_letter_by_letter_and_numbers_in_any_form(
    written: Any, found: Any, is_number: bool, same: bool
) -> None:
    assert differs(written, found, is_number=is_number) is not same


def test_problems_come_before_anything_is_sent(model: Model, sandbox: Sandbox) -> None:
    bad = pl.DataFrame({"ID": ["A", "A", None], "Description": ["x", "y", "z" * 300], "Colour": ["r", "g", "b"]})
    with pytest.raises(RowsError) as caught:
        model.write_members("Store", bad)
    assert caught.value.problems.select("row", "problem").rows() == [
        (None, "unknown column"), (0, "duplicate key"), (1, "duplicate key"), (2, "length"), (2, "null"),
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="Did you mean 'Store'"):
        model.write_members("Stores", bad)
    assert sandbox.counts["import_create_requests"] == 0


def test_members_that_do_not_arrive_are_noticed(model: Model, sandbox: Sandbox) -> None:
    frame = pl.DataFrame({"key": ["S9"], "text": ["New"]})
    mapping = {"ID": "key", "Description": "text"}
    assert model.write_members("Store", frame, mapping=mapping, dry_run=True).is_dry_run
    sandbox.misbehave("run_writes_nothing")
    with pytest.raises(WriteError, match="2 values of 'Store' read back are not as written"):
        model.write_members("Store", frame, mapping=mapping)
