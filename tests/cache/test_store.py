"""Results come back exactly, and unusable ones come with the command that repairs them."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacnb._cache.folder import CacheKey
from sacnb._cache.staging import StagingArea, staging_root
from sacnb._cache.store import Cache
from sacnb._results.info import METADATA_KEYS, digest_of
from sacnb._results.result import Result
from sacnb.errors import CacheError, QueryError, UnknownNameError

MakeResult = Callable[..., Result]


def test_a_result_comes_back_exactly(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    kept = make_result(1, None, -3, 5)
    path = cache.save(key, kept)
    back = cache.load(key)
    assert back.table.equals(kept.table, check_metadata=True)
    assert (back.schema, back.info) == (kept.schema, kept.info)
    assert (back.stale, back.warning) == (False, None)
    assert path.name == f"{key.name}.parquet"


def test_an_empty_result_comes_back(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    cache.save(key, make_result())
    back = cache.load(key)
    assert len(back) == 0
    assert (back.info.min_date, back.info.max_date) == (None, None)
    assert back.table.schema.equals(make_result().table.schema, check_metadata=True)


def test_the_last_save_counts(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    assert not cache.has(key)
    cache.save(key, make_result(1))
    cache.save(key, make_result(2, 3, after=5))
    assert cache.has(key)
    assert cache.load(key) == make_result(2, 3, after=5)
    assert len(cache.entries()) == 1


def test_the_same_rows_make_the_same_bytes_but_for_the_time(
    cache: Cache, key: CacheKey, make_result: MakeResult
) -> None:
    amounts = [*range(1000), None]
    one = make_result(*amounts)
    first = cache.save(key, one).read_bytes()
    later = make_result(*amounts, after=86_400)
    halves = pa.concat_tables([later.table.slice(0, 300), later.table.slice(300)])  # other pages, the same rows
    second = cache.save(key, dataclasses.replace(later, table=halves)).read_bytes()
    assert first != second
    time = re.compile(rb"2026-11-\d\dT07:26:00\.000000\+00:00")
    assert len(time.findall(first)) == 1
    digest = re.compile(rb"(?:sacnb\.digest|sacnb_file_sha256).{2,4}?[0-9a-f]{64}")
    assert len(digest.findall(first)) == 2
    assert digest.sub(b"", time.sub(b"", first)) == digest.sub(b"", time.sub(b"", second))


def test_rows_keep_their_order(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    kept = make_result(5, 1, 4, 1, 3)
    cache.save(key, kept)
    assert cache.load(key).table.column("Amount").to_pylist() == [5, 1, 4, 1, 3]


def test_row_groups_are_large_and_compressed(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    result = make_result(*range(12))
    many = pa.concat_tables([result.table] * 100_000)
    info = dataclasses.replace(result.info, row_count=many.num_rows)
    path = cache.save(key, dataclasses.replace(result, table=many, info=info))
    footer = pq.read_metadata(path)
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [1_000_000, 200_000]
    assert footer.row_group(0).column(0).compression == "ZSTD"
    assert cache.load(key).table.equals(many)


def test_the_footer_holds_the_metadata(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    footer = pq.read_metadata(cache.save(key, make_result(1, 2))).metadata
    texts = {name.decode(): value.decode() for name, value in footer.items() if name != b"ARROW:schema"}
    assert set(texts) == {*METADATA_KEYS, "sacnb_file_sha256"}
    assert texts["sacnb.last_refresh_time"] == "2026-11-20T07:26:00.000000+00:00"
    assert texts["sacnb.row_count"] == "2"
    assert (texts["sacnb.min_date"], texts["sacnb.max_date"]) == ("2024-01-01", "2024-02-01")


def test_no_secret_and_no_name_is_kept(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    path = cache.save(key, make_result(1))
    assert b"sb-client" not in path.read_bytes()


def test_a_result_of_another_question_is_not_kept(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    with pytest.raises(ValueError, match="another question"):
        cache.save(key, make_result(1, query="other"))
    assert cache.entries() == ()


DAMAGE: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("empty", lambda data: b"", "is empty"),
    ("another format", lambda data: b"Date,Region\n" + data, "is not a Parquet file"),
    ("half written", lambda data: data[: len(data) // 2], "is incomplete"),
    ("one byte", lambda data: data[:1], "is not a Parquet file"),
    ("only a beginning", lambda data: data[:4], "is incomplete"),
    ("a broken footer", lambda data: data[:-2000] + b"\xff" * 1000 + data[-1000:], "is damaged"),
    ("a text altered", lambda data: _with_footer(data, "sacnb.query", "x", sealed=False), "is damaged (its metadata"),
    ("a time altered", lambda data: data.replace(b"2026-11-20T07", b"2036-11-20T07"), "is damaged (its digest"),
    ("nested metadata", lambda data: _with_footer(data, "sacnb.schema", "[" * 100_000), "unreadable metadata"),
    ("foreign metadata", lambda data: _with_footer(data, "sacnb.columns", "[[1]]"), "unreadable metadata"),
    ("a date altered", lambda data: data.replace(b"2024-01-01", b"2023-01-01"), "is damaged (its digest"),
    ("a flipped bit in the rows", lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "is damaged"),
    ("another version", lambda data: _with_footer(data, "sacnb.contract_version", "999"), "has version 999"),
    ("not ours", lambda data: _with_footer(data, "sacnb.contract_version", None), "was not written by sacnb"),
    ("a field missing", lambda data: _with_footer(data, "sacnb.query", None), "unreadable metadata"),
    ("a field broken", lambda data: _with_footer(data, "sacnb.columns", "[{}]"), "unreadable metadata"),
    ("a foreign source", lambda data: _with_footer(data, "sacnb.source", "moon"), "unreadable metadata"),
    ("rows missing", lambda data: _with_footer(data, "sacnb.row_count", "7"), "other rows"),
    ("another query", lambda data: _with_footer(data, "sacnb.query", "other"), "belongs to another query"),
]


def test_one_flipped_bit_anywhere_is_noticed_or_does_no_harm(
    cache: Cache, key: CacheKey, make_result: MakeResult
) -> None:
    kept = make_result(*range(40), None)
    path = cache.save(key, kept)
    whole = path.read_bytes()
    harmless = range(whole.index(b"sacnb_file_sha256"), whole.index(b"sacnb_file_sha256") + 17)
    for place in [*range(3, len(whole), 61), *harmless]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 if place in harmless else 1 << place % 8
        path.write_bytes(damaged)
        if place in harmless:  # without its key there is no digest, and the pages have checksums
            assert cache.load(key) == kept
        else:
            with pytest.raises(CacheError):
                cache.load(key)


def test_a_file_without_a_digest_is_read_by_its_checksums(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    kept = make_result(*range(100))
    path = cache.save(key, kept)
    path.write_bytes(_with_footer(path.read_bytes(), "sacnb.row_count", "100"))
    assert cache.load(key) == kept


def _with_footer(data: bytes, name: str, value: str | None, *, sealed: bool = True) -> bytes:
    """The same rows with another text in the footer; sealed, as another program that knows the rules would do it."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table = file.read().replace_schema_metadata(None)
        texts = {k.decode(): v.decode() for k, v in file.metadata.metadata.items() if k.startswith(b"sacnb.")}
    digest = texts.pop("sacnb.digest")
    texts = {k: v for k, v in {**texts, name: value}.items() if v is not None}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**texts, "sacnb.digest": digest_of(texts, table.schema) if sealed else digest})
    return bytes(sink.getvalue())


