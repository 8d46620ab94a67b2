"""Conditions over columns, evaluated by the kernels of ``pyarrow.compute``, one after the other.

polars would be the obvious engine and is not used: ``sacnb`` filters with polars, and a referee that shares the engine
shares its mistakes. (polars 2.1 folds ``is_null(x) & ~is_in(x, ...)`` to false.) pyarrow runs what is written.

A mask knows three values: null stands for "unknown", and ``and``, ``or`` and ``not`` treat it as SQL does.
"""

from __future__ import annotations

import math
import operator as python
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb.sandbox.schema import Column

__all__ = [
    "Always", "Compare", "CompareColumns", "Condition", "Flag", "IsNaN", "IsNull", "Not", "Predicate", "Text", "both",
    "constant", "either",
]  # fmt: skip

_KERNELS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "eq": pc.equal, "ne": pc.not_equal, "lt": pc.less, "le": pc.less_equal, "gt": pc.greater, "ge": pc.greater_equal,
}  # fmt: skip
_TEXT_KERNELS: Final[Mapping[str, Callable[..., Any]]] = {
    "contains": pc.match_substring, "startswith": pc.starts_with, "endswith": pc.ends_with,
}  # fmt: skip
_STORAGE: Final[Mapping[str, pa.DataType]] = {
    "Edm.Boolean": pa.int8(),  # OData: true is greater than false
    "Edm.Byte": pa.uint8(), "Edm.SByte": pa.int8(), "Edm.Int16": pa.int16(), "Edm.Int32": pa.int32(),
    "Edm.Single": pa.float32(), "Edm.Double": pa.float64(),
    "Edm.String": pa.large_string(), "Edm.Guid": pa.large_string(), "Edm.Binary": pa.large_binary(),
}  # fmt: skip
_ORDER: Final = {"lt": python.lt, "le": python.le, "gt": python.gt, "ge": python.ge}
_FLOATS: Final = frozenset({"Edm.Single", "Edm.Double"})
_INTEGERS: Final = frozenset({"Edm.Byte", "Edm.SByte", "Edm.Int16", "Edm.Int32", "Edm.Int64"})
_FALSE, _TRUE = pl.Series([False, True]).to_arrow()  # pa.scalar would spend half a second importing pandas


def storage(column: Column) -> pa.DataType:
    """Return the type in which a column is compared; dates, times and durations are whole numbers."""
    if column.edm_type == "Edm.Decimal":
        return pa.decimal128(column.precision or 31, column.scale or 0)
    return _STORAGE.get(column.edm_type, pa.int64())


def constant(value: Any, column: Column) -> pa.Scalar:
    """Return *value* as a scalar of the type in which *column* is compared."""
    kind = storage(column)
    # What most filters have takes no way through pandas, whose import takes half a second.
    if isinstance(value, str) and pa.types.is_large_string(kind):
        return pl.Series([value], dtype=pl.String).to_arrow(compat_level=pl.CompatLevel.oldest())[0]
    return pa.scalar(value, kind)


