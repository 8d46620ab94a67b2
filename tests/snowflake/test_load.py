"""From SAC into Snowflake: each row once, whatever ends the way early."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import sacnb
from sacnb.errors import CacheError, Cancelled, ChannelError, ExportError, QueryError, RejectedRowsError
from sacnb.sandbox import snowflake as sandbox
from sacnb.snowflake import SnowflakeClient, create_table, load
from sacnb.snowflake.chunks import Chunker
from sacnb.snowflake.delivery import Delivery

TABLE = ("DB", "PUBLIC", "JOBS")
CHANNEL = "sacnb-US_EMPLOYMENT-bf0aeafd"
WHERE = {"Version": "public.Actual", "Sector": ["31", "32"]}


@pytest.fixture(scope="module")
def running() -> Iterator[sandbox.Simulator]:
    with sandbox.start() as simulator:
        yield simulator


@pytest.fixture
def simulator(running: sandbox.Simulator) -> sandbox.Simulator:
    running.reset()
    return running


@pytest.fixture
def client(simulator: sandbox.Simulator, connect: Callable[..., SnowflakeClient]) -> SnowflakeClient:
    return connect(simulator)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(cache: Path) -> Iterator[sacnb.Model]:
    with sacnb.connect("sandbox", cache_dir=cache) as tenant:
        yield tenant.model("US_EMPLOYMENT")


@pytest.fixture
def facts(model: sacnb.Model, cache: Path) -> sacnb.Facts:
    shutil.rmtree(cache / "snowflake", ignore_errors=True)
    return model.facts(where=WHERE)


@pytest.fixture
def loading(simulator: sandbox.Simulator, connect: Any) -> tuple[sandbox.Simulator, Any]:
    return simulator, connect


def wanted(facts: sacnb.Facts) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = facts.fetch(progress=None).arrow().to_pylist()
    return [{name: _told(value) for name, value in row.items()} for row in rows]


def _told(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


def dies_after(count: int) -> Callable[[Any, Any], None]:
    """Return a way to send appends that ends the program after one more than *count* of them."""
    real, appends = Delivery._send, 0

    def send(self: Any, chunk: Any) -> None:
        nonlocal appends
        real(self, chunk)
        appends += 1
        if appends > count:
            raise KeyboardInterrupt

    return send


def test_the_seconds_of_a_load_are_those_of_the_client_s_clock(
    facts: sacnb.Facts, client: SnowflakeClient, clock: Any
) -> None:
    clock.seconds = 1_000.0
    done = facts.to_snowflake("jobs", client=client, progress=None)
    assert done.seconds == clock.seconds - 1_000.0 == sum(clock.slept)


def test_a_model_is_loaded_row_by_row(
    facts: sacnb.Facts, client: SnowflakeClient, simulator: sandbox.Simulator, cache: Path
) -> None:
    done = facts.to_snowflake("jobs", client=client, progress=None)
    assert simulator.rows(*TABLE) == wanted(facts)
    assert (done.rows, done.resumed_rows, done.rejected, done.channels) == (
        len(wanted(facts)),
        0,
        0,
        (CHANNEL,),
    )
    assert not list((cache / "snowflake").glob("*/*"))
    again = facts.to_snowflake("jobs", client=client, progress=None)  # another load, and not the same one again
    assert (again.rows, again.resumed_rows) == (done.rows, 0)
    assert simulator.rows(*TABLE) == wanted(facts) * 2


def test_a_folder_that_is_refused_or_on_a_full_disk_is_a_cache_error(
    facts: sacnb.Facts, client: SnowflakeClient, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, words in ((errno.EROFS, "Set SAC_CACHE_DIR"), (errno.ENOSPC, "is full")):

        def refuse(_: Path, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as broken:
            broken.setattr("sacnb.snowflake.load.make_private_folder", refuse)
            with pytest.raises(CacheError, match=words):
                facts.to_snowflake("jobs", client=client, progress=None)
    shutil.rmtree(cache / "snowflake", ignore_errors=True)
    (cache / "snowflake").write_text("no folder", encoding="utf-8")
    with pytest.raises(CacheError, match="Something else is in its place"):
        facts.to_snowflake("jobs", client=client, progress=None)
    (cache / "snowflake").unlink()  # the folder is that of all tests here


def test_several_channels_share_the_rows(
    facts: sacnb.Facts, client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    facts.to_snowflake("jobs", client=client, channel="c", channels=3, progress=None)
    found = [row for number in (1, 2, 3) for row in simulator.rows(*TABLE, f"c-{number}")]
    assert found == wanted(facts)
    assert len(simulator.rows(*TABLE, "c-1")) == pytest.approx(len(found) / 3, abs=1)


@pytest.mark.parametrize(
    ("after", "channels"),
    [
        *((0, 1), (1, 3), (2, 1)),
        *(pytest.param(*one, marks=pytest.mark.long) for one in ((0, 3), (1, 1), (2, 3))),
    ],
)
def test_a_load_that_ended_early_goes_on(
    after: int, channels: int, facts: sacnb.Facts, loading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after some appends, of which not all are committed."""
    simulator, connect = loading
    monkeypatch.setattr("sacnb.snowflake.load._BATCH_ROWS", 100)
    monkeypatch.setitem(Chunker.__init__.__kwdefaults__ or {}, "target_bytes", 0)
    with monkeypatch.context() as crash:
        crash.setattr(Delivery, "_send", dies_after(after))
        with pytest.raises(KeyboardInterrupt):
            facts.to_snowflake("jobs", client=connect(simulator), channels=channels, progress=None)
    simulator.settle()
    done = facts.to_snowflake("jobs", client=connect(simulator), channels=channels, progress=None)
    assert done.rows == len(wanted(facts))
    assert done.resumed_rows > 0
    key = lambda row: sorted(row.items())  # noqa: E731
    assert sorted(simulator.rows(*TABLE), key=key) == sorted(wanted(facts), key=key)


