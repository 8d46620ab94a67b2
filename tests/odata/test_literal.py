"""Literals are exact, quoted by the column's type, and survive the way through a URL."""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import UUID

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from odata_query import ast
from odata_query.grammar import ODataLexer, ODataParser

from sacnb._odata.literal import encode_query, literal
from sacnb._odata.schema import Column, Schema
from sacnb.errors import QueryError

GUID = UUID("01234567-89AB-cdef-0123-456789abcdef")
EAST = timezone(timedelta(hours=2))

GOOD: list[tuple[str, Any, str]] = [
    ("Sector", None, "null"),
    ("Sector", "31", "'31'"),
    ("Sector", "", "''"),
    ("Sector", "#", "'#'"),
    ("Sector", "O'Hare", "'O''Hare'"),
    ("Sector", "'", "''''"),
    ("Sector", "Pacific West ", "'Pacific West '"),
    ("Odd", "x'y", "'x''y'"),
    ("Color", "Red", "sac.Color'Red'"),
    ("Employees", 5, "5"),
    ("Employees", -5, "-5"),
    ("Employees", 0, "0"),
    ("Employees", Decimal("-0.00"), "0"),
    ("Employees", -0.0, "0"),
    ("Employees", 0.1, "0.1"),
    ("Employees", 1e22, "10000000000000000000000"),
    ("Employees", Decimal("1.50"), "1.5"),
    ("Employees", Decimal("1E+3"), "1000"),
    ("Employees", Decimal("100"), "100"),
    ("Employees", Decimal("123456789012345678901234.1234567"), "123456789012345678901234.1234567"),
    (
        "Employees",
        12345678901234567890123456789012345678901234567890,
        "12345678901234567890123456789012345678901234567890",
    ),
    ("Rate", 0.1, "0.1"),
    ("Rate", 1e-7, "0.0000001"),
    ("Rate", float("inf"), "INF"),
    ("Rate", float("-inf"), "-INF"),
    ("Small", Decimal("2.5"), "2.5"),
    ("Byte", 255, "255"),
    ("SByte", -128, "-128"),
    ("Int16", 32767, "32767"),
    ("Int32", 2.0, "2"),
    ("Int32", Decimal("2.000"), "2"),
    ("Int64", -(2**63), "-9223372036854775808"),
    ("Int64", 2**63 - 1, "9223372036854775807"),
    ("Flag", True, "true"),
    ("Flag", False, "false"),
    ("Day", date(2010, 1, 31), "2010-01-31"),
    ("Day", "2010-01-31", "2010-01-31"),
    ("Day", datetime(2010, 1, 31), "2010-01-31"),  # noqa: DTZ001
    ("Instant", datetime(2010, 1, 31, 8, tzinfo=UTC), "2010-01-31T08:00:00Z"),
    ("Instant", datetime(2010, 1, 31, 10, tzinfo=EAST), "2010-01-31T08:00:00Z"),
    ("Instant", "2010-01-31T10:00:00+02:00", "2010-01-31T08:00:00Z"),
    ("Instant", "2010-01-31T08:00:00.25Z", "2010-01-31T08:00:00.250000Z"),
    ("Clock", time(8, 30), "08:30:00"),
    ("Clock", "08:30", "08:30:00"),
    ("Lasts", timedelta(days=1, hours=2, minutes=3, seconds=4.5), "duration'P1DT7384.5S'"),
    ("Lasts", timedelta(0), "duration'P0DT0S'"),
    ("Lasts", -timedelta(seconds=90), "duration'-P0DT90S'"),
    ("Lasts", "PT1M30S", "duration'P0DT90S'"),
    ("Lasts", "-P1DT1H0.5S", "duration'-P1DT3600.5S'"),
    ("Id", GUID, "01234567-89ab-cdef-0123-456789abcdef"),
    ("Id", "{01234567-89AB-CDEF-0123-456789ABCDEF}", "01234567-89ab-cdef-0123-456789abcdef"),
    ("Blob", b"\x00\xff\xfe", "binary'AP_-'"),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD, ids=lambda v: repr(v)[:40])
def test_a_value_is_written_as_its_column_wants_it(schema: Schema, name: str, value: Any, expected: str) -> None:
    assert literal(value, schema.column(name)) == expected


MISFITS: list[tuple[str, Any, str]] = [
    ("Sector", 31, "Write it as SAC does, for example '31'"),
    ("Sector", 31.5, "'31.5'"),
    ("Sector", True, "expected text in quotes"),
    ("Date", date(2010, 1, 1), "use since= and until="),
    ("Odd", 5, "expected text"),
    ("Employees", "5", "expected a finite number"),
    ("Employees", True, "expected a finite number"),
    ("Employees", float("inf"), "expected a finite number"),
    ("Employees", float("nan"), "expected a finite number"),
    ("Employees", Decimal("sNaN"), "expected a finite number"),
    ("Employees", Decimal("1E+500"), "more than 400 digits"),
    ("Employees", 10**500, "more than 400 digits"),
    ("Rate", float("nan"), "expected a number"),
    ("Rate", "fast", "expected a number"),
    ("Int32", 2.5, "a whole number from -2147483648 to 2147483647"),
    ("Int32", 2**31, "a whole number"),
    ("Int64", -(2**63) - 1, "a whole number"),
    ("Byte", -1, "a whole number from 0 to 255"),
    ("Int16", "7", "a whole number"),
    ("Int16", float("nan"), "a whole number"),
    ("Flag", 1, "True or False"),
    ("Flag", "true", "True or False"),
    ("Day", "2010-02-30", "a date"),
    ("Day", "20100131", "a date"),
    ("Day", datetime(2010, 1, 31, 8), "a date"),  # noqa: DTZ001
    ("Day", 2010, "a date"),
    ("Instant", datetime(2010, 1, 31), "does not say its time zone"),  # noqa: DTZ001
    ("Instant", "2010-01-31T08:00:00", "does not say its time zone"),
    ("Instant", "soon", "a datetime with a time zone"),
    ("Instant", date(2010, 1, 31), "a datetime with a time zone"),
    ("Clock", time(8, tzinfo=UTC), "a time"),
    ("Clock", "25:00", "a time"),
    ("Lasts", "P", "a timedelta"),
    ("Lasts", "PT", "a timedelta"),
    ("Lasts", "1 day", "a timedelta"),
    ("Lasts", 60, "a timedelta"),
    ("Id", "not-a-guid", "a UUID"),
    ("Id", 7, "a UUID"),
    ("Blob", "text", "bytes"),
    ("Tags", "a", "cannot be compared"),
]


