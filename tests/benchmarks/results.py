"""The results of a run, and the numbers that are derived from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.server import PAGE_ROWS

__all__ = ["FITTED_FROM_ROWS", "Results", "exponent"]

# Below this many rows a pull is the price of a request, whatever the rows.
FITTED_FROM_ROWS: Final = 100_000

_SHAPE: Final = "shape_"


@dataclass(frozen=True)
class Results:
    """What ``docs/performance.json`` holds."""

    data: dict[str, Any]

    @property
    def million(self) -> int:
        """How many rows were compared."""
        rows: int = self.find("compare", "ours:fetch", latency_ms=50)["rows"]
        return rows

    @property
    def pages(self) -> int:
        """How many pages that is."""
        return -(-self.million // PAGE_ROWS)

    @property
    def times(self) -> int:
        """How often most was measured."""
        return len(self.find("compare", "ours:fetch", latency_ms=50)["runs"])

    def find(self, section: str, candidate: str, **wanted: Any) -> dict[str, Any]:
        """The one measurement with these properties."""
        found = [
            run
            for run in self.data[section]["runs"]
            if run["candidate"] == candidate and all(run[name] == value for name, value in wanted.items())
        ]
        if len(found) != 1:
            raise LookupError(f"{section} has {len(found)} measurements of {candidate} with {wanted}")
        return found[0]

    def seconds(self, candidate: str, latency_ms: int) -> float:
        """How long a candidate took for the rows that are compared; scaled up where it was given fewer of them."""
        run = self.find("compare", candidate, latency_ms=latency_ms)
        return float(run["seconds"]) * self.million / run["rows"]

    def ratio(self, peer: str, ours: str, latency_ms: int = 50) -> float:
        """How many times as long a peer takes."""
        return self.seconds(peer, latency_ms) / self.seconds(ours, latency_ms)

    def growth(self, candidate: str) -> list[dict[str, Any]]:
        """The measurements of one way to pull, by the number of rows."""
        runs = [run for run in self.data["growth"]["runs"] if run["candidate"] == candidate]
        return sorted(runs, key=lambda run: int(run["rows"]))

    def exponent(self, candidate: str, what: str = "seconds") -> float:
        """The exponent of growth, fitted where fixed costs do not rule."""
        runs = [run for run in self.growth(candidate) if run["rows"] >= FITTED_FROM_ROWS]
        return exponent([run["rows"] for run in runs], [run[what] for run in runs])

    def largest(self, candidate: str) -> dict[str, Any]:
        """The measurement of the most rows."""
        return self.growth(candidate)[-1]

    def partitioned(self, rows: int, partitions: int) -> dict[str, Any]:
        """A pull by partitions."""
        return self.find("partitions", "ours:partitioned", rows=rows, partitions=partitions)

    def speedup(self, rows: int, partitions: int) -> float:
        """How many times as fast it is as one stream."""
        return float(self.partitioned(rows, 1)["seconds"] / self.partitioned(rows, partitions)["seconds"])

    def shapes(self) -> dict[str, float]:
        """How many times as long as the plain page each shape of a page takes to decode."""
        found = {name: value for name, value in self.data["inside"].items() if name.startswith(_SHAPE)}
        return {name.removeprefix(_SHAPE).removesuffix("_ratio"): float(value) for name, value in found.items()}

    @property
    def partitioned_rows(self) -> tuple[int, int]:
        """The two numbers of rows that were pulled by partitions, the smaller one first."""
        few, many = sorted({run["rows"] for run in self.data["partitions"]["runs"]})
        return few, many


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of the line through the logarithms, by least squares: 1 where twice the rows cost twice as much."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    shared = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return shared / sum((a - mean_x) ** 2 for a in x)
