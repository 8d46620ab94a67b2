"""What was recorded is replayed: without a tenant or a network, by any number of threads, the same each time."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

import sacnb
import sacnb.replay
from sacnb.errors import (
    AuthError,
    MissingExtraError,
    RefreshError,
    ReplayError,
    ServerError,
    SettingsError,
    ThrottledError,
)
from sacnb.replay.session import ReplaySession
from sacnb.tenant import diagnose

WHEN = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)


def fetch(context: Any, path: str, **arguments: Any) -> bytes:
    body: bytes = context.session.fetch(arguments.pop("method", "GET"), path, operation="read", **arguments).body
    return body


class TestATenant:
    """With the facade and the sandbox, as users have it."""

    @staticmethod
    def story(sac: sacnb.Tenant) -> list[Any]:
        jobs = sac.model("US_EMPLOYMENT")
        pulled = jobs.facts(where={"Sector": ["31", "32"]}, since="2014-01", page_size=50).fetch()
        return [
            sac.models().rows(),
            repr(jobs.schema.names),
            jobs.members("Sector").rows(),
            pulled.arrow(),
            pulled.info.tenant_host,
            pulled.info.principal,
            pulled.info.source,
        ]

    @pytest.fixture
    def recorded(self) -> list[Any]:
        with sacnb.replay.cassette("story", "record", now=lambda: WHEN):
            return self.story(sacnb.connect("sandbox"))

    def test_it_is_replayed_without_settings_and_without_a_network(self, recorded: list[Any]) -> None:
        with sacnb.replay.cassette("story") as session:
            replayed = self.story(sacnb.connect())
            with pytest.raises(ReplayError, match=r"a connection to 127\.0\.0\.1:9 was refused"):
                socket.create_connection(("127.0.0.1", 9))
        assert replayed == recorded
        assert recorded[3].num_rows == 96
        assert recorded[4:] == ["sandbox", recorded[5], "sandbox"]
        assert session is not None
        summary = session.summary()
        assert summary.used == tuple(range(summary.interactions))

    def test_a_replay_takes_place_at_the_moment_of_the_recording(self, recorded: list[Any]) -> None:
        with sacnb.replay.cassette("story"):
            sac = sacnb.connect()
            facts = sac.model("US_EMPLOYMENT").facts(where={"Sector": ["31", "32"]}, since="2014-01", page_size=50)
            assert facts.fetch().info.last_refresh_time == WHEN
            status = sac.authenticate()
            assert (status.issued_at, status.remaining_s) == (WHEN, 3600)
            assert sac.renew_token().remaining_s == 3600

    def test_kept_results_of_this_machine_decide_nothing(self, recorded: list[Any], tmp_path: Path) -> None:
        """Each cassette begins with an empty cache of its own, and leaves that of the user alone."""
        seen = []
        for _ in range(2):
            with sacnb.replay.cassette("story"):
                sac = sacnb.connect(cache_max_age_s=3600)
                seen.append(sac.cache.entries())
                sac.model("US_EMPLOYMENT").facts(
                    where={"Sector": ["31", "32"]}, since="2014-01", page_size=50
                ).refresh()
                assert len(sac.cache.entries()) == 1
                folder = sac.cache.directory
            assert not folder.exists()
        assert [len(entries) for entries in seen] == [0, 0]
        assert not (tmp_path / "cache").exists()

    def test_a_miss_names_the_request_and_what_comes_close(self, recorded: list[Any]) -> None:
        with sacnb.replay.cassette("story"), pytest.raises(ReplayError) as caught:
            sacnb.connect().model("US_EMPLOYMENT").facts(
                where={"Sector": ["31"]}, since="2014-01", page_size=50
            ).fetch()
        error = caught.value
        assert error.method == "GET"
        assert error.url.startswith("https://tenant.replay.invalid/api/v1/dataexport/providers/sac/US_EMPLOYMENT/")
        assert len(error.nearest) == 2  # the two pages
        assert error.nearest[0].split(": ")[-1].startswith("$filter is ")
        assert "recorded was" in error.nearest[0]
        assert "The cassette 'story' has no answer to GET /api/v1/dataexport/" in str(error)
        assert "Sector eq '31'" in str(error)

    def test_a_stale_result_is_stale_in_the_replay_too(self) -> None:
        def story(sac: sacnb.Tenant, breaks: Callable[[], object]) -> tuple[Any, ...]:
            facts = sac.model("US_EMPLOYMENT").facts(where={"Sector": "31"}, since="2015-06", measures=["Employees"])
            fresh = facts.refresh(announce=lambda _: None)
            breaks()
            stale = facts.refresh(announce=lambda _: None)
            return fresh.arrow(), fresh.stale, stale.arrow(), stale.stale, (stale.warning or "").partition("Reason")[2]

        with sacnb.replay.cassette("stale", "record"):
            sac = sacnb.connect("sandbox")
            assert sac.sandbox is not None
            recorded = story(sac, lambda: sac.sandbox.misbehave("html_login", on="facts"))
            sac.sandbox.behave()
        replayed = []
        for _ in range(2):
            with sacnb.replay.cassette("stale"):
                replayed.append(story(sacnb.connect(), lambda: None))
        assert recorded[3] is True
        assert replayed[0] == replayed[1]
        assert replayed[0][:4] == recorded[:4]
        assert "login page" in replayed[0][4]

    def test_a_recording_made_twice_is_the_same_file(self, folder: Path, text_of: Callable[[str], str]) -> None:
        texts = []
        for name in ("first", "second"):
            with sacnb.replay.cassette(name, "record", now=lambda: WHEN):
                self.story(sacnb.connect("sandbox"))
            texts.append(text_of(name))
        assert texts[0] == texts[1]
        before = (folder / "first.cassette.json").stat()
        with sacnb.replay.cassette("first", "record") as session:
            self.story(sacnb.connect("sandbox"))
        assert session is not None
        assert session.summary().changed is False
        assert (folder / "first.cassette.json").stat() == before

    def test_what_says_where_it_comes_from(self, recorded: list[Any], text_of: Callable[[str], str]) -> None:
        text = text_of("story")
        assert '"source": "sandbox"' in text
        assert "a pretend tenant: these are not answers of SAP Analytics Cloud" in text
        assert '"recorded_at": "2026-11-20T08:30:15Z"' in text

    def test_the_doctor_asks_nobody(self, recorded: list[Any]) -> None:
        diagnosis = diagnose(replay="replay", replay_cassette="story")
        assert diagnosis.healthy
        assert [check.name for check in diagnosis.checks if check.status == "skipped"] == [
            "host",
            "clock",
            "token",
            "grants",
        ]

    @pytest.mark.parametrize(
        ("in_use", "wanted", "message"),
        [("replay", "record", "is in use for replay"), ("record", "replay", "is in use for record")],
    )
    def test_connect_does_not_change_the_direction(
        self, recorded: list[Any], in_use: str, wanted: str, message: str
    ) -> None:
        with pytest.raises(ReplayError, match=message), sacnb.replay.cassette("story", in_use):
            sacnb.connect("sandbox", replay=wanted)


class TestTheEngine:
    """With a tenant that answers what it is told to."""

    def test_answers_come_in_the_order_recorded_and_then_the_last_one_again(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        path = "/api/v1/job"
        leaky.answers[path] = [canned(f'{{"status": "{word}"}}') for word in ("new", "running", "running", "done")]
        with sacnb.replay.cassette("job", "record"):
            session = ask()
            recorded = [fetch(session, path) for _ in range(6)]
        with sacnb.replay.cassette("job") as cassette:
            session = ask()
            assert [fetch(session, path) for _ in range(8)] == [*recorded, recorded[-1], recorded[-1]]
        assert cassette is not None
        assert cassette.summary().interactions == 5  # one token; of three "done" at the end one is enough

    def test_refusals_are_replayed_without_their_waits(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/a"] = [
            canned("busy", status=429, headers={"Retry-After": "59"}),
            canned("down", status=503, content_type="text/plain"),
            canned('{"n": 1}'),
        ]
        with sacnb.replay.cassette("busy", "record"):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("busy", "replay"):
            tenant = sacnb.connect()
            answer = tenant._connection.context.session.fetch("GET", "/api/v1/a", operation="read")
        assert [attempt.status for attempt in answer.outcome.attempts] == [429, 503, 200]
        assert answer.outcome.attempts[0].delay_s == 59.0
        assert answer.outcome.elapsed_s == 59.0

    def test_a_deadline_passes_in_a_replay_too(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/a"] = [canned("busy", status=429, headers={"Retry-After": "59"}), canned("{}")]
        with sacnb.replay.cassette("busy", "record"):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("busy"), pytest.raises(ThrottledError, match="no time for another try"):
            sacnb.connect(deadline_s=30).read("/api/v1/a")

    def test_a_401_and_its_new_token_are_replayed(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        """Tokens are all masked alike; handed out alike, the second would be taken for the rejected one."""
        leaky.answers["/api/v1/a"] = [canned("{}", status=401), canned('{"n": 1}')]
        with sacnb.replay.cassette("401", "record"):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("401"):
            assert fetch(ask(), "/api/v1/a") == b'{"n": 1}'

    def test_a_refused_client_is_replayed(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky._token = lambda: canned('{"error":"invalid_client","error_description":"Bad credentials"}', status=401)
        with sacnb.replay.cassette("refused", "record"), pytest.raises(RefreshError):
            fetch(ask(), "/api/v1/a")
        with sacnb.replay.cassette("refused"), pytest.raises(RefreshError, match=r"401 invalid_client \(Bad cred"):
            sacnb.connect().authenticate()

    def test_an_error_at_the_end_is_replayed_as_that_error(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned('{"error": {"message": "no [1402]"}}', status=500)]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("500", mode), pytest.raises(ServerError) as caught:
                fetch(ask(), "/api/v1/a")
            assert (caught.value.status, caught.value.sac_number) == (500, 1402)

    def test_a_login_page_is_replayed_as_one(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/a"] = [canned("<html><title>Log On</title></html>", content_type="text/html")]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("login", mode), pytest.raises(AuthError, match="login page"):
                fetch(ask(), "/api/v1/a")

    def test_a_token_that_was_there_before_the_recording_is_made_up(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
    ) -> None:
        context = ask()
        context.guard.ensure()
        with sacnb.replay.cassette("later", "record"):
            fetch(context, "/api/v1/a")
        assert "access_token" not in text_of("later")
        with sacnb.replay.cassette("later"):
            assert sacnb.connect().read("/api/v1/a") == b"{}"

    def test_links_lead_to_the_host_that_is_asked(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        """A tenant that is connected already can be replayed too: paging checks that a link stays on its host."""
        leaky.answers["/api/v1/a"] = [canned(f'{{"next": "{leaky.url}/api/v1/b"}}')]
        context = ask()
        with sacnb.replay.cassette("links", "record"):
            assert leaky.url.encode() in fetch(context, "/api/v1/a")
        with sacnb.replay.cassette("links"):
            assert fetch(context, "/api/v1/a") == f'{{"next": "{leaky.url}/api/v1/b"}}'.encode()
            assert sacnb.connect().read("/api/v1/a") == b'{"next": "https://tenant.replay.invalid/api/v1/b"}'

    def test_csrf_tokens_are_fetched_and_sent_in_both(self, leaky: Any, canned: Any, ask: Callable[[], Any]) -> None:
        leaky.answers["/api/v1/job"] = [
            canned("csrf", status=403, headers={"x-csrf-token": "required"}),
            canned('{"job": 1}'),
        ]
        leaky.answers["/api/v1/csrf"] = [canned("{}", headers={"x-csrf-token": "canary-csrf-token"})]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("csrf", mode):
                assert fetch(ask(), "/api/v1/job", method="POST", json={"a": [1, 2]}) == b'{"job": 1}'

    @pytest.mark.parametrize(
        ("zipped", "body"),
        [(False, '{"n": "ü\u2028"}'), (True, '{"n": "ü\u2028"}'), (True, "{}"), (False, '{"n": 1}\r\n')],
    )
    def test_a_body_comes_back_to_the_byte_zipped_or_not(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], zipped: bool, body: str
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned(body, zipped=zipped)]
        for mode in ("record", "replay"):
            with sacnb.replay.cassette("body", mode):
                assert fetch(ask(), "/api/v1/a") == body.encode()

    def test_a_body_is_readable_in_the_file(
        self, leaky: Any, canned: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned('{"value":[{"a":1},{"a":2}]}', zipped=True)]
        with sacnb.replay.cassette("body", "record"):
            fetch(ask(), "/api/v1/a")
        lines = [line.strip() for line in text_of("body").splitlines()]
        assert r'"{\"a\":1},",' in lines
        assert "Content-Encoding" not in text_of("body")

    def test_an_answer_that_breaks_off_is_asked_for_again_and_only_the_whole_one_kept(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        leaky.answers["/api/v1/a"] = [canned('{"n": 1234567890}', cut=True), canned('{"n": 1}')]
        with sacnb.replay.cassette("cut", "record"):
            assert fetch(ask(), "/api/v1/a") == b'{"n": 1}'
        assert leaky.seen == ["/api/v1/a"] * 2
        with sacnb.replay.cassette("cut"):
            assert fetch(ask(), "/api/v1/a") == b'{"n": 1}'

    def test_order_and_number_of_threads_do_not_show_in_the_file(
        self, leaky: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
    ) -> None:
        paths = [f"/api/v1/{number}" for number in range(20)]
        for name, threads, order in (("one", 1, paths), ("eight", 8, paths[::-1])):
            with sacnb.replay.cassette(name, "record", now=lambda: WHEN), ThreadPoolExecutor(threads) as pool:
                context = ask()
                list(pool.map(lambda path, context=context: fetch(context, path), order))
        assert text_of("one") == text_of("eight")


class TestThreads:
    def test_a_recording_asks_one_at_a_time_and_keeps_everything(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        paths = [f"/api/v1/{number}" for number in range(64)]
        for path in paths:
            leaky.answers[path] = [canned(f'{{"is": "{path}"}}', zipped=True)]
        with sacnb.replay.cassette("many", "record") as session, ThreadPoolExecutor(8) as pool:
            context = ask()
            list(pool.map(lambda path: fetch(context, path), paths))
        assert leaky.most_at_once == 1
        assert session is not None
        assert session.summary().interactions == 65

    def test_eight_threads_replay_without_a_miss_a_mix_up_or_a_call_to_the_network(
        self, leaky: Any, canned: Any, ask: Callable[[], Any]
    ) -> None:
        """With vcrpy's own patches 27 of 30 such runs reached the network."""
        paths = [f"/api/v1/{number}" for number in range(16)]
        for path in paths:
            leaky.answers[path] = [canned(f'{{"is": "{path}"}}')]
        with sacnb.replay.cassette("many", "record"):
            context = ask()
            for path in paths:
                fetch(context, path)
        leaky.seen.clear()
        for _ in range(30):
            together = threading.Barrier(8)

            def read(share: int, together: threading.Barrier = together) -> list[bool]:
                together.wait()
                # A session and connections of each thread's own: new connections are where the race was.
                return [
                    requests.get(f"{leaky.url}{path}", timeout=5).json() == {"is": path} for path in paths[share::2] * 2
                ]

            with sacnb.replay.cassette("many"), ThreadPoolExecutor(8) as pool:
                assert all(all(right) for right in pool.map(read, [0, 1] * 4))
        assert leaky.seen == []


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
        subprocess.run([sys.executable, "-c", program], check=True, cwd=folder)
        assert "/x" in (folder / "at_exit.cassette.json").read_text(encoding="utf-8")


class TestRefusals:
    def test_a_body_that_is_read_while_it_is_sent_is_refused(self, leaky: Any) -> None:
        def parts() -> Iterator[bytes]:
            yield b"a"

        with sacnb.replay.cassette("x", "record"), pytest.raises(ReplayError, match="a cassette needs it whole"):
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
