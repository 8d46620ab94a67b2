"""An undo leaves the facts exactly as they were before the write."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import polars as pl
import pytest
from sales import facts, plan

from sacnb import Model
from sacnb.errors import WriteError
from sacnb.sandbox import Sandbox

NEW_MONTH: dict[str, Any] = {"date": "202601"}


@pytest.mark.parametrize(
    ("frame", "arguments"),
    [
        (plan(7), {}),
        (plan(7), {"method": "Append"}),
        (plan(7).drop("Pieces"), {}),
        pytest.param(plan(3, **NEW_MONTH), {}, marks=pytest.mark.long),
        (pl.concat([plan(3), plan(5, **NEW_MONTH)]), {}),
        pytest.param(plan(3), {"method": "CleanAndReplace", "confirm": 5}, marks=pytest.mark.long),
        pytest.param(plan(3, **NEW_MONTH), {"method": "CleanAndReplace", "confirm": 0}, marks=pytest.mark.long),
        (pl.concat([plan(12), plan(2, **NEW_MONTH)]), {"method": "CleanAndReplace", "confirm": 15}),
        (plan(3), {"method": "CleanAndReplace", "confirm": 72, "scope": ["Version", "Store"]}),
    ],
)
def test_it_restores_the_slice_exactly(model: Model, frame: pl.DataFrame, arguments: dict[str, Any]) -> None:
    before = facts(model)
    actuals = facts(model, "public.Actual")
    report = model.write(frame, version="public.Plan", **arguments)
    assert facts(model) != before
    undone = report.undo()
    assert undone.verified
    assert facts(model) == before
    assert facts(model, "public.Actual") == actuals


def test_rows_that_somebody_changed_since_are_not_overwritten_without_a_word(model: Model) -> None:
    before = facts(model)
    report = model.write(plan(3), version="public.Plan")
    model.write(plan(1).with_columns(Amount=77), version="public.Plan")
    with pytest.raises(WriteError, match="1 rows are not as they were written any more") as caught:
        report.undo()
    assert caught.value.differences["difference"].to_list() == ["other"]
    report.undo(force=True)
    assert facts(model) == before


def test_what_cannot_be_removed_is_said(model: Model) -> None:
    report = model.write(plan(3), version="public.Empty")
    with pytest.raises(WriteError, match="had no rows before the write, and the import service cannot remove them"):
        report.undo()
    assert len(facts(model, "public.Empty")) == 3


def test_nothing_is_kept_if_that_is_not_wanted(model: Model, sandbox: Sandbox) -> None:
    report = model.write(plan(3), version="public.Plan", undo=False, verify=False)
    assert "facts" not in {entry.kind for entry in sandbox.log}
    assert (report.can_undo, report.changes, report.verified) == (False, None, None)
    with pytest.raises(WriteError, match="not kept"):
        report.undo()


def test_a_report_goes_to_another_process_and_leaves_the_way_back_behind(model: Model) -> None:
    report = model.write(plan(1), version="public.Plan", progress=None)
    there = pickle.loads(pickle.dumps(report))
    assert (there.facts(), there.can_undo, copy.deepcopy(report).can_undo) == (report.facts(), False, True)
    with pytest.raises(WriteError, match="cannot be undone"):
        there.undo()
    error = pickle.loads(pickle.dumps(WriteError("not as written", report=report, job_id="1", state="COMPLETED")))
    assert error.report.facts() == report.facts()
