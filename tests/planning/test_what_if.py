"""Trials in a version: compared with the base, kept or taken back."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sales import MONTHS, STORES, facts, plan

from sacnb import Model
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb.errors import QueryError, RowsError, UnknownNameError, WriteError
from sacnb.planning import what_if
from sacnb.sandbox import Sandbox


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


MINE = "private.planner.Trial"


@pytest.fixture
def own(sandbox: Sandbox, model: Model, tmp_path: Path, time: Any) -> Iterator[Model]:
    """The model as a named user sees it."""
    token = sandbox._tokens.issue(user="planner", login="planner")["access_token"]
    settings = Settings.resolve(
        environ={}, tenant_url=sandbox.tenant_url, token=token, auth="static", cache_dir=str(tmp_path / "planner")
    )
    with connect_with(settings, clock=time.clock, sleep=time.sleep) as tenant:
        yield tenant.model(model.id)


@pytest.mark.filterwarnings("ignore:A pasted token cannot be refreshed:sacnb.errors.DeprecatedTokenWarning")
def test_a_private_trial_compares_what_was_written_and_gets_the_base_back(
    own: Model, model: Model, sandbox: Sandbox
) -> None:
    before = facts(model)
    with what_if(own, MINE, base="public.Plan") as trial:
        assert trial.is_private
        trial.write(plan(2))
        trial.write(plan(1).select("Date", "Store", Amount=Decimal("0.5")))
        found = trial.compare()
        assert trial.totals()["Amount_what_if"].to_list() == [Decimal("1.75")]
        written = sandbox.private_facts("SALES", "planner")
        assert written.select("Version", "Store", "Amount", "Pieces").sort("Store").rows() == [
            (MINE, "S0", Decimal("0.5"), 0),
            (MINE, "S1", Decimal("1.25"), 1),
        ]
    assert facts(model) == before
    assert found["Amount_what_if"].to_list() == [Decimal("0.5"), Decimal("1.25")]
    assert found["Pieces_what_if"].to_list() == [0, 1]
    back = sandbox.private_facts("SALES", "planner").sort("Store").select("Store", "Amount", "Pieces").rows()
    assert back == [(store, *before["public.Plan", "202401", store]) for store in ("S0", "S1")]
    assert not sandbox.private_facts("SALES", "controller").height


@pytest.mark.filterwarnings("ignore:A pasted token cannot be refreshed:sacnb.errors.DeprecatedTokenWarning")
def test_a_private_version_is_kept_and_another_one_is_unknown(own: Model, sandbox: Sandbox) -> None:
    with what_if(own, MINE, base="public.Plan") as trial:
        trial.write(plan(1))
        trial.keep()
    assert sandbox.private_facts("SALES", "planner")["Amount"].to_list() == [Decimal("0.25")]
    with (
        pytest.raises(UnknownNameError, match=r"no private version 'private\.planner\.Trail'.*planner\.Trial"),
        what_if(own, "private.planner.Trail", base="public.Plan"),
    ):
        pytest.fail("the block ran")
    with pytest.raises(RowsError, match="member does not exist: Version private"):
        own.write(plan(1), version="private.controller.Trial")


def test_a_technical_user_is_told_that_private_versions_need_a_named_one(model: Model, sandbox: Sandbox) -> None:
    with pytest.raises(UnknownNameError, match="belong to a named user"), what_if(model, MINE, base="public.Plan"):
        pytest.fail("the block ran")
    assert sandbox.counts["import_create_requests"] == 0


@pytest.mark.parametrize(
    ("version", "arguments", "error", "message"),
    [
        ("public.Plan", {"base": "public.Plan"}, QueryError, "needs a version of its own"),
        ("public.Trial", {"base": "public.Plan"}, UnknownNameError, "no version 'public.Trial'"),
        ("public.Plan", {"base": "private.Mine"}, QueryError, "those are not read"),
        ("public.Plan", {"base": "public.Actual", "where": {"Version": "x"}}, QueryError, "must not name 'Version'"),
        (None, {"base": "public.Actual"}, QueryError, "version must be text"),
        ("public.Plan", {"base": "public.Actual", "where": {"Shop": "x"}}, UnknownNameError, "'Shop'"),
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
