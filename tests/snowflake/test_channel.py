"""Rows arrive once and in order, whatever the simulator does; time passes only when slept."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from sacnb.errors import (
    AuthError,
    BadAnswer,
    ChannelError,
    ForbiddenError,
    NotCommittedError,
    QueryError,
    RejectedRowsError,
    RequestError,
    ThrottledError,
)
from sacnb.sandbox import snowflake as sandbox
from sacnb.snowflake import Channel, SnowflakeClient
from sacnb.snowflake.names import Pipe
from sacnb.snowflake.status import ChannelStatus

KEPT = ("DB", "PUBLIC", "SALES")


@pytest.fixture(scope="module")
def running() -> Iterator[sandbox.Simulator]:
    with sandbox.start() as simulator:
        yield simulator


@pytest.fixture
def simulator(running: sandbox.Simulator) -> Iterator[sandbox.Simulator]:
    running.reset()
    yield running
    running.reset()


@pytest.fixture
def client(simulator: sandbox.Simulator, connect: Callable[..., SnowflakeClient]) -> SnowflakeClient:
    return connect(simulator)


def frame(first: int, last: int) -> pl.DataFrame:
    return pl.DataFrame({"ID": range(first, last + 1)})


def ids(simulator: sandbox.Simulator, channel: str | None = None) -> list[int]:
    return [row["ID"] for row in simulator.rows(*KEPT, channel)]


def append(channel: Channel, first: int, last: int) -> None:
    """Append rows as a chunk of their own."""
    channel.append_rows(frame(first, last))
    channel.flush()


def test_rows_go_in_are_committed_and_stay(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    with client.open_channel("sales", "night") as channel:
        assert (channel.committed, channel.append_rows(frame(1, 10))) == (0, 10)
        channel.flush()
        append(channel, 11, 20)
        assert ids(simulator) == []
    assert ids(simulator) == list(range(1, 21))
    status = client.get_channel_status("SALES", "night")
    assert status is not None
    assert (status.committed_token, status.rows_inserted, status.is_healthy) == ("20", 20, True)
    assert client.get_channel_statuses("SALES", ["night", "NIGHT", "none"]).keys() == {"night"}
    assert simulator.counts["sessions_missing"] == 0 < simulator.counts["sessions_echoed"]
    assert simulator.counts["drop_requests"] == 0
    appends = [seen for seen in simulator.seen if seen.kind == "append"]
    assert [(seen.query["startOffsetToken"], seen.query["endOffsetToken"]) for seen in appends] == [
        ("1", "10"),
        ("11", "20"),
    ]
    assert {seen.headers["Content-Encoding"] for seen in appends} == {"zstd"}
    assert all(seen.query["requestId"] for seen in simulator.seen if seen.kind in {"append", "open", "status"})


def test_a_new_program_goes_on_after_the_committed_rows(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    first = client.open_channel("SALES", "night")
    append(first, 1, 10)
    first.wait_for_commit()
    append(first, 11, 20)  # and it crashes before they are committed
    second = client.open_channel("SALES", "night")
    assert second.committed == second.appended == 10
    second.append_rows(frame(11, 30))
    second.close()
    assert ids(simulator) == list(range(1, 31))
    with pytest.raises(ChannelError, match="Another program writes to it"):
        append(first, 21, 22)


TROUBLE: dict[str, dict[str, Any]] = {
    "lost_answer": {},
    "lost_request": {},
    "error_500": {},
    "error_503": {},
    "error_after": {},
    "stale_token": {},
    "second_writer": {},
    "invalid_channel": {},
    "throttle": {},
    "throttle_seconds": {"seconds": 2},
    "throttle_date": {"seconds": 5},
    "expired_token": {},
    "delayed_commit": {"polls": 4},
}


@pytest.mark.parametrize(
    ("name", "every"),
    [
        *((name, 1 + number % 2) for number, name in enumerate(TROUBLE)),
        *(pytest.param(name, 2 - number % 2, marks=pytest.mark.long) for number, name in enumerate(TROUBLE)),
    ],
)
def test_each_row_is_committed_once_and_in_order(
    name: str, every: int, client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    channel = client.open_channel("SALES", "night")
    append(channel, 1, 10)
    channel.wait_for_commit()
    times = 1 if every == 1 else 3
    simulator.misbehave(name, on="append", times=times, every=every, **TROUBLE[name])
    for first in range(11, 91, 10):
        append(channel, first, first + 9)
    channel.close()
    assert simulator.counts[f"misbehaved_{name}"] == times
    assert ids(simulator) == list(range(1, 91))
    assert simulator.status(*KEPT, "night")["last_committed_offset_token"] == "90"


@pytest.mark.parametrize("name", ["lost_answer", "stale_token", "error_after"])
def test_trouble_without_an_end_does_not_stop_the_rows(
    name: str, client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    """Opening anew discards what is not committed: rows need a moment to be committed in between."""
    channel = client.open_channel("SALES", "night")
    simulator.misbehave(name, on="append", every=3)
    simulator.misbehave("delayed_commit", polls=3)
    for first in range(1, 101, 10):
        append(channel, first, first + 9)
    channel.close()
    assert ids(simulator) == list(range(1, 101))
    assert simulator.counts["append_requests"] < 30


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=[pytest.mark.long] if (first + second) % 2 else [])
        for first, kind in enumerate(["open", "status", "hostname", "token"])
        for second, name in enumerate(["lost_answer", "lost_request", "error_500", "throttle_seconds"])
    ],
)
def test_requests_that_may_be_repeated_are(
    kind: str, name: str, client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    simulator.misbehave(name, on=kind, times=1)
    with client.open_channel("SALES", "night") as channel:
        channel.append_rows(frame(1, 5))
    assert simulator.counts[f"misbehaved_{name}"] == 1
    assert ids(simulator) == [1, 2, 3, 4, 5]


def test_answers_as_documented_are_read_too(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    simulator.misbehave("documented_answers")
    simulator.misbehave("row_errors", times=1)
    with pytest.raises(RejectedRowsError), client.open_channel("SALES", "night") as channel:
        channel.append_rows(frame(1, 5))
    assert ids(simulator) == [2, 3, 4, 5]


def test_opening_waits_for_another_opening(client: SnowflakeClient, simulator: sandbox.Simulator, clock: Any) -> None:
    simulator.misbehave("open_in_progress", times=2)
    client.open_channel("SALES", "night")
    assert clock.slept == [0.5, 1.0]
    simulator.misbehave("open_in_progress")
    with pytest.raises(RequestError) as caught:
        client.open_channel("SALES", "night")
    assert caught.value.code == "ERR_OPEN_CHANNEL_IN_PROGRESS"


def test_a_dropped_channel_is_an_error_and_no_new_beginning(
    client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    channel = client.open_channel("SALES", "night")
    append(channel, 1, 10)
    channel.wait_for_commit()
    simulator.misbehave("dropped_channel", times=1)
    with pytest.raises(ChannelError, match="dropped"):
        append(channel, 11, 20)
    with pytest.raises(ChannelError, match="dropped"):
        channel.status()


def test_a_history_that_is_gone_is_an_error(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    channel = client.open_channel("SALES", "night")
    append(channel, 1, 10)
    channel.wait_for_commit()
    client.open_channel("SALES", "night").drop()
    client.open_channel("SALES", "night")
    with pytest.raises(ChannelError, match="history is gone: 10 rows were committed"):
        append(channel, 11, 20)


def test_of_two_writers_that_append_as_many_rows_the_later_one_is_told(
    client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    one, other = client.open_channel("SALES", "night"), client.open_channel("SALES", "night")
    one.append_rows(pl.DataFrame({"ID": [1]}))
    other.append_rows(pl.DataFrame({"ID": [2]}))
    one.close()
    with pytest.raises(ChannelError, match="Another program writes to it: 1 rows are committed"):
        other.close()  # the row that is committed is not the one that was refused
    assert ids(simulator) == [1]


@pytest.mark.parametrize(
    ("table", "place", "pipe"),
    [
        ("jobs", {}, "DB.PUBLIC.JOBS-STREAMING"),
        ("planning.public.jobs", {}, "PLANNING.PUBLIC.JOBS-STREAMING"),
        ("staging.jobs", {}, "DB.STAGING.JOBS-STREAMING"),
        ('"my.jobs"', {}, "DB.PUBLIC.my.jobs-STREAMING"),
        ('s."a""b"', {}, 'DB.S.a"b-STREAMING'),
        ("Sales 2026", {}, "DB.PUBLIC.Sales 2026-STREAMING"),
        ("a.b.c", {"schema": "B", "database": "A"}, "A.B.C-STREAMING"),
    ],
)
def test_a_table_may_have_its_schema_and_database_in_its_name(
    client: SnowflakeClient, table: str, place: dict[str, str], pipe: str
) -> None:
    assert str(client.pipe(table, **place)) == pipe


@pytest.mark.parametrize("table", ["a.b.c.d", 'a"b', "a..b", ".a", "", "a."])
def test_a_table_that_is_no_name_is_refused(client: SnowflakeClient, table: str) -> None:
    with pytest.raises(QueryError):
        client.pipe(table)


def test_a_schema_that_is_given_twice_is_refused(client: SnowflakeClient) -> None:
    with pytest.raises(QueryError, match="and schema is 'x'"):
        client.pipe("a.b.c", schema="x")


def test_another_program_with_other_offsets_is_found(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    simulator.set_offset(*KEPT, "night", "order-7")
    with pytest.raises(ChannelError, match="'order-7', which is no number of rows"):
        client.open_channel("SALES", "night")


def test_a_channel_that_is_always_taken_away_is_given_up(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    channel = client.open_channel("SALES", "night")
    simulator.misbehave("second_writer")
    with pytest.raises(RequestError) as caught:
        append(channel, 1, 10)
    assert caught.value.code == "STALE_CONTINUATION_TOKEN_SEQUENCER"
    assert "opened again 5 times" in str(caught.value.__notes__)
    simulator.behave()
    channel.close()
    assert ids(simulator) == list(range(1, 11))


def test_what_no_retry_changes_is_raised_and_the_rows_are_kept(
    client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    channel = client.open_channel("SALES", "night")
    for name, error in (("forbidden", ForbiddenError), ("throttle", ThrottledError), ("expired_token", AuthError)):
        simulator.misbehave(name, on="append", times=2)
        with pytest.raises(error):
            append(channel, channel.appended + 1, channel.appended + 10)
    channel.close()
    assert ids(simulator) == list(range(1, 31))


def test_a_token_that_expired_is_renewed_once(
    client: SnowflakeClient, simulator: sandbox.Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    channel = client.open_channel("SALES", "night")
    simulator.expire_tokens()
    append(channel, 1, 10)
    channel.close()
    assert simulator.counts["scoped_tokens"] == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["append rows: Snowflake answered 401; renewing the token and sending the request once more."]


def test_a_minute_of_waiting_is_told_and_a_timeout_loses_nothing(
    client: SnowflakeClient, simulator: sandbox.Simulator, caplog: pytest.LogCaptureFixture, clock: Any
) -> None:
    channel = client.open_channel("SALES", "night")
    simulator.misbehave("never_commit", times=1)
    append(channel, 1, 10)
    with pytest.raises(NotCommittedError, match="0 of 10 rows") as caught:
        channel.close(timeout_s=150)
    assert (caught.value.committed, caught.value.appended) == (0, 10)
    assert [r.getMessage() for r in caplog.records if "waiting for" in r.getMessage()] == [
        "Channel night: waiting for 61 s; 0 of 10 rows are committed.",
        "Channel night: waiting for 121 s; 0 of 10 rows are committed.",
    ]
    simulator.settle()
    channel.close()
    assert ids(simulator) == list(range(1, 11))


def test_rows_that_cannot_be_loaded_are_counted(
    client: SnowflakeClient, simulator: sandbox.Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    channel = client.open_channel("SALES", "night")
    simulator.misbehave("row_errors", times=2)
    append(channel, 1, 10)
    append(channel, 11, 20)
    with pytest.raises(RejectedRowsError, match="could not load 2 rows") as caught:
        channel.wait_for_commit()
    assert (caught.value.rows, caught.value.last_message) == (2, "Numeric value 'spoilt' is not recognized")
    assert "ends at row 20" in str(caught.value)
    append(channel, 21, 30)
    channel.close()  # said once
    assert channel.rejected == 2
    lenient = client.open_channel("SALES", "night", row_errors="warn")
    simulator.misbehave("row_errors", times=1)
    append(lenient, 31, 40)
    lenient.close()
    assert lenient.rejected == 1
    assert "could not load 1 rows" in caplog.text
    assert ids(simulator) == [*range(2, 11), *range(12, 31), *range(32, 41)]


def test_the_pace_of_a_channel_is_kept(client: SnowflakeClient, clock: Any) -> None:
    channel = client.open_channel("SALES", "night")
    clock.slept.clear()
    started = clock.seconds
    for number in range(1, 22):
        append(channel, number, number)
    assert clock.seconds - started == pytest.approx(2.0)
    assert max(clock.slept) == pytest.approx(0.1)


def test_what_is_not_committed_is_bounded(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    channel = client.open_channel("SALES", "night", max_uncommitted_bytes=300)
    for first in range(1, 101, 10):
        append(channel, first, first + 9)
        assert channel._delivery.waiting_bytes <= 300
    assert channel.committed >= 50
    simulator.misbehave("never_commit")
    patient = client.open_channel("SALES", "other", max_uncommitted_bytes=0, commit_timeout_s=10)
    with pytest.raises(NotCommittedError):
        append(patient, 1, 10)


def test_a_drop_is_separate_and_refused_while_rows_wait(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    channel = client.open_channel("SALES", "night")
    append(channel, 1, 10)
    with pytest.raises(RequestError, match="uncommitted"):
        channel.drop()
    again = client.open_channel("SALES", "night")
    again.drop()
    assert client.get_channel_status("SALES", "night") is None


def test_names_are_sent_as_they_are(client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    names = {"database": '"My Db"', "schema": "a/b", "table": "Sales 2026%?#"}
    with client.open_channel(channel="käse/1 ?&", **names) as channel:
        append(channel, 1, 3)
    assert simulator.rows("My Db", "a%2Fb", "Sales 2026%?#", "käse/1 ?&") == [{"ID": 1}, {"ID": 2}, {"ID": 3}]
    assert (
        Pipe.of_table("DB", "PUBLIC", "SALES").path()
        == "/v2/streaming/databases/DB/schemas/PUBLIC/pipes/SALES-STREAMING"
    )


def test_mistakes_are_refused_at_the_door(client: SnowflakeClient) -> None:
    for wrong in ({"compression": "br"}, {"not_finite": 1}, {"row_errors": "no"}, {"commit_timeout_s": -1}):
        with pytest.raises(QueryError, match=next(iter(wrong))):
            client.open_channel("SALES", "night", **wrong)
    for table, channel in (("", "night"), ("..", "night"), ("SALES", " "), (None, "x")):
        with pytest.raises(QueryError):
            client.open_channel(table, channel)  # type: ignore[arg-type]
    channel = client.open_channel("SALES", "night")
    channel.close()
    channel.close()
    with pytest.raises(QueryError, match="is closed"):
        channel.append_rows(frame(1, 2))
    for one in (client, channel):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(one)


def test_a_foreign_host_name_is_refused(simulator: sandbox.Simulator, connect: Any, monkeypatch: Any) -> None:
    for answer in ("<html>Sign in</html>", "", "a b", "host/../x", "user@host"):
        client = connect(simulator)
        monkeypatch.setattr(
            client._control.session, "fetch", lambda *_, a=answer, **__: type("A", (), {"body": a.encode()})
        )
        with pytest.raises(BadAnswer, match="no ingest host"):
            client.discover_ingest_host()


def test_underscores_in_the_host_become_dashes(simulator: sandbox.Simulator, connect: Any, monkeypatch: Any) -> None:
    client = connect(simulator)
    monkeypatch.setattr(client._control.session, "fetch", lambda *_, **__: type("A", (), {"body": b"my_org.example"}))
    assert client.discover_ingest_host() == "my-org.example"


def test_secrets_are_nowhere(
    client: SnowflakeClient, simulator: sandbox.Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    channel = client.open_channel("SALES", "night")
    simulator.misbehave("expired_token", on="append", times=1)
    append(channel, 1, 3)
    channel.close()
    simulator.misbehave("forbidden", on="status")
    with pytest.raises(ForbiddenError) as caught:
        client.get_channel_status("SALES", "night")
    token = client.get_scoped_token()
    pem = (simulator.private_key or b"").decode().splitlines()[2]
    shown = (
        f"{caplog.text}{caught.value!r}{caught.value}{client!r}{channel!r}{token!r}{client._settings!r}{vars(client)!r}"
    )
    assert "SVC_SAC" in shown
    for secret in (token.value.reveal(), pem, "eyJ"):
        assert secret not in shown


@pytest.mark.parametrize("odd", [{}, {"a": 1}, [], ["x"], 1.5, True])
def test_a_status_of_another_form_is_no_error_of_python(odd: Any) -> None:
    fields = {"last_committed_offset_token": odd, "last_error_message": odd, "rows_inserted": odd}
    status = ChannelStatus.read(fields, "night")
    assert (status.committed_token, status.last_error) == (str(odd), str(odd))


@pytest.mark.parametrize("statuses", [None, [], "x", 5])
def test_an_answer_without_statuses_is_not_a_channel_that_does_not_exist(statuses: Any) -> None:
    client = cast("Any", object.__new__(SnowflakeClient))
    client.send = lambda *_, **__: SimpleNamespace(body=json.dumps({"channel_statuses": statuses}).encode())
    with pytest.raises(BadAnswer, match="holds none"):
        client.statuses_of(Pipe("DB", "PUBLIC", "SALES"), ["night"])
