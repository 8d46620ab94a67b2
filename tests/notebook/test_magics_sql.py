"""``%%sac``: SQL in a cell, with the user's variables as values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest

from sacnb._tenant import Tenant
from sacnb.errors import ForbiddenError, QueryError, SacError, UnknownNameError, UsageError
from sacnb.sandbox import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore::sacnb.errors.MixedVersionsWarning")  # sums are not the point here

BY_SECTOR = "select Sector, sum(Employees) as jobs from US_EMPLOYMENT where Date >= '201501' group by Sector"
ONE_SECTOR = "select * from US_EMPLOYMENT where Sector = :sector"


def test_the_frame_is_shown_without_a_variable(shell: Any, sac: Tenant) -> None:
    found = shell.run(f"%%sac\n{BY_SECTOR}")
    assert found.sort("Sector").equals(sac.sql(BY_SECTOR).sort("Sector"))


def test_the_frame_is_stored_in_the_variable_and_nothing_is_shown(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.run(f"%%sac by_sector\n{BY_SECTOR}") is None
    assert capsys.readouterr().out == ""
    assert isinstance(shell.user_ns["by_sector"], pl.DataFrame)
    assert "jobs" in shell.user_ns["by_sector"].columns


@pytest.mark.parametrize(
    ("condition", "variables", "rows"),
    [
        ("Sector = :sector", {"sector": "31"}, 228),
        ("Sector in :sectors", {"sectors": ["31", "32"]}, 456),
        ("Sector = :sector and Date >= :start", {"sector": "31", "start": "201501"}, 24),
        ("Sector = :sector and Employees > :least", {"sector": "31", "least": Decimal("8990.5")}, None),
        ("Sector = :sector", {"sector": "31' or '1' = '1"}, 0),
        ("Sector = :sector", {"sector": "' ; drop table x --"}, 0),
        ("Sector = ':sector' or Sector = :sector -- and :not_this", {"sector": "31"}, 228),
    ],
)
def test_variables_are_values_and_never_sql(
    shell: Any, sac: Tenant, condition: str, variables: dict[str, Any], rows: int | None
) -> None:
    shell.user_ns.update(variables)
    query = f"select * from US_EMPLOYMENT where {condition}"
    found = shell.run(f"%%sac\n{query}")
    assert found.equals(sac.sql(query, variables))
    assert rows is None or len(found) == rows


@pytest.mark.parametrize(
    "options", ['--params \'{"sector": "31"}\'', "--params values", "--params $values", '--params={\\"sector\\":31}']
)
def test_values_are_json_or_a_dictionary(shell: Any, sac: Tenant, options: str) -> None:
    shell.user_ns.update(values={"sector": "31"}, sector="32")
    if "\\" in options:  # without single quotes the double ones are gone, and that is said
        with pytest.raises(UsageError, match="Put JSON into single quotes"):
            shell.run(f"%%sac {options}\n{ONE_SECTOR}")
        return
    assert shell.run(f"%%sac {options}\n{ONE_SECTOR}")["Sector"].unique().to_list() == ["31"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--params nothing", "no dictionary of that name"),
        ("--params '[1]'", "takes a JSON object"),
        ("--params '{'", "neither a name nor JSON"),
    ],
)
def test_unreadable_values_are_refused(shell: Any, sac: Tenant, options: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        shell.run(f"%%sac {options}\n{ONE_SECTOR}")


def test_a_missing_value_is_named(shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    done = shell.attempt("%%sac found\nselect * from US_EMPLOYMENT where Date >= :first and Date <= :last")
    assert isinstance(shell.user_ns["found"], QueryError)
    assert done.error_in_exec is shell.user_ns["found"]
    assert capsys.readouterr().out.splitlines() == [
        "QueryError: There is no value for :first, :last.",
        "Set a variable of that name, or use --params.",
        "%tb shows the traceback; %config SacMagics.full_tracebacks = True shows it each time.",
    ]


def test_an_unused_value_is_a_mistake(shell: Any, sac: Tenant) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'sector'"):
        shell.run(f'%%sac --params \'{{"sector": "31", "sektor": "32"}}\'\n{ONE_SECTOR}')


def test_a_date_is_a_date(shell: Any, sac: Tenant) -> None:
    shell.user_ns["day"] = dt.date(2000, 1, 1)
    found = shell.run("%%sac\nselect Date from EDM_TYPES where Date >= :day")
    assert (found["Date"] >= dt.date(2000, 1, 1)).all()
    assert len(found) > 0


def test_rows_are_limited_by_option_or_configuration(shell: Any, sac: Tenant) -> None:
    query = "select * from US_EMPLOYMENT"
    assert len(shell.run(f"%%sac --limit 5\n{query}")) == 5
    shell.run("%config SacMagics.limit = 3")
    assert len(shell.run(f"%%sac\n{query}")) == 3
    assert len(shell.run(f"%%sac --limit 4\n{query}")) == 4
    assert len(shell.run(f"%%sac --limit 0\n{query}")) == 0


def test_options_set_the_library_of_frames_and_exact_decimals(shell: Any, sac: Tenant) -> None:
    assert isinstance(shell.run(f"%%sac --pandas\n{BY_SECTOR}"), pd.DataFrame)
    exact = shell.run("%%sac --decimals --limit 1\nselect Employees from US_EMPLOYMENT")
    assert isinstance(exact["Employees"].dtype, pl.Decimal)
    shell.run("%config SacMagics.frame = 'pandas'")
    assert isinstance(shell.run(f"%%sac --polars\n{BY_SECTOR}"), pl.DataFrame)


def test_a_dry_run_shows_the_request_and_downloads_no_rows(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    shell.user_ns["sector"] = "31"
    said = repr(shell.run(f"%%sac found --dry-run\n{ONE_SECTOR}"))
    assert "Sector eq '31'" in said
    assert "rows     228" in said
    assert "found" not in shell.user_ns
    assert sandbox.counts["rows"] <= 1
    assert sandbox.counts["facts_requests"] == 1  # the count, and nothing else


def test_rows_come_from_sac_each_time_and_none_are_cached(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    asked = []
    for options in ("", "--no-cache"):
        shell.run(f"%%sac found {options}\n{BY_SECTOR}")
        asked.append(sandbox.counts["facts_requests"])
    assert asked[0] > 0
    assert asked[1] == 2 * asked[0]
    assert sac.cache.entries() == ()


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select * from US_EMPLOYMNT", "Did you mean 'US_EMPLOYMENT'"),
        ("select Sektor from US_EMPLOYMENT", "Did you mean 'Sector'"),
        ("selec * from US_EMPLOYMENT", "QueryError: polars cannot run the query"),
    ],
)
def test_a_mistake_in_the_sql_is_shown_in_a_few_lines(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], sql: str, says: str
) -> None:
    done = shell.attempt(f"%%sac found\n{sql}")
    shown = capsys.readouterr().out
    assert isinstance(done.error_in_exec, SacError)
    assert shell.user_ns["found"] is done.error_in_exec
    assert says in shown
    assert len(shown.splitlines()) <= 4
    assert "Traceback" not in shown


def test_a_refusal_of_sac_is_stored_in_the_variable(shell: Any, sac: Tenant, sandbox: Sandbox) -> None:
    sandbox.misbehave("forbidden", on="facts")
    shell.attempt(f"%%sac found\n{BY_SECTOR}")
    assert isinstance(shell.user_ns["found"], ForbiddenError)


def test_it_has_a_manual(shell: Any, sac: Tenant) -> None:
    shown = repr(shell.run("%%sac --help\nselect 1"))
    for option in ("--limit", "--params", "--pandas", "--polars", "--dry-run", "--no-cache", "--decimals"):
        assert option in shown
    assert shell.object_inspect("%%sac")["docstring"].split() == shown.split()
    assert shown.lstrip().startswith("%%sac [--limit ROWS]")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1st", "'1st' is not a variable name"),
        ("found --limt 5", "Did you mean --limit"),
        ("found --limit -1", "is not a number of rows"),
        ("found --token canary", "takes no secrets"),
        ("found canary", "fewer words"),
    ],
)
def test_a_mistake_in_the_first_line_is_an_error_of_two_lines(
    shell: Any, sac: Tenant, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    done = shell.attempt(f"%%sac {line}\n{BY_SECTOR}")
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert type(done.error_in_exec) is UsageError
    assert says in shown
    assert "canary" not in shown
    assert len(shown.strip().splitlines()) <= 2
