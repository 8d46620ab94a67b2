"""``sacnb export`` writes facts to a file or to stdout, ``sacnb import`` a file into a model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import click

from sacnb._files import max_file_mb, too_long
from sacnb.cli.application import Invocation, Source
from sacnb.cli.output import (
    announce,
    is_discarded,
    is_terminal,
    json_option,
    print_facts,
    print_json,
    print_table,
    progress_bar,
    say,
)
from sacnb.cli.question import (
    AGGREGATIONS,
    GRAINS,
    complete_model,
    model_argument,
    names_option,
    pairs_option,
    question_options,
    read_csv,
    source_option,
)

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result, TidyFrame
    from sacnb._tenant import Facts
    from sacnb._write.report import WriteReport

__all__ = ["Format", "command", "format_of", "import_command", "write_result", "write_table"]

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
  sacnb export US_EMPLOYMENT --to snowflake --table PLANNING.PUBLIC.JOBS
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
@click.option("--separator", default=",", show_default=True, help="The character between the fields of a CSV file.")
@click.option("--escape-formulas", is_flag=True, help="CSV: an apostrophe before texts that a spreadsheet would run.")
@click.option(
    "--to",
    "sink",
    type=click.Choice(["snowflake"]),
    help="Append the rows to a table there instead of writing a file; SNOWFLAKE_* variables say where and as whom.",
)
@click.option("--table", metavar="NAME", help="With --to: the table, as NAME or DATABASE.SCHEMA.NAME.")
@click.option("--channel", metavar="NAME", help="With --to: the channel, which only this job writes to.")
@click.option("--create-table", is_flag=True, help="With --to: print the statement that creates the table.")
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
    sink: Literal["snowflake"] | None,
    table: str | None,
    channel: str | None,
    create_table: bool,
) -> None:
    """Write a model's facts as Parquet, CSV, an Excel workbook or an Arrow file.

    The rows are downloaded again, because a file looks fresh to anyone who finds it. An older result is written only
    with --allow-stale or --max-age-s, which use the cache.

    With --to snowflake the rows are appended to a table, each once; a run that ended early is resumed by the same
    command.
    """
    if sink is not None or table or channel or create_table:
        files = form or output != _STDOUT or tidy or not decimals or allow_stale or max_age_s is not None
        if sink is None or not table or files:
            raise click.UsageError("--to snowflake needs --table, and goes with --channel and --create-table only.")
        from sacnb._tenant.question import Question

        with invocation.connect(source) as tenant:
            facts = Question(**question).facts(tenant.model(model_id))
            _to_snowflake(facts, table, channel, only_print=create_table)
        return
    form = form or format_of(output)
    if grain and not tidy:
        raise click.UsageError("--grain needs --tidy.")
    if form != "csv" and (separator != "," or escape_formulas):
        raise click.UsageError("--separator and --escape-formulas are for CSV.")
    if output == _STDOUT and form != "csv" and is_terminal(sys.stdout):
        raise click.UsageError(f"{form} is binary, and stdout is a terminal. Name a file with --output, or use a pipe.")
    if output == _STDOUT and is_discarded(sys.stdout):
        raise click.UsageError("This process has no stdout. Name a file with --output.")
    from sacnb._tenant.question import Question  # loads polars, which a mistake in the arguments need not wait for

    with invocation.connect(source) as tenant:
        result = _rows(Question(**question).facts(tenant.model(model_id)), allow_stale=allow_stale, max_age_s=max_age_s)
    target: str | IO[bytes] = sys.stdout.buffer if output == _STDOUT else output
    made = result.tidy(grain, date=question["date"], agg=agg) if tidy else None
    if made is not None and made.note:
        say(made.note)
    rows = result if made is None else made
    if form == "xlsx" or tidy or decimals:
        write_result(rows, form, target, separator=separator, escape_formulas=escape_formulas)
    else:
        from sacnb._frames.convert import with_floats

        table = with_floats(result.arrow(), remedy="Leave out --floats to keep them.")
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


def _to_snowflake(facts: Facts, table: str, channel: str | None, *, only_print: bool) -> None:
    from sacnb.snowflake import create_table

    if only_print:
        with facts.stream() as stream:
            click.echo(create_table(stream, table))
        return
    with progress_bar(f"Downloading {facts.query.provider_id}") as listener:
        done = facts.to_snowflake(table, channel=channel, progress=listener)
    resumed = f", {done.resumed_rows:,} of them by an earlier run" if done.resumed_rows else ""
    say(f"{done.rows:,} rows of {facts.query.provider_id} are committed in {done.table}{resumed}.")


def _rows(facts: Facts, *, allow_stale: bool, max_age_s: float | None) -> Result:
    with progress_bar(f"Downloading {facts.query.provider_id}") as listener:
        if allow_stale or max_age_s is not None:
            return facts.refresh(strict=not allow_stale, max_age_s=max_age_s, progress=listener, announce=announce)
        return facts.fetch(progress=listener)


def write_result(
    rows: Result | TidyFrame,
    form: Format,
    target: str | IO[bytes],
    *,
    separator: str = ",",
    escape_formulas: bool = False,
) -> None:
    """Write a result, or its tidy frame, with its metadata."""
    if form == "csv":
        rows.to_csv(target, separator=separator, escape_formulas=escape_formulas)
    elif form == "xlsx":
        rows.to_excel(target)
    else:
        {"parquet": rows.to_parquet, "arrow": rows.to_arrow}[form](target)


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


# -- import -----------------------------------------------------------------------------------------------------------

_METHODS: Final = ("Update", "Append", "CleanAndReplace")
_PROBLEMS_SHOWN: Final = 20
_IMPORT_EXAMPLES: Final = """\b
Examples:
  sacnb import SALES plan.csv --version public.Plan --dry-run
  sacnb import SALES wide.csv --version public.Plan --pivot Date,Amount
  sacnb import SALES plan.csv --method CleanAndReplace --confirm 120
  sacnb import --jobs
