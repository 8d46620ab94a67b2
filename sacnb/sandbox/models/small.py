"""Models of fixed rows: ``US_EMPLOYMENT`` (real), ``PLANNING`` (made up), and small ones for tests.

The rows of the first two come from the files in ``sacnb/sandbox/data``. The others hold every primitive type, and what
live tenants were reported to send: records that share a key, other hierarchies and dates, refusals.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

import polars as pl

from sacnb.sandbox.model import Dimension, Model, date_dimension, dimension, table_model, version_dimension
from sacnb.sandbox.relation import FrameRelation, frame_relation
from sacnb.sandbox.schema import Column, decimal_column, polars_type, text_column

__all__ = [
    "edm_types",
    "hierarchies",
    "live_sales",
    "planning",
    "read_csv",
    "records",
    "seamless_plan",
    "us_employment",
]


def read_csv(name: str) -> pl.DataFrame:
    """Read a file of ``sacnb/sandbox/data``, every column as text, with blanks."""
    raw = (files("sacnb.sandbox") / "data" / name).read_bytes()
    return pl.read_csv(io.BytesIO(raw), infer_schema=False)


def _members(name: str) -> Dimension:
    """Read members from a file with ``ID``, ``Description``, attributes, and perhaps ``Parent``."""
    frame = read_csv(name)
    if "Parent" not in frame.columns:
        return dimension(frame)
    return dimension(frame.drop("Parent"), dict(zip(frame["ID"], frame["Parent"], strict=True)))


@cache
def planning() -> Model:
    """Return ``PLANNING``: an account model, with all figures in one measure, ``SignedData``.

    Income and liabilities are negative, expenses and assets positive, as in a ledger (unconfirmed for SAC: a story
    shows income with the opposite sign).
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


_PLAN_GROWTH_PERCENT = 102
_MEASURE = pl.Decimal(31, 7)


def _facts() -> pl.DataFrame:
    """Return the actuals as published, and a plan: the value of twelve months before, times 1.02, exact in decimals."""
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
    """Return ``US_EMPLOYMENT``: employees in thousands by version, month and leaf sector."""
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


_COLUMNS: Final = (
    Column("Id", "Edm.Int32", key=True, nullable=False),
    Column("Boolean", "Edm.Boolean"),
    Column("Byte", "Edm.Byte"),
    Column("SByte", "Edm.SByte"),
    Column("Int16", "Edm.Int16"),
    Column("Int32", "Edm.Int32"),
    Column("Int64", "Edm.Int64"),
    Column("Single", "Edm.Single"),
    Column("Double", "Edm.Double"),
    Column("Decimal", "Edm.Decimal", precision=31, scale=7),
    Column("String", "Edm.String", max_length=256),
    Column("Date", "Edm.Date"),
    Column("TimeOfDay", "Edm.TimeOfDay", precision=6),
    Column("DateTimeOffset", "Edm.DateTimeOffset", precision=6),
    Column("Duration", "Edm.Duration", precision=6),
    Column("Guid", "Edm.Guid"),
    Column("Binary", "Edm.Binary", max_length=64),
)
# For each column: ordinary values, the ends of the type's range, and null.
_VALUES: Final[dict[str, list[Any]]] = {
    "Boolean": [True, False, True, None],
    "Byte": [0, 7, 255, None],
    "SByte": [-128, 7, 127, None],
    "Int16": [-(2**15), 7, 2**15 - 1, None],
    "Int32": [-(2**31), 7, 2**31 - 1, None],
    "Int64": [-(2**63), 7, 2**63 - 1, 2**53 + 1, None],
    "Single": [0.5, -1.25, 16_777_216.0, math.nan, math.inf, None],
    "Double": [0.1, -1e300, 1e-300, 12345.678, math.nan, math.inf, -math.inf, None],
    "Decimal": [
        Decimal("0.1"), Decimal("-12.3400000"), Decimal("999999999999999999999999.9999999"),
        Decimal("-999999999999999999999999.9999999"), Decimal("0.0000001"), Decimal(0), None,
    ],
    "String": ["plain", "", "Zürich ", "O'Hare", 'quote" and \\', "2024-01-31", "null", "42", None],
    "Date": [date(2024, 2, 29), date(1970, 1, 1), date(1582, 10, 15), date(9999, 12, 31), None],
    "TimeOfDay": [time(0, 0), time(23, 59, 59, 999_999), time(7, 30), None],
    "DateTimeOffset": [
        datetime(2024, 2, 29, 23, 59, 59, 123_456, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1899, 12, 31, tzinfo=UTC), None,
    ],
    "Duration": [
        timedelta(0), timedelta(days=1, hours=2, minutes=3, seconds=4, microseconds=500_000),
        -timedelta(seconds=90), timedelta(days=400), None,
    ],
    "Guid": ["01234567-89ab-cdef-0123-456789abcdef", "ffffffff-ffff-4fff-bfff-ffffffffffff", None],
    "Binary": [b"", b"\x00\xff\xfe", b"plain", bytes(range(48)), None],
}  # fmt: skip
_ROWS: Final = 60


@cache
def edm_types() -> Model:
    """Return ``EDM_TYPES``: 60 rows. The columns repeat with different periods, so that most combinations occur."""
    data = {"Id": list(range(1, _ROWS + 1))}
    data.update({name: [values[row % len(values)] for row in range(_ROWS)] for name, values in _VALUES.items()})
    schema = {column.name: polars_type(column) for column in _COLUMNS}
    return table_model(
        "EDM_TYPES",
        name="Every Edm type",
        description="For tests: a provider unlike SAC's own, with a column of every primitive type of OData.",
        columns=_COLUMNS,
        rows=pl.DataFrame(data, schema=schema),
    )


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
