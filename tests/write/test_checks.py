"""Everything that can be known before a frame is sent, and the bytes that are sent."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sales import plan

from sacnb import Model
from sacnb._write.check import ROW, Problems
from sacnb._write.encode import chunks
from sacnb._write.frame import Layout, prepare, read_frame
from sacnb._write.order import Order, make_order
from sacnb._write.service import ask_job, import_id, list_jobs, read_status, table_of, versions_of
from sacnb._write.slice import Slice
from sacnb._write.target import Destination, Members, dates_as_written, read_import_metadata
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


def test_a_column_that_is_mapped_is_not_also_written_under_its_own_name(model: Model) -> None:
    frame = plan().drop("Amount")
    assert problems(model, frame, mapping={"Amount": "Pieces"}) == [(None, "Pieces", "ambiguous column")]
    both = model.write(frame, version="public.Plan", mapping={"Amount": "Pieces", "Pieces": "Pieces"})
    assert both.written["Amount"].to_list() == both.written["Pieces"].to_list()
    swapped = model.write(plan(), version="public.Plan", mapping={"Amount": "Pieces", "Pieces": "Amount"})
    assert swapped.written["Pieces"].to_list() == plan()["Amount"].to_list()


def test_names_that_are_nearly_right_are_suggested(model: Model) -> None:
    with pytest.raises(RowsError, match=r"no column 'amount'\. Did you mean 'Amount'"):
        model.write(plan().rename({"Amount": "amount"}), version="public.Plan")


def test_unassigned_needs_no_member(model: Model) -> None:
    assert model.write(plan(1, Store="#"), version="public.Plan").verified


@pytest.mark.parametrize("frame", [None, 5, "text", [1, 2], object()])
def test_what_is_no_frame_is_refused(model: Model, frame: object) -> None:
    with pytest.raises(QueryError):
        model.write(frame, version="public.Plan")


COUNT = {"columnName": "Pieces", "columnDataType": "Decimal", "precision": "10", "scale": "0", "isKey": "false"}
SHARE = {"columnName": "Share", "columnDataType": "Decimal", "precision": 7, "scale": 7}
AMOUNT = {"columnName": "Amount", "columnDataType": "Decimal", "precision": 31, "scale": 7}


def prepared(frame: object, *columns: dict[str, Any], **layout: Any) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the measures that would be sent, and the problems."""
    table = read_import_metadata(json.dumps({"factData": {"columns": columns}}).encode())
    found = Problems()
    made = prepare(read_frame(frame), table, Layout({}, layout), {}, found)
    return made.rows.drop(ROW).to_dict(as_series=False), found.frame()["problem"].to_list()


@pytest.mark.parametrize(
    ("column", "value", "sent"),
    [
        (COUNT, 7, Decimal(7)),
        (COUNT, "1234567890", Decimal(1234567890)),
        (COUNT, "12345678901", None),
        (COUNT, "1.5", None),
        (SHARE, "0.25", Decimal("0.25")),
        (SHARE, 0.1234567, Decimal("0.1234567")),
        (SHARE, "-0.5", Decimal("-0.5")),
        (SHARE, "1", None),
        (AMOUNT, "\u0661\u0662", None),  # digits of another script
        (AMOUNT, "1e3", Decimal(1000)),
    ],
)
def test_numbers_fit_the_digits_of_their_column_or_are_problems(
    column: dict[str, Any], value: object, sent: Decimal | None
) -> None:
    rows, found = prepared({column["columnName"]: [value]}, column)
    assert rows == {column["columnName"]: [sent]}
    assert len(found) == (sent is None)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"Store": pd.Categorical(["S0"]), "Amount": [1.5]}),
        pd.DataFrame({"Amount": [1.5]}, index=pd.Index(["S0"], name="Store")),
        pd.DataFrame({"Store": ["S0", "S0"], "Date": "1", "Amount": [1.0, 0.5]}).groupby(["Store"])[["Amount"]].sum(),
        pl.DataFrame({"Store": ["S0"], "Amount": [1.5]}, schema_overrides={"Store": pl.Categorical}),
        pl.DataFrame({"Store": ["S0"], "Amount": [1.5]}, schema_overrides={"Store": pl.Enum(["S0"])}),
        pa.table({"Store": pa.array(["S0"]).dictionary_encode(), "Amount": [1.5]}),
        pa.table({"Store": ["S0"], "Amount": pa.array([Decimal("1.5")], pa.decimal256(60, 2))}),
        pa.record_batch({"Store": pa.array(["S0"], pa.string_view()), "Amount": pa.array([1.5], pa.float16())}),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_texts_and_numbers_are_taken_in_every_type_that_holds_them(frame: object) -> None:
    store = {"columnName": "Store", "columnDataType": "String", "isKey": True}
    assert prepared(frame, store, AMOUNT) == ({"Store": ["S0"], "Amount": [Decimal("1.5")]}, [])


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([1, 1.5], [1.0, 1.5]),
        ([1.5, None, 2], [1.5, None, 2.0]),
        ([2**53 + 1, 1.5], [Decimal(2**53 + 1), Decimal("1.5")]),
        ([1.5, 2**53 + 1], [Decimal("1.5"), Decimal(2**53 + 1)]),
        ([1.5, Decimal("12345678901234567.5")], [Decimal("1.5"), Decimal("12345678901234567.5")]),
        ([2, Decimal("1.5")], [2, Decimal("1.5")]),
        ([np.int64(1), np.float64(2.5)], [1.0, 2.5]),
        (["31", 32], ["31", "32"]),
        (np.array([1, 2.5], dtype=object), [1.0, 2.5]),
        ({1: "S0", 2: "S1"}.values(), ["S0", "S1"]),
        (iter([1, 2.5]), [1.0, 2.5]),
        (np.array(["2015-07"], dtype="datetime64[M]"), [datetime.fromisoformat("2015-07-01")]),
    ],
    ids=repr,
)
def test_a_column_of_a_dict_may_mix_numbers_and_none_loses_digits(values: object, read: list[object]) -> None:
    assert read_frame({"x": values})["x"].to_list() == read


