"""auth-check, models, describe, members, against a tenant over HTTP."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result

from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_auth_check_prints_ok_and_the_expiry(invoke: Invoke, tenant: Sandbox) -> None:
    done = invoke("auth-check")
    assert done.exit_code == 0
    assert re.fullmatch(r"OK, the token is valid until \d\d:\d\d:\d\d( \S+)? \(\d+ min \d+ s\)\n", done.stdout)
    assert done.stderr == ""


def test_auth_check_as_json(invoke: Invoke, tenant: Sandbox) -> None:
    answer = json.loads(invoke("auth-check", "--json").stdout)
    assert list(answer) == ["ok", "issued_at", "expires_at", "remaining_s"]
    assert answer["ok"] is True
    assert 3500 < answer["remaining_s"] <= 3600
    assert datetime.fromisoformat(answer["expires_at"]) > datetime.now(UTC)


def test_a_pasted_token_without_expiry_is_reported_as_one(
    invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_AUTH", "static")
    monkeypatch.setenv("SAC_TOKEN", "canary-opaque")
    said = invoke("auth-check").stdout
    assert said == "OK, using a pasted token (SAC_TOKEN); it does not say when it expires\n"
    answer = json.loads(invoke("auth-check", "--json").stdout)
    assert (answer["ok"], answer["expires_at"], answer["remaining_s"]) == (True, None, None)


def test_a_wrong_secret_is_one_line_with_the_remedy(run: Run, tenant: Sandbox) -> None:
    wrong = "11111111-2222-3333-4444-555555555555$a-wrong-secret="
    done = run("auth-check", environ={"SAC_CLIENT_SECRET": wrong})
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "SAC_CLIENT_SECRET" in line
    assert "a-wrong-secret" not in line


def test_an_unreachable_token_endpoint_is_not_the_users_fault(invoke: Invoke, tenant: Sandbox) -> None:
    tenant.misbehave("token_500")
    result = invoke("auth-check")
    assert result.exit_code == ExitCode.SAC
    assert re.search(r"^  2 attempts in \d+\.\d s: ", result.stderr, re.MULTILINE)


def test_verbose_logs_steps_and_no_secret(invoke: Invoke, tenant: Sandbox) -> None:
    quiet, said, all_of_it = invoke("models"), invoke("-v", "models"), invoke("-vv", "models")
    assert quiet.stderr == ""
    assert " sacnb.auth: " in said.stderr
    assert "GET http" not in said.stderr
    assert re.search(r"^GET http://\S+/Providers\S*: 200, [\d,]+ bytes, \d+\.\d\d s$", all_of_it.stderr, re.MULTILINE)
    assert tenant.client_secret not in all_of_it.output
    assert "Bearer ey" not in all_of_it.output


def test_models_as_a_table_and_as_json(invoke: Invoke, tenant: Sandbox) -> None:
    table = invoke("models").stdout
    models = json.loads(invoke("models", "--json").stdout)
    assert [list(model) for model in models] == [["id", "name", "description"]] * len(models)
    assert {"US_EMPLOYMENT", "PLANNING", "SCALE"} <= {model["id"] for model in models}
    assert table.splitlines()[0].split() == ["id", "name", "description"]
    for model in models:
        assert re.search(rf"^{model['id']}\s+{model['name']}\s", table, re.MULTILINE)


def test_describe_as_a_table(invoke: Invoke, tenant: Sandbox) -> None:
    lines = [line.split() for line in invoke("describe", "US_EMPLOYMENT").stdout.splitlines()]
    assert ["dimension", "Date", "String(256)", "month"] in lines
    assert ["dimension", "Sector", "String(256)"] in lines
    assert ["measure", "Employees", "Decimal(31,7)"] in lines
    assert lines[-1][:3] == ["entity", "sets", "MasterData,"]


def test_describe_as_json_names_everything(invoke: Invoke, tenant: Sandbox) -> None:
    described = json.loads(invoke("describe", "EDM_TYPES", "--json").stdout)
    assert list(described) == [
        "model", "namespace", "entity_sets", "dimensions", "measures", "attributes", "date_columns",
    ]  # fmt: skip
    assert described["attributes"]
    for column in (*described["dimensions"], *described["measures"], *described["attributes"]):
        assert list(column) == ["name", "label", "type", "nullable", "max_length", "precision", "scale"]
    assert "FactData" in described["entity_sets"]


def test_a_dates_grain_that_sac_does_not_tell_is_still_marked_as_a_date(invoke: Invoke, tenant: Sandbox) -> None:
    described = json.loads(invoke("describe", "EDM_TYPES", "--json").stdout)
    unknown = [date["name"] for date in described["date_columns"] if date["grain"] is None]
    table = invoke("describe", "EDM_TYPES").stdout
    for name in unknown:
        assert re.search(rf"\s{name}\s.*\sdate$", table, re.MULTILINE)


def test_members_with_their_place_in_the_hierarchy(invoke: Invoke, tenant: Sandbox) -> None:
    members = {row["id"]: row for row in json.loads(invoke("members", "US_EMPLOYMENT", "Sector", "--json").stdout)}
    assert members["00"] == {"id": "00", "description": "Total nonfarm", "parent": None, "level": 0}
    assert members["06"]["parent"] == "05"
    table = invoke("members", "US_EMPLOYMENT", "Sector").stdout
    assert re.search(r"^06\s+Goods-producing\s+05\s+2$", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["describe", "US_EMPLOYMNT"], "Did you mean 'US_EMPLOYMENT'?"),
        (["members", "US_EMPLOYMENT", "Sectr"], "Did you mean 'Sector'?"),
    ],
)
def test_an_unknown_name_gets_the_nearest(arguments: list[str], hint: str, invoke: Invoke, tenant: Sandbox) -> None:
    result = invoke(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert hint in result.stderr


def test_a_refusal_of_sac_names_the_missing_right(invoke: Invoke, tenant: Sandbox) -> None:
    tenant.misbehave("forbidden")
    result = invoke("models")
    assert result.exit_code == ExitCode.SAC
    assert "[3401]" in result.stderr
    assert "request id" in result.stderr


def test_models_are_searched_by_text_of_any_case(invoke: Invoke, tenant: Sandbox) -> None:
    everything = json.loads(invoke("models", "--json").stdout)
    found = json.loads(invoke("models", "us_EMPL", "--json").stdout)
    assert [one["id"] for one in found] == ["US_EMPLOYMENT"]
    assert len(everything) > 1
    assert json.loads(invoke("models", "no such text", "--json").stdout) == []


_SQL = """
select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date = '201001' and Version = 'public.Actual'
group by Sector order by Sector
"""


def test_sql_prints_a_table_json_and_a_file(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    rows = json.loads(invoke("sql", _SQL, "--json").stdout)
    assert [list(row) for row in rows] == [["Sector", "jobs"]] * len(rows)
    table = invoke("sql", _SQL, "--limit", "2").stdout.splitlines()
    assert table[0].split() == ["Sector", "jobs"]
    assert [line.split()[0] for line in table[1:]] == [row["Sector"] for row in rows[:2]]
    file = tmp_path / "jobs.csv"
    done = invoke("sql", _SQL, "--output", str(file))
    assert (done.stdout, done.stderr) == ("", f"Wrote {len(rows)} rows to {file}.\n")
    assert len(file.read_text("utf-8").splitlines()) == len(rows) + 1
    mixed = invoke("sql", "select sum(Employees) from US_EMPLOYMENT where Sector = '31'")
    assert mixed.stderr.startswith("Warning: This query takes together several versions of 'US_EMPLOYMENT'")


def test_sql_says_when_a_table_does_not_show_every_row(invoke: Invoke, tenant: Sandbox) -> None:
    done = invoke("sql", "select Date from US_EMPLOYMENT limit 101")
    assert len(done.stdout.splitlines()) == 101
    assert "100 of 101 rows are shown" in done.stderr


def test_sql_mistakes_are_errors_in_json_too(invoke: Invoke, tenant: Sandbox) -> None:
    done = invoke("sql", "select * from NO_SUCH_MODEL", "--json")
    assert done.exit_code == json.loads(done.stdout)["error"]["exit_code"] == ExitCode.USAGE
    assert "Choose a format" in invoke("sql", _SQL, "--output", "jobs.ods").stderr
