"""Build filter expressions, small frozen trees, with Python's operators on ``col("Sector")``.

``col("Sector") == "31"``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``.is_in([...])``, ``.between(a, b)``,
``.contains(text)``, ``.startswith(text)``, ``.endswith(text)``, joined with ``&``, ``|`` and ``~``.

SAC decides about rows without a value. By the OData standard ``eq`` and ``ne`` are never unknown: ``col("x") != "a"``
and ``~(col("x") == "a")`` keep rows where ``x`` is null, and so does ``~(col("x") < 5)``. SQL's rules drop all of them,
and which rules SAC follows is unconfirmed. Be explicit where it matters: ``(col("x") != "a") | (col("x") == None)``, or
``& (col("x") != None)``. Dimensions are hardly affected: SAC writes ``#`` for "unassigned", not null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isnan
from numbers import Integral, Real
from typing import Final, Literal, NoReturn
from uuid import UUID

from sacnb._arguments import elements, plain
from sacnb._odata.literal import Value
from sacnb.errors import QueryError

__all__ = [
    "And",
    "ColumnRef",
    "Comparison",
    "Expression",
    "Membership",
    "Not",
    "Operator",
    "Or",
    "TextFunction",
    "TextMatch",
    "col",
]

Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]
TextFunction = Literal["contains", "startswith", "endswith"]

_SIGNS: Final[Mapping[Operator, str]] = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
# About 400 digits. Python refuses to write out numbers ten times as long, in messages too.
_MAX_BITS: Final = 1_400
_PLAIN: Final = (bool, int, float, Decimal, str, bytes, datetime, date, time, timedelta, UUID)


class Expression:
    """A condition on the rows of an entity set. Frozen and hashable; ``repr`` is Python that builds it again."""

    __slots__ = ()

    def __and__(self, other: object) -> Expression:
        return And((*_operands(self, And), *_operands(other, And)))

    def __or__(self, other: object) -> Expression:
        return Or((*_operands(self, Or), *_operands(other, Or)))

    def __invert__(self) -> Expression:
        return self.operand if isinstance(self, Not) else Not(self)

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        _refuse_bool(repr(self))


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Expression):
    """One column against one value."""

    column: str
    operator: Operator
    value: Value

    def __repr__(self) -> str:
        return f"col({self.column!r}) {_SIGNS[self.operator]} {self.value!r}"


@dataclass(frozen=True, slots=True, repr=False)
class Membership(Expression):
    """One column against a list of values; the empty list matches no row."""

    column: str
    values: tuple[Value, ...]

    def __repr__(self) -> str:
        return f"col({self.column!r}).is_in({list(self.values)!r})"


@dataclass(frozen=True, slots=True, repr=False)
class TextMatch(Expression):
    """One text column against a part of its text."""

    column: str
    function: TextFunction
    text: str

    def __repr__(self) -> str:
        return f"col({self.column!r}).{self.function}({self.text!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Not(Expression):
    """Rows that another condition does not keep."""

    operand: Expression

    def __repr__(self) -> str:
        return f"~({self.operand!r})"


@dataclass(frozen=True, slots=True, repr=False)
class And(Expression):
    """Rows that each of several conditions keeps."""

    operands: tuple[Expression, ...]

    def __repr__(self) -> str:
        return " & ".join(f"({one!r})" for one in self.operands)


@dataclass(frozen=True, slots=True, repr=False)
class Or(Expression):
    """Rows that at least one of several conditions keeps."""

    operands: tuple[Expression, ...]

    def __repr__(self) -> str:
        return " | ".join(f"({one!r})" for one in self.operands)


class ColumnRef:
    """A column by its name, waiting to be compared. Made by ``col``."""

    __slots__ = ("_name",)
    # ``==`` builds a condition, so there is no equality that a hash could agree with.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: object) -> Comparison:  # type: ignore[override]
        return Comparison(self._name, "eq", _plain(value, self._name))

    def __ne__(self, value: object) -> Comparison:  # type: ignore[override]
        return Comparison(self._name, "ne", _plain(value, self._name))

    def __lt__(self, value: object) -> Comparison:
        return self._ordered("lt", value)

    def __le__(self, value: object) -> Comparison:
        return self._ordered("le", value)

    def __gt__(self, value: object) -> Comparison:
        return self._ordered("gt", value)

    def __ge__(self, value: object) -> Comparison:
        return self._ordered("ge", value)

    def is_in(self, values: Iterable[object]) -> Membership:
        """Keep rows whose value is one of ``values``: no row if there are none. ``None`` stands for no value.

        SAC does not document OData's ``in``, so it is written as ``eq`` joined by ``or``.

        Raises:
            QueryError: ``values`` is one value and not a list, or holds something that is no plain value.
        """
        found = elements(f"{self!r}.is_in", values)
        if found is None:
            raise QueryError(
                f"is_in on {self._name!r} got {values!r} where a list of values was expected.",
                hint="For one value write ==, for several a list.",
            )
        ordered = [_plain(value, self._name) for value in found]
        # Distinct by type too: 1 and True are equal, but only one of them fits a number.
        distinct = dict.fromkeys((type(value), value) for value in ordered)
        return Membership(self._name, tuple(value for _, value in distinct))

    def between(self, low: object, high: object) -> Expression:
        """Keep rows whose value lies from ``low`` to ``high``, both included.

        Raises:
            QueryError: a bound is ``None`` or no plain value.
        """
        return self._ordered("ge", low) & self._ordered("le", high)

    def contains(self, text: str) -> TextMatch:
        """Keep rows whose text contains ``text``. SAC decides whether case counts (unconfirmed).

        Raises:
            QueryError: ``text`` is not a string.
        """
        return self._text("contains", text)

    def startswith(self, text: str) -> TextMatch:
        """Keep rows whose text begins with ``text``.

        Raises:
            QueryError: ``text`` is not a string.
        """
        return self._text("startswith", text)

    def endswith(self, text: str) -> TextMatch:
        """Keep rows whose text ends with ``text``.

        Raises:
            QueryError: ``text`` is not a string.
        """
        return self._text("endswith", text)

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        _refuse_bool(repr(self))

    def __repr__(self) -> str:
        return f"col({self._name!r})"

    def _ordered(self, operator: Operator, value: object) -> Comparison:
        if value is None:
            raise QueryError(f"{self!r} {_SIGNS[operator]} None: nothing is smaller or larger than no value.")
        return Comparison(self._name, operator, _plain(value, self._name))

    def _text(self, function: TextFunction, text: object) -> TextMatch:
        if not isinstance(text, str):
            raise QueryError(f"{self!r}.{function} got {text!r} where text was expected.")
        return TextMatch(self._name, function, str.__str__(text))


def col(name: str) -> ColumnRef:
    """Return the column called ``name``, to build a filter: ``col("Sector") == "31"``.

    Raises:
        QueryError: ``name`` is not text, or empty.
    """
    if not isinstance(name, str) or not name:
        raise QueryError(f"col() expects a column name (str), got {name!r}.")
    return ColumnRef(str.__str__(name))


def _operands(condition: object, kind: type[And | Or]) -> tuple[Expression, ...]:
    """Return ``condition`` as operands of one flat ``and`` or ``or``."""
    if isinstance(condition, kind):
        return condition.operands
    if isinstance(condition, Expression):
        return (condition,)
    raise QueryError(
        f"{condition!r} is not a condition.",
        hint="Put each comparison in parentheses: (col('a') == 1) & (col('b') == 2).",
    )


def _refuse_bool(shown: str) -> NoReturn:
    raise QueryError(
        f"{shown} has no truth value: it is a condition for SAC to check.",
        hint="Join conditions with & | ~ instead of and, or, not; for a <= x <= b write col('x').between(a, b).",
    )


def _plain(value: object, name: str) -> Value:
    """Return *value* as one of Python's own types, so that it is frozen, hashable and has a repr that reads back."""
    value = plain(value)
    if value is None or type(value) in _PLAIN:
        found: Value = value  # type: ignore[assignment]
    elif isinstance(value, datetime):
        found = _datetime(value, name)
    elif hasattr(value, "dtype"):  # numpy's durations without a length call themselves whole numbers
        raise _no_value(name, value)
    elif isinstance(value, Integral):
        found = int(value)
    elif isinstance(value, Real):
        found = float(value)
    elif isinstance(value, timedelta) and not getattr(value, "nanoseconds", 0):
        found = timedelta(value.days, value.seconds, value.microseconds)
    elif isinstance(value, date) and type(value).__module__ != "pandas":
        found = date(value.year, value.month, value.day)
    else:
        raise _no_value(name, value)
    if isinstance(found, int) and found.bit_length() > _MAX_BITS:
        raise QueryError(f"{name!r} was compared with a whole number of {found.bit_length()} bits.")
    if found.is_nan() if isinstance(found, Decimal) else isinstance(found, float) and isnan(found):
        raise QueryError(f"{name!r} was compared with NaN.", hint="For rows without a value compare with None.")
    return found


def _no_value(name: str, value: object) -> QueryError:
    return QueryError(
        f"{name!r} was compared with {value!r} of type {type(value).__name__}.",
        hint="A filter compares a column with plain values: text, numbers, dates, True, False or None.",
    )


def _datetime(value: datetime, name: str) -> datetime:
    """Convert a kind of datetime to Python's own; a pandas Timestamp may have nanoseconds, or be no time."""
    if value != value or bool(getattr(value, "nanosecond", 0)):  # noqa: PLR0124 (NaT)
        raise QueryError(f"{name!r} was compared with {value!r}, which is no time in whole microseconds.")
    return datetime.combine(value.date(), value.timetz())
