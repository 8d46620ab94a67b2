"""Translate conditions of polars into OData without losing a row that polars would keep.

polars checks the whole predicate again on the rows that come back. The filter that is sent need not be exact, but must
keep *every* row that polars keeps, under every plausible reading of what SAC does not document:

==========================  ==========================================================================================
unknown about SAC           consequence
==========================  ==========================================================================================
rows without a value        ``!=`` may bring them along or not, and polars drops them; conditions that keep them in
                            polars (``is_null``, ``eq_missing(None)``, ``ne_missing``) are not sent
``not``                     is never sent: ``~(a < 5)`` becomes ``a ge 5``
case, blanks at the end     ``==``, ``is_in``, ``contains``, ``starts_with`` and ``ends_with`` are sent: a server that
                            takes more for equal sends more; for the same reason the opposite of each is not sent
the order of texts          ``<`` and its kin are not sent, but on dates written in digits: those have the same order
                            everywhere
empty text                  could be the same as no value: not sent
``#`` (unassigned)          could be no value that is only shown as ``#``: that ``eq '#'`` finds it is documented and
                            sent, and added to what asks for everything before a date
backslashes in a pattern    could be read as escapes: not sent in a text match
how numbers are read        see ``number_bounds``. ``Edm.Double`` and ``Edm.Single`` are not sent: their NaN is larger
                            than any number in polars, and nowhere else
==========================  ==========================================================================================

Of ``&`` the parts that can be sent are sent, ``|`` only as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import reduce
from operator import and_
from typing import Final

import polars as pl

from sacnb._odata.expression import And, Comparison, Expression, Membership, Operator, Or, TextMatch, col
from sacnb._odata.literal import Value
from sacnb._odata.query import to_odata
from sacnb._odata.schema import INTEGER_TYPES, Column, Grain, Schema
from sacnb._pushdown.number_bounds import Span, span_of
from sacnb._pushdown.predicate import (
    AllOf,
    AnyOf,
    Compare,
    Conjunct,
    Constant,
    Field,
    Flag,
    IsIn,
    Match,
    Negation,
    Predicate,
    Typed,
    conjuncts,
)
from sacnb.errors import QueryError

__all__ = ["Kept", "PushDown", "Sent", "Stays", "Translator", "push_down", "sift"]

# Conditions without operands: every row, and none.
_ALWAYS: Final[Expression] = And(())
_NEVER: Final[Expression] = Or(())

_OPPOSITE: Final[dict[Operator, Operator]] = {
    "eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "le": "gt", "gt": "le",
}  # fmt: skip
_MOMENTS: Final = {"Edm.Date": pl.Date(), "Edm.DateTimeOffset": pl.Datetime("us", "UTC")}
_UNASSIGNED: Final = "#"
_DIGITS: Final = re.compile(r"[0-9]+")
_YEAR_FIRST: Final = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class Stays:
    """A condition that is not sent, and why."""

    reason: str


Found = Expression | Stays

_UNKNOWN: Final = Stays("OData has no form for it")
_NULLS: Final = Stays("how SAC compares with no value is unconfirmed")
_UNLIKE: Final = Stays("what else SAC takes for the same text is unconfirmed")
_TEXT_ORDER: Final = Stays("the order SAC puts texts in is unconfirmed")
_HASH: Final = Stays("SAC may take '#' for no value (unconfirmed)")
_EMPTY: Final = Stays("SAC may take empty text for no value (unconfirmed)")
_ESCAPES: Final = Stays("SAC may take a backslash for an escape (unconfirmed)")
_NUMBERS: Final = Stays("the number has more digits than can be compared safely")
_SCALE: Final = Stays("how many digits the column has is not declared")
_FLOATS: Final = Stays("NaN and rounding of floats differ between servers")


class Translator:
    """Translator of conditions over the columns of one entity set.

    ``decimals`` says that frames show ``Edm.Decimal`` as decimals, and not as float64. Conditions on columns that are
    not ``filterable`` are not sent.
    """

    def __init__(self, schema: Schema, filterable: frozenset[str], *, decimals: bool) -> None:
        self._schema = schema
        self._filterable = filterable
        self._decimals = decimals

    def rows(self, predicate: Predicate) -> Found:
        """Return a filter that keeps at least the rows for which ``predicate`` is true."""
        return self._rows(predicate, wanted=True)

    def _rows(self, predicate: Predicate, *, wanted: bool) -> Found:  # noqa: PLR0911 - one for each kind
        """Return the rows for which the predicate is true, or for which it is false; null is neither."""
        match predicate:
            case Constant(value):
                return _ALWAYS if value is wanted else _NEVER
            case Negation(operand):
                return self._rows(operand, wanted=not wanted)
            case AllOf(operands) | AnyOf(operands):
                found = [self._rows(operand, wanted=wanted) for operand in operands]
                return _all(found) if isinstance(predicate, AllOf) is wanted else _any(found)
            case Flag(name):
                return self._compare(Field(name), "eq", Typed(wanted, pl.Boolean()))
            case Compare(field, operator, constant, null_aware):
                operator = operator if wanted else _OPPOSITE[operator]
                if null_aware and (constant.value is None or operator != "eq"):
                    return _NULLS
                return self._compare(field, operator, constant)
            case IsIn():
                return self._is_in(predicate, wanted=wanted)
            case Match():
                return self._match(predicate) if wanted else _UNLIKE
        return _UNKNOWN

    def _compare(self, field: Field, operator: Operator, constant: Typed) -> Found:
        """Translate a comparison: rows without a value are in none, and no row is in one with null."""
        if constant.value is None:
            return _NEVER
        column = self._column(field.name)
        if isinstance(column, Stays):
            return column
        found = self._by_type(column, field, operator, constant)
        return self._sendable(found) if isinstance(found, Expression) else found

    def _by_type(  # noqa: PLR0911 - one for each type
        self, column: Column, field: Field, operator: Operator, constant: Typed
    ) -> Found:
        value = constant.value
        match column.edm_type:
            case "Edm.Double" | "Edm.Single":
                return _FLOATS
            case "Edm.Decimal":
                return _number(column, operator, value, column.scale, as_float=field.as_float or not self._decimals)
            case kind if kind in INTEGER_TYPES:
                return _number(column, operator, value, 0, as_float=field.as_float)
            case "Edm.String" if isinstance(value, str) and constant.dtype == pl.String and not field.as_float:
                return self._text(column, operator, value)
            case "Edm.Boolean" if isinstance(value, bool) and operator in {"eq", "ne"}:
                return Comparison(column.name, "eq", value if operator == "eq" else not value)
            case "Edm.Date" | "Edm.DateTimeOffset" if constant.dtype == _MOMENTS[column.edm_type]:
                assert isinstance(value, date)  # noqa: S101 - so polars gives out constants of these types
                return Comparison(column.name, operator, value)
        return _UNKNOWN

    def _column(self, name: str) -> Column | Stays:
        if name not in self._schema.names:
            return _UNKNOWN
        if name not in self._filterable:
            return Stays("SAC would filter before it adds up")
        return self._schema.column(name)

    def _text(self, column: Column, operator: Operator, text: str) -> Found:
        if not text:
            return _EMPTY
        if operator == "eq":
            return Comparison(column.name, "eq", text)
        if operator == "ne":
            return _UNLIKE
        is_date = column.name in {found.name for found in self._schema.date_columns}
        return _date_text(column.name, operator, text, self._schema.grain_of(column.name)) if is_date else _TEXT_ORDER

    def _is_in(self, condition: IsIn, *, wanted: bool) -> Found:
        members = [one for one in condition.constants if one.value is not None]
        if condition.nulls_equal and (not wanted or len(members) < len(condition.constants)):
            return _NULLS
        found = [self._compare(condition.field, "eq" if wanted else "ne", member) for member in members]
        if not wanted:
            return _all(found)
        values = tuple(one.value for one in found if isinstance(one, Comparison))
        # One list instead of many comparisons: it can be split over several requests.
        return Membership(condition.field.name, values) if values and len(values) == len(found) else _any(found)

    def _match(self, condition: Match) -> Found:
        if condition.text is None:
            return _NEVER
        column = self._column(condition.field.name)
        if isinstance(column, Stays):
            return column
        if column.edm_type != "Edm.String" or condition.field.as_float:
            return _UNKNOWN
        if not condition.text or condition.text == _UNASSIGNED:
            return _HASH if condition.text else _EMPTY
        if "\\" in condition.text:
            return _ESCAPES
        return self._sendable(TextMatch(column.name, condition.function, condition.text))

    def _sendable(self, expression: Expression) -> Found:
        """Return the expression, or the reason if it holds a value that no URL can carry, such as a line break."""
        try:
            to_odata(expression, self._schema)
        except QueryError as error:
            return Stays(error.message)
        return expression


def _all(found: Sequence[Found]) -> Found:
    """Join by ``and``: conditions that cannot be sent are left out, which only lets more rows through."""
    sent = [one for one in found if isinstance(one, Expression)]
    stays = [one for one in found if isinstance(one, Stays)]
    return stays[0] if stays and not sent else And(tuple(_flat(sent, And)))


def _any(found: Sequence[Found]) -> Found:
    """Join by ``or``: a condition that cannot be sent could keep any row, so the whole is not sent."""
    sent = [one for one in found if isinstance(one, Expression)]
    stays = [one for one in found if isinstance(one, Stays)]
    return stays[0] if stays else Or(tuple(_flat(sent, Or)))


def _flat(operands: Sequence[Expression], kind: type[And | Or]) -> Iterator[Expression]:
    for operand in operands:
        if isinstance(operand, kind):
            yield from operand.operands
        else:
            yield operand


def _date_text(name: str, operator: Operator, text: str, grain: Grain | None) -> Found:
    """Compare dates as texts: months are ``YYYYMM`` beyond doubt, other forms only begin with the year."""
    is_lower = operator in {"ge", "gt"}
    if grain == "month" and _DIGITS.fullmatch(text):
        bound: Expression = Comparison(name, operator, text)
    elif (year := _YEAR_FIRST.match(text)) is None or (not is_lower and year[0] == "9999"):
        return _TEXT_ORDER
    else:
        bound = col(name) >= year[0] if is_lower else col(name) < f"{int(year[0]) + 1:04d}"
    # In polars "#" comes before every digit.
    return bound if is_lower else bound | (col(name) == _UNASSIGNED)


def _number(  # noqa: PLR0911 - what is not certain leaves early
    column: Column, operator: Operator, value: object, scale: int | None, *, as_float: bool
) -> Found:
    if isinstance(value, bool) or not isinstance(value, (int, float) if as_float else (int, Decimal)):
        return _UNKNOWN
    if scale is None:
        return _SCALE
    span = span_of(value, scale, as_float=as_float)
    if span is None:
        return _NUMBERS
    if operator == "eq":
        return _equal(column.name, span)
    if span.sharp is not None:
        return Comparison(column.name, operator, span.sharp)
    if operator in {"gt", "ge"}:
        return _bound(column.name, "ge", span.lower(included=operator == "ge"))
    return _NUMBERS if operator == "ne" else _bound(column.name, "le", span.upper(included=operator == "le"))


def _equal(name: str, span: Span) -> Found:
    if span.is_empty:
        return _NEVER
    if span.whole is not None:
        return Comparison(name, "eq", span.whole)
    return _all([_bound(name, "ge", span.lower(included=True)), _bound(name, "le", span.upper(included=True))])


def _bound(name: str, operator: Operator, bound: Value) -> Found:
    return _NUMBERS if bound is None else Comparison(name, operator, bound)


@dataclass(frozen=True, slots=True)
class Sent:
    """A condition of the predicate in polars' text, and the filter sent for it."""

    text: str
    where: Expression


