"""What is shown of an answer in the explorer: its first rows, and a chart or the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sacnb._frames.preview import preview
from sacnb.errors import MissingExtraError, SacError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sacnb._charts.chart import Chart
    from sacnb._results.result import Result
    from sacnb.notebook.choice import Choice

__all__ = ["draw", "table"]


def table(choice: Choice, result: Result, frame: pl.DataFrame) -> str:
    """The first rows as HTML: those of the tidy frame, where there is a grain."""
    if choice.grain is None:
        return result._repr_html_()
    return preview(frame.to_arrow(), title=f"{choice.model_id} by {choice.grain}: {len(frame):,} rows").html()


def draw(choice: Choice, result: Result, labels: Mapping[str, pl.DataFrame]) -> tuple[Chart | None, list[str]]:
    """The chart, or in words why there is none: that is no failure of the result."""
    try:
        chart = result.plot(choice.grain, agg=choice.agg, labels=labels)
        chart.png()
    except MissingExtraError as error:
        return None, [f"No chart: {error}"]
    except SacError as error:
        return None, [f"No chart: {error.message}", *([error.hint] if error.hint else [])]
    return chart, []
