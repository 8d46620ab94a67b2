"""The options that say which facts are meant; every command that reads facts takes the same ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sacnb.cli.completion import complete_model

if TYPE_CHECKING:
    from sacnb._tenant import Facts, Model

__all__ = ["AGGREGATIONS", "GRAINS", "Question", "model_argument", "question_options", "source_option"]

_F = TypeVar("_F", bound=Callable[..., Any])

GRAINS: Final = ("day", "week", "month", "quarter", "year")
AGGREGATIONS: Final = ("sum", "mean", "min", "max", "first", "last")

source_option = click.option(
    "--source",
    type=click.Choice(["sac", "sandbox"]),
    help="The tenant of the settings, or the embedded sandbox; by default what the settings say.",
)
model_argument = click.argument("model_id", metavar="MODEL", shell_complete=complete_model)


@dataclass(frozen=True, slots=True)
class Question:
    """Which facts are meant, as it was typed; ``facts`` is the same for a model."""

    where: tuple[tuple[str, str], ...] = ()
    since: str | None = None
    until: str | None = None
    date: str | None = None
    dims: tuple[str, ...] | None = None
    measures: tuple[str, ...] | None = None
    check_count: bool = True

    def facts(self, model: Model) -> Facts:
        """The question put to ``model``, with each value read as its column's type.

        Raises UnknownNameError and QueryError.
        """
        facts = model.facts(
            since=self.since,
            until=self.until,
            date=self.date,
            dims=self.dims,
            measures=self.measures,
            check_count=self.check_count,
        )
        if not self.where:
            return facts
        from sacnb._tenant.facts import with_conditions

        return with_conditions(facts, self.where)


def _pairs(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    values: tuple[str, ...],
) -> tuple[tuple[str, str], ...]:
    """The columns and values of ``COLUMN=VALUE``; only the first equals sign parts them."""
    pairs = []
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not COLUMN=VALUE, as in --where Version=public.Actual.")
        pairs.append((name, value))
    return tuple(pairs)


def _names(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    values: tuple[str, ...],
) -> tuple[str, ...] | None:
    """Names from ``a,b`` and from repeated options; no option is ``None``, an empty one an empty list."""
    if not values:
        return None
    return tuple(name for text in values for name in text.split(",") if name)


_OPTIONS: Final = (
    click.option(
        "--where",
        multiple=True,
        metavar="COLUMN=VALUE",
        callback=_pairs,
        help="Keep rows with this value; several for one column mean one of them, several columns all of them.",
    ),
    click.option("--since", metavar="PERIOD", help="The first period, such as 2010, 2010-Q1, 2010-01 or 2010-01-31."),
    click.option("--until", metavar="PERIOD", help="The last period, included."),
    click.option("--date", metavar="COLUMN", help="The column that --since and --until mean, where there are several."),
    click.option(
        "--dims",
        multiple=True,
        metavar="A,B",
        callback=_names,
        help="The dimensions to keep; SAC sums over the others. All if not given.",
    ),
    click.option("--measures", multiple=True, metavar="A,B", callback=_names, help="The measures to keep."),
    click.option(
        "--check-count/--no-check-count",
        default=True,
        help="Whether another number of rows than SAC announced is an error; off for models that are being written to.",
    ),
)


def question_options(command: _F) -> _F:
    """Add the options of a question; the command gets them as one argument, ``question``."""

    @functools.wraps(command)
    def with_question(*args: Any, **kwargs: Any) -> Any:
        names = ("where", "since", "until", "date", "dims", "measures", "check_count")
        question = Question(**{name: kwargs.pop(name) for name in names})
        return command(*args, question=question, **kwargs)

    wrapped: Any = with_question
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]
