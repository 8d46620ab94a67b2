"""The sandbox in a process of its own: its settings work, and it ends at a signal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forking
import pytest
from click.testing import Result

from sacnb.cli.commands.sandbox import _misbehaviour
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import COMMON_OPTIONS, MISBEHAVIOURS

Invoke = Callable[..., Result]
VARIABLES = ["SAC_TENANT_URL", "SAC_TOKEN_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET"]


@contextmanager
def served(*args: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """``sacnb sandbox serve`` in its own process, and the lines it printed once it listened."""
    process = forking.Forked(
        [sys.executable, "-m", "sacnb", "sandbox", "serve", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, [process.stdout.readline() for _ in VARIABLES]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="the lines are for another shell there, and signals are other ones")
def test_its_lines_are_for_a_shell_and_for_a_dot_env_file_and_it_ends_when_it_is_told_to(
    invoke: Invoke, tmp_path: Path
) -> None:
    options = ("--misbehave", "token_lifetime=1800", "--client-id", "sb-me", "--scale-rows", "7")
    with served(*options) as (process, lines):
        assert [re.match(r"export (\w+)='[^']+'\n$", line)[1] for line in lines] == VARIABLES  # type: ignore[index]
        script = "".join(lines) + f'exec "{sys.executable}" -m sacnb refresh SCALE --json\n'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        (tmp_path / ".env").write_text("".join(lines))
        token = json.loads(invoke("auth-check", "--json").stdout)
        models = invoke("models")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert json.loads(done.stdout)["row_count"] == 7
    assert 1700 < token["remaining_s"] <= 1800
    assert "US_EMPLOYMENT" in models.stdout
    assert "SAC_CLIENT_ID='sb-me'" in lines[2]
    assert process.returncode == 0
    assert "The sandbox has stopped." in said


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("unauthorized", {}),
        ("unauthorized=3", {"times": 3}),
        ("token_lifetime=8", {"seconds": 8}),
        ("token_lifetime=2.5", {"seconds": 2.5}),
        ("next_link_looping=first", {"to": "first"}),
        ("expires_in=null", {"value": None}),
        ('expires_in="3600"', {"value": "3600"}),
        ("throttle_seconds:retry_after_s=0,times=2", {"retry_after_s": 0, "times": 2}),
        ("error_503:on=facts", {"on": "facts"}),
    ],
)
def test_how_a_misbehaviour_is_written(text: str, options: dict[str, Any]) -> None:
    assert _misbehaviour(text) == {"name": re.split("[:=]", text)[0], **options}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("error_599", "error_503"),
        ("error_599=1", "error_503"),
        ("error_503:colour=red", "has no option 'colour'"),
        ("error_503:on", "OPTION=VALUE"),
        ("token_lifetime:times=soon", "whole number"),
    ],
)
def test_a_misbehaviour_that_is_not_there_is_refused(text: str, said: str, invoke: Invoke) -> None:
    result = invoke("sandbox", "serve", "--misbehave", text)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr


def test_all_misbehaviours_are_listed(invoke: Invoke) -> None:
    table = invoke("sandbox", "misbehaviours").stdout
    listed = json.loads(invoke("sandbox", "misbehaviours", "--json").stdout)
    assert [one["name"] for one in listed["misbehaviours"]] == list(MISBEHAVIOURS)
    assert listed["common_options"] == dict(COMMON_OPTIONS)
    for name in (*MISBEHAVIOURS, *COMMON_OPTIONS):
        assert re.search(rf"^{name}\s", table, re.MULTILINE)


def test_a_port_that_is_taken_is_said_in_words(invoke: Invoke, tenant: Any) -> None:
    result = invoke("sandbox", "serve", "--port", tenant.tenant_url.rpartition(":")[2])
    assert result.exit_code == ExitCode.USAGE
    assert "in use" in result.stderr


def test_without_the_extra_the_command_to_install_it_is_said(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    result = invoke("sandbox", "serve")
    assert result.exit_code == ExitCode.USAGE
    assert 'pip install "sacnb[sandbox]"' in result.stderr
