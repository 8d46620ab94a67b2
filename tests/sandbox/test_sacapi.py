"""SAP's own client ``sacapi`` reads from the sandbox, which shows that the sandbox is not tailored to sacnb.

``sacapi`` builds https URLs from a tenant's name and data centre, so its URL attributes are pointed at the sandbox, and
oauthlib is allowed to speak http; nothing else of it is touched.

What it does with a tenant is worth knowing, because the sandbox has to bear it honestly:

* It asks for ``<column>Master`` of every column, measures too. Those get the error SAC gives (404, [3707]); sacapi
  reads the answer's ``value`` only for dimensions, and every dimension here has its master data, as in a real model.
  (On tenants where one has none, sacapi dies of ``KeyError: 'value'``.)
* It takes every entity type with ``FactData`` in its name for the fact data, so ``FactDataAggregation`` gives it each
  measure twice.
* It means to tell dates from other dimensions and does not: dates end up among the dimensions.
* It keeps what it learned of models in dictionaries of the class: one model's columns show up in the next one's. The
  fixture gives each test fresh ones.
* It asks the Data Import Service for a CSRF token. Where that service is not granted (403, [3401]), it prints a warning
  and goes on.
* It creates jobs with a body that is JSON only up to the end of its mapping, so SAC must ignore the rest, and maps no
  version: a row's own column ``Version`` is taken as it is.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sacapi import sacapi

from sacnb.sandbox import Sandbox


@pytest.fixture
def sandbox(start: Callable[..., Any]) -> Sandbox:
    api: Any = start(login=False, max_page_size=500)
    return api.sandbox


@pytest.fixture
def connection(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A ``SACConnection`` that is connected to a sandbox with small pages."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    for name in ["dimensions", "dateDimensions", "accounts", "versions", "mapping"]:
        monkeypatch.setattr(sacapi.ModelMetadata, name, {})
    monkeypatch.setattr(sacapi.ModelMetadata, "measures", [])
    connection = sacapi.SACConnection("tenant", "eu10")
    https = "https://tenant.eu10.hcs.cloud.sap"
    for name, url in vars(connection).items():
        if name.startswith("url"):
            setattr(connection, name, url.replace(https, sandbox.tenant_url))
    connection.urlAccessToken = sandbox.token_url
    connection.connect(sandbox.client_id, sandbox.client_secret)
    return connection


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_lists_the_models(connection: Any) -> None:
    assert list(connection.providers) == ["US_EMPLOYMENT", "PLANNING", "SCALE", "EDM_TYPES"]
    assert connection.searchProviders("employment") == {"US employment by sector": "US_EMPLOYMENT"}
    assert connection.providers["PLANNING"].serviceURL.endswith("/providers/sac/PLANNING/")


def test_it_warns_that_the_import_service_is_not_granted(
    connection: Any, sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    assert connection.csrfTokenStatus is True
    sandbox.misbehave("forbidden", on="import")
    connection.getProviders()
    assert "WARNING.  Failed to connect to" in capfd.readouterr().out
    assert connection.csrfTokenStatus is False


def test_it_reads_us_employment(connection: Any, data_files: Path) -> None:
    model = connection.getModelMetadata("US_EMPLOYMENT")
    assert set(model.measures) == {"Employees"}
    assert model.versions == {"Version": {"public.Actual": "Actual", "public.Plan": "Plan"}}
    sectors = {r["id"]: r["description"] for r in _csv(data_files / "us_employment_sectors.csv")}
    assert model.dimensions["Sector"] == sectors
    actual = {(r["date"], r["sector"]): float(r["employees_thousand"]) for r in _csv(data_files / "us_employment.csv")}
    assert set(model.dimensions["Date"]) == {date for date, _ in actual}
    connection.addLogicalFilter("US_EMPLOYMENT", "Sector", "31", connection.filterOperators.EQUAL)
    connection.addStringFilter("US_EMPLOYMENT", "Date", "2010", connection.filterStringOperations.STARTS_WITH)
    assert len(connection.getFactData(model)) == 24
    connection.addFilterProvider("US_EMPLOYMENT")
    rows = connection.getFactData(model, 300)
    assert len(rows) == 3420
    found = {(r["Date"], r["Sector"]): r["Employees"] for r in rows if r["Version"] == "public.Actual"}
    assert found == actual


def test_it_reads_the_planning_model(connection: Any, data_files: Path) -> None:
    model = connection.getModelMetadata("PLANNING")
    assert set(model.measures) == {"SignedData"}
    accounts = {r["ID"]: r["Description"] for r in _csv(data_files / "planning_accounts.csv")}
    assert model.accounts == {"Account": accounts}
    assert set(model.dimensions) == {"Date", "CostCenter", "Region"}
    rows = connection.getFactData(model)
    expected = _csv(data_files / "planning.csv")
    assert [list(r.values())[:5] for r in rows] == [list(r.values())[:5] for r in expected]
    assert [r["SignedData"] for r in rows] == [float(Decimal(r["SignedData"])) for r in expected]


def _plan(connection: Any, date: str) -> dict[str, float]:
    connection.addFilterProvider("US_EMPLOYMENT")
    connection.addLogicalFilter("US_EMPLOYMENT", "Date", date, connection.filterOperators.EQUAL)
    rows = connection.getFactData(connection.modelMetadata["US_EMPLOYMENT"])
    return {row["Sector"]: row["Employees"] for row in rows if row["Version"] == "public.Plan"}


def test_it_imports_rows_and_reads_them_back(connection: Any, sandbox: Sandbox) -> None:
    model = connection.getModelMetadata("US_EMPLOYMENT")
    before = _plan(connection, "201506")
    rows = [
        {"Version": "public.Plan", "Date": "201506", "Sector": "31", "Employees": 1.5},
        {"Version": "public.Plan", "Date": "201601", "Sector": "31", "Employees": 2.25},
    ]
    connection.upload(model, rows)
    assert _plan(connection, "201506") == {**before, "31": 1.5}
    assert _plan(connection, "201601") == {"31": 2.25}
    assert sandbox.counts["import_run_requests"] == 1


def test_its_rejected_rows_are_told_and_its_job_is_deleted(connection: Any, sandbox: Sandbox) -> None:
    model = connection.getModelMetadata("US_EMPLOYMENT")
    row = {"Version": "public.Plan", "Date": "201506", "Sector": "nowhere", "Employees": 1.5}
    good = {**row, "Sector": "31"}
    with pytest.raises(sacapi.InvalidRowsError) as caught:
        connection.upload(model, [good, row])
    (told,) = caught.value.args
    assert told["failedNumberRows"] == 1
    assert told["failedRows"][0]["reason"] == "member does not exist: Sector nowhere"
    assert sandbox.counts["import_delete_requests"] == 1
    assert sandbox.counts["import_run_requests"] == 0
