"""Rows of a delta, and how they are merged, without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacnb._frames.convert import arrow_schema
from sacnb._odata.schema import Column
from sacnb._track.delta import Delta, Doubt, _deleted, _is_deleted, key_in_id
from sacnb._track.merge import merge, rows_that_differ

KEYS = (Column("Version", "Edm.String", "dimension"), Column("Date", "Edm.String", "dimension"))
COLUMNS = (*KEYS, Column("Amount", "Edm.Decimal", "measure", precision=5, scale=1))
KEY = {"Version": "public.Actual", "Date": "202401"}


def table(*rows: tuple[Any, ...], columns: tuple[Column, ...] = COLUMNS) -> pa.Table:
    names = [column.name for column in columns]
    return pa.Table.from_pylist([dict(zip(names, one, strict=True)) for one in rows], arrow_schema(columns))


def keys(*rows: tuple[Any, ...]) -> tuple[tuple[pa.Table, ...], ...]:
    return tuple((table(one, columns=KEYS),) for one in rows)


@pytest.mark.parametrize(
    "text",
    [
        "FactData(Version='public.Actual',Date='202401')",
        "FactData(Date='202401',Version='public.Actual')",
        "https://acme.example/api/v1/dataexport/providers/sac/M/FactData(Version='public.Actual',Date='202401')",
        "/FactData(Version='public.Actual',Date='202401')",
    ],
)
def test_the_key_in_an_id(text: str) -> None:
    assert key_in_id(text, "FactData", KEYS) == KEY


def test_the_name_of_an_only_dimension_may_be_left_out() -> None:
    assert key_in_id("FactData('x,y=(z)')", "FactData", KEYS[:1]) == {"Version": "x,y=(z)"}
    assert key_in_id("FactData(null)", "FactData", KEYS[:1]) == {"Version": None}


@settings(max_examples=15)
@given(st.text(max_size=8), st.text(max_size=8))
def test_any_member_is_found_again(version: str, date: str) -> None:
    quoted = [value.replace("'", "''") for value in (version, date)]
    text = "FactData(Version='{}',Date='{}')".format(*quoted)
    assert key_in_id(text, "FactData", KEYS) == {"Version": version, "Date": date}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FactData",
        "FactData()",
        "FactData(Version='public.Actual')",
        "FactData(Version='public.Actual',Date='202401',Region='x')",
        "FactData(Version='a',Version='b',Date='c')",
        "FactData(Version='public.Actual',Date='202401'",
        "FactData(Version='public.Actual',Date='202401'),",
        "FactData(Version='public.Actual',Date='202401',)",
        "FactData('public.Actual','202401')",
        "OtherFactData(Version='public.Actual',Date='202401')",
        "FactData(Version='it's',Date='202401')",
    ],
)
def test_an_id_that_is_something_else(text: str) -> None:
    with pytest.raises(Doubt, match="cannot be read"):
        key_in_id(text, "FactData", KEYS)


def test_an_id_may_be_percent_encoded() -> None:
    text = f"FactData(Version='{quote('50% off')}',Date='%23')"
    raw, decoded = _deleted({"id": text}, "FactData", KEYS)
    assert raw.to_pylist() == [{"Version": "50%25%20off", "Date": "%23"}]
    assert decoded.to_pylist() == [{"Version": "50% off", "Date": "#"}]


@pytest.mark.parametrize("name", ["id", "@id", "@odata.id"])
def test_the_names_of_an_id(name: str) -> None:
    (found,) = _deleted({name: "FactData(Version='public.Actual',Date='202401')"}, "FactData", KEYS)
    assert found.to_pylist() == [KEY]


def test_a_deleted_row_may_have_its_key_as_members() -> None:
    (found,) = _deleted({"@removed": {}, **KEY}, "FactData", KEYS)
    assert found.to_pylist() == [KEY]


@pytest.mark.parametrize(
    ("row", "is_deleted"),
    [
        ({"@odata.context": "#FactData/$entity"}, False),
        ({"@odata.context": "$metadata#FactData/$entity"}, False),
        ({"@odata.context": "$metadata#FactData"}, False),
        ({}, False),
        ({"@odata.context": "#FactData/$deletedEntity"}, True),
        ({"@context": "#FactData/$deletedEntity"}, True),
        ({"@removed": {"reason": "changed"}}, True),
        ({"@odata.removed": None}, True),
    ],
)
def test_changed_and_deleted_rows_are_told_apart(row: dict[str, Any], is_deleted: bool) -> None:
    assert _is_deleted(row, "FactData") is is_deleted


@pytest.mark.parametrize("context", ["#FactData/$link", "#FactData/$deletedLink", "#OtherData/$entity", "?"])
def test_a_row_of_another_kind(context: str) -> None:
    with pytest.raises(Doubt, match="of the kind"):
        _is_deleted({"@odata.context": context}, "FactData")


BASE = table(("A", "1", 1), ("A", "2", 2), ("A", "3", None), ("B", "%23", 4))


def test_rows_stay_in_their_places_and_new_ones_come_last() -> None:
    delta = Delta(table(("A", "9", 9), ("A", "1", 7)), keys(("A", "2"), ("Z", "0")))
    merged = merge(BASE, delta, COLUMNS)
    assert merged.table.equals(table(("A", "1", 7), ("A", "3", None), ("B", "%23", 4), ("A", "9", 9)))
    assert merged.deleted.equals(table(("A", "2"), columns=KEYS))


def test_merging_twice_does_no_harm() -> None:
    delta = Delta(table(("A", "9", 9), ("A", "1", 7)), keys(("A", "2")))
    once = merge(BASE, delta, COLUMNS).table
    assert merge(once, delta, COLUMNS).table.equals(once)


def test_a_row_that_comes_twice_counts_once() -> None:
    delta = Delta(table(("A", "1", 7), ("A", "9", 9), ("A", "1", 7)), keys(("A", "2"), ("A", "2")))
    merged = merge(BASE, delta, COLUMNS)
    assert (len(merged.table), len(merged.changed), len(merged.deleted)) == (4, 2, 1)


def test_an_encoded_id_finds_its_row() -> None:
    either = (table(("A", "%31"), columns=KEYS), table(("A", "1"), columns=KEYS))
    assert len(merge(BASE, Delta(table(), (either,)), COLUMNS).table) == 3


def test_a_wider_number_gives_its_type_back() -> None:
    wide = pa.table([["A"], ["1"], pa.array([123456], pa.decimal128(20, 1))], schema=pa.schema(
        [*arrow_schema(KEYS), arrow_schema(COLUMNS).field(2).with_type(pa.decimal128(20, 1))]
    ))  # fmt: skip
    wider = merge(BASE, Delta(wide), COLUMNS).table
    assert wider.schema.field("Amount").type == pa.decimal128(20, 1)
    assert merge(wider, Delta(table(("A", "1", 1))), COLUMNS).table.equals(BASE)


@pytest.mark.parametrize(
    ("base", "delta", "why"),
    [
        (BASE, lambda: Delta(table(("A", "1", 7), ("A", "1", 8))), "changed twice"),
        (BASE, lambda: Delta(table(("A", "1", 7)), keys(("A", "1"))), "both changed and deleted"),
        (BASE, lambda: Delta(table(("N", "1", 7)), keys(("N", "1"))), "both changed and deleted"),
        (BASE, lambda: Delta(table(("A", "1", None)), (), {0: frozenset({"Amount"})}), "leaves out 'Amount'"),
        (table(("A", "1", 1), ("A", "1", 2)), lambda: Delta(table(("A", "1", 7))), "several rows for a key"),
        (
            table(("A", "%31", 1), ("A", "1", 2)),
            lambda: Delta(table(), ((table(("A", "%31"), columns=KEYS), table(("A", "1"), columns=KEYS)),)),
            "fits two rows",
        ),
    ],
)
def test_what_is_not_certain_is_not_merged(base: pa.Table, delta: Callable[[], Delta], why: str) -> None:
    with pytest.raises(Doubt, match=why):
        merge(base, delta(), COLUMNS)


def test_a_measure_left_out_that_was_empty_is_empty() -> None:
    delta = Delta(table(("A", "3", None), ("N", "1", None)), (), dict.fromkeys((0, 1), frozenset({"Amount"})))
    assert len(merge(BASE, delta, COLUMNS).table) == 5


def test_rows_that_differ_are_counted_on_both_sides() -> None:
    other = table(("A", "3", None), ("A", "2", 2), ("A", "1", 7), ("C", "1", 1))
    assert rows_that_differ(BASE, BASE.take(pa.array([3, 1, 0, 2]))) == 0
    assert rows_that_differ(BASE, other) == 4
    but_for = (table(("A", "1", 0)), table(("C", "1"), columns=KEYS))
    assert rows_that_differ(BASE, other, but_for=but_for) == 1
