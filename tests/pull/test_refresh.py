"""A refresh keeps what SAC says, and serves the last good result when SAC does not answer: never silently."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest

from sacnb._pull.collect import is_outage
from sacnb._pull.progress import age_in_words
from sacnb._tenant import Tenant
from sacnb.errors import (
    BadAnswer,
    CacheError,
    Cancelled,
    ForbiddenError,
    LiveConnectionError,
    NoAnswerError,
    NotFoundError,
    QueryError,
    RefreshError,
    RequestError,
    SacError,
    ServerError,
    ThrottledError,
)
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]


@pytest.mark.parametrize(
    ("misbehaviour", "options"),
    [
        ("error_500", {}),
        ("error_503", {}),
        ("throttle_bare", {}),
        ("html_login", {}),
        ("truncated_json", {"on": "facts"}),
        ("unauthorized", {}),
        ("reset_before_body", {}),
    ],
)
def test_the_last_good_result_is_served_with_its_age_and_the_reason(
    sandbox: Sandbox,
    connect_to: ConnectTo,
    capsys: pytest.CaptureFixture[str],
    misbehaviour: str,
    options: dict[str, Any],
) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    question = {"where": {"Sector": "31"}}
    fresh = model.refresh(**question)
    assert (fresh.stale, fresh.warning) == (False, None)

    sandbox.misbehave(misbehaviour, **options)
    served = model.refresh(**question)
    assert served.stale
    assert served.arrow().equals(fresh.arrow())
    assert served.info.last_refresh_time == fresh.info.last_refresh_time
    assert served.warning is not None
    assert "SAC did not deliver" in served.warning
    assert "old. Reason:" in served.warning
    # In the zone that the token's line has, and named.
    assert f"the data of {served.info.last_refresh_time.astimezone(UTC):%Y-%m-%d %H:%M} UTC, " in served.warning
    assert served.warning in capsys.readouterr().out

    with pytest.raises(SacError):
        model.refresh(**question, strict=True)
    sandbox.behave()
    assert not model.refresh(**question).stale


def test_without_an_earlier_result_the_error_is_raised_and_says_so(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    assert model.schema
    sandbox.misbehave("error_500", on="facts")
    with pytest.raises(ServerError) as caught:
        model.refresh()
    assert "no earlier result" in " ".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (lambda sandbox: sandbox.misbehave("forbidden", on="facts"), ForbiddenError),
    ],
)
def test_a_clear_refusal_is_never_hidden_behind_an_old_result(
    sandbox: Sandbox, connect_to: ConnectTo, break_it: Callable[[Sandbox], None], error: type[SacError]
) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    model.refresh()
    break_it(sandbox)
    with pytest.raises(error):
        model.refresh()


def test_a_second_refresh_changes_nothing_but_the_time(sandbox: Sandbox, connect_to: ConnectTo, time: Any) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    first = model.refresh()
    time.advance(60)
    second = model.refresh()
    assert first.arrow().equals(second.arrow(), check_metadata=True)
    assert second.info.last_refresh_time > first.info.last_refresh_time
    same = {"last_refresh_time": first.info.last_refresh_time}
    assert dataclasses.replace(second.info, **same) == first.info


def test_a_young_result_is_served_without_asking(sandbox: Sandbox, connect_to: ConnectTo, time: Any) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts()
    fresh = facts.refresh()
    time.advance(3599)
    asked = len(sandbox.log)
    kept = facts.refresh(max_age_s=3600)
    assert len(sandbox.log) == asked
    assert (kept.stale, kept.info) == (False, fresh.info)
    assert facts.refresh(max_age_s=0).info.last_refresh_time > fresh.info.last_refresh_time


def test_a_result_that_cannot_be_kept_is_still_given(sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    facts = connect_to(sandbox, cache_dir=tmp_path / "file").model("US_EMPLOYMENT").facts()
    result = facts.refresh(announce=said.append)
    assert len(result) == 3420
    assert not result.stale
    assert result.warning is not None
    assert "could not be cached" in result.warning
    assert said == [result.warning]
    with pytest.raises(CacheError):
        facts.refresh(strict=True)


def test_a_corrupt_entry_is_named_when_it_would_be_needed(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    tenant = connect_to(sandbox)
    facts = tenant.model("US_EMPLOYMENT").facts()
    facts.refresh()
    (entry,) = tenant.cache.entries()
    entry.path.write_bytes(b"PAR1 and then nothing")
    sandbox.misbehave("throttle_bare")
    with pytest.raises(ThrottledError) as caught:
        facts.refresh()
    assert "sacnb cache repair" in " ".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=-5), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=59), "59 seconds"),
        (timedelta(minutes=52, seconds=30), "52 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=47), "1 day"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_ages_are_given_in_words(age: timedelta, words: str) -> None:
    assert age_in_words(age) == words


@pytest.mark.parametrize(
    ("error", "serves"),
    [
        (RefreshError("no token"), True),
        (BadAnswer("cut short"), True),
        (NoAnswerError("no answer"), True),
        (ServerError("", status=503), True),
        (ThrottledError("", status=429), True),
        (RequestError("too early", status=425), True),
        (RequestError("a redirect loop", status=302), True),
        (RequestError("two lengths in one header"), True),
        (RequestError("", status=400), False),
        (ForbiddenError("", status=403), False),
        (NotFoundError("", status=404), False),
        (LiveConnectionError("", status=412), False),
        (QueryError("no such filter"), False),
        (CacheError("damaged"), False),
        (Cancelled("cancelled"), False),
    ],
)
def test_the_last_good_result_stands_in_for_outages_and_not_for_refusals(error: SacError, serves: bool) -> None:
    assert is_outage(error) is serves


# -- time, and a console that is not there ---------------------------------------------------------------------------


def test_a_result_from_the_future_is_never_fresh(sandbox: Sandbox, connect_to: ConnectTo, time: Any) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"})
    time.began += timedelta(days=3650)  # the clock of the machine is wrong
    facts.refresh()
    time.began -= timedelta(days=3650)
    asked = sandbox.counts["facts_requests"]
    sandbox.misbehave("error_503", on="facts")
    served = facts.refresh(max_age_s=3600, announce=lambda _: None)
    assert sandbox.counts["facts_requests"] > asked
    assert served.warning is not None
    assert "of unknown age, since that is in the future" in served.warning
    sandbox.behave()
    facts.refresh()
    asked = sandbox.counts["facts_requests"]
    facts.refresh(max_age_s=3600)
    assert sandbox.counts["facts_requests"] == asked, "fresh by the right clock"


def test_a_job_without_a_console_gets_its_data(
    sandbox: Sandbox, connect_to: ConnectTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"})
    facts.refresh()
    sandbox.misbehave("error_503", on="facts")
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr("sys.stdout", stream)
        assert facts.refresh().stale

    def refuse(_: str) -> None:
        raise ValueError("of the user's own")

    with pytest.raises(ValueError, match="of the user's own"):
        facts.refresh(announce=refuse)


def test_a_cache_that_cannot_even_be_looked_at_gives_fresh_data_and_sacs_own_answer(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path
) -> None:
    facts = connect_to(sandbox, cache_dir=tmp_path / ("y" * 300)).model("US_EMPLOYMENT").facts(where={"Sector": "31"})
    said: list[str] = []
    for options in ({}, {"max_age_s": 60}):
        assert len(facts.refresh(announce=said.append, **options)) == 228
    assert [text.startswith("The data is fresh, but could not be cached") for text in said] == [True, True]
    sandbox.misbehave("forbidden")
    with pytest.raises(ForbiddenError):
        facts.refresh()
    sandbox.behave()
    sandbox.misbehave("error_503", on="facts")
    with pytest.raises(ServerError) as caught:
        facts.refresh()
    assert "cannot be read" in " ".join(caught.value.__notes__)
