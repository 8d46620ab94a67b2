"""A killed process, a full disk, two processes at once: the last good result is intact."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import forking
import pytest

from sacnb._cache.folder import CacheKey
from sacnb._cache.store import Cache
from sacnb._results.result import Result
from sacnb.errors import CacheError

MakeResult = Callable[..., Result]
SAVER = Path(__file__).with_name("saver.py")

posix = pytest.mark.skipif(os.name == "nt", reason="kills by POSIX signals")


@pytest.fixture
def files(tmp_path: Path, make_result: MakeResult) -> list[Path]:
    """Two results of the same query, to be saved by other processes."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, amount in zip(paths, (1, 2), strict=True):
        make_result(*[amount] * 20_000, after=amount).to_parquet(path)
    return paths


@contextmanager
def saver(folder: Path, point: str, *files: Path, saves: int = 10**6) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SAVER), str(folder), point, *map(str, files)]
    env = {**os.environ, "SAVES": str(saves)}
    with forking.Forked(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


@posix
@pytest.mark.parametrize("point", ["opening", "writing", "flushing", "syncing", "replacing"])
def test_a_process_killed_while_it_saves_leaves_the_last_good_result(
    cache: Cache, key: CacheKey, files: list[Path], point: str
) -> None:
    good = Result.from_parquet(files[0])
    cache.save(key, good)
    with saver(cache.directory, point, files[1]) as process:
        assert process.wait() == -signal.SIGKILL
    assert cache.load(key) == good
    assert (cache.directory / ".staging" / key.name).is_dir()  # it really was in the middle of it

    (repair,) = cache.repair()
    assert (repair.key, repair.action) == (key.name, "removed")
    assert list((cache.directory / ".staging").iterdir()) == []
    assert cache.load(key) == good
    newer = Result.from_parquet(files[1])
    cache.save(key, newer)
    assert cache.load(key) == newer


@posix
def test_the_next_save_clears_what_a_killed_process_left(cache: Cache, key: CacheKey, files: list[Path]) -> None:
    with saver(cache.directory, "syncing", files[1]) as process:
        process.wait()
    assert not cache.has(key)
    cache.save(key, Result.from_parquet(files[0]))
    assert cache.repair() == ()


@posix
def test_a_process_killed_at_any_moment_leaves_one_of_the_results(
    cache: Cache, key: CacheKey, files: list[Path]
) -> None:
    either = [Result.from_parquet(file) for file in files]
    for saves in (1, 2, 5):
        with saver(cache.directory, "never", *files) as process:
            assert process.stdout is not None
            for _ in range(saves):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert cache.load(key) in either
        assert not [entry for entry in cache.entries() if entry.problem]


def test_processes_that_save_at_once_leave_whole_results(cache: Cache, key: CacheKey, files: list[Path]) -> None:
    either = [Result.from_parquet(file) for file in files]
    with (
        saver(cache.directory, "never", *files, saves=30) as one,
        saver(cache.directory, "never", *reversed(files), saves=30) as other,
    ):
        assert one.stdout is not None
        loads = 0
        for _ in one.stdout:
            assert cache.load(key) in either
            loads += 1
        assert (one.wait(), other.wait()) == (0, 0)
    assert loads == 30
    assert cache.load(key) in either
    assert list((cache.directory / ".staging").iterdir()) == []


@posix
def test_repair_leaves_an_entry_alone_that_is_being_written(
    folder: Path, key: CacheKey, make_result: MakeResult
) -> None:
    during: list[Any] = []

    def open_new(path: Path) -> IO[bytes]:
        # In the middle of the save, and by another holder of locks: a repair, and a second save that will not wait.
        during.append(other.repair())
        with pytest.raises(CacheError, match="Another process") as caught:
            other.save(key, make_result(2))
        during.append(caught.value.repair_command)
        return path.open("xb")

    other = Cache(folder, lock_timeout_s=0.0)
    Cache(folder, open_new=open_new).save(key, make_result(1))
    assert during == [(), "sacnb cache list"]
    assert other.load(key) == make_result(1)


class Full(io.FileIO):
    """A file on a disk that is full after some bytes."""

    def __init__(self, path: Path, room: int, error: int) -> None:
        super().__init__(path, "xb")
        self._room = room
        self._error = error

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._room:
            raise OSError(self._error, os.strerror(self._error))
        return super().write(data) or 0


@pytest.mark.parametrize("room", [0, 4, 100, 1000])
@pytest.mark.parametrize(
    "failure",
    [
        (errno.ENOSPC, "is full", "sacnb cache list"),
        (errno.EDQUOT, "is full", "sacnb cache list"),
        (errno.EIO, "cannot be written", "sacnb doctor"),
        (errno.EACCES, "a folder of your own", "sacnb doctor"),
    ],
)
def test_a_disk_that_fails_in_the_middle_leaves_the_last_good_result(
    folder: Path, key: CacheKey, make_result: MakeResult, room: int, failure: tuple[int, str, str]
) -> None:
    error, words, command = failure
    Cache(folder).save(key, make_result(1))
    failing = Cache(folder, open_new=lambda path: cast("IO[bytes]", Full(path, room, error)))
    with pytest.raises(CacheError, match=words) as caught:
        failing.save(key, make_result(*range(1000)))
    assert caught.value.repair_command == command
    assert Cache(folder).load(key) == make_result(1)
    assert list((folder / ".staging").iterdir()) == []


@posix
def test_a_limit_of_the_system_is_met_in_a_real_process(cache: Cache, key: CacheKey, files: list[Path]) -> None:
    """The one way to a failing write that needs no rights: a limit on the size of files."""
    good = Result.from_parquet(files[0])
    cache.save(key, good)
    code = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(SAVER), str(cache.directory), "never", str(files[1])]
    done = forking.run(command, text=True)
    assert done.returncode == 1
    assert "CacheError: The disk" in done.stderr
    assert "the last good result is intact" in done.stderr
    assert cache.load(key) == good
