"""A planning model with two measures, a hierarchy and members with formulas, to write into."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl

import sacnb.sandbox
from sacnb._tenant import Model
from sacnb.sandbox import Column
from sacnb.sandbox.model import date_dimension, version_dimension

MONTHS = [f"{year}{month:02d}" for year in (2024, 2025) for month in range(1, 13)]
STORES = [f"S{number}" for number in range(5)]
_MEASURE = pl.Decimal(31, 7)


def sales(store_count: int = 5) -> Any:
    """Return ``SALES``: 24 months of the stores in two versions; ``KPI`` has a formula."""
    stores = [f"S{number}" for number in range(store_count)]
    parents = {"ALL": "<root>", "NORTH": "ALL", **dict.fromkeys(stores, "NORTH"), "KPI": "<root>"}
    text = {"key": True, "nullable": False, "max_length": 20}
    columns = [
        Column("Version", **{**text, "max_length": 300}),
        Column("Date", **text),
        Column("Store", **text),
        Column("Amount", "Edm.Decimal", precision=31, scale=7),
        Column("Pieces", "Edm.Decimal", precision=31, scale=7),
    ]
    keys = [(v, d, s) for v in ("public.Actual", "public.Plan") for d in MONTHS for s in stores]
    rows = pl.DataFrame(keys, schema=["Version", "Date", "Store"], orient="row").with_columns(
        (pl.int_range(len(keys)) * 5).cast(_MEASURE).alias("Amount"),
        pl.int_range(len(keys)).cast(_MEASURE).alias("Pieces"),
    )
    frame = pl.DataFrame(
        {
            "ID": list(parents),
            "Description": list(parents),
            "Formula": ["[Amount]/[Pieces]" if m == "KPI" else "" for m in parents],
        }
    )
    versions = {"public.Actual": "Actual", "public.Plan": "Plan", "public.Empty": "Empty"}
    return sacnb.sandbox.table_model(
        "SALES",
        columns=columns,
        rows=rows,
        dimensions={
            "Version": version_dimension(versions),
            "Date": date_dimension(MONTHS),
            "Store": sacnb.sandbox.dimension(frame, parents),
        },
    )


Facts = dict[tuple[str, str, str], tuple[Decimal | None, Decimal | None]]


def facts(model: Model, version: str = "public.Plan") -> Facts:
    """Return what SAC has of a version: amount and pieces by key."""
    found = model.facts(where={"Version": version}, repeated="error").fetch().arrow().to_pylist()
    return {(r["Version"], r["Date"], r["Store"]): (r["Amount"], r["Pieces"]) for r in found}


def plan(count: int = 3, *, date: str | None = None, **columns: Any) -> pl.DataFrame:
    """Return *count* rows of the plan, one a store and month, with new values; *date* instead of the months."""
    keys = [(d, s) for d in ([date] if date else MONTHS) for s in STORES][:count]
    frame = pl.DataFrame(keys, schema=["Date", "Store"], orient="row")
    values = [Decimal(number) + Decimal("0.25") for number in range(len(keys))]
    return frame.with_columns(pl.Series("Amount", values), pl.Series("Pieces", range(len(keys)))).with_columns(
        **{name: value if isinstance(value, pl.Series) else pl.lit(value) for name, value in columns.items()}
    )