MONTHS = [f"{year}{month:02}" for year in (2023, 2024) for month in range(1, 13)]


@pytest.mark.parametrize(
    ("months", "heading", "written"),
    [
        (MONTHS, pd.Timestamp("2024-02-01"), "202402"),
        (MONTHS, pd.Period("2024-02", "M"), "202402"),
        (MONTHS, date(2024, 2, 1), "202402"),
        (MONTHS, "202402", "202402"),
        (MONTHS, "2024-02-31", "2024-02-31"),
        (["2024"], "2024-02", "2024-02"),
        (["20240131"], pd.Period("2024-02", "M"), "20240201"),
        ([], "2024-02-01", "2024-02-01"),
    ],
    ids=str,
)
def test_headings_that_are_dates_are_written_at_the_grain_of_the_model(
    months: list[str], heading: object, written: str
) -> None:
    day = {"columnName": "Date", "columnDataType": "String", "isKey": True, "propertyType": "Date"}
    table = read_import_metadata(json.dumps({"factData": {"columns": [day, AMOUNT]}}).encode())
    frame = read_frame(pd.DataFrame({heading: [1.5]}))
    made = prepare(frame, table, Layout({}, {}, ("Date", "Amount")), {"Date": dates_as_written(months)}, Problems())
    assert made.rows.get_column("Date").to_list() == [written]


def test_a_default_may_be_a_period() -> None:
    day = {"columnName": "Date", "columnDataType": "String", "isKey": True, "propertyType": "Date"}
    table = read_import_metadata(json.dumps({"factData": {"columns": [day, AMOUNT]}}).encode())
    layout = Layout({}, {"Date": pd.Period("2024-02", "M")})
    made = prepare(read_frame({"Amount": [1]}), table, layout, {"Date": dates_as_written(MONTHS)}, Problems())
    assert made.rows.get_column("Date").to_list() == ["202402"]


def test_a_mapping_to_nothing_is_refused() -> None:
    with pytest.raises(QueryError, match=r"mapping\['Date'\] must"):
        make_order(mapping={"Date": None})


def test_decimals_that_polars_has_no_type_for_keep_their_digits_as_texts() -> None:
    wide = pa.table({"Amount": pa.array([Decimal("1" * 45)], pa.decimal256(60, 0))})
    assert read_frame(wide).rows() == [("1" * 45,)]


def test_periods_are_the_time_at_which_they_begin_and_zones_may_be_offsets() -> None:
    months = pd.DataFrame({"Date": pd.period_range("2024-02", periods=1, freq="M")})
    assert read_frame(months)["Date"].dt.date().to_list() == [date(2024, 2, 1)]
    at = pa.table({"Date": pa.array([0], pa.timestamp("us", "+05:30"))})
    assert read_frame(at)["Date"].to_list() == [datetime.fromisoformat("1970-01-01T05:30")]


