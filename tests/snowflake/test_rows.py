"""Rows become lines exactly, and lines become chunks that Snowflake takes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sacnb.errors import QueryError
from sacnb.snowflake.chunks import MAX_APPEND_BYTES, Chunk, Chunker
from sacnb.snowflake.rows import batches
from sacnb.snowflake.table import create_table


def chunks(data: object, rows: int = 0, **options: Any) -> list[Chunk]:
    chunker = Chunker(rows, **options)
    return [*(chunk for batch in batches(data) for chunk in chunker.add(batch)), *chunker.finish()]


def raw(chunk: Chunk) -> bytes:
    if chunk.encoding == "gzip":
        return gzip.decompress(chunk.body)
    with pa.CompressedInputStream(pa.BufferReader(chunk.body), "zstd") as stream:
        return bytes(stream.read())


def rows_of(made: Iterable[Chunk]) -> list[dict[str, Any]]:
    return [json.loads(line) for chunk in made for line in raw(chunk).splitlines()]


EXACT = {
    "amount": (
        pa.array([Decimal("-123456789012345678901234.1234567")], pa.decimal128(31, 7)),
        "-123456789012345678901234.1234567",
    ),
    "wide": (pa.array([Decimal("1" * 50)], pa.decimal256(60, 2)), "1" * 50 + ".00"),
    "stamp": (pa.array([datetime.fromisoformat("2026-01-02T03:04:05.678901")]), "2026-01-02 03:04:05.678901"),
    "nanos": (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
    "zoned": (pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC)], pa.timestamp("us", "UTC")), "2026-01-02T03:00:00+00:00"),
    "day": (pa.array([date(1, 1, 1)]), "0001-01-01"),
    "clock": (pa.array([time(1, 2, 3, 4)]), "01:02:03.000004"),
    "text": (pa.array(['a"\\\n\u2028\x00ü😀']), 'a"\\\n\u2028\x00ü😀'),
    "whole": (pa.array([2**63 - 1]), 2**63 - 1),
    "big": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "float": (pa.array([0.1]), 0.1),
    "tiny": (pa.array([5e-324]), 5e-324),
    "flag": (pa.array([True]), True),
    "none": (pa.nulls(1), None),
    "bytes": (pa.array([b"\x00\xff"]), "00FF"),
    "members": (pa.array(["a"]).dictionary_encode(), "a"),
    "list": (pa.array([[1, None]]), [1, None]),
    "struct": (pa.array([{"a": 1.5}]), {"a": 1.5}),
    "bytes in a list": (pa.array([[b"\x00\xff", None]]), ["00FF", None]),
    "bytes in a struct": (pa.array([{"a": b"\x00\xff"}]), {"a": "00FF"}),
    "bytes in a view": (pa.array([b"\x00\xff"], pa.binary_view()), "00FF"),
    "short in a wide type": (pa.array([Decimal("1.5")], pa.decimal256(20, 2)), "1.50"),
    "zulu": (pa.array([0], pa.timestamp("s", "Z")), "1970-01-01T00:00:00+00:00"),
    "wide in a list": (pa.array([[Decimal("1" * 50)]], pa.list_(pa.decimal256(60, 2))), ["1" * 50 + ".00"]),
    "thousands": (pa.array([Decimal("1.23E+5")], pa.decimal128(5, -3)), "123000"),
    "offset": (pa.array([0], pa.timestamp("us", "+05:30")), "1970-01-01T00:00:00+00:00"),
    "whole members": (pa.array([7]).dictionary_encode(), 7),
    "member views": (pa.array(["a"], pa.string_view()).dictionary_encode(), "a"),
    "runs": (pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])), "a"),
    "view of a list": (pa.array([[1, 2]], pa.list_view(pa.int8())), [1, 2]),
    "uuid": (pa.array([bytes(range(16))], pa.uuid()), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
    "truth": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), 1),
}


@pytest.mark.parametrize("kind", EXACT)
def test_values_arrive_exactly(kind: str) -> None:
    array, expected = EXACT[kind]
    (row,) = rows_of(chunks(pa.table({kind: array})))
    assert row == {kind: expected}


def maps_to(bad: float) -> pa.Array:
    return pa.array([[("a", 1.0)], [("a", bad)]], pa.map_(pa.string(), pa.float64()))


def members(bad: float) -> pa.Array:
    return pa.array([1.0, bad]).dictionary_encode()


@pytest.mark.parametrize("dtype", [pl.Enum(["7"]), pl.Categorical(), pl.Int128(), pl.UInt128()])
def test_types_of_polars_that_arrow_lacks_arrive_as_texts(dtype: Any) -> None:
    frame = pl.DataFrame({"x": pl.Series(["7"]).cast(dtype)})
    assert rows_of(chunks(frame)) == rows_of(chunks(frame.lazy())) == [{"x": "7"}]
    assert create_table(frame, "T") == create_table(frame.lazy(), "T")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pl.DataFrame({"x": [object()]}), "'x' holds Python objects"),
        (pa.table({"x": pa.array([pa.MonthDayNano([1, 2, 3])])}), "'x' has the type month_day_nano_interval"),
        (pd.DataFrame({"x": [1, "a"]}), "column x with type object"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column names"),
        (pl.Series([1]), "rows must be"),
        (pd.Series([1]), "rows must be"),
        (pa.chunked_array([[1]]), "rows must be"),
    ],
)
def test_what_cannot_become_rows_is_refused_by_name(data: object, words: str) -> None:
    for use in (chunks, lambda data: create_table(data, "T")):
        with pytest.raises(QueryError, match=words):
            use(data)


def test_a_named_index_of_pandas_is_a_column() -> None:
    frame = pd.DataFrame({"ID": ["a", "a"], "N": [1, 2]}).groupby("ID").sum()
    assert rows_of(chunks(frame)) == [{"ID": "a", "N": 3}]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "shape",
    [
        lambda bad: [1.0, bad],
        lambda bad: [[1.0], [bad]],
        lambda bad: [{"a": 1.0}, {"a": bad}],
        maps_to,
        members,
        lambda bad: pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([1.0, bad])),
    ],
)
def test_what_json_cannot_say_is_refused_or_null(bad: float, shape: Any) -> None:
    table = pa.table({"x": shape(bad)})
    with pytest.raises(QueryError, match=r"'x' holds NaN or an infinity"):
        chunks(table)
    assert json.dumps(rows_of(chunks(table, not_finite="null"))[1]).count("null") == 1


@pytest.mark.parametrize("shape", [maps_to, members])
def test_a_nan_that_no_row_holds_is_no_obstacle(shape: Any) -> None:
    table = pa.table({"x": shape(float("nan"))})
    assert len(rows_of(chunks(table.slice(0, 1)))) == 1


def test_a_column_without_a_name_is_refused() -> None:
    with pytest.raises(QueryError, match="has no name"):  # polars would call it column_1
        chunks(pa.table({"a": [1], "": [2]}))


NO_TEXT = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (NO_TEXT, "'x' holds a text that is not UTF-8"),
        (pa.ListArray.from_arrays(pa.array([0, 1]), NO_TEXT), "'x' holds a text that is not UTF-8"),
        (pa.array([0], pa.timestamp("s", "Nowhere/City")), "'x'.*cannot be written as JSON.*time zone"),
        (pa.array([2**30], pa.date32()), "'x'.*cannot be written as JSON"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["y", "y"]), "'x'.*more than one"),
    ],
)
def test_what_polars_cannot_write_is_refused_by_name(column: pa.Array, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        chunks(pa.table({"a": [1], "x": column}))


def test_whole_numbers_of_128_bits_within_others_are_texts() -> None:
    frame = pl.DataFrame({"x": pl.Series([[7]], dtype=pl.List(pl.Int128))}).with_columns(y=pl.struct("x"))
    assert rows_of(chunks(frame)) == [{"x": ["7"], "y": {"x": ["7"]}}]


def test_the_row_of_a_nan_is_named() -> None:
    with pytest.raises(QueryError, match="row 12,346"):
        chunks(pa.table({"x": [1.0, None, float("nan")]}), 12_343)


FRAME = {"ID": [1, 2, 3], "NAME": ["a", None, "c"]}


@pytest.mark.parametrize(
    "data",
    [
        pl.DataFrame(FRAME),
        pl.LazyFrame(FRAME),
        pd.DataFrame(FRAME, index=[7, 8, 9]),
        pa.table(FRAME),
        pa.record_batch(FRAME),
        pa.table(FRAME).to_batches(),
        [pl.DataFrame(FRAME)],
        iter(pa.table(FRAME).to_batches()),
        pa.RecordBatchReader.from_batches(pa.table(FRAME).schema, pa.table(FRAME).to_batches()),
    ],
    ids=lambda data: type(data).__name__,
)
def test_frames_and_streams_are_taken(data: object) -> None:
    assert rows_of(chunks(data)) == [{"ID": i, "NAME": n} for i, n in zip(*FRAME.values(), strict=True)]


@pytest.mark.parametrize("data", [None, "text", {"a": [1]}, [{"a": 1}], 3])
def test_what_is_no_frame_is_refused(data: object) -> None:
    with pytest.raises(QueryError, match="rows must be"):
        chunks(data)


def test_columns_of_one_name_are_refused() -> None:
    with pytest.raises(QueryError, match="same name twice"):
        chunks(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_chunks_are_cut_by_their_compressed_size(compression: Any) -> None:
    noise = np.random.default_rng(1).bytes(2_000_000).hex()
    table = pa.table({"x": [noise[i : i + 100] for i in range(0, len(noise), 100)]})
    made = chunks(table, 10, compression=compression, target_bytes=300_000)
    assert len(made) > 3
    assert all(len(chunk.body) < 300_000 + 700_000 for chunk in made)
    assert [chunk.first for chunk in made] == [11, *(chunk.last + 1 for chunk in made[:-1])]
    assert made[-1].last == 10 + len(table)
    assert all(chunk.raw_bytes == len(raw(chunk)) for chunk in made)
    assert [row["x"] for row in rows_of(made)] == table["x"].to_pylist()


def test_noise_stays_below_the_limit_and_small_rows_share_a_chunk() -> None:
    noise = np.random.default_rng(1).bytes(6_000_000).hex()
    table = pa.table({"x": [noise[i : i + 5000] for i in range(0, len(noise), 5000)]})
    assert all(2_500_000 < len(chunk.body) <= MAX_APPEND_BYTES for chunk in chunks(table)[:-1])
    assert len(chunks(pa.table({"x": list(range(100_000))}))) == 1


def test_a_row_of_many_megabytes_goes_alone_or_is_refused() -> None:
    noise = np.random.default_rng(1).bytes(5_000_000).hex()
    table = pa.table({"x": ["a", noise[:6_000_000], "b"]})
    made = chunks(table)
    assert [(chunk.first, chunk.last) for chunk in made] == [(1, 1), (2, 2), (3, 3)]
    chunker = Chunker(0)
    with pytest.raises(QueryError, match="Row 2 has"):
        list(chunker.add(pa.record_batch({"x": ["a", noise, "b"]})))
    assert chunker.rows == 1, "it is not taken, and no row behind it"


def test_nothing_makes_no_chunk() -> None:
    assert chunks(pa.table({"x": pa.array([], pa.int64())})) == []