class Arrays:
    """The columns of a polars frame as Arrow arrays, each converted once."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._arrays: dict[str, pa.Array] = {}
        self.height = frame.height

    def __getitem__(self, column: Column) -> pa.Array:
        if column.name not in self._arrays:
            array = self._frame.get_column(column.name).to_arrow(compat_level=pl.CompatLevel.oldest())
            if column.edm_type == "Edm.Date":
                array = array.cast(pa.int32())  # the only whole number that Arrow casts a date to
            self._arrays[column.name] = array.cast(storage(column))
        return self._arrays[column.name]


class Condition:
    """A truth for each row: true, false, or null where it is unknown."""

    __slots__ = ()

    def _mask(self, arrays: Arrays) -> pa.Array:
        raise NotImplementedError

    def columns(self) -> Iterator[Column]:
        """Yield every column that is read."""
        for part in fields(self):  # type: ignore[arg-type]  # every condition is a dataclass
            value = getattr(self, part.name)
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Column):
                    yield one
                elif isinstance(one, Condition):
                    yield from one.columns()


@dataclass(frozen=True, slots=True)
class Always(Condition):
    """The same truth for every row."""

    truth: bool

    def _mask(self, arrays: Arrays) -> pa.Array:
        return pa.array(np.full(arrays.height, self.truth), type=pa.bool_())


@dataclass(frozen=True, slots=True)
class Flag(Condition):
    """A boolean column taken for a condition."""

    column: Column

    def _mask(self, arrays: Arrays) -> pa.Array:
        return arrays[self.column].cast(pa.bool_())


@dataclass(frozen=True, slots=True)
class IsNull(Condition):
    """The column has no value."""

    column: Column

    def _mask(self, arrays: Arrays) -> pa.Array:
        return pc.is_null(arrays[self.column])


@dataclass(frozen=True, slots=True)
class IsNaN(Condition):
    """The column is not a number."""

    column: Column

    def _mask(self, arrays: Arrays) -> pa.Array:
        return pc.fill_null(pc.is_nan(arrays[self.column]), _FALSE)


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """A column against a constant of its own type."""

    column: Column
    operator: str
    constant: pa.Scalar

    def _mask(self, arrays: Arrays) -> pa.Array:
        return pc.fill_null(
            _KERNELS[self.operator](arrays[self.column], self.constant), _TRUE if self.operator == "ne" else _FALSE
        )


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """A column that equals one of many constants; a set is quick where filters name hundreds of members."""

    column: Column
    constants: tuple[pa.Scalar, ...]

    def _mask(self, arrays: Arrays) -> pa.Array:
        return pc.is_in(arrays[self.column], value_set=pa.array(self.constants, type=storage(self.column)))


@dataclass(frozen=True, slots=True)
class Text(Condition):
    """``contains``, ``startswith`` or ``endswith`` of a string column; unknown for null."""

    function: str
    column: Column
    part: str

    def _mask(self, arrays: Arrays) -> pa.Array:
        return _TEXT_KERNELS[self.function](arrays[self.column], self.part)


@dataclass(frozen=True, slots=True)
class CompareColumns(Condition):
    """Two columns of one type, or two columns of numbers. Null equals null."""

    left: Column
    operator: str
    right: Column

    def _mask(self, arrays: Arrays) -> pa.Array:
        left, right = arrays[self.left], arrays[self.right]
        kinds = {self.left.edm_type, self.right.edm_type}
        if kinds <= _INTEGERS:
            left, right = left.cast(pa.int64()), right.cast(pa.int64())
        elif left.type != right.type or kinds & _FLOATS:
            # As Python compares, which is exact between decimals, floats and whole numbers.
            pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
            return pa.array([_compared(a, self.operator, b) for a, b in pairs], type=pa.bool_())
        found = pc.fill_null(_KERNELS[self.operator](left, right), _TRUE if self.operator == "ne" else _FALSE)
        if self.operator not in {"eq", "ne"}:
            return found
        neither = pc.and_(pc.is_null(left), pc.is_null(right))
        return pc.or_(found, neither) if self.operator == "eq" else pc.and_not(found, neither)


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """The contrary; unknown stays unknown."""

    operand: Condition

    def _mask(self, arrays: Arrays) -> pa.Array:
        return pc.invert(self.operand._mask(arrays))


@dataclass(frozen=True, slots=True)
class Both(Condition):
    """All of some conditions."""

    operands: tuple[Condition, ...]

    def _mask(self, arrays: Arrays) -> pa.Array:
        return reduce(pc.and_kleene, (operand._mask(arrays) for operand in self.operands))


@dataclass(frozen=True, slots=True)
class Either(Condition):
    """At least one of some conditions."""

    operands: tuple[Condition, ...]

    def _mask(self, arrays: Arrays) -> pa.Array:
        return reduce(pc.or_kleene, (operand._mask(arrays) for operand in self.operands))


def both(operands: Iterable[Condition]) -> Condition:
    """Return ``and`` of the conditions."""
    rest, sets = _gather(operands, "ne")
    return Both((*rest, *(Not(found) for found in sets)))


def either(operands: Iterable[Condition]) -> Condition:
    """Return ``or`` of the conditions."""
    return Either(tuple(found for group in _gather(operands, "eq") for found in group))


def _gather(operands: Iterable[Condition], operator: str) -> tuple[list[Condition], list[Condition]]:
    """Make one set of all constants that a column is compared with."""
    rest: list[Condition] = []
    sets: dict[Column, list[pa.Scalar]] = {}
    for operand in operands:
        # Not for floats: a set takes -0.0 and 0.0 for two numbers.
        if isinstance(operand, Compare) and operand.operator == operator and operand.column.edm_type not in _FLOATS:
            sets.setdefault(operand.column, []).append(operand.constant)
        else:
            rest.append(operand)
    return rest, [AnyOf(column, tuple(constants)) for column, constants in sets.items()]


class Predicate:
    """A filter that is ready to be evaluated; ``names`` are those of the columns it reads."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self.names = frozenset(column.name for column in condition.columns())

    def positions(self, frame: pl.DataFrame) -> pl.Series:
        """Return the positions of the rows for which the filter is true."""
        mask = pc.fill_null(self._condition._mask(Arrays(frame)), _FALSE)
        return pl.Series(mask, dtype=pl.Boolean).arg_true().cast(pl.Int64)

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows for which the filter is true."""
        return frame[self.positions(frame)]


def _compared(left: Any, operator: str, right: Any) -> bool:
    nans = _is_nan(left) + _is_nan(right)
    equal = nans == 2 or left == right
    if operator in {"eq", "ne"}:
        return equal == (operator == "eq")
    if left is None or right is None:
        return False
    if nans:
        return equal and operator in {"le", "ge"}
    return bool(_ORDER[operator](left, right))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
