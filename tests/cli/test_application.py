"""The command as a whole: its help, lazy loading, and failures as lines or as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points

import click
import pytest
from click.testing import Result

import sacnb
from sacnb.cli.application import COMMANDS, application
from sacnb.cli.failures import EXIT_CODES, ExitCode
from sacnb.errors import RowCountWarning

Invoke = Callable[..., Result]
HEAVY = ["pandas", "polars", "pyarrow", "numpy", "requests", "aiohttp", "altair", "IPython", "rich.table"]


def every_command() -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(application, info_name="sacnb")
    for name in application.list_commands(context):
        command = application.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", one) for sub, one in command.commands.items()]
    return found


@pytest.mark.parametrize("arguments", [["refresh", "--help"], ["export", "MODEL"]])
def test_help_and_mistakes_load_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['sacnb', *{arguments!r}]\n"
        "from sacnb.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()).isdisjoint(HEAVY)


def test_the_version_is_that_of_the_package(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert run("--version").stdout.strip() == f"sacnb {sacnb.__version__}"


def test_the_script_is_this_program() -> None:
    (script,) = entry_points(group="console_scripts", name="sacnb")
    assert script.value == "sacnb.cli:main"


def test_without_a_command_the_help_is_shown_and_names_every_command_and_exit_code(invoke: Invoke) -> None:
    shown = invoke()
    assert shown.exit_code == 0
    assert shown.output == invoke("--help").output
    for name in COMMANDS:
        assert f"\n  {name} " in shown.output
    for code, meaning in EXIT_CODES.items():
        assert f"{code:>3}  {meaning}\n" in shown.output


@pytest.mark.parametrize(("name", "command"), every_command(), ids=[name for name, _ in every_command()])
def test_every_command_says_what_it_does_in_a_line_that_is_not_cut(name: str, command: click.Command) -> None:
    short = command.get_short_help_str(limit=60)
    assert short.endswith((".", "?"))
    assert not short.endswith("...")
    # click keeps the help option of the first context, which other tests see.
    full = command.get_help(click.Context(command, info_name=name, help_option_names=["-h", "--help"]))
    assert "\b" not in full
    assert "\\b" not in full
    assert [line for line in full.splitlines() if len(line) > 80] == []
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name}: {parameter.opts}"


def test_a_mistyped_command_gets_the_nearest(invoke: Invoke) -> None:
    result = invoke("describ", "US_EMPLOYMENT")
    assert result.exit_code == ExitCode.USAGE
    assert "Did you mean 'describe'?" in result.stderr


def test_a_command_that_resembles_none_is_refused_as_well(invoke: Invoke) -> None:
    result = invoke("xyzzy")
    assert result.exit_code == ExitCode.USAGE
    assert "xyzzy" in result.stderr


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
    """``sacnb smoke`` with a mistake in it, whose message holds a secret."""

    def stumble() -> None:
        raise ZeroDivisionError("access_token=Zx8qP2mLr4Tn9VbK1w is not a number")  # planted

    monkeypatch.setattr("sacnb.cli.commands.check.recorded", stumble)
    return ZeroDivisionError


def test_a_bug_is_reported_as_one_without_a_traceback(broken: type[Exception], invoke: Invoke) -> None:
    result = invoke("smoke")
    assert result.exit_code == ExitCode.BUG
    first, second = result.stderr.splitlines()
    assert first == "Unexpected error, please report it: ZeroDivisionError: access_token=*** is not a number"
    assert "--verbose" in second


def test_verbose_shows_the_traceback_of_a_bug(broken: type[Exception], invoke: Invoke) -> None:
    result = invoke("-v", "smoke")
    assert result.exit_code == ExitCode.BUG
    assert "in stumble" in result.stderr
    assert "Zx8qP2" not in result.stderr


def test_warnings_of_sacnb_are_lines(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn() -> None:
        warnings.warn("rows are missing", RowCountWarning, stacklevel=1)
        warnings.warn("rows are missing", RowCountWarning, stacklevel=1)
        raise KeyboardInterrupt

    monkeypatch.setattr("sacnb.cli.commands.check.recorded", warn)
    result = invoke("smoke")
    assert result.stderr.splitlines()[:2] == ["Warning: rows are missing"] * 2


def test_an_interrupt_is_one_line(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sacnb.cli.commands.check.recorded", stop)
    result = invoke("smoke")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert result.stderr == "Interrupted. Cached results are unchanged.\n"


def test_a_refusal_of_the_operating_system_is_shown_in_words(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/data/out.csv")

    monkeypatch.setattr("sacnb.cli.commands.check.recorded", refuse)
    result = invoke("smoke")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr == "Error: Permission denied: /data/out.csv\n"


def test_settings_that_are_missing_are_all_named_at_once(invoke: Invoke) -> None:
    result = invoke("--tenant-url", "https://acme.eu10.hcs.cloud.sap", "models")
    assert result.exit_code == ExitCode.USAGE
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Error: 2 settings need a change. Run sacnb init in a terminal:")
    assert [line.split()[1] for line in lines[1:]] == ["SAC_CLIENT_ID", "SAC_CLIENT_SECRET"]


def test_an_env_file_that_is_not_there_is_named(invoke: Invoke) -> None:
    result = invoke("--env-file", "nowhere.env", "models")
    assert result.exit_code == ExitCode.USAGE
    assert "nowhere.env" in result.stderr


def test_json_has_an_error_object_for_every_failure(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = invoke("models", "--json")
    error = json.loads(failed.stdout)["error"]
    assert list(error) == ["type", "message", "hint", "details", "exit_code"]
    assert (error["type"], error["exit_code"]) == ("SettingsError", ExitCode.USAGE)
    assert failed.stderr.startswith("Error: ")
    wrong = invoke("models", "--jsn", "--json")
    assert json.loads(wrong.stdout)["error"]["type"] == "NoSuchOption"
    assert "--jsn" in wrong.stderr

    def stop() -> None:
        raise ZeroDivisionError("access_token=Zx8qP2mLr4Tn9VbK1w")  # planted

    monkeypatch.setattr("sacnb.cli.commands.check.log_to_stderr", stop)
    bug = invoke("doctor", "--json")
    assert json.loads(bug.stdout)["error"]["exit_code"] == bug.exit_code == ExitCode.BUG
    assert "Zx8qP2" not in bug.output


def test_without_json_an_error_leaves_stdout_empty(invoke: Invoke) -> None:
    assert invoke("models").stdout == ""
