"""A result and its ways out: frames, files, and what is known about it."""

from __future__ import annotations

import csv
import dataclasses
import io
import pickle
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sacnb._frames.convert import column_of
from sacnb._odata.schema import Column, DateColumn, Schema
from sacnb._results.files import write_excel
from sacnb._results.info import METADATA_KEYS, ResultInfo
from sacnb._results.result import Result
from sacnb.errors import ContractError, PrecisionWarning, QueryError, UnknownNameError

Facts = Callable[..., tuple[pa.Table, Schema]]
MakeResult = Callable[..., Result]

ROWS = [
    ["202401", 'North, "West"', "12345678901234567.1234567"],
    ["202402", "", 0.0000001],
    ["#", "Ünï\ncode", None],
]


@pytest.fixture
def result(facts: Facts, result_of: MakeResult) -> Result:
    return result_of(*facts(["Date", "Region", "Amount"], ROWS))


@pytest.mark.parametrize("name", [None, 1, ""])
def test_a_date_column_without_a_name_is_refused(result: Result, name: Any) -> None:
    with pytest.raises(QueryError, match=r"date\.name must be text"):
        result.tidy(date=DateColumn(name, "month"))


def test_every_way_out_has_the_same_rows(result: Result) -> None:
    assert len(result) == 3
    assert result.arrow() is result.table
    exact = [Decimal("12345678901234567.1234567"), Decimal("0.0000001"), None]
    assert result.polars(decimals=True)["Amount"].to_list() == exact
    assert result.pandas(decimals=True)["Amount"].to_list()[:2] == exact[:2]
    assert pl.DataFrame(result)["Amount"].to_list() == exact
    assert pa.table(result).equals(result.table)
    with pytest.warns(UserWarning, match="decimals=True"):
        assert result.polars()["Amount"].to_list() == [12345678901234568.0, 1e-7, None]
    with pytest.warns(UserWarning, match="decimals=True"):
        assert result.pandas()["Amount"].tolist()[:2] == [12345678901234568.0, 1e-7]
    with pytest.warns(UserWarning, match="decimals=True"):
        assert result.tidy("year").frame["date"].to_list() == [date(2024, 1, 1)] * 2


@pytest.mark.parametrize("convert", [Result.polars, Result.pandas, Result.tidy, lambda result: result.tidy("year")])
def test_lost_digits_are_warned_of_at_the_line_that_asked(result: Result, convert: Callable[[Result], object]) -> None:
    with pytest.warns(PrecisionWarning) as caught:
        convert(result)
    assert [one.filename for one in caught] == [__file__]


def test_it_says_where_it_came_from(result: Result) -> None:
    info = result.info
    assert (info.row_count, info.min_date, info.max_date) == (3, date(2024, 1, 1), date(2024, 2, 1))
    assert info.columns == result.schema.columns
    assert info.principal != "sb-client!b1"
    assert "sb-client" not in repr(info)


def test_times_are_kept_in_utc_and_need_a_zone(facts: Facts) -> None:
    table, schema = facts(["Date", "Amount"], [["202401", 1]])
    known: dict[str, Any] = {
        "provider_id": "S", "namespace": "sac", "entity_set": "FactData", "query": "q", "tenant_host": "h",
        "principal": "p", "source": "sac",
    }  # fmt: skip
    berlin = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    info = ResultInfo.describe(table, schema, last_refresh_time=berlin, **known)
    assert info.last_refresh_time.isoformat() == "2026-07-01T10:00:00+00:00"
    with pytest.raises(ValueError, match="time zone"):
        ResultInfo.describe(table, schema, last_refresh_time=berlin.replace(tzinfo=None), **known)


def test_a_column_that_is_not_of_the_schema_is_no_result(facts: Facts, result_of: MakeResult) -> None:
    table, schema = facts(["Date", "Amount"], [["202401", 1]])
    with pytest.raises(UnknownNameError):
        result_of(table.rename_columns(["Date", "Amont"]), schema)


