"""The cassettes of this project: recorded from the sandbox, without a secret, and replayed without a network."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import forking
import pytest

import sacnb
import sacnb.replay
from sacnb.replay import document, scan_text

ROOT = Path(__file__).parents[2]
CASSETTES = sorted((ROOT / "cassettes").glob("*.json"))
SHIPPED: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("regenerate.py")))
STORIES = SHIPPED["STORIES"]


def test_there_is_one_for_each_story() -> None:
    assert set(STORIES) <= {path.name.removesuffix(".cassette.json") for path in CASSETTES}


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: path.name)
def test_a_cassette_says_that_it_comes_from_the_sandbox(path: Path) -> None:
    about, interactions = document.read(path)
    assert about.source == "sandbox"
    assert interactions
    text = path.read_text(encoding="utf-8")
    assert "a pretend tenant" in text
    assert document.to_text(about, interactions) == text  # nobody has edited it by hand


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: path.name)
def test_a_cassette_holds_no_secret_and_no_canary(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert list(scan_text(text, path=path.name)) == []
    assert "canary" not in text.lower()
    for request, response in document.read(path)[1]:
        assert request.uri.startswith(("https://tenant.replay.invalid/", "https://token.replay.invalid/"))
        assert set(request.headers) <= {"Accept", "Content-Type"}
        assert not {"set-cookie", "date", "x-vcap-request-id"} & {name.lower() for name in response["headers"]}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_replayed_as_the_sandbox_tells_it_today(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = STORIES[name](sacnb.connect("sandbox"))
    monkeypatch.chdir(ROOT)
    with sacnb.replay.cassette(name) as session:
        assert STORIES[name](sacnb.connect()) == live
    assert session is not None
    assert session.summary().used == tuple(range(session.summary().interactions))


def test_a_recording_of_today_is_the_shipped_file_to_the_byte(folder: Path) -> None:
    """If this fails, the sandbox answers otherwise than it did: python tests/replay/regenerate.py."""
    for summary in SHIPPED["record"](folder):
        shipped = ROOT / "cassettes" / summary.path.name
        about, _ = document.read(shipped)
        _, recorded = document.read(summary.path)
        assert document.to_text(about, recorded) == shipped.read_text(encoding="utf-8")


def test_a_colleague_without_a_tenant_needs_one_variable_and_the_name(tmp_path: Path) -> None:
    """In a process of its own, with nothing else set, and with every socket of Python's broken."""
    program = (
        "import socket\n"
        "def broken(*_): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.getaddrinfo = broken\n"
        "import sacnb\n"
        "print(sacnb.connect().models().height)\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAC_")}
    done = forking.run(
        [sys.executable, "-c", program],
        env={
            **kept,
            "SAC_REPLAY": "replay",
            "SAC_REPLAY_CASSETTE": str(ROOT / "cassettes" / "first_read.cassette.json"),
        },
        cwd=tmp_path,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")
