"""The import service of the sandbox, spoken to in plain HTTP: states, numbers, counts, and what the export returns."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from sacnb.sandbox import MISBEHAVIOURS

PLAN = {"Version": "public.Plan", "Date": "201506", "Sector": "31", "Employees": 1.5}
ROOT = "/api/v1/dataimport"


class Imports:
    """Requests to the import service with a CSRF token."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.root = api.sandbox.tenant_url + ROOT
        answer = api.get(f"{self.root}/models", headers={"x-csrf-token": "fetch"})
        self.headers = {"x-csrf-token": answer.headers["x-csrf-token"]}

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        if body is not None:
            options["json"] = body
        answer = self.api.http.request(method, f"{self.root}/{path}", headers=self.headers, timeout=20, **options)
        return answer.status_code, answer.json() if answer.content else None

    def job(self, model: str = "US_EMPLOYMENT", kind: str = "factData", **settings: Any) -> str:
        status, found = self.send("POST", f"models/{model}/{kind}", {"JobSettings": settings})
        assert status == 201
        return str(found["jobID"])

    def number(self, method: str, path: str, body: Any = None) -> int:
        """The number in the refusal of a request."""
        status, found = self.send(method, path, body)
        assert status >= 400
        return int(found["error"]["message"].rpartition("[")[2].rstrip("]"))

    def facts(self, **keys: str) -> list[dict[str, Any]]:
        terms = " and ".join(f"{name} eq '{member}'" for name, member in keys.items())
        rows: list[dict[str, Any]] = self.api.rows("US_EMPLOYMENT", dollar_filter=terms)
        return rows


@pytest.fixture
def imports(start: Callable[..., Any]) -> Imports:
    return Imports(start())


def plan(**changed: Any) -> dict[str, Any]:
    return {**PLAN, **changed}


def test_the_import_metadata_have_the_published_form(imports: Imports) -> None:
    _, found = imports.send("GET", "models/PLANNING/metadata")
    assert found["factData"]["keys"] == ["Version", "Date", "Account", "CostCenter", "Region"]
    version, date, *_, measure = found["factData"]["columns"]
    assert version == {
        "columnName": "Version", "columnDataType": "string", "maxLength": 300, "isKey": True,
        "propertyType": "PROPERTY", "descriptionName": "Version",
    }  # fmt: skip
    assert date["propertyType"] == "DATE"
    assert (measure["columnDataType"], measure["precision"], measure["scale"]) == ("decimal", 31, 7)


def test_a_job_goes_from_data_to_validation_to_its_run_and_the_export_has_the_row(imports: Imports) -> None:
    job = imports.job(importMethod="Update", executeWithFailedRows=False)
    _, uploaded = imports.send("POST", f"jobs/{job}", {"Data": [PLAN, plan(Date="201601", Employees="2.5")]})
    assert (uploaded["totalNumberRowsInCurrentRequest"], uploaded["upsertedNumberRows"]) == (2, 2)
    assert uploaded["failedRows"] == []
    _, validated = imports.send("POST", f"jobs/{job}/validate")
    assert (validated["jobStatus"], validated["totalNumberRowsInJob"]) == ("READY_FOR_WRITE", 2)
    _, run = imports.send("POST", f"jobs/{job}/run")
    assert run["jobStatus"] == "PROCESSING"
    _, status = imports.send("GET", f"jobs/{job}/status")
    assert status["jobStatus"] == "COMPLETED"
    (row,) = imports.facts(Version="public.Plan", Date="201506", Sector="31")
    assert row["Employees"] == 1.5
    assert len(imports.facts(Version="public.Plan", Date="201601")) == 1


