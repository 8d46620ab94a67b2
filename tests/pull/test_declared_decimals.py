"""Measures of every declared precision and scale, with nulls, through every way to pull."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from sacnb import Model
from sacnb._pull.duplicates import limbs_of
from sacnb._tenant import Tenant
from sacnb.errors import PrecisionWarning, RepeatedKeysWarning
from sacnb.sandbox import Column, Sandbox, table_model

EXACT = Context(prec=100)
DECLARED = [(1, 0), (1, 1), (5, 2), (15, 4), (18, 0), (19, 19), (28, 28), (31, 7), (38, 0), (38, 38)]
NAMES = [f"D{precision}_{scale}" for precision, scale in DECLARED]


def values_of(precision: int, scale: int) -> list[Decimal | None]:
    """Return a null, the largest value, the smallest one and the least step."""
    largest = Decimal(10**precision - 1).scaleb(-scale, EXACT)
    return [None, largest, largest.copy_negate(), Decimal(1).scaleb(-scale)]


@pytest.fixture
def model(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Callable[[list[str]], Model]:
    def model(keys: list[str]) -> Model:
        columns = [Column("Key", key=True)]
        columns += [
            Column(name, "Edm.Decimal", precision=precision, scale=scale)
            for name, (precision, scale) in zip(NAMES, DECLARED, strict=True)
        ]
        rows = {
            name: pl.Series(values_of(*one), dtype=pl.Decimal(*one)) for name, one in zip(NAMES, DECLARED, strict=True)
        }
        sandbox.add_model(table_model("DECIMALS", columns=columns, rows=pl.DataFrame({"Key": keys, **rows})))
        return connect_to(sandbox).model("DECIMALS")

    return model


def columns_of(table: pa.Table) -> dict[str, list[Decimal | None]]:
    table = table.sort_by("Key")
    return {name: table.column(name).to_pylist() for name in NAMES}


def test_each_way_to_pull_gives_the_values_and_their_nulls(model: Callable[[list[str]], Model], tmp_path: Path) -> None:
    meant = {name: values_of(*one) for name, one in zip(NAMES, DECLARED, strict=True)}
    facts = model(["a", "b", "c", "d"]).facts(page_size=3)
    assert columns_of(facts.fetch().arrow()) == meant
    assert columns_of(pa.Table.from_batches(facts.stream())) == meant
    facts.to_parquet(tmp_path / "facts")
    assert (
        columns_of(pa.concat_tables([pa.parquet.read_table(p) for p in (tmp_path / "facts").glob("*.parquet")]))
        == meant
    )
    with pytest.warns(PrecisionWarning):
        assert facts.fetch().pandas()["D15_4"].isna().sum() == 1


def test_records_of_one_key_are_added_up(model: Callable[[list[str]], Model], tmp_path: Path) -> None:
    meant = {
        name: [values_of(*one)[1], EXACT.add(*values_of(*one)[2:])] for name, one in zip(NAMES, DECLARED, strict=True)
    }
    facts = model(["a", "a", "b", "b"]).facts(page_size=2)
    with pytest.warns(RepeatedKeysWarning):
        assert columns_of(facts.fetch().arrow()) == meant
    facts.to_parquet(tmp_path / "facts", repeated="sum")
    assert columns_of(pa.parquet.read_table(next((tmp_path / "facts").glob("*.parquet")))) == meant


@pytest.mark.parametrize(
    "kind", [pa.decimal128(15, 4), pa.decimal128(38, 38), pa.decimal256(76, 7), pa.int8(), pa.uint8()]
)
def test_a_null_counts_as_zero(kind: pa.DataType) -> None:
    assert not limbs_of(pa.array([None, 0], kind)).any()
