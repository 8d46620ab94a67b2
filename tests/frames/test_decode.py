"""Where decoders lie: each row of the tables below is an input that some decoder reads wrongly without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sacnb._frames.convert import arrow_schema
from sacnb._frames.decode import decode_natively, decode_rows
from sacnb._frames.strict import decode_strictly
from sacnb._frames.types import longest_fraction
from sacnb._odata.schema import Column
from sacnb.errors import BadAnswer

KEY = Column("Key", "Edm.String", "dimension")
TEXT = Column("Text", "Edm.String", "attribute")
AMOUNT = Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7)


def value_column(edm_type: str, **facets: Any) -> Column:
    return Column("X", edm_type, "measure", **facets)


def one(json_value: str, edm_type: str = "Edm.String", **facets: Any) -> Any:
    """What a column makes of one JSON value, in a row that has a key."""
    table = decode_rows(b'[{"Key":"k","X":%s}]' % json_value.encode(), [KEY, value_column(edm_type, **facets)])
    return table.column("X").to_pylist()[0]


MONEY = {"precision": 31, "scale": 7}
WIDE = {"precision": 38, "scale": 7}

UNDERSTOOD = [
    # type, facets, JSON, what it means
    ("Edm.Int64", {}, "9223372036854775807", 2**63 - 1),
    ("Edm.Int64", {}, "-9223372036854775808", -(2**63)),
    ("Edm.Int64", {}, '"9223372036854775807"', 2**63 - 1),  # IEEE754Compatible=true
    ("Edm.Int32", {}, "-0", 0),
    ("Edm.Int32", {}, "5.0", 5),
    ("Edm.Int32", {}, "1e3", 1000),
    ("Edm.Byte", {}, "255", 255),
    ("Edm.SByte", {}, "-128", -128),
    ("Edm.Decimal", WIDE, "12345678901234567.1234567", Decimal("12345678901234567.1234567")),
    ("Edm.Decimal", WIDE, "123456789012345678901234.1234567", Decimal("123456789012345678901234.1234567")),
    ("Edm.Decimal", MONEY, "67284", Decimal(67284)),
    ("Edm.Decimal", MONEY, "16.0000000", Decimal(16)),
    ("Edm.Decimal", MONEY, "16.000000000000", Decimal(16)),
    ("Edm.Decimal", MONEY, "1.5E-3", Decimal("0.0015")),
    ("Edm.Decimal", MONEY, "-0.0", Decimal(0)),
    ("Edm.Decimal", MONEY, "0E+99", Decimal(0)),
    ("Edm.Decimal", MONEY, '"12.5"', Decimal("12.5")),
    ("Edm.Decimal", MONEY, '"+5"', Decimal(5)),
    ("Edm.Decimal", MONEY, "1.12345678901", Decimal("1.12345678901")),  # more digits than the scale: wider, not rounded
    ("Edm.Decimal", {"precision": 5, "scale": 2}, "123456.78", Decimal("123456.78")),
    ("Edm.Decimal", {"precision": 5, "scale": 0}, "1.5", Decimal("1.5")),
    ("Edm.Decimal", {}, "1.12345678901234567890", Decimal("1.1234567890123456789")),
    ("Edm.Decimal", {"precision": 50, "scale": 7}, "1" * 43 + ".1234567", Decimal("1" * 43 + ".1234567")),
    ("Edm.Double", {}, "0.1", 0.1),
    ("Edm.Double", {}, "5", 5.0),
    ("Edm.Double", {}, '"5.5"', 5.5),
    ("Edm.Double", {}, '"INF"', float("inf")),
    ("Edm.Double", {}, '"-INF"', float("-inf")),
    ("Edm.Double", {}, "2.2250738585072011e-308", 2.2250738585072011e-308),
    ("Edm.Single", {}, "0.25", 0.25),
    ("Edm.Boolean", {}, "true", True),
    ("Edm.String", {}, '"202301"', "202301"),
    ("Edm.String", {}, "202301", "202301"),
    ("Edm.String", {}, "1.50", "1.50"),
    ("Edm.String", {}, "1E+2", "1E+2"),
    ("Edm.String", {}, "true", "true"),
    ("Edm.String", {}, '"Pacific West "', "Pacific West "),
    ("Edm.String", {}, '"#"', "#"),
    ("Edm.String", {}, '""', ""),
    ("Edm.String", {}, '"null"', "null"),
    ("Edm.String", {}, r'"\ud83d\ude00"', "😀"),
    ("Edm.String", {}, r'"a\u0000b"', "a\x00b"),
    ("Edm.String", {}, r'"},{\"Key\":\"x\"}"', '},{"Key":"x"}'),
    ("Edm.String", {}, '"},{"', "},{"),
    ("Edm.String", {}, '"},\u2028{"', "},\u2028{"),
    ("Edm.Guid", {}, '"0e55e7de-0000-4000-8000-00000000000A"', "0e55e7de-0000-4000-8000-00000000000A"),
    ("Edm.Fancy", {}, '"plaid"', "plaid"),
    ("Edm.Fancy", {}, "1.10", "1.10"),
    ("Edm.GeographyPoint", {}, '{"type":"Point","coordinates":[1.10,2]}', '{"type":"Point","coordinates":[1.10,2]}'),
    ("Collection(Edm.String)", {}, '["a","ü"]', '["a","ü"]'),
]


@pytest.mark.parametrize(("edm_type", "facets", "value", "meaning"), UNDERSTOOD)
def test_a_value_is_read_exactly(edm_type: str, facets: dict[str, int], value: str, meaning: object) -> None:
    found = one(value, edm_type, **facets)
    assert found == meaning
    assert type(found) is type(meaning)


def test_nan_is_written_as_a_string_and_read_as_a_number() -> None:
    found = one('"NaN"', "Edm.Double")
    assert found != found  # noqa: PLR0124  # only NaN differs from itself


REFUSED = [
    # type, facets, JSON, what the message says
    ("Edm.Int64", {}, "1.9", "digits after the point"),
    ("Edm.Int64", {}, "9223372036854775808", "too large"),
    ("Edm.Int64", {}, "-9223372036854775809", "too large"),
    ("Edm.Int64", {}, "1e999999999", "too large"),
    ("Edm.Byte", {}, "256", "too large"),
    ("Edm.Byte", {}, "-1", "too large"),
    ("Edm.SByte", {}, "128", "too large"),
    ("Edm.Int32", {}, "true", "not a number"),
    ("Edm.Int32", {}, '""', "not a number"),
    ("Edm.Int32", {}, '"0x10"', "not a number"),
    ("Edm.Int32", {}, '"\u0661"', "not a number"),  # a digit, but an Arabic one
    ("Edm.Decimal", MONEY, "true", "not a number"),
    ("Edm.Decimal", MONEY, '"NaN"', "not a number"),
    ("Edm.Decimal", MONEY, '"INF"', "not a number"),
    ("Edm.Decimal", MONEY, '"1,5"', "not a number"),
    ("Edm.Decimal", MONEY, '" 1"', "not a number"),
    ("Edm.Decimal", MONEY, '""', "not a number"),
    ("Edm.Decimal", MONEY, '{"value":1}', "not a number"),
    ("Edm.Decimal", MONEY, "1e70", "more than 76 digits"),
    ("Edm.Decimal", MONEY, "1e-999999999", "more than 76 digits"),
    ("Edm.Double", {}, "1e400", "does not fit"),
    ("Edm.Double", {}, "-1e400", "does not fit"),
    ("Edm.Double", {}, "true", "not a number"),
    ("Edm.Double", {}, '"nan"', "not a number"),
    ("Edm.Double", {}, '"Infinity"', "not a number"),
    ("Edm.Single", {}, "1e39", "does not fit"),
    ("Edm.Boolean", {}, "1", "not a truth value"),
    ("Edm.Boolean", {}, '"true"', "not a truth value"),
    ("Edm.String", {}, '{"a":1}', "not text"),
    ("Edm.String", {}, "[1]", "not text"),
    ("Edm.String", {}, r'"\ud800"', "half a character"),
    ("Edm.String", {}, r'"\udc00\ud800"', "half a character"),
    ("Edm.Guid", {}, '{"a":1}', "not text"),
    ("Edm.Date", {}, '"2024-02-30"', "day is out of range"),
    ("Edm.Date", {}, '"20240131"', "2024-01-31"),
    ("Edm.Date", {}, "19753", "not text"),
    ("Edm.Date", {}, '"#"', "another form"),
    ("Edm.DateTimeOffset", {}, '"2024-01-31T00:00:00"', "another form"),
    ("Edm.DateTimeOffset", {}, '"2024-01-31"', "another form"),
    ("Edm.DateTimeOffset", {}, '"2024-01-31T24:00:00Z"', "no such time"),
    ("Edm.DateTimeOffset", {}, '"2024-01-31T00:00:00+19:00"', "no such time zone"),
    ("Edm.DateTimeOffset", {}, '"2024-01-31T00:00:00.1234567891Z"', "more than nine digits"),
    ("Edm.DateTimeOffset", {}, '"9999-12-31T00:00:00.0000001Z"', "does not fit"),
    ("Edm.DateTimeOffset", {}, "1704067200", "not text"),
    ("Edm.TimeOfDay", {}, '"24:00:00"', "no such time"),
    ("Edm.TimeOfDay", {}, "5", "not text"),
    ("Edm.Duration", {}, '"P"', "another form"),
    ("Edm.Duration", {}, '"PT"', "another form"),
    ("Edm.Duration", {}, '"P1M"', "another form"),
    ("Edm.Duration", {}, '"P999999999999D"', "does not fit"),
    ("Edm.Binary", {}, '"a"', "not base64"),
    ("Edm.Binary", {}, '"a*bc"', "not base64"),
]


@pytest.mark.parametrize(("edm_type", "facets", "value", "reason"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_by_row_and_column(
    edm_type: str, facets: dict[str, int], value: str, reason: str
) -> None:
    rows = b'[{"Key":"a","X":null},{"Key":"b","X":%s},{"Key":"c","X":null}]' % value.encode()
    with pytest.raises(BadAnswer, match=reason) as caught:
        decode_rows(rows, [KEY, value_column(edm_type, **facets)])
    assert (caught.value.row, caught.value.column) == (1, "X")
    assert not caught.value.truncated
    assert "'X'" in str(caught.value)


PAGES = [
    # what is wrong with the page, its text, words of the message, row, column, may asking again help
    ("an error in mid-answer", b'[{"Key":"a"},{"error":{"code":"x","message":"boom"}}]', "boom", 1, None, True),
    ("an error where no dimension was asked for", b'[{"error":{"message":"boom"}}]', "boom", 0, None, True),
    ("an error body", b'{"error":{"message":"boom"}}', "boom", None, None, False),
    ("a null row", b'[{"Key":"a"},null]', "not an object", 1, None, False),
    ("a null row in the first place", b'[null,{"Key":"a"}]', "not an object", 0, None, False),
    ("a number for a row", b"[5]", "not an object", 0, None, False),
    ("an empty row", b'[{"Key":"a"},{}]', "none of the columns", 1, None, False),
    ("a foreign row", b'[{"Key":"a"},{"Other":1}]', "none of the columns", 1, None, False),
    ("a row without its key", b'[{"Key":"a"},{"Text":"x"}]', "no 'Key'", 1, "Key", False),
    ("a key twice", b'[{"Key":"a","Text":"x","Text":"y"}]', "twice", 0, "Text", False),
    ("a key twice, once escaped", rb'[{"Key":"a","Text":"x","\u0054ext":"y"}]', "twice", 0, "Text", False),
    ("nothing", b"", "cut short", None, None, True),
    ("HTML", b"<html><body>Log in</body></html>", "web page", None, None, False),
    ("a single value", b"null", "list of rows", None, None, False),
    ("an object", b'{"Key":"a"}', "list of rows", None, None, False),
    ("garbage at the end", b'[{"Key":"a"}] x', "not valid JSON", None, None, False),
    ("a second array", b'[{"Key":"a"}][]', "not valid JSON", None, None, False),
    ("no comma between rows", b'[{"Key":"a"}{"Key":"b"}]', "not valid JSON", None, None, False),
    ("a line end for a comma", b'[{"Key":"a"}\n{"Key":"b"}]', "not valid JSON", None, None, False),
    ("a trailing comma", b'[{"Key":"a"},]', "not valid JSON", None, None, False),
    ("a null after a row", b'[{"Key":"a"}null]', "not valid JSON", None, None, False),
    ("a bare NaN", b'[{"Key":"a","Amount":NaN}]', "NaN", None, None, False),
    ("a control character", b'[{"Key":"a\x01"}]', "not valid JSON", None, None, False),
    ("bytes that are not UTF-8", b'[{"Key":"a"},{"Key":"\xff"}]', "UTF-8", 1, "Key", False),
    ("nested without end", b'[{"Text":' + b"[" * 200_000, "nested", None, None, False),
    (
        "an unknown value too deep",
        b'[{"Key":"a","X":' + b"[" * 101 + b"]" * 101 + b"}]",
        "100 levels",
        None,
        None,
        False,
    ),
    (
        "objects too deep",
        b'[{"Key":"a","X":' + b'{"a": ' * 101 + b"1" + b"}" * 101 + b"}]",
        "100 levels",
        None,
        None,
        False,
    ),
    (
        "both too deep",
        b'[ {"Key":"a","X":' + b'[{"a":' * 51 + b"1" + b"}]" * 51 + b"}]",
        "100 levels",
        None,
        None,
        False,
    ),
    (
        "a text too deep",
        b'[{"Key":"a","Text":' + b"[" * 10_000 + b"]" * 10_000 + b"}]",
        "100 levels",
        None,
        None,
        False,
    ),
]


@pytest.mark.parametrize(
    ("page", "words", "row", "column", "truncated"), [case[1:] for case in PAGES], ids=[case[0] for case in PAGES]
)
def test_a_page_that_cannot_be_trusted_is_refused(
    page: bytes, words: str, row: int | None, column: str | None, truncated: bool
) -> None:
    with pytest.raises(BadAnswer) as caught:
        decode_rows(page, [KEY, TEXT, AMOUNT])
    assert words in str(caught.value)
    assert (caught.value.row, caught.value.column, caught.value.truncated) == (row, column, truncated)


@pytest.mark.parametrize(
    "value", [b"[" * 100 + b"]" * 100, b'{"a":' * 100 + b"1" + b"}" * 100, b'"' + b"[{" * 500 + b'\\""']
)
@pytest.mark.parametrize("decode", [decode_rows, decode_natively, decode_strictly])
def test_a_value_nobody_asked_for_may_be_nested(value: bytes, decode: Callable[..., Any]) -> None:
    rows = b",".join([b'{"Key":"a","Other":%s}' % value] * 3)
    assert decode(b"[%s]" % rows, [KEY]).num_rows == 3


@pytest.mark.parametrize("decode", [decode_natively, decode_strictly])
def test_both_decoders_refuse_the_same_depth(decode: Callable[..., Any]) -> None:
    rest = b',{"Key":"b"}' * 5_000
    with pytest.raises(BadAnswer, match="100 levels"):
        decode(b'[{"Key":"a","Other":' + b"[" * 101 + b"]" * 101 + b"}" + rest + b"]", [KEY])


def test_bare_nan_and_infinity_are_not_json() -> None:
    for word in (b"NaN", b"Infinity", b"-Infinity"):
        with pytest.raises(BadAnswer, match="not valid JSON"):
            decode_rows(b'[{"Key":"a","X":%s}]' % word, [KEY, value_column("Edm.Double")])


def test_every_truncation_is_refused() -> None:
    rows = [
        {"Key": 'a},{"Key":"b"}', "Text": "ü😀", "Amount": 1.5},
        {"Key": "#", "Text": None, "Amount": None},
        {"Key": "c", "Text": "]", "Amount": 7},
    ]
    for page in (json.dumps(rows, separators=(",", ":"), ensure_ascii=False), json.dumps(rows, indent=1)):
        whole = page.encode()
        for end in range(len(whole)):
            with pytest.raises(BadAnswer):
                decode_rows(whole[:end], [KEY, TEXT, AMOUNT])


COLUMNS = [KEY, TEXT, AMOUNT]
PLAIN = [("a", "x", Decimal("1.5")), ("b", None, None), ("c", "y", Decimal(-2))]
FIRST, LAST = b'{"Key":"a","Text":"x","Amount":1.5}', b'{"Key":"c","Text":"y","Amount":-2}'
SHAPES = {
    "compact": b'[%s,{"Key":"b","Text":null,"Amount":null},%s]' % (FIRST, LAST),
    "another key order": b'[{"Amount":1.5,"Text":"x","Key":"a"},{"Key":"b"},{"Text":"y","Key":"c","Amount":-2}]',
    "missing keys": b'[%s,{"Key":"b"},%s]' % (FIRST, LAST),
    "extra keys": b'[%s,{"Key":"b","New":{"a":[1,{"b":null}]}},%s]' % (FIRST, LAST),
    "an extra key twice": b'[%s,{"Key":"b","New":1,"New":2},%s]' % (FIRST, LAST),
    "annotations": b"""[{"@odata.id":"FactData(Key='a')","Key":"a","Amount@odata.type":"#Decimal","Text":"x",
        "Amount":1.5},{"@odata.context":"#FactData/$entity","Key":"b"},%s]"""
    % LAST,
    "objects in an extra key": b'[%s,{"Key":"b","L":[{"a":1},{"b":2}]},%s]' % (FIRST, LAST),
    "a number as a string": b'[{"Key":"a","Text":"x","Amount":"1.5"},{"Key":"b"},%s]' % LAST,
    "an exponent of two digits": b'[{"Key":"a","Text":"x","Amount":150E-02},{"Key":"b"},%s]' % LAST,
    "escaped names": rb'[{"\u004bey":"a","Text":"\u0078","Amount":1.5},{"Key":"b"},%s]' % LAST,
    "a BOM": b'\xef\xbb\xbf[%s,{"Key":"b"},%s]' % (FIRST, LAST),
    "pretty": b'[\n  {\n    "Key" : "a",\n    "Text": "x",\n    "Amount": 1.5\n  },\n  {\n    "Key": "b"\n  },\n  %s\n]'
    % LAST,
    "a row a line": b'[%s,\r\n{"Key":"b"},\r\n%s]\r\n' % (FIRST, LAST),
    "pretty with a BOM": b'\xef\xbb\xbf[ %s , {"Key":"b"} ,\t%s ]' % (FIRST, LAST),
}


@pytest.mark.parametrize("page", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_same_rows_in_any_shape(page: bytes, kind: Any) -> None:
    table = decode_rows(kind(page), COLUMNS)
    assert [tuple(row.values()) for row in table.to_pylist()] == PLAIN
    assert table.schema.equals(arrow_schema(COLUMNS), check_metadata=True)
    assert table.equals(decode_strictly(page, COLUMNS), check_metadata=True)


@pytest.mark.parametrize("page", [b"[]", b" [ ]\n", b"\xef\xbb\xbf[]"])
def test_no_rows_still_have_columns(page: bytes) -> None:
    table = decode_rows(page, COLUMNS)
    assert table.num_rows == 0
    assert table.schema.equals(arrow_schema(COLUMNS), check_metadata=True)


def test_a_column_of_nulls_keeps_its_type() -> None:
    columns = [KEY, *(Column(name, f"Edm.{name}", "attribute") for name in ("Int32", "Date", "Boolean", "Binary"))]
    page = b'[{"Key":"a","Int32":null,"Date":null,"Boolean":null,"Binary":null},{"Key":"b"}]'
    table = decode_natively(page, columns)
    assert table is not None
    assert table.schema.equals(arrow_schema(columns), check_metadata=True)
    assert [column.null_count for column in table.columns] == [0, 2, 2, 2, 2]


def test_a_null_key_that_sac_sent_stays_and_one_it_did_not_send_is_refused() -> None:
    sent = decode_rows(b'[{"Key":null,"Amount":1},{"Key":"b","Amount":2}]', [KEY, AMOUNT])
    assert sent.column("Key").to_pylist() == [None, "b"]
    with pytest.raises(BadAnswer) as caught:
        decode_rows(b'[{"Key":"b","Amount":2},{"Amount":1}]', [KEY, AMOUNT])
    assert (caught.value.row, caught.value.column) == (1, "Key")


def test_without_a_dimension_a_null_measure_is_a_null_and_an_empty_row_is_refused() -> None:
    assert decode_rows(b'[{"Amount":null}]', [AMOUNT]).to_pylist() == [{"Amount": None}]
    assert decode_rows(b'[{"Amount":null},{"Amount":1}]', [AMOUNT]).column(0).to_pylist() == [None, 1]
    with pytest.raises(BadAnswer, match="none of the columns"):
        decode_rows(b'[{"Amount":1},{}]', [AMOUNT])


def test_ordinary_pages_never_leave_the_native_path() -> None:
    """Otherwise the strict decoder, ten times slower, would be what users get, and no other test would notice."""
    columns = [KEY, TEXT, AMOUNT, Column("Day", "Edm.Date", "attribute"), Column("N", "Edm.Int32", "measure")]
    rows = [
        b'{"Key":"a","Text":"},{","Amount":16.0000000,"Day":"2024-01-31","N":3}',
        b'{"Key":"0e55e7de-1234-412e-12ae-123456789012","Text":"1.5e-x","Amount":-2E-7,"Day":null,"N":-4}',
        b'{"Key":"#","Text":null,"Amount":67284}',
    ]
    assert decode_natively(b"[" + b",".join(rows) + b"]", columns) is not None
    assert decode_natively(b"[\n " + b",\n ".join(rows) + b"\n]", columns) is not None
    assert decode_natively(SHAPES["pretty"], COLUMNS) is not None


@pytest.mark.parametrize("block_bytes", [24, 30, 48, 60, 70, 150, 10_000])
def test_line_ends_of_the_page_itself_tear_no_row_apart(block_bytes: int) -> None:
    """A block ends at a line end; pyarrow 26 crashes the process where one begins with ``null``."""
    page = b'[{"Key":"a","Amount":1},{"Key":"b","Amount":2},\nnull,{"Key":"c","Amount":3}]'
    assert decode_natively(page, [KEY, AMOUNT], block_bytes=block_bytes) is None
    whole = b'[{"Key":"a",\n"Amount":1},{"Key":"b",\n"Amount":2},{"Key":"c",\n"Amount":3}]'
    table = decode_natively(whole, [KEY, AMOUNT], block_bytes=block_bytes)
    assert table is not None
    assert table.column("Amount").to_pylist() == [1, 2, 3]
    assert table.column("Amount").num_chunks == 1


@pytest.mark.parametrize(
    ("number", "meaning"),
    [
        ("1e-46", Decimal("1e-46")),
        ('"1e-46"', Decimal("1e-46")),
        ("-0." + "0" * 40 + "1", Decimal("-1e-41")),
        ("1." + "0" * 60, Decimal(1)),
        ("0e-99999999", Decimal(0)),
        ("1" + "0" * 50 + "e-50", Decimal(1)),
    ],
)
def test_digits_far_behind_the_point_are_not_left_to_pyarrow(number: str, meaning: Decimal) -> None:
    """It makes a zero of the first four and ends the process at the fifth: see ``breaks_decimals``."""
    page = b'[{"Key":"a","Amount":1},{"Key":"b","Amount":%s}]' % number.encode()
    native = decode_natively(page, [KEY, AMOUNT])
    assert native is not None
    assert native.equals(decode_strictly(page, [KEY, AMOUNT]), check_metadata=True)
    assert decode_rows(page, [KEY, AMOUNT]).column("Amount").to_pylist() == [1, meaning]


def test_a_field_carries_its_column() -> None:
    column = Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7, label='Größe "netto"')
    field = decode_rows(b'[{"Amount":1}]', [column]).schema.field(0)
    assert field.type == pa.decimal128(31, 7)
    assert json.loads(field.metadata[b"sacnb.column"])["label"] == 'Größe "netto"'


def test_the_message_shows_the_value_and_not_a_whole_page() -> None:
    with pytest.raises(BadAnswer) as caught:
        one('"' + "x" * 5000 + '"', "Edm.Int32")
    assert "xxx" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "digits"), [(b'{"A":1.5}\n{"A":0.1234567891}', 10), (b'{"A":1}', 0), (b'{"A":2.}', 0)]
)
def test_the_longest_fraction_counts_that_of_the_last_row(text: bytes, digits: int) -> None:
    """Else a page whose last number alone is long is read three times."""
    assert longest_fraction(text) == digits
