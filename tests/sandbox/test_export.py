from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from sacnb.sandbox import Column, table_model


def test_top_does_not_limit_the_providers_and_the_filter_uses_their_name(start: Callable[..., Any]) -> None:
    api = start()
    path = "administration/Namespaces(NamespaceID='sac')/Providers"
    ids = [row["ProviderID"] for row in api.get(f"{path}?$top=1").json()["value"]]
    assert ids == ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]
    found = api.get(f"{path}?$filter=contains(ProviderName,'planning')").json()["value"]
    assert [row["ProviderID"] for row in found] == ["PLANNING"]
    assert api.get(f"{path}?$filter=Name eq 'Scale'").status_code == 400
    assert api.get("administration/Namespaces('sac')/Providers").json() == api.get(path).json()


def test_sac_is_the_only_namespace(start: Callable[..., Any]) -> None:
    api = start()
    one = api.get("administration/Namespaces(NamespaceID='sac')").json()
    assert one["NamespaceID"] == "sac"
    for path in ["administration/Namespaces('other')", "administration/Namespaces('it''s')/Providers"]:
        assert api.get(path).status_code == 404
    assert api.get("providers/other/US_EMPLOYMENT/FactData").status_code == 404


def test_a_live_connection_model_is_refused_and_listed_only_on_request(start: Callable[..., Any]) -> None:
    api = start(list_live=True)
    for path in ["LIVE_SALES/", "LIVE_SALES/$metadata", "LIVE_SALES/FactData", "SEAMLESS_PLAN/FactData"]:
        answer = api.get(f"providers/sac/{path}")
        assert answer.status_code == 412
        assert "Requested ProviderID is not supported" in answer.json()["error"]["message"]
    listed = api.get("administration/Namespaces('sac')/Providers").json()["value"]
    assert "LIVE_SALES" in [row["ProviderID"] for row in listed]


@pytest.mark.parametrize(
    ("path", "status", "ending"),
    [
        ("providers/sac/NO_SUCH/FactData", 404, "'sac'."),
        ("providers/sac/NO_SUCH/", 404, "'sac'."),
        ("providers/sac/US_EMPLOYMENT/EmployeesMaster", 404, "[3707]"),
        ("providers/sac/US_EMPLOYMENT/SectorMasterData", 404, "[3707]"),
        ("providers/sac/US_EMPLOYMENT/DateMasterWithHierarchy", 404, "[3707]"),
        ("providers/sac/US_EMPLOYMENT/AuditData", 400, "[3905]"),
        ("models/US_EMPLOYMENT/jobs", 404, "[1305]"),
        ("providers/sac/US_EMPLOYMENT/FactData/$count", 406, "Not Acceptable"),
        ("providers/sac/US_EMPLOYMENT/FactData?$select=Version,Date,Employees", 400, "[1402]"),
        ("providers/sac/US_EMPLOYMENT/SectorMaster?$select=Description", 400, "[1402]"),
        ("providers/sac/US_EMPLOYMENT/FactData?$select=Version, Date, Sector", 400, "without blanks."),
        ("providers/sac/US_EMPLOYMENT/FactData?$select=Version,Date,Sector,Nope", 400, "does not exist."),
        ("providers/sac/US_EMPLOYMENT/FactData?$select=", 400, "without blanks."),
        ("providers/sac/US_EMPLOYMENT/FactData?$orderby=Nope", 400, "does not exist."),
        ("providers/sac/US_EMPLOYMENT/FactData?$orderby=Date up", 400, "'Date up'."),
        ("providers/sac/US_EMPLOYMENT/FactData?$filter=Nope eq 'x'", 400, "does not exist."),
        ("providers/sac/US_EMPLOYMENT/FactData?$filter=Sector eq", 400, "malformed at ' eq'."),
        ("providers/sac/US_EMPLOYMENT/FactData?$filter=", 400, "is malformed at its end."),
        ("providers/sac/US_EMPLOYMENT/FactData?$top=-1", 400, "'-1'."),
        ("providers/sac/US_EMPLOYMENT/FactData?$skip=x", 400, "'x'."),
        ("providers/sac/US_EMPLOYMENT/FactData?$count=yes", 400, "'yes'."),
        ("providers/sac/US_EMPLOYMENT/FactData?pagesize=0", 400, "'0'."),
        ("providers/sac/US_EMPLOYMENT/FactData?package=0", 400, "'0'."),
        ("providers/sac/US_EMPLOYMENT/FactData?$format=parquet", 400, "is not supported."),
        ("providers/sac/US_EMPLOYMENT/FactData?$format=xml", 400, "supported for data."),
        ("providers/sac/US_EMPLOYMENT/FactData?$format=text/csv&delimiter=ab", 400, "'ab'."),
        ("providers/sac/US_EMPLOYMENT/FactData?$top=1&$top=2", 400, "given twice."),
        ("providers/sac/US_EMPLOYMENT/FactData?$filter=Sector eq '100%25 %ZZ'", 400, "two hexadecimal digits."),
        ("providers/sac/US_EMPLOYMENT/FactData?$filter=Sector eq '%FF'", 400, "not UTF-8."),
        ("providers/sac/US_EMPLOYMENT%FF/FactData", 400, "not UTF-8."),
        ("providers/sac/US_EMPLOYMENT/FactData?deltaid=unknown", 404, "delta id."),
        ("providers/sac/US_EMPLOYMENT/FactData?$skiptoken=nonsense", 400, "is not valid."),
    ],
)
def test_requests_that_sac_refuses_are_refused(start: Callable[..., Any], path: str, status: int, ending: str) -> None:
    api = start()
    found, body = api.raw(f"/api/v1/dataexport/{path.replace(' ', '%20')}")
    assert (found, json.loads(body)["error"]["message"][-len(ending) :]) == (status, ending)


