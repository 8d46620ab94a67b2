"""``US_EMPLOYMENT`` (real), ``PLANNING`` (made up) and ``EDM_TYPES`` (every primitive type): models of fixed rows.

The rows of the first two come from the files in ``sacnb/sandbox/data``.
"""

from __future__ import annotations

import io
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

import polars as pl

from sacnb.sandbox.model import Dimension, Model, date_dimension, dimension, table_model, version_dimension
from sacnb.sandbox.relation import frame_relation
from sacnb.sandbox.schema import Column, decimal_column, polars_type, text_column

__all__ = ["edm_types", "planning", "read_csv", "us_employment"]


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
