"""Manage cached results."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]


@pytest.fixture
def kept(invoke: Invoke, tenant: Sandbox) -> list[str]:
    """The keys of two results: US_EMPLOYMENT and PLANNING."""
    return [
        json.loads(invoke("refresh", model, "--json").stdout)["cache_key"] for model in ("US_EMPLOYMENT", "PLANNING")
    ]


@pytest.fixture
def broken(kept: list[str], tmp_path: Path) -> str:
    """The key of a result whose rows are damaged; its footer can still be read."""
    path = tmp_path / "cache" / f"{kept[0]}.parquet"
    content = bytearray(path.read_bytes())
    content[8:200] = bytes(192)
    path.write_bytes(content)
    return kept[0]


@pytest.fixture
def emptied(kept: list[str], tmp_path: Path) -> str:
    """The key of a result whose file is empty."""
    (tmp_path / "cache" / f"{kept[0]}.parquet").write_bytes(b"")
    return kept[0]


def test_an_empty_cache_is_listed_with_the_next_step(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("cache", "list")
    assert result.exit_code == 0
    assert "sacnb refresh MODEL" in result.stdout
    assert json.loads(invoke("cache", "list", "--json").stdout) == {
        "directory": str(tmp_path / "cache"),
        "entries": [],
    }


def test_results_are_listed_with_a_short_key(invoke: Invoke, kept: list[str]) -> None:
    lines = invoke("cache", "list").stdout.splitlines()
    (line,) = [line for line in lines if "US_EMPLOYMENT/FactData" in line]
    assert re.search(r"\s3,420\s+2006-01-01 to 2015-12-01\s+\d+ seconds?\s+[\d,]+ KB$", line)
    short = line.split()[0]
    assert json.loads(invoke("cache", "show", short, "--json").stdout)["key"] == kept[0]


def test_json_has_the_documented_keys(invoke: Invoke, kept: list[str]) -> None:
    entries = json.loads(invoke("cache", "list", "--json").stdout)["entries"]
    assert sorted(entry["key"] for entry in entries) == sorted(kept)
    documented = " ".join(invoke("cache", "list", "--help").stdout.split())
    for key in entries[0]:
        assert key in documented


def test_show_tells_the_query(invoke: Invoke, kept: list[str], tenant: Sandbox) -> None:
    shown = invoke("cache", "show", kept[0]).stdout
    assert "$select=Version,Date,Sector,Employees" in shown
    assert tenant.client_secret not in shown


def test_an_unknown_key_gets_the_nearest(invoke: Invoke, kept: list[str]) -> None:
    result = invoke("cache", "show", "us-employment-faktdata")
    assert result.exit_code == ExitCode.USAGE
    assert "There is no cache entry" in result.stderr


def test_an_empty_entry_is_listed_shown_with_exit_code_4_and_repaired(
    invoke: Invoke, emptied: str, tmp_path: Path
) -> None:
    listed = invoke("cache", "list")
    assert listed.exit_code == 0
    assert "It is empty." in listed.stdout
    assert "sacnb cache repair" in listed.stderr

    shown = invoke("cache", "show", emptied)
    assert shown.exit_code == ExitCode.CACHE
    assert f"sacnb cache repair --key {emptied}" in shown.stderr

    repaired = json.loads(invoke("cache", "repair", "--key", emptied, "--json").stdout)
    assert repaired == {"repaired": [{"key": emptied, "action": "moved aside", "reason": "It is empty."}]}
    assert "repair" not in invoke("cache", "list").stderr


def test_damaged_rows_are_found_by_repair_and_by_a_refresh_that_needs_them(
    invoke: Invoke, broken: str, tenant: Sandbox
) -> None:
    tenant.misbehave("error_503")
    refreshed = invoke("refresh", "US_EMPLOYMENT")
    assert refreshed.exit_code == ExitCode.SAC
    assert f"sacnb cache repair --key {broken}" in refreshed.stderr
    repaired = invoke("cache", "repair")
    assert repaired.exit_code == 0
    assert repaired.stdout.startswith(f"{broken}: moved aside. It is damaged")
    assert invoke("cache", "repair").stdout == "Every cached result can be used.\n"


def test_clear_removes_one(invoke: Invoke, kept: list[str]) -> None:
    assert invoke("cache", "clear", kept[0]).stdout == f"Removed {kept[0]}\n"
    entries = json.loads(invoke("cache", "list", "--json").stdout)["entries"]
    assert [entry["key"] for entry in entries] == [kept[1]]


def test_clear_removes_all(invoke: Invoke, kept: list[str]) -> None:
    assert json.loads(invoke("cache", "clear", "--all", "--json").stdout) == {"removed": sorted(kept)}
    assert invoke("cache", "clear", "--all").stdout == "Nothing to remove.\n"


@pytest.mark.parametrize(("age", "gone"), [("1h", 0), ("0s", 2), (" 2D ", 0)])
def test_clear_removes_old_results(age: str, gone: int, invoke: Invoke, kept: list[str]) -> None:
    assert len(json.loads(invoke("cache", "clear", "--older-than", age, "--json").stdout)["removed"]) == gone


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--all"),
        (["us", "--all"], "--all"),
        (["--all", "--older-than", "3d"], "--all"),
        (["--older-than", "soon"], "30d or 12h"),
        (["--older-than", "3w"], "30d or 12h"),
    ],
)
def test_clear_needs_an_exact_choice(arguments: list[str], said: str, invoke: Invoke, kept: list[str]) -> None:
    result = invoke("cache", "clear", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr
    assert len(json.loads(invoke("cache", "list", "--json").stdout)["entries"]) == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder_is_a_cache_error(invoke: Invoke, kept: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").chmod(0o500)
    try:
        assert invoke("cache", "clear", "--all").exit_code == ExitCode.CACHE
    finally:
        (tmp_path / "cache").chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_a_cache_error(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenant: Sandbox
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAC_CACHE_DIR", str(tmp_path / "file"))
    result = invoke("refresh", "US_EMPLOYMENT", "--strict")
    assert result.exit_code == ExitCode.CACHE
    assert "SAC_CACHE_DIR" in result.stderr


@pytest.fixture
def incomplete(invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a download of US_EMPLOYMENT that lost its tenant after some pages."""
    monkeypatch.setenv("SAC_PAGE_SIZE", "500")
    tenant.misbehave("error_503", on="facts", after=3)
    assert invoke("refresh", "US_EMPLOYMENT").exit_code == ExitCode.SAC
    tenant.behave()
    (pull,) = json.loads(invoke("cache", "list", "--staging", "--json").stdout)["pulls"]
    assert re.fullmatch("[0-9a-f]{32}", pull["id"])
    return str(pull["id"])


