"""Models for what live tenants were reported to send: records that share a key, other hierarchies and dates, refusals.

None of them is in the list of models by default; each can be asked for by its id.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any, Final

import polars as pl

from sacnb.sandbox.model import Dimension, Model, date_dimension, dimension, version_dimension
from sacnb.sandbox.relation import FrameRelation, frame_relation
from sacnb.sandbox.schema import decimal_column, polars_type, text_column

__all__ = ["hierarchies", "live_sales", "records", "seamless_plan"]

_MONTHS: Final = ("202401", "202402", "202403", "202404")
_COST_CENTERS: Final = ("CC100", "CC200 ", "#")
_MOST_RECORDS: Final = 38


@cache
def records() -> Model:
    """Return ``RECORDS``: 24 cells with 1 to 38 records each, 438 rows in all.

    A cell keeps the records of imports, data actions and manual entries apart (reported from live tenants), and
    ``FactDataAggregation`` adds them up. The records of a cell lie apart, some are equal, and some have no amount.
    """
    cells = [(v, m, c) for v in ("public.Actual", "public.Plan") for m in _MONTHS for c in _COST_CENTERS]
    rows: list[dict[str, Any]] = []
    for number in range(_MOST_RECORDS):
        for position, (version, month, center) in enumerate(cells):
            if number > position * 11 % _MOST_RECORDS:
                continue
            cents = (number * 7_919 + position * 104_729) % 1_000_000 - 400_000
            amount = None if cents % 29 == 0 else Decimal(cents - cents % 5).scaleb(-2)
            if number in {4, 5}:
                amount = Decimal("100.10")
            key = {"Version": version, "Date": month, "CostCenter": center}
            rows.append({**key, "Amount": amount, "Quantity": Decimal(number // 2)})
    columns = [
        text_column("Version", key=True, max_length=300),
        text_column("Date", key=True),
        text_column("CostCenter", key=True),
        decimal_column("Amount"),
        decimal_column("Quantity"),
    ]
    frame = pl.DataFrame(rows, schema={column.name: polars_type(column) for column in columns}, orient="row")
    centers = pl.DataFrame({"ID": _COST_CENTERS, "Description": ["Sales", "Service ", "Unassigned"]})
    return Model(
        provider_id="RECORDS",
        name="Several records for one key",
        description="For tests: one cell holds the records of imports, data actions and manual entries.",
        facts=frame_relation(columns, frame),
        dimensions={
            "Version": version_dimension({"public.Actual": "Actual", "public.Plan": "Plan"}),
            "Date": date_dimension(_MONTHS),
            "CostCenter": dimension(centers),
        },
        listed=False,
    )


def _with_parents(column: str, root: str | None, **more: dict[str, str]) -> Dimension:
    """Return stores below two regions below one node, with another name for the column of parents."""
    parents = {"ALL": "<root>", "NORTH": "ALL", "SOUTH": "ALL", "S1": "NORTH", "S2": "NORTH", "S3": "SOUTH"}
    frame = pl.DataFrame({"ID": list(parents), "Description": [f"Store {member}" for member in parents]})
    return replace(dimension(frame, parents), parent_column=column, root=root, more_hierarchies=more)


@cache
def hierarchies() -> Model:
    """Return ``HIERARCHIES``: dimensions with parent columns as widgets on live tenants read them, and unused dates.

    ``Store`` has two hierarchies, ``H1_PARENTID`` and ``H2_PARENTID``, with ``<root>`` above the roots. ``Outlet`` has
    ``parentId_PARENTID``, and its root has no parent column. ``PostingDate`` is ``0000`` in every row, ``DueDate``
    ``000000`` in some. ``Store___Manager`` is an attribute within the facts.
    """
    stores = ["S1", "S2", "S3"]
    columns = [
        text_column("Version", key=True, max_length=300),
        text_column("Date", key=True),
        text_column("PostingDate", key=True),
        text_column("DueDate", key=True),
        text_column("Store", key=True),
        text_column("Outlet", key=True),
        text_column("Store___Manager"),
        decimal_column("Amount"),
    ]
    rows = [
        ("public.Actual", month, "0000", month if turn % 2 else "000000", store, stores[-1 - turn], f"M{turn}", 1)
        for month in _MONTHS
        for turn, store in enumerate(stores)
    ]
    frame = pl.DataFrame(rows, schema=[c.name for c in columns], orient="row")
    turned = {"S1": "ALL", "S2": "S1", "S3": "S1"}
    return Model(
        provider_id="HIERARCHIES",
        name="Hierarchies and dates of other forms",
        description="For tests: parent columns named after their hierarchy, roots without a parent, dates 0000.",
        facts=frame_relation(columns, frame),
        dimensions={
            "Version": version_dimension({"public.Actual": "Actual"}),
            "Date": date_dimension(_MONTHS),
            "PostingDate": dimension(pl.DataFrame({"ID": ["0000"], "Description": ["0000"]})),
            "DueDate": date_dimension(["000000", *_MONTHS]),
            "Store": _with_parents("H1_PARENTID", "<root>", H2_PARENTID=turned),
            "Outlet": _with_parents("parentId_PARENTID", None),
        },
        listed=False,
    )


def live_sales() -> Model:
    """Return ``LIVE_SALES``, which SAC lists and does not export."""
    return Model(
        provider_id="LIVE_SALES",
        name="Sales (live connection)",
        description="A live connection: the data stay in their source, and SAC does not export them (412).",
        facts=FrameRelation((), pl.DataFrame()),
        live=True,
    )


def seamless_plan() -> Model:
    """Return ``SEAMLESS_PLAN``, which SAC lists and does not export."""
    return Model(
        provider_id="SEAMLESS_PLAN",
        name="Plan (stored in Datasphere)",
        description="A seamless planning model: SAP Datasphere stores the data, and SAC does not export them.",
        facts=FrameRelation((), pl.DataFrame()),
        datasphere=True,
    )
