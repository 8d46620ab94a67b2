"""Measure how an engine reads many rows of the sandbox's SCALE; docs/scale.md has the numbers.

    python tests/engines/scale.py dask --rows 5000000 --partitions 16

The sandbox runs in a process of its own, and takes its share of the cores. Every row is read with all its columns,
counted, and a measure is added up: the engine ``one`` (a single ``stream()``) must come to the same total. Peaks are
those of the memory of this process and of each below it, read from Linux' /proc every second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

import sacnb

SERVE = """
import json, sys
from sacnb import sandbox

def ready(one):
    names = ("tenant_url", "token_url", "client_id", "client_secret")
    print(json.dumps({name: getattr(one, name) for name in names}), flush=True)

sandbox.serve(on_ready=ready, scale_rows=int(sys.argv[1]))
"""


class Peaks(threading.Thread):
    """Notes the peak memory of this process and of those below it, but for the sandbox's."""

    def __init__(self, without: int) -> None:
        super().__init__(daemon=True)
        self._without = without
        self._ended = threading.Event()
        self._found: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        while not self._ended.wait(1.0):
            self._look()

    def end(self) -> dict[str, list[int]]:
        """Stop, and return the peaks in MB by the name of the program, the largest first."""
        self._ended.set()
        self.join()
        self._look()
        peaks: dict[str, list[int]] = {}
        for name, kilobytes in sorted(self._found.values(), key=lambda one: -one[1]):
            peaks.setdefault(name, []).append(round(kilobytes / 1024))
        return peaks

    def _look(self) -> None:
        about: dict[int, dict[str, str]] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # a process that has just ended
                lines = (folder / "status").read_text().splitlines()
                about[int(folder.name)] = dict(line.split(":", 1) for line in lines if ":" in line)
        below = {os.getpid()}
        for _ in about:  # children may have lower numbers than their parents
            more = {pid for pid, one in about.items() if int(one["PPid"]) in below and pid != self._without} - below
            if not more:
                break
            below |= more
        for pid in below & set(about):
            if "VmHWM" in about[pid]:
                self._found[pid] = (about[pid]["Name"].strip(), int(about[pid]["VmHWM"].split()[0]))


def by_one(facts: Any, _: argparse.Namespace) -> dict[str, Any]:
    """Read in this process, with ``stream()``."""
    rows, total = 0, 0
    for batch in facts.stream():
        rows += batch.num_rows
        total += pc.sum(batch.column("Quantity")).as_py() or 0
    return {"rows": rows, "total": int(total)}


def by_dask(facts: Any, told: argparse.Namespace) -> dict[str, Any]:
    """Read with worker processes of one thread each."""
    from distributed import Client, LocalCluster

    import sacnb.dask

    with (
        LocalCluster(n_workers=told.workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        frame = sacnb.dask.read(facts, partitions=told.partitions)
        sums = frame.map_partitions(_rows_and_total, meta={"rows": "int64", "total": "float64"}).compute()
    return {"rows": int(sums["rows"].sum()), "total": int(sums["total"].sum())}


def _rows_and_total(frame: Any) -> Any:
    import pandas as pd

    return pd.DataFrame({"rows": [len(frame)], "total": [float(frame["Quantity"].sum())]})


def by_spark(facts: Any, told: argparse.Namespace) -> dict[str, Any]:
    """Read with Spark's local mode."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    import sacnb.spark

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{told.workers}]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", "2g")
        .getOrCreate()
    )
    sacnb.spark.register(spark)
    settings = facts.connection.settings
    options = {"tenantUrl": settings.tenant_url, "tokenUrl": settings.token_url, "clientId": settings.client_id}
    reader = spark.read.format("sacnb").options(**options, partitions=str(told.partitions), at_once=str(told.workers))
    count, total = reader.load("SCALE").agg(f.count("*"), f.sum("Quantity")).collect()[0]
    spark.stop()
    return {"rows": count, "total": int(total)}


ENGINES: dict[str, Callable[[Any, argparse.Namespace], dict[str, Any]]] = {
    "one": by_one, "dask": by_dask, "spark": by_spark,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    told = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", SERVE, str(told.rows)], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            place = json.loads(server.stdout.readline())
            os.environ["SAC_CLIENT_SECRET"] = place.pop("client_secret")
            os.environ["SAC_CACHE_DIR"] = str(Path(folder) / "cache")
            facts = sacnb.connect(**place).model("SCALE").facts()
            peaks, load, began = Peaks(server.pid), os.getloadavg()[0], time.monotonic()
            peaks.start()
            found = ENGINES[told.engine](facts, told)
            seconds = time.monotonic() - began
            peaks_mb = peaks.end()
        finally:
            server.terminate()
    assert found["rows"] == told.rows, found
    found |= {"seconds": round(seconds, 1), "rows_per_s": round(told.rows / seconds), "peaks_mb": peaks_mb}
    found |= {"load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
    print(json.dumps({**vars(told), **found}))


if __name__ == "__main__":
    main()
