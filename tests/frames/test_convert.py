"""Every OData type has its type in every frame, and a float64 is the nearest one or is warned about."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._frames.convert import (
    arrow_schema,
    column_of,
    concat,
    first_lossy,
    mean_float64,
    to_float64,
    to_pandas,
    to_polars,
)
from sacnb._frames.decode import decode_rows
from sacnb._frames.types import decimal_type
from sacnb._odata.schema import EDM_PRIMITIVES, Column
from sacnb.errors import BadAnswer, ContractError, PrecisionWarning

STRING = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"
MOMENT = datetime(2024, 1, 31, 12, 30, 15, 500_000, tzinfo=UTC)

TYPES: list[tuple[str, str, Any, str, pl.DataType, str]] = [
    # Edm type, JSON, value, Arrow, polars, pandas
    ("Edm.String", '"x"', "x", "string", pl.String(), STRING),
    ("Edm.Guid", '"0-1"', "0-1", "string", pl.String(), STRING),
    ("Edm.Fancy", '"x"', "x", "string", pl.String(), STRING),
    ("Edm.GeographyPoint", '{"a":[1.0]}', '{"a":[1.0]}', "string", pl.String(), STRING),
    ("Edm.Boolean", "true", True, "bool", pl.Boolean(), "boolean"),
    ("Edm.Byte", "200", 200, "uint8", pl.UInt8(), "UInt8"),
    ("Edm.SByte", "-100", -100, "int8", pl.Int8(), "Int8"),
    ("Edm.Int16", "-300", -300, "int16", pl.Int16(), "Int16"),
    ("Edm.Int32", "70000", 70000, "int32", pl.Int32(), "Int32"),
    ("Edm.Int64", "9007199254740993", 9007199254740993, "int64", pl.Int64(), "Int64"),
    ("Edm.Single", "0.5", 0.5, "float", pl.Float32(), "float32"),
    ("Edm.Double", "0.1", 0.1, "double", pl.Float64(), "float64"),
    ("Edm.Decimal", "1.5", 1.5, "decimal128(31, 7)", pl.Float64(), "float64"),
    ("Edm.Date", '"2024-01-31"', date(2024, 1, 31), "date32[day]", pl.Date(), "datetime64[ms]"),
    ("Edm.TimeOfDay", '"12:30:15.5"', time(12, 30, 15, 500_000), "time64[us]", pl.Time(), "time64[us][pyarrow]"),
    (
        "Edm.DateTimeOffset",
        '"2024-01-31T14:30:15.5+02:00"',
        MOMENT,
        "timestamp[us, tz=UTC]",
        pl.Datetime("us", "UTC"),
        "datetime64[us, UTC]",
    ),
    ("Edm.Duration", '"-P1DT0.5S"', -timedelta(1, 0.5), "duration[us]", pl.Duration("us"), "timedelta64[us]"),
    ("Edm.Binary", '"_-8="', b"\xff\xef", "binary", pl.Binary(), "binary[pyarrow]"),
]


@pytest.mark.parametrize("case", TYPES, ids=[case[0] for case in TYPES])
def test_every_type_has_its_place_in_every_frame(case: tuple[str, str, Any, str, pl.DataType, str]) -> None:
    edm_type, text, value, arrow, polars, pandas = case
    column = Column("X", edm_type, "attribute", precision=31, scale=7)
    table = decode_rows(b'[{"K":"a","X":%s},{"K":"b","X":null}]' % text.encode(), [KEY, column])
    assert str(table.schema.field("X").type) == arrow
    assert table.schema.equals(arrow_schema([KEY, column]), check_metadata=True)
    assert table.column("X").to_pylist() == [value, None]

    frame = to_polars(table)
    assert frame.schema["X"] == polars
    assert frame["X"].to_list() == [value, None]

    other = to_pandas(table)
    assert str(other["X"].dtype) == pandas
    assert other["X"].isna().tolist() == [False, True]
    assert other["X"][0] == value if edm_type != "Edm.Date" else other["X"][0].date() == value


def test_the_table_above_leaves_no_primitive_type_out() -> None:
    assert {case[0] for case in TYPES} >= EDM_PRIMITIVES


KEY = Column("K", "Edm.String", "dimension")


@pytest.mark.parametrize(
    ("precision", "scale", "kind"),
    [
        (31, 7, "decimal128(31, 7)"),
        (38, 0, "decimal128(38, 0)"),
        (39, 7, "decimal256(39, 7)"),
        (76, 76, "decimal256(76, 76)"),
        (100, 90, "decimal256(76, 76)"),
        (None, 2, "decimal128(38, 2)"),
        (None, None, "decimal128(38, 10)"),  # variable, floating or not declared
        (15, None, "decimal128(38, 10)"),
        (34, None, "decimal256(44, 10)"),
        (2, 5, "decimal128(5, 5)"),  # not allowed, and readable all the same
        (0, 0, "decimal128(38, 0)"),
    ],
)
def test_decimals_are_as_wide_as_declared(precision: int | None, scale: int | None, kind: str) -> None:
    assert str(decimal_type(precision, scale)) == kind


def decimals(*values: str | Decimal | None, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    numbers = [None if value is None else Decimal(value) for value in values]
    return pa.chunked_array([pa.array(numbers, kind or pa.decimal128(31, 7))])


@given(
    st.lists(st.none() | st.decimals(-(10**24) + 1, 10**24 - 1, places=7), max_size=20),
    st.sampled_from([pa.decimal128(31, 7), pa.decimal128(38, 7), pa.decimal256(60, 7), pa.decimal256(76, 30)]),
    st.integers(0, 5),
)
def test_a_float_is_the_one_nearest_to_the_decimal(
    numbers: list[Decimal | None], kind: pa.DataType, skipped: int
) -> None:
    """As Python's float(Decimal), bit by bit, whatever the chunks and offsets are."""
    array = pa.array(numbers, kind)
    chunks = pa.chunked_array([array.slice(skipped), array.slice(0, skipped)])
    wanted = [None if number is None else float(number) for number in numbers[skipped:] + numbers[:skipped]]
    assert to_float64(chunks).to_pylist() == wanted


