"""A folder of an export is the old one or the new one at every instant, and whatever was cut short is finished."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sacnb._cache.state import PartFile
from sacnb._files import exchange, load_with_digest
from sacnb._pull import publish
from sacnb._pull.publish import Publication, locked, manifest_of, recover
from sacnb._tenant import Tenant
from sacnb.errors import ExportError
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no fork")

# What shows up in the file system; the child dies just before one of these.
STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "ctypes.dlsym"}


def write_parts(folder: Path, value: int, count: int) -> list[PartFile]:
    folder.mkdir(parents=True)
    parts = []
    for number in range(count):
        path = folder / f"part-0000-{number:05d}.parquet"
        pq.write_table(pa.table({"n": [value] * 10}), path)
        data = path.read_bytes()
        parts.append(PartFile(path.name, 10, len(data), hashlib.sha256(data).hexdigest()))
    return parts


def publication(folder: Path, value: int, count: int) -> Publication:
    """Three files of ``value``, ready to be published, with what a pull leaves beside them."""
    rows = folder.with_name(f".{folder.name}.{value:08d}.partial")
    parts = write_parts(rows, value, count)
    (rows / "page-0000-00007.arrow").write_bytes(b"a page that is in a part by now")
    area = folder.parent / "cache" / ".pulls" / f"{value:032d}"
    area.mkdir(parents=True)
    about = {"started_at": "2026-11-20T07:00:00+00:00", "finished_at": "2026-11-20T07:01:00+00:00", "value": value}
    return Publication.of(folder, parts, rows=rows, area=area, question="q", about=about, resumed_rows=0)


def no_wait(_: float) -> None:
    """Readers of a test need no time."""


def values_in(folder: Path) -> tuple[int, ...] | None:
    """The values of all rows, of each file one; ``None`` where there is no folder."""
    if not folder.exists():
        return None
    return tuple(pq.read_table(path)["n"][0].as_py() for path in sorted(folder.iterdir()))


def manifest_fits(folder: Path) -> bool:
    """Return whether the manifest and the folder agree on every file that both name."""
    manifest = load_with_digest(manifest_of(folder).read_bytes())
    assert manifest is not None
    files = {part["file"]: part["sha256"] for part in manifest["parts"]}
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return all(files[name] == digest for name, digest in present.items() if name in files)


def dies_before_step(number: int, work: Callable[[], Any]) -> bool:
    """Run ``work`` in a fork that dies just before one of its steps; whether it got so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads; this child starts none
        child = os.fork()
    if child == 0:
        left = number

        def hook(event: str, _: Any) -> None:
            nonlocal left
            if event in STEPS:
                if left == 0:
                    os._exit(9)
                left -= 1

        sys.addaudithook(hook)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@posix
@pytest.mark.parametrize(
    ("replaces", "in_one_step", "files"),
    [
        (True, True, 2),
        (True, False, 1),
        (False, True, 1),
        pytest.param(True, True, 1, marks=pytest.mark.long),
        pytest.param(True, True, 3, marks=pytest.mark.long),
        pytest.param(True, False, 3, marks=pytest.mark.long),
        pytest.param(False, True, 3, marks=pytest.mark.long),
    ],
)
def test_a_publication_that_dies_anywhere_leaves_the_old_or_the_new_and_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, files: int, in_one_step: bool, replaces: bool
) -> None:
    if not in_one_step:
        monkeypatch.setattr(publish, "exchange", lambda *_: False)
    start = tmp_path / "start"
    folder = start / "x"
    old: tuple[int, ...] | None = None
    if replaces:
        first = publication(folder, 1, min(files, 2))
        first.begin()
        first.finish(sleep=no_wait)
        old = (1,) * min(files, 2)
    second = publication(folder, 2, files)
    new = (2,) * files
    if in_one_step and replaces and not can_exchange(tmp_path):
        pytest.skip("this file system exchanges no folders")

    def work() -> None:
        second.begin()
        second.finish(sleep=no_wait)

    seen, number = set(), 0
    kept = tmp_path / "kept"
    shutil.copytree(start, kept)
    while True:
        shutil.rmtree(start)
        shutil.copytree(kept, start)
        died = dies_before_step(number, work)
        number += 1
        found = values_in(folder)
        assert found in {old, new} or (found is None and not in_one_step)
        if found is not None and manifest_of(folder).exists() and files > 1:
            assert manifest_fits(folder)
        was_decided = folder.with_name(".x.pending.json").exists() or found == new
        recover(folder, sleep=no_wait)
        seen.add((found, was_decided))
        assert values_in(folder) == (new if was_decided else old)
        if was_decided:
            manifest = load_with_digest(manifest_of(folder).read_bytes())
            assert manifest is not None
            assert manifest["value"] == 2
            assert sorted(path.name for path in start.iterdir()) == ["cache", "x", "x.manifest.json"]
        if not died:
            break
    assert number > 10, "it died at many places"
    assert {found for found, _ in seen} >= {old, new}


def can_exchange(folder: Path) -> bool:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    return exchange(folder / "a", folder / "b")


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="this system exchanges no folders in one step")
def test_two_folders_change_places_in_one_step(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system exchanges no folders")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")


