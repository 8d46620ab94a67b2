"""What is measured, in this order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.cold import cold_times
from benchmarks.imports import import_times
from benchmarks.inside import measure_inside
from benchmarks.measuring import SMALL_ROWS, Bench
from benchmarks.snowflake import SIMULATOR, simulator, token_costs
from benchmarks.upload import upload_times

LATENCIES_MS: Final = (0, 50, 500)
_LIMITS: Final = ("limits:network", "limits:gunzip")
_OURS: Final = ("ours:fetch", "ours:polars", "ours:pandas", "ours:parquet", "ours:stream")
_QUICK_PEERS: Final = ("peers:loop", "peers:sacapi", "peers:sacapi_frame")
_SLOW_PEERS: Final = ("peers:dlt", "peers:python_odata")


@dataclass(frozen=True)
class Extent:
    """How many rows are pulled, and how often."""

    million: int = 1_000_000
    odata: int = 100_000
    cached: int = 5_000_000
    growth: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    times: int = 3
    imports: int = 11

    @property
    def models(self) -> dict[str, int]:
        """The models that are needed, with their rows."""
        rows = {SMALL_ROWS, self.million, self.odata, self.cached, *self.growth}
        return {f"SCALE_{number}": number for number in sorted(rows)}


FULL: Final = Extent()
# For those who work on this.
QUICK: Final = Extent(
    million=100_000, odata=10_000, cached=1_000_000, growth=(1_000, 10_000, 100_000, 1_000_000), times=1, imports=3
)


def compare(bench: Bench, extent: Extent) -> dict[str, Any]:
    """Everybody beside each other, at three latencies.

    At 500 ms nearly all of the time is waiting, which does not vary, so everybody is measured once there; and so is
    what takes very long at 0 ms. python-odata gets a tenth of the rows.
    """
    sent, size = bench.server.warm(bench.server.target(extent.million).facts_url)
    bench.server.warm(bench.server.target(extent.odata).facts_url)
    bench.measure("ours:fetch", extent.million, 0)  # not counted: the server makes the pages
    found = []
    for latency_ms in LATENCIES_MS:
        for candidate in (*_LIMITS, *_OURS, *_QUICK_PEERS, *_SLOW_PEERS):
            is_once = latency_ms == 500 or (candidate in _SLOW_PEERS and latency_ms == 0)
            rows = extent.odata if candidate == "peers:python_odata" else extent.million
            found.append(bench.measure(candidate, rows, latency_ms, times=1 if is_once else extent.times))
    return {"runs": found, "wire_mb": round(sent / 1e6, 1), "json_mb": round(size / 1e6, 1)}


def growth(bench: Bench, extent: Extent) -> dict[str, Any]:
    """From a thousand rows to ten million, at 50 ms a page; the memory over time for the most."""
    found = []
    for rows in extent.growth:
        bench.measure("ours:stream", rows, 0)  # not counted
        is_last = rows == extent.growth[-1]
        for candidate in ("ours:stream", "ours:parquet"):
            times = 1 if is_last else extent.times
            found.append(bench.measure(candidate, rows, 50, times=times, sample=is_last))
    return {"runs": found}


def partitions(bench: Bench, extent: Extent) -> dict[str, Any]:
    """One, two, four and eight streams where a page takes half a second; and one and four for five times the rows."""
    found = []
    for rows, numbers in ((extent.million, (1, 2, 4, 8)), (extent.cached, (1, 4))):
        for number in numbers:
            bench.measure("ours:partitioned", rows, 0, partitions=number)  # not counted
            found.append(bench.measure("ours:partitioned", rows, 500, partitions=number))
    return {"runs": found}


def cache(bench: Bench, extent: Extent) -> dict[str, Any]:
    """Keep a large result, and have it back in another process, three times; and its file by polars alone."""
    return {
        "write": bench.measure("ours:cache_write", extent.cached, 0),
        "read": bench.measure("ours:cache_read", extent.cached, 0, times=3),
        "file": bench.measure("ours:cache_file", extent.cached, 0, times=3),
    }


def cold(bench: Bench, extent: Extent) -> dict[str, Any]:
    """Ten rows as a frame, from the start of Python on."""
    bench.server.set_latency(0)
    return cold_times(bench.server.target(SMALL_ROWS), bench.environ, extent.imports)


def snowflake(bench: Bench, extent: Extent) -> dict[str, Any]:
    """Rows into the Snowflake simulator; the memory over time of a load from SAC; what a token costs."""
    rows, times = extent.million, extent.times
    bench.measure("ours:stream", rows, 0)  # not counted: the server makes the pages
    with simulator(bench.environ) as one:
        into = replace(bench, environ={**bench.environ, SIMULATOR: one.path})

        def measure(candidate: str, **options: Any) -> dict[str, Any]:
            before = one.cpu_s()
            found = into.measure(f"snowflake:{candidate}", rows, 0, **options)
            return {**found, "simulator_cpu_s": round((one.cpu_s() - before) / len(found["runs"]), 2)}

        found = [
            measure("ours", times=times, channels=1),
            measure("ours", times=times, channels=4),
            measure("sdk", times=times),
            measure("naive", times=times),
            measure("load", sample=True, channels=3),
        ]
        return {"runs": found, **token_costs(one.path)}


def measure_all(bench: Bench, extent: Extent, only: frozenset[str]) -> dict[str, Any]:
    """All sections, or some."""
    sections = {
        "imports": lambda: import_times(extent.imports),
        "inside": measure_inside,
        "cold": lambda: cold(bench, extent),
        "compare": lambda: compare(bench, extent),
        "growth": lambda: growth(bench, extent),
        "partitions": lambda: partitions(bench, extent),
        "cache": lambda: cache(bench, extent),
        "snowflake": lambda: snowflake(bench, extent),
        "upload": lambda: upload_times(extent.odata, extent.times),
    }
    found = {}
    for name, measure in sections.items():
        if not only or name in only:
            bench.say(f"-- {name}")
            found[name] = measure()
    return found