def test_actions_in_the_wrong_state_have_the_documented_numbers(imports: Imports) -> None:
    job = imports.job()
    assert imports.number("POST", f"jobs/{job}/run") == 1001
    assert imports.number("POST", f"jobs/{job}/validate") == 1011
    assert imports.number("POST", f"jobs/{job}", {"Rows": []}) == 1006
    assert imports.number("POST", f"jobs/{job}", {"Data": [plan(Nonsense=1)]}) == 1004
    assert imports.number("POST", "models/US_EMPLOYMENT", {}) == 1005
    assert imports.number("POST", "models/US_EMPLOYMENT/factData", {"Mapping": ["Date"]}) == 1008
    assert imports.number("POST", "models/US_EMPLOYMENT/factData", {"Mapping": {"Date": ""}}) == 1009
    assert imports.number("POST", "models/US_EMPLOYMENT/factData", {"Mapping": {"Nonsense": "Date"}}) == 1004
    imports.send("POST", f"jobs/{job}", {"Data": [PLAN]})
    imports.send("POST", f"jobs/{job}/validate")
    imports.api.sandbox.misbehave("import_is_slow", polls=1)
    imports.send("POST", f"jobs/{job}/run")
    assert imports.number("POST", f"jobs/{job}/run") == 1010
    assert imports.number("DELETE", f"jobs/{job}") == 1010
    assert imports.send("GET", f"jobs/{job}/status")[1]["jobStatus"] == "PROCESSING"
    assert imports.send("GET", f"jobs/{job}/status")[1]["jobStatus"] == "COMPLETED"
    assert imports.number("POST", f"jobs/{job}/run") == 1001


def test_invalid_rows_are_dropped_while_the_status_is_201(imports: Imports) -> None:
    job = imports.job()
    rows = [PLAN, plan(Date="2015-06"), plan(Employees="many"), plan(Sector=None), plan(Employees=10**30)]
    status, found = imports.send("POST", f"jobs/{job}", {"Data": rows})
    assert (status, found["upsertedNumberRows"], found["failedNumberRows"]) == (201, 1, 4)
    assert [row["reason"] for row in found["failedRows"]] == [
        f"Invalid column value for: {name}" for name in ("Date", "Employees", "Sector", "Employees")
    ]


def test_members_are_looked_at_by_the_validation(imports: Imports) -> None:
    job = imports.job("PLANNING")
    row = {"Version": "public.Plan", "Date": "202401", "CostCenter": "CC1100", "Region": "US", "SignedData": 1}
    known = imports.api.data("PLANNING", dollar_top="1").json()["value"][0]
    row |= {"CostCenter": known["CostCenter"], "Region": known["Region"]}
    data = [{**row, "Account": account} for account in ("400000", "REV", "4711")]
    imports.send("POST", f"jobs/{job}", {"Data": data})
    _, found = imports.send("POST", f"jobs/{job}/validate")
    assert (found["totalNumberRowsInJob"], found["failedNumberRows"]) == (1, 2)
    _, invalid = imports.send("GET", f"jobs/{job}/invalidRows")
    assert [row["reason"] for row in invalid["failedRows"]] == [
        "must be leaf node in hierarchy: Account REV",
        "member does not exist: Account 4711",
    ]


def test_a_run_with_failed_rows_fails_if_it_was_told_to(imports: Imports) -> None:
    for given, state in ((False, "FAILED"), (True, "COMPLETED"), (None, "COMPLETED")):
        job = imports.job(**({} if given is None else {"executeWithFailedRows": given}))
        imports.send("POST", f"jobs/{job}", {"Data": [PLAN, plan(Sector="nowhere")]})
        imports.send("POST", f"jobs/{job}/validate")
        imports.send("POST", f"jobs/{job}/run")
        assert imports.send("GET", f"jobs/{job}/status")[1]["jobStatus"] == state


def test_without_a_version_rows_land_in_the_actuals_and_the_last_of_a_key_wins(imports: Imports) -> None:
    job = imports.job()
    rows = [{k: v for k, v in plan(Employees=n).items() if k != "Version"} for n in (1, 2)]
    imports.send("POST", f"jobs/{job}", {"Data": rows})
    imports.send("POST", f"jobs/{job}/validate")
    imports.send("POST", f"jobs/{job}/run")
    (row,) = imports.facts(Version="public.Actual", Date="201506", Sector="31")
    assert row["Employees"] == 2