@pytest.mark.parametrize(("name", "value", "message"), MISFITS, ids=lambda v: repr(v)[:40])
def test_a_value_that_does_not_fit_is_refused_with_the_column_and_what_was_expected(
    schema: Schema, name: str, value: Any, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        literal(value, schema.column(name))
    assert message in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("bad", ["a\x00b", "tab\there", "line\nend", "\x7f", "\x85", "half \ud800 pair", "\udfff"])
def test_text_that_no_url_should_carry_is_refused_by_both(schema: Schema, bad: str) -> None:
    with pytest.raises(QueryError, match="'Sector'"):
        literal(bad, schema.column("Sector"))
    with pytest.raises(QueryError, match=r"\$filter"):
        encode_query([("$filter", bad)])


def test_what_the_caller_holds_as_numpy_float_is_exact(schema: Schema) -> None:
    class LikeNumpy(float):
        def __repr__(self) -> str:
            return "np.float64(0.1)"

    assert literal(LikeNumpy(0.1), schema.column("Employees")) == "0.1"


numbers = st.decimals(allow_nan=False, allow_infinity=False, places=7, min_value=-(10**30), max_value=10**30)
sendable = st.text(st.characters(exclude_categories=("Cs", "Cc")))


def parsed(text: str) -> Any:
    """What an independent OData parser makes of a literal."""
    tree = ODataParser().parse(ODataLexer().tokenize(f"x eq {text}"))
    assert isinstance(tree, ast.Compare)
    node, sign = tree.right, ""
    if isinstance(node, ast.UnaryOp):
        node, sign = node.operand, "-"
    return Decimal(sign + node.val) if isinstance(node, ast.Integer | ast.Float) else node.val


@given(sendable)
def test_an_odata_parser_reads_back_the_text(value: str) -> None:
    assert parsed(literal(value, Column("x", "Edm.String", "dimension"))) == value


@given(numbers)
def test_an_odata_parser_reads_back_every_digit(value: Decimal) -> None:
    assert parsed(literal(value, Column("x", "Edm.Decimal", "measure"))) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_as_itself(value: float) -> None:
    assert float(literal(value, Column("x", "Edm.Double", "measure"))) == value


@given(st.timedeltas(min_value=timedelta(days=-9_000_000), max_value=timedelta(days=9_000_000)))
def test_a_duration_reads_back_as_itself(value: timedelta) -> None:
    column = Column("x", "Edm.Duration", "attribute")
    text = literal(value, column)
    assert literal(text.removeprefix("duration'").removesuffix("'"), column) == text
    assert parsed(text) == text.removeprefix("duration'").removesuffix("'")


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], ""),
        ([("$top", "5"), ("pagesize", "10")], "$top=5&pagesize=10"),
        ([("$filter", "Region eq '#'")], "$filter=Region%20eq%20'%23'"),
        ([("$filter", "a eq '1+1=2&3%;?'")], "$filter=a%20eq%20'1%2B1%3D2%263%25%3B%3F'"),
        ([("$select", "A,B")], "$select=A,B"),
        ([("$filter", "a eq '$x'")], "$filter=a%20eq%20'%24x'"),
        ([("$filter", "Zürich")], "$filter=Z%C3%BCrich"),
    ],
)
def test_the_query_is_encoded_as_sac_wants_it(pairs: list[tuple[str, str]], expected: str) -> None:
    assert encode_query(pairs) == expected


@given(st.lists(st.tuples(st.text(string.ascii_letters + "$", min_size=1), sendable), min_size=1))
def test_what_is_encoded_comes_out_as_it_was_and_requests_leaves_it_alone(pairs: list[tuple[str, str]]) -> None:
    text = encode_query(pairs)
    assert set(text) <= set(string.ascii_letters + string.digits + "-._~%$&='(),:/")
    assert parse_qsl(text, keep_blank_values=True, strict_parsing=True) == pairs
    url = f"https://acme.eu10.hcs.cloud.sap/api/v1/dataexport/providers/sac/X/FactData?{text}"
    assert requests.Request("GET", url).prepare().url == url


@given(sendable)
def test_each_byte_is_read_back_also_where_plus_is_no_blank(value: str) -> None:
    assert unquote(encode_query([("x", value)]).removeprefix("x=")) == value


def test_every_type_that_has_a_rule_is_in_the_table_above(schema: Schema) -> None:
    from sacnb._odata.schema import EDM_PRIMITIVES

    covered: set[str] = {schema.column(name).edm_type for name, value, _ in GOOD if value is not None}
    refused: set[str] = {schema.column(name).edm_type for name, _, _ in MISFITS}
    assert covered >= EDM_PRIMITIVES
    assert refused >= EDM_PRIMITIVES - {"Edm.SByte", "Edm.Single"}
