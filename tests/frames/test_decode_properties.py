"""The native and the strict decoder read the same, and both read what was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacnb._frames.decode import decode_natively, decode_rows
from sacnb._frames.strict import decode_strictly
from sacnb._odata.schema import Column
from sacnb.errors import BadAnswer

TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(['},{"x', '},{"', "\\", "#", " "])
MONEY = st.decimals(min_value=-(10**24) + 1, max_value=10**24 - 1, places=7)


def large(number: float) -> bool:
    """Neither path minds smaller ones; an exponent below -9 alone makes the native path step back."""
    return number == 0 or abs(number) >= 1e-9


FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(large)
# column, a strategy for its values, and how a value stands in JSON
KINDS: list[tuple[Column, st.SearchStrategy[Any], Any]] = [
    (Column("Key", "Edm.String", "dimension"), TEXT, json.dumps),
    (Column("Sector", "Edm.String", "dimension"), TEXT, lambda v: json.dumps(v, ensure_ascii=False)),
    (Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7), st.none() | MONEY, str),
    (Column("Big", "Edm.Decimal", "measure", precision=60, scale=3), st.none() | st.decimals(-1, 1, places=3), str),
    (Column("Whole", "Edm.Int64", "measure"), st.none() | st.integers(-(2**63), 2**63 - 1), str),
    (Column("Byte", "Edm.Byte", "measure"), st.none() | st.integers(0, 255), str),
    (Column("Rate", "Edm.Double", "measure"), st.none() | FLOATS, repr),
    (
        Column("Half", "Edm.Single", "measure"),
        st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False).filter(large),
        repr,
    ),
    (Column("Flag", "Edm.Boolean", "attribute"), st.none() | st.booleans(), json.dumps),
    (Column("Day", "Edm.Date", "attribute"), st.none() | st.dates(), lambda v: f'"{v.isoformat()}"'),
    (Column("Note", "Edm.String", "attribute"), st.none() | TEXT, json.dumps),
]
COLUMNS = [kind[0] for kind in KINDS]
# A row is 200 bytes or more: blocks that tear rows apart, that hold one or a few, and none at all.
BLOCKS = st.sampled_from([None, 1, 150, 300, 600, 1200])
ROWS = st.lists(st.tuples(*(kind[1] for kind in KINDS)), min_size=1, max_size=6)


def page_of(rows: list[tuple[Any, ...]], *, comma: str = ",", left_out: frozenset[str] = frozenset()) -> bytes:
    lines: list[str] = []
    for row in rows:
        parts = [
            f'"{column.name}":{"null" if value is None else write(value)}'
            for (column, _, write), value in zip(KINDS, row, strict=True)
            if not (value is None and column.name in left_out)
        ]
        lines.append("{" + ",".join(parts) + "}")
    return ("[" + comma.join(lines) + "]").encode()


@given(
    ROWS,
    st.sampled_from([",", ", ", " ,\n"]),
    st.frozensets(st.sampled_from([column.name for column in COLUMNS])),
    BLOCKS,
)
def test_both_paths_read_what_was_written(
    rows: list[tuple[Any, ...]], comma: str, left_out: frozenset[str], block_bytes: int | None
) -> None:
    page = page_of(rows, comma=comma, left_out=left_out)
    strict = decode_strictly(page, COLUMNS)
    assert [tuple(row.values()) for row in strict.to_pylist()] == rows
    native = decode_natively(page, COLUMNS, block_bytes=block_bytes)
    assert native is not None
    assert native.equals(strict, check_metadata=True)


# What is unusual and unmistakable: each of these once cost ten times as much as a plain page.
UNUSUAL: list[tuple[Column, st.SearchStrategy[str]]] = [
    (Column("Key", "Edm.String", "dimension"), st.sampled_from(['"a"', '"\\ud83d\\ude00"', "null"])),
    (
        Column("Region", "Edm.String", "dimension"),
        st.sampled_from(['"x"', '"Key\\":12"', "12", "-1.50", "true", "null"]),
    ),
    (
        Column("Amount", "Edm.Decimal", "measure", precision=9, scale=2),
        st.sampled_from(
            ["1.25", '"2.5"', "null", "0.1234567891", "1E-12", "2e-46", "123456789012345", "1.5E+3", "0e-99999", "7E20"]
        ),
    ),
    (
        Column("Cost", "Edm.Decimal", "measure", precision=31, scale=7),
        st.sampled_from(["3", "-999999999999999999999999.9999999", "0.123456789", '"1e-30"']),
    ),
    (Column("Rate", "Edm.Double", "measure"), st.sampled_from(["0.1", '"NaN"', '"-INF"', '"1.5"', "1e-300", "null"])),
    (Column("Count", "Edm.Int32", "measure"), st.sampled_from(["1", "1.0", '"15"', "2e3", "null"])),
    (Column("Note", "Custom.Text", "attribute"), st.sampled_from(['"n"', "1e5", "false", "null"])),
]


@given(
    st.lists(st.tuples(*(values for _, values in UNUSUAL)), min_size=1, max_size=5),
    st.sampled_from([",", ", ", ",\n "]),
    st.permutations(range(len(UNUSUAL))),
)
def test_what_is_unusual_and_unmistakable_stays_on_the_native_path(
    rows: list[tuple[str, ...]], comma: str, order: list[int]
) -> None:
    columns = [column for column, _ in UNUSUAL]
    lines = ["{" + ",".join(f'"{columns[at].name}":{row[at]}' for at in order) + "}" for row in rows]
    page = ("[" + comma.join(lines) + "]").encode()
    native, strict = decode_natively(page, columns), decode_strictly(page, columns)
    assert native is not None
    assert native.schema.equals(strict.schema, check_metadata=True)
    assert str(native.to_pylist()) == str(strict.to_pylist())  # NaN is not equal to itself


SHREDS = [
    b"null",
    b"},{",
    b'},{"',
    b"{",
    b"}",
    b"]",
    b",",
    b'"',
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\n",
    b"1e-46",
    b"0" * 40,
    b"e" + b"0" * 40,
    b"NaN",
]


@given(
    ROWS,
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([b"", *SHREDS])), max_size=3),
    BLOCKS,
)
@example([tuple([""] * 2 + [None] * 9)], [], 1)
def test_whatever_comes_the_native_decoder_agrees_with_the_strict_one_or_steps_back(
    rows: list[tuple[Any, ...]], cuts: list[tuple[int, int, bytes]], block_bytes: int | None
) -> None:
    page = page_of(rows)
    for place, gone, put in cuts:
        at = place % len(page)
        page = page[:at] + put + page[at + gone :]
    native = decode_natively(page, COLUMNS, block_bytes=block_bytes)
    if native is None:
        return
    assert native.equals(decode_strictly(page, COLUMNS), check_metadata=True)


ODD = ['"\\ud83d"', '{"a":1}', "[1]", "NaN", "1e99", '"x"', "null", "true", '"1.5"', "0.123456789", "12"]


@given(
    st.lists(st.sampled_from(ODD), min_size=2, max_size=7),
    st.lists(st.sampled_from(ODD), min_size=7, max_size=7),
    st.sampled_from(["", ',"More":[{"Key":"a","b":1},{"Key":"c"}]']),
    st.sampled_from([",", ", "]),
)
@example(['"a"', '"b"', '{"a":1}'], ["1.5", "2", "0.123456789"], "", ",")
@example(["1", "2", '"\\ud83d"'], ["1.5", "2", "3"], ',"More":[{"Key":"a","b":1},{"Key":"c"}]', ",")
def test_a_page_read_in_pieces_is_what_the_strict_decoder_reads(
    keys: list[str], amounts: list[str], more: str, comma: str
) -> None:
    columns = [
        Column("Key", "Custom.Text", "attribute"),
        Column("Amount", "Edm.Decimal", "measure", precision=9, scale=2),
    ]
    rows = [f'{{"Key":{key},"Amount":{amount}{more}}}' for key, amount in zip(keys, amounts, strict=False)]
    page = f"[{comma.join(rows)}]".encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sacnb._frames.strict._SMALLEST_PIECE", 1)
        try:
            found = decode_rows(page, columns)
        except BadAnswer as error:
            odd = page if error.row is None else f"[{rows[error.row]}]".encode()
            with pytest.raises(BadAnswer):
                decode_strictly(odd, columns)
            return
    strict = decode_strictly(page, columns)
    assert found.schema.equals(strict.schema, check_metadata=True)
    assert found.to_pylist() == strict.to_pylist()


@pytest.mark.parametrize("odd", [0, 777, 1999])
def test_one_odd_value_leaves_the_rest_of_its_page_to_the_native_decoder(
    odd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [Column("Key", "Edm.String", "dimension"), Column("Note", "Custom.Text", "attribute")]
    seen: list[int] = []

    def strictly(rows: bytes, columns: Sequence[Column], *, first_row: int = 0) -> pa.Table:
        seen.append(rows.count(b'"Key"'))
        return decode_strictly(rows, columns, first_row=first_row)

    monkeypatch.setattr("sacnb._frames.strict.decode_strictly", strictly)

    def page(value: str) -> bytes:
        rows = [f'{{"Key":"k{i}","Note":{value if i == odd else 1}}}' for i in range(2000)]
        return f"[{','.join(rows)}]".encode()

    assert decode_rows(page('{"a":1}'), columns).column("Note")[odd].as_py() == '{"a":1}'
    with pytest.raises(BadAnswer, match=f"^Row {odd}, column 'Note'") as caught:
        decode_rows(page('"\\ud83d"'), columns)
    assert (caught.value.row, caught.value.column) == (odd, "Note")
    assert seen == [100, 100]


NUMBERS = [
    Column("Rate", "Edm.Double", "measure"),
    Column("Half", "Edm.Single", "measure"),
    Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
    Column("Whole", "Edm.Int64", "measure"),
]


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.edm_type)
@pytest.mark.parametrize("zeros", [10, 5000])
@pytest.mark.parametrize("start", ["6.50e", "7E+"])
def test_zeros_in_front_of_an_exponent_change_nothing(column: Column, zeros: int, start: str) -> None:
    def page(number: str) -> bytes:
        return f'[{{"Key":"a","{column.name}":{number}}}]'.encode()

    columns = [Column("Key", "Edm.String", "dimension"), column]
    long = page(f"{start}{'0' * zeros}1")
    strict = decode_strictly(long, columns)
    assert strict.equals(decode_strictly(page(f"{start}1"), columns), check_metadata=True)
    native = decode_natively(long, columns)
    assert native is None or native.equals(strict, check_metadata=True)


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.edm_type)
@pytest.mark.parametrize("number", ["0e9999999999", "0.0E-99999999999999999999", "0e30"])
def test_zero_is_zero_with_any_exponent(column: Column, number: str) -> None:
    columns = [Column("Key", "Edm.String", "dimension"), column]
    page = f'[{{"Key":"a","{column.name}":{number}}}]'.encode()
    for decode in (decode_strictly, decode_natively):
        table = decode(page, columns)
        assert table is None or table.column(column.name).to_pylist() == [0]


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.edm_type)
@pytest.mark.parametrize("number", ["1e9999999999", "1e99999999999999999999"])
def test_what_no_column_can_hold_is_refused_as_too_large(column: Column, number: str) -> None:
    columns = [Column("Key", "Edm.String", "dimension"), column]
    page = f'[{{"Key":"a","{column.name}":{number}}}]'.encode()
    assert decode_natively(page, columns) is None
    with pytest.raises(BadAnswer, match=r"does not fit into|too large|more than 76 digits"):
        decode_strictly(page, columns)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e40"), max_value=Decimal("1e40")))
def test_no_digit_of_a_decimal_is_lost(number: Decimal) -> None:
    """Whatever the declared precision and scale are: the column gets wider, or the page is refused."""
    columns = [
        Column("Key", "Edm.String", "dimension"),
        Column("Amount", "Edm.Decimal", "measure", precision=9, scale=2),
    ]
    page = b'[{"Key":"a","Amount":%s},{"Key":"b","Amount":1.25}]' % str(number).encode()
    behind = -min(-2, int(number.normalize(Context(prec=10**6)).as_tuple().exponent))
    if number and max(7, number.adjusted() + 1) + behind > 76:
        with pytest.raises(BadAnswer, match="76 digits"):
            decode_rows(page, columns)
    else:
        assert decode_rows(page, columns).column("Amount").to_pylist() == [number, Decimal("1.25")]