def test_a_channel_that_somebody_wrote_to_meanwhile_is_found(
    facts: sacnb.Facts, client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    simulator.misbehave("forbidden", on="append")
    with pytest.raises(sacnb.SacError, match="403"):
        facts.to_snowflake("jobs", client=client, progress=None)
    simulator.behave()
    simulator.set_offset(*TABLE, CHANNEL, "1000000")
    with pytest.raises(ChannelError, match="Something else wrote"):
        facts.to_snowflake("jobs", client=client, progress=None)
    with pytest.raises(ExportError, match="other channels"):
        facts.to_snowflake("jobs", client=client, channels=2, progress=None)
    done = facts.to_snowflake("jobs", client=client, resume=False, progress=None)
    assert (done.rows, done.resumed_rows) == (len(wanted(facts)), 0)


@pytest.fixture
def unfinished(
    facts: sacnb.Facts, client: SnowflakeClient, simulator: sandbox.Simulator, cache: Path, monkeypatch: Any
) -> Path:
    """The folder of a load of which some rows are committed."""
    monkeypatch.setattr("sacnb.snowflake.load._BATCH_ROWS", 100)
    monkeypatch.setitem(Chunker.__init__.__kwdefaults__ or {}, "target_bytes", 0)
    with monkeypatch.context() as crash:
        crash.setattr(Delivery, "_send", dies_after(1))
        with pytest.raises(KeyboardInterrupt):
            facts.to_snowflake("jobs", client=client, progress=None)
    simulator.settle()
    assert 0 < len(simulator.rows(*TABLE)) < len(wanted(facts))
    (state,) = (cache / "snowflake").glob("*/load.json")
    return state.parent


def test_each_query_has_a_channel_of_its_own(
    unfinished: Path, facts: sacnb.Facts, model: sacnb.Model, connect: Any, simulator: sandbox.Simulator
) -> None:
    """A load that is resumed would take the other one's rows for its own, and leave out as many."""
    assert (unfinished / "load.json").exists()
    others = model.facts(where={"Version": "public.Plan", "Sector": "31"})
    others.to_snowflake("jobs", client=connect(simulator), progress=None)
    facts.to_snowflake("jobs", client=connect(simulator), progress=None)
    key = lambda row: sorted(row.items())  # noqa: E731
    assert sorted(simulator.rows(*TABLE), key=key) == sorted(wanted(facts) + wanted(others), key=key)


def test_a_load_is_not_resumed_on_a_channel_that_another_query_used_since(
    facts: sacnb.Facts, model: sacnb.Model, connect: Any, simulator: sandbox.Simulator, monkeypatch: Any
) -> None:
    arguments: dict[str, Any] = {"channel": "nightly", "progress": None}
    with monkeypatch.context() as crash:
        crash.setattr(Delivery, "_send", dies_after(0))
        with pytest.raises(KeyboardInterrupt):
            facts.to_snowflake("jobs", client=connect(simulator), **arguments)
    others = model.facts(where={"Version": "public.Plan", "Sector": "31"})
    others.to_snowflake("jobs", client=connect(simulator), **arguments)
    with pytest.raises(ChannelError, match="Another query was loaded through the channel 'nightly'"):
        facts.to_snowflake("jobs", client=connect(simulator), **arguments)
    done = facts.to_snowflake("jobs", client=connect(simulator), resume=False, **arguments)
    assert (done.rows, done.resumed_rows) == (len(wanted(facts)), 0)


@pytest.mark.parametrize("damage", ["one byte", "cut", "gone"])
def test_a_download_that_is_damaged_before_the_load_goes_on_is_fetched_again(
    unfinished: Path, facts: sacnb.Facts, connect: Any, simulator: sandbox.Simulator, damage: str
) -> None:
    """A byte that changes within a page of a Parquet file would be a wrong row in the table."""
    (file,) = (unfinished / "rows").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-1] if damage == "cut" else content)
    done = facts.to_snowflake("jobs", client=connect(simulator), progress=None)
    assert (done.rows, done.resumed_rows > 0) == (len(wanted(facts)), True)
    assert simulator.rows(*TABLE) == wanted(facts)


