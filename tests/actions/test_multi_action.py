"""Multi-actions against the sandbox: started once, followed to their end, and explained where they fail."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from sacnb import MemberPath, MultiAction, Tenant
from sacnb._actions.multi_action import Run, _value
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with
from sacnb.errors import ActionError, Cancelled, ForbiddenError, NotFoundError, QueryError, RequestError
from sacnb.sandbox import Sandbox
from sacnb.sandbox.actions import GROW_PLAN

PLAN = {"TargetVersion": "public.Plan", "Growth": 5}


@pytest.fixture
def connect(sandbox: Sandbox, tmp_path: Any, time: Any) -> Iterator[Callable[..., Tenant]]:
    """Connects with a token of a named user, as a login gives one, or of a technical one."""
    opened: list[Tenant] = []

    def connect(user: str) -> Tenant:
        token = sandbox._tokens.issue(user=user, login=user)["access_token"]
        settings = Settings.resolve(
            environ={}, tenant_url=sandbox.tenant_url, token=token, auth="static", cache_dir=str(tmp_path / user)
        )
        opened.append(connect_with(settings, clock=time.clock, sleep=time.sleep))
        return opened[-1]

    yield connect
    for tenant in opened:
        tenant.close()


pytestmark = pytest.mark.filterwarnings("ignore:A pasted token cannot be refreshed:sacnb.errors.DeprecatedTokenWarning")


@pytest.fixture
def tenant(connect: Callable[..., Tenant]) -> Tenant:
    return connect("planner")


@pytest.fixture
def grow(tenant: Tenant) -> MultiAction:
    return tenant.multi_action(GROW_PLAN)


def plan_of(tenant: Tenant, version: str = "public.Plan") -> pl.DataFrame:
    found = tenant.model("PLANNING").facts(where={"Version": version}).fetch().polars(decimals=True)
    return found.drop("Version").sort(pl.exclude("SignedData"))


def test_a_run_is_started_followed_and_has_written(grow: MultiAction, tenant: Tenant) -> None:
    run = grow.run(PLAN)
    assert (run.status, run.is_over) == ("running", False)
    done = run.wait()
    assert (done.status, done.is_over, done.messages.height) == ("successful", True, 0)
    assert done.started is not None
    actual = plan_of(tenant, "public.Actual")
    grown = [(one * Decimal("1.05")).quantize(Decimal("1e-7")) for one in actual["SignedData"]]
    assert plan_of(tenant)["SignedData"].to_list() == grown


def test_a_year_is_a_member_within_its_hierarchy(grow: MultiAction, tenant: Tenant) -> None:
    before = plan_of(tenant)
    year = plan_of(tenant, "public.Actual")["Date"].str.slice(0, 4).min()
    grow.run({**PLAN, "Year": MemberPath("(all)", str(year), hierarchy="YM")}).wait()
    after = plan_of(tenant)
    others = ~pl.col("Date").str.starts_with(str(year))
    assert after.filter(others).equals(before.filter(others))
    assert not after.filter(~others).equals(before.filter(~others))


def test_a_failed_step_is_told_and_the_steps_before_it_stay(
    grow: MultiAction, tenant: Tenant, sandbox: Sandbox
) -> None:
    sandbox.misbehave("action_fails", step=2)
    with pytest.raises(ActionError, match=r"failed: Step 2 has failed\.; The multi action could not be") as caught:
        grow.run(PLAN).wait()
    error = caught.value
    assert error.run.messages.select("severity", "code").rows() == [("ERROR", 502004000), ("ERROR", 502004003)]
    assert "The steps before the failed one have written" in str(error)
    assert plan_of(tenant).equals(plan_of(tenant, "public.Actual"))  # copied, and not grown
    copied = pickle.loads(pickle.dumps(error))
    assert copied.run.messages.equals(error.run.messages)
    with pytest.raises(QueryError, match="has no connection here"):
        copied.run.refresh()


@pytest.mark.parametrize("trouble", ["answer_lost", "reset_before_body", "error_504", "truncated_json"])
def test_a_start_whose_answer_is_lost_is_not_sent_again(grow: MultiAction, sandbox: Sandbox, trouble: str) -> None:
    # The first request is refused for its CSRF token, which no misbehaviour of the body strikes.
    sandbox.misbehave(trouble, on="action_start", times=1, after=0 if trouble == "truncated_json" else 1)
    with pytest.raises(ActionError, match="so it may be running") as caught:
        grow.run(PLAN)
    assert caught.value.run is None
    assert sandbox.counts["action_start_requests"] == 2


@pytest.mark.parametrize("messages", [None, True, 5, 1.5, "text", {"a": 1}, [], ["text", None]])
def test_messages_of_another_form_are_none(messages: Any) -> None:
    document = {"status": "SUCCESSFUL", "executionResult": {"messages": messages}}
    session: Any = SimpleNamespace(fetch=lambda *_, **__: SimpleNamespace(body=json.dumps(document).encode()))
    assert Run("t.A:B", "1", "running", None, (), session).refresh().messages.is_empty()


def test_a_status_whose_answer_is_lost_is_asked_again(grow: MultiAction, sandbox: Sandbox) -> None:
    sandbox.misbehave("answer_lost", on="action_status", times=1)
    sandbox.misbehave("error_503", on="action_status", times=1)
    assert grow.run(PLAN).wait().status == "successful"


def test_a_wait_ends_in_time_and_says_that_the_run_goes_on(grow: MultiAction, sandbox: Sandbox, time: Any) -> None:
    sandbox.misbehave("action_is_slow", polls=40)
    with pytest.raises(ActionError, match=r"is not over after 60 s \(status: running\)") as caught:
        grow.run(PLAN).wait(timeout_s=60)
    assert 60 <= time.clock() < 70
    with pytest.raises(Cancelled, match="the run continues in SAC"):
        caught.value.run.wait(cancelled=lambda: True)
    assert caught.value.run.wait().status == "successful"


def test_a_technical_user_is_told_that_a_named_one_is_needed(sandbox: Sandbox, connect: Callable[..., Tenant]) -> None:
    with pytest.raises(ForbiddenError, match="SAC lets named users run it, never a technical user") as caught:
        connect("").multi_action(GROW_PLAN).run(PLAN)
    assert caught.value.code == "596000998"


@pytest.mark.parametrize(
    ("action", "parameters", "error", "said"),
    [
        ("t.SANDBOX:OTHER", PLAN, NotFoundError, "Starter API URL"),
        (GROW_PLAN, {**PLAN, "TargetVersion": "public.plan"}, RequestError, "Ids are case-sensitive"),
        (GROW_PLAN, {**PLAN, "Groth": 1}, RequestError, "Compare names and types"),
        (GROW_PLAN, None, RequestError, "The parameter TargetVersion has no value"),
    ],
)
def test_what_sac_refuses_is_explained(
    tenant: Tenant, action: str, parameters: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        tenant.multi_action(action).run(parameters)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("public.Plan", {"memberIds": ["public.Plan"], "hierarchyId": None}),
        (["A", "B"], {"memberIds": ["A", "B"], "hierarchyId": None}),
        (MemberPath("(all)", "2026", hierarchy="YM"), {"memberIds": [["(all)", "2026"]], "hierarchyId": "YM"}),
        (3, 3),
        (0.1, 0.1),
        (Decimal("2.5"), 2.5),
    ],
)
def test_parameters_are_sent_as_sac_takes_them(value: Any, sent: Any) -> None:
    assert _value("P", value) == sent


@pytest.mark.parametrize(
    "value",
    [
        None, True, float("nan"), "", [], [1], ["A", MemberPath("B", hierarchy="H")], {"a": 1}, b"A",
        [MemberPath("A", hierarchy="H"), MemberPath("A", hierarchy="I")], Decimal("0.1234567890123456789"),
    ],
)  # fmt: skip
def test_other_values_are_refused_before_anything_is_sent(grow: MultiAction, sandbox: Sandbox, value: Any) -> None:
    with pytest.raises(QueryError, match="The parameter 'Growth'"):
        grow.run({**PLAN, "Growth": value})
    assert sandbox.counts["action_start_requests"] == 0


def test_the_views_of_a_run_hold_no_html_of_sac(grow: MultiAction) -> None:
    run = grow.run(PLAN)
    assert "running" in run._repr_html_()
    assert run.id in repr(run)
