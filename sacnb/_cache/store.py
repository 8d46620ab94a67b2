"""Keep results and give them back exactly, whatever happens in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Literal

from sacnb._cache.folder import CacheKey, Folder
from sacnb._cache.staging import StagedPull, clean_staging, list_staging, staging_root
from sacnb._results.files import UnusableFileError, read_footer
from sacnb._results.info import ResultInfo, from_metadata
from sacnb._results.result import Result, read_result
from sacnb.errors import CacheError, UnknownNameError

__all__ = ["Cache", "CacheEntry", "Repair"]


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One kept result: its key as text, its file, the size in bytes, and either its ``info`` or its ``problem``."""

    key: str
    path: Path
    size_bytes: int
    info: ResultInfo | None
    problem: str | None = None

    @property
    def provider_id(self) -> str:
        """The model; empty where the entry cannot be read."""
        return self.info.provider_id if self.info else ""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done about one entry, and why."""

    key: str
    action: Literal["moved aside", "removed"]
    reason: str


def _open_new(path: Path) -> IO[bytes]:
    return path.open("xb")


class Cache:
    """A folder of kept results, shared by any number of threads and processes.

    A result is one Parquet file with its metadata in the footer. It is written into a staging folder and put into its
    place by one rename: whoever reads gets the old one or the new one, and a full disk or a killed process leaves the
    old one. The same rows make the same bytes but for the time of the refresh; they are kept in the order in which they
    were pulled, which is SAC's, and not sorted.

    Args:
        directory: The folder; made when something is first kept.
        now: The clock, in UTC.
        lock_timeout_s: How long to wait for another process that writes the same entry, in seconds.
        open_new: How the file of a result on its way is opened.
    """

    __slots__ = ("_folder", "_now", "_open_new")

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lock_timeout_s: float = 60.0,
        open_new: Callable[[Path], IO[bytes]] = _open_new,
    ) -> None:
        self._folder = Folder(Path(directory), lock_timeout_s=lock_timeout_s)
        self._now = now
        self._open_new = open_new

    def __repr__(self) -> str:
        return f"Cache({str(self.directory)!r})"

    @property
    def directory(self) -> Path:
        """The folder of this cache."""
        return self._folder.path

    @property
    def size_bytes(self) -> int:
        """What all kept results take on the disk, with those that were moved aside."""
        aside = self._folder.aside
        files = [entry.path for entry in self.entries()] + (list(aside.iterdir()) if aside.is_dir() else [])
        return sum(path.stat().st_size for path in files)

    def has(self, key: CacheKey) -> bool:
        """Whether there is an entry, which may still turn out to be unusable.

        Raises:
            CacheError: The folder cannot be read.
        """
        return self._folder.holds(key.name)

    def save(self, key: CacheKey, result: Result) -> Path:
        """Keep a result in place of the one that was there, and return its file.

        Raises:
            CacheError: The disk is full, the folder cannot be written to, or another process does not let go of the
                entry. What was kept before is intact.
            ValueError: The result is not that of the key.
        """
        if CacheKey.of(result.info) != key:
            raise ValueError("The result answers another question than the one it is to be kept for.")
        path, staging = self._folder.entry(key.name), self._folder.staging(key.name)
        with self._folder.refusals("written"):
            self._folder.make()
            with self._folder.lock(key.name):
                # What a killed process left behind; with its lock in our hands nobody can be in there.
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                try:
                    part = staging / path.name
                    with self._open_new(part) as file:
                        result.to_parquet(file)
                        file.flush()
                        os.fsync(file.fileno())
                    part.replace(path)
                    self._folder.sync()
                finally:
                    # A failure to clean up must not hide the failure before; the next save cleans up again.
                    shutil.rmtree(staging, ignore_errors=True)
        return path

    def load(self, key: CacheKey) -> Result:
        """The kept result, with frame, schema and info exactly as they were saved.

        Raises:
            CacheError: There is none, or it is empty, cut short, damaged, of another version, or another query's; the
                message holds the command that repairs it.
        """
        return self._read(key.name)

    def entries(self) -> tuple[CacheEntry, ...]:
        """All kept results, by name; those that cannot be used have a ``problem``.

        Raises:
            CacheError: The folder cannot be read.
        """
        found = (self._entry(name) for name in self._folder.names())
        return tuple(entry for entry in found if entry is not None)

    def show(self, key: CacheKey | str) -> CacheEntry:
        """One kept result, by its key or by the beginning of it.

        Raises:
            UnknownNameError: There is none, or more than one begins like that.
            CacheError: The folder cannot be read.
        """
        entry = self._entry(self._name(key))
        if entry is None:
            raise UnknownNameError("cache entry", str(key), self._folder.names(), where=f"{self.directory}")
        return entry

    def clear(
        self, key: CacheKey | str | None = None, *, older_than: timedelta | None = None
    ) -> tuple[CacheEntry, ...]:
        """Forget one result, those that were refreshed longer ago than ``older_than``, or all; returns what is gone.

        Without arguments what was moved aside goes too. Entries that cannot be read have no age, and stay with
        ``older_than``: they are for ``repair``.

        Raises:
            UnknownNameError: There is no such entry.
            CacheError: The folder cannot be written to, or another process is writing the entry.
        """
        gone = (self.show(key),) if key is not None else self.entries()
        if older_than is not None:
            limit = self._now() - older_than
            gone = tuple(entry for entry in gone if entry.info is not None and entry.info.last_refresh_time < limit)
        with self._folder.refusals("written"):
            for entry in gone:
                with self._folder.lock(entry.key):
                    entry.path.unlink(missing_ok=True)
            if key is None and older_than is None and self._folder.aside.exists():
                shutil.rmtree(self._folder.aside)
        return gone

    def repair(self, key: CacheKey | str | None = None) -> tuple[Repair, ...]:
        """Read every result (or one) to its end, and move those aside that cannot be used; returns what was done.

        What killed processes left behind on its way is removed; what another process is writing now is let alone.

        Raises:
            UnknownNameError: There is no such entry.
            CacheError: The folder cannot be written to.
        """
        wanted = None if key is None else self._name(key)
        done: list[Repair] = []
        with self._folder.refusals("written"):
            for name in self._folder.names() if wanted is None else [wanted]:
                done += self._mend(name)
            for name in self._folder.staged():
                if wanted in {None, name}:
                    done += self._sweep(name)
        return tuple(done)

    def staging(self) -> tuple[StagedPull, ...]:
        """Pulls that are on their way, or were left behind by processes that ended early, the oldest first.

        Raises:
            CacheError: The folder cannot be read.
        """
        with self._folder.refusals("read"):
            return list_staging(staging_root(self.directory))

    def clean_staging(
        self,
        id: str | None = None,  # noqa: A002 - it is the field of that name
        *,
        older_than: timedelta | None = None,
    ) -> tuple[StagedPull, ...]:
        """Remove what dead processes left behind: one pull, those begun longer ago, or all; returns what is gone.

        What a process is at is let alone.

        Raises:
            CacheError: The folder cannot be written to.
        """
        with self._folder.refusals("written"):
            return clean_staging(staging_root(self.directory), id, older_than=older_than, now=self._now)

    def _name(self, key: CacheKey | str) -> str:
        if isinstance(key, CacheKey):
            return key.name
        names = self._folder.names()
        begin = [name for name in names if name.startswith(key)] if key else []
        if len(begin) != 1:
            raise UnknownNameError("cache entry", key, begin or names, where=f"{self.directory}")
        return begin[0]

    def _read(self, name: str) -> Result:
        path = self._folder.entry(name)
        repair_command = f"sacnb cache repair --key {name}"
        if not self._folder.holds(name):
            raise CacheError(f"There is no cache entry {path}.", repair_command="sacnb cache list")
        try:
            with self._folder.refusals("read"), self._folder.lock_for_reading(name):
                result = read_result(path)
                _check_name(result.info, name)
                return result
        except UnusableFileError as e:
            raise CacheError(f"The cache entry {path} {e}.", repair_command=repair_command) from e

    def _entry(self, name: str) -> CacheEntry | None:
        """What is known of an entry without reading its rows; ``None`` if it is gone by now."""
        path = self._folder.entry(name)
        try:
            size_bytes = path.stat().st_size
            arrow_schema, metadata = read_footer(path)
            info, _ = from_metadata(metadata, arrow_schema)
            _check_name(info, name)
        except FileNotFoundError:
            return None
        except UnusableFileError as e:
            return CacheEntry(name, path, size_bytes, None, f"It {e}.")
        except OSError as e:
            return CacheEntry(name, path, 0, None, f"It cannot be read ({e.strerror or e}).")
        return CacheEntry(name, path, size_bytes, info)

    def _mend(self, name: str) -> list[Repair]:
        path, aside = self._folder.entry(name), self._folder.aside
        with self._folder.lock(name):
            try:
                _check_name(read_result(path).info, name)
            except FileNotFoundError:  # cleared by another process since it was listed
                return []
            except UnusableFileError as e:
                aside.mkdir(mode=0o700, exist_ok=True)
                path.replace(aside / f"{name}.{self._now():%Y%m%dT%H%M%S%f}{path.suffix}")
                return [Repair(name, "moved aside", f"It {e}.")]
        return []

    def _sweep(self, name: str) -> list[Repair]:
        try:
            with self._folder.lock(name, wait=False):
                shutil.rmtree(self._folder.staging(name))
        except CacheError:  # somebody is writing it right now
            return []
        return [Repair(name, "removed", "A process ended while it wrote this result.")]


def _check_name(info: ResultInfo, name: str) -> None:
    if CacheKey.of(info).name != name:
        raise UnusableFileError("belongs to another query than its name says")
