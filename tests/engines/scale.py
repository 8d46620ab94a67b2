"""Measure how an engine reads many rows of the sandbox's SCALE; docs/scale.md has the numbers.

    python tests/engines/scale.py dask --rows 5000000 --partitions 16

The sandbox runs in a process of its own, and takes its share of the cores. Every row is read with all its columns,
counted, and the sum of a measure is compared with that of one stream by ``stream()``, which is the engine ``one``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sacnb

SERVE = """
import json, sys
from sacnb import sandbox

def ready(one):
    names = ("tenant_url", "token_url", "client_id", "client_secret")
    print(json.dumps({name: getattr(one, name) for name in names}), flush=True)

sandbox.serve(on_ready=ready, scale_rows=int(sys.argv[1]))
"""


def peak_mb() -> float:
    """Return the largest memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def by_one(facts: Any, _: argparse.Namespace) -> dict[str, Any]:
    """Read in this process, with ``stream()``."""
    rows, total = 0, 0
    for batch in facts.stream():
        rows += batch.num_rows
        total += sum(filter(None, batch.column("Quantity").to_pylist()))
    return {"rows": rows, "total": int(total), "peak_mb": [peak_mb()]}


def by_dask(facts: Any, told: argparse.Namespace) -> dict[str, Any]:
    """Read with worker processes of one thread each."""
    from distributed import Client, LocalCluster

    import sacnb.dask

    with (
        LocalCluster(n_workers=told.workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        frame = sacnb.dask.read(facts, partitions=told.partitions)
        sums = frame.map_partitions(_rows_and_total, meta={"rows": "int64", "total": "float64"}).compute()
        peaks = client.run(peak_mb)
    return {"rows": int(sums["rows"].sum()), "total": int(sums["total"].sum()), "peak_mb": list(peaks.values())}


def _rows_and_total(frame: Any) -> Any:
    import pandas as pd

    return pd.DataFrame({"rows": [len(frame)], "total": [float(frame["Quantity"].sum())]})


def by_spark(facts: Any, told: argparse.Namespace) -> dict[str, Any]:
    """Read with Spark's local mode; the peaks are those of the driver's Python and of its largest child."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    import sacnb.spark

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{told.workers}]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "2g")
        .getOrCreate()
    )
    sacnb.spark.register(spark)
    settings = facts.connection.settings
    options = {"tenantUrl": settings.tenant_url, "tokenUrl": settings.token_url, "clientId": settings.client_id}
    reader = spark.read.format("sacnb").options(**options, partitions=str(told.partitions), at_once=str(told.workers))
    count, total = reader.load("SCALE").agg(f.count("*"), f.sum("Quantity")).collect()[0]
    spark.stop()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"rows": count, "total": int(total), "peak_mb": [peak_mb(), children]}


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
            began = time.monotonic()
            found = ENGINES[told.engine](facts, told)
            seconds = time.monotonic() - began
        finally:
            server.terminate()
    assert found["rows"] == told.rows, found
    peaks = [round(peak) for peak in found.pop("peak_mb")]
    print(
        json.dumps(
            {
                **vars(told),
                **found,
                "seconds": round(seconds, 1),
                "rows_per_s": round(told.rows / seconds),
                "peak_mb": peaks,
            }
        )
    )


if __name__ == "__main__":
    main()