@dataclass(frozen=True, slots=True)
class Kept:
    """A condition that only polars checks, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class PushDown:
    """The parts of a predicate that are sent and kept; polars checks all of them again."""

    sent: tuple[Sent, ...] = ()
    kept: tuple[Kept, ...] = ()

    @property
    def where(self) -> Expression | None:
        """A filter that keeps at least the rows the predicate keeps; ``None`` for all rows."""
        return reduce(and_, (sent.where for sent in self.sent)) if self.sent else None

    def without(self, dropped: Sent, reason: str) -> PushDown:
        """Return the same with one condition not sent."""
        rest = tuple(one for one in self.sent if one is not dropped)
        return PushDown(rest, (*self.kept, Kept(dropped.text, reason)))


def push_down(
    predicate: pl.Expr | None, schema: Schema, filterable: Collection[str] | None = None, *, decimals: bool = False
) -> PushDown:
    """Split a predicate over the columns of ``schema`` into conditions to send and conditions to keep.

    Args:
        predicate: As polars hands it to a source; ``None`` keeps every row.
        schema: The columns.
        filterable: The columns that SAC may be asked to filter by; by default all.
        decimals: Whether the frame shows ``Edm.Decimal`` as decimals, and not as float64.
    """
    if predicate is None:
        return PushDown()
    return sift(conjuncts(predicate), schema, filterable, decimals=decimals)


def sift(
    conditions: Iterable[Conjunct], schema: Schema, filterable: Collection[str] | None = None, *, decimals: bool
) -> PushDown:
    """Split conditions that must all hold into those to send and those to keep, as ``push_down`` does."""
    allowed = frozenset(schema.names if filterable is None else filterable)
    translator = Translator(schema, allowed, decimals=decimals)
    sent: list[Sent] = []
    kept: list[Kept] = []
    for condition in conditions:
        found = translator.rows(condition.predicate)
        if isinstance(found, Stays):
            kept.append(Kept(condition.text, found.reason))
        else:
            sent.append(Sent(condition.text, found))
    return PushDown(tuple(sent), tuple(kept))
