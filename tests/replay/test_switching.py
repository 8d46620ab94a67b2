"""Cassettes are switched on and off by blocks, calls and variables, and everything is put back."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import forking
import pytest
import requests
from loopback import LoopbackServer
from requests.adapters import HTTPAdapter

import sacnb
import sacnb.replay
from sacnb.errors import (
    MissingExtraError,
    ReplayError,
    SettingsError,
)
from sacnb.replay.session import ReplaySession

WHEN = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)


def fetch(context: Any, path: str, **arguments: Any) -> bytes:
    body: bytes = context.session.fetch(arguments.pop("method", "GET"), path, operation="read", **arguments).body
    return body


class TestOnAndOff:
    @pytest.fixture
    def recorded(self, leaky: Any, ask: Callable[[], Any]) -> str:
        with sacnb.replay.cassette("kept", "record"):
            fetch(ask(), "/api/v1/a")
        leaky.seen.clear()
        return f"{leaky.url}/api/v1/a"

    def test_everything_is_as_before_when_it_ends(self, recorded: str, leaky: Any) -> None:
        send, connect = HTTPAdapter.send, socket.socket.connect
        with contextlib.suppress(ZeroDivisionError), sacnb.replay.cassette("kept"):
            assert HTTPAdapter.send is not send
            assert requests.get(recorded, timeout=5).json() == {}
            raise ZeroDivisionError
        assert HTTPAdapter.send is send
        assert socket.socket.connect is connect
        assert "connect" not in vars(socket.socket)
        assert leaky.seen == []
        requests.get(recorded, timeout=5)
        assert leaky.seen == ["/api/v1/a"]

    def test_a_recording_that_ends_with_an_error_is_not_kept(
        self, recorded: str, leaky: Any, text_of: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        before = text_of("kept")
        with contextlib.suppress(ZeroDivisionError), sacnb.replay.cassette("kept", "record"):
            requests.get(f"{leaky.url}/other", timeout=5)
            raise ZeroDivisionError
        assert text_of("kept") == before
        assert "not kept" in caplog.text

    def test_a_new_recording_takes_the_place_of_the_old_one(
        self, recorded: str, leaky: Any, text_of: Callable[[str], str]
    ) -> None:
        with sacnb.replay.cassette("kept", "record"):
            requests.get(f"{leaky.url}/other", timeout=5)
        assert "/other" in text_of("kept")
        assert "/api/v1/a" not in text_of("kept")

    @pytest.mark.parametrize("mode", ["record", "replay"])
    def test_requests_to_an_allowed_host_pass_the_cassette_by(self, mode: str, recorded: str, leaky: Any) -> None:
        with contextlib.closing(LoopbackServer()) as other:
            host = other.url.removeprefix("http://")
            with sacnb.replay.cassette("kept", mode, allow_hosts=[host]) as session:
                assert session is not None
                assert requests.get(recorded, timeout=5).json() == {}
                assert requests.get(f"{other.url}/beside", timeout=5).status_code == 200
                assert session.summary().requests == 1
        assert leaky.seen == (["/api/v1/a"] if mode == "record" else [])

    def test_a_block_within_a_block_counts_until_it_ends(self, recorded: str, leaky: Any) -> None:
        with sacnb.replay.cassette("kept") as outer:
            with sacnb.replay.cassette("inner", "record") as inner:
                assert sacnb.replay.active() is inner
                requests.get(f"{leaky.url}/other", timeout=5)
            assert sacnb.replay.active() is outer
            assert requests.get(recorded, timeout=5).json() == {}
            with pytest.raises(ReplayError, match="'kept' has no answer to GET /other"):
                requests.get(f"{leaky.url}/other", timeout=5)
        assert leaky.seen == ["/other"]

    @pytest.mark.parametrize(
        ("variables", "arguments", "mode", "name"),
        [
            ({}, ("kept",), "replay", "kept"),
            ({"SAC_REPLAY": "replay", "SAC_REPLAY_CASSETTE": "kept"}, (), "replay", "kept"),
            ({"SAC_REPLAY": "record", "SAC_REPLAY_CASSETTE": "other"}, ("kept", "replay"), "replay", "kept"),
            ({"SAC_REPLAY": "record"}, ("new",), "record", "new"),
            ({"SAC_REPLAY_CASSETTE": "new"}, (None, "record"), "record", "new"),
        ],
    )
    def test_the_argument_wins_over_the_variable(  # noqa: PLR0917
        self,
        recorded: str,
        monkeypatch: pytest.MonkeyPatch,
        variables: dict[str, str],
        arguments: tuple[Any, ...],
        mode: str,
        name: str,
    ) -> None:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        with sacnb.replay.cassette(*arguments) as session:
            assert session is not None
            assert (session.mode, session.name) == (mode, name)
            assert repr(session) == f"<cassette '{name}', {mode}>"

    def test_off_does_nothing(self, recorded: str, leaky: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A notebook that names its cassette runs unchanged against a live tenant."""
        monkeypatch.setenv("SAC_REPLAY", "off")
        with sacnb.replay.cassette("kept") as session:
            requests.get(recorded, timeout=5)
        assert (session, sacnb.replay.start("kept")) == (None, None)
        assert leaky.seen == ["/api/v1/a"]

    def test_start_holds_until_stop_and_takes_the_place_of_an_earlier_start(self, recorded: str, leaky: Any) -> None:
        sacnb.replay.start("kept")
        assert requests.get(recorded, timeout=5).json() == {}
        second = sacnb.replay.start("other", "record")
        assert sacnb.replay.active() is second
        requests.get(f"{leaky.url}/other", timeout=5)
        summary = sacnb.replay.stop()
        assert summary is not None
        assert (summary.mode, summary.requests, summary.interactions, summary.changed) == ("record", 1, 1, True)
        assert str(summary).endswith("1 requests recorded, 1 answers kept.")
        assert sacnb.replay.stop() is None

    def test_the_variables_alone_switch_it_on_when_something_connects(
        self, recorded: str, leaky: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """How a notebook is replayed that says nothing of cassettes, in a kernel of its own."""
        monkeypatch.setenv("SAC_REPLAY", "replay")
        monkeypatch.setenv("SAC_REPLAY_CASSETTE", "kept")
        assert sacnb.connect().read("/api/v1/a") == b"{}"
        assert sacnb.connect().read("/api/v1/a") == b"{}"
        summary = sacnb.replay.stop()
        assert summary is not None
        assert "4 requests replayed, 2 of 2 answers used" in str(summary)

    def test_what_was_started_is_saved_when_the_process_ends(self, leaky: Any, folder: Path) -> None:
        program = (
            "import requests, sacnb.replay\n"
            "sacnb.replay.start('at_exit', 'record')\n"
            f"requests.get('{leaky.url}/x', timeout=5)\n"
        )
        assert forking.run([sys.executable, "-c", program], cwd=folder).returncode == 0
        assert "/x" in (folder / "at_exit.cassette.json").read_text(encoding="utf-8")


class TestRefusals:
    def test_a_body_that_is_read_while_it_is_sent_is_refused(self, leaky: Any) -> None:
        def parts() -> Iterator[bytes]:
            yield b"a"

        with sacnb.replay.cassette("x", "record"), pytest.raises(ReplayError, match="a cassette needs all of it"):
            requests.post(f"{leaky.url}/x", data=parts(), timeout=5)
        assert leaky.seen == []

    @pytest.mark.parametrize(
        ("name", "mode", "error", "message"),
        [
            (None, None, ReplayError, "No cassette is named"),
            ("  ", "replay", ReplayError, "needs a name"),
            ("nowhere", "replay", ReplayError, "There is no cassette 'nowhere'"),
            ("nowhere", "rewind", SettingsError, "off, replay, record"),
        ],
    )
    def test_what_cannot_be_switched_on_says_why(
        self, name: str | None, mode: str | None, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            sacnb.replay.start(name, mode)
        assert sacnb.replay.active() is None

    def test_without_vcrpy_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "vcr", None)
        with pytest.raises(MissingExtraError, match=r'pip install "sacnb\[replay\]"'):
            sacnb.replay.start("x", "record")
        assert sacnb.replay.active() is None

    def test_what_came_of_it_is_told_once_for_each_that_was_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = len(sacnb.replay.finished())
        with sacnb.replay.cassette("x", "record"):
            pass
        monkeypatch.setitem(sys.modules, "vcr", None)
        with pytest.raises(MissingExtraError), sacnb.replay.cassette("y", "record"):
            pass
        assert [(each.path.name, each.requests) for each in sacnb.replay.finished()[before:]] == [
            ("x.cassette.json", 0)
        ]

    def test_an_old_vcrpy_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr("vcr.patch.PATCHER_NAMES")
        with pytest.raises(MissingExtraError, match=r"vcrpy 9\.4 or newer"):
            sacnb.replay.start("x", "record")

    def test_a_folder_that_cannot_be_written_to_is_named(self, leaky: Any, folder: Path) -> None:
        (folder / "in_the_way").write_text("a file where a folder is needed", encoding="utf-8")
        with pytest.raises(ReplayError, match="cannot be written"), sacnb.replay.cassette("in_the_way/x", "record"):
            requests.get(f"{leaky.url}/x", timeout=5)

    def test_nothing_asked_leaves_nothing_behind(self, folder: Path) -> None:
        with sacnb.replay.cassette("empty", "record") as session:
            pass
        assert session is not None
        assert session.summary().changed is False
        assert list(folder.glob("*.json")) == []


class TestPlainRequests:
    """Also what is not of ours: whoever uses requests is recorded and replayed."""

    def test_cookies_streams_and_heads(self, leaky: Any, canned: Any) -> None:
        leaky.answers["/x"] = [
            canned("a\nb\n", content_type="text/plain", headers={"Set-Cookie": "c=12345678; Path=/"})
        ]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("plain", mode), requests.Session() as session:
                with session.get(f"{leaky.url}/x", stream=True, timeout=5) as response:
                    assert list(response.iter_lines()) == [b"a", b"b"]
                assert dict(session.cookies) == ({"c": "12345678"} if mode == "record" else {})
                assert session.head(f"{leaky.url}/x", timeout=5).status_code == 200

    def test_the_session_object_says_what_it_is(self, folder: Path) -> None:
        session = ReplaySession(folder / "x.cassette.json", "record")
        assert session.engine() == {}
        assert (session.source, session.name) == ("sac", "x")
