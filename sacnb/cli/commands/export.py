"""``sacnb export``: write facts to a file or to stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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

Format = Literal["parquet", "csv", "arrow", "xlsx"]

_FORMATS: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".xlsx": "xlsx",
}
_STDOUT: Final = "-"
_EXAMPLES: Final = """\b
Examples:
  sacnb export US_EMPLOYMENT -o jobs.parquet --where Version=public.Actual
  sacnb export US_EMPLOYMENT --format csv --tidy --grain quarter --agg mean
"""


@click.command("export", short_help="Write facts as Parquet, CSV, Excel or Arrow.", epilog=_EXAMPLES)
@model_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "arrow", "xlsx"]),
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
@click.option("--separator", default=",", show_default=True, help="What separates the fields of a CSV file: one sign.")
@click.option("--escape-formulas", is_flag=True, help="CSV: an apostrophe before texts that a spreadsheet would run.")
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
    separator: str,
    escape_formulas: bool,
    allow_stale: bool,
    max_age_s: float | None,
) -> None:
    """Write a model's facts as Parquet, CSV, an Excel workbook or an Arrow file.

    The rows are downloaded again, because a file looks fresh to whoever finds it. An older result is written only with
    --allow-stale or --max-age-s, which use the cache.
    """
    form = form or format_of(output)
    if grain and not tidy:
        raise click.UsageError("--grain needs --tidy.")
    if form != "csv" and (separator != "," or escape_formulas):
        raise click.UsageError("--separator and --escape-formulas are for CSV.")
    if output == _STDOUT and form != "csv" and is_terminal(sys.stdout):
        raise click.UsageError(f"{form} is binary, and stdout is a terminal. Name a file with --output, or use a pipe.")
    if output == _STDOUT and is_discarded(sys.stdout):
        raise click.UsageError("This process has no stdout. Name a file with --output.")
    from sacnb._tenant.question import Question

    with invocation.connect(source) as tenant:
        result = _rows(Question(**question).facts(tenant.model(model_id)), allow_stale=allow_stale, max_age_s=max_age_s)
    target: str | IO[bytes] = sys.stdout.buffer if output == _STDOUT else output
    made = result.tidy(grain, date=question["date"], agg=agg) if tidy else None
    if made is not None and made.note:
        say(made.note)
    rows = result if made is None else made
    if form == "csv" and (tidy or decimals):
        rows.to_csv(target, separator=separator, escape_formulas=escape_formulas)
    elif form == "xlsx":
        rows.to_excel(target)
    elif tidy or decimals:
        {"parquet": rows.to_parquet, "arrow": rows.to_arrow}[form](target)
    else:
        from sacnb._frames.convert import with_floats

        table = with_floats(result.arrow(), cure="Leave --floats out.")
        write_table(table, form, target, separator=separator, escape_formulas=escape_formulas)
    if output != _STDOUT:
        say(f"Wrote {len(rows):,} rows of {model_id} to {output}.")


def format_of(output: str) -> Format:
    """Return the format of a file by its suffix. Raises click.UsageError."""
    form = _FORMATS.get(Path(output).suffix.lower())
    if form is None:
        raise click.UsageError(
            "Choose a format: --format parquet, csv, xlsx or arrow, or a file name that ends in one of them."
        )
    return form


def _rows(facts: Facts, *, allow_stale: bool, max_age_s: float | None) -> Result:
    with progress_bar(f"Downloading {facts.query.provider_id}") as listener:
        if allow_stale or max_age_s is not None:
            return facts.refresh(strict=not allow_stale, max_age_s=max_age_s, progress=listener, announce=announce)
        return facts.fetch(progress=listener)


def write_table(
    table: pa.Table,
    form: Format,
    target: str | IO[bytes],
    *,
    about: Mapping[str, object] | None = None,
    separator: str = ",",
    escape_formulas: bool = False,
) -> None:
    """Write a table that is no longer a result, and so has no metadata; *about* goes into an Excel file."""
    from sacnb._results.files import write_arrow, write_csv, write_excel, write_parquet

    if form == "csv":
        write_csv(table, target, separator=separator, escape_formulas=escape_formulas)
    elif form == "xlsx":
        write_excel({"Data": table}, about or {}, target)
    else:
        {"parquet": write_parquet, "arrow": write_arrow}[form](table, {}, target)
