"""``sacnb export``: write facts to a file or to stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import click

from sacnb.cli.application import Invocation, Source
from sacnb.cli.output import announce, is_discarded, is_terminal, progress_bar, say
from sacnb.cli.question import AGGREGATIONS, GRAINS, model_argument, question_options, source_option

if TYPE_CHECKING:
    import pyarrow as pa

    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result
    from sacnb._tenant import Facts

__all__ = ["Format", "command", "format_of", "write_table"]

Format = Literal["parquet", "csv", "arrow"]

_FORMATS: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
}
_STDOUT: Final = "-"
_EXAMPLES: Final = """\b
Examples:
  sacnb export US_EMPLOYMENT -o jobs.parquet --where Version=public.Actual
  sacnb export US_EMPLOYMENT --format csv --tidy --grain quarter --agg mean
  sacnb export US_EMPLOYMENT --to snowflake --table PLANNING.PUBLIC.JOBS
"""


@click.command("export", short_help="Write facts as Parquet, CSV or Arrow.", epilog=_EXAMPLES)
@model_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "arrow"]),
    help="The format; by default that of the file name.",
)
@click.option(
    "-o",
    "--output",
    default=_STDOUT,
    metavar="FILE",
    help="The file, replaced in one step; - (the default) is stdout.",
)
@source_option
@question_options
@click.option("--tidy", is_flag=True, help="Write the tidy frame: date, dim_*, value.")
@click.option("--grain", type=click.Choice(GRAINS), help="The grain of the tidy frame; by default the model's.")
@click.option("--agg", type=click.Choice(AGGREGATIONS), default="sum", help="How a coarser grain aggregates values.")
@click.option(
    "--decimals/--floats",
    default=True,
    help="Write measures as exact decimals (the default), or as float64 for readers without decimals.",
)
@click.option(
    "--to",
    "sink",
    type=click.Choice(["snowflake"]),
    help="Append the rows to a table there instead of writing a file; SNOWFLAKE_* variables say where and as whom.",
)
@click.option("--table", metavar="NAME", help="With --to: the table, as NAME or DATABASE.SCHEMA.NAME.")
@click.option("--channel", metavar="NAME", help="With --to: the channel, which only this job writes to.")
@click.option("--create-table", is_flag=True, help="With --to: print the statement that makes the table, and end.")
@click.option("--allow-stale", is_flag=True, help="If SAC fails, write the last good result and warn on stderr.")
@click.option(
    "--max-age-s",
    type=click.FloatRange(0),
    help="Write a cached result younger than this many seconds instead of downloading again.",
)
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    model_id: str,
    question: dict[str, Any],
    form: Format | None,
    output: str,
    source: Source | None,
    tidy: bool,
    grain: Grain | None,
    agg: Aggregation,
    decimals: bool,
    allow_stale: bool,
    max_age_s: float | None,
    sink: Literal["snowflake"] | None,
    table: str | None,
    channel: str | None,
    create_table: bool,
) -> None:
    """Write a model's facts as Parquet, CSV or an Arrow file.

    The rows are downloaded again, because a file looks fresh to whoever finds it. An older result is written only with
    --allow-stale or --max-age-s, which use the cache.

    With --to snowflake the rows are appended to a table, each once; a run that ended early is resumed by the same
    command.
    """
    from sacnb._tenant.question import Question

    if sink is not None or table or channel or create_table:
        files = form or output != _STDOUT or tidy or not decimals or allow_stale or max_age_s is not None
        if sink is None or not table or files:
            raise click.UsageError("--to snowflake needs --table, and goes with --channel and --create-table only.")
        with invocation.connect(source) as tenant:
            facts = Question(**question).facts(tenant.model(model_id))
            _to_snowflake(facts, table, channel, only_print=create_table)
        return
    form = form or format_of(output)
    if grain and not tidy:
        raise click.UsageError("--grain needs --tidy.")
    if output == _STDOUT and form != "csv" and is_terminal(sys.stdout):
        raise click.UsageError(f"{form} is binary, and stdout is a terminal. Name a file with --output, or use a pipe.")
    if output == _STDOUT and is_discarded(sys.stdout):
        raise click.UsageError("This process has no stdout. Name a file with --output.")
    with invocation.connect(source) as tenant:
        result = _rows(Question(**question).facts(tenant.model(model_id)), allow_stale=allow_stale, max_age_s=max_age_s)
    target: str | IO[bytes] = sys.stdout.buffer if output == _STDOUT else output
    if tidy:
        made = result.tidy(grain, date=question["date"], agg=agg)
        if made.note:
            say(made.note)
        write_table(made.frame.to_arrow(), form, target)
    elif decimals:
        _write_result(result, form, target)
    else:
        from sacnb._frames.convert import with_floats

        write_table(with_floats(result.arrow(), remedy="Leave out --floats to keep them."), form, target)
    if output != _STDOUT:
        rows = len(made) if tidy else len(result)
        say(f"Wrote {rows:,} rows of {model_id} to {output}.")


def format_of(output: str) -> Format:
    """Return the format of a file by its suffix. Raises click.UsageError."""
    form = _FORMATS.get(Path(output).suffix.lower())
    if form is None:
        raise click.UsageError(
            "Choose a format: --format parquet, csv or arrow, or a file name that ends in one of them."
        )
    return form


def _to_snowflake(facts: Facts, table: str, channel: str | None, *, only_print: bool) -> None:
    from sacnb.snowflake import create_table
    from sacnb.snowflake.names import split_name

    *place, name = split_name(table)
    schema, database = [*reversed(place), None, None][:2]
    if only_print:
        with facts.stream() as stream:
            click.echo(create_table(stream, name, database=database, schema=schema))
        return
    with progress_bar(f"Downloading {facts.query.provider_id}") as listener:
        done = facts.to_snowflake(name, channel=channel, database=database, schema=schema, progress=listener)
    resumed = f", {done.resumed_rows:,} of them by an earlier run" if done.resumed_rows else ""
    say(f"{done.rows:,} rows of {facts.query.provider_id} are committed in {done.table}{resumed}.")


def _rows(facts: Facts, *, allow_stale: bool, max_age_s: float | None) -> Result:
    with progress_bar(f"Downloading {facts.query.provider_id}") as listener:
        if allow_stale or max_age_s is not None:
            return facts.refresh(strict=not allow_stale, max_age_s=max_age_s, progress=listener, announce=announce)
        return facts.fetch(progress=listener)


def _write_result(result: Result, form: Format, target: str | IO[bytes]) -> None:
    {"parquet": result.to_parquet, "csv": result.to_csv, "arrow": result.to_arrow}[form](target)


def write_table(table: pa.Table, form: Format, target: str | IO[bytes]) -> None:
    """Write a table that is no longer a result, and so has no metadata."""
    from sacnb._results.files import write_arrow, write_csv, write_parquet

    if form == "csv":
        write_csv(table, target)
    else:
        {"parquet": write_parquet, "arrow": write_arrow}[form](table, {}, target)
