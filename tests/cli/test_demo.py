"""The demonstration, as a person runs it, and with missing parts and wrong figures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result

from sacnb.cli.commands import demo as script
from sacnb.cli.commands.check import recorded
from sacnb.cli.commands.demo import TOLERANCE, compare_with_published
from sacnb.cli.failures import ExitCode
from sacnb.errors import MissingExtraError

Invoke = Callable[..., Result]
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_main_job_from_end_to_end(run: Run, tmp_path: Path) -> None:
    # Settings that would lead elsewhere, or nowhere, do not matter.
    done = run("demo", environ={"SAC_TENANT_URL": "https://elsewhere.invalid", "SAC_PAGE_SIZE": "no number"})
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert [line.split(".")[0] for line in steps] == [str(n) for n in range(1, len(steps) + 1)]
    text = " ".join(done.stdout.split())
    assert "OK, the token is valid until" in text
    assert "US_EMPLOYMENT US employment by sector" in text
    assert "1,800 rows of public.Actual, 2006-01-01 to 2015-12-01" in text
    assert "public.Plan is made up" in text
    assert "120 of 120 months agree within 0.5 thousand" in text
    assert "600 rows. Each quarter is the mean of its months." in text
    assert "SAC did not deliver; showing the data of" in text
    assert "503" in text
    assert "The same 1,800 rows come from the cache" in text
    for next_step in ("sacnb init", "docs/access.md", "sacnb doctor"):
        assert next_step in text
    assert max(map(len, done.stdout.splitlines())) <= 100
    # The chart is a picture, and a page that asks no other host for anything; the user's cache is not touched.
    out = tmp_path / "out" / "demo"
    assert (out / "us_employment.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    html = (out / "us_employment.html").read_text(encoding="utf-8")
    assert "Construction" in html
    assert "<script src=" not in html
    assert not (tmp_path / "cache").exists()


def test_without_the_extra_for_charts_the_rest_still_runs(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise MissingExtraError("plot", "A chart")

    monkeypatch.setattr(script, "write_chart", missing)
    result = invoke("demo", "--out", str(tmp_path / "charts"))
    assert result.exit_code == 0
    assert 'pip install "sacnb[plot]"' in " ".join(result.stdout.split())
    assert "sacnb doctor" in result.stdout


def test_a_figure_that_differs_fails_the_demonstration(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(facts: pl.DataFrame) -> pl.DataFrame:
        return compare_with_published(facts).with_columns(pl.col("difference") + 1.0)

    monkeypatch.setattr(script, "compare_with_published", shifted)
    monkeypatch.setattr(script, "write_chart", lambda *_: ())
    result = invoke("demo")
    assert result.exit_code == ExitCode.NO
    assert "120 of 120" not in result.stdout


def test_every_published_month_is_compared_and_a_missing_one_shows() -> None:
    compared = compare_with_published(recorded().polars())
    assert compared.columns == ["month", "sectors", "sum", "published", "difference"]
    assert len(compared) == 120
    year = compared.filter(pl.col("month").str.starts_with("2015"))
    assert year["sectors"].to_list() == [15] * 12
    assert year["published"][-1] == 143_093.0
    assert (year["difference"].abs() <= TOLERANCE).all()
    assert compared.filter(pl.col("month").str.starts_with("2014"))["difference"].null_count() == 12
