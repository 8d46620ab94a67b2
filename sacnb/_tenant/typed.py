"""Conditions as people type them, ``Sector=31``, with each value read as its column's type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from sacnb._odata.expression_old import both, from_where
from sacnb._odata.schema import NUMERIC_TYPES
from sacnb.errors import QueryError

if TYPE_CHECKING:
    from sacnb._odata.schema import Column, Schema
    from sacnb._tenant.facts import Facts

__all__ = ["typed_where", "with_conditions"]

_TRUTH: Final = {"true": True, "false": False}


def with_conditions(facts: Facts, pairs: Iterable[tuple[str, str]]) -> Facts:
    """The same question, of only the rows that fit all conditions; each is a column and a text.

    The schema is the one that the question has: while SAC is away that of the last kept result, so that it is found.

    Raises UnknownNameError for a column that is not there, QueryError for a text that its column cannot hold.
    """
    where = both(from_where(typed_where(pairs, facts.schema) or None), facts.query.where)
    filtered = replace(facts, query=replace(facts.query, where=where))
    filtered.query.options(facts.schema)  # what cannot be asked is said here, and not when the answer is awaited
    return filtered


def typed_where(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, object]:
    """Columns and texts as ``facts(where=...)`` takes them; a column that comes several times gets a list.

    Raises UnknownNameError for a column that is not there, QueryError for a text that its column cannot hold.
    """
    found: dict[str, list[object]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(_value(text, schema.column(name)))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _value(text: str, column: Column) -> object:
    """A number or a truth value where the column holds such; everything else is asked as it was typed."""
    if column.edm_type in NUMERIC_TYPES:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise QueryError(f"{text!r} is no number, and {column.name!r} holds {column.edm_type}.") from None
    if column.edm_type == "Edm.Boolean":
        if text.lower() not in _TRUTH:
            raise QueryError(f"{text!r} is neither true nor false, and {column.name!r} holds {column.edm_type}.")
        return _TRUTH[text.lower()]
    return text
