"""Trials in a version: compared with the base, kept or taken back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from sales import MONTHS, STORES, facts, plan

from sacnb import Model, WriteReport
from sacnb.errors import QueryError, UnknownNameError, WriteError
from sacnb.planning import what_if


def test_a_trial_is_compared_and_taken_back(model: Model) -> None:
    before = facts(model)
    with what_if(model, "public.Plan", base="public.Actual", where={"Date": "202401"}) as trial:
        trial.write(plan(2))
        trial.write(plan(1).with_columns(Amount=100))
        found = trial.compare()
        totals = trial.totals("Date")
        assert facts(model) != before
        assert "2 writes to keep or discard" in repr(trial)
    assert found.columns[:4] == ["change", "Date", "Store", "Amount_base"]
    assert found.filter(Store="S0").row(0) == ("changed", "202401", "S0", 0, 100, 100, 0, 0, 0)
    assert found["Store"].to_list() == STORES
    assert totals["Date"].to_list() == ["202401"]
    base, tried, difference = totals.select("Amount_base", "Amount_what_if", "Amount_difference").row(0)
    assert tried - base == difference
    assert tried == 100 + Decimal("1.25") + sum(before["public.Plan", "202401", store][0] or 0 for store in STORES[2:])
    assert facts(model) == before


def test_what_is_kept_stays(model: Model) -> None:
    with what_if(model, "public.Plan", base="public.Actual") as trial:
        trial.write(plan(1))
        trial.keep()
        trial.write(plan(1).with_columns(Amount=100))
    assert facts(model)["public.Plan", "202401", "S0"] == (Decimal("0.25"), 0)


def test_rows_of_an_empty_version_cannot_be_removed_and_get_zeros(model: Model) -> None:
    with what_if(model, "public.Empty", base="public.Plan") as trial:
        trial.write(plan(2))
        kinds = dict(trial.compare().group_by("change").len().iter_rows())
        assert kinds == {"changed": 2, "missing": len(MONTHS) * len(STORES) - 2}
    assert set(facts(model, "public.Empty").values()) == {(0, 0)}


def test_an_error_in_the_block_takes_the_trial_back_and_stays_the_error(model: Model) -> None:
    before = facts(model)

    def work() -> None:
        with what_if(model, "public.Plan", base="public.Actual") as trial:
            trial.write(plan(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert facts(model) == before


def test_changes_of_others_are_not_overwritten(model: Model) -> None:
    def work() -> None:
        with what_if(model, "public.Plan", base="public.Actual") as trial:
            trial.write(plan(1))
            model.write(plan(1).with_columns(Amount=7), version="public.Plan", undo=False)

    with pytest.raises(WriteError, match="are not as they were written"):
        work()
    assert facts(model)["public.Plan", "202401", "S0"][0] == 7


class OwnVersion(Model):
    """A model whose private version ``private.Mine`` is kept in ``public.Empty``: the sandbox has no named users."""

    def write(self, frame: object, **options: Any) -> WriteReport:
        assert options.pop("version") == "private.Mine"
        return super().write(frame, version="public.Empty", verify=False, undo=False, **options)


def test_a_private_trial_compares_what_was_written_and_gets_the_base_back(model: Model) -> None:
    own = OwnVersion(model._connection, "SALES")
    with what_if(own, "private.Mine", base="public.Plan") as trial:
        assert trial.is_private
        trial.write(plan(2))
        trial.write(plan(1).select("Date", "Store", Amount=Decimal("0.5")))
        found = trial.compare()
        assert trial.totals()["Amount_what_if"].to_list() == [Decimal("1.75")]
    before = facts(model)
    assert found["Amount_what_if"].to_list() == [Decimal("0.5"), Decimal("1.25")]
    assert found["Pieces_what_if"].to_list() == [0, 1]
    back = {("public.Empty", "202401", store): before["public.Plan", "202401", store] for store in ("S0", "S1")}
    assert facts(model, "public.Empty") == back


@pytest.mark.parametrize(
    ("version", "arguments", "error", "message"),
    [
        ("public.Plan", {"base": "public.Plan"}, QueryError, "needs a version of its own"),
        ("public.Trial", {"base": "public.Plan"}, UnknownNameError, "no version 'public.Trial'"),
        ("public.Plan", {"base": "private.Mine"}, QueryError, "those are not read"),
        ("public.Plan", {"base": "public.Actual", "where": {"Version": "x"}}, QueryError, "must not name 'Version'"),
        (None, {"base": "public.Actual"}, QueryError, "version must be text"),
    ],
)
def test_versions_are_checked_before_anything_is_written(
    model: Model, version: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message), what_if(model, version, **arguments):
        pytest.fail("the block ran")


def test_a_frame_with_versions_is_refused(model: Model) -> None:
    with what_if(model, "public.Plan", base="public.Actual") as trial:
        with pytest.raises(QueryError, match=r"writes into 'public\.Plan' only"):
            trial.write(plan(1, Version="public.Actual"))
        with pytest.raises(UnknownNameError):
            trial.totals("Shop")
        assert trial.compare().filter(pl.col("change") != "changed").is_empty()
