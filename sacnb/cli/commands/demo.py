"""``sacnb demo``: the main job from end to end, without a tenant and without settings.

``sacnb --help`` loads every command, so what is heavy is imported where it is used.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sacnb._rendering import printable
from sacnb.cli.application import Invocation
from sacnb.cli.failures import ExitCode
from sacnb.cli.output import console, is_terminal, log_to_stderr, show_progress, width_of
from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._pull import ProgressListener
    from sacnb._results.result import Result
    from sacnb._tenant import Facts, Tenant
    from sacnb.sandbox import Sandbox

__all__ = ["TOLERANCE", "command", "compare_with_published", "perform", "write_chart"]


@click.command("demo", short_help="Try sacnb without a tenant.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="The folder for the chart.",
)
@click.pass_context
def command(ctx: click.Context, out: Path) -> None:
    """Run the main job from end to end against a pretend tenant on this machine.

    Token, models, refresh, comparison with published totals, tidy table, chart. Then the tenant is broken on purpose,
    and the same refresh is served from the cache. Your settings and your cache are not touched. Exit code 1 if a figure
    differs from the published one.
    """
    invocation: Invocation = ctx.obj
    with tempfile.TemporaryDirectory(prefix="sacnb-demo-", ignore_cleanup_errors=True) as cache_dir:
        as_expected = perform(out, Path(cache_dir), log=invocation.arguments["log"] or "error")
    if not as_expected:
        ctx.exit(ExitCode.NO)


_INDENT: Final = "   "
# Longer lines are hard to read, and a screenshot of them is small.
_MAX_WIDTH: Final = 100


class _Stage:
    """Writes numbered steps to stdout, indented below their headings and readable without colour."""

    def __init__(self) -> None:
        from rich.text import Text

        self._styled = Text
        width = min(width_of(sys.stdout), _MAX_WIDTH) if is_terminal(sys.stdout) else _MAX_WIDTH
        self._console = console(sys.stdout, width)
        self._steps = 0
        self._below_table = False

    def title(self, text: str) -> None:
        """Write the first line."""
        self._console.print(self._styled(text, style="bold"))

    def step(self, heading: str) -> None:
        """Begin the next numbered step."""
        self._steps += 1
        self._below_table = False
        self._console.print()
        self._console.print(self._styled(f"{self._steps}. {heading}", style="bold cyan"))

    def say(self, text: str, *, style: str = "") -> None:
        """Write a paragraph of the step."""
        if self._below_table:
            self._console.print()
        self._below_table = False
        lines = textwrap.fill(
            printable(text),
            self._console.width - 1,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._console.print(self._styled(lines, style=style), soft_wrap=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
        """Write a table of the step."""
        from rich import box
        from rich.padding import Padding
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
        for header in headers:
            table.add_column(header, justify="right" if header in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(self._styled(printable(str(value))) for value in row))
        self._console.print(Padding(table, (0, 0, 0, len(_INDENT)), expand=False))
        self._below_table = True

    @contextmanager
    def progress(self, label: str, *, stays: bool = True) -> Iterator[ProgressListener | None]:
        """Draw a progress bar on stderr if that is a terminal; it remains at the end if *stays*."""
        sys.stdout.flush()
        if not is_terminal(sys.stderr):
            yield None
            return
        with show_progress(console(sys.stderr), _INDENT + label, transient=not stays) as listener:
            yield listener


def write_chart(result: Result, sectors: pl.DataFrame, folder: Path) -> tuple[Path, Path]:
    """Write the chart of *result* by quarter as PNG and HTML into *folder*, and return both paths.

    Raises MissingExtraError if the extra ``plot`` is not installed.
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
    """Return the rows with descriptions instead of sector ids, for a readable legend."""
    import pyarrow as pa

    names = dict(zip(sectors["id"], sectors["description"], strict=True))
    table = result.arrow()
    place = table.column_names.index("Sector")
    named = pa.array([names.get(member, member) for member in table["Sector"].to_pylist()], pa.string())
    return dataclasses.replace(result, table=table.set_column(place, table.schema.field(place), named))


# In thousands. Sectors are published with one decimal, the total without decimals.
TOLERANCE: Final = 0.5


