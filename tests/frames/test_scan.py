"""What a source is asked when a LazyFrame is collected, and that polars gets what it wants whatever comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from sacnb._frames.convert import arrow_schema
from sacnb._odata.query import to_odata
from sacnb._odata.schema import Column, Schema
from sacnb._pushdown.source import Ask, Source, require_polars
from sacnb.errors import PrecisionWarning, QueryError, ThrottledError

c = pl.col

SCHEMA = Schema(
    "SALES",
    "FactData",
    (
        Column("Region", "Edm.String", "dimension"),
        Column("Note", "Edm.String", "attribute"),
        Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
    ),
)
REGIONS = ["a", "b", "#", None, "a", "b"]
AMOUNTS = [Decimal(number) for number in ("0.1", "2", "3", "4", "5", "6")]
TABLE = pa.table({"Region": REGIONS, "Note": ["x"] * 6, "Amount": AMOUNTS}).cast(arrow_schema(SCHEMA.columns))
FRAME = pl.DataFrame({"Region": REGIONS, "Note": ["x"] * 6, "Amount": [float(amount) for amount in AMOUNTS]})


@dataclass
class Reader:
    """Gives all rows in batches of two, whatever it is asked, and keeps what it was asked."""

    asked: list[Ask] = field(default_factory=list)
    batches_given: int = 0
    closed: int = 0
    fails_with: Exception | None = None

    @contextmanager
    def read(self, ask: Ask) -> Iterator[Iterable[pa.RecordBatch]]:
        self.asked.append(ask)
        try:
            yield self._batches()
        finally:
            self.closed += 1

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in TABLE.to_batches(max_chunksize=2):
            if self.fails_with is not None and self.batches_given:
                raise self.fails_with
            self.batches_given += 1
            yield batch

    def source(self, *, decimals: bool = False) -> Source:
        return Source(SCHEMA, self.read, filterable=frozenset(SCHEMA.names), decimals=decimals)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def where(ask: Ask) -> str | None:
    return None if ask.pushed.where is None else to_odata(ask.pushed.where, SCHEMA)


@pytest.mark.parametrize("engine", ["streaming", "in-memory"])
@pytest.mark.parametrize(
    ("steps", "asked"),
    [
        (lambda rows: rows, (SCHEMA.names, None, None)),
        (lambda rows: rows.select("Region"), (("Region",), None, None)),
        (
            lambda rows: rows.filter(c("Region") == "a").select("Amount"),
            (("Region", "Amount"), "Region eq 'a'", None),
        ),
        (lambda rows: rows.filter(c("Amount") * 2 > 4).select("Region"), (("Region", "Amount"), None, None)),
        (lambda rows: rows.rename({"Region": "R"}).filter(c("R") == "a"), (SCHEMA.names, "Region eq 'a'", None)),
        (lambda rows: rows.head(3), (SCHEMA.names, None, 3)),
        # The limit comes first, so a filter that was sent would find other rows.
        (lambda rows: rows.head(3).filter(c("Region") == "a"), (SCHEMA.names, None, 3)),
        (lambda rows: rows.filter(c("Region") == "a").head(1), (SCHEMA.names, "Region eq 'a'", None)),
        (
            lambda rows: rows.group_by("Region").agg(c("Amount").sum()).filter(c("Region") == "b"),
            (("Region", "Amount"), "Region eq 'b'", None),
        ),
    ],
)
def test_what_the_source_is_asked(reader: Reader, engine: Any, steps: Any, asked: tuple[object, ...]) -> None:
    assert steps(reader.source().frame()).collect(engine=engine).equals(steps(FRAME.lazy()).collect())
    (ask,) = reader.asked
    assert (ask.columns, where(ask), ask.limit) == asked


def test_reading_stops_when_polars_has_enough(reader: Reader) -> None:
    found = reader.source().frame().head(3).collect()
    assert found.equals(FRAME.head(3))
    assert reader.batches_given == 2
    assert reader.closed == 1


def test_columns_come_in_the_order_polars_wants(reader: Reader) -> None:
    found = reader.source().frame().select("Amount", "Region").collect()
    assert found.equals(FRAME.select("Amount", "Region"))


def test_the_schema_of_the_frame_is_that_of_its_rows(reader: Reader) -> None:
    for decimals, dtype in ((False, pl.Float64()), (True, pl.Decimal(31, 7))):
        frame = reader.source(decimals=decimals).frame()
        assert frame.collect_schema()["Amount"] == dtype
        assert frame.collect().schema == frame.collect_schema()


def test_decimals_are_compared_exactly(reader: Reader) -> None:
    frame = reader.source(decimals=True).frame()
    assert frame.filter(c("Amount") == Decimal("0.1")).collect()["Amount"].to_list() == [Decimal("0.1")]
    assert where(reader.asked[-1]) == "Amount ge 0.0999999 and Amount le 0.1000001"


def test_a_frame_joined_with_itself_is_read_once_for_each_filter(reader: Reader) -> None:
    rows = reader.source().frame()
    rows.filter(c("Region") == "a").join(rows.filter(c("Amount") > 1), on="Region").collect()
    assert sorted(str(where(ask)) for ask in reader.asked) == ["Amount gt 1", "Region eq 'a'"]


def test_no_rows_are_a_frame_with_columns() -> None:
    @contextmanager
    def nothing(ask: Ask) -> Iterator[Iterable[pa.RecordBatch]]:
        yield ()

    frame = Source(SCHEMA, nothing, filterable=frozenset(), decimals=False).frame()
    assert frame.filter(c("Region") == "a").select("Amount").collect().schema == {"Amount": pl.Float64}


def test_a_failure_stops_the_reading_and_is_raised_as_it_is(reader: Reader) -> None:
    reader.fails_with = ThrottledError("too many requests")
    with pytest.raises(ThrottledError, match="too many requests"):
        reader.source().frame().collect()
    assert reader.closed == 1


@pytest.mark.parametrize(("version", "is_refused"), [("1.38.1", True), ("2.0.0", False), ("2.1.0-beta.1", False)])
def test_versions_of_polars_that_may_hang_are_refused(version: str, is_refused: bool) -> None:
    with pytest.raises(QueryError, match=r"1\.38\.1") if is_refused else nullcontext():
        require_polars(version)


def test_digits_that_a_float_loses_are_warned_of() -> None:
    table = pa.table({"Region": ["a"], "Note": [None], "Amount": [Decimal("12345678901234567.1234567")]})

    @contextmanager
    def read(ask: Ask) -> Iterator[Iterable[pa.RecordBatch]]:
        yield table.cast(arrow_schema(SCHEMA.columns)).to_batches()

    source = Source(SCHEMA, read, filterable=frozenset(), decimals=False)
    with pytest.warns(PrecisionWarning, match="Amount"):
        source.frame().collect()


NULL_AND_NOT_IN = c("Region").is_null() & ~c("Region").is_in(["a", "b"], nulls_equal=True)


@pytest.mark.parametrize(
    "steps",
    [
        lambda rows: rows.filter(NULL_AND_NOT_IN),
        lambda rows: rows.filter(NULL_AND_NOT_IN).select("Amount"),
        lambda rows: rows.filter(c("Region").is_null()).filter(~c("Region").is_in(["a", "b"], nulls_equal=True)),
    ],
)
def test_rows_that_the_optimizer_of_polars_loses_are_kept(reader: Reader, steps: Any) -> None:
    right = steps(FRAME.lazy()).collect(optimizations=pl.QueryOptFlags.none())
    assert right.height == 1
    assert steps(reader.source().frame()).collect().equals(right)


def test_a_filter_that_stays_with_polars_is_as_polars_has_it(reader: Reader) -> None:
    """Folding ``is_null & ~is_in`` to false is a bug of polars 2.1; only filters handed to a scan are safe from it."""
    by_polars = FRAME.lazy().filter(NULL_AND_NOT_IN).collect().height
    assert by_polars == 0
    later = reader.source().frame().collect().lazy().filter(NULL_AND_NOT_IN).collect()
    assert later.height == by_polars