def test_a_damaged_download_of_rows_that_sac_has_no_more_is_refused(
    unfinished: Path, facts: sacnb.Facts, connect: Any, simulator: sandbox.Simulator, monkeypatch: Any
) -> None:
    (file,) = (unfinished / "rows").iterdir()
    file.unlink()
    there = simulator.rows(*TABLE)
    real = type(facts).to_parquet
    monkeypatch.setattr(
        type(facts), "to_parquet", lambda self, *a, **k: real(replace(self, query=replace(self.query, top=7)), *a, **k)
    )
    with pytest.raises(ExportError, match="SAC has other rows now than at 20"):
        facts.to_snowflake("jobs", client=connect(simulator), progress=None)
    assert simulator.rows(*TABLE) == there


def test_a_kill_while_a_finished_load_is_removed_does_not_make_it_a_second_load(
    facts: sacnb.Facts, connect: Any, simulator: sandbox.Simulator, monkeypatch: Any
) -> None:
    removed: list[Path] = []

    def remove(path: Path) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        real(path)

    real = load.remove
    with monkeypatch.context() as crash:
        crash.setattr(load, "remove", remove)
        with pytest.raises(KeyboardInterrupt):
            facts.to_snowflake("jobs", client=connect(simulator), progress=None)
    assert removed
    done = facts.to_snowflake("jobs", client=connect(simulator), progress=None)
    assert (done.rows, done.resumed_rows) == (len(wanted(facts)), len(wanted(facts)))
    assert simulator.rows(*TABLE) == wanted(facts)


