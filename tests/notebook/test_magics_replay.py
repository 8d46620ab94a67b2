"""``%sac_replay``: recorded in one notebook, replayed in the next, with the same lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sacnb.replay
from sacnb.errors import ReplayError, UsageError
from sacnb.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _nothing_stays_switched_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    (tmp_path / "project" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    yield
    sacnb.replay.stop()


@pytest.fixture
def tenant(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A tenant of the settings."""
    monkeypatch.setenv("SAC_TENANT_URL", sandbox.tenant_url)
    monkeypatch.setenv("SAC_TOKEN_URL", sandbox.token_url)
    monkeypatch.setenv("SAC_CLIENT_ID", sandbox.client_id)
    monkeypatch.setenv("SAC_CLIENT_SECRET", sandbox.client_secret)
    return sandbox


def test_a_notebook_is_recorded_and_replayed_by_the_same_lines(
    shell: Any, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell.run("%load_ext sacnb")
    said = shell.run("%sac_replay plan --record")
    assert repr(said) == "Recording plan. %sac_replay --stop saves it, or the end of the kernel."
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31")
    recorded = shell.user_ns["jobs"].polars()
    ended = repr(shell.run("%sac_replay --stop"))
    assert ended.startswith("plan.cassette.json: ")
    assert str(tmp_path) not in ended
    shell.run("%unload_ext sacnb")

    for name in ("SAC_TENANT_URL", "SAC_TOKEN_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    asked = tenant.counts["requests"]
    shell.run("%load_ext sacnb")
    said = repr(shell.run("%sac_replay plan"))
    assert said.startswith("Replaying plan: ")
    assert said.endswith(" UTC.")
    assert repr(shell.run("%sac_replay plan")) == said
    shell.run("%sac refresh US_EMPLOYMENT jobs --where Sector=31")
    assert shell.user_ns["jobs"].polars().equals(recorded)
    assert tenant.counts["requests"] == asked
    assert isinstance(shell.attempt("%sac members US_EMPLOYMENT Sector").error_in_exec, ReplayError)


def test_without_an_option_the_variable_decides(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_REPLAY", "off")
    shell.run("%load_ext sacnb")
    assert repr(shell.run("%sac_replay plan")) == "SAC_REPLAY is off: the magics query the tenant."
    assert repr(shell.run("%sac_replay --stop")) == "Nothing is being recorded or replayed."
    monkeypatch.setenv("SAC_REPLAY", "record")
    assert repr(shell.run("%sac_replay plan")).startswith("Recording plan.")


def test_mistakes_are_shown_without_a_traceback(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run("%load_ext sacnb")
    assert isinstance(shell.attempt("%sac_replay plan").error_in_exec, ReplayError)
    assert isinstance(shell.attempt("%sac_replay plan --stop").error_in_exec, UsageError)
    assert isinstance(shell.attempt("%sac_replay plan --recrod").error_in_exec, UsageError)
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert "There is no cassette 'plan'" in shown
    assert "Did you mean --record?" in shown
    assert "Traceback" not in shown


def test_it_has_a_manual(shell: Any) -> None:
    shell.run("%load_ext sacnb")
    shown = repr(shell.run("%sac_replay --help"))
    for word in ("--record", "--replay", "--stop", "cassette"):
        assert word in shown
    assert shell.object_inspect("%sac_replay")["docstring"].split() == shown.split()
