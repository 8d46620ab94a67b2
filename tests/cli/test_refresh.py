"""Refresh into the cache, and the cached result while the tenant does not answer."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from changing import first_model, row
from click.testing import Result

import sacnb.sandbox
from sacnb._cache.store import Cache
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]
Run = Callable[..., subprocess.CompletedProcess[str]]
JOBS = ("refresh", "US_EMPLOYMENT", "--where", "Version=public.Actual")


def test_a_refresh_is_summarised_and_cached(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    done = invoke(*JOBS, "--since", "2014")
    assert (done.exit_code, done.stderr) == (0, "")
    said = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert said["model"] == "US_EMPLOYMENT/FactData"
    assert said["rows"] == "360"
    assert said["dates"] == "2014-01-01 to 2015-12-01"
    assert said["source"] == "sac"
    assert "warning" not in said
    (entry,) = Cache(tmp_path / "cache").entries()
    assert entry.key == said["key"]


def test_json_has_documented_keys_in_a_fixed_order(invoke: Invoke, tenant: Sandbox) -> None:
    result = invoke(*JOBS, "--json")
    summary = json.loads(result.stdout)
    assert list(summary) == [
        "model", "entity_set", "source", "served_from", "stale", "warning", "row_count", "min_date", "max_date",
        "last_refresh_time", "elapsed_s", "cache_key",
    ]  # fmt: skip
    documented = " ".join(invoke("refresh", "--help").stdout.split())
    for key in summary:
        assert key in documented
    assert (summary["row_count"], summary["served_from"], summary["stale"]) == (1800, "sac", False)


def test_source_sandbox_needs_no_settings_and_is_remembered_by_the_next_process(invoke: Invoke, run: Run) -> None:
    first = json.loads(invoke(*JOBS, "--source", "sandbox", "--json").stdout)
    assert first["source"] == "sandbox"
    again = json.loads(run(*JOBS, "--source", "sandbox", "--max-age-s", "600", "--json").stdout)
    assert again["served_from"] == "cache"
    assert again["last_refresh_time"] == first["last_refresh_time"]


def test_source_sac_is_refused_where_the_settings_name_the_sandbox(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_TENANT_URL", "sandbox")
    result = invoke(*JOBS, "--source", "sac")
    assert result.exit_code == ExitCode.USAGE
    assert "SAC_TENANT_URL" in result.stderr


def test_a_young_result_is_served_without_a_download(invoke: Invoke, tenant: Sandbox) -> None:
    invoke(*JOBS)
    before = tenant.counts["facts_requests"]
    summary = json.loads(invoke(*JOBS, "--max-age-s", "600", "--json").stdout)
    assert (summary["served_from"], summary["stale"]) == ("cache", False)
    assert tenant.counts["facts_requests"] == before
    assert "from the cache" in invoke(*JOBS, "--max-age-s", "600").stdout


def test_a_failing_tenant_is_covered_by_the_cache_with_one_warning(invoke: Invoke, tenant: Sandbox) -> None:
    fresh = json.loads(invoke(*JOBS, "--json").stdout)
    tenant.misbehave("error_503", on="facts")
    done = invoke(*JOBS, "--json")
    stale = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (stale["stale"], stale["served_from"]) == (True, "cache")
    assert (stale["row_count"], stale["last_refresh_time"]) == (fresh["row_count"], fresh["last_refresh_time"])
    assert "SAC did not deliver" in stale["warning"]
    assert "503" in stale["warning"]
    assert done.stderr.count("SAC did not deliver") == 1
    # The table says it too, for whoever looks at stdout only.
    assert "SAC did not deliver" in invoke(*JOBS).stdout


@pytest.mark.parametrize("log", ["debug", "error"])
def test_the_warning_is_on_stderr_once_at_every_log_level(
    log: str, invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke(*JOBS)
    tenant.misbehave("error_503", on="facts")
    monkeypatch.setenv("SAC_LOG", log)
    assert invoke(*JOBS).stderr.count("SAC did not deliver") == 1


def test_the_log_of_a_command_is_json_where_asked_for(
    invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_LOG_FORMAT", "json")
    tenant.misbehave("error_503", on="facts", times=1)
    lines = invoke("-v", *JOBS).stderr.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert any("no good answer (503)" in record["message"] for record in records)
    assert not any("sacnb.wire" in line for line in lines if not line.startswith("{"))


def test_a_new_process_uses_the_cache_of_a_tenant_that_is_gone(
    run: Run, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sacnb.sandbox.start(client_id="sb-me", client_secret="example") as sandbox:
        monkeypatch.setenv("SAC_TENANT_URL", sandbox.tenant_url)
        monkeypatch.setenv("SAC_TOKEN_URL", sandbox.token_url)
        monkeypatch.setenv("SAC_CLIENT_ID", sandbox.client_id)
        monkeypatch.setenv("SAC_CLIENT_SECRET", sandbox.client_secret)
        monkeypatch.setenv("SAC_MAX_ATTEMPTS", "1")
        fresh = json.loads(invoke(*JOBS, "--json").stdout)
    done = run(*JOBS, "--json")
    assert done.returncode == 0, done.stderr
    stale = json.loads(done.stdout)
    assert (stale["stale"], stale["row_count"]) == (True, fresh["row_count"])


def test_strict_fails_instead_with_the_attempts(invoke: Invoke, tenant: Sandbox) -> None:
    invoke(*JOBS)
    tenant.misbehave("error_503", on="facts")
    result = invoke(*JOBS, "--strict")
    assert result.exit_code == ExitCode.SAC
    assert result.stdout == ""
    assert re.search(r"^  2 attempts in \d+\.\d s: 503, 503$", result.stderr, re.MULTILINE)


def test_without_a_cached_result_the_failure_says_so(invoke: Invoke, tenant: Sandbox) -> None:
    tenant.misbehave("error_503", on="facts")
    result = invoke(*JOBS)
    assert result.exit_code == ExitCode.SAC
    assert "There is no earlier result" in result.stderr


def test_a_refusal_is_not_covered_by_the_cache(invoke: Invoke, tenant: Sandbox) -> None:
    invoke(*JOBS)
    tenant.misbehave("forbidden")
    assert invoke(*JOBS).exit_code == ExitCode.SAC


def test_grain_shows_the_tidy_frame(invoke: Invoke, tenant: Sandbox) -> None:
    arguments = (*JOBS, "--where", "Sector=31", "--since", "2015", "--grain", "quarter", "--agg", "mean")
    lines = invoke(*arguments).stdout.splitlines()
    assert lines[-1] == "Each quarter is the mean of its months."
    assert re.fullmatch(r"2015-10-01\s+public\.Actual\s+31\s+7,7\d\d(\.\d+)?", lines[-2])
    tidy = json.loads(invoke(*arguments, "--json").stdout)["tidy"]
    assert (tidy["grain"], tidy["row_count"], tidy["rows_without_date"]) == ("quarter", 4, 0)


def test_a_long_tidy_frame_is_cut_and_says_so(invoke: Invoke, tenant: Sandbox) -> None:
    assert "The last 10 of 1,800 rows" in invoke(*JOBS, "--grain", "month").stdout


def test_a_grain_that_is_too_fine_is_refused_after_the_rows_are_cached(
    invoke: Invoke, tenant: Sandbox, tmp_path: Path
) -> None:
    result = invoke(*JOBS, "--grain", "day")
    assert result.exit_code == ExitCode.USAGE
    assert len(Cache(tmp_path / "cache").entries()) == 1


def test_the_log_of_a_throttled_download_tells_the_reason(invoke: Invoke, tenant: Sandbox) -> None:
    tenant.misbehave("throttle_seconds", retry_after_s=0, times=1, on="facts")
    result = invoke(*JOBS)
    assert result.exit_code == 0
    assert re.search(r"^Warning: .*429", result.stderr, re.MULTILINE)


# -- change tracking ---------------------------------------------------------------------------------------------------

TRACKED = ("refresh", "CHANGING", "--track")


@pytest.fixture
def changing(tenant: Sandbox) -> Sandbox:
    """The tenant with a model of 24 rows, which no list has, as on its first day."""
    tenant.add_model(replace(first_model(), listed=False))
    tenant.expire_subscriptions()
    return tenant


def test_track_reads_what_changed(invoke: Invoke, changing: Sandbox) -> None:
    first = json.loads(invoke(*TRACKED, "--json").stdout)
    assert (first["row_count"], first["changed"], first["deleted"]) == (24, None, None)
    changing.change("CHANGING", deleted=[row("North")])
    second = json.loads(invoke(*TRACKED, "--check", "--json").stdout)
    assert (second["row_count"], second["changed"], second["deleted"]) == (23, 0, 1)
    assert "0 rows changed, 0 deleted" in invoke(*TRACKED).stdout
    changing.expire_subscriptions()
    assert "All rows of CHANGING/FactData were read, because" in invoke(*TRACKED).stderr


def test_subscriptions_are_listed_and_deleted(invoke: Invoke, changing: Sandbox) -> None:
    invoke(*TRACKED)
    (listed,) = json.loads(invoke("subscriptions", "CHANGING", "--json").stdout)
    assert listed["id"] in invoke("subscriptions", "CHANGING").stdout
    assert json.loads(invoke("subscriptions", "CHANGING", "--delete", listed["id"], "--json").stdout) == {
        "deleted": listed["id"]
    }
    assert json.loads(invoke("subscriptions", "CHANGING", "--json").stdout) == []


def test_stop_ends_tracking(invoke: Invoke, changing: Sandbox) -> None:
    invoke(*TRACKED)
    assert json.loads(invoke(*TRACKED, "--stop", "--json").stdout) == {"stopped": True}
    assert "had no subscription" in invoke(*TRACKED, "--stop").stdout


def test_check_and_stop_are_for_tracking(invoke: Invoke, changing: Sandbox) -> None:
    for option in ("--check", "--stop"):
        result = invoke("refresh", "CHANGING", option)
        assert result.exit_code == ExitCode.USAGE
        assert "need --track" in result.stderr


def test_a_result_as_it_was(invoke: Invoke, changing: Sandbox, tmp_path: Path) -> None:
    first = json.loads(invoke(*TRACKED, "--json").stdout)
    assert "No earlier results" in invoke("cache", "history").stdout
    changing.change("CHANGING", deleted=[row("North")])
    invoke(*TRACKED)
    (earlier,) = json.loads(invoke("cache", "history", "--json").stdout)["entries"]
    assert earlier["row_count"] == 24
    assert " 24 " in invoke("cache", "history", first["cache_key"]).stdout
    file = tmp_path / "then.csv"
    told = invoke("cache", "as-of", first["cache_key"], first["last_refresh_time"], "-o", str(file), "--json")
    assert json.loads(told.stdout)["row_count"] == 24
    assert len(file.read_text(encoding="utf-8").splitlines()) == 25
    assert "23" in invoke("cache", "as-of", first["cache_key"], "2999-01-01").stdout
    nothing = invoke("cache", "as-of", first["cache_key"], "2001-01-01")
    assert nothing.exit_code == ExitCode.CACHE