def test_append_adds(imports: Imports) -> None:
    before = imports.facts(Version="public.Plan", Date="201506", Sector="31")[0]["Employees"]
    job = imports.job(importMethod="Append")
    imports.send("POST", f"jobs/{job}", {"Data": [PLAN]})
    imports.send("POST", f"jobs/{job}/validate")
    imports.send("POST", f"jobs/{job}/run")
    assert imports.facts(Version="public.Plan", Date="201506", Sector="31")[0]["Employees"] == before + Decimal("1.5")


def test_a_measure_that_no_row_has_stays_as_it_is(imports: Imports) -> None:
    (row,) = imports.api.rows(
        "RECORDS", dollar_filter="Date eq '202401' and CostCenter eq 'CC100' and Version eq 'public.Plan'"
    )[:1]
    job = imports.job("RECORDS")
    key = {name: row[name] for name in ("Version", "Date", "CostCenter")}
    imports.send("POST", f"jobs/{job}", {"Data": [{**key, "Quantity": 9}]})
    imports.send("POST", f"jobs/{job}/validate")
    imports.send("POST", f"jobs/{job}/run")
    terms = " and ".join(f"{name} eq '{member}'" for name, member in key.items())
    (found,) = imports.api.rows("RECORDS", dollar_filter=terms)
    assert found["Quantity"] == 9
    assert found["Amount"] is not None


@pytest.mark.parametrize("counted", [False, True])
def test_clean_and_replace_tells_what_it_deletes_in_either_form(imports: Imports, *, counted: bool) -> None:
    if counted:
        imports.api.sandbox.misbehave("affected_rows_counted")
    job = imports.job(importMethod="CleanAndReplace", dimensionScope=["Version", "Date"])
    imports.send("POST", f"jobs/{job}", {"Data": [PLAN]})
    _, found = imports.send("POST", f"jobs/{job}/validate")
    affected = found["additionalInformation"]["cleanAndReplaceAffectedRows"]
    rows = len(imports.facts(Version="public.Plan", Date="201506"))
    assert rows > 1
    scope = {"dimensionScope": ["Version", "Date"], "numberOfRowsToBeDeleted": rows}
    assert affected == (scope if counted else [{"Version": "public.Plan", "Date": "201506"}])
    imports.send("POST", f"jobs/{job}/run")
    assert [row["Sector"] for row in imports.facts(Version="public.Plan", Date="201506")] == ["31"]


def test_master_data_come_before_facts_and_csv_is_read(imports: Imports) -> None:
    job = imports.job("US_EMPLOYMENT", "masterData")
    member = {"Sector___ID": "99", "Sector___Description": 'New, and "quoted"'}
    imports.send("POST", f"jobs/{job}", {"Data": [member]})
    imports.send("POST", f"jobs/{job}/validate")
    imports.send("POST", f"jobs/{job}/run")
    members = imports.api.rows("US_EMPLOYMENT", "SectorMaster")
    assert members[-1] == {"ID": "99", "Description": 'New, and "quoted"'}
    job = imports.job()
    text = "Version,Date,Sector,Employees\npublic.Plan,201506,99,7\n"
    headers = {**imports.headers, "Content-Type": "text/csv"}
    answer = imports.api.http.post(f"{imports.root}/jobs/{job}", data=text, headers=headers, timeout=20)
    assert answer.json()["upsertedNumberRows"] == 1
    imports.send("POST", f"jobs/{job}/validate")
    imports.send("POST", f"jobs/{job}/run")
    assert imports.facts(Version="public.Plan", Sector="99")[0]["Employees"] == 7


