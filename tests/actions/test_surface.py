"""Multi-actions at the command line and in the magics' words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sacnb.sandbox
from sacnb import MemberPath
from sacnb._actions.multi_action import read_parameters
from sacnb.cli.application import application
from sacnb.errors import QueryError
from sacnb.sandbox.actions import GROW_PLAN

pytestmark = pytest.mark.filterwarnings("ignore:A pasted token cannot be refreshed:sacnb.errors.DeprecatedTokenWarning")


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    with sacnb.sandbox.start(scale_rows=0) as sandbox:
        monkeypatch.setenv("SAC_TENANT_URL", sandbox.tenant_url)
        monkeypatch.setenv("SAC_AUTH", "static")
        monkeypatch.setenv("SAC_TOKEN", sandbox._tokens.issue(user="planner", login="planner")["access_token"])
        yield lambda *words: CliRunner().invoke(application, words)


def test_a_run_is_waited_for_and_can_be_followed(invoke: Callable[..., Result]) -> None:
    done = invoke("run", GROW_PLAN, "--member", "TargetVersion=public.Plan", "--number", "Growth=5", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["status"], found["messages"]) == ("successful", [])
    again = invoke("run", GROW_PLAN, "--run-id", found["run"])
    assert again.exit_code == 0
    assert "successful" in again.stdout
    assert invoke("run", GROW_PLAN, "--run-id", found["run"], "--number", "Growth=5").exit_code == 2


def test_what_sac_refuses_is_one_error_with_its_remedy(invoke: Callable[..., Result]) -> None:
    done = invoke("run", GROW_PLAN, "--member", "TargetVersion=public.Plan", "--number", "Growth=many")
    assert done.exit_code == 2
    assert "Growth=many is not a number" in done.stderr
    done = invoke("run", "t.OTHER:ONE")
    assert done.exit_code == 3
    assert "Starter API URL" in done.stderr


def test_typed_texts_become_parameters() -> None:
    members, paths = [("V", "public.Plan"), ("E", "A"), ("E", "B")], [("D", "YM:(all)/2026")]
    assert read_parameters(members, paths, [("N", "-3"), ("M", "0.5")]) == {
        "V": ["public.Plan"],
        "E": ["A", "B"],
        "D": [MemberPath("(all)", "2026", hierarchy="YM")],
        "N": -3,
        "M": 0.5,
    }


@pytest.mark.parametrize(
    ("members", "paths", "numbers"),
    [([], [("D", "(all)/2026")], []), ([("D", "A")], [("D", "H:A")], []), ([("D", "A")], [], [("D", "1")])],
)
def test_texts_that_contradict_are_refused(members: Any, paths: Any, numbers: Any) -> None:
    with pytest.raises(QueryError):
        read_parameters(members, paths, numbers)
