"""Members come as a frame, with parents and levels wherever SAC tells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from sacnb._tenant import Tenant
from sacnb._tenant.members import members_frame, read_members
from sacnb.errors import NotFoundError, QueryError, RequestError, UnknownNameError
from sacnb.sandbox import Sandbox


def test_a_hierarchy_has_parents_and_levels(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    sectors = connect_to(sandbox).model("US_EMPLOYMENT").members("Sector")
    assert sectors.columns[:4] == ["id", "description", "parent", "level"]
    rows = {row["id"]: row for row in sectors.to_dicts()}
    assert (rows["00"]["parent"], rows["00"]["level"]) == (None, 0)
    assert (rows["05"]["parent"], rows["05"]["level"]) == ("00", 1)
    assert all(rows[row["parent"]]["level"] + 1 == row["level"] for row in rows.values() if row["parent"])


def test_a_dimension_without_hierarchy_has_ids_and_descriptions(
    sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    versions = connect_to(sandbox).model("US_EMPLOYMENT").members("Version")
    assert set(versions["id"]) == {"public.Actual", "public.Plan"}


def test_an_unknown_dimension_gets_the_nearest_names(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'Sector'"):
        connect_to(sandbox).model("US_EMPLOYMENT").members("Sektor")


def test_a_dimension_without_master_data_says_where_to_look(
    sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    with pytest.raises(QueryError, match=r"fetch\(\).polars\(\)"):
        connect_to(sandbox).model("EDM_TYPES").members("Id")


CIRCLE = [{"ID": "a", "Parent": "b"}, {"ID": "b", "Parent": "a"}, {"ID": "c", "Parent": "b"}]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], {}),
        ([{"ID": "1", "Description": "One", "@odata.id": "x"}], {"id": ["1"], "description": ["One"]}),
        (
            [{"ID": "r", "Parent": "<root>"}, {"ID": "c", "Parent": "r"}, {"ID": "o", "Parent": "gone"}],
            {"id": ["r", "c", "o"], "parent": [None, "r", "gone"], "level": [0, 1, None]},
        ),
        (CIRCLE, {"id": ["a", "b", "c"], "parent": ["b", "a", "b"], "level": [None, None, None]}),
        (
            [{"id": "r", "H1Parent": "", "Level": 7, "Size": 3}],
            {"id": ["r"], "parent": [None], "level": [0], "Size": ["3"]},
        ),
        # Two hierarchies: neither is "the" parent, and both are kept as SAC sends them.
        ([{"ID": "1", "H1Parent": "a", "H2Parent": "b"}], {"id": ["1"], "H1Parent": ["a"], "H2Parent": ["b"]}),
        ([{"Key": "1"}], {"Key": ["1"]}),
        ([{"ID": "1"}, {"ID": "2", "Late": None}], {"id": ["1", "2"], "Late": [None, None]}),
    ],
)
def test_the_columns_are_found_by_their_names(rows: list[dict[str, Any]], expected: dict[str, list[Any]]) -> None:
    frame = members_frame(rows)
    assert frame.to_dict(as_series=False) == expected
    assert all(dtype == (pl.Int32 if name == "level" else pl.String) for name, dtype in frame.schema.items())


def test_a_deep_hierarchy_is_no_problem() -> None:
    rows = [{"ID": str(n), "Parent": str(n + 1) if n < 4999 else "<root>"} for n in range(5000)]
    assert members_frame(rows)["level"].to_list() == list(range(4999, -1, -1))


def test_a_gateways_404_is_no_answer_about_the_hierarchy(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    sandbox.misbehave("error_404", on="hierarchy")
    with pytest.raises(NotFoundError):
        model.members("Sector")


def test_a_gateways_404_does_not_hide_an_unknown_member(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "typo"})
    sandbox.misbehave("error_404", on="master")
    with pytest.raises(NotFoundError):
        facts.fetch()


def test_a_gateways_404_is_no_unknown_model(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    sandbox.misbehave("error_404", on="metadata")
    with pytest.raises(NotFoundError):
        _ = connect_to(sandbox).model("US_EMPLOYMENT").schema


def test_a_flat_dimension_may_answer_400_where_its_hierarchy_is_read(
    sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    sandbox.misbehave("no_hierarchy_400")
    connection = connect_to(sandbox)._connection
    assert read_members(connection, "US_EMPLOYMENT", "sac", "VersionMasterWithHierarchy") is None
    with pytest.raises(RequestError, match="400"):
        connection.read_list("/api/v1/dataexport/providers/sac/US_EMPLOYMENT/VersionMasterWithHierarchy", "read")


def test_parents_are_found_under_the_name_of_their_hierarchy() -> None:
    rows: list[dict[str, Any]] = [
        {"ID": "r", "H1_PARENTID": "<root>", "H2_PARENTID": "c"},
        {"ID": "top"},
        {"ID": "c", "H1_PARENTID": "r"},
    ]
    frame = members_frame(rows)
    assert frame["parent"].to_list() == [None, None, "r"]
    assert frame["level"].to_list() == [0, 0, 1]
    assert frame["H2_PARENTID"].to_list() == ["c", None, None]
