"""Paths, locks and keys of the cache folder, earlier results, and errors in the user's words.

<folder>/<name>.parquet        one kept result
<folder>/.locks/<name>.lock    held while that result is written or repaired
<folder>/.staging/<name>/      a result that is being written, by the holder of the lock
<folder>/.aside/               results that could not be used and were moved out of the way
<folder>/.steps/               records of chains of steps
<folder>/.history/<name>/      earlier results, by the times from which and up to which each was the last one

Only its owner can read it. Below the folder no path is longer than 160 characters, whatever the model is called:
a path on Windows may have 260.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sacnb._files import DISK_FULL, make_private, make_private_folder, replacing
from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._results.info import ResultInfo, principal_digest
from sacnb.errors import CacheError

__all__ = ["NAME_FORM", "CacheKey", "Earlier", "Folder", "History"]

_SLUG_CHARS: Final = 48
NAME_FORM: Final = re.compile(r"[a-z0-9-]+-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Key of one kept result: the tenant, the principal, the question, and the version of the data contract.

    ``principal`` is a digest: two users may see different rows, and the cache need not know who they are. ``query`` is
    canonical and begins with the path, which holds the namespace.
    """

    tenant_host: str
    principal: str
    provider_id: str
    entity_set: str
    query: str
    contract_version: int = CONTRACT_VERSION

    @classmethod
    def build(cls, *, tenant_host: str, principal: str, provider_id: str, entity_set: str, query: str) -> CacheKey:
        """Return the key of a question; ``principal`` is passed in clear, and only its digest is kept."""
        return cls(tenant_host.casefold(), principal_digest(principal), provider_id, entity_set, query)

    @classmethod
    def of(cls, info: ResultInfo) -> CacheKey:
        """Return the key of a result."""
        return cls(
            info.tenant_host.casefold(),
            info.principal,
            info.provider_id,
            info.entity_set,
            info.query,
            info.contract_version,
        )

    @property
    def digest(self) -> str:
        """64 hex digits that differ if anything in the key does."""
        parts = [
            self.tenant_host,
            self.principal,
            self.provider_id,
            self.entity_set,
            self.query,
            self.contract_version,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def name(self) -> str:
        """A file name for any system: the model and the entity set in small ASCII letters, and the digest."""
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.provider_id}-{self.entity_set}".casefold())
        return f"{words[:_SLUG_CHARS].strip('-') or 'result'}-{self.digest}"

    def __str__(self) -> str:
        return self.name


_SUFFIX: Final = ".parquet"
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Folder:
    """Paths and locks of a cache folder."""

    __slots__ = ("_lock_timeout_s", "path")

    def __init__(self, path: Path, *, lock_timeout_s: float) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s

    def entry(self, name: str) -> Path:
        """Return the file of a kept result."""
        return self.path / (name + _SUFFIX)

    def holds(self, name: str) -> bool:
        """Return whether there is a kept result of that name."""
        with self.refusals("read"):
            return self.entry(name).exists()

    def staging(self, name: str) -> Path:
        """Return the folder in which a result is written."""
        return self.path / ".staging" / name

    @property
    def aside(self) -> Path:
        """The folder of results that could not be used."""
        return self.path / ".aside"

    def names(self) -> list[str]:
        """Return the sorted names of all kept results; other files in the folder are not listed."""
        return self._ours(self.path, _SUFFIX)

    def staged(self) -> list[str]:
        """Return the names of results that are being written, or were left behind half written."""
        return self._ours(self.path / ".staging", "")

    def _ours(self, folder: Path, suffix: str) -> list[str]:
        found: list[str] = []
        with self.refusals("read"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = [child.name for child in folder.iterdir()]
        names = [name.removesuffix(suffix) for name in found if name.endswith(suffix)]
        return sorted(name for name in names if NAME_FORM.fullmatch(name))

    def make(self) -> None:
        """Make the folder, readable by its owner only: it holds business data.

        A folder that is there and holds something else too, perhaps a home folder, keeps its mode.
        """
        make_private_folder(self.path)
        if all(_is_ours(child.name) for child in self.path.iterdir()):
            make_private(self.path)
        make_private_folder(self.path / ".staging", may_be_link=False)

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the lock of a result. A killed process loses its locks.

        Raises:
            CacheError: Another process holds it, and did not release it in time.
        """
        timeout_s = self._lock_timeout_s if wait else 0.0
        locks = self.path / ".locks"
        make_private_folder(locks, may_be_link=False)
        lock = FileLock(locks / f"{name}.lock", timeout=timeout_s, mode=0o600)
        try:
            lock.acquire()
        except Timeout as e:
            raise CacheError(
                f"Another process has been writing the cache entry {name} for more than {timeout_s:g} seconds.",
                repair_command="sacnb cache list",
            ) from e
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def lock_for_reading(self, name: str) -> Iterator[None]:
        """Hold the lock if that is possible.

        Readers need it on Windows alone, where an open file cannot be replaced. So a read-only folder can still be
        read, and a slow writer does not make readers fail.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, CacheError):
                stack.enter_context(self.lock(name))
            yield

    @contextmanager
    def refusals(self, action: str) -> Iterator[None]:
        """Turn errors of the operating system into a ``CacheError`` with a remedy; *action* is a past participle."""
        try:
            yield
        except OSError as e:
            reason = e.strerror or str(e)
            if e.errno in DISK_FULL:
                raise CacheError(
                    f"The disk with the cache {self.path} is full ({reason}); the last good result is intact. Free "
                    "some space, or set SAC_CACHE_DIR to a folder on another disk.",
                    repair_command="sacnb cache list",
                ) from e
            if e.errno in _FORBIDDEN:
                advice = "Set SAC_CACHE_DIR to a folder of your own."
            elif e.errno in {errno.ENOTDIR, errno.EEXIST}:
                advice = "Something else is in its place: set SAC_CACHE_DIR to a folder of your own."
            else:
                advice = "Check the folder, or set SAC_CACHE_DIR to another one."
            raise CacheError(
                f"The cache {self.path} cannot be {action} ({reason}). {advice}", repair_command="sacnb doctor"
            ) from e


