"""Rows that share their key are found, on whatever page they came, and only those."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._odata.schema import Column
from sacnb._pull.duplicates import KeyWatch, repeated_rows

COLUMNS = (
    Column("Date", "Edm.String", "dimension"),
    Column("Region", "Edm.String", "dimension"),
    Column("Amount", "Edm.Double", "measure"),
)


def page(*keys: tuple[str | None, str | None]) -> pa.Table:
    dates, regions = zip(*keys, strict=True) if keys else ((), ())
    return pa.table(
        {
            "Date": pa.array(dates, pa.string()),
            "Region": pa.array(regions, pa.string()),
            "Amount": pa.array(range(len(keys)), pa.float64()),
        }
    )


def watching(*pages: pa.Table, **options: Any) -> KeyWatch:
    watch = KeyWatch(COLUMNS, **options)
    for number, table in enumerate(pages):
        watch.add(number % 3, watch.hashes(table))
    return watch


KEYS = st.tuples(st.sampled_from(["202401", "202402", "#", "", None]), st.text(max_size=2) | st.none())


@given(st.lists(st.lists(KEYS, max_size=8), max_size=6))
def test_it_finds_the_rows_that_polars_finds(pages: list[list[tuple[str | None, str | None]]]) -> None:
    tables = [page(*keys) for keys in pages]
    watch = watching(*tables)
    together = pl.DataFrame(pa.concat_tables([page(), *tables])).select("Date", "Region")
    repeated = int(together.is_duplicated().sum())
    found = watch.exact_repeats(tables, watch.suspects())
    assert (found is None) == (repeated == 0)
    if found is not None:
        assert found[0] == repeated
        assert together.filter(together.is_duplicated()).rows()[0] == tuple(found[1].values())


def test_a_hash_that_two_keys_share_is_a_suspicion_and_no_proof() -> None:
    watch = KeyWatch(COLUMNS)
    table = page(("202401", "North"), ("202401", "South"))
    same = np.array([7, 7], np.uint64)
    watch.add(0, same)
    assert watch.suspects().tolist() == [7]
    assert watch.exact_repeats([table], watch.suspects()) is None
    assert watch.exact_repeats([table], watch.hashes(table)) is None


def test_keys_of_a_restarted_segment_are_forgotten() -> None:
    first, second = page(("202401", "North")), page(("202401", "North"), ("202402", "North"))
    watch = watching(first, second)
    assert len(watch.suspects()) == 1
    watch.forget(0)
    assert len(watch.suspects()) == 0
    assert watch.keys == 2


def test_many_keys_are_compared_in_ranges_of_the_hashes() -> None:
    rows = 1_300_000
    watch = KeyWatch(COLUMNS)
    hashes = np.random.default_rng(1).permutation(np.arange(rows, dtype=np.uint64) * np.uint64(2**64 // rows))
    for low in range(0, rows, 100_000):
        watch.add(0, np.sort(hashes[low : low + 100_000]))
    assert len(watch.suspects()) == 0
    twice = np.sort(hashes[[5, 700_000, 1_299_999]])
    watch.add(1, twice)
    assert watch.suspects().tolist() == twice.tolist()


def test_beyond_the_limit_rows_are_not_compared_and_that_can_be_seen() -> None:
    one = page(("202401", "North"), ("202402", "North"))
    watch = watching(one, one, max_keys=3)
    assert watch.keys == 2
    assert len(watch.suspects()) == 0


def test_early_checks_run_when_the_number_of_rows_has_doubled() -> None:
    watch = KeyWatch(COLUMNS)
    looks = []
    watch.suspects = lambda: looks.append(watch.keys) or np.empty(0, np.uint64)  # type: ignore[method-assign]
    for number in range(80):
        watch.add(0, np.full(10_000, number, np.uint64))
        watch.early_suspects()
    assert looks == [100_000, 200_000, 400_000, 800_000]


def test_every_pull_seeds_its_hashes_anew() -> None:
    table = page(("202401", "North"))
    assert KeyWatch(COLUMNS).hashes(table).tolist() != KeyWatch(COLUMNS).hashes(table).tolist()


def test_rows_without_key_columns_are_never_repeated() -> None:
    watch = KeyWatch(COLUMNS[2:])
    assert watch.hashes(page(("a", "b"), ("a", "b"))).tolist() == []
    assert watch.exact_repeats([page(("a", "b"))], watch.suspects()) is None


def test_the_error_names_the_model_the_number_and_the_first_key() -> None:
    error = repeated_rows("SALES/FactData", 1200, {"Date": "202401"})
    assert str(error).startswith("1,200 rows of SALES/FactData share their key with another row, the first: ")
    assert "'202401'" in str(error)


@pytest.mark.parametrize("edm_type", ["Edm.Int64", "Edm.Date", "Edm.Guid", "Edm.Decimal", "Edm.Boolean", "Edm.Binary"])
def test_keys_of_any_type_can_be_compared(edm_type: str) -> None:
    from sacnb._frames.types import arrow_type

    column = Column("Key", edm_type, "dimension")
    kind = arrow_type(column)
    values = pa.array(["a", "b", "a"]) if pa.types.is_string(kind) or pa.types.is_binary(kind) else pa.array([1, 0, 1])
    table = pa.table({"Key": values.cast(pa.int32()).cast(kind) if pa.types.is_date(kind) else values.cast(kind)})
    watch = KeyWatch([column])
    watch.add(0, watch.hashes(table))
    found = watch.exact_repeats([table], watch.suspects())
    assert found is not None
    assert found[0] == 2
