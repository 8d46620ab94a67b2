"""Filters are built with Python's operators, frozen, readable, and mean in OData what they mean in Python."""

from __future__ import annotations

import datetime
import math
import operator
import uuid
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from datetime import UTC, date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odata_query import ast
from odata_query.grammar import ODataLexer, ODataParser

from sacnb._odata.expression import Comparison, Expression, Membership, col
from sacnb._odata.query import canonical_filter, is_never, to_odata
from sacnb._odata.schema import Column, Schema
from sacnb._odata.where import both, columns_of, fixed_columns, from_where, members_named, under
from sacnb.errors import QueryError, UnknownNameError

Judge = Callable[[Expression, Mapping[str, Any]], bool]

a, b, c = col("Sector") == "a", col("Sector") == "b", col("Employees") > 1


WRITTEN: list[tuple[Expression, str]] = [
    (col("Sector") == "31", "Sector eq '31'"),
    (operator.eq("31", col("Sector")), "Sector eq '31'"),
    (col("Sector") != "31", "Sector ne '31'"),
    (col("Employees") < 5, "Employees lt 5"),
    (operator.lt(5, col("Employees")), "Employees gt 5"),
    (col("Employees") <= Decimal("5.10"), "Employees le 5.1"),
    (col("Employees") >= 5, "Employees ge 5"),
    (col("Sector") == None, "Sector eq null"),  # noqa: E711
    (col("Sector") != None, "Sector ne null"),  # noqa: E711
    (col("Sector").is_in(["31"]), "Sector eq '31'"),
    (col("Sector").is_in(["31", "32", "31"]), "Sector eq '31' or Sector eq '32'"),
    (col("Sector").is_in({"b", "a", None}), "Sector eq null or Sector eq 'a' or Sector eq 'b'"),
    (col("Employees").is_in([1, 1.0, Decimal("1.00")]), "Employees eq 1"),
    (col("Sector").is_in([]), "false"),
    (~col("Sector").is_in([]), ""),
    (col("Sector").between("a", "b"), "Sector ge 'a' and Sector le 'b'"),
    (col("Sector").contains("O'H"), "contains(Sector,'O''H')"),
    (col("Sector").startswith("x"), "startswith(Sector,'x')"),
    (col("Sector").endswith(""), "endswith(Sector,'')"),
    (col("Odd").contains("x"), "contains(Odd,'x')"),
    (~a, "not (Sector eq 'a')"),
    (~~a, "Sector eq 'a'"),
    (~(a & c), "not (Sector eq 'a' and Employees gt 1)"),
    (a & b & c, "Sector eq 'a' and Sector eq 'b' and Employees gt 1"),
    (a | b & c, "Sector eq 'a' or (Sector eq 'b' and Employees gt 1)"),
    ((a | b) & c, "(Sector eq 'a' or Sector eq 'b') and Employees gt 1"),
    (c & col("Sector").is_in(["a", "b"]), "Employees gt 1 and (Sector eq 'a' or Sector eq 'b')"),
    (c & col("Sector").is_in(["a"]), "Employees gt 1 and Sector eq 'a'"),
    (a | col("Sector").is_in(["a", "b"]), "Sector eq 'a' or Sector eq 'b'"),
    (a & col("Sector").is_in([]), "false"),
    (a | col("Sector").is_in([]), "Sector eq 'a'"),
    (a | ~col("Sector").is_in([]), ""),
    (a & ~col("Sector").is_in([]), "Sector eq 'a'"),
    (col("Sector").is_in([]) | col("Date").is_in([]), "false"),
    (~col("Sector").is_in([]) & ~col("Date").is_in([]), ""),
    (~(a | ~col("Sector").is_in([])), "false"),
    ((a & a) & a, "Sector eq 'a'"),
]


@pytest.mark.parametrize(("expression", "expected"), WRITTEN, ids=lambda v: str(v)[:60])
def test_an_expression_is_written_as_odata(schema: Schema, expression: Expression, expected: str) -> None:
    assert to_odata(expression, schema) == expected
    assert is_never(expression, schema) is (expected == "false")
    assert eval(repr(expression)) == expression


@pytest.mark.parametrize(
    "value",
    [
        "O'Hare \\ \" #",
        Decimal("1.50"),
        date(2010, 1, 31),
        datetime.datetime(2010, 1, 31, 8, tzinfo=UTC),
        datetime.time(8, 30),
        timedelta(days=1, seconds=5),
        uuid.UUID(int=5),
        b"\x00",
        None,
        True,
        -1.5,
    ],
    ids=repr,
)
def test_the_repr_is_python_that_builds_it_again(value: Any) -> None:
    expression = ~((col("x") == value) & col("y").is_in([value, "z"])) | col("x").contains("'")
    names = {"col": col, "datetime": datetime, "Decimal": Decimal, "UUID": uuid.UUID}
    again = eval(repr(expression).replace("datetime.timezone.utc", "datetime.UTC"), names)
    assert again == expression
    assert hash(again) == hash(expression)