@given(st.integers(-(2**53), 2**53), st.integers(0, 38))
def test_a_float_is_the_nearest_at_every_scale(unscaled: int, scale: int) -> None:
    number = Decimal(unscaled).scaleb(-scale)
    assert to_float64(decimals(number, kind=pa.decimal128(38, scale))).to_pylist() == [float(number)]


@given(st.lists(st.tuples(st.integers(-(10**14), 10**14), st.integers(1, 10**6)), max_size=5), st.integers(0, 7))
def test_a_mean_is_the_nearest_float(pairs: list[tuple[int, int]], scale: int) -> None:
    sums = decimals(*(Decimal(unscaled).scaleb(-scale) for unscaled, _ in pairs), kind=pa.decimal128(38, scale))
    means = mean_float64(sums, np.array([count for _, count in pairs], dtype=np.int64))
    assert means.tolist() == [float(Fraction(unscaled, count * 10**scale)) for unscaled, count in pairs]


def test_a_mean_of_many_digits_is_near() -> None:
    many = decimals("12345678901234567.1234567")
    assert mean_float64(many, np.array([3])).tolist() == [pytest.approx(12345678901234567 / 3)]


def test_the_values_that_pyarrow_rounds_wrongly_are_right() -> None:
    values = decimals("413534.2", "1.1", "0.3")
    assert values.cast(pa.float64()).to_pylist()[0] == 413534.19999999995  # why the cast is not used
    assert to_float64(values).to_pylist() == [413534.2, 1.1, 0.3]


def test_other_numbers_become_floats_too() -> None:
    assert to_float64(pa.chunked_array([pa.array([1, None], pa.int8())])).to_pylist() == [1.0, None]
    assert to_float64(pa.chunked_array([], pa.decimal128(31, 7))).to_pylist() == []


@given(
    st.lists(st.none() | st.decimals(-(10**24) + 1, 10**24 - 1, places=7), max_size=20),
    st.sampled_from([pa.decimal128(31, 7), pa.decimal256(60, 7)]),
)
def test_lost_digits_are_found(numbers: list[Decimal | None], kind: pa.DataType) -> None:
    lost = [n for n in numbers if n is not None and Decimal(repr(float(n))) != n]
    found = first_lossy(pa.chunked_array([pa.array(numbers, kind)]))
    assert found == ((len(lost), found[1] if found else "") if lost else None)
    if found:
        assert Decimal(found[1]) == lost[0]


def test_digits_that_would_be_lost_are_warned_about_once_and_can_be_kept() -> None:
    columns = [KEY, *(Column(name, "Edm.Decimal", "measure", precision=31, scale=7) for name in ("A", "B", "C"))]
    page = b'[{"K":"a","A":12345678901234567.1234567,"B":0.1,"C":1},{"K":"b","A":1.5,"B":12345678901234.5,"C":1}]'
    table = decode_rows(page, columns)
    for convert in (to_polars, to_pandas):
        with pytest.warns(
            PrecisionWarning, match=r"1 of 2 values of 'A', such as 12345678901234567\.1234567\b"
        ) as caught:
            convert(table)
        assert len(caught) == 1
        assert "'B'" not in str(caught[0].message)
        assert caught[0].filename == __file__

    exact = to_polars(table, decimals=True)
    assert exact["A"].to_list() == [Decimal("12345678901234567.1234567"), Decimal("1.5")]
    assert exact.schema["A"] == pl.Decimal(31, 7)
    other = to_pandas(table, decimals=True)
    assert str(other["A"].dtype) == "decimal128(31, 7)[pyarrow]"
    assert other["A"][0] == Decimal("12345678901234567.1234567")


