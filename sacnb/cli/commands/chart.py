"""The chart of the demonstration, with sectors by their names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

    from sacnb._results.result import Result

__all__ = ["write_chart"]


def write_chart(result: Result, sectors: pl.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write the chart of ``result`` by quarter as PNG and HTML into ``folder``; returns both paths.

    Raises MissingExtraError where the extra ``plot`` is not installed.
    """
    chart = _with_names(result, sectors).plot(
        grain="quarter",
        agg="mean",
        by="Sector",
        kind="line",
        title="US employment by sector (Bureau of Labor Statistics)",
        unit="thousands",
    )
    png, html = folder / "us_employment.png", folder / "us_employment.html"
    chart.save_png(png)
    chart.save_html(html)
    return png, html


def _with_names(result: Result, sectors: pl.DataFrame) -> Result:
    """The same rows with what SAC calls each sector in the place of its id, for a legend that can be read."""
    names = dict(zip(sectors["id"], sectors["description"], strict=True))
    table = result.arrow()
    place = table.column_names.index("Sector")
    named = pa.array([names.get(member, member) for member in table["Sector"].to_pylist()], pa.string())
    return dataclasses.replace(result, table=table.set_column(place, table.schema.field(place), named))