@pytest.mark.parametrize(
    "frame",
    [
        [{"Amount": 1}],
        {"Amount": [Decimal("NaN")]},
        pd.DataFrame({"Amount": [1, "many"]}),
        pd.DataFrame([[1, 2]], columns=["Amount", "Amount"]),
        pd.Series([1]),
        pl.Series([1]),
        pa.array([1]),
        pa.table({"Amount": pa.array([[1]], pa.list_view(pa.int8()))}),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_no_frame_can_be_made_of_is_a_query_error(frame: object) -> None:
    with pytest.raises(QueryError, match=r"^frame must be a"):
        read_frame(frame)


@pytest.mark.parametrize(
    ("have", "default", "sent"),
    [
        (pl.Series([None, 2**60 + 1], dtype=pl.Int64), 5.5, [Decimal("5.5"), Decimal(2**60 + 1)]),
        (pl.Series([None, 3], dtype=pl.Int64), "5", [Decimal(5), Decimal(3)]),
        (pl.Series([None, Decimal("0.25")]), Decimal("5.125"), [Decimal("5.125"), Decimal("0.25")]),
        (pl.Series([None, ""], dtype=pl.String), 7, [Decimal(7), None]),
    ],
)
def test_defaults_fill_holes_and_change_no_other_value(have: pl.Series, default: object, sent: list[Decimal]) -> None:
    assert prepared({"Amount": have}, AMOUNT, Amount=default) == ({"Amount": sent}, [])


def test_defaults_of_members_and_dates_are_written_as_the_model_has_them(model: Model) -> None:
    frame = plan(2, Date=pl.Series(["202401", None]), Store=pl.Series(["S0", None], dtype=pl.Enum(["S0"])))
    report = model.write(frame, version="public.Plan", defaults={"Date": date(2024, 2, 9), "Store": "S1"})
    assert report.written.select("Date", "Store").rows() == [("202401", "S0"), ("202402", "S1")]


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, b"S0", pd.NaT, Decimal("NaN")])
def test_a_default_that_no_cell_can_hold_is_refused(model: Model, value: object) -> None:
    with pytest.raises(QueryError, match=r"defaults\['Store'\] must be"):
        model.write(plan(1).drop("Store"), version="public.Plan", defaults={"Store": value})


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


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null", b"true", b"[[]]"])
def test_answers_of_another_form_are_refused(body: bytes) -> None:
    session: Any = SimpleNamespace(fetch=lambda *_, **__: SimpleNamespace(body=body))
    to = Destination(session, "SALES", "https://a.test", "a.test", "someone")
    for ask in (versions_of, table_of, lambda to: import_id(to, "currency"), lambda to: ask_job(to.session, "1")):
        with pytest.raises(BadAnswer):
            ask(to)
    if not body.startswith(b"["):
        with pytest.raises(BadAnswer):
            list_jobs(session)


@pytest.mark.parametrize("limit", [None, "x", -1, 10**40, "9" * 5000, True, 1.5, 77])
def test_limits_that_are_none_do_not_limit(limit: Any) -> None:
    about = {"columnName": "Amount", "columnDataType": "Decimal", "precision": limit, "scale": limit}
    table = read_import_metadata(json.dumps({"factData": {"columns": [about]}}).encode())
    assert (table.columns[0].precision, table.columns[0].scale) == (None, None)
    assert prepared({"Amount": ["1.5"]}, about) == ({"Amount": [Decimal("1.5")]}, [])


def test_members_of_a_dimension_of_numbers_are_texts() -> None:
    year = {"columnName": "Year", "columnDataType": "Integer", "isKey": True}
    assert prepared({"Year": [2024]}, year) == ({"Year": ["2024"]}, [])


def test_a_model_without_dimensions_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = read_import_metadata(b'{"factData": {"columns": []}}')
    monkeypatch.setattr("sacnb._write.write.import_table", lambda *_: empty)
    with pytest.raises(BadAnswer, match="name no key column"):
        model.write(plan(), version="public.Plan")


def test_facts_that_no_import_can_write_stop_the_write(model: Model) -> None:
    facts = pa.table({"Version": ["x"], "Date": ["202401"], "Amount": pa.array(["1e40"])})
    place = replace(model._place(), read_facts=lambda _: facts)
    with pytest.raises(BadAnswer, match="hold a value that no import can write"):
        Slice.around(place, pl.DataFrame({"Date": ["202401"]}), ["Date"], ["Version", "Date"], {"Amount": 7})


@pytest.mark.parametrize("found", [None, "x", 5, [], ["x"], [None], {}, [{"a": 1}]])
def test_what_tells_no_number_of_rows_to_delete_is_none(found: Any) -> None:
    status = read_status(
        {"jobstatus": "READY_FOR_WRITE", "additionalinformation": {"cleanAndReplaceAffectedRows": found}}
    )
    assert status.deletion.rows is None


def test_parents_may_have_any_form() -> None:
    assert Members.of([{"ID": "A", "Parent": {"a": 1}}, {"ID": "B", "Parent": ["A"]}]).ids == {"A", "B"}


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
