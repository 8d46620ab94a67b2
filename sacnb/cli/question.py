"""The options that select facts, the same for every command that reads them."""

from __future__ import annotations

import codecs
import csv
import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from sacnb.cli.completion import complete_model

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

__all__ = [
    "AGGREGATIONS",
    "GRAINS",
    "complete_model",
    "model_argument",
    "names_option",
    "pairs_option",
    "question_options",
    "read_csv",
    "source_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])

GRAINS: Final = ("day", "week", "month", "quarter", "year")
AGGREGATIONS: Final = ("sum", "mean", "min", "max", "first", "last")
REPEATED: Final = ("sum", "keep", "error")

source_option = click.option(
    "--source",
    type=click.Choice(["sac", "sandbox"]),
    help="The tenant of the settings, or the embedded sandbox; by default, as the settings say.",
)
model_argument = click.argument("model_id", metavar="MODEL", shell_complete=complete_model)


def _conditions(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    values: tuple[str, ...],
) -> tuple[tuple[str, str], ...]:
    if not values:  # nothing to load for `sacnb --help`
        return ()
    from sacnb._tenant.question import read_condition
    from sacnb.errors import QueryError

    try:
        return tuple(read_condition(text) for text in values)
    except QueryError as error:
        raise click.BadParameter(str(error)) from None


def _names(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    values: tuple[str, ...],
) -> tuple[str, ...] | None:
    """Return names from ``a,b`` and repeated options; ``None`` without the option, nothing for an empty one."""
    if not values:
        return None
    from sacnb._tenant.question import read_names

    return tuple(name for text in values for name in read_names(text))


def pairs_option(option: str, name: str, metavar: str, about: str) -> Callable[[_F], _F]:
    """Return an option of pairs, ``NAME=VALUE``, which may be repeated."""
    return click.option(option, name, multiple=True, metavar=metavar, callback=_conditions, help=f"{about} Repeatable.")


def names_option(option: str, name: str, about: str) -> Callable[[_F], _F]:
    """Return an option of names, ``A,B``; ``None`` where it is not given."""
    return click.option(option, name, multiple=True, metavar="A,B", callback=_names, help=about)


_OPTIONS: Final = (
    click.option(
        "--where",
        multiple=True,
        metavar="COLUMN=VALUE",
        callback=_conditions,
        help="Keep rows with this value. Repeat it: for one column any of the values, for several columns all of them.",
    ),
    click.option(
        "--under",
        multiple=True,
        metavar="DIMENSION=MEMBER",
        callback=_conditions,
        help="Keep the rows of this member and of all below it in its hierarchy. Repeatable like --where.",
    ),
    click.option("--since", metavar="PERIOD", help="The first period, such as 2010, 2010-Q1, 2010-01 or 2010-01-31."),
    click.option("--until", metavar="PERIOD", help="The last period, inclusive."),
    click.option("--date", metavar="COLUMN", help="The date column for --since and --until, if there are several."),
    click.option(
        "--dims",
        multiple=True,
        metavar="A,B",
        callback=_names,
        help="The dimensions to keep, by default all; SAC adds up the others.",
    ),
    click.option(
        "--measures", multiple=True, metavar="A,B", callback=_names, help="The measures to keep, by default all."
    ),
    click.option(
        "--check-count/--no-check-count",
        default=True,
        help="Fail if the number of rows differs from SAC's count, or only warn (for models being written to).",
    ),
    click.option(
        "--repeated",
        type=click.Choice(REPEATED),
        default="sum",
        help="Several records for one key: add up their measures (the default), keep each as a row, or fail.",
    ),
)


def question_options(command: _F) -> _F:
    """Add the options that select facts; the command gets them as ``question``, the arguments of a ``Question``."""

    @functools.wraps(command)
    def with_question(*args: Any, **kwargs: Any) -> Any:
        names = ("where", "under", "since", "until", "date", "dims", "measures", "check_count", "repeated")
        question = {name: kwargs.pop(name) for name in names}
        return command(*args, question=question, **kwargs)

    wrapped: Any = with_question
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def read_csv(path: Path, separator: str) -> pl.DataFrame:
    """Return a CSV file as texts: UTF-8, or UTF-16 as Windows writes it. Empty cells are nulls, empty lines nothing.

    Raises UsageError for what is no CSV, or divided by another separator, and for a row with more or fewer fields:
    of polars' reader a row that was cut off ends in nulls.
    """
    import polars as pl
    import pyarrow as pa
    from pyarrow import csv as reader

    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{path} cannot be read as csv in utf-16: {error.reason}.") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    _refuse_other_separator(path, content.partition(b"\n")[0].decode("utf-8", "replace"), separator)
    try:
        lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
        names = next((row for row in csv.reader(lines, delimiter=separator) if row), [])
        if again := next((name for name in names if names.count(name) > 1), None):
            raise click.UsageError(f"{path} has the column {again!r} twice.")
        table = reader.read_csv(
            io.BytesIO(content),
            reader.ReadOptions(block_size=min(max(len(content), 1), 2**30)),
            reader.ParseOptions(delimiter=separator, newlines_in_values=True),
            reader.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except (pa.ArrowException, csv.Error, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read as csv: {error}") from None
    return cast("pl.DataFrame", pl.from_arrow(table))


def _refuse_other_separator(path: Path, heading: str, separator: str) -> None:
    """Raise UsageError for a heading that another separator divides, as Excel writes it where commas are decimal."""
    others = [one for one in (";", "\t", "|", ",") if one in heading]
    if separator not in heading and others:
        shown = "$'\\t'" if others[0] == "\t" else f"'{others[0]}'"
        raise click.UsageError(f"The first line of {path} has no {separator!r}. Is it divided by --separator {shown}?")
