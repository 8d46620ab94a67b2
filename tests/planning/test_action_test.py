"""A data action is compared with a formula, on random inputs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sacnb import Model, MultiAction, Tenant
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb.errors import ActionError, ContractError, QueryError, UnknownNameError
from sacnb.planning import ActionTest, data_action_test
from sacnb.sandbox import Sandbox
from sacnb.sandbox.actions import GROW_PLAN

pytestmark = pytest.mark.filterwarnings("ignore:A pasted token cannot be refreshed:sacnb.errors.DeprecatedTokenWarning")


@pytest.fixture
def tenant(sandbox: Sandbox, tmp_path: Path, time: Any) -> Iterator[Tenant]:
    token = sandbox._tokens.issue(user="planner", login="planner")["access_token"]
    settings = Settings.resolve(
        environ={}, tenant_url=sandbox.tenant_url, token=token, auth="static", cache_dir=str(tmp_path / "cache")
    )
    with connect_with(settings, clock=time.clock, sleep=time.sleep) as connected:
        yield connected


@pytest.fixture
def model(tenant: Tenant) -> Model:
    return tenant.model("PLANNING")


@pytest.fixture
def grow(tenant: Tenant) -> MultiAction:
    return tenant.multi_action(GROW_PLAN)


def grown(percent: str) -> Any:
    """The formula of the sandbox's action: actuals, grown."""
    factor = 1 + Decimal(percent) / 100

    def formula(inputs: pl.DataFrame) -> pl.DataFrame:
        values = [None if one is None else one * factor for one in inputs["SignedData"]]
        return inputs.drop("Version").with_columns(pl.Series("SignedData", values, dtype=pl.Decimal(38, 7)))

    return formula


def outcome_of(model: Model, grow: MultiAction, formula: Any, **options: Any) -> ActionTest:
    month = model.facts(where={"Version": "public.Actual"}).fetch().polars()["Date"].min()
    known = {
        "version": "public.Actual",
        "output": "public.Plan",
        "members": {"Date": [month]},
        "parameters": {"TargetVersion": "public.Plan", "Growth": 5},
        "rows": 20,
        "overwrite": True,
    }
    return data_action_test(model, grow, formula, **{**known, **options})


def test_an_action_that_does_what_the_formula_says_passes(model: Model, grow: MultiAction) -> None:
    test = outcome_of(model, grow, grown("5"))
    assert test.passed, test
    assert test.found.height == test.expected.height >= 20
    assert "as the formula" in repr(test)


def test_the_rows_that_differ_come_first_by_their_members(model: Model, grow: MultiAction) -> None:
    def wrong(inputs: pl.DataFrame) -> pl.DataFrame:
        made = grown("5")(inputs).sort(pl.exclude("SignedData"))
        return made.with_columns(
            pl.when(pl.int_range(pl.len()) == 1).then(pl.col("SignedData") + 1).otherwise("SignedData")
        ).slice(1)

    test = outcome_of(model, grow, wrong)
    assert test.differences["difference"].to_list() == ["unexpected", "other"]
    other = test.differences.row(1, named=True)
    assert other["SignedData_expected"] - other["SignedData_found"] == 1
    assert "2 of" in test._repr_html_()
    assert outcome_of(model, grow, wrong, tolerance=1).differences["difference"].to_list() == ["unexpected"]


def test_the_seed_gives_the_same_inputs(model: Model, grow: MultiAction) -> None:
    first, again, other = (outcome_of(model, grow, grown("5"), seed=seed) for seed in (1, 1, 2))
    assert first.inputs.equals(again.inputs)
    assert not first.inputs.equals(other.inputs)


def test_facts_are_not_overwritten_unasked(model: Model, grow: MultiAction, sandbox: Sandbox) -> None:
    with pytest.raises(QueryError, match=r"has [\d,]+ facts, which random values would overwrite"):
        outcome_of(model, grow, grown("5"), overwrite=False)
    assert sandbox.counts["import_create_requests"] == sandbox.counts["action_start_requests"] == 0


def test_a_failed_run_is_an_error(model: Model, grow: MultiAction, sandbox: Sandbox) -> None:
    sandbox.misbehave("action_fails", step=1)
    with pytest.raises(ActionError):
        outcome_of(model, grow, grown("5"))


REFUSED: list[tuple[dict[str, Any], tuple[type[Exception], str]]] = [
    ({"formula": None}, (QueryError, "formula must be a function")),
    ({"formula": lambda _: 1}, (QueryError, "must return a polars DataFrame, got a int")),
    ({"formula": lambda rows: rows.drop("SignedData")}, (QueryError, "missing")),
    ({"formula": lambda rows: pl.concat([rows, rows])}, (ContractError, "several rows with the same members")),
    ({"decimals": 8}, (QueryError, "decimals must be at most 7")),
    ({"tolerance": -1}, (QueryError, "tolerance must be a number")),
    ({"rows": 0}, (QueryError, "rows must be a whole number of at least 1")),
    ({"members": {"Nowhere": ["x"]}}, (UnknownNameError, "no dimension 'Nowhere'")),
    ({"members": {"Date": []}}, (QueryError, "must name members")),
    ({"members": {"Version": ["x"]}}, (QueryError, "name members of 'Version'")),
]


def test_arguments_are_checked(model: Model, grow: MultiAction, sandbox: Sandbox) -> None:
    for options, (error, message) in REFUSED:
        with pytest.raises(error, match=message):
            outcome_of(model, grow, **{"formula": grown("5"), **options})
    assert sandbox.counts["action_start_requests"] == 0
