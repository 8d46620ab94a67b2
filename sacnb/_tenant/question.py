"""A query of facts as people type it at a prompt, for the command line and the magics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from sacnb._odata.schema import NUMERIC_TYPES
from sacnb._odata.where import both, from_where
from sacnb.errors import QueryError

if TYPE_CHECKING:
    from sacnb._odata.schema import Column, Schema
    from sacnb._tenant.facts import Facts
    from sacnb._tenant.model import Model

__all__ = ["Question", "read_condition", "read_names", "typed_where"]

_TRUTH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Question:
    """The options that select facts, as typed; ``where`` holds pairs of a column and a text."""

    where: tuple[tuple[str, str], ...] = ()
    since: str | None = None
    until: str | None = None
    date: str | None = None
    dims: tuple[str, ...] | None = None
    measures: tuple[str, ...] | None = None
    limit: int | None = None
    check_count: bool = True

    def facts(self, model: Model) -> Facts:
        """Return the query of *model*, with each text of ``where`` read as its column's type.

        Uses the query's schema (the cached one while SAC is unreachable), so that the cache key matches.

        Raises UnknownNameError for an unknown column, QueryError for a text that the column cannot hold.
        """
        facts = model.facts(
            since=self.since,
            until=self.until,
            date=self.date,
            dims=self.dims,
            measures=self.measures,
            limit=self.limit,
            check_count=self.check_count,
        )
        where = both(from_where(typed_where(self.where, facts.schema) or None), facts.query.where)
        filtered = replace(facts, query=replace(facts.query, where=where))
        filtered.query.options(facts.schema)  # refuse an impossible query now, and not when it is fetched
        return filtered


def read_condition(text: str) -> tuple[str, str]:
    """Return the column and the value of ``COLUMN=VALUE``, split at the first equals sign. Raises QueryError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise QueryError(f"{text!r} is not COLUMN=VALUE.", hint="For example: --where Version=public.Actual")
    return name, value


def read_names(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B``; empty text is no name at all."""
    return tuple(name for name in text.split(",") if name)


def typed_where(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, object]:
    """Return pairs of column and text as a mapping for ``facts(where=...)``; repeated columns become lists.

    Raises UnknownNameError for an unknown column, QueryError for a text that the column cannot hold.
    """
    found: dict[str, list[object]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(_value(text, schema.column(name)))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _value(text: str, column: Column) -> object:
    """Return *text* as a number or a boolean if the column holds those, else as typed."""
    if column.edm_type in NUMERIC_TYPES:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise QueryError(f"{column.name!r} holds {column.edm_type}, and {text!r} is not a number.") from None
    if column.edm_type == "Edm.Boolean":
        if text.lower() not in _TRUTH:
            raise QueryError(f"{column.name!r} holds {column.edm_type}; expected true or false, got {text!r}.")
        return _TRUTH[text.lower()]
    return text
