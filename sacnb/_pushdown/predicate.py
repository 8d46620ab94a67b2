"""Read a polars predicate: from an expression to a small tree of what this project understands of it.

polars has no stable way to look into an expression. What is used here was the same from polars 1.30 to 2.1: the names
of the nodes in ``Expr.meta.serialize(format="json")``, and ``Expr.meta.pop()``, which gives the operands of a node with
the last one first. Constants are not read from the JSON, where their form changed and where NaN is null: polars
evaluates them. A node that is not known, or looks otherwise than expected, becomes ``Unknown``, which nobody asks SAC
for; polars checks every predicate again in any case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import polars as pl

__all__ = [
    "AllOf",
    "AnyOf",
    "Compare",
    "Conjunct",
    "Constant",
    "Field",
    "Flag",
    "IsIn",
    "Match",
    "Negation",
    "Operator",
    "Predicate",
    "TextFunction",
    "Typed",
    "Unknown",
    "conjuncts",
]

Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]
TextFunction = Literal["contains", "startswith", "endswith"]
Scalar = str | int | float | Decimal | bool | bytes | date | datetime | time | timedelta | None

_OPERATORS: Final[dict[str, Operator]] = {
    "Eq": "eq", "NotEq": "ne", "Lt": "lt", "LtEq": "le", "Gt": "gt", "GtEq": "ge",
}  # fmt: skip
_MIRRORED: Final[dict[Operator, Operator]] = {
    "eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le",
}  # fmt: skip
_BETWEEN: Final[dict[str, tuple[Operator, Operator]]] = {
    "Both": ("ge", "le"), "Left": ("ge", "lt"), "Right": ("gt", "le"), "None": ("gt", "lt"),
}  # fmt: skip
_AND: Final = ("And", "LogicalAnd")
_OR: Final = ("Or", "LogicalOr")
# A pattern with one of these is a regular expression; without, it stands for itself.
_REGEX_SIGNS: Final = frozenset("\\.+*?()|[]{}^$")


@dataclass(frozen=True, slots=True)
class Typed:
    """A constant, with the type polars gave it."""

    value: Scalar
    dtype: pl.DataType


@dataclass(frozen=True, slots=True)
class Field:
    """A column as it is compared: as it stands, or cast to float64 first."""

    name: str
    as_float: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """A column against a constant. ``null_aware`` is polars' ``eq_missing``: never null, and null equals null."""

    field: Field
    operator: Operator
    constant: Typed
    null_aware: bool = False


@dataclass(frozen=True, slots=True)
class IsIn:
    """A column against a list of constants of one type; with ``nulls_equal`` a null is looked up like any value."""

    field: Field
    constants: tuple[Typed, ...]
    nulls_equal: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A text column against a part of its text, taken literally and with its case."""

    field: Field
    function: TextFunction
    text: str | None


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean column, as it stands."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A condition that is the same for every row; ``None`` keeps no row, and neither does its opposite."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Negation:
    """``~operand``."""

    operand: Predicate


@dataclass(frozen=True, slots=True)
class AllOf:
    """Operands joined by ``&``."""

    operands: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Operands joined by ``|``."""

    operands: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something only polars can check."""


Predicate = Compare | IsIn | Match | Flag | Constant | Negation | AllOf | AnyOf | Unknown


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One of the conditions that must all hold, and how polars writes it."""

    text: str
    predicate: Predicate


def conjuncts(expression: pl.Expr) -> tuple[Conjunct, ...]:
    """The conditions that ``&`` joins at the top of a predicate, each as far as it is understood. Raises nothing."""
    try:
        tree = json.loads(expression.meta.serialize(format="json"))
        return tuple(_conjuncts(expression, tree))
    except (pl.exceptions.PolarsError, ValueError, RecursionError):
        # A Python function inside, a chain of thousands of conditions: polars can check it, and that is enough.
        return (Conjunct(str(expression), Unknown()),)


def _conjuncts(expression: pl.Expr, tree: Any) -> Iterator[Conjunct]:
    match tree:
        case {"BinaryExpr": {"op": op}} if op in _AND:
            for operand, below in _chain(expression, tree, _AND):
                yield from _conjuncts(operand, below)
        case {"Function": {"function": {"Boolean": "AllHorizontal"}, "input": list(inputs)}}:
            for operand, below in zip(_operands(expression, len(inputs)), inputs, strict=True):
                yield from _conjuncts(operand, below)
        case _:
            yield Conjunct(str(expression), _read(expression, tree))


def _chain(expression: pl.Expr, tree: Any, ops: tuple[str, ...]) -> Iterator[tuple[pl.Expr, Any]]:
    """Return the operands of ``a & b & c``, from left to right; a loop, because there may be hundreds."""
    waiting = [(expression, tree)]
    while waiting:
        expression, tree = waiting.pop()
        match tree:
            case {"BinaryExpr": {"op": op, "left": left, "right": right}} if op in ops:
                first, second = _operands(expression, 2)
                waiting += [(second, right), (first, left)]
            case _:
                yield expression, tree