def test_files_of_two_exports_never_share_a_name_unless_they_are_the_same(tmp_path: Path) -> None:
    single = publication(tmp_path / "single" / "x", 1, 1)
    assert single.result.files == ("part-0000-00000.parquet",), "a single file is whole whenever it is opened"
    one, other, again = (
        publication(tmp_path / name / "x", value, 2) for name, value in zip("abc", (1, 2, 1), strict=True)
    )
    assert one.result.files == again.result.files
    assert not set(one.result.files) & set(other.result.files)


def test_a_damaged_part_is_not_published(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    decided = publication(folder, 2, 3)
    decided.begin()
    (decided.rows / "part-0000-00001.parquet").write_bytes(b"torn")
    assert recover(folder, sleep=no_wait) is None
    assert not folder.exists()
    assert not folder.with_name(".x.pending.json").exists()


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 100_000, b'{"files":1}', b"\xff"])
def test_what_is_no_publication_is_none(tmp_path: Path, text: bytes) -> None:
    folder = tmp_path / "x"
    folder.with_name(".x.pending.json").write_bytes(text)
    assert recover(folder, sleep=no_wait) is None
    assert list(tmp_path.iterdir()) == []


# -- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")
@pytest.mark.parametrize("name", [".x.{id}.partial", ".x.retired", ".x.tmp", ".x.pending.json", "x.manifest.json"])
def test_links_beside_an_export_are_never_followed(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path, name: str
) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(page_size=500)
    facts.to_parquet(tmp_path / "x")  # something to replace
    question = facts._staging({**facts._about(), "repeated": "keep"}, resume=True).id(target=str(tmp_path / "x"))[:8]
    mine = tmp_path / "mine"
    mine.mkdir()
    for file in ("part-0000-00000.parquet", "page-0000-00000.arrow", "notes.txt"):
        (mine / file).write_text("do not touch")
    link = tmp_path / name.format(id=question)
    link.unlink(missing_ok=True)
    link.symlink_to(mine if name.endswith(("partial", "retired")) else mine / "notes.txt")
    facts.to_parquet(tmp_path / "x")
    assert {path.name: path.read_text() for path in mine.iterdir()} == dict.fromkeys(
        ("part-0000-00000.parquet", "page-0000-00000.arrow", "notes.txt"), "do not touch"
    )
    assert pq.read_table(tmp_path / "x").num_rows == 3420


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")
def test_a_link_among_the_files_is_no_file_of_an_export(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "mine").write_text("do not touch")
    (tmp_path / "x" / "part-0000-00000.parquet").symlink_to(tmp_path / "mine")
    with pytest.raises(ExportError, match="was not written by an export"):
        connect_to(sandbox).model("US_EMPLOYMENT").facts().to_parquet(tmp_path / "x")
    assert (tmp_path / "mine").read_text() == "do not touch"


# -- one at a time ---------------------------------------------------------------------------------------------------


def test_a_folder_has_one_lock_whatever_is_exported_to_it(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path
) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    other = connect_to(sandbox, cache_dir=tmp_path / "another cache").model("US_EMPLOYMENT")
    refused: list[str] = []

    def meanwhile(_: Any) -> None:
        with pytest.raises(ExportError, match="Another process is exporting to") as caught:
            other.facts(where={"Sector": "31"}).to_parquet(tmp_path / "x")
        refused.append(str(caught.value))

    assert model.facts().to_parquet(tmp_path / "x", progress=meanwhile).row_count == 3420
    assert refused
    assert other.facts(where={"Sector": "31"}).to_parquet(tmp_path / "x").row_count == 228
    assert json.loads((tmp_path / "x.manifest.json").read_text())["row_count"] == 228
    assert not list(tmp_path.glob(".x*"))


@posix
def test_a_fork_does_not_take_the_lock_away(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    lock = locked(folder)
    with lock:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            lock.__exit__(None, None, None)  # as when the stack of the child is unwound
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(ExportError), locked(folder):
            pass
    with locked(folder):
        pass


@posix
def test_an_export_has_the_rights_of_the_users_files_and_its_rows_are_private_until_then(
    sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path
) -> None:
    def modes() -> set[str]:
        return {oct(stat.S_IMODE(path.lstat().st_mode)) for path in [*tmp_path.glob(".x.*/*"), *tmp_path.glob(".x.*l")]}

    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(page_size=500)
    seen: set[str] = set()
    mask = os.umask(0o022)
    try:
        facts.to_parquet(tmp_path / "x", progress=lambda _: seen.update(modes()))
        assert seen == {"0o700", "0o600"}
        assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "x").iterdir()} == {"0o644"}
        assert oct(stat.S_IMODE((tmp_path / "x").stat().st_mode)) == "0o755"
        (tmp_path / "x").chmod(0o700)
        facts.to_parquet(tmp_path / "x")
        assert oct(stat.S_IMODE((tmp_path / "x").stat().st_mode)) == "0o700", "as the user made it"
    finally:
        os.umask(mask)
