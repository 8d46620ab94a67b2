"""A process of its own that saves results: ``saver.py FOLDER POINT RESULT...``.

POINT says where it kills itself: ``opening``, ``writing``, ``flushing``, ``syncing`` or ``replacing``. With ``never``
it saves the results over and over, and says so, until it is killed or has done it as often as ``SAVES`` says.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any, cast

from sacnb._cache.folder import CacheKey
from sacnb._cache.store import Cache
from sacnb._results.result import Result


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Mortal(io.FileIO):
    """A file at which the process dies: at a write, a flush, or when asked for its number to be synchronised."""

    def __init__(self, path: Path, point: str) -> None:
        super().__init__(path, "xb")
        self._point = point
        self._writes = 0

    def write(self, data: Any, /) -> int:
        self._writes += 1
        if self._point == "writing" and self._writes == 3:
            super().write(bytes(data)[: len(bytes(data)) // 2])
            die()
        return super().write(data) or 0

    def flush(self) -> None:
        if self._point == "flushing":
            die()
        super().flush()

    def fileno(self) -> int:
        if self._point == "syncing":
            die()
        return super().fileno()

    def close(self) -> None:
        super().close()
        if self._point == "replacing":
            die()


def main(folder: str, point: str, *files: str) -> None:
    def open_new(path: Path) -> IO[bytes]:
        if point == "opening":
            die()
        return cast("IO[bytes]", Mortal(path, point))

    cache = Cache(folder, open_new=open_new)
    results = [Result.from_parquet(file) for file in files]
    for turn in range(int(os.environ.get("SAVES", "1000000"))):
        result = results[turn % len(results)]
        cache.save(CacheKey.of(result.info), result)
        print(turn, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
