"""Facts as files, and on stdout."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from decimal import Decimal
from importlib import resources
from pathlib import Path

import forking
import openpyxl
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from sacnb import Result as Facts
from sacnb._cache.store import Cache
from sacnb.cli.commands import export
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox, snowflake

Invoke = Callable[..., Result]
JOBS = ("export", "US_EMPLOYMENT", "--where", "Version=public.Actual")

READERS: dict[str, Callable[[bytes], pl.DataFrame]] = {
    "parquet": lambda content: pl.read_parquet(io.BytesIO(content)),
    "arrow": lambda content: pl.read_ipc(io.BytesIO(content)),
    "csv": lambda content: pl.read_csv(io.BytesIO(content), infer_schema=False),
}


@pytest.mark.parametrize("form", READERS)
def test_a_pipe_gets_the_rows_and_nothing_else(form: str, invoke: Invoke, tenant: Sandbox) -> None:
    data = resources.files("sacnb.sandbox") / "data" / "us_employment.csv"
    total = pl.read_csv(data.read_bytes())["employees_thousand"].sum()
    command = (*JOBS, "--format", form)
    if form == "parquet":  # through a pipe of the system
        done = forking.run([sys.executable, "-m", "sacnb", *command])
        assert done.returncode == 0
        content, said = done.stdout, done.stderr
    else:
        result = invoke(*command)
        content, said = result.stdout_bytes, result.stderr_bytes
    assert said == b""
    frame = READERS[form](content)
    assert frame.shape == (1800, 4)
    assert frame["Employees"].cast(pl.Float64).sum() == pytest.approx(float(total))


@pytest.mark.parametrize("name", ["jobs.parquet", "jobs.PQ", "jobs.csv", "jobs.arrow", "jobs.feather"])
def test_the_file_name_selects_the_format(name: str, invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    result = invoke(*JOBS, "--output", name)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert result.stderr == f"Wrote 1,800 rows of US_EMPLOYMENT to {name}.\n"
    form = export._FORMATS[Path(name).suffix.lower()]
    assert len(READERS[form]((tmp_path / name).read_bytes())) == 1800


def test_a_parquet_file_is_a_result_again(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    invoke(*JOBS, "--since", "2015", "-o", "jobs.parquet")
    result = Facts.from_parquet(tmp_path / "jobs.parquet")
    assert (len(result), result.info.provider_id) == (180, "US_EMPLOYMENT")
    assert result.arrow()["Employees"].type == pa.decimal128(31, 7)
    assert sum(result.arrow()["Employees"].to_pylist()) == Decimal("1701827.7")


def test_floats_for_readers_that_know_no_decimals(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    invoke(*JOBS, "--floats", "-o", "jobs.parquet")
    assert pq.read_schema(tmp_path / "jobs.parquet").field("Employees").type == pa.float64()


def test_the_tidy_frame_at_a_grain(invoke: Invoke, tenant: Sandbox) -> None:
    result = invoke(*JOBS, "--where", "Sector=31", "--format", "csv", "--tidy", "--grain", "year", "--agg", "last")
    frame = pl.read_csv(result.stdout.encode(), infer_schema=False)
    assert frame.columns == ["date", "dim_Version", "dim_Sector", "value"]
    assert frame["date"].to_list() == [f"{year}-01-01" for year in range(2006, 2016)]
    assert frame["value"][-1] == "7747.0"
    assert result.stderr == "Each year is the last of its months.\n"


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_the_tidy_frame_in_a_binary_file_keeps_its_types(
    form: str, invoke: Invoke, tenant: Sandbox, tmp_path: Path
) -> None:
    invoke(*JOBS, "--tidy", "-o", f"tidy.{form}")
    frame = READERS[form]((tmp_path / f"tidy.{form}").read_bytes())
    assert frame.schema == {"date": pl.Date, "dim_Version": pl.String, "dim_Sector": pl.String, "value": pl.Float64}


def test_an_excel_file_holds_rows_and_their_origin(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    done = invoke(*JOBS, "--where", "Sector=31", "--since", "2015", "-o", "jobs.xlsx")
    assert (done.exit_code, done.stderr) == (0, "Wrote 12 rows of US_EMPLOYMENT to jobs.xlsx.\n")
    book = openpyxl.load_workbook(tmp_path / "jobs.xlsx")
    rows = list(book["Data"].iter_rows(values_only=True))
    assert rows[:2] == [("Version", "Date", "Sector", "Employees"), ("public.Actual", "201501", "31", 7754)]
    assert dict(book["About"].iter_rows(values_only=True))["model"] == "US_EMPLOYMENT"
    tidy = invoke(*JOBS, "--tidy", "--grain", "year", "--agg", "mean", "--format", "xlsx", "-o", "tidy.xlsx")
    assert tidy.exit_code == 0, tidy.stderr
    about = dict(openpyxl.load_workbook(tmp_path / "tidy.xlsx")["About"].iter_rows(values_only=True))
    assert (about["grain"], about["aggregation"]) == ("year", "mean")


def test_csv_with_a_separator(invoke: Invoke, tenant: Sandbox) -> None:
    done = invoke(*JOBS, "--since", "2015-12", "--format", "csv", "--separator", ";", "--floats", "--escape-formulas")
    assert done.stdout.splitlines()[0] == "Version;Date;Sector;Employees"
    assert invoke(*JOBS, "--format", "csv", "--separator", "::").exit_code == ExitCode.USAGE
    refused = invoke(*JOBS, "-o", "jobs.parquet", "--separator", ";")
    assert (refused.exit_code, "are for CSV" in refused.stderr) == (ExitCode.USAGE, True)


def test_several_records_for_one_key_are_added_up_kept_or_refused(invoke: Invoke, tenant: Sandbox) -> None:
    export = ("export", "RECORDS", "--measures", "Quantity", "--format", "csv", "--dims", "Version,Date,CostCenter")
    summed = invoke(*export)
    assert "23 keys of RECORDS/FactData have several records" in summed.stderr
    sums = pl.read_csv(summed.stdout.encode())
    kept = pl.read_csv(invoke(*export, "--repeated", "keep").stdout.encode())
    assert (len(sums), len(kept)) == (24, 438)
    assert sums["Quantity"].sum() == kept["Quantity"].sum() == 2_491
    refused = invoke(*export, "--repeated", "error")
    assert (refused.exit_code, refused.stdout) == (ExitCode.SAC, "")
    assert "437 rows" in refused.stderr


def test_an_existing_file_stays_whole_if_the_download_fails(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("yesterday's")
    tenant.misbehave("truncated_json", on="facts")
    result = invoke(*JOBS, "-o", "jobs.csv")
    assert result.exit_code == ExitCode.SAC
    assert (tmp_path / "jobs.csv").read_text() == "yesterday's"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["jobs.csv"]


def test_an_export_writes_old_rows_only_if_allowed(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    invoke("refresh", *JOBS[1:])
    tenant.misbehave("error_503", on="facts")
    assert invoke(*JOBS, "-o", "jobs.csv").exit_code == ExitCode.SAC
    assert not (tmp_path / "jobs.csv").exists()
    allowed = invoke(*JOBS, "-o", "jobs.csv", "--allow-stale")
    assert allowed.exit_code == 0
    assert "SAC did not deliver" in allowed.stderr
    assert (tmp_path / "jobs.csv").exists()


def test_an_export_uses_the_cache_only_if_asked_to(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    invoke(*JOBS, "--format", "csv")
    assert Cache(tmp_path / "cache").entries() == ()
    invoke(*JOBS, "--format", "csv", "--max-age-s", "60")
    assert len(Cache(tmp_path / "cache").entries()) == 1
    before = tenant.counts["facts_requests"]
    invoke(*JOBS, "--format", "csv", "--max-age-s", "60")
    assert tenant.counts["facts_requests"] == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--format"),
        (["-o", "jobs.ods"], "--format"),
        (["--format", "csv", "--grain", "year"], "--tidy"),
        (["--format", "ods"], "'ods'"),
    ],
)
def test_contradictory_options_are_refused_before_any_request(
    arguments: list[str], said: str, invoke: Invoke, tenant: Sandbox
) -> None:
    before = tenant.counts["requests"]
    result = invoke(*JOBS, *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr
    assert tenant.counts["requests"] == before


def test_binary_is_not_written_to_a_terminal(invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "is_terminal", lambda _stream: True)
    result = invoke(*JOBS, "--format", "parquet")
    assert result.exit_code == ExitCode.USAGE
    assert "--output" in result.stderr


def test_a_folder_that_is_not_there_is_named(invoke: Invoke, tenant: Sandbox) -> None:
    result = invoke(*JOBS, "-o", "nowhere/jobs.csv")
    assert result.exit_code == ExitCode.USAGE
    assert "nowhere" in result.stderr


def test_rows_are_appended_to_a_table_in_snowflake(
    invoke: Invoke, tenant: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with snowflake.start() as simulator:
        key = tmp_path / "key.p8"
        key.write_bytes(simulator.private_key or b"")
        for name, value in {
            "ACCOUNT": simulator.account,
            "USER": simulator.user,
            "PRIVATE_KEY_FILE": str(key),
            "URL": simulator.url,
            "CA_BUNDLE": str(simulator.ca_file),
        }.items():
            monkeypatch.setenv(f"SNOWFLAKE_{name}", value)
        result = invoke(*JOBS, "--to", "snowflake", "--table", "db.public.jobs")
        assert result.exit_code == 0, result.output
        assert result.stderr.endswith("1,800 rows of US_EMPLOYMENT are committed in DB.PUBLIC.JOBS.\n")
        assert len(simulator.rows("DB", "PUBLIC", "JOBS")) == 1800
        printed = invoke(*JOBS, "--to", "snowflake", "--table", 'db."my.schema".jobs', "--create-table")
        assert printed.stdout.startswith('create table if not exists "DB"."my.schema"."JOBS" (\n    "Version" VARCHAR,')


@pytest.mark.parametrize(
    "options",
    [
        ("--to", "snowflake"),
        ("--table", "T"),
        ("--to", "snowflake", "--table", "T", "-o", "jobs.csv"),
        ("--to", "snowflake", "--table", "T", "--tidy"),
        ("--to", "snowflake", "--table", "a.b.c.d"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], invoke: Invoke, tenant: Sandbox) -> None:
    assert invoke(*JOBS, *options).exit_code == ExitCode.USAGE