def test_a_whole_url_in_the_request_line_is_understood(start: Callable[..., Any]) -> None:
    api = start()
    status, body = api.raw(f"{api.sandbox.tenant_url}/api/v1/dataexport/administration/Namespaces")
    assert (status, json.loads(body)["value"][0]["NamespaceID"]) == (200, "sac")


def test_apply_and_other_unknown_options_are_ignored(start: Callable[..., Any]) -> None:
    api = start()
    plain = api.data("US_EMPLOYMENT", pagesize="5").json()["value"]
    options = {
        "dollar_apply": "aggregate(Employees with sum as S)",
        "dollar_search": "x",
        "dollar_expand": "y",
        "foo": "1",
    }
    assert api.data("US_EMPLOYMENT", pagesize="5", **options).json()["value"] == plain


def test_a_plus_is_not_a_blank(start: Callable[..., Any]) -> None:
    api = start()
    assert api.get("providers/sac/US_EMPLOYMENT/FactData?$filter=Sector+eq+'10'").status_code == 400
    assert api.get("providers/sac/US_EMPLOYMENT/FactData?$filter=Sector%20eq%20'a+b'").json()["value"] == []


def test_an_option_repeated_with_the_same_value_is_tolerated(start: Callable[..., Any]) -> None:
    page = start().get("providers/sac/US_EMPLOYMENT/FactData?pagesize=3&pagesize=3&$count=true&$count=true").json()
    assert len(page["value"]) == 3


def test_a_url_that_is_too_long_is_refused_in_the_envelope_of_sac(start: Callable[..., Any]) -> None:
    api = start(max_url_chars=300)
    assert api.data("US_EMPLOYMENT", dollar_filter="Sector eq '10'").status_code == 200
    answer = api.data("US_EMPLOYMENT", dollar_filter=f"Sector eq '{'x' * 300}'")
    assert answer.status_code == 414
    assert "300 characters" in answer.json()["error"]["message"]


def test_select_keeps_the_order_of_the_metadata(start: Callable[..., Any]) -> None:
    row = (
        start()
        .data("SCALE", dollar_select="Customer,Product,Channel,Region,Date,Version", pagesize="1")
        .json()["value"][0]
    )
    assert list(row) == ["Version", "Date", "Region", "Channel", "Product", "Customer"]


