"""Earlier results: what a result was at a time, within a budget of disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sacnb._cache.folder import CacheKey
from sacnb._cache.store import Cache
from sacnb._results.result import Result
from sacnb.errors import CacheError, QueryError, UnknownNameError

MakeResult = Callable[..., Result]
START = datetime.fromisoformat("2026-11-20T07:26:00+00:00")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def cache(folder: Path) -> Cache:
    return Cache(folder, now=lambda: at(10 * 86_400), history_bytes=10_000_000)


@pytest.fixture
def results(cache: Cache, key: CacheKey, make_result: MakeResult) -> list[Result]:
    """Three results of one query, kept one after the other, a hundred seconds apart."""
    made = [make_result(amount, after=100 * amount) for amount in (0, 1, 2)]
    for result in made:
        cache.save(key, result)
    return made


@pytest.mark.parametrize(("seconds", "number"), [(0, 0), (99.9, 0), (100, 1), (199.999999, 1), (200, 2), (10**7, 2)])
def test_the_last_result_refreshed_by_then(
    cache: Cache, key: CacheKey, results: list[Result], seconds: float, number: int
) -> None:
    assert cache.as_of(at(seconds), key) == results[number]
    assert cache.as_of(at(seconds)) == results[number]  # the only one


def test_times_as_people_write_them(cache: Cache, key: CacheKey, results: list[Result]) -> None:
    assert cache.as_of("2026-11-20T07:28:00+00:00", key.name[:12]) == results[1]
    local = at(150).astimezone().replace(tzinfo=None)
    assert cache.as_of(local, key) == results[1]
    assert cache.as_of("2026-12-24", key) == results[2]


@pytest.mark.parametrize("time", ["soon", 7, None, True, ""])
def test_what_is_no_time(cache: Cache, results: list[Result], time: Any) -> None:
    with pytest.raises(QueryError, match="time must be a time"):
        cache.as_of(time)


def test_nothing_that_old(cache: Cache, key: CacheKey, results: list[Result]) -> None:
    with pytest.raises(CacheError, match=r"from 2026-11-20 07:25:59 UTC: the oldest one is of 2026-11-20 07:26:00 UTC"):
        cache.as_of(at(-1), key)


def test_a_result_without_a_history(folder: Path, key: CacheKey, make_result: MakeResult) -> None:
    cache = Cache(folder)
    for amount in (0, 1):
        cache.save(key, make_result(amount, after=100 * amount))
    assert not (folder / ".history").exists()
    with pytest.raises(CacheError, match="the oldest one is of 2026-11-20 07:27:40 UTC"):
        cache.as_of(at(50), key)


def test_a_gap_is_told_and_not_filled_with_an_older_result(
    cache: Cache, folder: Path, key: CacheKey, results: list[Result], make_result: MakeResult
) -> None:
    Cache(folder).save(key, make_result(3, after=300))  # keeps no history, so that the result of 200 is gone
    assert cache.as_of(at(150), key) == results[1]
    with pytest.raises(CacheError, match="it was not kept"):
        cache.as_of(at(250), key)


def test_several_results_need_a_key(
    cache: Cache, key: CacheKey, results: list[Result], make_result: MakeResult
) -> None:
    other = make_result(5, query="path\nother")
    cache.save(CacheKey.of(other.info), other)
    with pytest.raises(QueryError, match="2 results"):
        cache.as_of(at(0))
    with pytest.raises(UnknownNameError):
        cache.as_of(at(0), "nothing")
    assert cache.as_of(at(0), key) == results[0]


def test_the_oldest_go_first(folder: Path, make_result: MakeResult) -> None:
    first = make_result(*range(2000))
    size = Cache(folder).save(CacheKey.of(first.info), first).stat().st_size
    cache = Cache(folder, history_bytes=int(2.5 * size))
    keys = [CacheKey.of(make_result(query=f"path\n{name}").info) for name in "ab"]
    for turn in range(4):
        for key in keys:
            cache.save(key, make_result(*range(turn, 2000 + turn), after=100 * turn, query=key.query))
    kept = cache.history()
    assert sum(entry.size_bytes for entry in kept) <= 2.5 * size
    assert [entry.info.last_refresh_time for entry in kept if entry.info] == [at(200), at(200)]
    assert [cache.as_of(at(250), key).info.last_refresh_time for key in keys] == [at(200), at(200)]


def test_results_with_the_same_rows_take_the_room_of_one(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    for turn in range(5):
        cache.save(key, make_result(*range(100), after=100 * turn))
    (entry,) = cache.history()
    assert entry.info is not None
    assert entry.info.last_refresh_time == at(0)
    cache.save(key, make_result(*range(99), 7, after=500))
    assert len(cache.history()) == 1
    assert [len(cache.as_of(at(seconds), key)) for seconds in (0, 399, 499, 500)] == [100] * 4
    assert cache.as_of(at(499), key).table == make_result(*range(100)).table
    cache.save(key, make_result(*range(100), after=600))
    assert len(cache.history()) == 2
    assert cache.as_of(at(550), key).table == make_result(*range(99), 7).table


def test_a_clock_that_was_put_back(cache: Cache, key: CacheKey, results: list[Result], make_result: MakeResult) -> None:
    earlier = make_result(9, after=50)
    cache.save(key, earlier)
    assert cache.as_of(at(60), key) == earlier
    assert len(cache.history()) == 2


def test_history_is_listed_counted_and_private(cache: Cache, key: CacheKey, results: list[Result]) -> None:
    entries = cache.history(key)
    assert [entry.info.last_refresh_time for entry in entries if entry.info] == [at(0), at(100)]
    assert cache.size_bytes == sum(path.stat().st_size for path in cache.directory.rglob("*.parquet"))
    if os.name == "posix":
        assert all(path.stat().st_mode & 0o077 == 0 for path in (cache.directory / ".history").rglob("*"))


def test_clearing_a_result_clears_its_history(cache: Cache, key: CacheKey, results: list[Result]) -> None:
    cache.clear(key)
    assert cache.history() == ()
    assert list((cache.directory / ".history").iterdir()) == []


def test_clearing_all(cache: Cache, results: list[Result]) -> None:
    cache.clear()
    assert not (cache.directory / ".history").exists()


def test_clearing_old_results_leaves_younger_ones(cache: Cache, results: list[Result]) -> None:
    cache.clear(older_than=timedelta(days=10) - timedelta(seconds=50))
    assert [entry.info.last_refresh_time for entry in cache.history() if entry.info] == [at(100)]
    assert len(cache.entries()) == 1


def test_a_damaged_file_is_refused_and_moved_aside(cache: Cache, key: CacheKey, results: list[Result]) -> None:
    path = cache.history(key)[0].path
    content = bytearray(path.read_bytes())
    content[8:40] = bytes(32)
    path.write_bytes(content)
    with pytest.raises(CacheError, match="is damaged"):
        cache.as_of(at(0), key)
    (repair,) = cache.repair()
    assert (repair.key, repair.action) == (key.name, "moved aside")
    assert cache.as_of(at(100), key) == results[1]


def test_a_copy_where_the_system_has_no_hard_links(
    cache: Cache, key: CacheKey, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    results = [make_result(amount, after=100 * amount) for amount in (0, 1)]
    for result in results:
        cache.save(key, result)
    assert cache.as_of(at(0), key) == results[0]


def test_a_full_disk_costs_the_history_and_not_the_result(
    cache: Cache,
    key: CacheKey,
    make_result: MakeResult,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache.save(key, make_result(0))
    monkeypatch.setattr("sacnb._cache.folder.History.keep", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    newer = make_result(1, after=100)
    cache.save(key, newer)
    assert cache.load(key) == newer
    assert "is not kept" in caplog.text
