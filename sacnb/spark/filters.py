"""Read Spark's filters into the conditions that sacnb sends to SAC.

By the names of their classes, so that reading them needs no Spark. Null means in Spark what it means in polars: a
comparison with it is neither true nor false, and the row is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import polars as pl

from sacnb._odata.expression import Operator, TextFunction
from sacnb._pushdown.predicate import Compare, Conjunct, Field, IsIn, Match, Negation, Predicate, Typed, Unknown

__all__ = ["condition"]

_OPERATORS: Final[Mapping[str, Operator]] = {
    "EqualTo": "eq", "EqualNullSafe": "eq", "LessThan": "lt", "LessThanOrEqual": "le", "GreaterThan": "gt",
    "GreaterThanOrEqual": "ge",
}  # fmt: skip
_MATCHES: Final[Mapping[str, TextFunction]] = {
    "StringStartsWith": "startswith", "StringEndsWith": "endswith", "StringContains": "contains",
}  # fmt: skip


def condition(one: Any) -> Conjunct:
    """Return one of Spark's filters; what sacnb does not know is left to Spark."""
    return Conjunct(str(one), _read(one))


def _read(one: Any) -> Predicate:  # noqa: PLR0911 - one for each kind
    kind = type(one).__name__
    if kind == "Not":
        return Negation(_read(one.child))
    path: Any = getattr(one, "attribute", ())
    if len(path) != 1:
        return Unknown()
    field = Field(path[0])
    if kind == "In":
        members = [typed(value) for value in one.value]
        known = tuple(member for member in members if member is not None)
        return IsIn(field, known, nulls_equal=False) if len(known) == len(members) else Unknown()
    value = typed(getattr(one, "value", ...))
    if value is None:
        return Unknown()
    if kind in _OPERATORS:
        return Compare(field, _OPERATORS[kind], value, null_aware=kind == "EqualNullSafe")
    if kind in _MATCHES and isinstance(value.value, str):
        return Match(field, _MATCHES[kind], value.value)
    return Unknown()


_TYPES: Final[Mapping[type, pl.DataType]] = {
    type(None): pl.Null(), bool: pl.Boolean(), int: pl.Int64(), Decimal: pl.Decimal(), str: pl.String(),
    date: pl.Date(),
}  # fmt: skip


def typed(value: Any) -> Typed | None:
    """Return a constant with its type; ``None`` for one whose meaning is uncertain, such as a time without a zone."""
    if isinstance(value, datetime):
        return Typed(value, pl.Datetime("us", "UTC")) if value.tzinfo is not None else None
    kind = _TYPES.get(type(value))
    return None if kind is None else Typed(value, kind)
