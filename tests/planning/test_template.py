"""A workbook goes to a colleague and comes back: what they do to it is understood, or reported with its cell."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from sales import STORES, facts

from sacnb import Model
from sacnb.errors import QueryError, RowsError, UnknownNameError
from sacnb.planning import read_template, template
from sacnb.planning.template_read import read_number

MONTHS = ["202401", "202402"]


def edited(model: Model, edit: Callable[[Any], object], **options: Any) -> io.BytesIO:
    """Return the template as a colleague sends it back."""
    workbook = openpyxl.load_workbook(io.BytesIO(template_of(model, **options)))
    edit(workbook["Plan"])
    back = io.BytesIO()
    workbook.save(back)
    back.seek(0)
    return back


def template_of(model: Model, made: dict[str, bytes] = {}, **options: Any) -> bytes:  # noqa: B006 - kept on purpose
    """Return the bytes of a template; the same for the same options, since each test has the same model."""
    options = {"version": "public.Plan", **options}
    name = f"{model!r} {options}"
    if name not in made:
        file = io.BytesIO()
        template(model, file, **options)
        made[name] = file.getvalue()
    return made[name]


def fill(*rows: tuple[Any, ...]) -> Callable[[Any], None]:
    def edit(page: Any) -> None:
        for row, values in enumerate(rows, start=2):
            for column, value in enumerate(values, start=1):
                page.cell(row, column).value = value

    return edit


def test_months_across_come_back_as_rows_and_are_written(model: Model) -> None:
    before = facts(model)
    back = edited(model, fill(("S0", 1.5, None), ("S1", 0, "1.234,50")), across={"Date": MONTHS}, measures="Amount")
    frame = read_template(back)
    assert frame.columns == ["Version", "Store", "Date", "Amount"]
    assert frame.rows() == [
        ("public.Plan", "S0", "202401", Decimal("1.5")),
        ("public.Plan", "S1", "202401", 0),
        ("public.Plan", "S1", "202402", Decimal("1234.5")),
    ]
    model.write(frame)
    changed = {key[1:]: values[0] for key, values in facts(model).items() if values != before[key]}
    assert changed == {("202401", "S0"): Decimal("1.5"), ("202401", "S1"): 0, ("202402", "S1"): Decimal("1234.5")}


def test_the_sheet_offers_the_members_that_take_values_and_protects_its_header(model: Model, tmp_path: Path) -> None:
    template(model, tmp_path / "plan.xlsx")
    workbook = openpyxl.load_workbook(tmp_path / "plan.xlsx")
    page = workbook["Plan"]
    assert [cell.value for cell in page[1]] == ["Version", "Date", "Store", "Amount", "Pieces"]
    rules = {str(rule.sqref): rule for rule in page.data_validations.dataValidation}
    assert rules["C2:C1048576"].formula1 == "Members!$E$2:$E$6"
    assert [workbook["Members"][f"E{row}"].value for row in range(1, 8)] == ["Store", *STORES, None]
    assert rules["C2:C1048576"].showErrorMessage
    assert not rules["B2:B1048576"].showErrorMessage
    assert rules["D2:D1048576"].type == "decimal"
    assert page.protection.sheet
    assert not page.protection.insertRows  # openpyxl: false is allowed
    assert page["A1"].protection.locked
    assert not page.column_dimensions["A"].protection.locked  # A to C
    assert workbook["_sacnb"].sheet_state == "veryHidden"


def test_it_begins_with_the_rows_given(model: Model) -> None:
    last_year = model.facts(where={"Version": "public.Actual", "Date": MONTHS}).fetch().polars().drop("Version")
    back = edited(model, lambda page: None, rows=last_year)
    assert read_template(back).drop("Version").cast({"Amount": pl.Float64, "Pieces": pl.Float64}).equals(last_year)
    wide = edited(model, lambda page: None, across={"Date": MONTHS}, measures="Amount", rows=last_year.drop("Pieces"))
    assert read_template(wide)["Amount"].sum() == last_year["Amount"].sum()


def test_what_a_colleague_does_is_understood(model: Model) -> None:
    def edit(page: Any) -> None:
        fill(
            ("202401", "S0", "1 234,5", 1),
            (None, None, None, None),
            (dt.date(2024, 2, 1), " S1 ", "(12.50)", None),
            (202403.0, "S2", "1'234'567.25", 0),
            ("04.2024", "S3", "\u22125,5", 2),
            ("2024-05", "S4", 0.1 + 0.2, 2.0),
            ("202406", "S4", "  ", None),
        )(page)
        page.insert_rows(3)
        page.insert_cols(3)
        page["C1"].value = "Comment"
        page["C2"].value = "please check"
        page.insert_rows(1, 2)
        page["A1"].value = "Dear controller, here are our numbers"

    assert read_template(edited(model, edit), ignore="Comment").drop("Version").rows() == [
        ("202401", "S0", Decimal("1234.5"), 1),
        ("202402", "S1", Decimal("-12.5"), None),
        ("202403", "S2", Decimal("1234567.25"), 0),
        ("202404", "S3", Decimal("-5.5"), 2),
        ("202405", "S4", Decimal("0.3"), 2),
    ]


@pytest.mark.parametrize(
    ("cells", "place", "problem"),
    [
        (("202401", "S9", 1, 1), "Plan!B2", "unknown member"),
        (("202401", "ALL", 1, 1), "Plan!B2", "unknown member"),
        (("202401", "KPI", 1, 1), "Plan!B2", "unknown member"),
        (("202401", True, 1, 1), "Plan!B2", "type"),
        (("202401", None, 1, 1), "Plan!B2", "null"),
        (("01/02/2024", "S1", 1, 1), "Plan!A2", "date format"),
        (("Jan 24", "S1", 1, 1), "Plan!A2", "date format"),
        (("202401", "S1", "1.234", 1), "Plan!C2", "ambiguous number"),
        (("202401", "S1", "12 pieces", 1), "Plan!C2", "type"),
        (("202401", "S1", "5%", 1), "Plan!C2", "type"),
        (("202401", "S1", "1.23.4", 1), "Plan!C2", "type"),
        (("202401", "S1", "0.12345678", 1), "Plan!C2", "precision"),
        (("202401", "S1", 1e31, 1), "Plan!C2", "precision"),
        (("202401", "S1", dt.date(2024, 1, 5), 1), "Plan!C2", "type"),
        (("202401", "S1", 1, "=C2*2"), "Plan!D2", "formula"),
        (("202401", "S1", 1, "#N/A"), "Plan!D2", "error"),
        (("202401", "S1", 1, 1, "a remark"), "Plan!E1", "unknown column"),
    ],
)
def test_what_cannot_be_understood_is_reported_with_its_cell(
    model: Model, cells: tuple[Any, ...], place: str, problem: str
) -> None:
    with pytest.raises(RowsError) as caught:
        read_template(edited(model, fill(cells)))
    assert caught.value.problems.select("cell", "problem").rows() == [(place, problem)]
    assert f"  {place}: " in str(caught.value)


def test_all_problems_come_at_once_and_repeated_members_name_the_first(model: Model) -> None:
    rows = [("202401", "S1", 1, 1), ("202401", "S1", 2, 1), *[("202401", "?", 1, 1)] * 6]
    with pytest.raises(RowsError, match="7 cells to look at") as caught:
        read_template(edited(model, fill(*rows)))
    first = caught.value.problems.row(0, named=True)
    assert (first["cell"], first["message"]) == ("Plan!A3", "The row of A2 has the same members: 202401, S1.")


@pytest.mark.parametrize(("sign", "number"), [(",", Decimal(1234)), (".", Decimal("1.234"))])
def test_the_decimal_sign_decides(model: Model, sign: Any, number: Decimal) -> None:
    back = edited(model, fill(("202401", "S1", "1.234", None)))
    assert read_template(back, decimal=sign)["Amount"].to_list() == [number]


@pytest.mark.parametrize(
    ("typed", "sign", "number"),
    [
        ("-123456789012345678901234,1234567", None, "-123456789012345678901234.1234567"),
        ("(123456789012345678901234,1234567)", None, "-123456789012345678901234.1234567"),
        ("0.001", None, "0.001"),
        ("0,001", None, "0.001"),
        (".5", None, "0.5"),
        ("1.234.567,5", ",", "1234567.5"),
        ("0.001", ",", None),  # no group of thousands begins with a zero
        ("1.23", ",", None),
    ],
)
def test_typed_numbers_keep_all_digits_and_mean_one_thing(typed: str, sign: str | None, number: str | None) -> None:
    if number is not None:
        assert read_number(typed, 7, sign) == Decimal(number)
        return
    with pytest.raises(Exception, match="This is not a number"):
        read_number(typed, 7, sign)


@pytest.mark.parametrize("values", [[float("nan")], [float("inf")], ["5"], [True], [[1]], [dt.date(2024, 1, 1)]])
def test_rows_to_begin_with_must_hold_numbers(model: Model, values: list[Any]) -> None:
    rows = {"Date": ["202401"], "Store": ["S0"], "Amount": values}
    with pytest.raises(QueryError, match="'Amount' of rows must hold finite numbers"):
        template(model, io.BytesIO(), version="public.Plan", rows=rows)


@pytest.mark.parametrize(
    "part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"]
)
@pytest.mark.parametrize("content", [b"", b"<x", b"<x/>"])
def test_a_damaged_workbook_is_refused(model: Model, part: str, content: bytes) -> None:
    damaged = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(template_of(model))) as source, zipfile.ZipFile(damaged, "w") as target:
        for name in source.namelist():
            target.writestr(name, content if name == f"xl/{part}" else source.read(name))
    damaged.seek(0)
    with pytest.raises((QueryError, RowsError)):
        read_template(damaged)


def test_numbers_and_descriptions_find_their_members(model: Model, sandbox: Any) -> None:
    jobs = type(model)(model._connection, "US_EMPLOYMENT")
    back = edited(jobs, fill((202401, 31, 1.5), ("202401", "Construction", 2)))
    assert read_template(back)["Sector"].to_list() == ["31", "20"]


def test_a_missing_heading_is_reported(model: Model) -> None:
    with pytest.raises(RowsError, match="The heading 'Store' is missing"):
        read_template(edited(model, lambda page: page.delete_cols(2)))


def test_what_is_no_filled_template_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"not a workbook")
    with pytest.raises(QueryError, match="is no Excel workbook"):
        read_template(tmp_path / "a.xlsx")
    with pytest.raises(QueryError, match="cannot be read: No such file"):
        read_template(tmp_path / "b.xlsx")
    model.to_excel(tmp_path / "c.xlsx")
    with pytest.raises(QueryError, match="is no template"):
        read_template(tmp_path / "c.xlsx")
    with pytest.raises(QueryError, match="has no values"):
        read_template(edited(model, lambda page: None))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"version": "public.Pln"}, UnknownNameError, "no version 'public.Pln'"),
        ({"measures": "Amuont"}, UnknownNameError, "no measure"),
        ({"members": {"Shop": ["S1"]}}, UnknownNameError, "no dimension 'Shop'"),
        ({"members": {"Store": ["S9"]}}, UnknownNameError, "no member 'S9'"),
        ({"members": {"Store": ["ALL"]}}, QueryError, "only leaves take values"),
        ({"across": {"Date": MONTHS}}, QueryError, "needs one measure, and there are 2"),
        ({"across": {"Date": MONTHS, "Store": ["S1"]}}, QueryError, "takes one dimension"),
        ({"across": {"Store": ["S9"]}, "measures": "Amount"}, UnknownNameError, "no member 'S9'"),
        ({"across": {"Date": ["202401"] * 2}, "measures": "Amount"}, QueryError, "list of different members"),
        (
            {"version": "public.Plan", "rows": {"Date": ["202401"], "Shop": ["S1"]}},
            QueryError,
            "without 'Store'; with 'Shop'",
        ),
        (
            {"version": "public.Plan", "rows": {"Date": ["202401"] * 2, "Store": ["S1"] * 2}},
            QueryError,
            "several rows with the same members",
        ),
    ],
)
def test_arguments_are_checked(
    model: Model, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        template(model, tmp_path / "plan.xlsx", **options)
    assert not (tmp_path / "plan.xlsx").exists()
