"""docs/data_contract.md says what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

from sacnb._frames.convert import to_polars
from sacnb._frames.decode import decode_rows
from sacnb._frames.periods import COARSER, GRAINS, parse_period
from sacnb._frames.tidy import CONTRACT_VERSION, Aggregation, tidy
from sacnb._frames.types import arrow_type
from sacnb._odata.schema import EDM_PRIMITIVES, Column, Schema
from sacnb._results.info import METADATA_KEYS

Facts = Callable[..., tuple[pa.Table, Schema]]
TEXT = (Path(__file__).parents[2] / "docs" / "data_contract.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading or a sentence, without the table's own head."""
    table = re.search(r"(?:^\|.*\n)+", TEXT[TEXT.index(heading) :], re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_version() -> None:
    assert f"version {CONTRACT_VERSION} of it" in TEXT


def test_the_metadata_keys() -> None:
    assert [quoted(row[0])[0] for row in rows_of("and the file holds, as text:")] == list(METADATA_KEYS)


def test_the_grains() -> None:
    assert [quoted(row[0])[0] for row in rows_of("### Grains")] == list(GRAINS)
    assert {quoted(row[0])[0]: tuple(quoted(row[2])) for row in rows_of("### Grains")} == dict(COARSER)


def test_the_aggregations() -> None:
    sentence = re.search(r"their sum, or with `agg=` their (.*?)\.", TEXT, re.DOTALL)
    assert sentence is not None
    assert {"sum", *quoted(sentence[1])} == set(get_args(Aggregation))


def test_the_types() -> None:
    told: dict[str, tuple[str, str]] = {}
    for types, arrow, polars, _ in rows_of("## A result"):
        told |= {name: (quoted(arrow)[0], quoted(polars)[0]) for name in quoted(types)}
    assert set(told) == EDM_PRIMITIVES
    for name, (arrow, polars) in told.items():
        column = Column("X", name, "attribute", precision=31, scale=7)
        frame = to_polars(pa.table([pa.nulls(1, arrow_type(column))], ["X"]))
        assert str(arrow_type(column)).startswith(arrow)
        assert str(frame.schema["X"]).startswith(polars.split("(")[0])


@pytest.mark.parametrize("row", rows_of("### Which dates are read"), ids=lambda row: row[0])
def test_the_forms_of_dates(row: list[str]) -> None:
    forms, meaning, confirmed = row
    grain = next(grain for grain in GRAINS if grain in meaning)
    for form in quoted(forms):
        period = parse_period(form, grain if "known to hold" in meaning else None)
        assert period is not None
        assert period.grain == grain
    assert ("unconfirmed" in confirmed) == (quoted(forms) != ["202405"])  # the one form that SAP's documents show


def test_the_columns_of_the_tidy_frame(facts: Facts) -> None:
    table, schema = facts(
        ["Version", "Date", "Region", "Amount", "Price"],
        [["Actual", "202401", "North", 1, 2]],
        measures=("Amount", "Price"),
    )
    frame = tidy(table, schema).frame
    told = {quoted(row[0])[0]: quoted(row[1])[0] for row in rows_of("## The tidy frame")}
    made = {re.sub("^dim_(Version|Region)$", "dim_<name>", name): str(kind) for name, kind in frame.schema.items()}
    assert made == told
    assert list(made) == list(told)
    assert frame.equals(frame.sort(frame.columns[:-1]))


def test_null_and_empty_are_told_apart() -> None:
    columns = [Column("K", "Edm.String", "dimension"), Column("T", "Edm.String", "attribute")]
    page = json.dumps([{"K": "", "T": ""}, {"K": "#", "T": None}, {"K": " a "}]).encode()
    assert decode_rows(page, columns).to_pylist() == [
        {"K": "", "T": ""},
        {"K": "#", "T": None},
        {"K": " a ", "T": None},
    ]
