"""The steps of the demonstration, in order.

The chart of the demonstration, with sectors by their names.

The published totals of the Bureau of Labor Statistics, beside the sums of what was pulled.

``sacnb demo``: see it work, without a tenant and without settings.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import polars as pl
import pyarrow as pa

from sacnb._settings import SANDBOX, Settings
from sacnb._tenant.connector import connect_with, start_sandbox
from sacnb.cli.application import Invocation
from sacnb.cli.commands._stage import Stage
from sacnb.cli.failures import ExitCode
from sacnb.cli.progress import log_to_stderr
from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._results.result import Result
    from sacnb._tenant import Facts, Tenant
    from sacnb.sandbox import Sandbox

__all__ = ["TOLERANCE", "command", "compare_with_published", "perform", "write_chart"]


def write_chart(result: Result, sectors: pl.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write the chart of ``result`` by quarter as PNG and HTML into ``folder``; returns both paths.

    Raises MissingExtraError where the extra ``plot`` is not installed.
    """
    chart = _with_names(result, sectors).plot(
        grain="quarter",
        agg="mean",
        by="Sector",
        kind="line",
        title="US employment by sector (Bureau of Labor Statistics)",
        unit="thousands",
    )
    png, html = folder / "us_employment.png", folder / "us_employment.html"
    chart.save_png(png)
    chart.save_html(html)
    return png, html


def _with_names(result: Result, sectors: pl.DataFrame) -> Result:
    """The same rows with what SAC calls each sector in the place of its id, for a legend that can be read."""
    names = dict(zip(sectors["id"], sectors["description"], strict=True))
    table = result.arrow()
    place = table.column_names.index("Sector")
    named = pa.array([names.get(member, member) for member in table["Sector"].to_pylist()], pa.string())
    return dataclasses.replace(result, table=table.set_column(place, table.schema.field(place), named))


# In thousands. The sectors are published with one decimal and the total with none.
TOLERANCE: Final = 0.5


def compare_with_published(facts: pl.DataFrame) -> pl.DataFrame:
    """``month``, ``sectors`` (how many), ``sum``, ``published`` and ``difference``, in thousands of employees.

    Every published month is there; one that was not pulled has nulls. ``facts`` has ``Date``, ``Sector`` and
    ``Employees``.
    """
    content = (resources.files("sacnb.sandbox") / "data" / "us_employment_totals.csv").read_bytes()
    published = pl.read_csv(content, schema_overrides={"date": pl.String}).select(
        month="date", published=pl.col("total_nonfarm_thousand").cast(pl.Float64)
    )
    sums = facts.group_by(month="Date").agg(sectors=pl.col("Sector").n_unique(), sum=pl.col("Employees").sum())
    return (
        published.join(sums, on="month", how="left")
        .with_columns(difference=pl.col("sum") - pl.col("published"))
        .select("month", "sectors", "sum", "published", "difference")
        .sort("month")
    )


_MODEL: Final = "US_EMPLOYMENT"
# Small pages, held back a little, so that there is some progress to see.
_PAGE_ROWS: Final = 200
_LATENCY_S: Final = 0.08


def perform(out: Path, cache_dir: Path, *, log: str = "error") -> bool:
    """Run the demonstration, and say whether all figures are as published and the old result was served unchanged.

    The chart is written into ``out``; results are kept in ``cache_dir``.
    """
    stage = Stage()
    stage.title("sacnb: from an empty notebook to a dataset that is still there when SAC is not")
    log_to_stderr()
    settings = Settings.resolve(environ={}, tenant_url=SANDBOX, cache_dir=cache_dir, page_size=_PAGE_ROWS, log=log)
    with start_sandbox(latency_s=_LATENCY_S) as sandbox, connect_with(settings, sandbox=sandbox) as tenant:
        _connect(stage, tenant)
        facts = tenant.model(_MODEL).facts(where={"Version": "public.Actual"})
        result = _refresh(stage, facts)
        is_right = _compare(stage, result)
        _show_tidy(stage, result)
        _draw(stage, tenant, result, out)
        is_same = _break_and_refresh(stage, facts, result, sandbox)
    _say_what_next(stage)
    return is_right and is_same


def _connect(stage: Stage, tenant: Tenant) -> None:
    stage.step("Connect")
    stage.say(
        f"A pretend tenant has started on this machine: {tenant.settings.tenant_url}. It speaks OAuth and the Data "
        "Export Service as SAC does; with a tenant of your own everything below stays the same."
    )
    stage.step("Obtain a token")
    stage.say(str(tenant.authenticate()))
    stage.step("See the models")
    models = tenant.models().select("id", "name")
    stage.table(models.columns, models.rows())


