"""``$filter`` compared with plain Python row by row, and damaged filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb.sandbox import Column
from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.schema import polars_type

Row = dict[str, Any]

COLUMNS = [
    Column("Flag", "Edm.Boolean"),
    Column("Number", "Edm.Int32"),
    Column("Money", "Edm.Decimal", precision=9, scale=2),
    Column("Day", "Edm.Date"),
    Column("Region"),
    Column("Channel"),
]
OPERATORS = ["eq", "ne", "lt", "le", "gt", "ge"]
VALUES: dict[str, list[Any]] = {
    "Flag": [True, False, None],
    "Number": [-3, 0, 7, None],
    "Money": [Decimal("-0.01"), Decimal("0.00"), Decimal("12.50"), None],
    "Day": [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), None],
    "Region": ["", "a", "ab", "O'Hare", None],
    "Channel": ["a", "b", None],
}


@dataclass(frozen=True)
class Filter:
    """A filter as text, and its truth for a row: True, False, or None where it is unknown."""

    text: str
    truth: Callable[[Row], bool | None]


def _written(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "'" + value.replace("'", "''") + "'"
    return str(value)


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator in {"eq", "ne"}:
        return (left == right) == (operator == "eq")
    if left is None or right is None:
        return False
    return bool({"lt": left < right, "le": left <= right, "gt": left > right, "ge": left >= right}[operator])


BLANKS = st.sampled_from([" ", " ", "  ", "\t", " \t "])
MAYBE_BLANKS = st.sampled_from(["", "", " ", "\t"])


@st.composite
def _keyword(draw: st.DrawFn, word: str) -> str:
    return draw(BLANKS) + draw(st.sampled_from([word, word, word.upper(), word.title()])) + draw(BLANKS)


@st.composite
def _comparisons(draw: st.DrawFn) -> Filter:
    name = draw(st.sampled_from(list(VALUES)))
    operator = draw(st.sampled_from(OPERATORS))
    value = draw(st.sampled_from(VALUES[name]))
    if name in {"Number", "Money"} and value is not None and draw(st.booleans()):
        value += draw(st.sampled_from([Decimal("0.005"), Decimal("-0.005"), Decimal(10**12)]))
    word = draw(_keyword(operator))
    if draw(st.booleans()):
        return Filter(f"{name}{word}{_written(value)}", lambda row: _compare(row[name], operator, value))
    return Filter(f"{_written(value)}{word}{name}", lambda row: _compare(value, operator, row[name]))


@st.composite
def _column_pairs(draw: st.DrawFn) -> Filter:
    left, right = draw(
        st.sampled_from([("Number", "Money"), ("Region", "Channel"), ("Day", "Day"), ("Money", "Money")])
    )
    operator = draw(st.sampled_from(OPERATORS))
    return Filter(f"{left}{draw(_keyword(operator))}{right}", lambda row: _compare(row[left], operator, row[right]))


@st.composite
def _calls(draw: st.DrawFn) -> Filter:
    function, test = draw(
        st.sampled_from([("contains", str.__contains__), ("startswith", str.startswith), ("endswith", str.endswith)])
    )
    part = draw(st.sampled_from(["", "a", "b", "'", ".", "%"]))
    blanks = [draw(MAYBE_BLANKS) for _ in range(4)]
    text = "{}({}Region{},{}{}{})".format(function, *blanks[:3], _written(part), blanks[3])
    return Filter(text, lambda row: None if row["Region"] is None else test(row["Region"], part))


@st.composite
def _both(draw: st.DrawFn, parts: list[Filter], word: str) -> Filter:
    text = parts[0].text
    for part in parts[1:]:
        text += draw(_keyword(word)) + part.text

    def truth(row: Row) -> bool | None:
        found = [part.truth(row) for part in parts]
        decisive = word == "or"
        return decisive if decisive in found else None if None in found else not decisive

    return Filter(text, truth)


@st.composite
def _bracketed(draw: st.DrawFn, inner: Filter) -> Filter:
    return Filter(f"({draw(MAYBE_BLANKS)}{inner.text}{draw(MAYBE_BLANKS)})", inner.truth)


@st.composite
def _negated(draw: st.DrawFn, inner: Filter) -> Filter:
    def truth(row: Row) -> bool | None:
        found = inner.truth(row)
        return None if found is None else not found

    word = draw(st.sampled_from(["not", "NOT"])) + draw(BLANKS)
    return Filter(word + draw(_bracketed(inner)).text, truth)


def _grown(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    bracketed = inner.flatmap(_bracketed)
    lists = st.lists(bracketed, min_size=2, max_size=4)
    words = st.sampled_from(["and", "or"])
    return st.one_of(inner.flatmap(_negated), st.tuples(lists, words).flatmap(lambda both: _both(*both)))


LEAVES = st.one_of(
    _comparisons(),
    _comparisons(),
    _calls(),
    _column_pairs(),
    st.just(Filter("Flag", lambda row: row["Flag"])),
    st.sampled_from([Filter("true", lambda row: True), Filter("False", lambda row: False)]),
)
FILTERS = st.recursive(LEAVES, _grown, max_leaves=8)
ROWS = st.lists(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}), max_size=12)
SCHEMA = {column.name: polars_type(column) for column in COLUMNS}


@given(wanted=FILTERS, rows=ROWS)
def test_a_filter_keeps_the_rows_that_plain_python_keeps(wanted: Filter, rows: list[Row]) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    kept = parse_filter(wanted.text, COLUMNS).keep(frame)
    assert kept.to_dicts() == [row for row in rows if wanted.truth(row) is True], wanted.text


OFF_BY = [Decimal(0), Decimal("0.005"), Decimal("-0.005"), Decimal(10**12), Decimal(-(10**12))]
EVERY = pl.DataFrame(
    {name: [values[row % len(values)] for row in range(12)] for name, values in VALUES.items()}, schema=SCHEMA
)


@pytest.mark.parametrize("name", list(VALUES))
def test_every_comparison_with_a_constant(name: str) -> None:
    for operator, value in product(OPERATORS, VALUES[name]):
        is_number = name in {"Number", "Money"} and value is not None
        for constant in [value + off for off in OFF_BY] if is_number else [value]:
            right = parse_filter(f"{name} {operator} {_written(constant)}", COLUMNS).keep(EVERY)
            left = parse_filter(f"{_written(constant)} {operator} {name}", COLUMNS).keep(EVERY)
            rows = EVERY.to_dicts()
            assert right.to_dicts() == [row for row in rows if _compare(row[name], operator, constant)]
            assert left.to_dicts() == [row for row in rows if _compare(constant, operator, row[name])]


@pytest.mark.parametrize(("left", "right"), [("Number", "Money"), ("Region", "Channel"), ("Day", "Day")])
def test_every_comparison_of_two_columns(left: str, right: str) -> None:
    pairs = list(product(VALUES[left], VALUES[right])) if left != right else [(day, day) for day in VALUES[left]]
    data = {left: [pair[0] for pair in pairs], right: [pair[1] for pair in pairs]}
    frame = pl.DataFrame(data, schema={name: SCHEMA[name] for name in data})
    for operator in OPERATORS:
        kept = parse_filter(f"{left} {operator} {right}", COLUMNS).keep(frame)
        assert kept.to_dicts() == [row for row in frame.to_dicts() if _compare(row[left], operator, row[right])]


DAMAGE = ["", "(", ")", "'", " ", "not ", " and ", "-", "1e9", ",", "/", "\x00", "é", "{", "null"]


@given(data=st.data(), wanted=FILTERS)
def test_a_damaged_filter_is_a_400_or_a_filter_and_never_a_crash(data: st.DataObject, wanted: Filter) -> None:
    text = wanted.text
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.sampled_from(DAMAGE)) + text[at + data.draw(st.integers(0, 3)) :]
    frame = pl.DataFrame([{name: values[0] for name, values in VALUES.items()}], schema=SCHEMA, orient="row")
    statuses: list[int] = []
    try:
        assert parse_filter(text, COLUMNS).keep(frame).height in {0, 1}
    except Refusal as refusal:
        statuses.append(refusal.status)
    assert statuses in ([], [400])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Region eq null and not (Region eq 'a')", 2),
        ("Region eq null and not (Region eq 'a' or Region eq 'b')", 2),
        ("Region eq null and Region ne 'a' and Region ne 'b'", 2),
        ("not (Region ne null) and not (Region eq 'a')", 2),
        ("Region eq null or not (Region eq 'a' or Region eq 'b')", 3),
    ],
)
def test_null_is_not_in_any_list(text: str, kept: int) -> None:
    """Polars 2.1 rewrites ``is_null(x) & ~is_in(x, ...)`` to false, so the sandbox does not filter with polars."""
    frame = pl.DataFrame({"Region": ["a", None, "c", None]})
    assert parse_filter(text, [Column("Region")]).keep(frame).height == kept


def test_days_count_as_the_calendar_of_python_does() -> None:
    days = [date(1, 1, 1) + timedelta(days=step) for step in range(0, 3_652_059, 9973)]
    days += [date(year, 2, 28) + timedelta(days=1) for year in (1600, 1900, 2000, 2023, 2024)]
    frame = pl.DataFrame({"Day": days})
    for day in days:
        assert parse_filter(f"Day eq {day.isoformat()}", COLUMNS).keep(frame)["Day"].to_list() == [day]