def test_rows_that_cannot_be_loaded_raise_or_are_counted(
    facts: sacnb.Facts, client: SnowflakeClient, simulator: sandbox.Simulator
) -> None:
    simulator.misbehave("row_errors", times=2)
    with pytest.raises(RejectedRowsError, match="could not load 1 rows"):
        facts.to_snowflake("jobs", client=client, progress=None)
    done = facts.to_snowflake("jobs", client=client, channel="lenient", row_errors="warn", progress=None)
    assert (done.rejected, done.rows) == (1, len(wanted(facts)) - 1)


def test_a_load_can_be_cancelled(facts: sacnb.Facts, client: SnowflakeClient, simulator: sandbox.Simulator) -> None:
    with pytest.raises(Cancelled):
        facts.to_snowflake("jobs", client=client, cancelled=lambda: True, progress=None)
    assert simulator.rows(*TABLE) == []


def test_ctrl_c_stops_all_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the main thread gets it, while it waits for the others."""
    stopped: list[bool] = []

    def append(_: Path, __: Any, ___: Any, is_stopped: Callable[[], bool]) -> None:
        while not is_stopped():
            pass
        stopped.append(True)

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *arguments: Any) -> Any:
            future = super().submit(*arguments)
            monkeypatch.setattr(future, "exception", _interrupt)
            return future

    monkeypatch.setattr(load, "_append", append)
    monkeypatch.setattr(load, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        load._append_all(tmp_path, _ANY, [_ANY, _ANY], None)
    assert stopped == [True, True]


_ANY: Any = object()


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_mistakes_are_found_before_anything_is_sent(facts: sacnb.Facts, connect: Any, simulator: Any) -> None:
    client = connect(simulator, database=None)
    with pytest.raises(QueryError, match="SNOWFLAKE_DATABASE"):
        facts.to_snowflake("jobs", client=client)
    for wrong in ({"channels": 0}, {"resume": "yes"}, {"channels": "two"}, {"channel": 3}):
        with pytest.raises(QueryError, match=next(iter(wrong))):
            facts.to_snowflake("jobs", client=connect(simulator), **wrong)
    assert simulator.counts["append_requests"] == 0


# -- create table ----------------------------------------------------------------------------------------------------


def test_the_table_of_a_model_is_printed(facts: sacnb.Facts) -> None:
    with facts.stream() as stream:
        text = create_table(stream, "jobs", database="db", schema='"My Schema"')
    assert text == (
        'create table if not exists "DB"."My Schema"."JOBS" (\n'
        '    "Version" VARCHAR,\n'
        '    "Date" VARCHAR,\n'
        '    "Sector" VARCHAR,\n'
        '    "Employees" NUMBER(31, 7)\n'
        ");"
    )


def test_every_type_has_a_column() -> None:
    kinds = {
        "BOOLEAN": pa.bool_(),
        "NUMBER(20, 0)": pa.uint64(),
        "NUMBER(19, 0)": pa.int8(),
        "FLOAT": pa.float32(),
        "NUMBER(38, 10)": pa.decimal256(60, 10),
        "NUMBER(5, 0)": pa.decimal128(3, -2),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "TIMESTAMP_NTZ": pa.timestamp("us"),
        "TIMESTAMP_TZ": pa.timestamp("us", "UTC"),
        "BINARY": pa.binary(),
        "VARIANT": pa.list_(pa.int8()),
        "VARCHAR": pa.dictionary(pa.int8(), pa.string()),
    }
    text = create_table(pa.schema(list(zip(kinds, kinds.values(), strict=True))), "T")
    assert [line.strip().rstrip(",") for line in text.splitlines()[1:-1]] == [f'"{name}" {name}' for name in kinds]
    with pytest.raises(QueryError, match="'x' has the type month_day_nano_interval"):
        create_table(pa.schema([("x", pa.month_day_nano_interval())]), "T")
