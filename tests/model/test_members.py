"""Members come as a frame, with parents and levels wherever SAC tells them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sacnb
from sacnb import Model, Result
from sacnb._tenant import Tenant
from sacnb._tenant.members import members_frame, read_members
from sacnb.errors import BadAnswer, NotFoundError, ParentMemberWarning, QueryError, RequestError, UnknownNameError
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.small import read_csv


def test_a_hierarchy_has_parents_and_levels(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    sectors = connect_to(sandbox).model("US_EMPLOYMENT").members("Sector")
    assert sectors.columns[:4] == ["id", "description", "parent", "level"]
    rows = {row["id"]: row for row in sectors.to_dicts()}
    assert (rows["00"]["parent"], rows["00"]["level"]) == (None, 0)
    assert (rows["05"]["parent"], rows["05"]["level"]) == ("00", 1)
    assert all(rows[row["parent"]]["level"] + 1 == row["level"] for row in rows.values() if row["parent"])


def test_a_page_that_has_fewer_members_than_it_says_is_fetched_again_or_refused(
    sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    right = connect_to(sandbox).model("US_EMPLOYMENT").members("Sector")
    sandbox.misbehave("rows_lost", on="pages", times=1)
    assert connect_to(sandbox).model("US_EMPLOYMENT").members("Sector").equals(right)
    sandbox.misbehave("rows_lost", on="pages")
    with pytest.raises(BadAnswer, match=f"{len(right) - 1} rows, and says of itself {len(right)}"):
        connect_to(sandbox).model("US_EMPLOYMENT").members("Sector")


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


# -- parents, roll-ups and labels: the figures are those of the published file ---------------------------------------

BELOW_30 = ["31", "32"]
BELOW_06 = ["10", "20", *BELOW_30]


@pytest.fixture
def jobs(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> Model:
    return connect_to(sandbox).model("US_EMPLOYMENT", version="public.Actual")


def published(*sectors: str, year: str = "2015") -> Decimal:
    rows = read_csv("us_employment.csv").filter(pl.col("sector").is_in(sectors), pl.col("date").str.starts_with(year))
    return sum(map(Decimal, rows["employees_thousand"]), Decimal(0))


def total(result: Result) -> Decimal:
    return sum(result.arrow()["Employees"].to_pylist(), Decimal(0))


def test_under_a_parent_are_its_rows(jobs: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wanted, sectors in (
            (sacnb.under("30"), BELOW_30),
            (sacnb.under("06"), BELOW_06),
            ([sacnb.under("30"), "90"], [*BELOW_30, "90"]),
            (sacnb.under("31"), ["31"]),
        ):
            assert total(jobs.facts(where={"Sector": wanted}, since="2015").fetch()) == published(*sectors)
        summed = jobs.facts(where={"Sector": sacnb.under("30")}, since="2015", dims=["Date"]).fetch()
    assert total(summed) == published(*BELOW_30)
    with pytest.raises(UnknownNameError, match="no member '3'"):
        jobs.facts(where={"Sector": sacnb.under("3")})
    with pytest.raises(UnknownNameError, match="'Durable goods' is the description of '31'"):
        jobs.facts(where={"Sector": sacnb.under("Durable goods")})
    with pytest.raises(QueryError, match="have no hierarchy"):
        jobs.facts(where={"Version": sacnb.under("public.Actual")})
    with pytest.raises(QueryError, match="member must be text"):
        sacnb.under(30)  # type: ignore[arg-type]


def test_a_dimension_may_have_several_hierarchies(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    model = connect_to(sandbox).model("HIERARCHIES")
    for asked, stores in ((sacnb.under("NORTH"), ["S1", "S2"]), (sacnb.under("S1", "H2"), ["S1", "S2", "S3"])):
        result = model.facts(where={"Store": asked}).fetch()
        assert sorted(set(result["Store"])) == stores
    with pytest.raises(QueryError, match=r"no hierarchy 'H3'. It has H2 besides"):
        model.facts(where={"Store": sacnb.under("NORTH", "H3")})
    by_level = model.facts().fetch().tidy("year", rollup={"Store": 1})
    assert dict(by_level.frame.group_by("dim_Store").agg(pl.col("value").sum()).rows()) == {"NORTH": 8.0, "SOUTH": 4.0}
    turned = model.facts().fetch().tidy("year", rollup={"Store": ["S1"]}, hierarchy={"Store": "H2"})
    assert (turned["dim_Store"].unique().to_list(), turned["value"].sum()) == (["S1"], 12.0)


@pytest.mark.parametrize("dims", [None, ["Date"]])
def test_a_plain_parent_warns_and_names_the_leaves_and_the_call(jobs: Model, dims: list[str] | None) -> None:
    message = r"'30' of 'Sector' is a parent.*: '31', '32'\. To get them: where=\{'Sector': sacnb\.under\('30'\)\}"
    with pytest.warns(ParentMemberWarning, match=message) as caught:
        result = jobs.facts(where={"Sector": ["30", "20"]}, since="2015", dims=dims).fetch()
    assert [one.filename for one in caught] == [__file__]
    assert total(result) == published("20")
    with pytest.warns(ParentMemberWarning):
        assert len(jobs.facts(where={"Sector": "30"}, dims=dims).fetch()) == 0


def test_a_description_given_as_a_member_names_the_id(jobs: Model) -> None:
    for dims in (None, ["Date"]):
        with pytest.raises(UnknownNameError, match="'durable goods' is the description of '31': filter by the id"):
            jobs.facts(where={"Sector": "durable goods"}, dims=dims).fetch()
    with pytest.raises(UnknownNameError) as caught:
        jobs.facts(where={"Sector": "Manufacturing"}).fetch()
    assert caught.value.nearest == ("30",)


def test_rollups_by_level_and_by_node(jobs: Model, tmp_path: Path) -> None:
    result = jobs.facts(since="2015").fetch()
    goods, services = BELOW_06, ["41", "42", "43", "44", "50", "55", "60", "65", "70", "80"]
    by_level = result.tidy("year", rollup={"Sector": 2})
    assert dict(by_level.frame.select("dim_Sector", "value").rows()) == {  # 90 is at level 1, and stays
        "06": float(published(*goods)),
        "08": float(published(*services)),
        "90": float(published("90")),
    }
    assert "Sector is added up along its hierarchy." in by_level.note
    nodes = result.tidy("year", rollup={"Sector": ["00", "30"]})
    assert dict(nodes.frame.select("dim_Sector", "value").rows()) == {
        "00": float(published(*goods, *services, "90")),
        "30": float(published(*BELOW_30)),
    }
    mean = result.tidy("year", agg="mean", rollup={"Sector": "30"})
    assert mean["value"].to_list() == [float(published(*BELOW_30) / 12)]
    assert f"{13 * 12:,} values of members that are below none of the nodes are left out" in mean.note
    result.to_parquet(tmp_path / "jobs.parquet")
    kept = Result.from_parquet(tmp_path / "jobs.parquet")
    with pytest.raises(QueryError, match=r"not known: the result was read from a file.*members=\{'Sector'"):
        kept.tidy(rollup={"Sector": 2})
    again = kept.tidy("year", rollup={"Sector": 2}, members={"Sector": jobs.members("Sector")})
    assert again.frame.equals(by_level.frame)
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"Sektor": 1}, UnknownNameError),
        ({"Sector": "33"}, UnknownNameError),
        ({"Sector": -1}, QueryError),
        ({"Sector": True}, QueryError),
    ]
    for wanted, error in wrong:
        with pytest.raises(error):
            result.tidy(rollup=wanted)


def test_labels_stand_beside_ids(jobs: Model, tmp_path: Path) -> None:
    facts = jobs.facts(where={"Sector": ["31", "32"]}, since="2015-12")
    labelled = facts.fetch(labels=True)
    assert labelled.columns == ["Version", "Version_description", "Date", "Sector", "Sector_description", "Employees"]
    assert labelled.polars().select("Sector", "Sector_description").rows() == [
        ("31", "Durable goods"),
        ("32", "Nondurable goods"),
    ]
    assert labelled.pandas()["Version_description"].tolist() == ["Actual", "Actual"]
    assert labelled.arrow().column_names == ["Version", "Date", "Sector", "Employees"]
    for shown in (repr(labelled), labelled._repr_html_()):
        assert "Sector_description" in shown
        assert "Nondurable goods" in shown
    assert repr(labelled).splitlines()[0].startswith("US_EMPLOYMENT/FactData: 2 rows, 6 columns")
    labelled.to_csv(tmp_path / "jobs.csv")
    assert (
        (tmp_path / "jobs.csv").read_text().splitlines()[1].startswith("public.Actual,Actual,201512,31,Durable goods")
    )
    assert pickle.loads(pickle.dumps(labelled)).polars().equals(labelled.polars())
    plain = facts.fetch()
    assert plain.columns == ["Version", "Date", "Sector", "Employees"]
    for tidy in (plain.tidy(labels=True), labelled.tidy(), facts.refresh(labels=True).tidy()):
        assert tidy.columns == ["date", "dim_Version", "label_Version", "dim_Sector", "label_Sector", "value"]
        assert tidy["label_Sector"].to_list() == ["Durable goods", "Nondurable goods"]
    assert labelled.tidy(labels=False).columns == plain.tidy().columns
    rolled = labelled.tidy(rollup={"Sector": "30"})
    assert rolled.frame.select("dim_Sector", "label_Sector").row(0) == ("30", "Manufacturing")
    for chart in (labelled.plot(by="Sector"), labelled.tidy().plot(by="Sector")):
        assert set(chart.data["dim_Sector"]) == {"Durable goods (31)", "Nondurable goods (32)"}
    assert set(labelled.plot(by="Sector", labels={}).data["dim_Sector"]) == {"31", "32"}
