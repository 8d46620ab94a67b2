"""Literals of a filter, and comparisons of a column with one of them, exact for every Edm primitive type.

Dates, times and durations are compared as whole numbers in the unit of their column. A literal with more digits than
the column (or with a year that no calendar of Python holds) is still compared exactly.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any, Final

from sacnb.sandbox.conditions import Always, Compare, CompareColumns, Condition, IsNaN, IsNull, Not, constant
from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.schema import Column

__all__ = ["Literal", "compare", "compare_columns"]

_INTEGER_LIMITS: Final = {
    "Edm.Byte": (0, 2**8 - 1),
    "Edm.SByte": (-(2**7), 2**7 - 1),
    "Edm.Int16": (-(2**15), 2**15 - 1),
    "Edm.Int32": (-(2**31), 2**31 - 1),
}
_INT64: Final = (-(2**63), 2**63 - 1)
_LARGEST: Final = {"Edm.Single": (2 - 2**-23) * 2.0**127, "Edm.Double": (2 - 2**-52) * 2.0**1023}
_DATE: Final = re.compile(r"(-?[0-9]+)-([0-9]{2})-([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}(?:\.[0-9]+)?))?")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})$|[Zz]$")
_DURATION: Final = re.compile(
    r"(-)?P(?=.)(?:([0-9]+)D)?(?:T(?=.)(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]+)?)S)?)?", re.IGNORECASE
)
# base64url without leftover bits: what the grammar calls base64b16 and base64b8 ends a text that is no multiple of 4.
_BINARY: Final = re.compile(
    r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=?|[A-Za-z0-9_-][AQgw](?:==)?)?"
)
_PRECISION: Final = 1000
_HUGE_DIGITS: Final = 400
_SECOND_UNITS: Final = {"Edm.TimeOfDay": 10**9, "Edm.DateTimeOffset": 10**6, "Edm.Duration": 10**6}


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant of a filter: the kind of literal, and its text without prefix and quotes."""

    kind: str
    text: str


def compare(column: Column, operator: str, literal: Literal) -> Condition:
    """Return the condition ``column <operator> literal``.

    Raises:
        Refusal: 400 when the two cannot be compared, or the literal means nothing (the 30th of February).
    """
    if literal.kind == "null":
        return {"eq": IsNull(column), "ne": Not(IsNull(column))}.get(operator, Always(truth=False))
    if column.edm_type in _LARGEST:
        return _compare_float(column, operator, literal)
    read = _EXACT.get((column.edm_type, literal.kind))
    if read is not None:
        with localcontext(prec=_PRECISION):
            return _compare_exact(column, operator, _value(read, literal))
    read = _PLAIN.get((column.edm_type, literal.kind))
    if read is None:
        raise _mismatch(column, literal.text)
    return Compare(column, operator, constant(_value(read, literal), column))


def compare_columns(left: Column, operator: str, right: Column) -> Condition:
    """Return the condition ``left <operator> right``.

    Raises:
        Refusal: 400 for columns of different types, unless both hold numbers.
    """
    if left.edm_type != right.edm_type and not (left.is_number and right.is_number):
        raise _mismatch(left, right.name)
    return CompareColumns(left, operator, right)


def _compare_exact(column: Column, operator: str, value: Decimal) -> Condition:
    """Compare a column of exact numbers with a number of any size and any number of digits.

    The constant is rounded down to the column's digits. Where that changes it, nothing equals it, and being greater
    than the constant is being greater than the rounded one.
    """
    scale = (column.scale or 0) if column.edm_type == "Edm.Decimal" else 0
    low, high = _limits(column)
    if value and value.adjusted() >= _HUGE_DIGITS:
        step = value  # outside of every column; as a whole number it would fill the memory
    elif value and value.adjusted() < -_HUGE_DIGITS:
        step = Decimal(-1 if value < 0 else 0).scaleb(-scale)
    else:
        step = value.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_FLOOR)
    if step != value:
        if operator in {"eq", "ne"}:
            return Always(operator == "ne")
        operator = {"lt": "le", "ge": "gt"}.get(operator, operator)
    if not low <= step <= high:
        return _beyond(column, operator, above=step > high)
    return Compare(column, operator, constant(step if column.edm_type == "Edm.Decimal" else int(step), column))


def _beyond(column: Column, operator: str, *, above: bool) -> Condition:
    """Compare with a constant that lies above, or else below, every value of the column."""
    match operator:
        case "eq" | "ne":
            return Always(operator == "ne")
        case "lt" | "le":
            return Not(IsNull(column)) if above else Always(truth=False)
    return Always(truth=False) if above else Not(IsNull(column))


