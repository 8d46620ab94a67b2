"""A small result, in as many versions as a test needs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from sacnb._cache.folder import CacheKey
from sacnb._cache.store import Cache
from sacnb._frames.convert import arrow_schema
from sacnb._odata.schema import Column, DateColumn, Schema
from sacnb._results.result import Result, ResultInfo

COLUMNS = (
    Column("Date", "Edm.String", "dimension", nullable=False, max_length=6, label="Month"),
    Column("Region", "Edm.String", "dimension"),
    Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7, label='Größe "netto"'),
)
SCHEMA = Schema("Sales:2024", "FactData", (*COLUMNS, Column("Note", "Edm.Fancy", "attribute")), "sac",
                (DateColumn("Date", "month"), DateColumn("Region", None)))  # fmt: skip
START = datetime(2026, 11, 20, 7, 26, tzinfo=UTC)

MakeResult = Callable[..., Result]


@pytest.fixture
def make_result() -> MakeResult:
    """``make_result(1, 2, None)``: a result with these amounts, ``after`` seconds after the first one."""

    def make(*amounts: int | None, after: int = 0, query: str = "path\n$select=Date,Region,Amount") -> Result:
        table = pa.table(
            [
                pa.array([f"2024{i % 12 + 1:02}" for i in range(len(amounts))], pa.string()),
                pa.array([f"R{i // 12} ü #" for i in range(len(amounts))], pa.string()),
                pa.array([None if a is None else Decimal(a) for a in amounts], pa.decimal128(31, 7)),
            ],
            schema=arrow_schema(COLUMNS),
        )
        info = ResultInfo.describe(
            table,
            SCHEMA,
            provider_id="Sales:2024",
            namespace="sac",
            entity_set="FactData",
            query=query,
            tenant_host="acme.eu10.sapanalytics.cloud",
            principal="sb-client!b1",
            source="sac",
            last_refresh_time=START + timedelta(seconds=after),
        )
        return Result(table, SCHEMA, info)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def cache(folder: Path) -> Cache:
    return Cache(folder, now=lambda: START + timedelta(days=10))


@pytest.fixture
def key(make_result: MakeResult) -> CacheKey:
    return CacheKey.of(make_result().info)