def test_an_expression_is_a_frozen_value_and_can_be_a_key() -> None:
    assert {a & b: 1}[(col("Sector") == "a") & (col("Sector") == "b")] == 1
    assert a != b
    assert (a | b) != (a & b)
    with pytest.raises(FrozenInstanceError):
        a.value = "b"  # type: ignore[attr-defined]


class Sector(StrEnum):
    RETAIL = "42"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(2**62), 2**62),
        (np.float64(0.1), 0.1),
        (np.str_("31"), "31"),
        (np.bool_(True), True),
        (Sector.RETAIL, "42"),
        (
            pd.Timestamp("2010-01-31T08:00:00.5", tz="UTC"),
            datetime.datetime(2010, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC),
        ),
    ],
    ids=repr,
)
def test_scalars_of_other_libraries_become_pythons_own(value: Any, plain: Any) -> None:
    comparison = col("x") == value
    assert comparison == Comparison("x", "eq", plain)
    assert type(comparison.value) is type(plain)


@pytest.mark.parametrize(
    "values",
    [("a", "b"), iter(["a", "b"]), np.array(["a", "b"]), pd.Series(["a", "b"]), pl.Series(["a", "b"]), {"b", "a"}],
    ids=lambda v: type(v).__name__,
)
def test_any_list_of_values_will_do(values: Any) -> None:
    assert col("x").is_in(values) == Membership("x", ("a", "b"))
    assert from_where({"x": ["a", "b"]}) == Membership("x", ("a", "b"))


