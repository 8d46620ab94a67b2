"""Keep results and give them back exactly, whatever happens in between."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Literal

from sacnb._arguments import duration, moment, text
from sacnb._cache.folder import CacheKey, Folder, History
from sacnb._cache.staging import StagedPull, clean_staging, list_staging, staging_root
from sacnb._files import make_private, make_private_folder, remove, replacing
from sacnb._rendering import shown_path
from sacnb._results.files import UnusableFileError, read_footer
from sacnb._results.info import ResultInfo, from_metadata
from sacnb._results.result import Result, read_result
from sacnb.errors import CacheError, QueryError, UnknownNameError

__all__ = ["Cache", "CacheEntry", "Repair"]

_log = logging.getLogger("sacnb.cache")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One kept result: its key as text, its file and size, and either its ``info`` or its ``problem``."""

    key: str
    path: Path = field(repr=False)
    size_bytes: int
    info: ResultInfo | None
    problem: str | None = None

    @property
    def provider_id(self) -> str:
        """The model; empty where the entry cannot be read."""
        return self.info.provider_id if self.info else ""


@dataclass(frozen=True, slots=True)
class Repair:
    """Action that ``repair`` took on one entry, and the reason."""

    key: str
    action: Literal["moved aside", "removed"]
    reason: str


class Cache:
    """A folder of kept results, shared by any number of threads and processes.

    A result is one Parquet file with its metadata in the footer. It is written beside the old one and replaces it by
    one rename: readers get the old one or the new one, and a full disk or a killed process leaves the old one. The same
    rows make the same bytes, except for the time of the refresh and the digest over it; they stay in the order in which
    they were pulled, which is SAC's.

    Args:
        directory: The folder; made when something is first kept.
        now: The clock, in UTC.
        lock_timeout_s: Seconds to wait for another process that writes the same entry.
        open_new: Opens the file that a result is written to; by default one that only its owner can read.
        history_bytes: Room for earlier results; the oldest are removed first, and with 0 none are kept.
    """

    __slots__ = ("_folder", "_history", "_now", "_open_new")

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lock_timeout_s: float = 60.0,
        open_new: Callable[[Path], IO[bytes]] | None = None,
        history_bytes: int = 0,
    ) -> None:
        self._folder = Folder(Path(directory), lock_timeout_s=lock_timeout_s)
        self._history = History(self._folder.path, history_bytes)
        self._now = now
        self._open_new = open_new

    def __repr__(self) -> str:
        return f"Cache({shown_path(self.directory)!r})"

    @property
    def directory(self) -> Path:
        """The folder of this cache."""
        return self._folder.path

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk of all kept results, earlier ones, and those that were moved aside."""
        files = [*(self._folder.entry(name) for name in self._folder.names()), *self._history.files()]
        with self._folder.refusals("read"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files += self._folder.aside.iterdir()
        total = 0
        for path in files:
            with contextlib.suppress(OSError):  # another process removed it since it was listed
                total += path.stat().st_size
        return total

    def has(self, key: CacheKey) -> bool:
        """Return whether there is an entry, which may still turn out to be unusable.

        Raises:
            CacheError: The folder cannot be read.
        """
        return self._folder.holds(key.name)

    def save(self, key: CacheKey, result: Result) -> Path:
        """Keep a result in place of the one that was there, and return its file.

        Raises:
            CacheError: The disk is full, the folder cannot be written to, or another process does not release the
                entry. The result that was kept before is intact.
            ValueError: The key is that of another result.
        """
        if CacheKey.of(result.info) != key:
            raise ValueError("The key belongs to another question than the result answers.")
        path, staging = self._folder.entry(key.name), self._folder.staging(key.name)
        with self._folder.refusals("written"):
            self._folder.make()
            with self._folder.lock(key.name):
                # Left behind by a killed process: while this one holds the lock, nobody else can be in there.
                with contextlib.suppress(OSError):
                    remove(staging)
                make_private_folder(staging)
                try:
                    # Not under the entry's own long name: see the length of paths above.
                    new = staging / "entry.parquet"
                    with replacing(path, private=True, temporary=new, open_new=self._open_new) as file:
                        result.to_parquet(file)
                        self._keep_earlier(key.name, path, result.info.last_refresh_time)
                finally:
                    # A failure to clean up must not hide the failure before it; the next save cleans up.
                    with contextlib.suppress(OSError):
                        remove(staging)
        return path

    def _keep_earlier(self, name: str, path: Path, until: datetime) -> None:
        """Keep the result that is about to be replaced, as far as there is room; the new one does not depend on it."""
        if not self._history.is_kept:
            return
        try:
            arrow_schema, metadata = read_footer(path)
            info, _ = from_metadata(metadata, arrow_schema)
            self._history.keep(name, path, info.last_refresh_time, until)
        except FileNotFoundError:  # the first result
            return
        except (UnusableFileError, OSError) as error:
            _log.warning("The earlier result of %s is not kept: %s", name, error)

    def as_of(self, time: datetime | str, key: CacheKey | str | None = None) -> Result:
        """Return what a result was at a time: the last one that had been refreshed by then.

        Without a zone a time is one of this machine; ``"2026-11-01"`` is the first moment of that day. *key* is that
        of ``facts.cache_key``, or the beginning of its name; it may be left out where only one result is kept.

        Raises:
            CacheError: Nothing that old is kept: the setting SAC_CACHE_HISTORY_MB limits the room; or it is damaged.
            UnknownNameError: There is no such entry.
            QueryError: *time* is no time, or *key* is missing.
        """
        at = moment("time", time)
        name = self._name(key if key is not None else self._only_key())
        # One lock for the search and the read: a save moves files in between.
        with self._folder.refusals("read"), self._folder.lock_for_reading(name):
            times = {one.since: one for one in self._history.earlier(name)}
            found = next((one.path for one in reversed(times.values()) if one.since <= at < one.until), None)
            current = self._entry(name)
            if current is not None and current.info is not None and current.info.last_refresh_time <= at:
                found = current.path
            if found is not None:
                return self._read_file(found, name)
        ages = [*times, *([current.info.last_refresh_time] if current is not None and current.info is not None else [])]
        oldest = min(ages, default=at)
        why = f"the oldest one is of {oldest:%Y-%m-%d %H:%M:%S} UTC" if oldest > at else "it was not kept"
        raise CacheError(
            f"There is no result of {name} from {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: {why}. "
            "SAC_CACHE_HISTORY_MB limits the room for earlier results.",
            repair_command=f"sacnb cache history {name}",
        )

    def history(self, key: CacheKey | str | None = None) -> tuple[CacheEntry, ...]:
        """Return the earlier results of one query or of all, the oldest first.

        Raises:
            UnknownNameError: There is no such entry.
            CacheError: The folder cannot be read.
        """
        with self._folder.refusals("read"):
            names = self._history.names() if key is None else [self._name(key)]
            found = [self._described(name, one.path) for name in names for one in self._history.earlier(name)]
        return tuple(entry for entry in found if entry is not None)

    def _only_key(self) -> str:
        names = self._folder.names()
        if len(names) != 1:
            raise QueryError(
                f"The cache has {len(names)} results, and as_of() needs the key of one.",
                hint="Pass it: sac.cache.as_of(time, model.facts(...).cache_key).",
            )
        return names[0]

    def load(self, key: CacheKey) -> Result:
        """Return the kept result, with frame, schema and info exactly as they were saved.

        Raises:
            CacheError: There is none, or it is empty, cut short, damaged, of another version, or another query's; the
                message holds the command that repairs it.
        """
        return self._read(key.name)

    def entries(self) -> tuple[CacheEntry, ...]:
        """Return all kept results, by name; those that cannot be used have a ``problem``.

        Raises:
            CacheError: The folder cannot be read.
        """
        found = (self._entry(name) for name in self._folder.names())
        return tuple(entry for entry in found if entry is not None)

    def show(self, key: CacheKey | str) -> CacheEntry:
        """Return one kept result, by its key or by the beginning of it.

        Raises:
            UnknownNameError: There is none, or more than one begins like that.
            CacheError: The folder cannot be read.
        """
        entry = self._entry(self._name(key))
        if entry is None:
            raise UnknownNameError("cache entry", str(key), self._folder.names(), where=shown_path(self.directory))
        return entry

    def clear(
        self, key: CacheKey | str | None = None, *, older_than: timedelta | None = None
    ) -> tuple[CacheEntry, ...]:
        """Remove one result, those refreshed longer ago than ``older_than``, or all; return the removed ones.

        Earlier results go with theirs. Without arguments, results that were moved aside are removed too. Entries that
        cannot be read have no age, and stay with ``older_than``: ``repair`` is for them. Entries from the future have
        no age that could be trusted, and are removed with it.

        Raises:
            UnknownNameError: There is no such entry.
            CacheError: The folder cannot be written to, or another process is writing the entry.
        """
        older_than = duration("older_than", older_than)
        gone = (self.show(key),) if key is not None else self.entries()
        if older_than is not None:
            gone = tuple(
                entry for entry in gone if entry.info is not None and not self._is_younger(entry.info, older_than)
            )
        with self._folder.refusals("written"):
            for entry in gone:
                with self._folder.lock(entry.key):
                    entry.path.unlink(missing_ok=True)
                    remove(self._history.of(entry.key))
            if older_than is not None:
                self._clear_earlier(self._now() - older_than)
            elif key is None:
                remove(self._folder.aside)
                remove(self._history.path)
        return gone

    def _clear_earlier(self, before: datetime) -> None:
        for name in self._history.names():
            for one in self._history.earlier(name):
                if one.since < before:
                    one.path.unlink(missing_ok=True)

    def _is_younger(self, info: ResultInfo, age: timedelta) -> bool:
        return timedelta(0) <= self._now() - info.last_refresh_time <= age

    def repair(self, key: CacheKey | str | None = None) -> tuple[Repair, ...]:
        """Read every result (or one) to its end, and move those aside that cannot be used; return the actions.

        Half-written results of killed processes are removed; those that another process is writing are left alone.

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
        """Return the unfinished pulls, running or left behind by processes that ended early, the oldest first.

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
        """Remove the pulls that dead processes left behind: one, those begun longer ago, or all; return them.

        Running pulls are left alone.

        Raises:
            CacheError: The folder cannot be written to.
        """
        id, age = text("id", id), duration("older_than", older_than)  # noqa: A001 - it is the field of that name
        with self._folder.refusals("written"):
            return clean_staging(staging_root(self.directory), id, older_than=age, now=self._now)

    def _name(self, key: CacheKey | str) -> str:
        if isinstance(key, CacheKey):
            return key.name
        key, names = text("key", key) or "", self._folder.names()
        begin = [name for name in names if name.startswith(key)] if key else []
        if len(begin) != 1:
            raise UnknownNameError("cache entry", key, begin or names, where=shown_path(self.directory))
        return begin[0]

    def _read(self, name: str) -> Result:
        path = self._folder.entry(name)
        if not self._folder.holds(name):
            raise CacheError(f"There is no cache entry {path}.", repair_command="sacnb cache list")
        with self._folder.refusals("read"), self._folder.lock_for_reading(name):
            return self._read_file(path, name)

    def _read_file(self, path: Path, name: str) -> Result:
        try:
            result = read_result(path)
            _check_name(result.info, name)
        except UnusableFileError as e:
            repair_command = f"sacnb cache repair --key {name}"
            raise CacheError(f"The cache entry {path} {e}.", repair_command=repair_command) from e
        return result

    def _entry(self, name: str) -> CacheEntry | None:
        return self._described(name, self._folder.entry(name))

    def _described(self, name: str, path: Path) -> CacheEntry | None:
        """Return an entry without reading its rows; ``None`` if it is gone by now."""
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
        earlier = [one.path for one in self._history.earlier(name)]
        return [done for path in (self._folder.entry(name), *earlier) for done in self._mend_file(name, path)]

    def _mend_file(self, name: str, path: Path) -> list[Repair]:
        aside = self._folder.aside
        with self._folder.lock(name):
            try:
                _check_name(read_result(path).info, name)
            except FileNotFoundError:  # cleared by another process since it was listed
                return []
            except UnusableFileError as e:
                make_private_folder(aside, may_be_link=False)
                with contextlib.suppress(FileNotFoundError):
                    path.replace(aside / f"{name}.{self._now():%Y%m%dT%H%M%S%f}{path.suffix}")
                return [Repair(name, "moved aside", f"It {e}.")]
            make_private(path)  # earlier versions let the umask decide
        return []

    def _sweep(self, name: str) -> list[Repair]:
        try:
            with self._folder.lock(name, wait=False):
                remove(self._folder.staging(name))
        except CacheError:  # another process is writing it
            return []
        return [Repair(name, "removed", "A process ended while it wrote this result.")]


def _check_name(info: ResultInfo, name: str) -> None:
    if CacheKey.of(info).name != name:
        raise UnusableFileError("belongs to another query than its name says")
