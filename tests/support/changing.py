"""The model CHANGING of the tests of change tracking: its columns and rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl

from sacnb.sandbox import Column, Model, dimension, table_model

COLUMNS = (
    Column("Version", key=True, max_length=30),
    Column("Date", key=True, max_length=6),
    Column("Region", key=True, max_length=60),
    Column("Amount", "Edm.Decimal", precision=31, scale=7),
    Column("Units", "Edm.Int64"),
)
KEYS = ("Version", "Date", "Region")
# What makes an id or a filter go wrong: apostrophes, percent signs, brackets, commas, blanks, "unassigned".
REGIONS = ("North", "O'Brien, (West)", "50% off", "A%41", "#", "Süd = 南")


def row(region: str, date: str = "202401", amount: object = "1.5", units: int | None = 1) -> dict[str, Any]:
    return {"Version": "public.Actual", "Date": date, "Region": region, "Amount": amount, "Units": units}


def first_rows() -> list[dict[str, Any]]:
    return [row(region, f"2024{month:02}", f"{month}.25", month) for month in range(1, 5) for region in REGIONS]


def first_model() -> Model:
    """24 rows; there are members for the regions."""
    members = dimension(pl.DataFrame({"ID": REGIONS, "Description": REGIONS}))
    schema = {"Version": pl.String, "Date": pl.String, "Region": pl.String, "Amount": pl.String, "Units": pl.Int64}
    rows = pl.DataFrame(first_rows(), schema=schema)
    return table_model("CHANGING", columns=COLUMNS, rows=rows, dimensions={"Region": members})


def rows_of(result: Any) -> set[tuple[Any, ...]]:
    """The rows of a result, which are unique, with exact decimals."""
    found = [tuple(row.values()) for row in result.arrow().to_pylist()]
    assert len(set(found)) == len(found)
    return set(found)


def amount_of(result: Any, region: str, date: str) -> Decimal | None:
    (found,) = [row["Amount"] for row in result.arrow().to_pylist() if (row["Region"], row["Date"]) == (region, date)]
    return found