def test_decimals_beyond_38_digits() -> None:
    column = Column("A", "Edm.Decimal", "measure", precision=60, scale=2)
    small = decode_rows(b'[{"A":1.25}]', [column])
    assert small.schema.field(0).type == pa.decimal256(60, 2)
    assert to_polars(small, decimals=True)["A"].to_list() == [Decimal("1.25")]
    assert to_polars(small)["A"].to_list() == [1.25]
    big = decode_rows(b'[{"A":%s.25}]' % (b"1" * 40), [column])
    with pytest.raises(ContractError, match="38 digits"):
        to_polars(big, decimals=True)
    assert to_pandas(big, decimals=True)["A"][0] == Decimal("1" * 40 + ".25")
    with pytest.warns(PrecisionWarning):
        assert to_polars(big)["A"].to_list() == [float("1" * 40)]


def test_pandas_in_arrow_keeps_every_type() -> None:
    columns = [KEY, Column("N", "Edm.Int32", "measure"), Column("A", "Edm.Decimal", "measure", precision=31, scale=7)]
    table = decode_rows(b'[{"K":"a","N":1,"A":2.5},{"K":"b"}]', columns)
    frame = to_pandas(table, backend="pyarrow", decimals=True)
    assert [str(kind) for kind in frame.dtypes] == ["string[pyarrow]", "int32[pyarrow]", "decimal128(31, 7)[pyarrow]"]
    assert str(to_pandas(table, backend="pyarrow")["A"].dtype) == "double[pyarrow]"


def test_a_column_survives_in_its_field() -> None:
    columns = [
        Column("K", "Edm.String", "dimension", nullable=False, max_length=256, label='Köpfe \\ "Zahl"'),
        Column("A", "Edm.Decimal", "measure", precision=31, scale=7),
        Column("X", "Edm.Fancy", "attribute"),
    ]
    assert [column_of(field) for field in arrow_schema(columns)] == columns
    assert column_of(pa.field("foreign", pa.int8())) is None


def test_pages_with_wider_values_join_those_without() -> None:
    columns = [
        KEY,
        Column("A", "Edm.Decimal", "measure", precision=5, scale=2),
        Column("T", "Edm.DateTimeOffset", "attribute"),
    ]
    pages = [
        decode_rows(b'[{"K":"a","A":1.25,"T":"2024-01-31T00:00:00Z"}]', columns),
        decode_rows(b'[{"K":"b","A":1.123456789,"T":"2024-01-31T00:00:00.000000001Z"}]', columns),
        decode_rows(b'[{"K":"c","A":%s,"T":null}]' % (b"9" * 40), columns),
        decode_rows(b"[]", columns),
    ]
    table = concat(pages)
    assert table.column("A").to_pylist() == [Decimal("1.25"), Decimal("1.123456789"), Decimal("9" * 40)]
    assert table.column("T").type == pa.timestamp("ns", "UTC")
    assert [column_of(field) for field in table.schema] == columns


def test_pages_that_no_type_can_hold_together_are_refused() -> None:
    columns = [KEY, Column("T", "Edm.DateTimeOffset", "attribute")]
    pages = [
        decode_rows(b'[{"K":"a","T":"9999-12-31T00:00:00Z"}]', columns),
        decode_rows(b'[{"K":"b","T":"2024-01-31T00:00:00.000000001Z"}]', columns),
    ]
    with pytest.raises(BadAnswer, match="do not fit together"):
        concat(pages)


def test_polars_users_do_not_pay_for_pandas() -> None:
    """It takes a quarter second, and ``pa.array``, ``to_numpy`` and ``pyarrow.dataset`` would all import it."""
    code = (
        "import sys\n"
        "from sacnb._odata.schema import Column\n"
        "from sacnb._frames.decode import decode_rows\n"
        "from sacnb._frames.convert import concat, to_polars\n"
        "columns = [Column('K', 'Edm.String', 'dimension'), Column('A', 'Edm.Decimal', 'measure')]\n"
        'page = b\'[{"K":"a","A":1.5},{"K":"b","A":123456789},{"K":"c","A":null}]\'\n'
        "to_polars(concat([decode_rows(page, columns)] * 2))\n"
        "assert 'pandas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_small_chunks_are_joined() -> None:
    part = pa.table({"Amount": pa.array(range(500_000), pa.int64())})
    large = pa.concat_tables([part, part])
    small = pa.concat_tables([part.slice(0, 2), part.slice(0, 2)])
    assert to_polars(large).n_chunks() == 2
    assert to_polars(small).n_chunks() == 1
    assert to_polars(large).to_series().sum() == 2 * sum(range(500_000))