@pytest.mark.parametrize(("damage", "words"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_an_unusable_entry_is_named_with_its_repair_and_repaired(
    cache: Cache, key: CacheKey, make_result: MakeResult, damage: Callable[[bytes], bytes], words: str
) -> None:
    path = cache.save(key, make_result(*range(100)))
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(CacheError) as caught:
        cache.load(key)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.repair_command == f"sacnb cache repair --key {key.name}"

    (repair,) = cache.repair(key.name)
    assert (repair.key, repair.action) == (key.name, "moved aside")
    assert words in repair.reason
    assert cache.entries() == ()
    assert len(list((cache.directory / ".aside").iterdir())) == 1
    cache.save(key, make_result(1))
    assert cache.load(key) == make_result(1)
    assert cache.repair() == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_is_found_or_does_not_matter(
    cache: Cache, key: CacheKey, make_result: MakeResult, data: st.DataObject
) -> None:
    path = cache.save(key, make_result(1, None, 3))
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    path.write_bytes(whole)
    try:
        back = cache.load(key)
    except CacheError:
        return
    assert back == make_result(1, None, 3), "the time of the refresh too"


def test_a_list_shows_what_can_be_used_and_what_cannot(cache: Cache, make_result: MakeResult) -> None:
    good, bad = make_result(1, query="a"), make_result(2, query="b")
    cache.save(CacheKey.of(good.info), good)
    broken = cache.save(CacheKey.of(bad.info), bad)
    broken.write_bytes(b"")
    (cache.directory / "mine.parquet").write_bytes(b"not an entry")
    by_key = {entry.key: entry for entry in cache.entries()}
    assert len(by_key) == 2
    entry = by_key[CacheKey.of(good.info).name]
    assert (entry.info, entry.problem, entry.provider_id) == (good.info, None, "Sales:2024")
    assert entry.size_bytes == entry.path.stat().st_size > 0
    entry = by_key[CacheKey.of(bad.info).name]
    assert (entry.info, entry.problem, entry.provider_id) == (None, "It is empty.", "")
    assert cache.size_bytes == sum(one.size_bytes for one in by_key.values())


def test_a_folder_in_the_place_of_an_entry(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    path = cache.save(key, make_result(1))
    path.unlink()
    path.mkdir()
    (entry,) = cache.entries()
    assert entry.problem is not None
    assert entry.problem.startswith("It cannot be read")
    for refused in (lambda: cache.load(key), lambda: cache.save(key, make_result(2)), cache.clear, cache.repair):
        with pytest.raises(CacheError, match="SAC_CACHE_DIR"):
            refused()


def test_an_entry_that_is_gone_needs_no_repair(cache: Cache, key: CacheKey) -> None:
    cache.directory.mkdir()
    assert cache.repair(key) == ()


def test_a_cache_says_where_it_is(cache: Cache, folder: Path) -> None:
    assert repr(cache) == f"Cache({str(folder)!r})"


def test_an_entry_is_found_by_the_beginning_of_its_key(cache: Cache, make_result: MakeResult) -> None:
    for query in "ab":
        cache.save(CacheKey.of(make_result(1, query=query).info), make_result(1, query=query))
    one = CacheKey.of(make_result(query="a").info)
    assert cache.show(one.name[:-40]).key == one.name
    assert cache.show(one).key == one.name
    for unclear in ("sales-2024", "", "nothing"):
        with pytest.raises(UnknownNameError):
            cache.show(unclear)
    with pytest.raises(UnknownNameError):
        cache.show(CacheKey.of(make_result(query="c").info))


@pytest.mark.parametrize("bad", [5, b"sales", ["sales"], {"a": 1}, object()])
def test_arguments_are_checked(cache: Cache, bad: Any) -> None:
    for use in (
        lambda: cache.show(bad),
        lambda: cache.clear(bad),
        lambda: cache.clear(older_than="x" if bad == 5 else bad),
        lambda: cache.clean_staging(bad),
        lambda: cache.clean_staging(older_than="x" if bad == 5 else bad),
    ):
        with pytest.raises(QueryError):
            use()


def test_clearing_one_the_old_or_all(cache: Cache, make_result: MakeResult) -> None:
    day = 86_400
    results = {query: make_result(1, query=query, after=after) for query, after in {"old": 0, "new": 9 * day}.items()}
    for result in (*results.values(), make_result(1, query="bad")):
        path = cache.save(CacheKey.of(result.info), result)
    path.write_bytes(b"")
    other = cache.directory / "mine.parquet"
    other.touch()

    assert cache.clear(older_than=timedelta(days=30)) == ()
    (gone,) = cache.clear(older_than=timedelta(days=5))  # it is day 10
    assert gone.info == results["old"].info
    (gone,) = cache.clear(CacheKey.of(results["new"].info))
    assert gone.info == results["new"].info
    (gone,) = cache.clear()
    assert gone.problem == "It is empty."
    assert cache.entries() == ()
    assert other.exists()


def test_a_result_from_the_future_is_cleared_with_the_old_ones(cache: Cache, make_result: MakeResult) -> None:
    future = make_result(1, after=365 * 86_400)
    cache.save(CacheKey.of(future.info), future)
    assert [entry.info for entry in cache.clear(older_than=timedelta(days=5))] == [future.info]


def test_sizes_of_entries_that_vanish_meanwhile_are_left_out(
    cache: Cache, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [cache.save(CacheKey.of(one.info), one) for one in (make_result(1, query="a"), make_result(2, query="b"))]
    names = cache._folder.names

    def names_and_then_gone(_: object) -> list[str]:
        found = names()
        paths[0].unlink(missing_ok=True)  # as another process might
        return found

    monkeypatch.setattr(type(cache._folder), "names", names_and_then_gone)
    assert cache.size_bytes == paths[1].stat().st_size
    assert cache.repair() == ()
    assert len(cache.entries()) == 1


def test_clearing_all_removes_results_that_were_moved_aside(
    cache: Cache, key: CacheKey, make_result: MakeResult
) -> None:
    cache.save(key, make_result(1)).write_bytes(b"x")
    cache.repair()
    assert cache.size_bytes == 1
    cache.clear()
    assert cache.size_bytes == 0


def test_a_folder_that_is_not_there_is_an_empty_cache(cache: Cache, key: CacheKey) -> None:
    assert (cache.entries(), cache.repair(), cache.clear(), cache.size_bytes) == ((), (), (), 0)
    assert not cache.has(key)
    with pytest.raises(CacheError, match="There is no cache entry"):
        cache.load(key)
    assert not cache.directory.exists()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, key: CacheKey, make_result: MakeResult) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(CacheError, match="SAC_CACHE_DIR"):
        Cache(tmp_path / "kept").save(key, make_result(1))
    with pytest.raises(CacheError, match="SAC_CACHE_DIR"):
        Cache(tmp_path / "kept" / "deeper").save(key, make_result(1))


@pytest.fixture
def read_only(key: CacheKey, make_result: MakeResult) -> Iterator[Cache]:
    """A cache with one entry in a folder that this process may read and not write to."""
    if os.name == "nt":
        pytest.skip("Windows has no such permission bits")
    with tempfile.TemporaryDirectory() as parent:  # pytest's own folders are closed to everybody else
        Path(parent).chmod(0o755)
        cache = Cache(Path(parent) / "kept")
        cache.save(key, make_result(1))
        for path in (cache.directory, *cache.directory.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        root = os.geteuid() == 0  # to whom nothing is forbidden: be somebody else for a moment
        if root:
            os.seteuid(65534)
        try:
            yield cache
        finally:
            if root:
                os.seteuid(0)
                # Folders that this somebody may not read count as empty in there, and the next import finds nothing.
                importlib.invalidate_caches()
            cache.directory.chmod(0o755)


def test_a_folder_that_may_only_be_read(read_only: Cache, key: CacheKey, make_result: MakeResult) -> None:
    for forbidden in (lambda: read_only.save(key, make_result(2)), read_only.clear, read_only.repair):
        with pytest.raises(CacheError, match="SAC_CACHE_DIR") as caught:
            forbidden()
        assert caught.value.repair_command == "sacnb doctor"
    assert read_only.load(key) == make_result(1)
    assert len(read_only.entries()) == 1


def test_a_folder_that_may_not_even_be_read(read_only: Cache, key: CacheKey) -> None:
    ours = os.geteuid()
    os.seteuid(os.getuid())  # only the owner may close it
    read_only.directory.chmod(0)
    os.seteuid(ours)
    for forbidden in (lambda: read_only.has(key), lambda: read_only.load(key), read_only.entries):
        with pytest.raises(CacheError, match="SAC_CACHE_DIR"):
            forbidden()


def test_the_folder_is_for_its_owner_alone(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    cache.save(key, make_result(1))
    if os.name != "nt":
        assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_folders_and_files_are_private_whatever_the_umask_says(
    tmp_path: Path, key: CacheKey, make_result: MakeResult, mask: int
) -> None:
    before = os.umask(mask)
    try:
        cache = Cache(tmp_path / "user" / "cache" / "sacnb")
        cache.save(key, make_result(1))
        area = StagingArea.open(staging_root(cache.directory), {"query": "x"})
        assert area is not None
        area.write_page(0, 0, make_result(1).table)
        area.close()
    finally:
        os.umask(before)
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "user").rglob("*")}
    assert modes == {True: 0o700, False: 0o600}
    assert stat.S_IMODE((tmp_path / "user").stat().st_mode) == 0o700, "a parent that was made too"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_folder_that_is_there_is_made_private_if_nothing_else_is_in_it(
    tmp_path: Path, key: CacheKey, make_result: MakeResult
) -> None:
    for name, other, expected in (("own", None, 0o700), ("home", "letters.txt", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o755)
        if other:
            (folder / other).touch()
        Cache(folder).save(key, make_result(1))
        assert stat.S_IMODE(folder.stat().st_mode) == expected


def test_no_path_is_too_long_for_windows(tmp_path: Path, make_result: MakeResult) -> None:
    """260 characters with the longest names, in a folder of 100: as AppData of a user with a long name."""
    result = make_result(1)
    info = dataclasses.replace(result.info, provider_id="C" * 200, entity_set="FactDataAggregation" * 5)
    seen: set[str] = set()

    def open_new(path: Path) -> IO[bytes]:
        seen.add(str(path.relative_to(tmp_path)))
        return path.open("xb")

    cache = Cache(tmp_path, open_new=open_new)
    path = cache.save(CacheKey.of(info), dataclasses.replace(result, info=info))
    area = StagingArea.open(staging_root(tmp_path), {"provider_id": "C" * 200})
    assert area is not None
    area.write_page(255, 99_999, result.table)
    area.close()
    path.write_bytes(b"damaged")
    cache.repair()
    seen.update(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))
    assert len(seen) > 8
    assert max(map(len, seen)) <= 160


def test_threads_that_save_at_once_leave_one_whole_result(cache: Cache, key: CacheKey, make_result: MakeResult) -> None:
    results = [make_result(*[n] * 500, after=n) for n in range(8)]
    seen: list[Result] = []

    def work(result: Result) -> None:
        cache.save(key, result)
        seen.append(cache.load(key))

    threads = [threading.Thread(target=work, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(result in results for result in seen)
    assert cache.load(key) in results
    assert list((cache.directory / ".staging").iterdir()) == []
