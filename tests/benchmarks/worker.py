"""One measurement in a process of its own.

The process imports what it needs and pulls a thousand rows, so that imports, token and metadata are not counted. Then
it says what memory it takes when idle, waits for a line on stdin, runs, and says what that took.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.memory import forget_peak, peak_mb, resident_mb
from benchmarks.server import Target

# Made by a candidate for one target: pulls everything, and returns the number of rows and whatever else it measured.
Run = Callable[[], dict[str, Any]]


def main(job: dict[str, Any]) -> None:
    """Run a job: ``candidate`` is ``module:function``, ``small`` and ``target`` are what to pull."""
    say = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no result
    module, _, name = job["candidate"].partition(":")
    make: Callable[..., Run] = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for which in ("small", "target"):
            (Path(folder) / which).mkdir()
        make(Target(**job["small"]), Path(folder) / "small", **job["options"])()
        run = make(Target(**job["target"]), Path(folder) / "target", **job["options"])
        gc.collect()
        forget_peak()
        idle_mb = resident_mb()
        print(json.dumps({"idle_mb": round(idle_mb, 1)}), file=say, flush=True)
        sys.stdin.readline()
        began, cpu_began = time.perf_counter(), time.process_time()
        found = run()
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        rows = found.pop("rows")
        if rows != job["target"]["rows"]:
            raise RuntimeError(f"{job['candidate']} pulled {rows:,} rows of {job['target']['rows']:,}")
        result = {
            # A candidate may do something first that is not what it measures, and say itself how long that took.
            "seconds": round(found.pop("seconds", seconds), 4),
            "cpu_s": round(cpu_s, 3),
            "idle_mb": round(idle_mb, 1),
            "peak_mb": round(peak_mb(), 1),
            **found,
        }
        print(json.dumps(result), file=say, flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
