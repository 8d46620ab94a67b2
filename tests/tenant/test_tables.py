"""Public dimensions, currency and unit tables: listed, read, and explained where SAC has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

import sacnb.sandbox
from sacnb._tenant import Tenant
from sacnb.errors import QueryError, UnknownNameError
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
