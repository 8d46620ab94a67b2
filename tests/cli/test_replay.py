"""The scan as a command: exit code 1 on findings, and no secret in its own output."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from sacnb.cli.application import Invocation
from sacnb.cli.commands.replay import _variables
from sacnb.cli.failures import ExitCode

Invoke = Callable[..., Result]
# Put together here, so that this file itself passes the scan.
SECRET = "Zx8qP2" + "mLr4Tn9V" + "bK1w"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "clean.txt").write_text("nothing here\n")
    return tmp_path


def test_the_profile_named_before_the_command_reaches_the_kernel() -> None:
    assert _variables(Invocation(profile="prod")) == {"SAC_PROFILE": "prod"}


def test_a_clean_folder_is_said_to_be_clean(invoke: Invoke, folder: Path) -> None:
    result = invoke("replay", "scan")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No secrets found.\n")
    assert json.loads(invoke("replay", "scan", "--json").stdout) == []


def test_a_secret_is_found_named_by_place_and_not_repeated(invoke: Invoke, folder: Path) -> None:
    (folder / "cassette.yaml").write_text(f"headers:\n  x-csrf-token: {SECRET}\n")
    result = invoke("replay", "scan")
    assert result.exit_code == ExitCode.NO
    assert result.stdout.startswith("cassette.yaml:2: value of a secret key: ")
    assert SECRET not in result.output
    found = invoke("replay", "scan", "--json", "cassette.yaml", "clean.txt")
    assert found.exit_code == ExitCode.NO
    assert SECRET not in found.output
    assert [list(finding) for finding in json.loads(found.stdout)] == [["path", "line", "kind", "shown"]]


def test_the_secrets_of_the_settings_are_looked_for_and_never_shown(invoke: Invoke, folder: Path) -> None:
    # As .env would hold it; nothing about its shape gives it away.
    secret = "correct horse battery staple"
    (folder / ".gitignore").write_text(".env\n")
    (folder / ".env").write_text(
        "SAC_TENANT_URL=https://acme.eu10.hcs.cloud.sap\n"
        "SAC_TOKEN_URL=https://acme.authentication.eu10.hana.ondemand.com/oauth/token\n"
        "SAC_CLIENT_ID=sb-example\n"
        f"SAC_CLIENT_SECRET='{secret}'\n"
    )
    assert invoke("replay", "scan").exit_code == 0
    (folder / "notes.txt").write_text(f"the word is: {secret}!\n")
    result = invoke("replay", "scan")
    assert result.exit_code == ExitCode.NO
    assert "a secret of this machine's settings" in result.stdout
    assert secret not in result.output


def test_a_secret_too_short_to_tell_is_not_looked_for(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    monkeypatch.setenv("SAC_CLIENT_SECRET", "here")
    assert invoke("replay", "scan").exit_code == 0


def test_without_settings_the_scan_still_runs_and_says_so_if_asked(invoke: Invoke, folder: Path) -> None:
    assert "Scanning for the shapes of secrets only" in invoke("-v", "replay", "scan").stderr


def test_a_path_that_is_not_there_is_refused(invoke: Invoke) -> None:
    result = invoke("replay", "scan", "nowhere")
    assert result.exit_code == ExitCode.USAGE
    assert "nowhere" in result.stderr