def test_it_looks_the_same_every_time(result: Result, facts: Facts, result_of: MakeResult) -> None:
    later = dataclasses.replace(result.info, last_refresh_time=datetime(2030, 1, 1, tzinfo=UTC))
    again = dataclasses.replace(result, info=later)
    assert repr(again) == repr(result)
    assert again._repr_html_() == result._repr_html_()
    assert repr(result).startswith("SALES/FactData: 3 rows, 3 columns, 2024-01-01 to 2024-02-01 (sac)\nDate ")
    assert "<strong>SALES/FactData: 3 rows" in result._repr_html_()
    assert result._repr_markdown_().startswith("**SALES/FactData: 3 rows")
    one = result_of(*facts(["Region", "Amount"], [["A", 1]]))
    assert repr(one).startswith("SALES/FactData: 1 row, 2 columns (sac)\n")


def test_a_stale_result_says_so_wherever_it_is_shown(result: Result) -> None:
    stale = dataclasses.replace(result, stale=True, warning="SAC did not deliver; showing the data of yesterday.")
    for shown in (repr(stale), stale._repr_html_(), stale._repr_markdown_()):
        assert "showing the data of yesterday" in shown


def test_parquet_gives_everything_back(result: Result, tmp_path: Path) -> None:
    result.to_parquet(tmp_path / "facts.parquet")
    back = Result.from_parquet(tmp_path / "facts.parquet")
    assert back == result
    assert back.table.schema.equals(result.table.schema, check_metadata=True)
    # and any other reader gets the digits
    assert (
        pl.read_parquet(tmp_path / "facts.parquet")["Amount"].to_list()
        == result.polars(decimals=True)["Amount"].to_list()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["facts.parquet"]


EVERY_TYPE = [
    Column(name, f"Edm.{name}", "attribute")
    for name in ("Date", "TimeOfDay", "DateTimeOffset", "Duration", "Binary", "Boolean", "Byte", "Single", "Double")
]
VALUES = ["2024-01-31", "12:30:00.5", "2024-01-31T12:30:00.123456Z", "-P1DT2.5S", "AP8=", True, 7, 0.5, 0.1]


@pytest.mark.parametrize("wider", [False, True])
def test_every_type_survives_parquet(facts: Facts, result_of: MakeResult, tmp_path: Path, wider: bool) -> None:
    big = Column("Big", "Edm.Decimal", "measure", precision=60, scale=2)
    values = [
        one.replace("5S", "000000001S").replace("456Z", "456789Z") if wider and isinstance(one, str) else one
        for one in VALUES
    ]
    result = result_of(*facts(["Key", *EVERY_TYPE, big], [["a", *values, "1" * 45 + ".25"], ["b", *[None] * 10]]))
    assert (pa.duration("ns") in result.table.schema.types) == wider
    result.to_parquet(tmp_path / "x.parquet")
    back = Result.from_parquet(tmp_path / "x.parquet")
    assert back == result
    assert back.table.schema.equals(result.table.schema, check_metadata=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"a,b\n1,2\n", "is not a Parquet file"), (None, "was not written by sacnb")],
)
def test_a_foreign_file_is_no_result(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.parquet"
    if content is None:
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(ContractError) as caught:
        Result.from_parquet(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError):
        Result.from_parquet(tmp_path / "nothing.parquet")


def test_a_place_that_cannot_be_written_is_named_as_the_user_named_it(result: Result, tmp_path: Path) -> None:
    for place in (tmp_path / "no" / "facts.csv", tmp_path):
        with pytest.raises(OSError, match=re.escape(str(place))) as caught:
            result.to_csv(place)
        assert ".tmp" not in str(caught.value)


def test_csv_has_every_digit_and_tells_null_from_empty(result: Result, tmp_path: Path) -> None:
    result.to_csv(tmp_path / "facts.csv")
    text = (tmp_path / "facts.csv").read_text(encoding="utf-8")
    assert text == (
        'Date,Region,Amount\n202401,"North, ""West""",12345678901234567.1234567\n202402,"",0.0000001\n#,"Ünï\ncode",\n'
    )
    assert [row["Region"] for row in csv.DictReader(io.StringIO(text))] == ['North, "West"', "", "Ünï\ncode"]


def test_csv_of_every_type(facts: Facts, result_of: MakeResult) -> None:
    big = Column("Big", "Edm.Decimal", "measure", precision=60, scale=2)
    result = result_of(*facts(["Key", *EVERY_TYPE, big], [["a", *VALUES, "1" * 45 + ".25"], ["b", *[None] * 10]]))
    stream = io.BytesIO()
    result.to_csv(stream)
    rows = list(csv.reader(io.StringIO(stream.getvalue().decode())))
    assert rows[1] == [
        "a", "2024-01-31", "12:30:00.500000000", "2024-01-31T12:30:00.123456Z", "-P1DT0H0M2.5S", "AP8=", "true", "7",
        "0.5", "0.1", "1" * 45 + ".25",
    ]  # fmt: skip
    assert rows[2] == ["b", *[""] * 10]


def test_an_arrow_file_holds_rows_columns_and_info(result: Result, tmp_path: Path) -> None:
    result.to_arrow(tmp_path / "facts.arrow")
    with pa.memory_map(str(tmp_path / "facts.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
        assert table.equals(result.table)
        assert {name.decode() for name in table.schema.metadata} == set(METADATA_KEYS)
        assert [column_of(field) for field in table.schema] == list(result.schema.columns)


class Pipe(io.RawIOBase):
    """A stream like the standard output into a pipe: it can neither seek nor tell its position."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.data += bytes(data)
        return len(data)


@pytest.mark.parametrize("write", ["to_parquet", "to_arrow", "to_csv"])
def test_every_file_can_go_into_a_pipe(result: Result, tmp_path: Path, write: str) -> None:
    pipe = Pipe()
    getattr(result, write)(pipe)
    getattr(result, write)(str(tmp_path / "file"))
    stream = io.BytesIO()
    getattr(result, write)(stream)
    assert pipe.data == stream.getvalue() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("write", ["to_parquet", "to_arrow", "to_csv"])
def test_a_failed_write_leaves_the_file_that_was_there(result: Result, tmp_path: Path, write: str) -> None:
    path = tmp_path / "facts"
    path.write_text("last good")
    broken = dataclasses.replace(result, table=result.table.append_column("Bad", pa.array([["x"]] * 3)))
    if write == "to_csv":
        with pytest.raises(pl.exceptions.ComputeError):
            broken.to_csv(path)
    else:
        no_such_table: Any = None
        with pytest.raises(AttributeError):
            getattr(dataclasses.replace(result, table=no_such_table), write)(path)
    assert path.read_text() == "last good"
    assert list(tmp_path.iterdir()) == [path]


def test_it_can_be_pickled(result: Result) -> None:
    """A notebook's tools do so, to move it to another process."""
    assert pickle.loads(pickle.dumps(result)) == result


def test_pandas_reads_it_by_the_stream(result: Result) -> None:
    if hasattr(pd.DataFrame, "from_arrow"):  # since pandas 3
        assert len(pd.DataFrame.from_arrow(result)) == 3


def test_csv_can_be_made_safe_for_spreadsheets(result_of: MakeResult, facts: Facts) -> None:
    rows = [["=1+1", "-1"], ["+1", "2"], ["-1", "3"], ["@A1", "4"], ["\t=1", "5"], ["31-33", "6"], ["#", "7"]]
    result = result_of(*facts(["Region", Column("Amount", "Edm.Decimal", "measure", precision=9, scale=0)], rows))
    stream = io.BytesIO()
    result.to_csv(stream, separator=";", escape_formulas=True)
    written = list(csv.reader(io.StringIO(stream.getvalue().decode()), delimiter=";"))
    assert [row[0] for row in written[1:]] == ["'=1+1", "'+1", "'-1", "'@A1", "'\t=1", "31-33", "#"]
    assert [row[1] for row in written[1:]] == ["-1", "2", "3", "4", "5", "6", "7"]  # numbers stay numbers


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n", "ü"])
def test_a_separator_is_one_character(result: Result, separator: str) -> None:
    with pytest.raises(ContractError, match="one ASCII character"):
        result.to_csv(io.BytesIO(), separator=separator)


def test_a_result_and_its_tidy_frame_have_the_same_face(facts: Facts, result_of: MakeResult) -> None:
    rows = [["202401", "North", "1.5"], ["202402", "South", "2.5"], ["202402", "North", "4.0"]]
    result = result_of(*facts(["Date", "Region", "Amount"], rows))
    tidy = result.tidy("year")
    assert (result.columns, result.shape) == (["Date", "Region", "Amount"], (3, 3))
    assert (tidy.columns, tidy.shape) == (["date", "dim_Region", "value"], (2, 3))
    assert result["Amount"].to_list() == [1.5, 2.5, 4.0]
    assert result[["Region", "Amount"]].row(1) == ("South", 2.5)
    assert tidy["value"].to_list() == [5.5, 2.5]
    assert (result.head(1).height, tidy.head(1).row(0)) == (1, (date(2024, 1, 1), "North", 5.5))
    assert tidy.polars() is tidy.frame
    assert tidy.arrow()["dim_Region"].type == pa.string()
    assert tidy.pandas()["value"].tolist() == [5.5, 2.5]
    for one in (result, tidy):
        with pytest.raises(UnknownNameError, match="no column 'valeu'"):
            _ = one["valeu"]
        with pytest.raises(QueryError, match="rows must be a whole number"):
            one.head(-1)
        with pytest.raises(TypeError):
            iter(one)  # type: ignore[call-overload]
    assert pickle.loads(pickle.dumps(tidy)).frame.equals(tidy.frame)


def test_a_tidy_frame_writes_files_and_draws_itself(facts: Facts, result_of: MakeResult, tmp_path: Path) -> None:
    rows = [["202401", "North", "1.5"], ["202402", "South", "2.5"], ["202402", "North", "4.0"]]
    result = result_of(*facts(["Date", "Region", "Amount"], rows))
    tidy = result.tidy()
    tidy.to_parquet(tmp_path / "a.parquet")
    tidy.to_arrow(tmp_path / "a.arrow")
    tidy.to_csv(tmp_path / "a.csv", separator=";")
    assert pl.read_parquet(tmp_path / "a.parquet").equals(tidy.frame)
    assert pl.read_ipc(tmp_path / "a.arrow").equals(tidy.frame)
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "2024-01-01;North;1.5"
    chart, same = tidy.plot(by="Region", unit="t"), result.plot(by="Region", unit="t")
    assert (chart.description, chart.altair.to_dict()) == (same.description, same.altair.to_dict())
    with pytest.raises(UnknownNameError, match="measure"):
        tidy.plot(measure="Amuont")


def test_parquet_for_readers_without_decimals(result: Result, tmp_path: Path) -> None:
    with pytest.warns(PrecisionWarning, match=r"Leave floats=True out\.$"):
        result.to_parquet(tmp_path / "a.parquet", floats=True)
    assert pq.read_table(tmp_path / "a.parquet")["Amount"].to_pylist() == [12345678901234568.0, 1e-7, None]
    with pytest.raises(QueryError, match="floats must be True or False"):
        result.to_parquet(tmp_path / "a.parquet", floats="yes")  # type: ignore[arg-type]


def test_excel_has_types_a_header_that_stays_and_the_origin(
    facts: Facts, result_of: MakeResult, tmp_path: Path
) -> None:
    rows = [["202401", "=1+1", "1234567.25"], ["202402", "https://example.org", "-2"], ["#", "", None]]
    result = result_of(*facts(["Date", "Region", "Amount"], rows))
    result.to_excel(tmp_path / "a.xlsx")
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    data, about = book["Data"], dict(book["About"].iter_rows(values_only=True))
    assert list(data.iter_rows(values_only=True)) == [
        ("Date", "Region", "Amount"),
        ("202401", "=1+1", 1234567.25),
        ("202402", "https://example.org", -2),
        ("#", None, None),
    ]
    assert [cell.data_type for cell in data[2]] == ["s", "s", "n"]  # a formula would be "f"
    assert data["B3"].hyperlink is None
    assert data["C2"].number_format == "#,##0.00"
    assert (data.freeze_panes, [table.ref for table in data.tables.values()]) == ("A2", ["A1:C4"])
    assert (about["model"], about["rows"]) == ("SALES", "3")
    assert about["query"] == result.info.query
    assert about["refreshed"].endswith(" UTC")
    result.tidy().to_excel(tmp_path / "b.xlsx")
    tidy = openpyxl.load_workbook(tmp_path / "b.xlsx")
    assert tidy["Data"]["A2"].value == datetime(2024, 1, 1)  # noqa: DTZ001 - Excel knows no zones
    assert tidy["Data"]["A2"].number_format == "yyyy-mm-dd"
    assert dict(tidy["About"].iter_rows(values_only=True))["grain"] == "month"


def test_excel_refuses_what_it_has_no_room_for(tmp_path: Path) -> None:
    many = pa.table({"n": pa.array(range(1_048_576), pa.int32())})
    for table, message in (
        (many, "room for 1,048,575 rows below the header, and there are 1,048,576"),
        (pa.table({"text": ["x" * 32_768]}), "'text' holds a text of more than the 32,767 characters"),
        (pa.table({f"c{n}": [1] for n in range(16_385)}), "room for 16,384 columns"),
    ):
        with pytest.raises(ContractError, match=message):
            write_excel({"Data": table}, {}, tmp_path / "a.xlsx")
    assert not (tmp_path / "a.xlsx").exists()


def test_excel_of_every_type_and_of_names_that_excel_cannot_tell_apart(
    facts: Facts, result_of: MakeResult, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "Day": [date(1582, 10, 15), date(9999, 12, 31)],
            "day": [date(2024, 2, 29), None],
            "At": pa.array([datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            "Took": pa.array([timedelta(days=400), None], pa.duration("us")),
            "Whole": pa.array([2**31, None], pa.int64()),
            "Float": [float("inf"), float("nan")],
            "Flag": [True, None],
        }
    )
    write_excel({"a/b": table, "A_B": table.slice(0, 0)}, {}, tmp_path / "a.xlsx")
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == ["a_b", "A_B (2)", "About"]
    header, row = list(book["a_b"].iter_rows(values_only=True))[:2]
    assert header[:2] == ("Day", "day (2)")
    day, moment = datetime(2024, 2, 29), datetime(2024, 2, 29, 23, 59, 59)  # noqa: DTZ001 - Excel knows no zones
    assert row[:5] == ("1582-10-15", day, moment, "P400DT0H0M0S", 2**31)
    assert (row[5], row[6]) == ("=1/0", True)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r=", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_csv_escapes_every_sign_that_a_spreadsheet_takes_for_a_formula(
    sign: str, facts: Facts, result_of: MakeResult
) -> None:
    stream = io.BytesIO()
    result = result_of(*facts(["Date", "Region", "Amount"], [["202401", f"{sign}1", "-1"]]))
    result.to_csv(stream, escape_formulas=True)
    [row] = list(csv.reader(io.StringIO(stream.getvalue().decode(), newline="")))[1:]
    assert (row[1], float(row[2])) == (f"'{sign}1", -1)
