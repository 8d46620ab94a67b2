"""What was aimed at before anything was measured, and whether it was reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.results import Results

__all__ = ["TARGETS", "Target", "shown", "verdict"]


@dataclass(frozen=True)
class Target:
    """One target.

    ``limit`` is the most that ``measure`` may give, or with ``at_least`` the least. ``why`` says what is in the way; it
    is shown where the target is missed.
    """

    what: str
    limit: float
    measure: Callable[[Results], float]
    why: str
    at_least: bool = False
    unit: str = "times"

    def is_met(self, results: Results) -> bool:
        """Whether it was reached; exactly as much is reached."""
        value = self.measure(results)
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def aim(self) -> str:
        """The target in words."""
        return f"{'at least' if self.at_least else 'at most'} {_number(self.limit, self.unit)}"


def verdict(target: Target, results: Results) -> str:
    """Met, or missed by how much and why."""
    if target.is_met(results):
        return "met"
    off = abs(target.measure(results) / target.limit - 1)
    return f"**missed** by {off:.0%}: {target.why}"


def _number(value: float, unit: str) -> str:
    match unit:
        case "MB":
            return f"{value:.0f} MB"
        case "s":
            return f"{value:.2f} s"
        case "times":
            return f"{value:.2f} times"
        case _:
            return f"{value:.2f}"


def shown(target: Target, results: Results) -> str:
    """What was measured, in words."""
    return _number(target.measure(results), target.unit)


def _over_network(ours: str) -> Callable[[Results], float]:
    return lambda results: results.ratio(ours, "limits:network")


_LAST: Final = (
    "decoding a page takes longer than the 50 ms of waiting for it, so the processor is the limit: its seconds, in the "
    "table below, over two cores are the least time"
)
_WAIT: Final = "half and more of our time is the wait for the pages, which nobody can save with one stream"

TARGETS: Final = (
    Target("`stream()` beside the network alone, 50 ms a page", 1.15, _over_network("ours:stream"), _LAST),
    Target("`fetch()` beside the network alone, 50 ms a page", 1.15, _over_network("ours:fetch"), _LAST),
    Target(
        "`sacapi` (a list of dictionaries) beside `fetch()`, 50 ms",
        5,
        lambda results: results.ratio("peers:sacapi", "ours:fetch"),
        f"{_WAIT}, and it stops at dictionaries, which is a part of the work",
        at_least=True,
    ),
    Target(
        "`sacapi` and a pandas frame of it beside `fetch().pandas()`, 50 ms",
        5,
        lambda results: results.ratio("peers:sacapi_frame", "ours:pandas"),
        _WAIT,
        at_least=True,
    ),
    Target(
        "the `requests` and pandas loop beside `fetch().pandas()`, 50 ms",
        3.3,
        lambda results: results.ratio("peers:loop", "ours:pandas"),
        _WAIT,
        at_least=True,
    ),
    Target(
        "`dlt` beside `to_parquet()`, 50 ms",
        12,
        lambda results: results.ratio("peers:dlt", "ours:parquet"),
        "every page is also kept on the disk until the pull is complete, and files are synced",
        at_least=True,
    ),
    Target(
        "4 partitions beside one stream, 1 M rows, 500 ms",
        3.2,
        lambda results: results.speedup(results.partitioned_rows[0], 4),
        "SAC is asked for members and counts before the first page, which is two waits and as much as two pages of the "
        "five that each stream has, and the rows of a part end within a sixth",
        at_least=True,
    ),
    Target(
        "4 partitions beside one stream, 5 M rows, 500 ms",
        3.7,
        lambda results: results.speedup(results.partitioned_rows[1], 4),
        "two waits before the first page, and a last page for each part that is not full",
        at_least=True,
    ),
    Target(
        "memory of `stream()` above the idle process, 10 M rows",
        300,
        lambda results: float(results.largest("ours:stream")["above_idle_mb"]),
        "a few pages, and eight bytes a row to find repeated keys",
        unit="MB",
    ),
    Target(
        "memory of `to_parquet()` above the idle process, 10 M rows",
        300,
        lambda results: float(results.largest("ours:parquet")["above_idle_mb"]),
        "a few pages, half a million rows that become a file, and eight bytes a row to find repeated keys",
        unit="MB",
    ),
    Target(
        "exponent of growth, `stream()`",
        1.05,
        lambda results: results.exponent("ours:stream"),
        "the keys of all rows are compared",
        unit="",
    ),
    Target(
        "exponent of growth, `to_parquet()`",
        1.05,
        lambda results: results.exponent("ours:parquet"),
        "the keys of all rows are compared",
        unit="",
    ),
    Target(
        "memory of `to_parquet()`, the interpreter included, 1 M rows, 50 ms",
        350,
        lambda results: float(results.find("compare", "ours:parquet", latency_ms=50)["peak_mb"]),
        "a few pages, and half a million rows that become a file",
        unit="MB",
    ),
    Target(
        "5 M cached rows back as polars, beside the file by polars alone",
        2,
        lambda results: results.data["cache"]["read"]["seconds"] / results.data["cache"]["file"]["seconds"],
        "polars reads the file after its digest is checked; then its strings become Arrow's, which is the form that "
        "results have, and polars' own again",
    ),
    Target(
        "the slowest shape of a page that is read, beside the plain page",
        2,
        lambda results: max(results.shapes().values()),
        "such a page is read once more, with other types",
    ),
    Target(
        "ten rows from a cold process, beside `requests` and pandas",
        0.55,
        lambda results: results.data["cold"]["ours"]["ms"] / results.data["cold"]["theirs"]["ms"],
        "importing pyarrow, polars and requests alone takes 0.7 of the loop's processor time, and the metadata is "
        "asked for, which the loop does not need",
    ),
    Target(
        "`import sacnb` beside `import pandas`",
        0.2,
        lambda results: results.data["imports"]["sacnb"]["ms"] / results.data["imports"]["pandas"]["ms"],
        "more is imported than is needed",
    ),
)
