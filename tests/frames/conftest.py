"""Facts as SAC sends them, in a few lines: a small sales model with two versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from sacnb._frames.decode import decode_rows
from sacnb._odata.schema import Column, DateColumn, Grain, Schema
from sacnb._results.result import Result, ResultInfo

Facts = Callable[..., tuple[pa.Table, Schema]]


def dimension(name: str, edm_type: str = "Edm.String") -> Column:
    return Column(name, edm_type, "dimension")


def measure(name: str, edm_type: str = "Edm.Decimal", label: str | None = None) -> Column:
    return Column(name, edm_type, "measure", precision=31, scale=7, label=label)


@pytest.fixture
def facts() -> Facts:
    """``facts(["Date", "Region", "Amount"], rows)``: a table and its schema.

    A column is given by its name alone or as a ``Column``; the last names in ``measures`` are measures, and everything
    else is a dimension. ``dates`` are the date columns, by default one called ``Date``.
    """

    def make(
        columns: Sequence[str | Column],
        rows: Sequence[Sequence[Any]],
        *,
        grain: Grain | None = "month",
        dates: Sequence[str] = ("Date",),
        measures: Sequence[str] = ("Amount",),
    ) -> tuple[pa.Table, Schema]:
        made = tuple(
            one if isinstance(one, Column) else measure(one) if one in measures else dimension(one) for one in columns
        )
        schema = Schema("SALES", "FactData", made, date_columns=tuple(DateColumn(name, grain) for name in dates))
        names = [column.name for column in made]
        page = json.dumps([dict(zip(names, row, strict=True)) for row in rows]).encode()
        return decode_rows(page, made), schema

    return make


@pytest.fixture
def result_of() -> Callable[..., Result]:
    """A result of a table and its schema."""

    def make(table: pa.Table, schema: Schema, **changes: Any) -> Result:
        info = ResultInfo.describe(
            table,
            schema,
            provider_id=schema.provider_id,
            namespace=schema.namespace,
            entity_set=schema.entity_set,
            query="$select=all",
            tenant_host="acme.eu10.sapanalytics.cloud",
            principal="sb-client!b1",
            source="sac",
            last_refresh_time=datetime(2026, 11, 20, 7, 26, tzinfo=UTC),
        )
        return Result(table, schema, info, **changes)

    return make
