"""A short part of ``make chaos``, with a seed of its own."""

from __future__ import annotations

import polars as pl
import pytest

from .jobs import JOBS, Run, Wrong
from .run import chaos


@pytest.mark.timeout(300)
def test_each_run_gives_the_right_rows_or_a_typed_error_and_leaves_nothing_open() -> None:
    report = chaos(1225, range(12))
    assert report.wrong == []
    assert (report.rows_lost, report.rows_doubled) == (0, 0)
    assert report.left_over == []
    # The world was spoiled, and still many runs got through.
    assert sum(report.faults.values()) > 20
    assert sum(report.retries.values()) > 5
    assert report.right_rows > 3
    assert report.runs == report.right_rows + sum(report.errors.values())
    assert set(report.jobs) == {job.__name__ for job in JOBS}
    assert report.longest_stall_s > 0


def test_a_lost_row_and_a_doubled_one_are_seen() -> None:
    """The judge of the runs notices what it is there for."""
    rows = pl.DataFrame({"key": ["a", "b", "c"], "value": [1.0, 2.0, None]})
    run = Run(None, None, None, None, None, {"rows": rows})  # type: ignore[arg-type]
    run.same(rows[::-1], "rows")
    for spoiled, lost, doubled in ((rows[1:], 1, 0), (pl.concat([rows, rows[:1]]), 0, 1)):
        with pytest.raises(Wrong):
            run.same(spoiled, "rows")
        assert (run.lost, run.doubled) == (lost, doubled)
