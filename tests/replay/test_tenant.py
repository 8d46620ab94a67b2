"""A tenant that was recorded is replayed without one: without settings, without a network, at the time it was."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import sacnb
import sacnb.replay
from sacnb._tenant import diagnose
from sacnb.errors import (
    ReplayError,
)

WHEN = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)


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

    def test_connect_does_not_change_the_cassette(self, recorded: list[Any], folder: Path) -> None:
        (folder / "other.cassette.json").write_bytes((folder / "story.cassette.json").read_bytes())
        with sacnb.replay.cassette("story"):
            sacnb.connect(replay_cassette="story")
            with pytest.raises(ReplayError, match="'other' is named, but 'story' is in use"):
                sacnb.connect(replay_cassette="other")
        sacnb.connect(replay="replay", replay_cassette="other")
        assert [session.name for session in [sacnb.replay.active()] if session] == ["other"]

    @pytest.mark.parametrize(
        ("in_use", "wanted", "message"),
        [("replay", "record", "is in use for replay"), ("record", "replay", "is in use for record")],
    )
    def test_connect_does_not_change_the_direction(
        self, recorded: list[Any], in_use: str, wanted: str, message: str
    ) -> None:
        with pytest.raises(ReplayError, match=message), sacnb.replay.cassette("story", in_use):
            sacnb.connect("sandbox", replay=wanted)