def _read(expression: pl.Expr, tree: Any) -> Predicate:  # noqa: PLR0911 - one for each kind of node
    match tree:
        case {"Column": str(name)}:
            return Flag(name)
        case {"Literal": _}:
            found = _constant(expression, tree)
            value = found.value if found is not None else ...
            return Constant(value) if value is None or isinstance(value, bool) else Unknown()
        case {"BinaryExpr": {"op": op}} if op in _AND:
            return AllOf(tuple(_read(*operand) for operand in _chain(expression, tree, _AND)))
        case {"BinaryExpr": {"op": op}} if op in _OR:
            return AnyOf(tuple(_read(*operand) for operand in _chain(expression, tree, _OR)))
        case {"BinaryExpr": {"op": str(op), "left": left, "right": right}}:
            return _comparison(op, _operands(expression, 2), left, right)
        case {"Function": {"function": {"Boolean": function}, "input": list(inputs)}}:
            return _boolean(function, _operands(expression, len(inputs)), inputs)
        case {"Function": {"function": {"StringExpr": function}, "input": [subject, part]}}:
            return _match(function, subject, _constant(_operands(expression, 2)[1], part))
    return Unknown()


def _operands(expression: pl.Expr, count: int) -> list[pl.Expr]:
    """The operands of a node, the first one first.

    Raises:
        ValueError: there are not as many as the JSON has.
    """
    operands = expression.meta.pop()[::-1]
    if len(operands) != count:
        raise ValueError(f"{len(operands)} operands instead of {count}")
    return operands


def _comparison(op: str, operands: list[pl.Expr], left: Any, right: Any) -> Predicate:
    null_aware = op in {"EqValidity", "NotEqValidity"}
    operator = _OPERATORS.get(op.removesuffix("Validity"))
    if operator is None:
        return Unknown()
    field, constant = _field(left), _constant(operands[1], right)
    if field is None:
        field, constant, operator = _field(right), _constant(operands[0], left), _MIRRORED[operator]
    return Unknown() if field is None or constant is None else Compare(field, operator, constant, null_aware)


def _boolean(function: Any, operands: list[pl.Expr], trees: list[Any]) -> Predicate:
    match function, trees:
        case "Not", [tree]:
            return Negation(_read(operands[0], tree))
        case "AllHorizontal" | "AnyHorizontal", _:
            read = tuple(_read(operand, tree) for operand, tree in zip(operands, trees, strict=True))
            return AllOf(read) if function == "AllHorizontal" else AnyOf(read)
        case {"IsBetween": {"closed": str(closed)}}, [subject, low, high] if closed in _BETWEEN:
            field, bounds = _field(subject), (_constant(operands[1], low), _constant(operands[2], high))
            if field is not None and bounds[0] is not None and bounds[1] is not None:
                lower, upper = _BETWEEN[closed]
                return AllOf((Compare(field, lower, bounds[0]), Compare(field, upper, bounds[1])))
        case {"IsIn": {"nulls_equal": bool(nulls_equal)}}, [subject, members]:
            field, constants = _field(subject), _constants(operands[1], members)
            return Unknown() if field is None or constants is None else IsIn(field, constants, nulls_equal)
    return Unknown()


def _match(function: Any, subject: Any, part: Typed | None) -> Predicate:
    field = _field(subject)
    if field is None or part is None or not (part.value is None or isinstance(part.value, str)):
        return Unknown()
    match function:
        case "StartsWith":
            return Match(field, "startswith", part.value)
        case "EndsWith":
            return Match(field, "endswith", part.value)
        case {"Contains": {"literal": bool(literal)}} if literal or not _REGEX_SIGNS & set(part.value or ""):
            return Match(field, "contains", part.value)
    return Unknown()


def _field(tree: Any) -> Field | None:
    """A column, perhaps cast to float64; any other cast may change what is compared."""
    match tree:
        case {"Column": str(name)}:
            return Field(name)
        case {"Cast": {"expr": {"Column": str(name)}, "dtype": "Float64" | {"Literal": "Float64"}}}:
            return Field(name, as_float=True)
    return None


def _constant(expression: pl.Expr, tree: Any) -> Typed | None:
    """A single constant; ``None`` for anything else, and for dates that Python has none for."""
    match tree:
        case {"Literal": dict(literal)} if "Series" not in literal:
            series = pl.select(expression).to_series()
            try:
                return Typed(series.item(), series.dtype)
            except (ValueError, OverflowError):  # beyond the year 9999
                return None
    return None


def _constants(expression: pl.Expr, tree: Any) -> tuple[Typed, ...] | None:
    """A list of constants: SQL gives them as a column, Python as one value of a list type."""
    if not (isinstance(tree, dict) and "Literal" in tree):
        return None
    series = pl.select(expression).to_series()
    if isinstance(series.dtype, pl.List):
        if len(series) != 1 or series.null_count():
            return None
        series = series.item()
    try:
        return tuple(Typed(value, series.dtype) for value in series.to_list())
    except (ValueError, OverflowError):
        return None
