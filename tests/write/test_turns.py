"""One import job of a model at a time: another write waits, or is refused with the job that it would wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sales import facts, plan

from sacnb import Model, Tenant
from sacnb.errors import BusyError, Cancelled
from sacnb.sandbox import Sandbox


def uploads(sandbox: Sandbox) -> list[str]:
    return [entry.kind for entry in sandbox.log if entry.kind in {"import_run", "import_upload"}]


def append(model: Model, **options: Any) -> Any:
    return model.write(plan(1, Pieces=Decimal(1)), version="public.Plan", method="Append", **options)


def test_a_second_write_waits_and_both_are_read_back_as_written(
    sandbox: Sandbox, connect_to: Callable[..., Tenant], model: Model
) -> None:
    other = connect_to(sandbox).model("SALES")  # another connection to the same tenant
    is_running, waits, seen = threading.Event(), threading.Event(), []
    pieces = facts(model)["public.Plan", "202401", "S0"][1]

    def hold(now: Any) -> None:
        if now.step == "run":
            is_running.set()
            assert waits.wait(30)

    def note(now: Any) -> None:
        seen.append(now.step)
        if now.step == "queue":
            waits.set()
            first.join(30)  # the clock of the test stands still meanwhile

    first = threading.Thread(target=append, args=(model,), kwargs={"progress": hold})
    first.start()
    assert is_running.wait(30)
    assert append(other, progress=note).verified
    assert seen[0] == "queue"
    assert uploads(sandbox) == ["import_upload", "import_run"] * 2
    assert facts(model)["public.Plan", "202401", "S0"][1] == pieces + 2  # type: ignore[operator]


def test_a_write_within_a_write_is_refused_and_names_the_job(model: Model, sandbox: Sandbox) -> None:
    caught: list[BusyError] = []

    def nested(now: Any) -> None:
        if now.step == "run":
            with pytest.raises(
                BusyError, match=r"was begun by this thread \(import job .*Nothing was written"
            ) as error:
                append(model)
            caught.append(error.value)

    report = append(model, progress=nested)
    assert caught[0].job_id == report.job_id
    assert uploads(sandbox) == ["import_upload", "import_run"]
    assert append(model).verified  # the model is free again


@pytest.mark.parametrize("options", [{"timeout_s": 5}, {"cancelled": lambda: True}])
def test_a_write_does_not_wait_for_ever(model: Model, sandbox: Sandbox, options: dict[str, Any]) -> None:
    ended: list[BaseException] = []

    def late() -> None:
        try:
            append(model, **options)
        except (BusyError, Cancelled) as error:
            ended.append(error)

    def hold(now: Any) -> None:
        if now.step == "run":
            thread = threading.Thread(target=late)
            thread.start()
            thread.join(30)

    job = append(model, progress=hold).job_id
    (error,) = ended
    assert isinstance(error, BusyError if "timeout_s" in options else Cancelled)
    assert "timeout_s" not in options or (f"has not ended after 5 s (import job {job})" in str(error))


def test_two_models_do_not_wait_for_each_other(sandbox: Sandbox, model: Model) -> None:
    def nested(now: Any) -> None:
        if now.step == "run":
            jobs = model._connection
            frame = {"Date": ["201507"], "Sector": ["31"], "Employees": [1]}
            Model(jobs, "US_EMPLOYMENT", "sac").write(frame, version="public.Plan", verify=False)

    assert append(model, progress=nested).verified


def test_running_jobs_of_other_programs_are_told(
    model: Model, sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    sandbox.misbehave("import_is_slow", polls=1000, times=1)
    with pytest.raises(Exception, match="has not ended after 0 s") as caught:
        append(model, timeout_s=0)
    report = append(model)
    assert any(f"SAC lists other running jobs of 'SALES': {caught.value.job_id}" in one for one in report.notes)  # type: ignore[attr-defined]
