"""Public dimensions, currency and unit tables: listed, read, and explained where SAC has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

import sacnb.sandbox
from sacnb._tenant import Tenant
from sacnb.errors import ConfirmationError, QueryError, RowsError, UnknownNameError, WriteError
from sacnb.sandbox import Column, Sandbox

KEY = {"key": True, "nullable": False, "max_length": 20}


def serve(sandbox: Sandbox, table_id: str, namespace: str, entity_set: str, rows: pl.DataFrame) -> None:
    columns = [
        Column(name, "Edm.Double") if rows.schema[name].is_float() else Column(name, **(KEY if not at else {}))
        for at, name in enumerate(rows.columns)
    ]
    model = sacnb.sandbox.table_model(table_id, columns=columns, rows=rows, name=f"{table_id} table")
    sandbox.add_model(replace(model, namespace=namespace, table_set=entity_set))


def test_a_public_dimension_is_read_as_members_are(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    rows = pl.DataFrame({"ID": ["ALL", "S1"], "Description": ["All", "One"], "Parent": ["<root>", "ALL"], "Size": "L"})
    serve(sandbox, "STORES", "sac_public_dimensions", "PublicDimensionData", rows)
    tenant = connect_to(sandbox)
    assert tenant.tables().rows() == [("STORES", "STORES table", "")]
    assert tenant.table("STORES").rows() == [("ALL", "All", None, 0, "L"), ("S1", "One", "ALL", 1, "L")]
    assert "STORES" not in tenant.models()["id"].to_list()
    with pytest.raises(UnknownNameError, match="There is no dimension table 'STORE'"):
        tenant.table("STORE")


@pytest.mark.parametrize(("kind", "namespace"), [("currency", "sac_currency_tables"), ("unit", "sac_unit_conversion")])
def test_rates_are_numbers_and_the_only_set_is_read_whatever_its_name(
    sandbox: Sandbox, connect_to: Callable[..., Tenant], kind: str, namespace: str
) -> None:
    rows = pl.DataFrame({"Source": ["USD", "GBP"], "Target": ["EUR", "EUR"], "Rate": [0.92, 1.15]})
    serve(sandbox, "RATES", namespace, "SomeOtherName", rows)
    found = connect_to(sandbox).table("RATES", kind)  # type: ignore[arg-type]
    assert found.schema == {"Source": pl.String, "Target": pl.String, "Rate": pl.Float64}
    assert found.rows() == rows.rows()


def test_a_tenant_without_such_tables_says_what_it_lists(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    tenant = connect_to(sandbox)
    with pytest.raises(
        QueryError, match=r"no currency tables: the namespace 'sac_currency_tables' is not listed\. It lists: sac\."
    ):
        tenant.tables("currency")
    with pytest.raises(QueryError, match="kind must be 'dimension' or 'currency' or 'unit'"):
        tenant.tables("currencies")  # type: ignore[arg-type]


# -- writing -----------------------------------------------------------------------------------------------------------

STORES = pl.DataFrame({"ID": ["S1", "S2"], "Description": ["One", "Two"], "Colour": ["red", "blue"]})
RATES = pl.DataFrame({"fromCurr": ["USD", "GBP"], "toCurr": ["EUR", "EUR"], "rateValue": ["0.92", "1.15"]})


@pytest.fixture
def stores(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Tenant:
    serve(sandbox, "STORES", "sac_public_dimensions", "PublicDimensionData", STORES)
    columns = [*(Column(name, **KEY) for name in ("fromCurr", "toCurr")), Column("rateValue", "Edm.Decimal", scale=7)]
    rates = RATES.with_columns(pl.col("rateValue").cast(pl.Decimal(31, 7)))
    model = sacnb.sandbox.table_model("RATES", columns=columns, rows=rates)
    sandbox.add_model(replace(model, namespace="sac_currency_tables", table_set="CurrencyTable"))
    return connect_to(sandbox)


def rates(tenant: Tenant) -> dict[str, float]:
    return dict(tenant.table("RATES", "currency").select("fromCurr", "rateValue").rows())


def test_members_are_added_and_changed_and_keep_the_attributes_that_the_frame_leaves_out(stores: Tenant) -> None:
    frame = stores.table("STORES").select("id", "description")[:1].with_columns(description=pl.lit("First"))
    report = stores.write_table("STORES", pl.concat([frame, pl.DataFrame({"id": ["S3"], "description": ["Three"]})]))
    assert (report.rows, report.verified, report.method, report.can_undo) == (2, True, "Update", False)
    found = stores.table("STORES").select("id", "description", "Colour").sort("id").rows()
    assert found == [("S1", "First", "red"), ("S2", "Two", "blue"), ("S3", "Three", None)]


def test_attributes_that_are_not_known_are_not_deleted_unasked(
    stores: Tenant, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    def unlisted(*_: object) -> None:
        raise QueryError("not listed")

    monkeypatch.setattr("sacnb._tenant.connection.read_table", unlisted)
    with pytest.raises(QueryError, match=r"SAC deletes the attributes of members that an upload leaves out.*: Colour"):
        stores.write_table("STORES", {"ID": ["S1"], "Description": ["First"]})
    assert sandbox.counts["import_create_requests"] == 0
    report = stores.write_table("STORES", {"ID": ["S1"], "Description": ["First"], "Colour": ["green"]})
    assert report.verified is None
    assert "does not read back" in report.notes[-1]


def test_rates_are_added_or_replaced_with_the_number_of_rows_confirmed(stores: Tenant, sandbox: Sandbox) -> None:
    new = {"fromCurr": ["USD", "CHF"], "toCurr": ["EUR", "EUR"], "rateValue": [0.95, 1.05]}
    assert stores.write_table("RATES", new, "currency").verified
    assert rates(stores) == {"USD": 0.95, "GBP": 1.15, "CHF": 1.05}
    with pytest.raises(ConfirmationError, match="would delete all 3 rows of 'RATES' first") as caught:
        stores.write_table("RATES", new, "currency", replace=True)
    assert len(rates(stores)) == caught.value.rows == 3
    report = stores.write_table("RATES", new, "currency", replace=True, confirm=3)
    assert (report.deleted, report.method, rates(stores)) == (3, "DropAndInsert", {"USD": 0.95, "CHF": 1.05})


def test_units_have_their_own_import_type(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    rows = pl.DataFrame({"MSEHI": ["BAG"], "MSEHT": ["Bag"]})
    serve(sandbox, "T006A", "sac_unit_conversion", "UnitDescriptions", rows)
    tenant = connect_to(sandbox)
    assert tenant.write_table("T006A", {"MSEHI": ["BOX"], "MSEHT": ["Box"]}, "unit").verified
    assert sorted(tenant.table("T006A", "unit").rows()) == [("BAG", "Bag"), ("BOX", "Box")]
    assert any(one.path.endswith("/unitConversions/T006A/unitDescriptions") for one in sandbox.log)


@pytest.mark.parametrize(
    ("frame", "options", "refusal"),
    [
        ({"ID": ["S1", "S1", None]}, {}, (RowsError, r"duplicate key \(2\), null \(1\)")),
        ({"ID": ["S1"], "Size": ["L"]}, {}, (RowsError, "has no column 'Size'")),
        ({"id": ["S1"], "Id": ["S2"]}, {}, (QueryError, "'id' and 'Id' both stand for 'ID'")),
        ({"ID": ["S1"]}, {"replace": True}, (QueryError, "replace=True is for currency tables")),
        ({"ID": []}, {}, (QueryError, "The frame has no rows")),
        ({"ID": ["S1"]}, {"table_id": "STORE"}, (UnknownNameError, "There is no dimension table 'STORE'")),
        ({"ID": ["S1"]}, {"kind": "dimensions"}, (QueryError, "kind must be")),
    ],
)
def test_rows_and_arguments_are_checked_before_anything_is_sent(
    stores: Tenant, sandbox: Sandbox, frame: Any, options: Any, refusal: tuple[type[Exception], str]
) -> None:
    with pytest.raises(refusal[0], match=refusal[1]):
        stores.write_table(frame=frame, **{"table_id": "STORES", **options})
    assert sandbox.counts["import_create_requests"] == 0


def test_rows_that_do_not_arrive_are_noticed(stores: Tenant, sandbox: Sandbox) -> None:
    frame = {"ID": ["S9"], "Description": ["Nine"], "Colour": ["grey"]}
    assert stores.write_table("STORES", frame, dry_run=True).is_dry_run
    sandbox.misbehave("run_writes_nothing", times=1)
    with pytest.raises(WriteError, match="3 values of 'STORES' read back are not as written"):
        stores.write_table("STORES", frame)
    sandbox.misbehave("upload_drops_rows", rows=1, times=1)
    with pytest.raises(RowsError, match="SAC rejected 1 of 1 rows"):
        stores.write_table("STORES", frame)
