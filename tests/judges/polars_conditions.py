"""Seeded conditions of polars and of SQL, each with the plain condition that means the same."""

from __future__ import annotations

import math
import operator
import random
from decimal import Decimal
from typing import Any, Final

import polars as pl

from .conditions import AllOf, AnyOf, Compare, Condition, Match, Not, OneOf
from .rows import TEXTS, TYPES, UNORDERED, pool

_SIGNS: Final[dict[str, Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
_SQL_SIGNS: Final = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_WAYS: Final = {"contains": "contains", "startswith": "starts_with", "endswith": "ends_with"}
# What frames show as text or as something else than the value, or polars has no constant for.
_LEFT_OUT: Final = frozenset({"Edm.Binary", "Edm.Guid", "Edm.Single"})
_SQL_TYPES: Final = frozenset({"Edm.String", "Edm.Int32", "Edm.Int64", "Edm.Decimal", "Edm.Boolean", "Edm.Byte"})


class PolarsConditions:
    """Conditions over the judged rows as expressions of polars."""

    def __init__(self, random_: random.Random, *, decimals: bool) -> None:
        self._random = random_
        self._decimals = decimals
        self._names = [name for name, kind in TYPES.items() if name != "Id" and kind not in _LEFT_OUT]

    def one(self, depth: int = 3) -> tuple[Condition, pl.Expr]:
        """Return a condition and its expression."""
        kind = self._random.random()
        if depth == 0 or kind < 0.35:
            return self._leaf()
        if kind < 0.55:
            condition, expression = self.one(depth - 1)
            return Not(condition), ~expression
        (left, first), (right, second) = self.one(depth - 1), self.one(depth - 1)
        return (AllOf((left, right)), first & second) if kind < 0.78 else (AnyOf((left, right)), first | second)

    def _leaf(self) -> tuple[Condition, pl.Expr]:
        name = self._random.choice(self._names)
        kind, column = TYPES[name], pl.col(name)
        values = [value for value in pool(kind) if value == value]  # noqa: PLR0124 - no NaN
        if kind == "Edm.Decimal" and not self._decimals:
            kind, values = "Edm.Double", _near(values)
        choice = self._random.random()
        if choice < 0.12:
            is_null = self._random.random() < 0.5
            sign = "eq" if is_null else "ne"
            return Compare(name, sign, None, null_safe=True), column.is_null() if is_null else column.is_not_null()
        if choice < 0.2:
            value = self._random.choice([*values, None])
            sign = self._random.choice(["eq", "ne"])
            made = column.eq_missing if sign == "eq" else column.ne_missing
            return Compare(name, sign, value, null_safe=True), made(_constant(kind, value))
        if choice < 0.36:
            members = self._random.choices(values, k=self._random.randint(1, 4))
            # Without nulls_equal the list holds no null: what that means differs between versions of polars.
            null_safe = self._random.random() < 0.3
            listed = [*members, *([None] if null_safe and self._random.random() < 0.5 else [])]
            series = pl.Series(listed, dtype=_dtype(kind)).implode()
            return OneOf(name, tuple(listed), null_safe), column.is_in(series, nulls_equal=null_safe)
        if kind == "Edm.String" and choice < 0.6:
            way = self._random.choice(sorted(_WAYS))
            text = self._random.choice(TEXTS)
            made = getattr(column.str, _WAYS[way])
            return Match(name, way, text), made(text, literal=True) if way == "contains" else made(text)
        if kind not in UNORDERED and choice < 0.7:
            low, high = self._random.choice(values), self._random.choice(values)
            both = AllOf((Compare(name, "ge", low), Compare(name, "le", high)))
            return both, column.is_between(_constant(kind, low), _constant(kind, high))
        sign = self._random.choice(["eq", "ne"] if kind in UNORDERED else sorted(_SIGNS))
        value = self._random.choice(values)
        return Compare(name, sign, value), _SIGNS[sign](column, _constant(kind, value))


class SqlConditions:
    """Conditions over the judged rows as SQL."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self._names = [name for name, kind in TYPES.items() if name != "Id" and kind in _SQL_TYPES]

    def one(self, depth: int = 3) -> tuple[Condition, str]:
        """Return a condition and its SQL."""
        kind = self._random.random()
        if depth == 0 or kind < 0.35:
            return self._leaf()
        if kind < 0.55:
            condition, text = self.one(depth - 1)
            return Not(condition), f"not ({text})"
        (left, first), (right, second) = self.one(depth - 1), self.one(depth - 1)
        made = AllOf((left, right)) if kind < 0.78 else AnyOf((left, right))
        return made, f"({first}) {'and' if isinstance(made, AllOf) else 'or'} ({second})"

    def _leaf(self) -> tuple[Condition, str]:
        name = self._random.choice(self._names)
        kind = TYPES[name]
        values = pool(kind)
        choice = self._random.random()
        quoted = f'"{name}"'
        if choice < 0.15:
            is_null = self._random.random() < 0.5
            made = Compare(name, "eq" if is_null else "ne", None, null_safe=True)
            return made, f"{quoted} is {'' if is_null else 'not '}null"
        if kind == "Edm.Boolean":
            return Compare(name, "eq", True), quoted
        if choice < 0.35:
            members = self._random.choices(values, k=self._random.randint(1, 4))
            negated = self._random.random() < 0.4
            inside = OneOf(name, tuple(members))
            shown = ", ".join(_sql(member) for member in members)
            return Not(inside) if negated else inside, f"{quoted} {'not ' if negated else ''}in ({shown})"
        if choice < 0.5:
            low, high = self._random.choice(values), self._random.choice(values)
            both = AllOf((Compare(name, "ge", low), Compare(name, "le", high)))
            return both, f"{quoted} between {_sql(low)} and {_sql(high)}"
        sign = self._random.choice(sorted(_SQL_SIGNS))
        value = self._random.choice(values)
        return Compare(name, sign, value), f"{quoted} {_SQL_SIGNS[sign]} {_sql(value)}"


def _sql(value: Any) -> str:
    return (
        "'" + value.replace("'", "''") + "'"
        if isinstance(value, str)
        else format(value, "f")
        if isinstance(value, Decimal)
        else str(value)
    )


def _dtype(kind: str) -> pl.DataType | None:
    return {
        "Edm.Decimal": pl.Decimal(38, 7),
        "Edm.DateTimeOffset": pl.Datetime("us", "UTC"),
        "Edm.Duration": pl.Duration("us"),
        "Edm.Byte": pl.UInt8(),
        "Edm.Int32": pl.Int32(),
        "Edm.Int64": pl.Int64(),
    }.get(kind)


def _near(values: list[Any]) -> list[Any]:
    """Return decimals as floats, and the floats beside them."""
    floats = [float(value) for value in values]
    return [*floats, *(math.nextafter(one, to) for one in floats for to in (-math.inf, math.inf))]


def _constant(kind: str, value: Any) -> pl.Expr:
    return pl.lit(value, dtype=_dtype(kind))
