"""What a shell completes, and that pressing Tab asks nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]


def completed(*words: str) -> list[str]:
    """What bash would offer for the last of ``words``."""
    done = subprocess.run(
        [sys.executable, "-m", "sacnb"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_SACNB_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["sacnb", *words]),
            "COMP_CWORD": str(len(words)),
        },
    )
    assert done.stderr == ""
    return [line.split(",", 1)[1] for line in done.stdout.splitlines() if line]


@pytest.fixture
def kept(invoke: Invoke, tenant: Sandbox) -> str:
    return str(json.loads(invoke("refresh", "US_EMPLOYMENT", "--json").stdout)["cache_key"])


def test_commands_and_options(kept: str) -> None:
    assert completed("re") == ["refresh", "replay"]
    assert "--max-age-s" in completed("refresh", "X", "--max")


def test_model_ids_come_from_the_cache_and_not_from_the_tenant(kept: str, tenant: Sandbox) -> None:
    before = tenant.counts["requests"]
    assert completed("describe", "US") == ["US_EMPLOYMENT"]
    assert completed("refresh", "") == ["US_EMPLOYMENT"]
    assert completed("members", "PLAN") == []
    assert tenant.counts["requests"] == before


def test_cache_keys(kept: str) -> None:
    assert completed("cache", "show", "us") == [kept]
    assert completed("cache", "repair", "--key", "us") == [kept]


@pytest.mark.parametrize(("name", "value"), [("SAC_PAGE_SIZE", "many"), ("SAC_CACHE_DIR", "/dev/null/nowhere")])
def test_settings_that_are_wrong_complete_nothing_and_say_nothing(
    name: str, value: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert completed("describe", "") == []


@pytest.mark.parametrize(
    ("shell", "marker"), [("bash", "complete -o"), ("zsh", "#compdef sacnb"), ("fish", "complete ")]
)
def test_the_script_of_each_shell_and_how_to_install_it(shell: str, marker: str, invoke: Invoke) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert marker in result.stdout
    assert "_SACNB_COMPLETE" in result.stdout
    assert f"sacnb completion {shell} > " in result.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_accepts_the_script(invoke: Invoke, tmp_path: Path) -> None:
    script = tmp_path / "complete.bash"
    script.write_text(invoke("completion", "bash").stdout)
    done = subprocess.run(
        ["bash", "-c", f". '{script}' && complete -p sacnb"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("sacnb\n")


def test_another_shell_is_refused_with_those_there_are(invoke: Invoke) -> None:
    result = invoke("completion", "powershell")
    assert result.exit_code == ExitCode.USAGE
    assert "'fish'" in result.stderr


def test_cassettes_are_those_from_here_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("cassettes/plan", "cassettes/plain", "notebooks/own"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.cassette.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert completed("replay", "prune", "") == ["own", "plain", "plan"]
    assert completed("replay", "record", "x.ipynb", "--cassette", "pla") == ["plain", "plan"]
    assert completed("replay", "") == ["prune", "record", "scan"]
