"""Streams: old encodings, no colour, no width, no console, a reader that leaves."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forking
import pytest
from click.testing import Result

from sacnb._rendering import printable
from sacnb.cli.failures import ExitCode
from sacnb.cli.output import make_tolerant, speaks_utf8
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 東京", "plain, ünïcode, 東京"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("bell\x07 nul\x00 del\x7f csi\x9b", "bell\\x07 nul\\x00 del\\x7f csi\\x9b"),
        ("carriage\rreturn", "carriage\\rreturn"),
        ("reversed \u202eabc", "reversed \\u202eabc"),
        ("half of a pair \ud83d", "half of a pair \\ud83d"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(("encoding", "written"), [("cp1252", b"\xcele \\u6771"), ("ascii", b"\\xcele \\u6771")])
def test_a_stream_that_lacks_a_character_writes_its_escape(encoding: str, written: bytes) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    make_tolerant(stream)
    stream.write("Île 東")
    stream.flush()
    assert raw.getvalue() == written


@pytest.mark.parametrize(("encoding", "answer"), [("utf-8", True), ("UTF8", True), ("cp1252", False), ("ascii", False)])
def test_a_stream_tells_if_it_can_write_every_character(encoding: str, answer: bool) -> None:
    assert speaks_utf8(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is answer


def raw(*args: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sacnb", *args],
        capture_output=True,
        env={**os.environ, **environ},
        timeout=60,
        check=False,
    )


def test_tables_survive_a_console_that_is_not_unicode(tenant: Sandbox) -> None:
    done = raw("members", "PLANNING", "Region", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"\\xcele-de-France" in done.stdout
    assert done.stdout.isascii()


def test_json_loses_nothing_on_such_a_console(invoke: Invoke, tenant: Sandbox) -> None:
    plain = raw("members", "PLANNING", "Region", "--json", PYTHONIOENCODING="cp1252")
    assert plain.stdout.isascii()
    full = invoke("members", "PLANNING", "Region", "--json")
    assert not full.stdout.isascii()
    assert json.loads(plain.stdout) == json.loads(full.stdout)


def test_lines_in_a_pipe_are_not_folded_and_have_no_blanks_at_their_end(
    invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = invoke("members", "PLANNING", "Region").stdout.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    monkeypatch.setenv("COLUMNS", "30")
    assert invoke("members", "PLANNING", "Region").stdout.count("\n") > len(lines)


def test_a_width_of_zero_is_no_width(invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = invoke("models").stdout
    monkeypatch.setenv("COLUMNS", "0")
    assert invoke("models").stdout == plain


def test_ids_stay_in_one_piece_in_a_narrow_terminal(
    invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    lines = invoke("models").stdout.splitlines()
    assert lines[0].split() == ["id", "US_EMPLOYMENT"]
    assert "" in lines  # each model by itself: three columns would break every word


def test_a_pipe_gets_one_line_for_each_record_and_no_rules(invoke: Invoke, tenant: Sandbox) -> None:
    head, *lines = invoke("models").stdout.splitlines()
    assert head.split() == ["id", "name", "description"]
    assert [line.split()[0] for line in lines[:3]] == ["US_EMPLOYMENT", "PLANNING", "SCALE"]
    assert lines[0].endswith("twelve months before, times 1.02.")
    assert "─" not in invoke("doctor").stdout


# One process for both, since most of its time is its start.
RUN_BOTH = """
def run(*arguments):
    sys.argv = ["sacnb", *arguments]
    runpy.run_module("sacnb", run_name="__main__")

try:
    run("refresh", "US_EMPLOYMENT")
except SystemExit as ended:
    code = ended.code
with open("first_code", "w") as file:
    file.write(str(code))
run("describe", "NO_SUCH")
"""


@pytest.mark.parametrize(
    "streams",
    [
        "sys.stdout = sys.stderr = sys.stdin = None",
        "sys.stdout.close(); sys.stderr.close()",
        "os.close(0); os.close(1); os.close(2); sys.stdin = sys.stdout = sys.stderr = None",
    ],
)
def test_a_job_without_a_console_works_and_returns_its_exit_code(streams: str, tenant: Sandbox, tmp_path: Path) -> None:
    """As pythonw does on Windows, and cron jobs with closed streams."""
    program = f"import os, sys, runpy\n{streams}\n" + RUN_BOTH
    done = forking.run([sys.executable, "-c", program], text=True, timeout=60)
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert "Unexpected" not in done.stderr
    assert Path("first_code").read_text(encoding="utf-8") == "0"
    assert len(list((tmp_path / "cache").glob("*.parquet"))) == 1


def test_an_export_to_a_stdout_that_is_not_there_is_refused(tenant: Sandbox) -> None:
    program = "import sys\nsys.stdout = None\nsys.argv = ['sacnb', 'export', 'SCALE', '--format', 'csv']\n"
    program += "from sacnb.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.USAGE
    assert "Name a file with --output" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error there")
def test_a_reader_that_leaves_early_ends_the_program_quietly(tenant: Sandbox) -> None:
    with forking.Forked(
        [sys.executable, "-m", "sacnb", "export", "SCALE", "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == ExitCode.NO_READER


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals there")
@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_progress_and_colour_are_for_terminals_and_no_color_is_respected(
    environ: dict[str, str], coloured: bool, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)  # an empty one counts before Rich 14
    output = on_a_terminal("refresh", "US_EMPLOYMENT", TERM="xterm-256color", **environ)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", output)
    assert "Refreshing US_EMPLOYMENT" in text
    assert "3420/3420 rows" in text
    assert ("\x1b[38;" in output) is coloured


def on_a_terminal(*args: str, columns: int = 100, **environ: str) -> str:
    """Return stdout and stderr of the program on a pseudo-terminal."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with forking.Forked(
        [sys.executable, "-m", "sacnb", *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **environ},
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # Linux says so when the other side has closed
                break
            if not chunk:
                break
            seen += chunk
        os.close(ours)
        assert process.wait(60) == 0, seen
    return seen.decode()
