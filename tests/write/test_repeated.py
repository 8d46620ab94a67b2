"""A step that is run again, after it ended or after an answer of it was lost, gives what one run gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from sales import facts, plan

from sacnb import Model
from sacnb.errors import ConfirmationError, WriteError
from sacnb.sandbox import Sandbox

STEPS = ("create", "upload", "validate", "run", "status")
MEMBERS = pl.DataFrame({"ID": ["S9", "S1"], "Description": ["New", "Renamed"]})


def members(model: Model) -> Any:
    return model.write_members("Store", MEMBERS)


def update(model: Model) -> Any:
    return model.write(plan(3), version="public.Plan")


def clean_and_replace(model: Model) -> Any:
    with pytest.raises(ConfirmationError) as caught:
        model.write(plan(3), version="public.Plan", method="CleanAndReplace")
    return model.write(plan(3), version="public.Plan", method="CleanAndReplace", confirm=caught.value.rows)


@pytest.mark.parametrize("step", [members, update, clean_and_replace])
def test_a_write_that_has_ended_can_be_run_again(step: Callable[[Model], Any], model: Model) -> None:
    step(model)
    once = facts(model), model.members("Store").rows()
    assert step(model).verified
    assert (facts(model), model.members("Store").rows()) == once


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        *((members, kind) for kind in STEPS),
        (update, "run"),
        *(pytest.param(update, kind, marks=pytest.mark.long) for kind in STEPS if kind != "run"),
    ],
)
def test_a_write_whose_answer_is_lost_ends_like_an_undisturbed_one(
    step: Callable[[Model], Any], kind: str, model: Model, sandbox: Sandbox
) -> None:
    sandbox.misbehave("answer_lost", on=f"import_{kind}", times=1, after=1 if kind == "create" else 0)
    assert step(model).verified
    sandbox.behave()
    once = facts(model), model.members("Store").rows()
    assert step(model).verified
    assert (facts(model), model.members("Store").rows()) == once


def test_an_undo_is_not_run_twice(model: Model) -> None:
    before = facts(model)
    report = model.write(plan(1), version="public.Plan")
    report.undo()
    assert facts(model) == before
    with pytest.raises(WriteError, match="not as they were written any more"):
        report.undo()
    assert facts(model) == before
