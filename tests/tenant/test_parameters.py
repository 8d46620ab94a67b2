"""Parameters of SQL are values and nothing else, whatever they hold and wherever a colon stands."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacnb._tenant.question import bind, parameter_names
from sacnb.errors import QueryError, UnknownNameError


def run(query: str, **values: object) -> list[tuple[Any, ...]]:
    frame = pl.DataFrame({"name": ["a", "it's", ":x", "--", "#"], "number": [1, -5, 3, 4, 5]})
    rows: pl.DataFrame = pl.SQLContext({"t": frame}).execute(bind(query, values), eager=True)
    return rows.rows()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("select 1", ()),
        ("select :a, :b, :a", ("a", "b")),
        ("where x>=:start and y in :list_1", ("start", "list_1")),
        ("select ':no', ':a'':b', 'x' || :yes", ("yes",)),
        ('select ":no", ":a"":b" as "::" from :yes', ("yes",)),
        ("select `:no`, :yes", ("yes",)),
        ("select x::int, x::date = :yes::date", ("yes",)),
        ("select x -- :no 'it's\n, :yes", ("yes",)),
        ("select /* :no ' */ :yes", ("yes",)),
        ("select /* a /* :no */ :no */ :yes", ("yes",)),
        ("select $$ :no ' $$, $tag$ :no $$ :no $tag$, :yes", ("yes",)),
        ("select ':no", ()),
        ("select /* :no", ()),
        ("select :größe, :_x, : y, :1", ("größe", "_x")),
        ("select ':', ':', :yes", ("yes",)),
    ],
)
def test_where_parameters_are_and_where_not(query: str, names: tuple[str, ...]) -> None:
    assert parameter_names(query) == names


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("text", "'text'"),
        ("O'Hare; drop -- /* :x", "'O''Hare; drop -- /* :x'"),
        ("back\\", "'back\\'"),
        (7, "7"),
        (-7, "-7"),
        (2.0, "2.0"),
        (1e-7, "1e-07"),
        (1e300, "1e+300"),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+3"), "1000"),
        (True, "TRUE"),
        (None, "NULL"),
        (dt.date(2010, 1, 31), "DATE '2010-01-31'"),
        (dt.datetime(2010, 1, 31, 12, 30, 0, 5), "TIMESTAMP '2010-01-31 12:30:00.000005'"),  # noqa: DTZ001
        (
            dt.datetime(2010, 1, 31, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "'2010-01-31T10:00:00Z'::TIMESTAMPTZ",
        ),
        (dt.time(12, 30), "TIME '12:30:00'"),
        (UUID(int=1), "'00000000-0000-0000-0000-000000000001'"),
        (b"\x00\xff", "x'00ff'"),
        (np.int64(7), "7"),
        (np.str_("text"), "'text'"),
        (["a", "b", "a"], "('a', 'b')"),
        ((-1, 2), "(-1, 2)"),
        pytest.param({"b", "a"}, "('a', 'b')", id="a set, in order"),
        (pl.Series(["a", None]), "('a', NULL)"),
        (np.array([1, 2]), "(1, 2)"),
    ],
    ids=repr,
)
def test_how_values_are_written(value: object, literal: str) -> None:
    assert bind("x = :p;", {"p": value}) == f"x =  {literal} ;"


@pytest.mark.parametrize(
    ("query", "values", "says"),
    [
        ("select :a, :b", {"a": 1}, "No value for :b"),
        ("select :start", {"start": []}, "empty"),
        ("select :a", {"a": float("nan")}, "NaN"),
        ("select :a", {"a": float("inf")}, "infinity"),
        ("select :a", {"a": Decimal("-Infinity")}, "infinity"),
        ("select :a", {"a": dt.timedelta(1)}, "no literal"),
        ("select :a", {"a": dt.time(12, tzinfo=dt.UTC)}, "no literal"),
        ("select :a", {"a": {"b": 1}}, "compared with"),
        ("select :a", {"a": [["b"]]}, "compared with"),
        ("select :a", {"a": object()}, "compared with"),
    ],
)
def test_what_is_no_value(query: str, values: dict[str, object], says: str) -> None:
    with pytest.raises(QueryError, match=says):
        bind(query, values)


def test_a_value_that_is_not_used_may_be_a_slip() -> None:
    with pytest.raises(UnknownNameError, match=r"no parameter 'strat' in the query\. Did you mean 'start'") as caught:
        bind("select :start", {"start": 1, "strat": 2})
    assert caught.value.kind == "parameter"


@given(st.text())
@example("'")
@example("''; select 1 --")
@example("\\")
@example("\\'")
@example("\x00\n\r\t")
@example(":x")
@example("$$")
def test_any_text_comes_back_as_it_is(text: str) -> None:
    assert run("select :x as x, ':x' as y", x=text) == [(text, ":x")]


@given(st.lists(st.text(), min_size=1))
def test_any_list_of_texts_is_a_list_of_values(texts: list[str]) -> None:
    expected = [name for name in ("a", "it's", ":x", "--", "#") if name in texts]
    assert [name for (name,) in run("select name from t where name in :texts", texts=texts)] == expected


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_come_back_and_signs_make_no_comment(number: int) -> None:
    assert run("select 0-:n as x", n=number % 1000 - 500) == [(500 - number % 1000,)]
    assert run("select number from t where number = :n", n=number) == [(n,) for n in (1, -5, 3, 4, 5) if n == number]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_compared_as_the_same_float(number: float) -> None:
    frame = pl.DataFrame({"x": [number]})
    query = bind("select x = :n as same from t", {"n": number})
    rows: pl.DataFrame = pl.SQLContext({"t": frame}).execute(query, eager=True)
    assert rows.rows() == [(True,)]


def test_dates_and_booleans_are_typed() -> None:
    found = run(
        "select :d as d, :t as t, :b as b, :z as z", d=dt.date(2010, 1, 31), t=dt.time(1), b=False,
        z=dt.datetime(2010, 1, 31, 12, tzinfo=dt.UTC),
    )  # fmt: skip
    assert found == [(dt.date(2010, 1, 31), dt.time(1), False, dt.datetime(2010, 1, 31, 12, tzinfo=dt.UTC))]


@pytest.mark.parametrize("query", ["select ':start'", "select '{start}'", "select {start}", "select 1 -- :start"])
def test_a_parameter_in_quotes_or_braces_gets_a_hint(query: str) -> None:
    with pytest.raises(QueryError, match="Write :start without quotes and braces"):
        bind(query, {"start": "2015"})
