"""``US_EMPLOYMENT``: what the US Bureau of Labor Statistics published, from the files in ``sacnb/sandbox/data``."""

from __future__ import annotations

from functools import cache

import polars as pl

from sacnb.sandbox.files import read_csv
from sacnb.sandbox.model import Model, date_dimension, dimension, version_dimension
from sacnb.sandbox.relation import frame_relation
from sacnb.sandbox.schema import decimal_column, text_column

__all__ = ["us_employment"]

_PLAN_GROWTH_PERCENT = 102
_MEASURE = pl.Decimal(31, 7)


def _facts() -> pl.DataFrame:
    """Actuals as published, and the plan made from them: twelve months before, times 1.02, exactly in decimals."""
    actual = read_csv("us_employment.csv").select(
        pl.lit("public.Actual").alias("Version"),
        pl.col("date").alias("Date"),
        pl.col("sector").alias("Sector"),
        pl.col("employees_thousand").cast(_MEASURE).alias("Employees"),
    )
    year_later = (pl.col("Date").cast(pl.Int32) + 100).cast(pl.String)
    hundredth = pl.col("Employees").cast(pl.Decimal(31, 9)) * _PLAN_GROWTH_PERCENT / 100
    plan = actual.with_columns(
        pl.lit("public.Plan").alias("Version"), year_later.alias("Date"), hundredth.cast(_MEASURE).alias("Employees")
    ).filter(pl.col("Date") <= actual["Date"].max())
    return pl.concat([actual, plan])


@cache
def us_employment() -> Model:
    """Employees in thousands by version, month and leaf sector; the hierarchy of sectors is in the master data."""
    facts = _facts()
    sectors = read_csv("us_employment_sectors.csv")
    members = sectors.select(pl.col("id").alias("ID"), pl.col("description").alias("Description"))
    return Model(
        provider_id="US_EMPLOYMENT",
        name="US employment by sector",
        description=(
            "US employment by sector, monthly, 2006 to 2015, thousands, seasonally adjusted (Bureau of Labor "
            "Statistics). public.Actual is real; public.Plan is made up: twelve months before, times 1.02."
        ),
        facts=frame_relation(
            [
                text_column("Version", key=True, max_length=300),
                text_column("Date", key=True),
                text_column("Sector", key=True),
                decimal_column("Employees"),
            ],
            facts,
        ),
        dimensions={
            "Version": version_dimension({"public.Actual": "Actual", "public.Plan": "Plan"}),
            "Date": date_dimension(sorted(facts["Date"].unique())),
            "Sector": dimension(members, dict(zip(sectors["id"], sectors["parent"], strict=True))),
        },
    )
