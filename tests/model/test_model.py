"""What users ask of a model, and what they get when they ask wrongly."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import openpyxl
import polars as pl
import pyarrow as pa
import pytest

from sacnb import Result, col
from sacnb._endpoints import FACT_DATA, FACT_DATA_AGGREGATION
from sacnb._tenant import Model, Tenant
from sacnb._tenant.members import NamedMembers
from sacnb._wire.session import SacSession
from sacnb.errors import (
    Cancelled,
    InconsistentAnswer,
    LiveConnectionError,
    MixedAccountsWarning,
    MixedVersionsWarning,
    ParentMemberWarning,
    QueryError,
    RowCountWarning,
    UnknownNameError,
)
from sacnb.sandbox import Column, Sandbox, start, table_model
from sacnb.sandbox.models.scale import scale as scale_of
from sacnb.sandbox.models.small import read_csv

ConnectTo = Callable[..., Tenant]


@pytest.fixture
def jobs(sandbox: Sandbox, connect_to: ConnectTo) -> Model:
    return connect_to(sandbox).model("US_EMPLOYMENT")


def paths(sandbox: Sandbox) -> list[str]:
    return [entry.path for entry in sandbox.log]


def test_making_a_model_asks_sac_nothing_and_its_schema_no_catalogue(sandbox: Sandbox, jobs: Model) -> None:
    assert paths(sandbox) == []
    assert [c.name for c in jobs.schema.dimensions] == ["Version", "Date", "Sector"]
    assert [c.name for c in jobs.schema.measures] == ["Employees"]
    assert jobs.schema.grain_of("Date") == "month"
    assert sum("$metadata" in path for path in paths(sandbox)) == 1
    assert not any("Providers" in path for path in paths(sandbox))


def test_an_unknown_model_gets_the_nearest_ids(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'US_EMPLOYMENT'") as caught:
        _ = connect_to(sandbox).model("US_EMPLOYMNT").schema
    assert caught.value.nearest == ("US_EMPLOYMENT",)


@pytest.mark.parametrize("model_id", ["", " ", ".", ".."])
def test_an_id_that_is_none_asks_nothing(sandbox: Sandbox, connect_to: ConnectTo, model_id: str) -> None:
    with pytest.raises(UnknownNameError, match="There is no model"):
        connect_to(sandbox).model(model_id)
    assert paths(sandbox) == []


def test_a_name_in_the_place_of_an_id_is_recognised(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    tenant = connect_to(sandbox)
    name = tenant.models().row(by_predicate=pl.col("id") == "US_EMPLOYMENT", named=True)["name"]
    with pytest.raises(UnknownNameError) as caught:
        _ = tenant.model(name).schema
    assert any("use sac.model('US_EMPLOYMENT')" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("model_id", ["LIVE_SALES", "SEAMLESS_PLAN"])
def test_a_model_whose_data_are_elsewhere_says_so(sandbox: Sandbox, connect_to: ConnectTo, model_id: str) -> None:
    with pytest.raises(LiveConnectionError, match="live connection, or SAP Datasphere stores its data"):
        _ = connect_to(sandbox).model(model_id).schema


def test_the_catalogue_is_a_frame_of_texts(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    models = connect_to(sandbox).models()
    assert models.schema == {"id": pl.String, "name": pl.String, "description": pl.String}
    assert {"US_EMPLOYMENT", "PLANNING", "SCALE"} <= set(models["id"])


def test_all_dimensions_are_facts_and_fewer_are_sums_by_sac(jobs: Model) -> None:
    facts, sums = jobs.facts(), jobs.facts(dims=["Version", "Date"])
    assert (facts.query.entity_set, sums.query.entity_set) == (FACT_DATA, FACT_DATA_AGGREGATION)
    leaves = facts.fetch().polars(decimals=True).group_by("Version", "Date").agg(pl.col("Employees").sum())
    summed = sums.fetch().polars(decimals=True)
    assert summed.columns == ["Version", "Date", "Employees"]
    keys = ["Version", "Date"]
    assert summed.sort(keys)["Employees"].to_list() == leaves.sort(keys)["Employees"].to_list()
    assert "%24apply" not in sums.url
    assert "$apply" not in sums.url


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ({"where": {"Version": "public.Actual"}}, 1800),
        ({"where": {"Version": "public.Actual", "Sector": ["31", "32"]}}, 240),
        ({"where": {"Sector": "31"}, "since": "2015-01"}, 24),
        ({"where": {"Sector": "31"}, "since": "2015-11", "until": dt.date(2015, 11, 30)}, 2),
        ({"where": {"Sector": "31"}, "until": "2006"}, 12),
        ({"where": (col("Sector") == "31") & (col("Employees") > 8500), "since": 2007, "until": "2007-Q2"}, None),
        ({"limit": 7}, 7),
        ({"limit": 0}, 0),
        ({"where": {"Sector": []}}, 0),
        ({"select": ["Version", "Date", "Sector"]}, 3420),
        ({"order_by": ["-Employees"], "limit": 3}, 3),
    ],
)
def test_the_question_is_answered_as_polars_would(jobs: Model, arguments: dict[str, Any], rows: int | None) -> None:
    result = jobs.facts(**arguments).fetch()
    if rows is not None:
        assert len(result) == rows
    else:
        everything = jobs.facts().fetch().polars()
        kept = everything.filter(
            (pl.col("Sector") == "31")
            & (pl.col("Employees") > 8500)
            & pl.col("Date").is_between(pl.lit("200701"), pl.lit("200706"))
        )
        assert result.polars().sort(pl.all()).equals(kept.sort(pl.all()))
    if arguments.get("order_by"):
        assert result.polars()["Employees"].is_sorted(descending=True)


def test_a_grain_that_metadata_does_not_tell_is_read_off_a_row(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    rows = pl.DataFrame({"Date": ["202401", "202402", "#"], "Amount": [1.0, 2.0, 3.0]})
    columns = [Column("Date", key=True), Column("Amount", "Edm.Double")]
    with start(models=[table_model("FOREIGN", columns=columns, rows=rows)]) as other:
        foreign = connect_to(other).model("FOREIGN")
        assert foreign.schema.grain_of("Date") is None
        assert foreign.facts(since="2024-02").fetch().polars()["Date"].to_list() == ["202402"]


@pytest.mark.parametrize("weeks", [["202405", "202418"], ["202405", "202352"], ["202405", "202520"]])
def test_weeks_are_not_taken_for_months_where_the_first_row_could_be_either(
    weeks: list[str], connect_to: ConnectTo
) -> None:
    rows = pl.DataFrame({"Date": weeks, "Amount": [1.0, 2.0]})
    columns = [Column("Date", key=True), Column("Amount", "Edm.Double")]
    with start(models=[table_model("WEEKS", columns=columns, rows=rows)]) as other:
        model = connect_to(other).model("WEEKS")
        with pytest.raises(QueryError, match="only whole years"):
            model.facts(since="2024-02")
        assert len(model.facts(since="2023", until="2025").fetch()) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"dims": ["Sektor"]}, UnknownNameError, "Did you mean 'Sector'"),
        ({"measures": ["employees"]}, UnknownNameError, "Did you mean 'Employees'"),
        ({"dims": ["Employees"]}, UnknownNameError, "dimension"),
        ({"where": {"Sektor": "31"}}, UnknownNameError, "Did you mean 'Sector'"),
        ({"where": {"Employees": "many"}}, QueryError, "Employees"),
        ({"select": ["Sector"], "dims": ["Sector"]}, QueryError, "cannot be combined"),
        ({"limit": -1}, QueryError, "-1"),
        ({"since": "last year"}, QueryError, "last year"),
        ({"since": "2010", "date": "Datum"}, UnknownNameError, "Datum"),
        ({"since": "2011", "until": "2010"}, QueryError, "after"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_before_it_is_asked(
    jobs: Model, sandbox: Sandbox, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        jobs.facts(**arguments)
    assert not any("FactData" in path for path in paths(sandbox))


def test_a_member_that_does_not_exist_gets_the_nearest_names(jobs: Model) -> None:
    with pytest.raises(UnknownNameError, match=r"no member 'public\.Actuals'.*Did you mean 'public\.Actual'"):
        jobs.facts(where={"Version": "public.Actuals"}).fetch()
    with pytest.raises(UnknownNameError, match="no member '99'"):
        jobs.facts(where={"Sector": ["31", "99"]}, limit=500).fetch()


def test_a_member_that_exists_without_facts_is_no_mistake(jobs: Model) -> None:
    with pytest.warns(ParentMemberWarning, match="sacnb.under"):
        assert len(jobs.facts(where={"Sector": "00"}).fetch()) == 0
    assert len(jobs.facts(where={"Sector": "31", "Date": "200612", "Version": "public.Plan"}).fetch()) == 0


def test_mixed_accounts_are_warned_of_and_not_where_they_are_told_apart(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    planning = connect_to(sandbox).model("PLANNING")
    asked = planning.facts(dims=["Version"])
    ways: list[Callable[[], object]] = [
        asked.fetch,
        asked.refresh,
        lambda: planning.refresh(dims=["Version"]),
        asked.stream,
    ]
    for way in ways:
        with pytest.warns(MixedAccountsWarning, match="Account") as caught:
            way()
        assert [one.filename for one in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        planning.facts(dims=["Version", "Account"]).fetch()
        planning.facts(dims=["Version"], where={"Account": "400000"}).fetch()
        planning.facts().fetch()


def test_versions_that_are_added_up_are_warned_of(jobs: Model, tmp_path: Path) -> None:
    both = {"dims": ["Sector"], "since": "2015", "where": {"Sector": "31"}}
    actual = jobs.facts(**{**both, "where": {"Sector": "31", "Version": "public.Actual"}}).fetch()
    plan = jobs.facts(**{**both, "where": {"Sector": "31", "Version": ["public.Plan"]}}).fetch()
    message = r"Filter 'Version'.*add it to dims.*sac\.model\('US_EMPLOYMENT', version='public\.Actual'"
    with pytest.warns(MixedVersionsWarning, match=message) as caught:
        mixed = jobs.facts(**both).fetch()
    assert [one.filename for one in caught] == [__file__]
    assert employees(mixed) == employees(actual) + employees(plan)
    assert employees(actual) == leaf_sum("31", "2015")
    two: list[Any] = [{"Version": ["public.Actual", "public.Plan"]}, col("Version") != "x", ~(col("Version") == "x")]
    assert [jobs.facts(dims=["Sector"], where=where).mixed for where in two] == [("Version",)] * 3
    one: list[Any] = [{"Version": ["public.Plan"] * 2}, (col("Version") == "public.Plan") & (col("Sector") != "1")]
    assert [jobs.facts(dims=["Sector"], where=where).mixed for where in one] == [()] * 2
    with pytest.warns(MixedVersionsWarning):
        jobs.facts(**both).to_parquet(tmp_path / "jobs")
    jobs.facts().fetch()


def employees(result: Result) -> Decimal:
    return Decimal(result.arrow()["Employees"].to_pylist()[0])


def leaf_sum(sector: str, year: str) -> Decimal:
    rows = read_csv("us_employment.csv").filter(pl.col("sector") == sector, pl.col("date").str.starts_with(year))
    return sum(map(Decimal, rows["employees_thousand"]), Decimal(0))


def test_a_result_remembers_that_it_adds_versions_up(jobs: Model, tmp_path: Path) -> None:
    with pytest.warns(MixedVersionsWarning):
        jobs.facts(dims=["Date"]).refresh().to_parquet(tmp_path / "jobs.parquet")
    with pytest.warns(MixedVersionsWarning):  # a cached one too
        jobs.facts(dims=["Date"]).refresh(max_age_s=3600)
    kept = Result.from_parquet(tmp_path / "jobs.parquet")
    assert kept.info.mixed == ("Version",)
    with pytest.warns(MixedVersionsWarning, match="The values of this result add up"):
        assert kept.tidy("year", agg="mean").note == "Adds up versions. Each year is the mean of its months."
    with pytest.warns(MixedVersionsWarning):
        assert "Adds up versions." in kept.plot("year", agg="mean").description


def test_a_model_can_be_one_version(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    tenant = connect_to(sandbox)
    plan = tenant.model("US_EMPLOYMENT", version="public.Plan")
    of_31 = {"dims": ["Sector"], "since": "2015", "where": {"Sector": "31"}}
    assert employees(plan.facts(**of_31).fetch()) == leaf_sum("31", "2014") * Decimal("1.02")
    asked = {"Sector": "31", "Version": "public.Actual"}  # as the query says, and not the model
    assert employees(plan.facts(**{**of_31, "where": asked}).fetch()) == leaf_sum("31", "2015")
    assert plan.scan().select("Version").unique().collect()["Version"].to_list() == ["public.Plan"]
    with pytest.raises(UnknownNameError, match=r"Did you mean 'public\.Plan'"):
        tenant.model("US_EMPLOYMENT", version="public.Plann").facts().fetch()
    with pytest.raises(QueryError, match="has no dimension Version"):
        tenant.model("EDM_TYPES", version="public.Plan").facts()
    with pytest.raises(QueryError, match="version must be text"):
        tenant.model("US_EMPLOYMENT", version=7)  # type: ignore[arg-type]


def test_a_wrong_row_count_can_be_taken_as_a_warning(jobs: Model, sandbox: Sandbox) -> None:
    sandbox.misbehave("rows_missing", times=1, on="facts")
    with pytest.warns(RowCountWarning, match="3,420") as caught:
        result = jobs.facts(check_count=False, page_size=1000).fetch()
    assert len(result) == 3419
    assert [one.filename for one in caught] == [__file__]


def test_a_pull_is_cancelled_between_pages_and_tells_its_progress(jobs: Model) -> None:
    seen: list[int] = []
    with pytest.raises(Cancelled):
        jobs.facts(page_size=1000).fetch(
            progress=lambda progress: seen.append(progress.rows), cancelled=lambda: len(seen) >= 2
        )
    assert seen == [1000, 2000]


def test_progress_knows_what_sac_announced(jobs: Model) -> None:
    seen = []
    jobs.facts(page_size=1000).fetch(progress=seen.append)
    assert [(p.rows, p.pages, p.expected_rows) for p in seen] == [
        (1000, 1, 3420),
        (2000, 2, 3420),
        (3000, 3, 3420),
        (3420, 4, 3420),
    ]


def test_a_long_list_of_members_is_split_over_requests(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    sandbox.add_model(scale_of(2_000))
    scale = connect_to(sandbox).model("SCALE")
    products = [f"P-{number:03d}" for number in range(450)]
    result = scale.facts(where=col("Product").is_in(products)).fetch()
    requests = [entry for entry in sandbox.log if entry.path.endswith("/FactData")]
    assert len(requests) > 1
    expected = scale.facts().fetch().polars().filter(pl.col("Product").is_in(products))
    assert result.polars().sort(pl.all()).equals(expected.sort(pl.all()))


def test_any_provider_under_sacs_paths_reads_well(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    types = connect_to(sandbox).model("EDM_TYPES")
    roles = {column.name: column.role for column in types.schema.columns}
    assert {name for name, role in roles.items() if role == "attribute"} == {
        "Boolean", "String", "Date", "TimeOfDay", "DateTimeOffset", "Duration", "Guid", "Binary",
    }  # fmt: skip
    assert len(types.facts(where={"Boolean": True}).fetch()) > 0
    assert len(types.facts(where=col("Date") >= dt.date(2000, 1, 1)).fetch()) > 0


def test_a_model_shows_itself(sandbox: Sandbox, connect_to: ConnectTo, tmp_path: Path) -> None:
    tenant = connect_to(sandbox)
    jobs = tenant.model("US_EMPLOYMENT")
    assert repr(jobs) == "Model('US_EMPLOYMENT')"
    assert repr(tenant.model("US_EMPLOYMENT", version="public.Plan")) == "Model('US_EMPLOYMENT', version='public.Plan')"
    assert paths(sandbox) == []
    assert (jobs.dimensions, jobs.measures) == (("Version", "Date", "Sector"), ("Employees",))
    assert jobs.name == "US employment by sector"
    assert jobs.description.startswith("US employment by sector, monthly")
    assert sum("Providers" in path for path in paths(sandbox)) == 1
    assert jobs.versions()["id"].to_list() == ["public.Actual", "public.Plan"]
    shown = jobs._repr_html_()
    for words in ("Version, Date, Sector", "Employees", "Date (month)", "facts().fetch()"):
        assert words in shown
    assert "There is no model" in tenant.model("US_EMPLOYMNT")._repr_html_()
    with pytest.raises(QueryError, match="has no dimension Version"):
        tenant.model("EDM_TYPES").versions()
    jobs.to_excel(tmp_path / "jobs.xlsx", members="Sector")
    book = openpyxl.load_workbook(tmp_path / "jobs.xlsx")
    assert book.sheetnames == ["Schema", "Sector", "About"]
    assert [row[:2] for row in book["Schema"].iter_rows(values_only=True)][1:3] == [
        ("Version", "dimension"),
        ("Date", "dimension"),
    ]
    assert list(book["Sector"].iter_rows(values_only=True))[:2] == [
        ("id", "description", "parent", "level"),
        ("00", "Total nonfarm", None, 0),
    ]
    assert dict(book["About"].iter_rows(values_only=True))["model"] == "US_EMPLOYMENT"
    assert tenant.model("RECORDS").name == ""  # not in the list


def test_facts_show_themselves_and_say_that_fetch_was_forgotten(jobs: Model) -> None:
    facts = jobs.facts(where={"Sector": "31"}, dims=["Date", "Version"], order_by="-Date", limit=7)
    for words in (
        "nothing is fetched yet",
        "Date, Version",
        "Sector eq '31'",
        "Date (descending)",
        "7 rows",
        "fetch()",
    ):
        assert words in repr(facts)
    uses: dict[str, Callable[[Any], object]] = {
        r"\.fetch\(\)\.polars": lambda query: query.polars(),
        r"\.fetch\(\)\.plot": lambda query: query.plot(),
        r"\.fetch\(\)\['Sector'\]": lambda query: query["Sector"],
        r"\.count\(\)": len,
        r"without rows": list,
    }
    for message, use in uses.items():
        with pytest.raises(QueryError, match=message):
            use(facts)
    assert not hasattr(facts, "polars")
    assert bool(facts)
    with pytest.raises(AttributeError, match="no attribute 'ploars'"):
        _ = facts.ploars
    assert replace(facts, check_count=False) != facts


@pytest.mark.parametrize("where", [{"Sector": "31"}, {"Sector": ["31", "32"]}, {"Version": "public.Plan"}])
def test_rows_of_another_question_are_refused(jobs: Model, monkeypatch: pytest.MonkeyPatch, where: Any) -> None:
    """As a cache before SAC does, which answers every query of an address alike."""
    whole = SacSession.fetch

    def without_filter(session: SacSession, method: str, url: str, **options: Any) -> Any:
        return whole(session, method, re.sub(r"%24filter=[^&]*&?|\$filter=[^&]*&?", "", url), **options)

    query = jobs.facts(where=where)
    monkeypatch.setattr(SacSession, "fetch", without_filter)
    for read in (query.fetch, lambda: list(query.stream()), lambda: query.refresh(strict=True)):
        with pytest.raises(InconsistentAnswer, match=f"more members of {next(iter(where))!r} than the"):
            read()


def test_members_may_be_spelled_otherwise_than_in_the_filter() -> None:
    schema, members = SimpleNamespace(dimensions=()), SimpleNamespace(name="Sector", role="dimension")
    query = SimpleNamespace(where=(col("Sector") == "a1") & (col("Amount") > 1), columns=lambda _: (members,))
    named = NamedMembers(cast("Any", None), cast("Any", query), cast("Any", schema))
    for spelled in ("A1", "a1 ", "0000a1", None):
        named._found["Sector"].clear()
        named.observe(pa.table({"Sector": [spelled, spelled]}))
