"""A model as a LazyFrame: what SAC is asked, what comes back, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest

from sacnb import col
from sacnb._pushdown.translate import Kept
from sacnb._tenant import Model, Tenant
from sacnb._wire.telemetry import RequestEvent
from sacnb.errors import AuthError, MixedAccountsWarning, MixedVersionsWarning, QueryError, UnknownNameError
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.scale import scale as scale_of

ConnectTo = Callable[..., Tenant]
c = pl.col


@pytest.fixture
def jobs(sandbox: Sandbox, connect_to: ConnectTo) -> Model:
    return connect_to(sandbox).model("US_EMPLOYMENT")


def questions(sandbox: Sandbox, entity_set: str = "FactData") -> list[str]:
    """What the sandbox was asked about facts, readable, but for counts."""
    asked = [unquote(entry.query) for entry in sandbox.log if entry.path.endswith(f"/{entity_set}")]
    return [one for one in asked if "$top=0" not in one]


def test_making_a_scan_asks_for_the_schema_only(sandbox: Sandbox, jobs: Model) -> None:
    rows = jobs.scan()
    assert rows.collect_schema() == {
        "Version": pl.String, "Date": pl.String, "Sector": pl.String, "Employees": pl.Float64,
    }  # fmt: skip
    assert [entry.path.rpartition("/")[2] for entry in sandbox.log] == ["token", "$metadata"]


def test_a_scan_is_what_fetch_gives(jobs: Model) -> None:
    result = jobs.facts().fetch()
    assert jobs.scan().collect().equals(result.polars())
    assert jobs.scan(decimals=True).collect().equals(result.polars(decimals=True))


def test_filters_and_columns_go_to_sac_with_every_dimension(sandbox: Sandbox, jobs: Model) -> None:
    rows = jobs.scan().filter(c("Sector").is_in(["31", "32"]), c("Date") >= "201501").select("Date")
    assert rows.collect().height == 48
    (asked,) = questions(sandbox)
    assert "$select=Version,Date,Sector&" in asked
    assert "(Sector eq '31' or Sector eq '32')" in asked
    assert "Date ge '201501'" in asked
    assert sandbox.log[-1].rows == 48


def test_a_limit_goes_to_sac(sandbox: Sandbox, jobs: Model) -> None:
    assert jobs.scan().head(5).collect().height == 5
    assert jobs.scan().head(5).filter(c("Sector") == "31").collect().height <= 5
    assert [("$top=5" in asked, "$filter" in asked) for asked in questions(sandbox)] == [(True, False)] * 2
    assert [entry.rows for entry in sandbox.log if entry.path.endswith("/FactData")] == [5, 5]


def test_no_rows_and_rows_that_cannot_be_cost_no_request(sandbox: Sandbox, jobs: Model) -> None:
    assert jobs.scan().head(0).collect().height == 0
    assert jobs.scan().filter(c("Sector").is_in([])).collect().height == 0
    assert questions(sandbox) == []


def test_reading_stops_early_where_polars_has_enough(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    scale = connect_to(sandbox, page_size=1000).model("SCALE")
    found = scale.scan().filter(c("Region") != "#").head(3).collect(engine="streaming")
    assert found.height == 3
    assert 0 < len(questions(sandbox)) < 100  # of 100 pages


def test_what_was_sent_is_told_to_hooks_and_to_the_log(jobs: Model, connect_to: ConnectTo, caplog: Any) -> None:
    events: list[object] = []
    jobs._connection.context.telemetry.add_hook(events.append)
    with caplog.at_level("INFO", logger="sacnb.tenant"):
        jobs.scan().filter(c("Sector") == "31", c("Version") != "x").collect()
    urls = [event.url for event in events if isinstance(event, RequestEvent) and "FactData" in event.url]
    assert "Sector%20eq%20'31'" in urls[0]
    assert "filter   Sector eq '31'" in caplog.text
    assert '[(col("Version")) != ("x")]: what else SAC takes for the same text' in caplog.text


def test_a_member_that_does_not_exist_has_no_rows(jobs: Model) -> None:
    assert jobs.scan().filter(c("Sector") == "99").collect().height == 0
    assert jobs.scan().filter(c("Sector").is_in(["31", "99"])).collect()["Sector"].unique().to_list() == ["31"]


def test_a_long_list_is_shared_out_and_a_filter_too_long_for_any_url_stays(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    sandbox.add_model(scale_of(2_000))
    scale = connect_to(sandbox).model("SCALE")
    products = [f"P-{number:03d}" for number in range(450)]
    everything = scale.facts().fetch().polars()
    listed = c("Product").is_in(products)
    for condition, is_sent in ((listed, True), (listed | (c("Region") == "#"), False)):
        before = len(questions(sandbox))
        found = scale.scan().filter(condition, c("Channel") == "Direct").collect()
        asked = questions(sandbox)[before:]
        assert found.sort(pl.all()).equals(everything.filter(condition, c("Channel") == "Direct").sort(pl.all()))
        assert all("Channel eq 'Direct'" in one for one in asked)
        assert (len(asked) > 1) is is_sent
    (explained,) = scale.explain(listed | (c("Region") == "#")).scans
    assert "no list of members" in explained.kept[0].reason


def test_what_facts_is_asked_for_is_sent_as_it_stands(sandbox: Sandbox, jobs: Model) -> None:
    rows = jobs.scan(where=col("Version") != "public.Plan", since="2015").filter(c("Sector") == "31")
    assert rows.collect().height == 12
    assert "Version ne 'public.Plan' and Date ge '2015' and Sector eq '31'" in questions(sandbox)[0]


def test_sac_adds_up_where_fewer_dimensions_are_asked_for(sandbox: Sandbox, jobs: Model) -> None:
    rows = jobs.scan(dims=["Version", "Sector"], decimals=True, where={"Version": "public.Actual"})
    wanted = jobs.facts(where={"Version": "public.Actual"}).fetch().polars(decimals=True)
    sums = wanted.group_by("Version", "Sector").agg(c("Employees").sum())
    found = rows.filter(c("Sector") == "31", c("Employees") > Decimal(1)).select("Sector", "Employees").collect()
    assert found.row(0) == sums.filter(c("Sector") == "31").select("Sector", "Employees").row(0)
    # Of a sum SAC is not asked: it filters before it adds up.
    assert "$filter=Version eq 'public.Actual' and Sector eq '31'&" in questions(sandbox, "FactDataAggregation")[0]
    rows.select("Sector").collect()
    assert "$select=Version,Sector,Employees&" in questions(sandbox, "FactDataAggregation")[1]


def test_mixed_accounts_are_warned_of(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    planning = connect_to(sandbox).model("PLANNING")
    with pytest.warns(MixedAccountsWarning, match="Account"):
        planning.scan(dims=["Version"]).collect()
    with pytest.warns(MixedAccountsWarning, match="takes together all members of 'Account'"):
        planning.scan().group_by("Version").agg(c("SignedData").sum()).collect()
    planning.scan().group_by("Version", "Account").agg(c("SignedData").sum()).collect()
    planning.scan().filter(c("Account") == "400000").group_by("Version").agg(c("SignedData").sum()).collect()
    planning.scan().select("Region").unique().collect()


def test_mixed_versions_are_warned_of(jobs: Model) -> None:
    summed = c("Employees").sum()
    for rows in (jobs.scan(), jobs.scan(where={"Version": ["public.Actual", "public.Plan"]})):
        with pytest.warns(MixedVersionsWarning, match=r"takes together several versions.*keep it among the columns"):
            mixed = rows.group_by("Sector").agg(summed).collect().sort("Sector")
    with pytest.warns(MixedVersionsWarning, match="adds up several versions"):
        by_sac = jobs.scan(dims=["Sector"]).collect().sort("Sector")
    assert by_sac["Employees"].to_list() == pytest.approx(mixed["Employees"].to_list())
    actual = jobs.scan().filter(c("Version") == "public.Actual").group_by("Sector").agg(summed).collect()
    assert actual["Employees"].sum() < mixed["Employees"].sum()
    set_once = jobs.scan(where={"Version": "public.Actual"}).group_by("Sector").agg(summed).collect()
    assert set_once["Employees"].sum() == pytest.approx(actual["Employees"].sum())
    apart = jobs.scan().group_by("Version").agg(summed).collect()
    assert apart["Employees"].sum() == pytest.approx(mixed["Employees"].sum())


def test_a_frame_joined_with_itself_pulls_each_side_once(sandbox: Sandbox, jobs: Model) -> None:
    rows = jobs.scan()
    actual, plan = (rows.filter(c("Version") == f"public.{name}") for name in ("Actual", "Plan"))
    joined = actual.join(plan, on=["Date", "Sector"]).select((c("Employees") - c("Employees_right")).sum())
    assert joined.collect().item() != 0
    assert sorted("Actual" in asked for asked in questions(sandbox)) == [False, True]


@pytest.mark.parametrize("engine", ["streaming", "in-memory"])
def test_more_scans_than_polars_has_threads_do_not_wait_for_each_other(jobs: Model, engine: Any) -> None:
    rows = jobs.scan()
    sides = [rows.filter(c("Date") == f"2015{month:02d}") for month in range(1, 13)] * 2
    assert pl.concat(sides).collect(engine=engine).height == 2 * 360
    joined = sides[0].select("Sector", "Version")
    for side in sides[1:]:
        joined = joined.join(side.select("Sector", "Version"), on=["Sector", "Version"])
    assert joined.collect(engine=engine).height == 30


def test_what_goes_wrong_is_our_error(jobs: Model, sandbox: Sandbox) -> None:
    rows = jobs.scan()
    sandbox.misbehave("unauthorized")
    with pytest.raises(AuthError):
        rows.collect()


@pytest.mark.parametrize(
    ("arguments", "error"), [({"dims": ["Sectr"]}, UnknownNameError), ({"where": {"Sectr": "1"}}, UnknownNameError)]
)
def test_a_wrong_question_is_refused_when_the_scan_is_made(
    jobs: Model, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        jobs.scan(**arguments)
    with pytest.raises(error):
        jobs.explain(**arguments)


# -- explain -----------------------------------------------------------------------------------------------------------


def test_an_explanation_says_what_is_sent_and_what_stays_and_asks_nothing(sandbox: Sandbox, jobs: Model) -> None:
    explanation = jobs.explain(
        lambda rows: rows.filter(c("Sector") == "31", c("Version") != "public.Plan").select("Date", "Employees")
    )
    address = "/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData"
    assert str(explanation).splitlines() == [
        "US_EMPLOYMENT/FactData",
        "  columns  Version, Date, Sector, Employees",
        "  filter   Sector eq '31'",
        '  polars   [(col("Version")) != ("public.Plan")]: what else SAC takes for the same text is unconfirmed',
        f"  request  {address}?$select=Version,Date,Sector,Employees&$filter=Sector eq '31'&$count=true&pagesize=50000",
    ]
    (scan,) = explanation.scans
    assert scan.sent == ('[(col("Sector")) == ("31")]',)
    assert questions(sandbox) == []


def test_an_explanation_is_what_a_scan_sends(sandbox: Sandbox, jobs: Model) -> None:
    def steps(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(c("Employees") > 5000.5, c("Date") < "2010").select("Sector", "Version").head(7)

    (explained,) = jobs.explain(steps).scans
    steps(jobs.scan()).collect()
    assert explained.requests[0].partition("?")[2] == questions(sandbox)[0]


def test_an_explanation_counts_when_it_is_asked_to(sandbox: Sandbox, jobs: Model) -> None:
    (scan,) = jobs.explain(c("Sector") == "31", count=True).scans
    assert scan.rows == 228
    assert sandbox.log[-1].rows == 0
    assert [one.rows for one in jobs.explain(lambda rows: rows.head(5), count=True).scans] == [5]
    assert "  limit    5 rows" in str(jobs.explain(lambda rows: rows.head(5)))


def test_an_explanation_shows_every_reading_and_none(jobs: Model) -> None:
    both_sides = jobs.explain(
        lambda rows: rows.filter(c("Sector") == "31").join(rows.filter(c("Sector") == "32"), on="Date")
    )
    assert sorted(scan.filter for scan in both_sides.scans) == ["Sector eq '31'", "Sector eq '32'"]
    assert str(jobs.explain(lambda rows: rows.select(pl.lit(1)))) == "No request to SAC."
    assert "none: no row can match" in str(jobs.explain(c("Sector").is_in([])))
    (whole,) = jobs.explain().scans
    assert (whole.filter, whole.kept) == ("", ())


def test_an_explanation_of_many_requests_is_short(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    customers = [f"{number:010d}" for number in range(1500)]
    explanation = connect_to(sandbox).model("SCALE").explain(c("Customer").is_in(customers))
    assert len(str(explanation)) < 1500
    assert f"and {len(explanation.scans[0].requests) - 1} more" in str(explanation)


def test_steps_that_fail_without_rows_are_explained_up_to_there(jobs: Model) -> None:
    def steps(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(c("Sector") == "31").select(c("Employees").gather(0))

    assert [scan.filter for scan in jobs.explain(steps).scans] == ["Sector eq '31'"]


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        (lambda rows: rows.collect(), QueryError),
        (pl.LazyFrame({"a": [1]}), QueryError),
        ("Sector = 31", QueryError),
        (c("Sectr") == "31", pl.exceptions.ColumnNotFoundError),
    ],
)
def test_steps_that_cannot_be_explained(jobs: Model, steps: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        jobs.explain(steps)


def test_conditions_on_sums_stay(jobs: Model) -> None:
    (scan,) = jobs.explain(c("Employees") > 1, dims=["Sector"]).scans
    assert scan.entity_set == "FactDataAggregation"
    assert scan.kept == (Kept('[(col("Employees")) > (1.0)]', "SAC would filter before it adds up"),)