def test_aggregation_sums_by_the_selected_dimensions(start: Callable[..., Any]) -> None:
    api = start()
    sums: dict[tuple[str, str], Any] = {}
    for row in api.rows("US_EMPLOYMENT", dollar_filter="startswith(Date,'2010')"):
        key = row["Version"], row["Sector"]
        sums[key] = sums.get(key, 0) + row["Employees"]
    found = api.rows(
        "US_EMPLOYMENT", "FactDataAggregation",
        dollar_select="Version,Sector,Employees", dollar_filter="startswith(Date,'2010')", pagesize="7",
    )  # fmt: skip
    assert {(row["Version"], row["Sector"]): row["Employees"] for row in found} == sums
    assert all(list(row) == ["Version", "Sector", "Employees"] for row in found)


def test_aggregation_counts_orders_and_cuts(start: Callable[..., Any]) -> None:
    api = start()
    every = api.rows("US_EMPLOYMENT", "FactDataAggregation", dollar_select="Sector,Employees")
    top = api.data(
        "US_EMPLOYMENT", "FactDataAggregation",
        dollar_select="Sector,Employees", dollar_orderby="Employees desc", dollar_top="3", dollar_count="true",
    ).json()  # fmt: skip
    assert top["@odata.count"] == len(every) == 15
    expected = sorted(every, key=lambda r: r["Employees"], reverse=True)[:3]
    assert [r["Sector"] for r in top["value"]] == [r["Sector"] for r in expected]
    [total] = api.rows("US_EMPLOYMENT", "FactDataAggregation", dollar_select="Employees")
    assert total["Employees"] == sum(r["Employees"] for r in every)


def test_aggregation_without_measures_gives_the_combinations(start: Callable[..., Any]) -> None:
    rows = start().rows("US_EMPLOYMENT", "FactDataAggregation", dollar_select="Version")
    assert rows == [{"Version": "public.Actual"}, {"Version": "public.Plan"}]


def test_the_sum_of_nulls_is_null(start: Callable[..., Any]) -> None:
    api = start()
    [row] = api.rows("SCALE", "FactDataAggregation", dollar_select="Amount", dollar_filter="Amount eq null")
    assert row["Amount"] is None


@pytest.mark.parametrize(
    ("provider", "entity_set", "columns"),
    [
        ("US_EMPLOYMENT", "SectorMaster", ["ID", "Description"]),
        ("US_EMPLOYMENT", "SectorMasterWithHierarchy", ["ID", "Description", "Parent", "Level"]),
        ("PLANNING", "AccountMaster", ["ID", "Description", "accType"]),
        ("US_EMPLOYMENT", "DateMaster", ["ID", "Description", "DATE", "CALMONTH", "CALQUARTER", "CALYEAR"]),
        ("US_EMPLOYMENT", "VersionMaster", ["ID", "Description", "VERSION"]),
    ],
)
def test_master_data_has_id_description_and_attributes(
    start: Callable[..., Any], provider: str, entity_set: str, columns: list[str]
) -> None:
    assert list(start().rows(provider, entity_set)[0]) == columns


@pytest.mark.parametrize("set_name", ["US_EMPLOYMENT/Sector", "PLANNING/Account", "PLANNING/Region", "SCALE/Product"])
def test_every_member_of_a_hierarchy_leads_to_a_root(start: Callable[..., Any], set_name: str) -> None:
    provider, dimension = set_name.split("/")
    api = start()
    rows = api.rows(provider, f"{dimension}MasterWithHierarchy")
    parents = {row["ID"]: row["Parent"] for row in rows}
    levels = {row["ID"]: row["Level"] for row in rows}
    assert "<root>" in parents.values()
    for member, parent in parents.items():
        assert levels[member] == (0 if parent == "<root>" else levels[parent] + 1)
    assert [row["ID"] for row in api.rows(provider, f"{dimension}Master")] == list(parents)
    inner = set(parents.values())
    facts = {row[dimension] for row in api.rows(provider)}
    assert facts <= set(parents) - inner


