"""The published totals of the Bureau of Labor Statistics, beside the sums of what was pulled."""

from __future__ import annotations

from importlib import resources
from typing import Final

import polars as pl

__all__ = ["TOLERANCE", "compare_with_published"]

# In thousands. The sectors are published with one decimal and the total with none.
TOLERANCE: Final = 0.5


def compare_with_published(facts: pl.DataFrame) -> pl.DataFrame:
    """``month``, ``sectors`` (how many), ``sum``, ``published`` and ``difference``, in thousands of employees.

    Every published month is there; one that was not pulled has nulls. ``facts`` has ``Date``, ``Sector`` and
    ``Employees``.
    """
    content = (resources.files("sacnb.sandbox") / "data" / "us_employment_totals.csv").read_bytes()
    published = pl.read_csv(content, schema_overrides={"date": pl.String}).select(
        month="date", published=pl.col("total_nonfarm_thousand").cast(pl.Float64)
    )
    sums = facts.group_by(month="Date").agg(sectors=pl.col("Sector").n_unique(), sum=pl.col("Employees").sum())
    return (
        published.join(sums, on="month", how="left")
        .with_columns(difference=pl.col("sum") - pl.col("published"))
        .select("month", "sectors", "sum", "published", "difference")
        .sort("month")
    )