def _refresh(stage: Stage, facts: Facts) -> Result:
    stage.step(f"Refresh {_MODEL}")
    began = time.monotonic()
    with stage.progress("Pulling") as listener:
        result = facts.refresh(progress=listener)
    info = result.info
    stage.say(
        f"{info.row_count:,} rows of public.Actual, {info.min_date} to {info.max_date}, in "
        f"{time.monotonic() - began:.1f} s; kept in the cache. These are the figures of the US Bureau of Labor "
        "Statistics, in thousands of employees. (The model's public.Plan is made up, and not shown here.)"
    )
    return result


def _compare(stage: Stage, result: Result) -> bool:
    stage.step("Compare with what was published")
    compared = compare_with_published(result.polars())
    yearly = compared.filter(compared["month"].str.ends_with("12")).tail(5)
    rows = [
        (f"{month[:4]}-{month[4:]}", sectors, _thousands(total), _thousands(published), _thousands(difference, "+"))
        for month, sectors, total, published, difference in yearly.rows()
    ]
    right = ("sectors", "their sum", "published", "difference")
    stage.table(("month", *right), rows, right=right)
    differences = [abs(difference) for difference in compared["difference"] if difference is not None]
    agreeing: int = sum(difference <= TOLERANCE for difference in differences)
    stage.say(
        f"{agreeing} of {len(compared)} months agree within {TOLERANCE} thousand, the rounding of the published "
        f"figures; the largest difference is {max(differences, default=0.0):.1f} thousand.",
        style="bold green" if agreeing == len(compared) else "bold red",
    )
    return agreeing == len(compared)


def _show_tidy(stage: Stage, result: Result) -> None:
    stage.step("Make it tidy, by quarter")
    tidy = result.tidy("quarter", agg="mean")
    rows = [(*row[:-1], f"{row[-1]:,.1f}") for row in tidy.frame.rows()]
    stage.table(tidy.frame.columns, [*rows[:4], ("...",) * len(tidy.frame.columns), *rows[-4:]], right=("value",))
    stage.say(f"{len(tidy):,} rows. {tidy.note}")


def _draw(stage: Stage, tenant: Tenant, result: Result, out: Path) -> None:
    stage.step("Draw it")
    out.mkdir(parents=True, exist_ok=True)
    try:
        paths = write_chart(result, tenant.model(_MODEL).members("Sector"), out)
    except MissingExtraError as error:
        stage.say(f"Left out. {error}")
        return
    for path in paths:
        stage.say(f"{path} ({path.stat().st_size // 1024:,} KB)")
    stage.say("The HTML file holds everything it needs, and opens without a network.")


def _break_and_refresh(stage: Stage, facts: Facts, before: Result, sandbox: Sandbox) -> bool:
    stage.step("Break the tenant, and refresh again")
    sandbox.misbehave("error_503")
    stage.say("From now on the tenant answers every request with 503 Service Unavailable.")
    heard: list[str] = []
    with stage.progress("Pulling", stays=False) as listener:
        again = facts.refresh(progress=listener, announce=heard.append)
    for warning in heard:
        stage.say(f"Warning: {warning}", style="bold yellow")
    is_same = again.stale and bool(again.arrow().equals(before.arrow()))
    stage.say(
        f"The {len(again):,} rows of before are served, unchanged, and the warning stays with them (result.warning). "
        "A nightly job that would rather fail says strict=True."
        if is_same
        else "What was served is not what was kept: please report this.",
    )
    return is_same


def _say_what_next(stage: Stage) -> None:
    stage.step("With your own tenant")
    stage.table(
        ("type or open", "to"),
        [
            ("cp .env.example .env", "have a file for your settings"),
            ("docs/access.md", "read how to create the OAuth client, step by step"),
            ("sacnb doctor", "see what is missing, and what to do about it"),
            ("sacnb models", "see your models; then: sacnb refresh MODEL"),
        ],
    )


def _thousands(value: float | None, sign: str = "") -> str:
    return "missing" if value is None else f"{value:{sign},.1f}"


@click.command("demo", short_help="See it work, without a tenant of your own.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Where the chart goes.",
)
@click.pass_context
def command(ctx: click.Context, out: Path) -> None:
    """Run the main job from end to end against a pretend tenant on this machine.

    Token, models, refresh, comparison with published totals, tidy table, chart; then the tenant is broken on purpose,
    and the same refresh is served from the cache. Your settings and your cache are not touched. Exit code 1 where a
    figure is not what was published.
    """
    invocation: Invocation = ctx.obj
    with tempfile.TemporaryDirectory(prefix="sacnb-demo-", ignore_cleanup_errors=True) as cache_dir:
        as_expected = perform(out, Path(cache_dir), log=invocation.arguments["log"] or "error")
    if not as_expected:
        ctx.exit(ExitCode.NO)