NOT_A_NUMBER = math.nan
MISUSED: list[tuple[str, Callable[[], object], str]] = [
    ("and", lambda: a and b, "Join conditions with & | ~"),
    ("not", lambda: not a, "Join conditions with & | ~"),
    ("chained", lambda: "a" < col("Sector") < "b", r"col\('x'\).between"),
    ("truth of a column", lambda: bool(col("Sector")), "truth value"),
    ("missing parentheses", lambda: (col("a") == 1) & "x", "parentheses"),  # type: ignore[operator]
    ("or with a value", lambda: a | True, "parentheses"),  # type: ignore[operator]
    ("less than None", lambda: col("Sector") < None, "no value"),
    ("between None", lambda: col("Sector").between(None, "b"), "no value"),
    ("is_in of text", lambda: col("Sector").is_in("abc"), "list of values"),
    ("is_in of bytes", lambda: col("Sector").is_in(b"abc"), "list of values"),
    ("is_in of a dict", lambda: col("Sector").is_in({"a": 1}), "list of values"),
    ("is_in of a number", lambda: col("Sector").is_in(5), "list of values"),  # type: ignore[arg-type]
    ("is_in of lists", lambda: col("Sector").is_in([["a"]]), "plain values"),
    ("column against column", lambda: col("a") == col("b"), "plain values"),
    ("column against condition", lambda: col("a") == a, "plain values"),
    ("a list", lambda: col("a") == ["b"], "plain values"),
    ("NaN", lambda: col("a") == NOT_A_NUMBER, "NaN"),
    ("decimal NaN", lambda: col("a") == Decimal("NaN"), "NaN"),
    ("signalling NaN", lambda: col("a") == Decimal("sNaN"), "NaN"),
    ("numpy NaN", lambda: col("a") < np.float64("nan"), "NaN"),
    ("NaT", lambda: col("a") == pd.NaT, "microseconds"),
    ("nanoseconds", lambda: col("a") == pd.Timestamp("2010-01-01T00:00:00.000000001"), "microseconds"),
    (
        "a numpy date with nanoseconds",
        lambda: col("a") == np.datetime64("2010-01-01T00:00:00.000000001"),
        "plain values",
    ),
    ("contains a number", lambda: col("a").contains(5), "text was expected"),  # type: ignore[arg-type]
    ("a number without end", lambda: col("a") == 10**5000, "bits"),
    ("no name", lambda: col(""), "expects a column name"),
    ("a number as name", lambda: col(5), "expects a column name"),  # type: ignore[arg-type]
    ("where of text", lambda: from_where("Sector eq '31'"), "Give a dict"),  # type: ignore[arg-type]
    ("where of a column", lambda: from_where(col("a")), "Give a dict"),  # type: ignore[arg-type]
    ("where of a condition", lambda: from_where({"a": col("a") > 5}), "joined with &"),
    ("where of a reference", lambda: from_where({"a": col("b")}), "joined with &"),
    ("where of a slice", lambda: from_where({"a": slice(1, 2)}), "plain values"),
    ("where of a number", lambda: from_where({5: "a"}), "expects a column name"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("do", "message"), [pytest.param(do, m, id=name) for name, do, m in MISUSED])
def test_misuse_is_refused_with_the_way_out(do: Callable[[], object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        do()


def test_values_that_are_equal_but_not_the_same_are_kept_apart() -> None:
    assert [type(value) for value in col("x").is_in([1, True, 1, True]).values] == [int, bool]


def test_a_column_reference_is_no_key_and_shows_itself() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(col("a"))
    assert repr(col("a")) == "col('a')"


def test_an_unknown_column_names_the_nearest(schema: Schema) -> None:
    for expression in (
        col("sector") == "a",
        col("sector").is_in([]),
        col("sector").contains("a"),
        ~(a & (col("sector") > "1")),
    ):
        with pytest.raises(UnknownNameError) as caught:
            to_odata(expression, schema)
        assert caught.value.nearest[0] == "Sector"


@pytest.mark.parametrize("name", ["Employees", "Int32", "Flag", "Day", "Instant", "Id"])
def test_text_is_not_looked_for_where_there_is_none(schema: Schema, name: str) -> None:
    with pytest.raises(QueryError, match="not text"):
        to_odata(col(name).contains("1"), schema)


def test_something_else_than_an_expression_is_refused(schema: Schema) -> None:
    with pytest.raises(QueryError, match="not a condition"):
        to_odata("Sector eq '31'", schema)  # type: ignore[arg-type]


WHERE: list[tuple[Any, Expression | None]] = [
    (None, None),
    ({}, None),
    (a, a),
    ({"x": "a"}, col("x") == "a"),
    ({"x": None}, col("x") == None),  # noqa: E711
    ({"x": 5}, col("x") == 5),
    ({"x": False}, col("x") == False),  # noqa: E712
    ({"x": b"a"}, col("x") == b"a"),
    ({"x": ["a", None]}, col("x").is_in(["a", None])),
    ({"x": ()}, col("x").is_in([])),
    ({"x": {"a"}}, col("x").is_in(["a"])),
    ({"x": range(2)}, col("x").is_in([0, 1])),
    ({"x": "a", "y": [1, 2]}, (col("x") == "a") & col("y").is_in([1, 2])),
]


@pytest.mark.parametrize(("where", "expected"), WHERE, ids=lambda v: repr(v)[:40])
def test_where_is_a_dict_or_an_expression(where: Any, expected: Expression | None) -> None:
    assert from_where(where) == expected


def test_two_filters_are_joined_where_there_are_two() -> None:
    assert both(None, None) is None
    assert both(a, None) is a
    assert both(None, b) is b
    assert both(a, b) == a & b


@pytest.mark.parametrize(
    "same",
    [
        (a & b & c, c & (b & a), (b & c) & a & b),
        (a | b, b | a, col("Sector").is_in(["b", "a"]), col("Sector").is_in(("a", "b", "a")), a | (b | a)),
        ((a | b) & c, c & col("Sector").is_in(["b", "a"])),
        (~(a | b), ~col("Sector").is_in({"a", "b"})),
        (a, col("Sector").is_in(["a"]), a | col("Date").is_in([]), a & ~col("Date").is_in([])),
        (col("Employees") == 1, col("Employees") == 1.0, col("Employees") == Decimal("1.00")),
        (col("Sector").is_in([]), a & col("Sector").is_in([])),
    ],
    ids=repr,
)
def test_the_canonical_text_does_not_depend_on_how_it_was_said(schema: Schema, same: tuple[Expression, ...]) -> None:
    assert len({canonical_filter(one, schema) for one in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a & b, a | b),
        (a, ~a),
        (a, b),
        (a & (b | c), (a & b) | c),
        (~(a & c), ~a & c),
        (col("Sector").is_in([]), ~col("Sector").is_in([])),
        (col("Sector") == None, col("Sector") == "null"),  # noqa: E711
        (col("Sector") == "a' or Sector eq 'b", a | b),
        (col("Sector") == " a", a),
    ],
)
def test_the_canonical_text_tells_different_questions_apart(schema: Schema, one: Expression, other: Expression) -> None:
    assert canonical_filter(one, schema) != canonical_filter(other, schema)


# From here on: what is written means in OData what it means in Python, by an independent parser of OData.

ROWS = Schema("P", "FactData", (Column("T", "Edm.String", "dimension"), Column("N", "Edm.Decimal", "measure")))
texts = st.sampled_from(["", "#", "31", "O'Hare", " and ", "or", "x eq 'y'", "%", "é", "31 "])
numbers = st.sampled_from([Decimal(-1), Decimal(0), Decimal("0.1"), Decimal(5)])
leaves = st.one_of(
    st.builds(lambda v: col("T") == v, st.none() | texts),
    st.builds(lambda v: col("T") != v, st.none() | texts),
    st.builds(lambda v: col("N") == v, st.none() | numbers),
    st.builds(lambda v: col("N") < v, numbers),
    st.builds(lambda v: col("N") >= v, numbers),
    st.builds(lambda v, w: col("N").between(v, w), numbers, numbers),
    st.builds(lambda v: col("T").is_in(v), st.lists(st.none() | texts, max_size=4)),
    st.builds(lambda v: col("N").is_in(v), st.lists(st.none() | numbers, max_size=3)),
    st.builds(lambda f, v: getattr(col("T"), f)(v), st.sampled_from(["contains", "startswith", "endswith"]), texts),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda x: ~x, inner),
        st.builds(lambda x, y: x & y, inner, inner),
        st.builds(lambda x, y: x | y, inner, inner),
    ),
    max_leaves=12,
)
rows = st.fixed_dictionaries({"T": st.none() | texts, "N": st.none() | numbers})