def _compare_float(column: Column, operator: str, literal: Literal) -> Condition:
    """Compare a column of floats; the constant is read in the column's own type, as ``0.1`` from a page would be.

    NaN equals NaN and nothing else, and is neither less nor greater than anything (unconfirmed for SAC).
    """
    if literal.kind not in {"number", "special"}:
        raise _mismatch(column, literal.text)
    if literal.text == "NaN":
        if operator in {"lt", "gt"}:
            return Always(truth=False)
        return Not(IsNaN(column)) if operator == "ne" else IsNaN(column)
    value, largest = float(literal.text.replace("INF", "inf")), _LARGEST[column.edm_type]
    scalar = constant(value, column)
    if literal.kind == "number" and abs(scalar.as_py()) == float("inf"):
        # A finite number beyond the type. It lies between the largest number and infinity, and nothing equals it.
        if operator in {"eq", "ne"}:
            return Always(operator == "ne")
        operator = {"lt": "le", "ge": "gt"}.get(operator, operator)
        scalar = constant(largest if value > 0 else float("-inf"), column)
    return Compare(column, operator, scalar)


def _limits(column: Column) -> tuple[Decimal, Decimal]:
    if column.edm_type != "Edm.Decimal":
        low, high = _INTEGER_LIMITS.get(column.edm_type, _INT64)
        return Decimal(low), Decimal(high)
    bound = (Decimal(10) ** (column.precision or 31) - 1).scaleb(-(column.scale or 0))
    return -bound, bound


def _value(read: Callable[[str], Any], literal: Literal) -> Any:
    try:
        return read(literal.text)
    except ValueError as error:
        raise Refusal(400, f"The literal {literal.text[:60]!r} in $filter means nothing: {error}.") from None


def _mismatch(column: Column, shown: str) -> Refusal:
    return Refusal(400, f"The property {column.name!r} ({column.edm_type}) cannot be compared with {shown[:60]!r}.")


def _number(text: str) -> Decimal:
    digits, _, exponent = text.lower().partition("e")
    if len(exponent.lstrip("+-0")) > len(str(_PRECISION**2)):
        exponent = ("-" if exponent.startswith("-") else "") + str(_PRECISION**2)
    return Decimal(f"{digits}e{exponent or 0}")


def _days(text: str) -> Decimal:
    """Days since 1970-01-01 in the Gregorian calendar, which reaches back and forth without end."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("a date is written YYYY-MM-DD")
    if len(match[1]) > _HUGE_DIGITS:
        raise ValueError("its year is out of range")
    year, month, day = (int(part) for part in match.groups())
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]:
        raise ValueError("the month has fewer days")
    # Counted from March on, so that a leap day is the last day of its year.
    shifted = year - (month <= 2)
    era_days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400
    return Decimal(era_days + (153 * ((month + 9) % 12) + 2) // 5 + day - 1 - 719_468)


def _seconds(text: str) -> Decimal:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("a time is written hh:mm:ss")
    return Decimal(match[1]) * 3600 + Decimal(match[2]) * 60 + Decimal(match[3] or 0)


def _moment(text: str) -> Decimal:
    offset = _OFFSET.search(text)
    if offset is None:
        raise ValueError("it has no offset from UTC")
    date, _, clock = text[: offset.start()].upper().partition("T")
    ahead = 0 if offset[1] is None else int(f"{offset[1]}1") * (int(offset[2]) * 3600 + int(offset[3]) * 60)
    return (_days(date) * 86_400 + _seconds(clock) - ahead) * _SECOND_UNITS["Edm.DateTimeOffset"]


def _duration(text: str) -> Decimal:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration has days, hours, minutes and seconds, such as P1DT2H3M4.5S")
    sign, days, hours, minutes, seconds = match.groups()
    size = Decimal(days or 0) * 86_400 + Decimal(hours or 0) * 3600 + Decimal(minutes or 0) * 60 + Decimal(seconds or 0)
    return (-size if sign else size) * _SECOND_UNITS["Edm.Duration"]


def _binary(text: str) -> bytes:
    if _BINARY.fullmatch(text) is None:
        raise ValueError("it is not base64url")
    return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))


_EXACT: Final[dict[tuple[str, str], Callable[[str], Decimal]]] = {
    **{(name, "number"): _number for name in (*_INTEGER_LIMITS, "Edm.Int64", "Edm.Decimal")},
    ("Edm.Date", "date"): _days,
    ("Edm.TimeOfDay", "time"): lambda text: _seconds(text) * _SECOND_UNITS["Edm.TimeOfDay"],
    ("Edm.DateTimeOffset", "datetime"): _moment,
    ("Edm.Duration", "duration"): _duration,
    ("Edm.Duration", "string"): _duration,  # OData 4.01 lets the prefix go
}
_PLAIN: Final[dict[tuple[str, str], Callable[[str], Any]]] = {
    ("Edm.String", "string"): str,
    ("Edm.Guid", "guid"): str.lower,
    ("Edm.Boolean", "boolean"): lambda text: int(text.lower() == "true"),
    ("Edm.Binary", "binary"): _binary,
}