"""


@click.command("import", short_help="Write a file into a model.", epilog=_IMPORT_EXAMPLES)
@click.argument("model_id", metavar="[MODEL", required=False, shell_complete=complete_model)
@click.argument("file", metavar="FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--version", "version", metavar="ID", help="The version to write into, unless the file has a column.")
@click.option("--method", type=click.Choice(_METHODS), default="Update", help="Update, add, or delete first.")
@pairs_option("--map", "mapping", "MODEL_COLUMN=FILE_COLUMN", "The file's name of a column.")
@pairs_option("--default", "defaults", "COLUMN=VALUE", "The value of a column that the file does not have.")
@names_option("--pivot", "pivot", "The dimension and measure of a file with members as columns.")
@names_option("--scope", "scope", "The dimensions of the slice that CleanAndReplace clears.")
@click.option("--separator", default=",", metavar="CHAR", help="The separator of a CSV file.")
@click.option("--dry-run", is_flag=True, help="Check everything, in SAC too, and write nothing.")
@click.option("--allow-partial", is_flag=True, help="Write the good rows, and report the others.")
@click.option("--confirm", type=click.IntRange(0), metavar="ROWS", help="The number of rows CleanAndReplace deletes.")
@click.option("--verify/--no-verify", default=True, help="Read the rows back and compare them (the default).")
@click.option("--audit", type=click.Path(path_type=Path), metavar="FILE", help="Append counts and a hash, no values.")
@click.option("--problems", type=click.Path(path_type=Path), metavar="FILE", help="Write all problems as CSV.")
@click.option("--jobs", is_flag=True, help="List your import jobs instead.")
@click.option("--job", metavar="ID", help="Show the state of an import job instead.")
@click.option("--delete-job", metavar="ID", help="Delete an import job instead.")
@json_option(
    "model, method, versions, job, state, dry_run, rows, deleted, verified, changes (new, changed, same, removed), "
    "rejected (a list of row, column, value, problem, message); with --jobs or --job what SAC says about them"
)
@click.pass_obj
def import_command(
    invocation: Invocation,
    /,
    *,
    model_id: str | None,
    file: Path | None,
    separator: str,
    problems: Path | None,
    jobs: bool,
    job: str | None,
    delete_job: str | None,
    as_json: bool,
    **order: Any,
) -> None:
    """Write a CSV, Parquet or Arrow file into the facts of a model: all rows or none.

    Columns go by name. Everything is checked before anything is sent; afterwards the rows are read back and compared.
    A CSV file is read as text, so members keep their leading zeros.
    """
    if jobs or job or delete_job:
        _about_jobs(invocation, job, delete_job, as_json=as_json)
        return
    if model_id is None or file is None:
        raise click.UsageError("Name the model and the file: sacnb import MODEL FILE --version public.Plan")
    from sacnb._write.order import hint_in_options
    from sacnb.errors import ConfirmationError, QueryError, RowsError

    frame = _read_file(file, separator)
    with invocation.connect() as tenant, progress_bar(f"Writing {model_id}") as listener:
        try:
            report = tenant.model(model_id).write(frame, progress=listener, **_given(order))
        except (ConfirmationError, QueryError, RowsError) as error:
            error.hint = hint_in_options(error)
            if isinstance(error, RowsError) and problems is not None:
                error.problems.write_csv(problems)
                say(f"Wrote {error.problems.height:,} problems to {problems}.")
            elif isinstance(error, RowsError):
                error.hint = f"{error.hint} --problems FILE writes all problems as CSV."
            raise
    if problems is not None:
        report.rejected.write_csv(problems)
    if as_json:
        print_json(_report(report))
        return
    print_facts({name: value for name, value in report.facts().items() if name != "model"})
    if report.rejected.height:
        print_table(report.rejected.columns, report.rejected.head(_PROBLEMS_SHOWN).rows(), right=("row",))


def _given(order: dict[str, Any]) -> dict[str, Any]:
    pairs = {name: dict(order[name]) or None for name in ("mapping", "defaults")}
    return {**order, **pairs}


def _read_file(path: Path, separator: str) -> pl.DataFrame:
    import polars as pl

    form = format_of(path.name)
    if form == "xlsx":
        raise click.UsageError(
            f"{path}: Excel files are not read here. Save the sheet as CSV, or use Python: "
            'model.write(polars.read_excel("FILE"), version="public.Plan")'
        )
    try:
        if path.stat().st_size > max_file_mb() * 1_000_000:
            raise too_long(max_file_mb())
        if form == "csv":
            return read_csv(path, separator)
        if form == "parquet":
            return pl.read_parquet(path)
        with path.open("rb") as file:
            is_stream = file.read(6) != b"ARROW1"
        return pl.read_ipc_stream(path) if is_stream else pl.read_ipc(path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise click.UsageError(f"{path} cannot be read as {form}: {error}") from None


def _report(report: WriteReport) -> dict[str, Any]:
    from sacnb._write.report import CHANGES

    counts = {} if report.changes is None else dict(report.changes.group_by("change").len().iter_rows())
    return {
        "model": report.model_id,
        "method": report.method,
        "versions": list(report.versions),
        "job": report.job_id,
        "state": report.state,
        "dry_run": report.is_dry_run,
        "rows": report.rows,
        "deleted": report.deleted,
        "verified": report.verified,
        "changes": {kind: counts.get(kind, 0) for kind in CHANGES},
        "rejected": report.rejected.to_dicts(),
    }


def _about_jobs(invocation: Invocation, job: str | None, delete: str | None, *, as_json: bool) -> None:
    from sacnb._write.service import delete_job, list_jobs, read_job

    with invocation.connect() as tenant:
        session = tenant._connection.context.session
        if delete is not None:
            delete_job(session, delete)
            say(f"The import job {delete} is deleted.")
            return
        if job is not None:
            found = read_job(session, job)
            print_json(found) if as_json else print_facts(found)
            return
        every = list_jobs(session)
    if as_json:
        print_json(every)
    else:
        columns = {"jobid": "job", "modelid": "model", "jobstatus": "state", "createdtime": "created"}
        rows = [tuple(str(one.get(name, "")).partition(".")[0] for name in columns) for one in every]
        print_table(list(columns.values()), rows, whole=("job", "state"))
