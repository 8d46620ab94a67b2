"""Everything that can be known before a frame is sent, and the bytes that are sent."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sales import plan

from sacnb import Model
from sacnb._write.encode import chunks
from sacnb._write.order import Order, make_order
from sacnb._write.target import Members, dates_as_written, read_import_metadata
from sacnb.errors import BadAnswer, QueryError, RowsError, SacError
from sacnb.sandbox import Sandbox


def problems(model: Model, frame: object, **arguments: Any) -> list[tuple[int | None, str, str]]:
    with pytest.raises(RowsError) as caught:
        model.write(frame, version="public.Plan", **arguments)
    found: list[tuple[int | None, str, str]] = caught.value.problems.select("row", "column", "problem").rows()
    return found


def test_all_problems_come_at_once_with_their_rows(model: Model, sandbox: Sandbox) -> None:
    frame = pl.DataFrame(
        {
            "Date": ["202401", "2024-02", "202413", "202401", "202401", "202401", "202402", "202401"],
            "Store": ["S0", "S1", "S2", "KPI", "NORTH", "s3", "x" * 21, "S0"],
            "Amount": ["1", "many", "1.12345678", "1e30", "1", "1", "1", "2"],
            "Pieces": [1, 2, 3, 4, 5, 6, 7, 8],
            "Colour": ["red"] * 8,
        }
    )
    assert problems(model, frame) == [
        (None, "Colour", "unknown column"),
        (0, "key", "duplicate key"),
        (1, "Amount", "type"),
        (1, "Date", "date format"),
        (2, "Amount", "precision"),
        (2, "Date", "date format"),
        (3, "Amount", "precision"),
        (3, "Store", "calculated member"),
        (4, "Store", "parent member"),
        (5, "Store", "unknown member"),
        (6, "Store", "length"),
        (6, "Store", "unknown member"),
        (7, "key", "duplicate key"),
    ]
    assert sandbox.counts["import_create_requests"] == 0


@pytest.mark.parametrize(
    ("frame", "arguments", "expected"),
    [
        (plan().drop("Store"), {}, [(None, "Store", "missing column")]),
        (plan().drop("Amount", "Pieces"), {}, [(None, None, "missing column")]),
        (plan(), {"mapping": {"Shop": "Store"}}, [(None, None, "unknown column")]),
        (plan(), {"mapping": {"Store": "Shop"}}, [(None, None, "missing column"), (None, "Store", "missing column")]),
        (plan(1, Store=None), {}, [(0, "Store", "null")]),
        (plan(1, Store=1.5), {}, [(None, "Store", "type"), (0, "Store", "unknown member")]),
        (plan(1, Amount=float("nan")), {}, [(0, "Amount", "type")]),
        (plan(1, Amount=float("inf")), {}, [(0, "Amount", "type")]),
        (plan(1, Amount=date(2024, 1, 1)), {}, [(None, "Amount", "type")]),
    ],
)
def test_each_is_found(model: Model, frame: pl.DataFrame, arguments: dict[str, Any], expected: Any) -> None:
    assert [
        found for found in problems(model, frame, **arguments) if found[2] != "unknown column" or len(expected) == 1
    ] == expected


def test_names_that_are_nearly_right_are_suggested(model: Model) -> None:
    with pytest.raises(RowsError, match=r"no column 'amount'\. Did you mean 'Amount'"):
        model.write(plan().rename({"Amount": "amount"}), version="public.Plan")


def test_unassigned_needs_no_member(model: Model) -> None:
    assert model.write(plan(1, Store="#"), version="public.Plan").verified


@pytest.mark.parametrize("frame", [None, 5, "text", [1, 2], object()])
def test_what_is_no_frame_is_refused(model: Model, frame: object) -> None:
    with pytest.raises(QueryError):
        model.write(frame, version="public.Plan")


def test_a_frame_without_rows_is_refused(model: Model) -> None:
    with pytest.raises(QueryError, match="no rows"):
        model.write(plan().clear(), version="public.Plan")


def test_parents_are_those_of_any_hierarchy_and_roots_are_none() -> None:
    rows = [
        {"ID": "A", "H1_PARENTID": "<root>", "H2_PARENTID": "C"},
        {"ID": "B", "H1_PARENTID": "A"},
        {"ID": "C", "formulaText": "[A]+[B]"},
    ]
    members = Members.of(rows)
    assert (members.parents, members.calculated) == ({"A", "C"}, {"C"})
    assert members.refuse("B") is None


@pytest.mark.parametrize(
    ("ids", "good", "bad"),
    [
        (["202401"], "203012", "203013"),
        (["2024-01"], "2030-12", "203012"),
        (["20240131"], "20301231", "203012"),
        (["2024"], "2030", "203012"),
        (["202401", "#", "000000"], "000000", "2030"),
        ([], "anything", None),
    ],
)
def test_dates_are_those_written_like_the_members(ids: list[str], good: str, bad: str | None) -> None:
    dates = dates_as_written(ids)
    assert dates.accepts(good)
    assert bad is None or not dates.accepts(bad)


def test_metadata_are_read_whatever_the_case_of_their_keys() -> None:
    column = {"ColumnName": "Amount", "ColumnDataType": "Decimal", "Precision": 31, "Scale": 7, "IsKey": False}
    table = read_import_metadata(json.dumps({"FactData": {"Columns": [column]}}).encode())
    assert (table.measures, table.columns[0].kind, table.columns[0].scale) == (("Amount",), "number", 7)
    for body in (b"[]", b"{}", b'{"factData": 5}', b'{"factData": {"columns": [{}]}}', b"<html>"):
        with pytest.raises(BadAnswer):
            read_import_metadata(body)


@pytest.mark.parametrize(("max_rows", "max_bytes"), [(1000, 10**6), (7, 10**6), (1000, 200), (1000, 1)])
def test_chunks_are_the_rows_in_order_within_their_bounds(max_rows: int, max_bytes: int) -> None:
    texts = ['say "hi"', "Zürich 🚀", "back\\slash", "line\nbreak", "},{", None]
    values = ["1.5", "-0.0000001", "999999999999999999999999.9999999", None, "0", "1200"]
    frame = pl.DataFrame({"T": texts * 5, "V": pl.Series(values * 5).str.to_decimal(scale=7)})
    parts = list(chunks(frame, max_rows=max_rows, max_bytes=max_bytes))
    rows = [row for part in parts for row in json.loads(part.body, parse_float=Decimal, parse_int=Decimal)["Data"]]
    assert rows == [
        {"T": t, "V": None if v is None else Decimal(v)} for t, v in zip(texts * 5, values * 5, strict=True)
    ]
    assert all(part.rows <= max_rows and (len(part.body) <= max_bytes or part.rows == 1) for part in parts)
    assert [part.start for part in parts] == [sum(p.rows for p in parts[:n]) for n in range(len(parts))]


def test_every_argument_is_understood_or_refused() -> None:
    values: list[Any] = [
        None,
        True,
        0,
        -1,
        2.5,
        1e6,
        float("nan"),
        10**30,
        "",
        " ",
        "Version",
        "\ud800",
        "\0",
        b"Version",
    ]
    values += [["a", "b"], {"a": "b"}, {"a": 1}, {"a"}, (n for n in "ab"), deque("ab"), [None], {}, [], object(), ...]
    values += [np.int64(3), np.array(["a"]), pd.NaT, timedelta(1), Decimal("1e999999999"), pl.Series(["a"]), print]
    names = [name for name in Order.__dataclass_fields__ if name not in {"listener", "on_phase", "bytes_per_upload"}]
    for name in names:
        for value in values:
            with suppress(SacError):
                assert isinstance(make_order(**{name: value}), Order)
