"""Completion in a shell, from this machine and never over the network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem
from click.testing import CliRunner, Result

from sacnb.cli.application import application
from sacnb.cli.completion import Bash, install_bash
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]
BREAKS = "\"'@><=;|&(:"


def completed(*words: str) -> list[str]:
    """Return the completions that bash gets for the last of *words*."""
    install_bash()
    environ = {
        "_SACNB_COMPLETE": "bash_complete",
        "COMP_LINE": " ".join(["sacnb", *words]),
        "COMP_WORDBREAKS": BREAKS,
    }
    done = CliRunner().invoke(application, [], prog_name="sacnb", env=environ)
    assert (done.exit_code, done.stderr) == (0, "")
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
def test_wrong_settings_complete_nothing_and_print_nothing(
    name: str, value: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert completed("describe", "") == []


@pytest.mark.parametrize(
    ("shell", "marker"), [("bash", "complete -o"), ("zsh", "#compdef sacnb"), ("fish", "complete ")]
)
def test_each_shell_has_a_script_and_instructions(shell: str, marker: str, invoke: Invoke) -> None:
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


def test_another_shell_is_refused_with_the_known_ones(invoke: Invoke) -> None:
    result = invoke("completion", "powershell")
    assert result.exit_code == ExitCode.USAGE
    assert "'fish'" in result.stderr


def test_cassettes_are_found_in_this_folder_and_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("cassettes/plan", "cassettes/plain", "notebooks/own"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.cassette.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert completed("replay", "prune", "") == ["own", "plain", "plan"]
    assert completed("replay", "record", "x.ipynb", "--cassette", "pla") == ["plain", "plan"]
    assert completed("replay", "") == ["prune", "record", "scan"]


COLON = "sap.epm:Best_Run_Juice"


@pytest.mark.parametrize(
    ("typed", "value", "reply"),
    [
        # bash replaces what follows the last word break, so the reply must not repeat the rest.
        ("sap", COLON, COLON),
        ("sap.epm:", COLON, "Best_Run_Juice"),
        ("sap.epm:B", COLON, "Best_Run_Juice"),
        (r"sap.epm\:B", COLON, COLON),
        ("'sap.epm:B", COLON, COLON),
        ("Pl", "Plan 2025", r"Plan\ 2025"),
        (r"Plan\ 2", "Plan 2025", r"Plan\ 2025"),
        ("'Plan 2", "Plan 2025", "Plan 2025"),
        ('"Plan 2', "Plan 2025", "Plan 2025"),
        ("'Plan 2025'", "Plan 2025", r"Plan\ 2025"),
        ("Plan:a", "Plan:a b$c'd", r"a\ b\$c\'d"),
        ("'O", "O'Hare", r"O'\''Hare"),
        ('"x', 'x"$y', r"x\"\$y"),
        ("--cassette=my", "my plan", r"my\ plan"),
        ("Î", "Île de France", r"Île\ de\ France"),
    ],
)
def test_a_completion_is_quoted_and_fits_the_word_of_bash(
    typed: str, value: str, reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", f"sacnb replay prune {typed}")
    monkeypatch.setenv("COMP_WORDBREAKS", BREAKS)
    bash = Bash(application, {}, "sacnb", "_SACNB_COMPLETE")
    assert bash.format_completion(CompletionItem(value)) == f"plain,{reply}"
    assert bash.get_completion_args()[0] == ["replay", "prune"]


def test_without_the_colon_among_the_word_breaks_the_whole_id_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "sacnb describe sap.epm:B")
    monkeypatch.setenv("COMP_WORDBREAKS", BREAKS.replace(":", ""))
    bash = Bash(application, {}, "sacnb", "_SACNB_COMPLETE")
    assert bash.get_completion_args() == (["describe"], "sap.epm:B")
    assert bash.format_completion(CompletionItem(COLON)) == f"plain,{COLON}"


def test_a_script_of_an_earlier_version_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "sacnb\nre")
    monkeypatch.setenv("COMP_CWORD", "1")
    bash = Bash(application, {}, "sacnb", "_SACNB_COMPLETE")
    assert bash.complete() == "plain,refresh\nplain,replay"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_at_a_real_prompt_tab_completes_ids_with_colons_and_names_with_blanks(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pexpect = pytest.importorskip("pexpect")
    (tmp_path / ".git").mkdir()
    for name in ("my plan", COLON):
        (tmp_path / f"{name}.cassette.json").write_text("{}")
    (tmp_path / "complete.bash").write_text(invoke("completion", "bash").stdout)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TERM": "dumb"}
    shell = pexpect.spawn(
        "/bin/bash", ["--norc", "--noprofile", "-i"], env=environ, cwd=tmp_path, encoding="utf-8", timeout=60
    )
    shell.sendline('bind "set enable-bracketed-paste off"; . ./complete.bash; echo rea""dy')
    shell.expect("\nready")
    for typed, completed in (("my", r"my\ plan "), ("sap.epm:B", f"{COLON} ")):
        shell.send(f"echo; sacnb replay prune {typed}\t")
        shell.expect_exact(f"sacnb replay prune {completed}")
        shell.send("\x15")
    shell.close(force=True)
