"""Paths, locks and keys of the cache folder, and its errors in the user's words.

<folder>/<name>.parquet        one kept result
<folder>/.locks/<name>.lock    held while that result is written or repaired
<folder>/.staging/<name>/      a result that is being written, by the holder of the lock
<folder>/.aside/               results that could not be used and were moved out of the way
<folder>/.steps/               records of chains of steps

Only its owner can read it. Below the folder no path is longer than 160 characters, whatever the model is called:
a path on Windows may have 260.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sacnb._files import DISK_FULL, make_private, make_private_folder
from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._results.info import ResultInfo, principal_digest
from sacnb.errors import CacheError

__all__ = ["NAME_FORM", "CacheKey", "Folder"]

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


_FOLDERS: Final = frozenset({".locks", ".staging", ".aside", ".pulls", ".steps"})


def _is_ours(name: str) -> bool:
    return name in _FOLDERS or NAME_FORM.fullmatch(name.removesuffix(_SUFFIX)) is not None
