"""``PLANNING``: a small account-type planning model, made up, from the files in ``sacnb/sandbox/data``."""

from __future__ import annotations

from functools import cache

import polars as pl

from sacnb.sandbox.files import read_csv
from sacnb.sandbox.model import Dimension, Model, date_dimension, dimension, version_dimension
from sacnb.sandbox.relation import frame_relation
from sacnb.sandbox.schema import decimal_column, text_column

__all__ = ["planning"]


def _members(name: str) -> Dimension:
    """The members in a file with ``ID``, ``Description``, attributes, and perhaps ``Parent``."""
    frame = read_csv(name)
    if "Parent" not in frame.columns:
        return dimension(frame)
    return dimension(frame.drop("Parent"), dict(zip(frame["ID"], frame["Parent"], strict=True)))


@cache
def planning() -> Model:
    """All figures in one measure, ``SignedData``, told apart by ``Account``.

    Income and liabilities are negative, expenses and assets positive, as a ledger holds them (unconfirmed for SAC: a
    story shows income with the opposite sign).
    """
    facts = read_csv("planning.csv")
    return Model(
        provider_id="PLANNING",
        name="Financial planning",
        description="A made-up account-type model: actuals and plan of two years by account, cost center and region.",
        facts=frame_relation(
            [
                text_column("Version", key=True, max_length=300),
                text_column("Date", key=True),
                text_column("Account", key=True),
                text_column("CostCenter", key=True),
                text_column("Region", key=True),
                decimal_column("SignedData"),
            ],
            facts.with_columns(pl.col("SignedData").cast(pl.Decimal(31, 7))),
        ),
        dimensions={
            "Version": version_dimension({"public.Actual": "Actual", "public.Plan": "Plan"}),
            "Date": date_dimension(sorted(facts["Date"].unique())),
            "Account": _members("planning_accounts.csv"),
            "CostCenter": _members("planning_cost_centers.csv"),
            "Region": _members("planning_regions.csv"),
        },
    )