def test_master_data_of_all_dimensions_is_the_facts_with_their_attributes(start: Callable[..., Any]) -> None:
    api = start()
    facts, joined = api.rows("PLANNING"), api.rows("PLANNING", "MasterData", pagesize="300")
    accounts = {row["ID"]: row for row in api.rows("PLANNING", "AccountMaster")}
    assert len(facts) == len(joined)
    for fact, row in zip(facts, joined, strict=True):
        assert (row["Version___ID"], row["Date___CALMONTH"], row["Account___ID"]) == (
            fact["Version"], fact["Date"], fact["Account"],
        )  # fmt: skip
        assert row["Account___accType"] == accounts[fact["Account"]]["accType"]
        assert row["Account___Description"] == accounts[fact["Account"]]["Description"]
        assert (row["Date___CALYEAR"], row["SignedData"]) == (fact["Date"][:4], fact["SignedData"])


def test_master_data_can_be_filtered_by_an_attribute(start: Callable[..., Any]) -> None:
    rows = start().rows(
        "PLANNING", "MasterData", dollar_filter="Account___accType eq 'INC' and Date___CALYEAR eq '2024'"
    )
    assert rows
    assert {(row["Account___accType"], row["Date___CALYEAR"]) for row in rows} == {("INC", "2024")}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_holds_the_same_rows_as_json(start: Callable[..., Any], delimiter: str) -> None:
    api = start()
    answer = api.data("SCALE", dollar_format="text/csv", delimiter=delimiter)
    assert answer.headers["Content-Type"].startswith("text/csv")
    answer.encoding = "utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline=""), delimiter=delimiter))
    expected = [{name: "" if value is None else str(value) for name, value in row.items()} for row in api.rows("SCALE")]
    assert rows == expected


def test_csv_pages_are_linked_by_a_header(start: Callable[..., Any]) -> None:
    api = start()
    answer, seen = api.data("US_EMPLOYMENT", dollar_format="text/csv", pagesize="1000"), 0
    while True:
        seen += len(answer.text.splitlines()) - 1
        if "next" not in answer.links:
            break
        answer = api.get(answer.links["next"]["url"])
    assert seen == 3420


@pytest.mark.parametrize("accept", ["gzip", "gzip, deflate, br", "*", "identity", "gzip;q=0", ""])
def test_gzip_is_sent_when_it_is_asked_for(start: Callable[..., Any], accept: str) -> None:
    api = start()
    answer = api.get("providers/sac/US_EMPLOYMENT/FactData?$top=100", headers={"Accept-Encoding": accept})
    assert (answer.headers.get("Content-Encoding") == "gzip") == (accept in {"gzip", "gzip, deflate, br", "*"})
    assert len(answer.json()["value"]) == 100


def test_a_model_can_be_added_and_replaced_and_its_id_may_hold_anything(start: Callable[..., Any]) -> None:
    columns = [Column("Key", key=True), Column("N", "Edm.Int64")]
    name = "sap.epm:Best/Run'Juice #1"
    api = start()
    for value in [1, 2]:
        rows = pl.DataFrame({"Key": ["a"], "N": [value]})
        api.sandbox.add_model(table_model(name, columns=columns, rows=rows))
        encoded = "sap.epm%3ABest%2FRun%27Juice%20%231"
        assert api.rows(encoded) == [{"Key": "a", "N": value}]
        assert api.rows(encoded, "FactDataAggregation", dollar_select="N") == [{"N": value}]
    listed = api.get("administration/Namespaces('sac')/Providers").json()["value"]
    assert listed[-1]["ServiceURL"].endswith(f"/providers/sac/{encoded}/")


def test_a_model_whose_rows_do_not_fit_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="no column 'N'"):
        table_model("X", columns=[Column("N", "Edm.Int64")], rows=pl.DataFrame({"M": [1]}))
    with pytest.raises(ValueError, match=r"Edm\.Fancy"):
        Column("N", "Edm.Fancy")
