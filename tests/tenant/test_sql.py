"""SQL over models: what it gives, what SAC is asked for it, and what a mistake is answered with."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest

from sacnb._tenant import Tenant
from sacnb._tenant.facts import Facts
from sacnb._tenant.scan import Scan
from sacnb.errors import (
    BadAnswer,
    Cancelled,
    LargeScanWarning,
    LiveConnectionError,
    MixedAccountsWarning,
    MixedVersionsWarning,
    QueryError,
    SacError,
    ServerError,
    UnknownNameError,
)
from sacnb.sandbox import Column, Sandbox, start, table_model

ConnectTo = Callable[..., Tenant]
c = pl.col


@pytest.fixture
def sac(sandbox: Sandbox, connect_to: ConnectTo) -> Tenant:
    return connect_to(sandbox)


def facts(sandbox: Sandbox) -> list[str]:
    """The questions about facts, readable; counts left out."""
    found = [unquote(entry.query) for entry in sandbox.log if entry.path.endswith("/FactData")]
    return [query for query in found if "$top=0" not in query]


def paths(sandbox: Sandbox) -> list[str]:
    return [entry.path.rpartition("/")[2] for entry in sandbox.log]


def test_a_query_gives_a_frame_and_its_filter_goes_to_sac(sandbox: Sandbox, sac: Tenant) -> None:
    found = sac.sql(
        "select Sector, sum(Employees) as jobs from US_EMPLOYMENT "
        "where Version = 'public.Actual' and Date >= '201501' group by Sector order by Sector",
        decimals=True,
    )
    rows = sac.model("US_EMPLOYMENT").facts().fetch().polars(decimals=True)
    expected = (
        rows.filter(c("Version") == "public.Actual", c("Date") >= "201501")
        .group_by("Sector")
        .agg(c("Employees").sum().alias("jobs"))
        .sort("Sector")
    )
    assert found.rows() == expected.rows()
    assert sorted(facts(sandbox)[0].split("$filter=")[1].split("&")[0].split(" and ")) == [
        "Date ge '201501'",
        "Version eq 'public.Actual'",
    ]


def test_versions_and_accounts_that_are_added_up_are_warned_of(sac: Tenant) -> None:
    actual = sac.sql("select sum(Employees) as n from US_EMPLOYMENT where Version = 'public.Actual'").item()
    plan = sac.sql("select sum(Employees) as n from US_EMPLOYMENT where Version = 'public.Plan'").item()
    with pytest.warns(MixedVersionsWarning, match="takes together several versions of 'US_EMPLOYMENT'") as caught:
        mixed = sac.sql("select sum(Employees) as n from US_EMPLOYMENT").item()
    assert mixed == pytest.approx(actual + plan)
    assert [one.filename for one in caught] == [__file__]
    rows = sac.sql("select Sector, Employees from US_EMPLOYMENT", lazy=True)
    with pytest.warns(MixedVersionsWarning):
        rows.collect()
    with pytest.warns(MixedAccountsWarning):
        sac.sql("select sum(SignedData) from PLANNING where Version = 'public.Actual'")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sac.sql("select Version, sum(Employees) from US_EMPLOYMENT group by Version")
        sac.sql("select Sector from US_EMPLOYMENT group by Sector")
        sac.sql("select count(*) as n from US_EMPLOYMENT where Sector = '31'")


@pytest.mark.filterwarnings("ignore:.* several versions of 'US_EMPLOYMENT':sacnb.errors.MixedVersionsWarning")
def test_measures_are_floats_unless_decimals_are_asked_for(sac: Tenant) -> None:
    query = "select Employees from US_EMPLOYMENT where Sector = '31' and Date = '201501'"
    assert sac.sql(query).schema == {"Employees": pl.Float64}
    assert sac.sql(query, decimals=True).schema == {"Employees": pl.Decimal(31, 7)}


def test_only_the_models_of_the_query_are_looked_at(sandbox: Sandbox, sac: Tenant) -> None:
    sac.sql("with x as (select * from PLANNING where Region = '#') select count(*) as n from x as y")
    assert [path for path in paths(sandbox) if path != "token"] == ["$metadata", "FactData"]


def test_joins_between_models_and_with_itself(sandbox: Sandbox, sac: Tenant) -> None:
    growth = sac.sql(
        "select a.Date, a.Employees / b.Employees as ratio from US_EMPLOYMENT a join US_EMPLOYMENT b "
        "on a.Date = b.Date and a.Sector = b.Sector "
        "where a.Version = 'public.Actual' and b.Version = 'public.Plan' and a.Sector = '31'"
    )
    assert growth.height == 108
    assert sorted("public.Plan" in query for query in facts(sandbox)) == [False, True]
    both = sac.sql(
        "select count(*) as n from PLANNING p join US_EMPLOYMENT e on p.Version = e.Version "
        "where p.Account = '400000' and e.Date = '201401'"
    )
    planning = sac.sql("select Version from PLANNING where Account = '400000'")["Version"].value_counts()
    assert both.item() == planning["count"].sum() * 15


def test_limits_go_to_sac(sandbox: Sandbox, sac: Tenant) -> None:
    assert sac.sql("select * from SCALE limit 3").height == 3
    assert sac.sql("select * from SCALE", limit=4).height == 4
    assert ["$top=3" in facts(sandbox)[0], "$top=4" in facts(sandbox)[1]] == [True, True]
    assert sac.sql("select Sector from US_EMPLOYMENT where Sector = '31'", limit=4, lazy=True).collect().height == 4


@pytest.mark.filterwarnings("ignore:.* several versions of 'US_EMPLOYMENT':sacnb.errors.MixedVersionsWarning")
def test_lazily_it_asks_for_nothing_but_the_schema(sandbox: Sandbox, sac: Tenant) -> None:
    rows = sac.sql("select Sector, Employees from US_EMPLOYMENT where Sector = '31'", lazy=True)
    assert paths(sandbox) == ["token", "$metadata"]
    assert rows.filter(c("Employees") > 0).select("Sector").head(2).collect().height == 2
    assert "Employees gt 0" in facts(sandbox)[0]


@pytest.mark.filterwarnings("ignore:`is_in` with a collection:DeprecationWarning")
@pytest.mark.parametrize(
    ("query", "values", "sent"),
    [
        ("Date >= :start", {"start": "201501"}, "Date ge '201501'"),
        ("Sector in :sectors", {"sectors": ["31", "32"]}, "Sector eq '31' or Sector eq '32'"),
        ("Sector between :a and :b", {"a": "31", "b": "32"}, None),
        ("Employees > :n", {"n": 15000}, "Employees gt 15000"),
        ("Employees > :n", {"n": 15000.5}, "Employees ge 15000.5"),
        ("Employees > :n", {"n": Decimal("15000.5")}, "Employees ge 15000.5"),
        ("Sector like :p", {"p": "3%"}, "startswith(Sector,'3')"),
        ("Sector = :x::text /* :y */ and Date <> ':z'", {"x": "31"}, "Sector eq '31'"),
        ("Version = :x", {"x": "O'Hare; select 1 --"}, "Version eq 'O''Hare; select 1 --'"),
        ("Sector in (select Sector from US_EMPLOYMENT where Sector = :x)", {"x": "31"}, "Sector eq '31'"),
    ],
)
def test_parameters(sandbox: Sandbox, sac: Tenant, query: str, values: dict[str, Any], sent: str | None) -> None:
    found = sac.sql(f"select * from US_EMPLOYMENT where {query}", values)
    assert found.height < 3420
    filters = [asked.split("$filter=")[1].split("&$")[0] for asked in facts(sandbox) if "$filter=" in asked]
    assert filters == ([sent] if sent else [])


def test_types_of_any_provider_can_be_compared_with(sandbox: Sandbox, sac: Tenant) -> None:
    found = sac.sql(
        'select "Date", "DateTimeOffset" from EDM_TYPES where "Date" = :d and "Boolean" and "DateTimeOffset" <= :t',
        {"d": dt.date(2024, 2, 29), "t": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)},
    )
    assert found.height > 0
    assert set(found["Date"]) == {dt.date(2024, 2, 29)}
    assert "Date eq 2024-02-29" in facts(sandbox)[0]
    assert "DateTimeOffset le 2024-01-01T00:00:00Z" in facts(sandbox)[0]


# -- which model is meant ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ['"US employment by sector"', '"us EMPLOYMENT by sector"', "us_employment"])
def test_a_model_may_be_called_by_its_name(sac: Tenant, table: str) -> None:
    assert sac.sql(f"select Sector from {table} limit 1").height == 1


def test_ids_with_signs_stand_in_quotes_and_names_may_repeat(connect_to: ConnectTo) -> None:
    columns = [Column("Id", "Edm.String", key=True, nullable=False), Column("Value", "Edm.Int64")]
    rows = pl.DataFrame({"Id": ["a"], "Value": [1]})
    models = [
        table_model(name, name="Twice", description="", columns=columns, rows=rows)
        for name in ("sap.epm:BestRun", "OTHER")
    ]
    with start(models=models) as sandbox:
        sac = connect_to(sandbox)
        assert sac.sql('select Value from "sap.epm:BestRun"').item() == 1
        with pytest.raises(QueryError, match=r'2 models are called .Twice.*"sap\.epm:BestRun", "OTHER"'):
            sac.sql("select Value from Twice")


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        ("select * from US_EMPLOYMNT", UnknownNameError, "no model 'US_EMPLOYMNT'.*Did you mean 'US_EMPLOYMENT'"),
        ("select * from us.US_EMPLOYMENT", UnknownNameError, "no model"),
        ('select * from ""', SacError, "no model ''"),
        ("select * from LIVE_SALES", LiveConnectionError, "live connection"),
        ("select Sectr from US_EMPLOYMENT", UnknownNameError, "no column 'Sectr' in the query.*Did you mean 'Sector'"),
        ("select e.Sectr from US_EMPLOYMENT e", UnknownNameError, "no column 'Sectr'.*'Sector'"),
        ("select * from US_EMPLOYMENT where Sectr = '1'", UnknownNameError, "no column 'Sectr'.*'Sector'"),
        ("selec 1", QueryError, "Expected: an SQL statement"),
        ("select 1; select 2", QueryError, "only one"),
        ("", QueryError, "query must be text"),
        ("select * from US_EMPLOYMENT where Date >= 201001", QueryError, "in single quotes"),
        ("select * from US_EMPLOYMENT where Date >= DATE '2010-01-01'", QueryError, "in single quotes: '201001'"),
        ("select nonsense(Sector) from US_EMPLOYMENT", QueryError, "unsupported function 'nonsense'"),
        ("select sum(Sector) from US_EMPLOYMENT", QueryError, "sum"),
        ("select Sector, Employees from US_EMPLOYMENT group by Sector", QueryError, "GROUP BY"),
        ("select 'it from US_EMPLOYMENT", QueryError, "[Uu]nterminated"),
        ("select * from US_EMPLOYMENT where Sector = :sector", QueryError, "No value for :sector"),
    ],
)
def test_mistakes_are_our_errors_and_cost_no_facts(
    sandbox: Sandbox, sac: Tenant, query: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        sac.sql(query)
    assert facts(sandbox) == []


@pytest.mark.parametrize(("misbehaviour", "error"), [("error_500", ServerError), ("next_link_looping", BadAnswer)])
def test_what_goes_wrong_on_the_way_is_our_error(
    sandbox: Sandbox, connect_to: ConnectTo, misbehaviour: str, error: type[Exception]
) -> None:
    sac = connect_to(sandbox, page_size=1000)
    sandbox.misbehave(misbehaviour, on="facts")
    with pytest.raises(error):
        sac.sql("select * from US_EMPLOYMENT where Sector <> '31'", large_rows=None)


def test_what_fails_on_the_rows_only_is_a_query_error(sac: Tenant) -> None:
    with pytest.raises(QueryError, match="polars cannot run"):
        sac.sql("select cast(Version as int) as x from US_EMPLOYMENT where Sector = '31'")


# -- large models ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.* several versions of 'SCALE':sacnb.errors.MixedVersionsWarning")
@pytest.mark.parametrize(
    "query",
    [
        "select * from SCALE",
        "select Region, sum(Amount) as a from SCALE group by Region",
        "select * from SCALE where Region <> '#'",
        "select s.Region from SCALE s join PLANNING p on s.Region = p.Region",
    ],
)
def test_pulling_all_of_a_large_model_is_warned_of_and_asked_for_first(connect_to: ConnectTo, query: str) -> None:
    with start(scale_rows=3000) as sandbox:
        sac = connect_to(sandbox)
        with pytest.warns(LargeScanWarning, match="all 3,000 rows of SCALE") as caught:
            sac.sql(query, large_rows=3000)
        assert caught[0].filename == __file__
        asked = [unquote(entry.query) for entry in sandbox.log if entry.path.endswith("/SCALE/FactData")]
        assert ["$top=0" in one for one in asked] == [True, False]


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("select * from SCALE", {"large_rows": 3001}),
        ("select * from SCALE", {"large_rows": None}),
        ("select * from SCALE", {"large_rows": 1, "limit": 5}),
        ("select * from SCALE limit 5", {"large_rows": 1}),
        ("select * from SCALE where Region = '#'", {"large_rows": 1}),
        ("select 1 as one", {"large_rows": 1}),
    ],
)
def test_anything_else_is_not_warned_of(connect_to: ConnectTo, query: str, options: dict[str, Any]) -> None:
    with start(scale_rows=3000) as sandbox, warnings.catch_warnings():
        warnings.simplefilter("error")
        connect_to(sandbox).sql(query, **options)
        counted = any("$top=0" in unquote(entry.query) for entry in sandbox.log)
        assert counted is (options == {"large_rows": 3001})


# -- explain -----------------------------------------------------------------------------------------------------------


def test_a_query_is_explained_and_counted_without_facts(sandbox: Sandbox, sac: Tenant) -> None:
    explanation = sac.explain(
        "select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date >= :start and Version <> 'x' "
        "group by Sector",
        {"start": "2015"},
        count=True,
    )
    (scan,) = explanation.scans
    assert (scan.filter, scan.rows, scan.columns) == (
        "Date ge '2015'",
        360,
        ("Version", "Date", "Sector", "Employees"),
    )
    assert len(scan.kept) == 1
    assert facts(sandbox) == []
    with pytest.raises(UnknownNameError):
        sac.explain("select Sectr from US_EMPLOYMENT")


@pytest.mark.filterwarnings("ignore:.* several versions of 'US_EMPLOYMENT':sacnb.errors.MixedVersionsWarning")
def test_an_interrupt_ends_a_query_and_its_thread(sac: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, asked = Facts.stream, []

    def interrupted(self: Facts, **options: Any) -> Any:
        asked.append(options["cancelled"])
        os.kill(os.getpid(), signal.SIGINT)
        return stream(self, **options)

    monkeypatch.setattr(Facts, "stream", interrupted)
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda *_, **__: -1)  # the thread alone must do
    with pytest.raises(KeyboardInterrupt):
        sac.sql("select sum(Employees) from US_EMPLOYMENT", large_rows=None)
    assert asked[0]()
    for thread in threading.enumerate():
        if thread.name == "sacnb-sql":  # on a busy machine
            thread.join(30)
            assert not thread.is_alive()


def test_an_interrupt_ends_the_collect_of_a_scan(sac: Tenant) -> None:
    def interrupted() -> bool:
        signal.raise_signal(signal.SIGINT)
        return False

    # Python would raise on the main thread as soon as polars lets it; this handler lets the pull end by itself.
    earlier = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with pytest.raises(Cancelled):
            Scan(sac.model("US_EMPLOYMENT").facts(), cancelled=interrupted).frame().collect()
    finally:
        signal.signal(signal.SIGINT, earlier)
        signal.set_wakeup_fd(-1)
