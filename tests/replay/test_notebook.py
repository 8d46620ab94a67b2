"""A notebook is recorded in a kernel of its own, shown as it replays, and its cassette pruned to what it uses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

import sacnb.replay
from sacnb.errors import MissingExtraError, ReplayError
from sacnb.replay import document, prune, record_notebook
from sacnb.replay.notebook import Runner, _secrets_in

CONNECT = "import sacnb\nsac = sacnb.connect()"
FACTS = (
    "facts = sac.model('US_EMPLOYMENT').facts(where={'Sector': '31'}, since='2015-06').fetch()\n"
    "print(facts.arrow().num_rows, facts.info.last_refresh_time, sac.authenticate().expires_at)"
)
# As a thread and a hook that time the cells of a notebook do.
NOISE = (
    "import threading, time\n"
    "def beat():\n    while True:\n        print('still here')\n        time.sleep(0.001)\n"
    "threading.Thread(target=beat, daemon=True).start()\n"
    "get_ipython().events.register('post_run_cell', lambda result: print('time: 5 ms'))"
)


@pytest.fixture
def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a notebook into a folder of its own, beside a folder for cassettes; the tenant is the sandbox."""
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    (folder / "cassettes").mkdir()
    (folder / "notebooks").mkdir()

    def write(*cells: str, name: str = "story") -> Path:
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells)]
        path = folder / "notebooks" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


def printed(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return ["".join(output.get("text", "") for output in cell["outputs"]) for cell in cells]


def test_a_notebook_is_recorded_and_shows_what_its_replay_shows(write: Callable[..., Path], folder: Path) -> None:
    path = write(CONNECT, FACTS, "print(sac.cache, sac.cache.entries())")
    recording = record_notebook(path)
    cassette = folder / "cassettes" / "story.cassette.json"
    assert recording.cassettes == (cassette,)
    assert recording.interactions == len(document.read(cassette)[1]) == 3
    when = document.read(cassette)[0].recorded_at
    assert printed(path)[1] == f"14 {when} {when + timedelta(hours=1)}\n"
    assert len(printed(path)) == 3  # the cell that reports is not left in it
    language = nbformat.read(path, as_version=4).metadata["language_info"]
    assert language["file_extension"] == ".py"  # nbconvert --to script takes it from here
    assert "version" not in language


@pytest.mark.long
def test_what_a_notebook_does_not_use_is_dropped(write: Callable[..., Path], folder: Path) -> None:
    path = write(NOISE, CONNECT, "sac.models().height", FACTS)
    before = path.read_bytes()
    record_notebook(path, "more", write_outputs=False)
    assert path.read_bytes() == before
    cassette = folder / "cassettes" / "more.cassette.json"
    assert len(document.read(cassette)[1]) == 4
    pruned = prune("more", [write(CONNECT, FACTS, name="shorter")])
    assert (pruned.path, pruned.kept, pruned.dropped) == (cassette, 3, 1)
    assert all("Namespaces" not in request.uri for request, _ in document.read(cassette)[1])


def test_a_test_says_what_it_used(leaky: Any, folder: Path) -> None:
    import requests

    with sacnb.replay.cassette("x", "record"):
        for path in "abc":
            requests.get(f"{leaky.url}/{path}", timeout=5)
    with sacnb.replay.cassette("x") as session:
        requests.get(f"{leaky.url}/b", timeout=5)
    assert session is not None
    assert str(prune("x", used=session.summary().used)).endswith("x.cassette.json: 1 answers kept, 2 dropped.")
    with pytest.raises(ReplayError, match="Nothing of the cassette 'x' was used"):
        prune("x")


def test_a_notebook_whose_replay_asks_for_more_is_left_as_it_was(write: Callable[..., Path], folder: Path) -> None:
    more = "import os\nif os.environ['SAC_REPLAY'] == 'replay': sac.models()\nelse: sac.authenticate()"
    path = write(CONNECT, more)
    before = path.read_bytes()
    message = "Cell 2 of .* failed when it was replayed: ReplayError: The cassette 'story' has no answer to GET "
    with pytest.raises(ReplayError, match=message):
        record_notebook(path)
    assert path.read_bytes() == before
    assert (folder / "cassettes" / "story.cassette.json").is_file()


@pytest.mark.parametrize(
    ("shown", "requests", "message"),
    [
        ("2", 0, "sent no request to a tenant"),
        ("access_token=Zx8qP2" + "mLr4Tn9VbK1w", 1, "may hold a secret: story.ipynb:"),  # planted
    ],
)
def test_a_notebook_is_judged_by_what_its_kernels_report_and_show(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, shown: str, requests: int, message: str
) -> None:
    path = write("print('it')")
    before = path.read_bytes()

    def run(runner: Runner, mode: str, cassette: Path) -> tuple[Any, list[dict[str, Any]]]:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text=shown)]
        return notebook, [{"path": str(cassette), "mode": mode, "requests": requests}]

    monkeypatch.setattr(Runner, "run", run)
    with pytest.raises(ReplayError, match=message):
        record_notebook(path)
    assert path.read_bytes() == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("cells", "message", "is_recorded"),
    [
        pytest.param(["1 + 1"], "sent no request to a tenant", False, id="asks nothing"),
        pytest.param(
            [CONNECT, "sac.authenticate()\nprint('access_token=Zx8qP2' + 'mLr4Tn9VbK1w')"],
            "may hold a secret: story.ipynb:",
            True,
            id="shows a secret",
        ),
    ],
)
def test_a_notebook_that_does_not_go_through_is_left_as_it_was(
    write: Callable[..., Path], folder: Path, cells: list[str], message: str, is_recorded: bool
) -> None:
    path = write(*cells)
    before = path.read_bytes()
    with pytest.raises(ReplayError, match=message):
        record_notebook(path)
    assert path.read_bytes() == before
    assert (folder / "cassettes" / "story.cassette.json").exists() is is_recorded


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"nbformat": 4, "cells": 1}', "[" * 100_000, None])
def test_what_is_no_notebook_is_named(folder: Path, text: str | None) -> None:
    if text is not None:
        (folder / "x.ipynb").write_text(text, encoding="utf-8")
    with pytest.raises(ReplayError, match=r"x\.ipynb"):
        record_notebook(folder / "x.ipynb")


@pytest.mark.parametrize("other", [{}, {"SAC_REPLAY": "replay"}, {"SAC_PAGE_SIZE": "50,000"}])
def test_a_secret_of_the_settings_is_found_whatever_the_other_settings_are(folder: Path, other: dict[str, str]) -> None:
    (folder / ".env").write_text("SAC_CLIENT_SECRET=plain-words-of-mine-99\n", encoding="utf-8")  # planted
    output = nbformat.v4.new_output("stream", text="plain-words-of-mine-99")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show()", outputs=[output])])
    found = _secrets_in(notebook, nbformat.writes(notebook), "x.ipynb", other, folder)
    assert "cell 1 shows a secret of 22 characters" in found
    assert "plain-words" not in str(found)


def test_without_nbclient_it_says_what_to_install(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    with pytest.raises(MissingExtraError, match=r"Running a notebook .*sacnb\[replay\]"):
        record_notebook(write("1"))