def understood(node: Any) -> Expression:
    """An OData parser's tree as an expression."""
    match node:
        case ast.BoolOp(op, left, right):
            return (
                understood(left) & understood(right)
                if isinstance(op, ast.And)
                else understood(left) | understood(right)
            )
        case ast.UnaryOp(ast.Not(), operand):
            return ~understood(operand)
        case ast.Compare(sign, ast.Identifier(name), value):
            operators = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
            return Comparison(name, operators[type(sign)], constant(value))  # type: ignore[arg-type]
        case ast.Call(ast.Identifier(function), [ast.Identifier(name), ast.String(text)]):
            return getattr(col(name), function)(text)  # type: ignore[no-any-return]
    raise AssertionError(node)


def constant(node: Any) -> Any:
    match node:
        case ast.Null():
            return None
        case ast.String(text):
            return text
        case ast.UnaryOp(ast.USub(), operand):
            return -constant(operand)
        case _:
            return Decimal(node.val)


@given(trees, rows)
def test_an_independent_parser_understands_the_same(judge: Judge, expression: Expression, row: dict[str, Any]) -> None:
    for text in (to_odata(expression, ROWS), canonical_filter(expression, ROWS)):
        if text in ("", "true", "false"):
            kept = text != "false"
        else:
            kept = judge(understood(ODataParser().parse(ODataLexer().tokenize(text))), row)
        assert kept == judge(expression, row)


@given(trees)
def test_the_repr_of_every_tree_builds_it_again(expression: Expression) -> None:
    assert eval(repr(expression)) == expression


@given(trees, trees)
def test_the_order_of_operands_is_not_in_the_canonical_text(one: Expression, other: Expression) -> None:
    assert (canonical_filter(one & other, ROWS)) == canonical_filter(other & one, ROWS)
    assert (canonical_filter(one | other, ROWS)) == canonical_filter(other | one, ROWS)


@pytest.mark.parametrize(
    ("where", "columns", "fixed", "named"),
    [
        (None, set(), set(), {}),
        (col("A") == "x", {"A"}, {"A"}, {"A": {"x"}}),
        (col("A") > "x", {"A"}, set(), {}),
        (col("A") == 3, {"A"}, {"A"}, {}),
        (col("A").is_in(["x"]), {"A"}, {"A"}, {"A": {"x"}}),
        (col("A").is_in(["x", "y"]), {"A"}, set(), {"A": {"x", "y"}}),
        (~(col("A") == "x"), {"A"}, set(), {}),
        ((col("A") == "x") | (col("B") == "y"), {"A", "B"}, set(), {}),
        ((col("A") == "x") & col("B").is_in(["y", "z"]), {"A", "B"}, {"A"}, {"A": {"x"}, "B": {"y", "z"}}),
    ],
)
def test_a_filter_tells_what_it_is_about(
    where: Expression | None, columns: set[str], fixed: set[str], named: dict[str, set[str]]
) -> None:
    assert columns_of(where) == columns
    assert fixed_columns(where) == fixed
    assert members_named(where) == named


def test_a_member_with_those_below_it_shows_how_it_was_made() -> None:
    assert [repr(under("30")), repr(under("30", "H2"))] == ["under('30')", "under('30', 'H2')"]
