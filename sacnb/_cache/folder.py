"""The cache's folder: what lies where, who may write, and what the system's refusals mean for a user.

<folder>/<name>.parquet     one kept result
<folder>/.locks/<name>.lock held while that result is written or mended
<folder>/.staging/<name>/   a result on its way; only the holder of the lock is in there
<folder>/.aside/            results that could not be used and were moved out of the way

What makes two results the same: the tenant, who asks, what is asked, and the version of the data contract.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._results.info import ResultInfo, principal_digest
from sacnb.errors import CacheError

__all__ = ["NAME_FORM", "CacheKey", "Folder"]

_SLUG_CHARS: Final = 48
NAME_FORM: Final = re.compile(r"[a-z0-9-]+-[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The key of one kept result.

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
        """The key of a question that is about to be asked; ``principal`` is given in clear, and only digested kept."""
        return cls(tenant_host.casefold(), principal_digest(principal), provider_id, entity_set, query)

    @classmethod
    def of(cls, info: ResultInfo) -> CacheKey:
        """The key of a result."""
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
        """64 hex digits that differ if anything of the key does."""
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
        """A name for files on any system: the model and the entity set in small ASCII letters, and the digest."""
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.provider_id}-{self.entity_set}".casefold())
        return f"{words[:_SLUG_CHARS].strip('-') or 'result'}-{self.digest}"

    def __str__(self) -> str:
        return self.name


_SUFFIX: Final = ".parquet"
_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Folder:
    """The paths of a cache's folder and the locks in it."""

    __slots__ = ("_lock_timeout_s", "path")

    def __init__(self, path: Path, *, lock_timeout_s: float) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s

    def entry(self, name: str) -> Path:
        """The file of a kept result."""
        return self.path / (name + _SUFFIX)

    def holds(self, name: str) -> bool:
        """Whether there is a file of that name."""
        with self.refusals("read"):
            return self.entry(name).exists()

    def staging(self, name: str) -> Path:
        """The folder of a result on its way."""
        return self.path / ".staging" / name

    @property
    def aside(self) -> Path:
        """The folder of results that could not be used."""
        return self.path / ".aside"

    def names(self) -> list[str]:
        """The names of all kept results, sorted; other files in the folder are none of our business."""
        return self._ours(self.path, _SUFFIX)

    def staged(self) -> list[str]:
        """The names of results on their way, or left behind on it."""
        return self._ours(self.path / ".staging", "")

    def _ours(self, folder: Path, suffix: str) -> list[str]:
        with self.refusals("read"):
            found = [child.name for child in folder.iterdir()] if folder.is_dir() else []
        names = [name.removesuffix(suffix) for name in found if name.endswith(suffix)]
        return sorted(name for name in names if NAME_FORM.fullmatch(name))

    def make(self) -> None:
        """Make the folder, for its owner alone: it holds business data."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / ".staging"):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the lock of a result, which no other thread or process then holds; a killed process loses its locks.

        Raises:
            CacheError: Another process holds it, and did not let go in time.
        """
        timeout_s = self._lock_timeout_s if wait else 0.0
        locks = self.path / ".locks"
        locks.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock", timeout=timeout_s)
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

        Readers need it on Windows alone, where a file that is open cannot be replaced. So a folder that cannot be
        written to can still be read from, and a writer that takes long is not waited for in vain.
        """
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, CacheError):
                stack.enter_context(self.lock(name))
            yield

    @contextmanager
    def refusals(self, what: str) -> Iterator[None]:
        """Turn what the system refuses into a ``CacheError`` that says what to do."""
        try:
            yield
        except OSError as e:
            reason = e.strerror or str(e)
            if e.errno in _FULL:
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
                f"The cache {self.path} cannot be {what} ({reason}). {advice}", repair_command="sacnb doctor"
            ) from e

    def sync(self) -> None:
        """Have the folder itself on the disk, so that a renamed file survives a power cut; Windows does so unasked."""
        if os.name == "nt":
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
