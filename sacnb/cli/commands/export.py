"""``sacnb export``: facts as a file, or as bytes for the next program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

import click

from sacnb.cli.application import Invocation, Source
from sacnb.cli.output import is_terminal, say
from sacnb.cli.progress import announce, progress_bar
from sacnb.cli.question import AGGREGATIONS, GRAINS, Question, model_argument, question_options, source_option

if TYPE_CHECKING:
    import pyarrow as pa

    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result
    from sacnb._tenant import Facts

__all__ = ["command"]

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
"""


@click.command("export", short_help="Write facts as Parquet, CSV or Arrow.", epilog=_EXAMPLES)
@model_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "arrow"]),
    help="What to write; by default what the name of the file says.",
)
@click.option(
    "-o",
    "--output",
    default=_STDOUT,
    metavar="FILE",
    help="The file, replaced in one step; by default, or with -, stdout.",
)
@source_option
@question_options
@click.option("--tidy", is_flag=True, help="Write the tidy frame: date, dim_*, value.")
@click.option("--grain", type=click.Choice(GRAINS), help="The grain of the tidy frame; the model's own if not given.")
@click.option("--agg", type=click.Choice(AGGREGATIONS), default="sum", help="What a coarser grain does with values.")
@click.option(
    "--decimals/--floats",
    default=True,
    help="Measures exactly, which is the default, or as float64 for readers that know no decimals.",
)
@click.option("--allow-stale", is_flag=True, help="Where SAC fails, write the last good result, and warn on stderr.")
@click.option(
    "--max-age-s",
    type=click.FloatRange(0),
    help="Write a kept result younger than this many seconds instead of pulling anew.",
)
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    model_id: str,
    question: Question,
    form: Format | None,
    output: str,
    source: Source | None,
    tidy: bool,
    grain: Grain | None,
    agg: Aggregation,
    decimals: bool,
    allow_stale: bool,
    max_age_s: float | None,
) -> None:
    """Write a model's facts as Parquet, CSV or an Arrow file.

    The rows are pulled anew: a file looks fresh to whoever finds it, so an old result is written only if
    --allow-stale or --max-age-s says so. The cache is used then, and not otherwise.
    """
    form = form or _format_of(output)
    if grain and not tidy:
        raise click.UsageError("--grain belongs to the tidy frame: add --tidy.")
    if output == _STDOUT and form != "csv" and is_terminal(sys.stdout):
        raise click.UsageError(f"{form} is binary, and stdout is a terminal: name a file with --output, or use a pipe.")
    with invocation.connect(source) as tenant:
        result = _answer(question.facts(tenant.model(model_id)), allow_stale=allow_stale, max_age_s=max_age_s)
    target: str | IO[bytes] = sys.stdout.buffer if output == _STDOUT else output
    if tidy:
        made = result.tidy(grain, date=question.date, agg=agg)
        if made.note:
            say(made.note)
        _write_table(made.frame.to_arrow(), form, target)
    elif decimals:
        _write_result(result, form, target)
    else:
        from sacnb._frames.convert import with_floats

        _write_table(with_floats(result.arrow()), form, target)
    if output != _STDOUT:
        rows = len(made) if tidy else len(result)
        say(f"{rows:,} rows of {model_id} are in {output}.")


def _format_of(output: str) -> Format:
    form = _FORMATS.get(Path(output).suffix.lower())
    if form is None:
        raise click.UsageError(
            "Say what to write with --format parquet, csv or arrow, or by the end of the file's name."
        )
    return form


def _answer(facts: Facts, *, allow_stale: bool, max_age_s: float | None) -> Result:
    with progress_bar(f"Pulling {facts.query.provider_id}") as listener:
        if allow_stale or max_age_s is not None:
            return facts.refresh(strict=not allow_stale, max_age_s=max_age_s, progress=listener, announce=announce)
        return facts.fetch(progress=listener)


def _write_result(result: Result, form: Format, target: str | IO[bytes]) -> None:
    {"parquet": result.to_parquet, "csv": result.to_csv, "arrow": result.to_arrow}[form](target)


def _write_table(table: pa.Table, form: Format, target: str | IO[bytes]) -> None:
    """A table that is no result any more, and so carries no metadata."""
    from sacnb._results.files import write_arrow, write_csv, write_parquet

    if form == "csv":
        write_csv(table, target)
    else:
        {"parquet": write_parquet, "arrow": write_arrow}[form](table, {}, target)
