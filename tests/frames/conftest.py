"""Facts as SAC sends them, in a few lines: a small sales model with two versions."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sacnb._charts.plot import Chart
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


@pytest.fixture
def plot(facts: Facts, result_of: Callable[..., Result]) -> Callable[..., Chart]:
    def make(
        columns: list[Any], rows: list[list[Any]], *args: Any, measures: Any = ("Amount",), **options: Any
    ) -> Chart:
        return result_of(*facts(columns, rows, measures=measures)).plot(*args, **options)

    return make


@pytest.fixture
def pixels() -> Callable[[bytes], Any]:
    """Reads a PNG as vl-convert writes it: an array of rows, columns, and red, green, blue and opacity."""

    def read(data: bytes) -> Any:
        chunks, at = {}, 8
        while at < len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            kind = data[at + 4 : at + 8]
            chunks[kind] = chunks.get(kind, b"") + data[at + 8 : at + 8 + length]
            at += 12 + length
        width, height, depth, colours = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
        assert (depth, colours) == (8, 6)
        lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + 4 * width)
        made = np.zeros((height, width, 4), dtype=np.uint8)
        for row in range(height):
            above = made[row - 1].astype(int) if row else np.zeros((width, 4), dtype=int)
            made[row] = unfiltered(lines[row, 0], lines[row, 1:].reshape(width, 4).astype(int), above)
        return made

    def unfiltered(kind: int, line: Any, above: Any) -> Any:
        """Undoes what PNG does to a line before it is compressed (its filters 0 to 4)."""
        if kind in {0, 2}:
            return (line + (above if kind else 0)) % 256
        if kind == 1:
            return line.cumsum(axis=0) % 256
        left = corner = np.zeros(4, dtype=int)
        out = np.empty_like(line)
        for i, up in enumerate(above):
            if kind == 3:
                guess = (left + up) // 2
            else:
                choices = np.stack([left, up, corner])
                guess = choices[np.abs(left + up - corner - choices).argmin(axis=0), range(4)]
            left, corner = (line[i] + guess) % 256, up
            out[i] = left
        return out

    return read
