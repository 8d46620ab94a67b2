from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sacnb.sandbox.models.scale import MAX_ROWS, scale


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_us_employment_is_the_published_data(start: Callable[..., Any], data_files: Path) -> None:
    rows = start().rows("US_EMPLOYMENT", dollar_filter="Version eq 'public.Actual'", pagesize="500")
    expected = [
        {
            "Version": "public.Actual", "Date": r["date"], "Sector": r["sector"],
            "Employees": Decimal(r["employees_thousand"]),
        }
        for r in _csv(data_files / "us_employment.csv")
    ]  # fmt: skip
    assert rows == expected
    assert len(rows) == 1800


def test_the_leaves_add_up_to_the_published_totals(start: Callable[..., Any], data_files: Path) -> None:
    api = start()
    sums = api.rows(
        "US_EMPLOYMENT", "FactDataAggregation",
        dollar_select="Date,Employees", dollar_filter="Version eq 'public.Actual'",
    )  # fmt: skip
    private = api.rows(
        "US_EMPLOYMENT", "FactDataAggregation",
        dollar_select="Date,Employees", dollar_filter="Version eq 'public.Actual' and Sector ne '90'",
    )  # fmt: skip
    totals = {r["date"]: r for r in _csv(data_files / "us_employment_totals.csv")}
    assert len(sums) == len(private) == len(totals) == 120
    for column, found in [("total_nonfarm_thousand", sums), ("total_private_thousand", private)]:
        assert all(abs(r["Employees"] - Decimal(totals[r["Date"]][column])) <= Decimal("0.5") for r in found)


def test_the_plan_is_the_year_before_times_1_02(start: Callable[..., Any], data_files: Path) -> None:
    actual = {
        (r["date"], r["sector"]): Decimal(r["employees_thousand"]) for r in _csv(data_files / "us_employment.csv")
    }
    plan = start().rows("US_EMPLOYMENT", dollar_filter="Version eq 'public.Plan'")
    assert (min(r["Date"] for r in plan), max(r["Date"] for r in plan), len(plan)) == ("200701", "201512", 1620)
    for row in plan:
        assert row["Employees"] == actual[str(int(row["Date"]) - 100), row["Sector"]] * Decimal("1.02")


def test_planning_equals_its_file_with_blanks_and_hashes(start: Callable[..., Any], data_files: Path) -> None:
    api = start()
    rows = api.rows("PLANNING", pagesize="400")
    expected = [{**r, "SignedData": Decimal(r["SignedData"])} for r in _csv(data_files / "planning.csv")]
    assert rows == expected
    assert {"CC300 ", "#"} < {r["CostCenter"] for r in rows}
    assert {"Pacific West ", "#", "JP"} < {r["Region"] for r in rows}
    accounts = {r["ID"]: r["accType"] for r in api.rows("PLANNING", "AccountMaster")}
    assert set(accounts.values()) == {"INC", "EXP", "AST", "LEQ"}
    for row in rows:
        assert (row["SignedData"] < 0) == (accounts[row["Account"]] in {"INC", "LEQ"})
    for dimension in ["Version", "Date", "Account", "CostCenter", "Region"]:
        members = {r["ID"] for r in api.rows("PLANNING", f"{dimension}Master")}
        assert {r[dimension] for r in rows} <= members


def _all_rows(rows: int, seed: int = 0) -> pl.DataFrame:
    facts = scale(rows, seed).facts
    return facts.rows(pl.int_range(rows, dtype=pl.Int64, eager=True), [c.name for c in facts.columns])


def test_scale_gives_the_same_rows_for_the_same_numbers() -> None:
    whole = _all_rows(20_000)
    assert whole.equals(_all_rows(20_000))
    assert whole.head(5000).equals(_all_rows(5000))
    assert not whole.equals(_all_rows(20_000, seed=1))
    numbers = pl.Series([19_999, 0, 777, 777])
    facts = scale(20_000).facts
    assert facts.rows(numbers, ["Amount", "Region"]).equals(whole.select("Amount", "Region")[numbers.to_list()])


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_scale_holds_texts_and_numbers_that_break_naive_clients(seed: int) -> None:
    frame = _all_rows(200_000, seed)
    keys = ["Version", "Date", "Region", "Channel", "Product", "Customer"]
    assert frame.select(keys).n_unique() == frame.height
    assert frame["Customer"].n_unique() >= 99_999
    assert frame["Region"].n_unique() == 16
    regions = set(frame["Region"])
    assert {"Pacific West ", "#", "日本", 'The "Loop"', "Back\\slash", "Line\nbreak", "O'Hare"} <= regions
    assert 0.002 < frame["Amount"].null_count() / frame.height < 0.01
    assert frame["Quantity"].null_count() == 0
    digits = (
        frame["Amount"].drop_nulls().cast(pl.String).str.strip_chars_end("0").str.split(".").list.last().str.len_chars()
    )
    assert set(digits) == set(range(8))
    # A float64 holds each of them exactly.
    assert frame["Amount"].cast(pl.Float64).round(7).cast(pl.Decimal(31, 7)).equals(frame["Amount"])


