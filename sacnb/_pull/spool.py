"""Lanes come in any order, and a stream gives its rows in one: what comes ahead of its turn waits on the disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.ipc

__all__ = ["Spool"]


class Spool:
    """Tables of lanes whose turn has not come, in files that are gone when the context is left.

    One lane's tables come out in the order they were put in. Memory holds none of them.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in list(self._writers):
            self.drop(lane)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, lane: int, table: pa.Table) -> None:
        """Keep a table until its lane's turn has come. Raises OSError where the disk is full."""
        if lane not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            self._writers[lane] = pa.ipc.new_stream(str(self._path(lane)), table.schema, options=options)
        self._writers[lane].write_table(table)

    def take(self, lane: int) -> Iterator[pa.Table]:
        """What was put in for a lane, once."""
        writer = self._writers.pop(lane, None)
        if writer is None:
            return
        writer.close()
        path = self._path(lane)
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
        path.unlink()

    def drop(self, lane: int) -> None:
        """Forget what was put in for a lane."""
        writer = self._writers.pop(lane, None)
        if writer is not None:
            writer.close()
            self._path(lane).unlink()

    def _path(self, lane: int) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="sacnb-stream-"))
        return self._folder / f"{lane:04d}.arrows"
