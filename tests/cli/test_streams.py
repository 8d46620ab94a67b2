"""Terminals that know little: old encodings, no colour, no width, a reader that leaves."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from sacnb.cli.failures import ExitCode
from sacnb.cli.output import clean, make_tolerant, speaks_utf8
from sacnb.sandbox import Sandbox

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 東京", "plain, ünïcode, 東京"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("bell\x07 nul\x00 del\x7f csi\x9b", "bell\\x07 nul\\x00 del\\x7f csi\\x9b"),
        ("carriage\rreturn", "carriage\\x0dreturn"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(("encoding", "written"), [("cp1252", b"\xcele \\u6771"), ("ascii", b"\\xcele \\u6771")])
def test_a_stream_that_lacks_a_character_writes_its_escape(encoding: str, written: bytes) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    make_tolerant(stream)
    stream.write("Île 東")
    stream.flush()
    assert raw.getvalue() == written


@pytest.mark.parametrize(("encoding", "answer"), [("utf-8", True), ("UTF8", True), ("cp1252", False), ("ascii", False)])
def test_which_streams_can_write_everything(encoding: str, answer: bool) -> None:
    assert speaks_utf8(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is answer


def raw(*args: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sacnb", *args],
        capture_output=True,
        env={**os.environ, **environ},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_tables_survive_a_console_that_is_not_unicode(encoding: str, tenant: Sandbox) -> None:
    done = raw("members", "PLANNING", "Region", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    text = done.stdout.decode(encoding)
    assert ("Île-de-France" if encoding != "ascii" else "\\xcele-de-France") in text
    if encoding != "utf-8":
        assert "─" not in text


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_loses_nothing_on_such_a_console(encoding: str, tenant: Sandbox) -> None:
    plain = raw("members", "PLANNING", "Region", "--json", PYTHONIOENCODING=encoding)
    assert plain.stdout.isascii()
    full = raw("members", "PLANNING", "Region", "--json", PYTHONIOENCODING="utf-8")
    assert not full.stdout.isascii()
    assert json.loads(plain.stdout) == json.loads(full.stdout)


def test_lines_in_a_pipe_are_not_folded_and_have_no_blanks_at_their_end(run: Run, tenant: Sandbox) -> None:
    lines = run("members", "PLANNING", "Region").stdout.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert run("members", "PLANNING", "Region", environ={"COLUMNS": "30"}).stdout.count("\n") > len(lines)


@pytest.mark.skipif(os.name == "nt", reason="a closed pipe is another error there")
def test_a_reader_that_leaves_early_ends_the_program_quietly(tenant: Sandbox) -> None:
    with subprocess.Popen(
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
@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_progress_and_colour_are_for_terminals_and_no_color_is_respected(
    no_color: str, coloured: bool, tenant: Sandbox
) -> None:
    output = on_a_terminal("refresh", "US_EMPLOYMENT", NO_COLOR=no_color, TERM="xterm-256color")
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", output)
    assert "Refreshing US_EMPLOYMENT" in text
    assert "3420/3420 rows" in text
    assert ("\x1b[38;" in output) is coloured


def test_no_progress_where_nobody_watches(run: Run, tenant: Sandbox) -> None:
    done = run("refresh", "US_EMPLOYMENT")
    assert (done.returncode, done.stderr) == (0, "")


def on_a_terminal(*args: str, columns: int = 100, **environ: str) -> str:
    """What a person sees: stdout and stderr of the program on a pseudo-terminal."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
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
