"""Chains of steps: what has ended is not run again, and what may have happened is asked for, or refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forking
import polars as pl
import pytest
from sales import facts, plan, sales

from sacnb import Model, Tenant
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb._write.service import delete_job, read_job
from sacnb.errors import ActionError, QueryError, RowsError, StepError, WriteError
from sacnb.planning import Steps, checkpoint
from sacnb.sandbox import Sandbox
from sacnb.sandbox.actions import GROW_PLAN

NAME = "close 2026-11"


class Chain:
    """Opens the checkpoint of a test anew, as a rerun does."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def __call__(self, work: Callable[[Steps], Any]) -> Any:
        with checkpoint(self.tenant, NAME) as steps:
            return work(steps)

    @property
    def record(self) -> Path:
        (path,) = (self.tenant.cache.directory / ".steps").glob("*.json")
        return path


@pytest.fixture
def tenant(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Tenant:
    sandbox.add_model(sales())
    return connect_to(sandbox)


@pytest.fixture
def chain(tenant: Tenant) -> Chain:
    return Chain(tenant)


@pytest.fixture
def model(tenant: Tenant) -> Model:
    return tenant.model("SALES")


def append(steps: Steps, model: Model, frame: pl.DataFrame | None = None) -> dict[str, Any]:
    return steps.write("append", model, plan(3) if frame is None else frame, method="Append", version="public.Plan")


def test_a_rerun_returns_what_the_steps_returned_and_runs_none(chain: Chain, model: Model, sandbox: Sandbox) -> None:
    calls: list[str] = []

    def work(steps: Steps) -> list[Any]:
        rows = steps.step("refresh", lambda: calls.append("refresh") or {"rows": (1, 2)}, repeatable=True)
        return [rows, append(steps, model)]

    first = chain(work)
    before, jobs = facts(model), sandbox.counts["import_create_requests"]
    assert chain(work) == first
    assert first[0] == {"rows": [1, 2]}
    assert (first[1]["state"], first[1]["rows"], first[1]["verified"]) == ("COMPLETED", 3, True)
    assert (calls, facts(model), sandbox.counts["import_create_requests"]) == (["refresh"], before, jobs)
    chain(lambda steps: steps.forget())
    chain(work)
    assert (calls, facts(model) != before) == (["refresh", "refresh"], True)


@pytest.mark.parametrize("step", [None, ["a"], 5, b"a", ""])
def test_names_of_steps_are_texts(chain: Chain, step: Any) -> None:
    for use in (lambda steps: steps.step(step, lambda: 1), lambda steps: steps.settle(step)):
        with pytest.raises(QueryError):
            chain(use)
    if step is not None:
        with pytest.raises(QueryError):
            chain(lambda steps: steps.forget(step))


def test_a_record_that_cannot_be_written_stops_the_chain(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/cache/.steps/close.json")

    monkeypatch.setattr("sacnb.planning.steps.write_file", full)
    calls: list[int] = []
    with pytest.raises(StepError, match=r"cannot be written \(No space left on device: /cache/.steps/close.json\)"):
        chain(lambda steps: steps.step("a", lambda: calls.append(1)))
    assert not calls, "what cannot be recorded is not run"
    monkeypatch.setattr("sacnb.planning.steps.make_private_folder", full)
    with pytest.raises(StepError, match="cannot be written"):
        chain(lambda steps: None)


@pytest.mark.skipif(os.name == "nt", reason="kills by POSIX signals")
def test_a_process_killed_while_its_append_runs_has_appended_once(sandbox: Sandbox, tmp_path: Path, time: Any) -> None:
    sandbox.add_model(sales())
    sandbox.misbehave("import_is_slow", polls=20)
    access = {
        "tenant_url": sandbox.tenant_url,
        "token_url": sandbox.token_url,
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "cache_dir": str(tmp_path / "killed"),
    }
    command = [sys.executable, str(Path(__file__).with_name("chain.py")), NAME]
    with forking.Forked(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(access))
        process.stdin.close()
        for _ in process.stdout:  # a line each time it asks whether it is cancelled
            if sandbox.counts["import_status_requests"]:
                break
        process.kill()
    runs = sandbox.counts["import_run_requests"]
    with connect_with(Settings.resolve(environ={}, **access), clock=time.clock, sleep=time.sleep) as tenant:
        once = facts(tenant.model("SALES"))
        ended = Chain(tenant)(lambda steps: append(steps, tenant.model("SALES")))
        assert (ended["state"], ended["rows"], ended["verified"]) == ("COMPLETED", 3, None)
        assert facts(tenant.model("SALES")) == once
        assert once["public.Plan", "202401", "S1"][1] == 121 + 1  # pieces before, and those of the plan
    assert sandbox.counts["import_run_requests"] == runs


def interrupted(chain: Chain, model: Model, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Begin an append, and let the process end at a step of its import job, as a kill would."""

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"sacnb._write.job.ImportJob.{step}", die)
        patch.setattr("sacnb._write.job.ImportJob.delete", lambda _: False)  # a killed process deletes nothing
        with pytest.raises(Killed):
            chain(lambda steps: append(steps, model))


def test_a_job_that_was_not_run_yet_is_deleted_and_the_write_begun_anew(
    chain: Chain, model: Model, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = facts(model)
    interrupted(chain, model, monkeypatch, "validate")
    assert chain(lambda steps: append(steps, model))["verified"] is True
    assert sandbox.counts["import_delete_requests"] > 0
    assert facts(model)["public.Plan", "202401", "S1"][1] == before["public.Plan", "202401", "S1"][1] + 1  # type: ignore[operator]


def test_a_job_that_was_about_to_run_is_run(
    chain: Chain, model: Model, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = facts(model)
    interrupted(chain, model, monkeypatch, "run")
    assert facts(model) == before
    created = sandbox.counts["import_create_requests"]
    assert chain(lambda steps: append(steps, model))["state"] == "COMPLETED"
    assert sandbox.counts["import_create_requests"] == created
    assert facts(model)["public.Plan", "202401", "S1"][1] == before["public.Plan", "202401", "S1"][1] + 1  # type: ignore[operator]


def test_an_append_whose_job_is_gone_is_refused_until_somebody_has_looked(
    chain: Chain, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(chain, model, monkeypatch, "wait")
    once = facts(model)
    job_id = json.loads(chain.record.read_bytes())["steps"]["append"]["job"]
    session = model._connection.context.session
    assert read_job(session, job_id)["jobstatus"] == "COMPLETED"
    delete_job(session, job_id)
    with pytest.raises(StepError, match=rf"import job {job_id} is gone.*steps\.settle\('append'\)") as caught:
        chain(lambda steps: append(steps, model))
    assert caught.value.step == "append"
    chain(lambda steps: steps.settle("append", "looked"))
    assert chain(lambda steps: steps.ended) == {"append": "looked"}
    assert facts(model) == once


def test_an_update_whose_job_is_gone_is_written_again(
    chain: Chain, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(steps: Steps) -> dict[str, Any]:
        return steps.write("update", model, plan(3), version="public.Plan")

    monkeypatch.setattr("sacnb._write.carry.ImportJob.wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        chain(update)
    monkeypatch.undo()
    monkeypatch.setattr("sacnb.planning.steps.finish", lambda *_, **__: ("GONE", None))
    assert chain(update)["verified"] is True


def test_rows_that_read_back_otherwise_are_not_taken_for_done(chain: Chain, model: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("run_writes_nothing", times=1)
    with pytest.raises(WriteError, match="are not as written"):
        chain(lambda steps: append(steps, model))
    with pytest.raises(StepError, match="did not read back as they were written"):
        chain(lambda steps: append(steps, model))


def test_other_input_is_refused(chain: Chain, model: Model) -> None:
    chain(lambda steps: append(steps, model))
    before = facts(model)
    with pytest.raises(StepError, match="with other input than now"):
        chain(lambda steps: append(steps, model, plan(2)))
    with pytest.raises(StepError, match="with other input than now"):
        chain(lambda steps: steps.step("append", lambda: None))
    assert facts(model) == before


def test_a_step_that_may_have_happened_is_not_called_again_unless_it_is_repeatable(chain: Chain) -> None:
    calls: list[str] = []

    def fail() -> None:
        calls.append("called")
        raise ZeroDivisionError

    for repeatable, error in ((True, ZeroDivisionError), (True, ZeroDivisionError), (False, StepError)):
        with pytest.raises(error):
            chain(lambda steps, may=repeatable: steps.step("mail", fail, repeatable=may))
    assert len(calls) == 2
    chain(lambda steps: steps.forget("mail"))
    assert chain(lambda steps: steps.step("mail", lambda: 7)) == 7


def test_what_fails_before_anything_is_sent_leaves_no_step(chain: Chain, model: Model) -> None:
    with pytest.raises(RowsError):
        chain(lambda steps: append(steps, model, plan(1, Store="NORTH")))
    assert chain(lambda steps: append(steps, model))["rows"] == 3


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda steps, _: [steps.step("a", lambda: 1), steps.step("a", lambda: 2)], "Two steps .* are called 'a'"),
        (lambda steps, _: steps.step("a", None), "work must be a function"),
        (lambda steps, _: steps.step(" ", lambda: 1), "name must be text"),
        (lambda steps, _: steps.step("a", lambda: 1, repeatable="no"), "repeatable must be True or False"),
        (lambda steps, _: steps.step("a", lambda: {1, 2}), "returned a set, which JSON has not"),
        (lambda steps, _: steps.step("a", lambda: float("nan")), "returned a float, which JSON has not"),
        (lambda steps, model: steps.write("a", model, plan(1), dry_run=True), "dry_run writes nothing"),
    ],
)
def test_arguments_and_values_are_checked(chain: Chain, model: Model, work: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        chain(lambda steps: work(steps, model))


def test_the_record_is_private_and_damage_is_noticed(chain: Chain, tenant: Tenant) -> None:
    chain(lambda steps: steps.step("a", lambda: 1))
    path = chain.record
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(path.read_bytes().replace(b'"value":1', b'"value":2'))
    with pytest.raises(StepError, match="is damaged"):
        chain(lambda steps: steps.ended)
    with checkpoint(tenant, "other") as steps:
        assert repr(steps) == "Steps('other'): none has begun"


def test_two_at_once_are_refused(chain: Chain) -> None:
    with pytest.raises(StepError, match="is running in another process or thread"):
        chain(lambda _: chain(lambda _: None))


# -- multi-actions -----------------------------------------------------------------------------------------------------

PLAN = {"TargetVersion": "public.Plan", "Growth": 5}


@pytest.fixture
def planner(sandbox: Sandbox, tmp_path: Path, time: Any) -> Any:
    token = sandbox._tokens.issue(user="planner", login="planner")["access_token"]
    settings = Settings.resolve(
        environ={}, tenant_url=sandbox.tenant_url, token=token, auth="static", cache_dir=str(tmp_path / "planner")
    )
    with connect_with(settings, clock=time.clock, sleep=time.sleep) as tenant:
        yield Chain(tenant)


def grow(chain: Chain, parameters: Any = None) -> dict[str, Any]:
    action = chain.tenant.multi_action(GROW_PLAN)
    found: dict[str, Any] = chain(lambda steps: steps.run("grow", action, parameters or PLAN, timeout_s=60))
    return found


pytestmark = pytest.mark.filterwarnings("ignore:A pasted token cannot be refreshed:sacnb.errors.DeprecatedTokenWarning")


def test_a_run_that_goes_on_is_waited_for_and_not_started_again(planner: Chain, sandbox: Sandbox) -> None:
    sandbox.misbehave("action_is_slow", polls=20)
    with pytest.raises(ActionError, match="is not over after 60 s"):
        grow(planner)
    starts = sandbox.counts["action_start_requests"]
    assert grow(planner)["status"] == "successful"
    assert grow(planner)["status"] == "successful"
    assert sandbox.counts["action_start_requests"] == starts


@pytest.mark.parametrize(
    ("trouble", "options", "said"),
    [
        ("answer_lost", {"on": "action_start", "times": 1, "after": 1}, "got no answer, and SAC has no list of runs"),
        ("action_fails", {"step": 2, "times": 1}, "Steps before the failed one have written"),
    ],
)
def test_a_run_that_may_have_written_is_not_started_again(
    planner: Chain, sandbox: Sandbox, trouble: str, options: dict[str, Any], said: str
) -> None:
    sandbox.misbehave(trouble, **options)
    with pytest.raises(ActionError):
        grow(planner)
    starts = sandbox.counts["action_start_requests"]
    with pytest.raises(StepError, match=said):
        grow(planner)
    assert sandbox.counts["action_start_requests"] == starts


def test_a_refused_start_may_be_corrected(planner: Chain) -> None:
    with pytest.raises(Exception, match="The parameter TargetVersion has no value"):
        grow(planner, {"Growth": 5})
    assert grow(planner)["status"] == "successful"
