"""Connections break at every step of a write: each row is written once, or the error names the job and the way on."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import polars as pl
import pytest
from sales import facts, plan, sales

from sacnb import Model, Tenant
from sacnb.errors import SacError, WriteError
from sacnb.sandbox import Sandbox, start

KINDS = ["models", "jobs", "create", "upload", "validate", "run", "status"]
BREAKS = ["reset_before_body", "answer_lost", "truncated_json", "error_504"]


@pytest.mark.parametrize(
    ("kind", "breaks"),
    [
        *((kind, BREAKS if kind == "upload" else BREAKS[number % 2 :: 2]) for number, kind in enumerate(KINDS)),
        *(pytest.param(kind, BREAKS, marks=pytest.mark.long) for kind in KINDS if kind != "upload"),
    ],
)
def test_each_row_is_written_once_whatever_breaks(model: Model, sandbox: Sandbox, kind: str, breaks: list[str]) -> None:
    """Append would show a row that is written twice."""
    for broken in breaks:
        for after in (0, 1) if kind == "upload" else (0,):
            before = facts(model)
            sandbox.misbehave(broken, on=f"import_{kind}", times=1, after=after)
            report = model.write(plan(20), version="public.Plan", method="Append", rows_per_upload=7)
            sandbox.behave()
            assert report.verified
            added = {key: values[0] - before[key][0] for key, values in facts(model).items()}  # type: ignore[operator]
            assert sum(added.values()) == sum(Decimal(n) + Decimal("0.25") for n in range(20)), (broken, after)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        *((kind, "reset_before_body") for kind in ("models", "create", "run")),
        *((kind, "answer_lost") for kind in ("create", "upload", "run", "status")),
        *(
            pytest.param(kind, "reset_before_body", marks=pytest.mark.long)
            for kind in ("jobs", "upload", "validate", "status")
        ),
        *(pytest.param(kind, "answer_lost", marks=pytest.mark.long) for kind in ("models", "jobs", "validate")),
    ],
)
def test_where_it_goes_on_breaking_the_error_tells_what_is_known(
    model: Model, sandbox: Sandbox, kind: str, broken: str
) -> None:
    before = facts(model)
    sandbox.misbehave(broken, on=f"import_{kind}")
    error = failure_of(lambda: model.write(plan(5), version="public.Plan", method="Append"))
    sandbox.behave()
    changed = sum(values != before[key] for key, values in facts(model).items())
    if error is None:
        assert changed == 5
    elif kind == "models":
        assert changed == 0
    else:
        assert isinstance(error, WriteError)
        if "Nothing was written" in str(error):
            assert changed == 0
        else:
            assert changed in {0, 5}
            assert f"sacnb import --job {error.job_id}" in str(error)


def failure_of(call: Callable[[], object]) -> SacError | None:
    try:
        call()
    except SacError as error:
        return error
    return None


def test_an_upload_that_arrived_is_not_sent_again(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("answer_lost", on="import_upload", times=1)
    report = model.write(plan(5), version="public.Plan")
    assert sandbox.counts["import_upload_requests"] == 1
    assert report.notes == ("The answer to upload 1 was lost; the job has its rows.",)


def test_a_run_that_arrived_is_not_sent_again(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("answer_lost", on="import_run", times=1)
    report = model.write(plan(5), version="public.Plan", method="Append")
    assert sandbox.counts["import_run_requests"] == 1
    assert report.notes == ("The answer to the run was lost; the job says that it has begun.",)


def test_a_job_whose_creation_was_lost_is_found_in_the_list(model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("answer_lost", on="import_create", times=1, after=1)  # the first asks for a CSRF token
    model.write(plan(5), version="public.Plan")
    assert sandbox.counts["import_create_requests"] == 2


def test_two_thousand_rows_with_resets_at_every_step(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    sandbox.add_model(sales(store_count=84))
    model = connect_to(sandbox).model("SALES")
    old = model.facts(where={"Version": "public.Plan"}).fetch().polars(decimals=True)
    frame = old.with_columns(Amount=pl.int_range(old.height)).with_columns(
        # Half of the rows are new ones, in the months of the next two years.
        Date=pl.when(pl.int_range(old.height) % 2 == 0)
        .then("Date")
        .otherwise((pl.col("Date").cast(pl.Int32) + 200).cast(pl.String))
    )
    _write_and_undo(sandbox, model, old, frame, rows_per_upload=150)
    broken = {entry.kind for entry in sandbox.log if entry.misbehaviours}
    assert broken >= {f"import_{kind}" for kind in ("create", "upload", "validate", "run", "status")}


@pytest.mark.long
def test_a_hundred_thousand_rows_with_resets_at_every_step(connect_to: Callable[..., Tenant]) -> None:
    with start(scale_rows=100_000) as sandbox:
        model = connect_to(sandbox).model("SCALE")
        rows = model.facts(where={"Version": "public.Actual"}).fetch().polars(decimals=True)
        frame = rows.with_columns(Amount=pl.int_range(rows.height), Version=pl.lit("public.Plan"))
        model.write(frame.head(5), verify=False)
        old = model.facts(where={"Version": "public.Plan"}).fetch().polars(decimals=True)
        _write_and_undo(sandbox, model, old, frame, rows_per_upload=5_000)


def _write_and_undo(
    sandbox: Sandbox, model: Model, old: pl.DataFrame, frame: pl.DataFrame, *, rows_per_upload: int
) -> None:
    def plan_now() -> pl.DataFrame:
        return model.facts(where={"Version": "public.Plan"}).fetch().polars(decimals=True)

    sandbox.misbehave("reset_before_body", on="import", every=5)
    sandbox.misbehave("answer_lost", on="import", every=4, after=1)
    sandbox.misbehave("reset_mid_body", on="import_run", times=1)
    sandbox.misbehave("error_504", on="import_create", times=1)
    report = model.write(frame, rows_per_upload=rows_per_upload)
    sandbox.behave()
    assert report.verified
    keys = [column.name for column in model.schema.dimensions]
    found, kept = plan_now(), old.join(frame, on=keys, how="anti")
    assert found.height == kept.height + frame.height
    assert found.join(frame, on=keys).filter(pl.col("Amount") == pl.col("Amount_right")).height == frame.height
    assert found.join(kept, on=keys, how="semi").sort(keys).equals(kept.sort(keys))
    report.undo()
    assert plan_now().sort(keys).equals(old.sort(keys))
