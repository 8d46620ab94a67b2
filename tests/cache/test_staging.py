"""Unfinished pulls resume, torn files are pulled again, and running pulls are left alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sacnb._cache.staging import StagingArea, clean_staging, has_area, list_staging, staging_root
from sacnb._cache.state import PageFile, SegmentState
from sacnb._cache.store import Cache
from sacnb._files import dump_with_digest, load_with_digest
from sacnb._frames.convert import arrow_schema
from sacnb._odata.schema import Column

NOW = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
IDENTITY = {"provider_id": "SALES", "entity_set": "FactData", "query": "all of it", "columns": "[]"}
SCHEMA = arrow_schema([Column("Date", "Edm.String", "dimension", label="Month")])

Open = Callable[..., StagingArea | None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return staging_root(tmp_path / "cache")


@pytest.fixture
def open_area(root: Path) -> Iterator[Open]:
    opened: list[StagingArea] = []

    def open_area(identity: dict[str, str] = IDENTITY, **options: Any) -> StagingArea | None:
        area = StagingArea.open(root, identity, **{"now": lambda: NOW, **options})
        if area is not None:
            opened.append(area)
        return area

    yield open_area
    for area in opened:
        area.close()


def table(first: int, rows: int) -> pa.Table:
    return pa.table([pa.array([f"row {number}" for number in range(first, first + rows)])], schema=SCHEMA)


def add_pages(area: StagingArea, *sizes: int, segment: int = 0, last: bool = False) -> None:
    for position, rows in enumerate(sizes):
        state = area.segment(segment)
        file, digest = area.write_page(segment, state.next_index, table(state.rows, rows))
        is_last = last and position == len(sizes) - 1
        page = PageFile(
            state.next_index,
            file,
            state.rows,
            rows,
            digest,
            f"/F?at={state.rows}",
            None if is_last else f"/F?at={state.rows + rows}",
        )
        area.add_page(segment, page, announced=99)


def buffer_of(rows: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return sink.getvalue()


def again(open_area: Open, area: StagingArea, **options: Any) -> StagingArea:
    area.close()
    found = open_area(**options)
    assert found is not None
    return found


def test_pages_come_back_as_they_were_with_the_link_to_resume_from(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    assert area.segment(0) == SegmentState()
    area.keep_plan({"segments": []})
    add_pages(area, 3, 2)

    later = again(open_area, area, now=lambda: NOW + timedelta(hours=11))
    state = later.segment(0)
    assert (state.rows, state.next_index, state.next_link, state.announced) == (5, 2, "/F?at=5", 99)
    assert not state.is_complete
    assert [later.read_page(page) for page in state.pages] == [table(0, 3), table(3, 2)]
    assert later.read_page(state.pages[0]).schema.equals(SCHEMA, check_metadata=True)
    assert (later.plan, later.started_at) == ({"segments": []}, NOW)


def test_the_last_page_completes_its_segment(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 3, 0, last=True)
    add_pages(area, 1, segment=7)
    later = again(open_area, area)
    assert (later.segment(0).is_complete, later.segment(0).next_link, later.segment(0).rows) == (True, None, 3)
    assert (later.segment(7).is_complete, later.segment(7).rows) == (False, 1)


def test_a_part_takes_the_place_of_the_pages_it_holds_entirely(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 3, 3, 3)
    area.write_part(0, buffer_of(table(0, 5)), 5)
    later = again(open_area, area)
    state = later.segment(0)
    assert (state.part_rows, state.rows, [page.first_row for page in state.pages]) == (5, 9, [3, 6])
    assert sorted(path.name for path in later.rows.iterdir()) == [
        "page-0000-00001.arrow",
        "page-0000-00002.arrow",
        "part-0000-00000.parquet",
    ]
    assert pq.read_table(later.rows / state.parts[0].file) == table(0, 5)
    later.write_part(0, buffer_of(table(5, 4)), 4)
    assert (later.segment(0).part_rows, later.segment(0).pages, later.segment(0).next_link) == (9, (), "/F?at=9")


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [damage, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_torn_page_and_those_after_it_are_pulled_again(open_area: Open, spoil: Callable[[Path], Any]) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 2, 2, 2, last=True)
    spoil(area.rows / "page-0000-00001.arrow")
    state = again(open_area, area).segment(0)
    assert (state.rows, state.next_index, state.next_link, state.is_complete) == (2, 1, "/F?at=2", False)


@pytest.mark.parametrize("spoil", [damage, Path.unlink])
def test_a_segment_with_a_torn_part_starts_over(open_area: Open, spoil: Callable[[Path], Any]) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    add_pages(area, 4, segment=1)
    area.write_part(0, buffer_of(table(0, 4)), 4)
    spoil(area.rows / "part-0000-00000.parquet")
    later = again(open_area, area)
    assert later.segment(0) == SegmentState()
    assert later.segment(1).rows == 4


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"digest": "x"}',
        b"[]",
        b'{"parts": [], "pages": []',
        b'{"parts": [{}], "pages": []}',
        b'{"parts": [], "pages": [], "surprise": 1}',
        json.dumps({"parts": [], "pages": []}).encode(),
    ],
)
def test_a_state_that_cannot_be_read_counts_as_none(open_area: Open, text: bytes) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    (area.directory / "segment-0000.json").write_bytes(text)
    assert again(open_area, area).segment(0) == SegmentState()


@pytest.mark.parametrize(
    "values",
    [
        {"parts": [{"file": "../../x", "rows": 1, "size_bytes": 1, "sha256": ""}], "pages": []},
        {"parts": [], "pages": [], "next_link": "@elsewhere.invalid/F"},
        {"parts": [], "pages": [], "next_link": "/F?at=5", "next_row": 5},  # no file has these rows
        {"parts": 1, "pages": []},
        {"parts": [1], "pages": []},
    ],
)
def test_a_state_that_makes_no_sense_counts_as_none(open_area: Open, values: dict[str, Any]) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    written = {"run": area._head["run"], "segment": 0, **values}
    (area.directory / "segment-0000.json").write_bytes(dump_with_digest(written))
    assert again(open_area, area).segment(0) == SegmentState()


@pytest.mark.parametrize("name", ["pull.json", "segment-0000.json"])
def test_one_flipped_bit_anywhere_is_noticed(open_area: Open, name: str) -> None:
    area = open_area()
    assert area is not None
    area.keep_plan({"segments": [["/F?a=1", 20, None, True]], "expected_rows": 20, "page_size": None})
    add_pages(area, 3, 2)
    area.write_part(0, buffer_of(table(0, 4)), 4)
    area.close()
    path = area.directory / name
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        assert load_with_digest(bytes(damaged)) is None, (place, whole[place - 20 : place + 1])
    damaged = bytearray(whole)
    damaged[whole.index(b"20" if name == "pull.json" else b"4,")] ^= 1
    path.write_bytes(damaged)
    later = open_area()
    assert later is not None
    assert later.segment(0) == SegmentState()
    assert later.plan is None or name != "pull.json"


def test_the_state_of_another_segment_or_another_run_counts_as_none(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    shutil.copy(area.directory / "segment-0000.json", area.directory / "segment-0001.json")
    older = (area.directory / "segment-0000.json").read_bytes()
    later = again(open_area, area)
    assert later.segment(1) == SegmentState()
    later.begin_anew()
    add_pages(later, 4)  # the same pages
    (later.directory / "segment-0000.json").write_bytes(older)
    assert again(open_area, later).segment(0) == SegmentState()


def test_a_page_without_rows_moves_a_segment_on_and_needs_no_file(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 3)
    size = (area.directory / "segment-0000.json").stat().st_size
    for index in range(1, 50):
        area.add_page(0, PageFile(index, "", 3, 0, "", f"/F?at={index}", f"/F?at={index + 1}"), announced=99)
    assert (area.directory / "segment-0000.json").stat().st_size < size + 20
    state = again(open_area, area).segment(0)
    assert (state.rows, state.next_index, state.next_link, len(state.pages)) == (3, 50, "/F?at=50", 1)


def test_a_torn_page_across_the_end_of_a_part_keeps_the_part(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 3, 3, 3)
    area.write_part(0, buffer_of(table(0, 5)), 5)
    damage(area.rows / "page-0000-00001.arrow")
    state = again(open_area, area).segment(0)
    assert (state.part_rows, state.rows, state.next_row, state.next_link) == (5, 5, 3, "/F?at=3")


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")
def test_links_in_the_staging_folder_are_not_followed(root: Path, open_area: Open, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "rows").mkdir(parents=True)
    for name in ("part-0000-00000.parquet", "rows/page-0000-00000.arrow", "pull.json"):
        (mine / name).write_text("do not touch")
    area = open_area()
    assert area is not None
    area.discard()
    area.directory.symlink_to(mine, target_is_directory=True)
    area = open_area()
    assert area is not None
    add_pages(area, 2)
    area.rows.rename(area.directory / "away")
    area.rows.symlink_to(mine, target_is_directory=True)
    area.close()
    clean_staging(root)
    left = {str(path.relative_to(mine)): path.read_text() for path in mine.rglob("*") if path.is_file()}
    assert left == dict.fromkeys(("part-0000-00000.parquet", "rows/page-0000-00000.arrow", "pull.json"), "do not touch")
    assert list_staging(root) == ()


@pytest.mark.parametrize(("ahead", "resumed"), [(timedelta(seconds=30), True), (timedelta(days=1), False)])
def test_a_pull_from_the_future_is_not_resumed_unless_clocks_differ_a_little(
    open_area: Open, ahead: timedelta, *, resumed: bool
) -> None:
    area = open_area(now=lambda: NOW + ahead)
    assert area is not None
    add_pages(area, 4)
    assert (again(open_area, area).segment(0).rows == 4) is resumed


@pytest.mark.parametrize(
    "options",
    [
        {"resume": False},
        {"now": lambda: NOW + timedelta(hours=13)},
        {"now": lambda: NOW + timedelta(hours=2), "max_age": timedelta(hours=1)},
    ],
)
def test_pulls_that_are_old_or_not_wanted_are_not_resumed(open_area: Open, options: dict[str, Any]) -> None:
    area = open_area()
    assert area is not None
    area.keep_plan({"segments": []})
    add_pages(area, 4)
    later = again(open_area, area, **options)
    assert (later.segment(0), later.plan) == (SegmentState(), None)
    assert later.started_at == options.get("now", lambda: NOW)()
    assert list(later.rows.iterdir()) == []


@pytest.mark.parametrize("key", ["query", "columns", "provider_id"])
def test_another_question_is_another_area(root: Path, open_area: Open, key: str) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    other = {**IDENTITY, key: "another"}
    assert not has_area(root, other)
    second = open_area(other)
    assert second is not None
    assert second.segment(0) == SegmentState()
    assert again(open_area, area).segment(0).rows == 4


def test_a_pull_of_another_format_is_not_resumed(open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    head = json.loads((area.directory / "pull.json").read_bytes())
    del head["digest"]
    (area.directory / "pull.json").write_bytes(dump_with_digest({**head, "format": 0}))
    assert again(open_area, area).segment(0) == SegmentState()


def test_an_area_in_use_is_not_given_to_anybody_else(root: Path, open_area: Open) -> None:
    area = open_area()
    assert area is not None
    add_pages(area, 4)
    assert open_area() is None
    assert [one.is_running for one in list_staging(root)] == [True]
    assert clean_staging(root) == ()
    assert area.segment(0).rows == 4
    assert area.directory.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_the_lock_of_a_killed_process_is_free(root: Path, open_area: Open) -> None:
    code = (
        "import os, signal, sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from sacnb._cache.staging import StagingArea\n"
        "now = lambda: datetime(2026, 11, 20, 7, tzinfo=UTC)\n"
        f"area = StagingArea.open(Path(sys.argv[1]), {IDENTITY!r}, now=now)\n"
        "assert area is not None\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert done.returncode == -9
    (left,) = list_staging(root)
    assert (left.is_running, left.provider_id, left.started_at, left.rows) == (False, "SALES", NOW, 0)
    assert open_area() is not None


def test_rows_may_lie_elsewhere_and_only_ours_are_removed_there(tmp_path: Path, open_area: Open) -> None:
    rows = tmp_path / "beside"
    rows.mkdir()
    (rows / "notes.txt").write_text("mine")
    area = open_area(rows=rows)
    assert area is not None
    add_pages(area, 2)
    area.write_part(0, buffer_of(table(0, 1)), 1)
    area.discard()
    assert [path.name for path in rows.iterdir()] == ["notes.txt"]
    assert not area.directory.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no modes")
def test_the_staging_folder_is_for_its_owner_alone(root: Path, open_area: Open) -> None:
    area = open_area()
    assert area is not None
    assert [path.stat().st_mode & 0o777 for path in (root, area.directory)] == [0o700, 0o700]


def test_leftovers_are_listed_by_age_and_cleaned(root: Path, open_area: Open, tmp_path: Path) -> None:
    beside = tmp_path / "x.partial"
    for age, name in ((30, "old"), (2, "young")):
        area = open_area({**IDENTITY, "query": name, "target": "/data/x"}, rows=beside if name == "old" else None)
        assert area is not None
        area._head["started_at"] = (NOW - timedelta(hours=age)).isoformat()
        area.keep_plan({})
        add_pages(area, 5)
        area.close()
    (root / ("0" * 32)).mkdir()

    found = list_staging(root)
    assert [(one.query, one.rows, one.target, one.problem is None) for one in found] == [
        ("", 0, "", False),
        ("old", 5, "/data/x", True),
        ("young", 5, "/data/x", True),
    ]
    assert all(one.size_bytes > 500 for one in found[1:])

    gone = clean_staging(root, older_than=timedelta(hours=24), now=lambda: NOW)
    assert [one.query for one in gone] == ["", "old"]
    assert not beside.exists()
    assert [one.query for one in clean_staging(root, "nothing of that name")] == []
    assert [one.query for one in clean_staging(root, found[2].id)] == ["young"]
    assert list_staging(root) == ()


def test_without_a_folder_nothing_is_left_over(root: Path) -> None:
    assert list_staging(root) == clean_staging(root) == ()


def test_a_cache_lists_its_leftovers(tmp_path: Path, open_area: Open) -> None:
    cache = Cache(tmp_path / "cache", now=lambda: NOW)
    assert cache.staging() == ()
    area = open_area()
    assert area is not None
    assert [one.is_running for one in cache.staging()] == [True]
    assert cache.clean_staging() == ()
    area.close()
    assert cache.clean_staging(older_than=timedelta(hours=1)) == ()
    assert [one.provider_id for one in cache.clean_staging()] == ["SALES"]
    assert cache.entries() == ()