def test_incomplete_downloads_are_listed(invoke: Invoke, incomplete: str) -> None:
    listed = invoke("cache", "list")
    assert "1 incomplete download. Run: sacnb cache list --staging" in listed.stderr
    lines = invoke("cache", "list", "--staging").stdout
    (line,) = [line for line in lines.splitlines() if line.startswith(incomplete[:8])]
    assert re.search(r"US_EMPLOYMENT/FactData\s+the cache\s+1,500\s+[\d,]+ KB\s+\d+ seconds? ago\s+incomplete$", line)
    assert "sacnb cache clear --staging" in lines
    (pull,) = json.loads(invoke("cache", "list", "--staging", "--json").stdout)["pulls"]
    assert pull["rows"] == 1500
    assert pull["problem"] is pull["target"] is None
    assert pull["is_running"] is False


def test_the_same_refresh_resumes_an_incomplete_download(invoke: Invoke, incomplete: str) -> None:
    assert invoke("refresh", "US_EMPLOYMENT").exit_code == 0
    assert "no running or incomplete downloads" in invoke("cache", "list", "--staging").stdout
    assert "incomplete" not in invoke("cache", "list").stderr


@pytest.mark.parametrize("how", [(), ("{id}",), ("{id:.8}",), ("--older-than", "0s")])
def test_incomplete_downloads_are_removed(invoke: Invoke, incomplete: str, how: tuple[str, ...]) -> None:
    said = [one.format(id=incomplete) for one in how]
    assert invoke("cache", "clear", "--staging", *said).stdout == f"Removed {incomplete}\n"
    assert invoke("cache", "clear", "--staging").stdout == "Nothing to remove.\n"
    assert json.loads(invoke("cache", "list", "--staging", "--json").stdout)["pulls"] == []


def test_young_and_unknown_downloads_are_left_alone(invoke: Invoke, incomplete: str) -> None:
    assert invoke("cache", "clear", "--staging", "--older-than", "1h").stdout == "Nothing to remove.\n"
    refused = invoke("cache", "clear", "--staging", "nonsense")
    assert refused.exit_code == ExitCode.USAGE
    assert incomplete in refused.stderr
    assert len(json.loads(invoke("cache", "list", "--staging", "--json").stdout)["pulls"]) == 1
