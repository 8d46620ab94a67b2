"""Comparisons of a column with a constant or another column, exact for every Edm primitive type."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any, Final

import polars as pl

from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.schema import Column, polars_type

__all__ = ["Flat", "comparison"]

_COMPARE: Final[dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]]] = {
    "eq": lambda a, b: a.eq_missing(b),
    "ne": lambda a, b: a.ne_missing(b),
    "lt": lambda a, b: (a < b).fill_null(value=False),
    "le": lambda a, b: (a <= b).fill_null(value=False),
    "gt": lambda a, b: (a > b).fill_null(value=False),
    "ge": lambda a, b: (a >= b).fill_null(value=False),
}
_INTEGER_LIMITS: Final = {
    "Edm.Byte": (0, 2**8 - 1),
    "Edm.SByte": (-(2**7), 2**7 - 1),
    "Edm.Int16": (-(2**15), 2**15 - 1),
    "Edm.Int32": (-(2**31), 2**31 - 1),
    "Edm.Int64": (-(2**63), 2**63 - 1),
}
_DURATION: Final = re.compile(r"([+-])?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Flat:
    """A constant of a filter: what kind of literal it was, and its text."""

    kind: str
    text: str


def comparison(column: Column, name: str, other: Column | Flat) -> pl.Expr:
    """``column <name> other`` as a polars expression that is never null.

    Raises:
        Refusal: 400 when the two cannot be compared.
    """
    left = pl.col(column.name)
    compare = _COMPARE[name]
    if isinstance(other, Column):
        if other.edm_type != column.edm_type and not (column.is_number and other.is_number):
            raise _mismatch(column, other.name)
        return compare(left, pl.col(other.name))
    if other.kind == "null":
        return {"eq": left.is_null(), "ne": left.is_not_null()}.get(name, pl.lit(value=False))
    if column.edm_type in _INTEGER_LIMITS or column.edm_type == "Edm.Decimal":
        return _exact(column, name, other)
    return compare(left, pl.lit(_value(column, other), dtype=polars_type(column)))


def _exact(column: Column, name: str, other: Flat) -> pl.Expr:
    """Comparison of a column of exact numbers with a number of any size and any number of digits.

    The constant is rounded down to the column's digits; where that changed it, nothing equals it, and being greater
    than it is being greater than the rounded one.
    """
    if other.kind != "number":
        raise _mismatch(column, other.text)
    left = pl.col(column.name)
    scale = column.scale or 0
    with localcontext(prec=500):
        try:
            value = Decimal(other.text)
            step = value.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_FLOOR)
        except ArithmeticError:
            raise Refusal(400, f"The number {other.text[:60]} in $filter is out of range.") from None
        if step != value:
            if name in {"eq", "ne"}:
                return pl.lit(value=name == "ne")
            name = {"lt": "le", "ge": "gt"}.get(name, name)
    low, high = _limits(column)
    if not low <= step <= high:
        above = step > high
        truth = {"eq": False, "ne": True, "lt": above, "le": above, "gt": not above, "ge": not above}[name]
        return pl.lit(truth) if name in {"eq", "ne"} else left.is_not_null() & pl.lit(truth)
    constant = step if column.edm_type == "Edm.Decimal" else int(step)
    return _COMPARE[name](left, pl.lit(constant, dtype=polars_type(column)))


def _limits(column: Column) -> tuple[Decimal, Decimal]:
    if column.edm_type in _INTEGER_LIMITS:
        low, high = _INTEGER_LIMITS[column.edm_type]
        return Decimal(low), Decimal(high)
    with localcontext(prec=100):
        bound = (Decimal(10) ** (column.precision or 31) - 1).scaleb(-(column.scale or 0))
    return -bound, bound


def _value(column: Column, other: Flat) -> Any:
    """The constant as a Python value of the column's type."""
    reader = _READERS.get((column.edm_type, other.kind))
    if reader is None:
        raise _mismatch(column, other.text)
    try:
        return reader(other.text)
    except (ValueError, OverflowError, binascii.Error):
        raise Refusal(400, f"The literal {other.text[:60]!r} in $filter is malformed.") from None


def _mismatch(column: Column, shown: str) -> Refusal:
    return Refusal(400, f"The property {column.name!r} ({column.edm_type}) cannot be compared with {shown[:60]!r}.")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a DateTimeOffset has an offset")
    return moment.astimezone(UTC)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration has days, hours, minutes and seconds")
    sign, days, hours, minutes, seconds = match.groups()
    micros = int(Decimal(seconds or 0) * 1_000_000)
    size = timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0), microseconds=micros)
    return -size if sign == "-" else size


def _binary(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


_READERS: Final[dict[tuple[str, str], Callable[[str], Any]]] = {
    ("Edm.String", "string"): str,
    ("Edm.Guid", "guid"): str.lower,
    ("Edm.Boolean", "boolean"): lambda text: text.lower() == "true",
    ("Edm.Single", "number"): float,
    ("Edm.Double", "number"): float,
    ("Edm.Single", "special"): float,
    ("Edm.Double", "special"): float,
    ("Edm.Date", "date"): date.fromisoformat,
    ("Edm.TimeOfDay", "time"): time.fromisoformat,
    ("Edm.DateTimeOffset", "datetime"): _moment,
    ("Edm.Duration", "duration"): _duration,
    ("Edm.Binary", "binary"): _binary,
}