def test_a_hundred_active_jobs_of_a_model_are_the_limit(imports: Imports) -> None:
    jobs = [imports.job() for _ in range(100)]
    assert imports.number("POST", "models/US_EMPLOYMENT/factData", {}) == 1002
    imports.job("PLANNING")
    assert len(imports.send("GET", "jobs")[1]) == 101
    assert imports.send("DELETE", f"jobs/{jobs[0]}") == (204, None)
    assert imports.send("DELETE", f"jobs/{jobs[0]}")[0] == 404
    imports.job()
    imports.api.sandbox.misbehave("import_limit", number=1007)
    assert imports.number("POST", "models/SCALE/factData", {}) == 1007


def test_writing_needs_a_csrf_token(imports: Imports) -> None:
    imports.headers = {}
    status, _ = imports.send("POST", "models/US_EMPLOYMENT/factData", {})
    assert status == 403


def test_a_private_version_needs_a_named_user(imports: Imports) -> None:
    assert imports.send("POST", "models/US_EMPLOYMENT/privateFactData", {})[0] == 403


def test_an_answer_is_lost_after_the_request_was_carried_out(imports: Imports) -> None:
    imports.api.sandbox.misbehave("answer_lost", on="import_create", times=1)
    with pytest.raises(OSError, match=r"reset|aborted"):
        imports.job()
    assert len(imports.send("GET", "jobs")[1]) == 1


def _limit(imports: Imports) -> None:
    assert imports.number("POST", "models/US_EMPLOYMENT/factData", {}) == 1002


def _too_large(imports: Imports) -> None:
    assert imports.send("POST", f"jobs/{imports.job()}", {"Data": [PLAN] * 1000})[0] == 413


def _drops(imports: Imports) -> None:
    found = imports.send("POST", f"jobs/{imports.job()}", {"Data": [PLAN, plan(Sector="32")]})[1]
    assert (found["upsertedNumberRows"], found["failedNumberRows"]) == (1, 1)


def _flat(imports: Imports) -> None:
    (found,) = imports.send("POST", f"jobs/{imports.job()}", {"Data": [plan(Employees="x")]})[1]["failedRows"]
    assert found == plan(Employees="x", _REJECTION_REASON="Invalid column value for: Employees")


def _counted(imports: Imports) -> None:
    job = imports.job(importMethod="CleanAndReplace", dimensionScope=["Version", "Date"])
    imports.send("POST", f"jobs/{job}", {"Data": [PLAN]})
    found = imports.send("POST", f"jobs/{job}/validate")[1]["additionalInformation"]
    assert found["cleanAndReplaceAffectedRows"]["dimensionScope"] == ["Version", "Date"]


def _run(imports: Imports) -> Any:
    job = imports.job()
    imports.send("POST", f"jobs/{job}", {"Data": [PLAN]})
    imports.send("POST", f"jobs/{job}/validate")
    imports.send("POST", f"jobs/{job}/run")
    return imports.send("GET", f"jobs/{job}/status")[1]


def _writes_nothing(imports: Imports) -> None:
    before = imports.facts(Version="public.Plan", Date="201506")
    assert _run(imports)["jobStatus"] == "COMPLETED"
    assert imports.facts(Version="public.Plan", Date="201506") == before


def _fails(imports: Imports) -> None:
    found = _run(imports)
    assert (found["jobStatus"], found["jobStatusDescription"]) == ("FAILED", "Internal error")


def _is_slow(imports: Imports) -> None:
    assert _run(imports)["jobStatus"] == "PROCESSING"


SHOWN: dict[str, Callable[[Imports], None]] = {
    "import_limit": _limit,
    "upload_limit": _too_large,
    "upload_drops_rows": _drops,
    "rejected_rows_flat": _flat,
    "affected_rows_counted": _counted,
    "run_writes_nothing": _writes_nothing,
    "run_fails": _fails,
    "import_is_slow": _is_slow,
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_misbehaviour_strikes(imports: Imports, name: str) -> None:
    imports.api.sandbox.misbehave(name)
    SHOWN[name](imports)


def test_every_misbehaviour_of_imports_is_shown_here() -> None:
    assert set(SHOWN) == {name for name, entry in MISBEHAVIOURS.items() if entry.within.startswith("import")}
