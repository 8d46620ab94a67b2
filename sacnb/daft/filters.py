"""Read Daft's filters into the conditions that sacnb sends to SAC.

Null means in Daft what it means in polars: a comparison with it is neither true nor false, and the row is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from daft.expressions.visitor import PredicateVisitor

from sacnb._pushdown.predicate import (
    AllOf,
    AnyOf,
    Compare,
    Conjunct,
    Field,
    IsIn,
    Negation,
    Predicate,
    Typed,
    Unknown,
)

if TYPE_CHECKING:
    from daft.expressions import Expression

    from sacnb._odata.expression import Operator

__all__ = ["conditions"]

_MIRRORED: Final[Mapping[Operator, Operator]] = {
    "eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le",
}  # fmt: skip
_PREDICATES: Final = (AllOf, AnyOf, Compare, IsIn, Negation)
_TYPES: Final[Mapping[type, pl.DataType]] = {
    bool: pl.Boolean(), int: pl.Int64(), Decimal: pl.Decimal(), str: pl.String(), date: pl.Date(),
}  # fmt: skip


def conditions(expression: Expression) -> Iterator[Conjunct]:
    """Return the conditions that must all hold; what sacnb does not know is left to Daft."""
    found = _Reader().visit(expression)
    for one in found.operands if isinstance(found, AllOf) else (found,):
        yield Conjunct(repr(one), one if isinstance(one, _PREDICATES) else Unknown())


class _Reader(PredicateVisitor[Any]):  # type: ignore[misc]
    """Turns a column into a Field, a constant into a Typed, and a condition into a Predicate."""

    def visit_col(self, name: str) -> Any:
        return Field(name)

    def visit_lit(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return Typed(value, pl.Datetime("us", "UTC")) if value.tzinfo is not None else Unknown()
        kind = _TYPES.get(type(value))
        return Unknown() if kind is None else Typed(value, kind)

    def visit_alias(self, expr: Expression, alias: str) -> Any:
        del alias
        return self.visit(expr)

    def visit_cast(self, expr: Expression, dtype: Any) -> Any:
        del expr, dtype
        return Unknown()

    visit_try_cast = visit_cast

    def visit_function(self, name: str, args: list[Expression]) -> Any:
        del name, args
        return Unknown()

    def visit_coalesce(self, args: list[Expression]) -> Any:
        del args
        return Unknown()

    visit_list = visit_coalesce

    def visit_and(self, left: Expression, right: Expression) -> Any:
        parts: list[Predicate] = []
        for one in (self._condition(left), self._condition(right)):
            parts += one.operands if isinstance(one, AllOf) else (one,)
        return AllOf(tuple(parts))

    def visit_or(self, left: Expression, right: Expression) -> Any:
        return AnyOf((self._condition(left), self._condition(right)))

    def visit_not(self, expr: Expression) -> Any:
        return Negation(self._condition(expr))

    def visit_equal(self, left: Expression, right: Expression) -> Any:
        return self._compare(left, "eq", right)

    def visit_not_equal(self, left: Expression, right: Expression) -> Any:
        return self._compare(left, "ne", right)

    def visit_less_than(self, left: Expression, right: Expression) -> Any:
        return self._compare(left, "lt", right)

    def visit_less_than_or_equal(self, left: Expression, right: Expression) -> Any:
        return self._compare(left, "le", right)

    def visit_greater_than(self, left: Expression, right: Expression) -> Any:
        return self._compare(left, "gt", right)

    def visit_greater_than_or_equal(self, left: Expression, right: Expression) -> Any:
        return self._compare(left, "ge", right)

    def visit_between(self, expr: Expression, lower: Expression, upper: Expression) -> Any:
        return AllOf((self._compare(expr, "ge", lower), self._compare(expr, "le", upper)))

    def visit_is_in(self, expr: Expression, items: list[Expression]) -> Any:
        field, values = self.visit(expr), [self.visit(item) for item in items]
        if not isinstance(field, Field) or not all(isinstance(value, Typed) for value in values):
            return Unknown()
        return IsIn(field, tuple(values), nulls_equal=False)

    def visit_is_null(self, expr: Expression) -> Any:
        del expr
        return Unknown()

    visit_not_null = visit_is_null

    def _condition(self, expr: Expression) -> Predicate:
        found = self.visit(expr)
        return found if isinstance(found, _PREDICATES) else Unknown()

    def _compare(self, left: Expression, operator: Operator, right: Expression) -> Predicate:
        field, value = self.visit(left), self.visit(right)
        if isinstance(value, Field):
            field, value, operator = value, field, _MIRRORED[operator]
        if not isinstance(field, Field) or not isinstance(value, Typed):
            return Unknown()
        return Compare(field, operator, value)