_FOLDERS: Final = frozenset({".locks", ".staging", ".aside", ".pulls", ".tracks", ".history", ".steps"})


def _is_ours(name: str) -> bool:
    return name in _FOLDERS or NAME_FORM.fullmatch(name.removesuffix(_SUFFIX)) is not None


_EARLIER_FORM: Final = re.compile(r"(\d{8}T\d{12})Z-(\d{8}T\d{12})Z\.parquet")
_TIME: Final = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier result: its file, and the times from which and up to which it was the last one."""

    path: Path
    since: datetime
    until: datetime


class History:
    """Earlier results, up to a number of bytes for all of them; the oldest are removed first.

    A file's name tells for which time it stands, so that a gap, from a time without a history, is no wrong answer.
    """

    __slots__ = ("_max_bytes", "path")

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.path = folder / ".history"
        self._max_bytes = max_bytes

    @property
    def is_kept(self) -> bool:
        """Return whether earlier results are kept at all."""
        return self._max_bytes > 0

    def of(self, name: str) -> Path:
        """Return the folder of the earlier results of one query."""
        return self.path / name

    def names(self) -> list[str]:
        """Return the names of the queries that have earlier results."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(child.name for child in self.path.iterdir() if NAME_FORM.fullmatch(child.name))
        return []

    def earlier(self, name: str) -> list[Earlier]:
        """Return the earlier results of a query, the oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in self.of(name).iterdir():
                if form := _EARLIER_FORM.fullmatch(path.name):
                    since, until = (datetime.strptime(text, _TIME).replace(tzinfo=UTC) for text in form.groups())
                    found.append(Earlier(path, since, until))
        return sorted(found, key=lambda one: (one.since, one.until))

    def keep(self, name: str, current: Path, since: datetime, until: datetime) -> None:
        """Keep a result that is about to be replaced; the same file under one more name, where the system can.

        Where the result before it has the same rows, that one stands for the time of both.

        Raises:
            OSError: The disk refuses.
        """
        if not self.is_kept or since >= until:  # a clock that was put back leaves no time for which it would stand
            return
        make_private_folder(self.path, may_be_link=False)
        make_private_folder(self.of(name), may_be_link=False)
        before = [one for one in self.earlier(name) if one.until == since]
        if before and _have_same_rows(before[-1].path, current):
            before[-1].path.replace(self._file(name, before[-1].since, until))
            return
        target = self._file(name, since, until)
        try:
            os.link(current, target)
        except FileExistsError:  # a process was killed after this, and before it replaced the result
            pass
        except OSError:  # a file system without hard links
            with replacing(target, private=True) as copy, current.open("rb") as file:
                shutil.copyfileobj(file, copy)
        self._prune()

    def _file(self, name: str, since: datetime, until: datetime) -> Path:
        return self.of(name) / f"{since.astimezone(UTC):{_TIME}}Z-{until.astimezone(UTC):{_TIME}}Z.parquet"

    def files(self) -> list[Path]:
        """Return the files of all earlier results."""
        return [one.path for name in self.names() for one in self.earlier(name)]

    def _prune(self) -> None:
        every = sorted((one for name in self.names() for one in self.earlier(name)), key=lambda one: one.until)
        sizes: dict[Path, int] = {}
        for one in every:
            with contextlib.suppress(FileNotFoundError):  # another process removed it just now
                sizes[one.path] = one.path.stat().st_size
        total = sum(sizes.values())
        for one in every:
            if total <= self._max_bytes:
                break
            one.path.unlink(missing_ok=True)
            total -= sizes.get(one.path, 0)


def _have_same_rows(one: Path, other: Path) -> bool:
    """Return whether two Parquet files are the same but for their footers, which hold the time of the refresh."""
    if one.stat().st_size != other.stat().st_size:
        return False
    left, right = one.read_bytes(), other.read_bytes()
    ends = [len(content) - 8 - int.from_bytes(content[-8:-4], "little") for content in (left, right)]
    return ends[0] == ends[1] and left[: ends[0]] == right[: ends[1]]
