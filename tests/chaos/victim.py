"""Processes to be killed: ``python victim.py`` reads one JSON object a line, each a list of jobs to run at once.

Each job runs in a fork of this process, which has imported everything and started no thread of polars: so a run costs a
fork, and not the imports. A job may say where it dies: before its *die_at*-th step on files, sockets and locks, after
*die_after_s* seconds wherever it is by then, or by a limit on the size of files. The answer tells how each one ended.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

import polars as pl
import pyarrow.parquet
from sales import plan

from sacnb._cache.store import Cache
from sacnb._pull import parquet
from sacnb._pull.publish import Publication
from sacnb._settings import Settings
from sacnb._tenant import Tenant
from sacnb._tenant.connector import connect_with
from sacnb._write import write as writes
from sacnb.errors import SacError
from sacnb.snowflake import channel, load
from sacnb.snowflake.chunks import Chunker
from sacnb.snowflake.client import SnowflakeClient
from sacnb.snowflake.settings import resolve

__all__ = ["DONE", "REFUSED"]

# Exit codes of a fork that was not killed.
DONE, REFUSED, BROKEN = 0, 3, 4
# The audit events of steps between which a kill makes a difference.
_FILE_EVENTS: Final = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"})
_OTHER_EVENTS: Final = frozenset({"socket.connect", "http.client.send", "ctypes.dlopen", "fcntl.flock", "os.fsync"})
_PAGE: Final = 50


class Steps:
    """Counts the steps of a job on its own files, and on sockets; dies before one of them."""

    def __init__(self, folder: str, die_at: int | None) -> None:
        self.count = 0
        self._folder = folder
        self._die_at = die_at
        self._lock = threading.Lock()
        sys.addaudithook(self._note)
        # Python does not announce a sync, which is the step after which a file counts as safe.
        synced = os.fsync

        def note_and_sync(handle: int) -> None:
            self._note("os.fsync", ())
            synced(handle)

        os.fsync = note_and_sync

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS:
            if not str(arguments[0]).startswith(self._folder):
                return
        elif event not in _OTHER_EVENTS:
            return
        with self._lock:
            self.count += 1
            if self.count == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


class Time:
    """A clock on which waits take next to no time."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def clock(self) -> float:
        return time.monotonic() + self._skipped_s

    def sleep(self, seconds: float) -> None:
        real_s = min(seconds, 0.002)
        self._skipped_s += seconds - real_s
        time.sleep(real_s)


TIME: Final = Time()
CLOCKS: Final[dict[str, Any]] = {"clock": TIME.clock, "sleep": TIME.sleep}


def connect(told: dict[str, Any]) -> Tenant:
    arguments = {"cache_dir": f"{told['folder']}/cache", "log": "error", "streams": 2}
    return connect_with(Settings.resolve(environ={}, **told["tenant"], **arguments), **CLOCKS)


def sales(tenant: Tenant) -> Any:
    return tenant.model("SALES").facts(page_size=_PAGE)


def refresh(told: dict[str, Any]) -> None:
    sales(connect(told)).refresh(strict=True, progress=None, announce=lambda _: None)


def export(told: dict[str, Any]) -> None:
    (parquet.to_parquet.__kwdefaults__ or {})["rows_per_part"] = 100
    sales(connect(told)).to_parquet(f"{told['folder']}/rows", progress=None)


def write(told: dict[str, Any]) -> None:
    connect(told).model("SALES").write(plan(30), version="public.Plan", method="Update", progress=None)


def append(told: dict[str, Any]) -> None:
    (Chunker.__init__.__kwdefaults__ or {})["target_bytes"] = 0
    load._BATCH_ROWS = 40  # type: ignore[misc]
    (parquet.to_parquet.__kwdefaults__ or {})["rows_per_part"] = 100
    with SnowflakeClient(resolve(told["snowflake"], {}), **CLOCKS) as client:
        sales(connect(told)).to_snowflake(told["table"], client=client, progress=None)


def repair(told: dict[str, Any]) -> None:
    Cache(f"{told['folder']}/cache").repair()


JOBS: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    job.__name__: job for job in (refresh, export, write, append, repair)
}


def run(told: dict[str, Any]) -> int:
    """Run one job to its end, and return the exit code. Says in a file of its own how it ended."""
    steps = Steps(told["folder"], told.get("die_at"))
    if (most_bytes := told.get("most_bytes")) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    if (after_s := told.get("die_after_s")) is not None:
        # Nobody handles the alarm, so it ends the process as SIGKILL does: at once and without a word.
        signal.setitimer(signal.ITIMER_REAL, after_s)
    said, code = "", DONE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            JOBS[told["job"]](told)
    except SacError as error:
        said, code = f"{type(error).__name__}: {error}", REFUSED
    except BaseException as error:  # noqa: BLE001 - whatever is no error of ours is a finding
        said, code = f"{type(error).__name__}: {error}", BROKEN
    os.write(told["answer"], json.dumps({"said": said, "steps": steps.count}).encode())
    return code


def start(told: dict[str, Any]) -> tuple[int, int]:
    """Fork a process for a job; return its id and the end of a pipe on which it says how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = BROKEN
        try:
            code = run({**told, "answer": writer})
        finally:
            os._exit(code)
    os.close(writer)
    return child, reader


def main() -> None:
    for line in sys.stdin:
        outcomes = []
        for child, reader in [start(told) for told in json.loads(line)]:
            with os.fdopen(reader) as answer:
                text = answer.read()
            status = os.waitpid(child, 0)[1]
            outcomes.append({"said": "", "steps": 0, **(json.loads(text) if text else {}),
                             "code": os.waitstatus_to_exitcode(status)})  # fmt: skip
        print(json.dumps(outcomes), flush=True)


# Imported on first use otherwise, in every fork anew.
_WARM: Final = (pl, pyarrow.parquet, Publication, channel, load, writes)

if __name__ == "__main__":
    main()
