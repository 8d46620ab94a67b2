"""The options that select facts, the same for every command that reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sacnb.cli.completion import complete_model

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "AGGREGATIONS",
    "GRAINS",
    "complete_model",
    "model_argument",
    "names_option",
    "pairs_option",
    "question_options",
    "refuse_other_separator",
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


def refuse_other_separator(path: Path, separator: str) -> None:
    """Raise UsageError for a heading that another separator divides, as Excel writes it where commas are decimal."""
    with path.open("rb") as file:
        heading = file.readline(100_000).decode("utf-8", "replace")
    others = [one for one in (";", "\t", "|", ",") if one in heading]
    if separator not in heading and others:
        shown = "$'\\t'" if others[0] == "\t" else f"'{others[0]}'"
        raise click.UsageError(f"The first line of {path} has no {separator!r}. Is it divided by --separator {shown}?")
