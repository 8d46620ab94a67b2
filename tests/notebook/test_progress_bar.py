"""How far a pull is: a bar in a notebook, a line in a terminal, and nothing where outputs are compared."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import pytest

import sacnb.replay
from sacnb.export.progress import Progress
from sacnb.notebook import progress
from sacnb.sandbox import Sandbox
from sacnb.tenant import Tenant


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_written_over() -> None:
    terminal = Terminal()
    listen = progress(stream=terminal)
    listen(Progress(10, 1, 30, 0.0))
    listen(Progress(20, 2, 30, 0.1))  # too soon
    listen(Progress(30, 3, 30, 0.15))  # the last one is always shown
    assert terminal.getvalue() == "\r\x1b[K10 of 30 rows, 1 page\r\x1b[K30 of 30 rows, 3 pages\n"


def test_a_file_gets_nothing() -> None:
    file = io.StringIO()
    progress(stream=file)(Progress(30, 3, 30, 0.0))
    assert file.getvalue() == ""


def test_a_notebook_gets_a_bar_with_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    import IPython.display

    shown: list[Any] = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", shown.append)
    listen = progress()
    listen(Progress(15, 1, 30, 0.0))
    (box,) = shown
    bar, text = box.children
    assert isinstance(bar, widgets.FloatProgress)
    assert (bar.value, text.value) == (0.5, "<div>15 of 30 rows, 1 page</div>")
    listen(Progress(30, 2, None, 1.0))
    assert "30 rows, 2 pages" in text.value


def test_a_pull_tells_it(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    terminal = Terminal()
    facts = connect_to(sandbox, page_size=100).model("US_EMPLOYMENT").facts(where={"Sector": "31"})
    facts.fetch(progress=progress(stream=terminal))
    assert terminal.getvalue().endswith("\n")
    assert "228 of 228 rows, 3 pages" in terminal.getvalue()


def test_nothing_is_shown_while_a_cassette_is_in_use(tmp_path: Path) -> None:
    terminal = Terminal()
    with sacnb.replay.cassette(tmp_path / "a.yaml", mode="record"):
        progress(stream=terminal)(Progress(30, 3, 30, 0.0))
    assert terminal.getvalue() == ""
