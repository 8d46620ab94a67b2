"""Files written into a model from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from sales import sales

from sacnb.cli.failures import ExitCode
from sacnb.cli.question import read_csv
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]
PLAN = "Date;Shop;Amount\n202401;S0;1.5\n202401;S1;2\n"
WRITE = ("import", "SALES", "plan.csv", "--separator", ";", "--map", "Store=Shop", "--default", "Pieces=3")


@pytest.fixture(autouse=True)
def _plan(tenant: Sandbox) -> None:
    tenant.add_model(sales())
    Path("plan.csv").write_text(PLAN, encoding="utf-8")


def test_a_file_is_written_and_the_report_is_printed(invoke: Invoke) -> None:
    found = invoke(*WRITE, "--version", "public.Plan")
    assert found.exit_code == ExitCode.OK, found.output
    assert "read back, as written" in found.stdout
    again = json.loads(invoke(*WRITE, "--version", "public.Plan", "--dry-run", "--json").stdout)
    assert again["changes"] == {"new": 0, "changed": 0, "same": 2, "removed": 0}
    assert (again["state"], again["dry_run"], again["rows"]) == ("READY_FOR_WRITE", True, 2)


@pytest.mark.parametrize("name", ["plan.csv", "plan.parquet"])
def test_a_file_beyond_the_bound_is_not_read(name: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_MAX_FILE_MB", "1")
    Path(name).write_bytes(b"x" * 1_000_001)
    found = invoke("import", "SALES", name, "--version", "public.Plan")
    assert found.exit_code == ExitCode.USAGE
    assert f"{name} cannot be read: it is longer than 1 MB (SAC_MAX_FILE_MB)" in found.stderr


@pytest.mark.parametrize(("divided", "told"), [(";", "';'"), ("\t", "$'\\t'"), ("|", "'|'")])
def test_a_file_with_another_separator_is_told_so(invoke: Invoke, divided: str, told: str) -> None:
    Path("plan.csv").write_text("\ufeffDate;Store;Amount\r\n202401;S0;1,5\r\n".replace(";", divided), encoding="utf-8")
    found = invoke("import", "SALES", "plan.csv", "--version", "public.Plan")
    assert found.exit_code == ExitCode.USAGE
    assert f"Is it divided by --separator {told}?" in found.stderr


HEAD = b"Date;Shop;Amount\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEAD + b"202401;S0;1\n202401;S1\n", "Expected 3 columns, got 2: 202401;S1"),  # cut off: no empty cell
        (HEAD + b"202401;S0;1;2\n", "Expected 3 columns, got 4"),
        (HEAD + b'202401;"S0;1\n', "cannot be read as csv"),
        (HEAD + b"202401;S\xe9;1\n", "can't decode byte 0xe9"),
        (b"Date;Shop;Amount;Amount\n202401;S0;1;2\n", "has the column 'Amount' twice"),
        (b"", "Empty CSV file"),
        (PLAN.encode("utf-16")[:-1], "utf-16"),  # cut in the middle of a character, which nothing may replace
    ],
)
def test_what_is_no_csv_is_refused_and_no_cell_is_made_up(invoke: Invoke, content: bytes, words: str) -> None:
    Path("plan.csv").write_bytes(content)
    found = invoke(*WRITE, "--version", "public.Plan")
    assert found.exit_code == ExitCode.USAGE
    assert words in found.stderr
    assert "infer_schema" not in found.stderr


@pytest.mark.parametrize(
    "content",
    [
        PLAN.encode("utf-16"),
        PLAN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAN.encode() + b"\n\n",
        b'"Date";"Shop";"Amount"\n"202401";"S0";"1.5"\n"202401";"S1";2',
    ],
)
def test_a_csv_as_programs_write_it_is_read_as_texts(content: bytes) -> None:
    Path("plan.csv").write_bytes(content)
    assert read_csv(Path("plan.csv"), ";").rows() == [("202401", "S0", "1.5"), ("202401", "S1", "2")]


@pytest.mark.parametrize("write", [pl.DataFrame.write_ipc, pl.DataFrame.write_ipc_stream])
def test_arrow_files_and_streams_are_read(invoke: Invoke, write: Any) -> None:
    write(pl.DataFrame({"Date": ["202401"], "Store": ["S0"], "Amount": [1.5], "Pieces": [3]}), "plan.arrow")
    found = invoke("import", "SALES", "plan.arrow", "--version", "public.Plan", "--dry-run")
    assert found.exit_code == ExitCode.OK, found.output


def test_a_job_that_is_gone_is_not_looked_for_among_models(invoke: Invoke) -> None:
    found = invoke("import", "--job", "nope")
    assert "sacnb import --jobs lists those that are left" in found.stderr
    assert "sac.models()" not in found.stderr


def test_problems_are_shown_and_written_to_a_file(invoke: Invoke) -> None:
    Path("plan.csv").write_text(PLAN + "202401;nowhere;3\n", encoding="utf-8")
    found = invoke(*WRITE, "--version", "public.Plan", "--problems", "problems.csv")
    assert found.exit_code == ExitCode.USAGE
    assert "row 2: 'nowhere': nowhere of 'Store' does not exist" in found.stderr
    assert "--allow-partial writes the good ones." in found.stderr
    assert "error.problems" not in found.stderr
    assert pl.read_csv("problems.csv").select("row", "problem").rows() == [(2, "unknown member")]
    partly = invoke(*WRITE, "--version", "public.Plan", "--allow-partial")
    assert partly.exit_code == ExitCode.OK
    assert "unknown member" in partly.stdout


def test_clean_and_replace_needs_its_number(invoke: Invoke) -> None:
    found = invoke(*WRITE, "--version", "public.Plan", "--method", "CleanAndReplace")
    assert found.exit_code == ExitCode.USAGE
    assert "would delete 5 rows" in found.stderr
    assert "If that is what you want: --confirm 5" in found.stderr
    assert invoke(*WRITE, "--version", "public.Plan", "--method", "CleanAndReplace", "--confirm", "5").exit_code == 0


def test_a_failed_run_is_a_failure_of_sac(invoke: Invoke, tenant: Sandbox) -> None:
    tenant.misbehave("run_fails", text="Locked")
    found = invoke(*WRITE, "--version", "public.Plan")
    assert found.exit_code == ExitCode.SAC
    assert "Locked" in found.stderr


def test_jobs_are_listed_shown_and_deleted(invoke: Invoke) -> None:
    assert invoke(*WRITE, "--version", "public.Plan").exit_code == 0
    (*_, job) = json.loads(invoke("import", "--jobs", "--json").stdout)
    assert job["jobid"] in invoke("import", "--jobs").stdout
    assert "COMPLETED" in invoke("import", "--job", job["jobid"]).stdout
    assert "is deleted" in invoke("import", "--delete-job", job["jobid"]).stderr
    assert invoke("import", "--job", job["jobid"]).exit_code == ExitCode.SAC


def test_the_version_is_asked_for_as_an_option(invoke: Invoke) -> None:
    found = invoke(*WRITE)
    assert found.exit_code == ExitCode.USAGE
    assert "Name it: --version public.Plan, or add a column Version." in found.stderr
    assert "Save the sheet as CSV" in invoke("import", "SALES", "plan.xlsx", "--version", "public.Plan").stderr


@pytest.mark.parametrize("arguments", [(), ("SALES",), ("SALES", "nothing.csv"), ("SALES", "plan.txt")])
def test_what_is_missing_is_said(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke("import", *arguments, "--version", "public.Plan").exit_code == ExitCode.USAGE