def compare_with_published(facts: pl.DataFrame) -> pl.DataFrame:
    """Return *facts* (``Date``, ``Sector``, ``Employees``) beside the totals published by the US statistics office.

    The columns are ``month``, ``sectors`` (their number), ``sum``, ``published`` and ``difference``, in thousands of
    employees. Every published month has a row, with nulls if *facts* does not have it.
    """
    import polars as pl

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
# Small pages with a delay, so that the progress can be seen.
_PAGE_ROWS: Final = 200
_LATENCY_S: Final = 0.08


def perform(out: Path, cache_dir: Path, *, log: str = "error") -> bool:
    """Run the demonstration; return whether all figures are as published and the old result was served unchanged.

    The chart is written into *out*, results into *cache_dir*.
    """
    from sacnb._settings import SANDBOX, Settings
    from sacnb._tenant.connector import connect_with, start_sandbox

    stage = _Stage()
    stage.title("sacnb: from an empty notebook to a dataset that survives an outage of SAC")
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


def _connect(stage: _Stage, tenant: Tenant) -> None:
    stage.step("Connect")
    stage.say(
        f"A pretend tenant has started on this machine: {tenant.settings.tenant_url}. It speaks OAuth and the Data "
        "Export Service like SAC; everything below works the same with your own tenant."
    )
    stage.step("Get a token")
    stage.say(str(tenant.authenticate()))
    stage.step("List the models")
    models = tenant.models().select("id", "name")
    stage.table(models.columns, models.rows())


def _refresh(stage: _Stage, facts: Facts) -> Result:
    stage.step(f"Refresh {_MODEL}")
    began = time.monotonic()
    with stage.progress("Downloading") as listener:
        result = facts.refresh(progress=listener)
    info = result.info
    stage.say(
        f"{info.row_count:,} rows of public.Actual, {info.min_date} to {info.max_date}, in "
        f"{time.monotonic() - began:.1f} s, and cached. These are the figures of the US Bureau of Labor "
        "Statistics, in thousands of employees. (The model's public.Plan is made up, and not shown here.)"
    )
    return result


def _compare(stage: _Stage, result: Result) -> bool:
    stage.step("Compare with the published figures")
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


def _show_tidy(stage: _Stage, result: Result) -> None:
    stage.step("Make it tidy, by quarter")
    tidy = result.tidy("quarter", agg="mean")
    rows = [(*row[:-1], f"{row[-1]:,.1f}") for row in tidy.frame.rows()]
    stage.table(tidy.frame.columns, [*rows[:4], ("...",) * len(tidy.frame.columns), *rows[-4:]], right=("value",))
    stage.say(f"{len(tidy):,} rows. {tidy.note}")


def _draw(stage: _Stage, tenant: Tenant, result: Result, out: Path) -> None:
    stage.step("Draw it")
    out.mkdir(parents=True, exist_ok=True)
    try:
        paths = write_chart(result, tenant.model(_MODEL).members("Sector"), out)
    except MissingExtraError as error:
        stage.say(f"Skipped. {error}")
        return
    for path in paths:
        stage.say(f"{path} ({path.stat().st_size // 1024:,} KB)")
    stage.say("The HTML file is self-contained and opens without a network.")


def _break_and_refresh(stage: _Stage, facts: Facts, before: Result, sandbox: Sandbox) -> bool:
    stage.step("Break the tenant, and refresh again")
    sandbox.misbehave("error_503")
    stage.say("From now on the tenant answers every request with 503 Service Unavailable.")
    warnings: list[str] = []
    with stage.progress("Downloading", stays=False) as listener:
        again = facts.refresh(progress=listener, announce=warnings.append)
    for warning in warnings:
        stage.say(f"Warning: {warning}", style="bold yellow")
    is_same = again.stale and bool(again.arrow().equals(before.arrow()))
    stage.say(
        f"The same {len(again):,} rows come from the cache, and the warning stays with them (result.warning). "
        "A nightly job that should fail instead passes strict=True."
        if is_same
        else "The rows from the cache differ from the first download: please report this.",
    )
    return is_same


def _say_what_next(stage: _Stage) -> None:
    from sacnb._settings import documentation

    stage.step("With your own tenant")
    stage.table(
        ("type or open", "to"),
        [
            ("sacnb init", "enter your tenant and client, and test them"),
            (documentation("docs/access.md"), "read how to create the OAuth client, step by step"),
            ("sacnb doctor", "find what is missing, with its remedy"),
            ("sacnb models", "list your models; then: sacnb refresh MODEL"),
        ],
    )


def _thousands(value: float | None, sign: str = "") -> str:
    return "missing" if value is None else f"{value:{sign},.1f}"