def test_scale_can_be_larger_than_memory(start: Callable[..., Any]) -> None:
    api = start(scale_rows=MAX_ROWS)
    page = api.data("SCALE", pagesize="3", dollar_count="true").json()
    assert page["@odata.count"] == MAX_ROWS
    last = api.data("SCALE", pagesize="3", dollar_skip=str(MAX_ROWS - 2)).json()
    assert len(last["value"]) == 2
    assert "@odata.nextLink" not in last


def test_edm_types_holds_every_primitive_type_in_the_form_of_odata_json(start: Callable[..., Any]) -> None:
    rows = start().rows("EDM_TYPES")
    first = {name: next(r[name] for r in rows if r[name] is not None) for name in rows[0]}
    assert first == {
        "Id": 1, "Boolean": True, "Byte": 0, "SByte": -128, "Int16": -32768, "Int32": -2147483648,
        "Int64": -9223372036854775808, "Single": Decimal("0.5"), "Double": Decimal("0.1"),
        "Decimal": Decimal("0.1000000"),
        "String": "plain", "Date": "2024-02-29", "TimeOfDay": "00:00:00.000000",
        "DateTimeOffset": "2024-02-29T23:59:59.123456Z", "Duration": "P0DT0.000000S",
        "Guid": "01234567-89ab-cdef-0123-456789abcdef", "Binary": "",
    }  # fmt: skip
    values = {name: {str(r[name]) for r in rows} for name in rows[0]}
    assert {"NaN", "INF", "-INF", "1e-300", "-1e300", "12345.678"} <= {
        v.replace("E", "e").replace("+", "") for v in values["Double"]
    }
    assert {"9223372036854775807", str(2**53 + 1)} <= values["Int64"]
    assert {"999999999999999999999999.9999999", "1E-7", "0E-7"} <= values["Decimal"]
    assert {"P1DT7384.500000S", "-P0DT90.000000S", "P400DT0.000000S"} <= values["Duration"]
    assert {"AP_-", "cGxhaW4="} <= values["Binary"]
    assert {"1582-10-15", "9999-12-31"} <= values["Date"]
    assert all("None" in values[name] for name in values if name != "Id")


def test_edm_types_can_be_summed_and_read_as_csv(start: Callable[..., Any]) -> None:
    api = start()
    rows = api.rows("EDM_TYPES")
    [total] = api.rows("EDM_TYPES", "FactDataAggregation", dollar_select="Byte,Int16,Decimal,Double")
    assert total["Byte"] == sum(r["Byte"] for r in rows if r["Byte"] is not None)
    assert total["Int16"] == sum(r["Int16"] for r in rows if r["Int16"] is not None)
    with localcontext(prec=60):
        assert total["Decimal"] == sum(r["Decimal"] for r in rows if r["Decimal"] is not None)
    assert math.isnan(float(total["Double"]))
    text = api.data("EDM_TYPES", dollar_format="text/csv").content.decode()
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [r["String"] for r in read] == [r["String"] or "" for r in rows]
    assert [r["Int64"] for r in read] == ["" if r["Int64"] is None else str(r["Int64"]) for r in rows]


def test_records_share_keys_and_aggregation_sums_them(start: Callable[..., Any]) -> None:
    api = start()
    rows = api.rows("RECORDS", pagesize="100", dollar_count="true")
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["Version"], row["Date"], row["CostCenter"]), []).append(row)
    assert (len(rows), len(cells), max(map(len, cells.values())), min(map(len, cells.values()))) == (438, 24, 36, 1)
    assert any(one == two for records in cells.values() for one, two in pairwise(records))
    assert any(row["Amount"] is None for row in rows)
    sums = api.rows("RECORDS", "FactDataAggregation")
    for row in sums:
        records = cells.pop((row["Version"], row["Date"], row["CostCenter"]))
        for measure in ["Amount", "Quantity"]:
            assert row[measure] == sum(record[measure] or 0 for record in records)
    assert not cells
    [total] = api.rows("RECORDS", "FactDataAggregation", dollar_select="Amount,Quantity")
    assert total["Amount"] == sum(row["Amount"] or 0 for row in rows)


def test_hierarchies_have_columns_of_parents_named_after_them(start: Callable[..., Any]) -> None:
    api = start()
    stores = {row.pop("ID"): row for row in api.rows("HIERARCHIES", "StoreMasterWithHierarchy")}
    assert list(stores["S1"]) == ["Description", "H1_PARENTID", "H2_PARENTID"]
    assert (stores["S3"]["H1_PARENTID"], stores["S3"]["H2_PARENTID"]) == ("SOUTH", "S1")
    assert stores["ALL"]["H1_PARENTID"] == "<root>"
    outlets = {row.pop("ID"): row for row in api.rows("HIERARCHIES", "OutletMasterWithHierarchy")}
    assert outlets["S1"]["parentId_PARENTID"] == "NORTH"
    assert list(outlets["ALL"]) == ["Description"]
    facts = api.rows("HIERARCHIES")
    assert {row["PostingDate"] for row in facts} == {"0000"}
    assert {"000000", "202402"} <= {row["DueDate"] for row in facts}
    assert {row["Store___Manager"] for row in facts} == {"M0", "M1", "M2"}


def test_models_for_tests_are_not_listed(start: Callable[..., Any]) -> None:
    listed = start(list_live=True).get("administration/Namespaces('sac')/Providers").json()["value"]
    assert [row["ProviderID"] for row in listed[4:]] == ["LIVE_SALES", "SEAMLESS_PLAN"]
