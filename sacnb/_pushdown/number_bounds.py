"""Bounds for comparisons of measures, as numbers that every server understands alike.

Frames show measures as float64, SAC keeps decimals. ``Amount >= 0.1`` in a frame asks whether the *float64 of* a value
is at least the float64 of 0.1; a server asks about the decimals. A column of seven decimal places holds only multiples
of 0.0000001, so there is a smallest one for which the frame says yes: the bound to send.

How SAC reads a number in a filter is documented nowhere. It may become a double, and 0.1 is none. Whole numbers below
2^53 are the same in every format and are sent as they are; any other bound is moved outward by one step of the column.
That may let a few rows in, which polars drops, and never loses one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Final

from sacnb._frames.convert import EXACT_INTEGER

__all__ = ["Span", "span_of"]

# Room for every float64 written out in full, and for the middle between two of them.
_DIGITS: Final = 1200


@dataclass(frozen=True, slots=True)
class Span:
    """The values of a column that equal a constant: from ``low`` to ``high`` in steps; none if ``low > high``."""

    low: Decimal
    high: Decimal
    step: Decimal

    @property
    def is_empty(self) -> bool:
        """Return whether nothing in the column equals the constant."""
        return self.low > self.high

    @property
    def whole(self) -> int | None:
        """The one value that equals the constant, where it is a whole number that every format holds exactly."""
        return _plain(self.low) if self.low == self.high else None

    @property
    def sharp(self) -> int | None:
        """The value of ``whole``, where every format also tells it from the values next to it."""
        whole = self.whole
        return whole if whole is not None and _is_fine(self.low, self.step) else None

    def lower(self, *, included: bool) -> Decimal | int | None:
        """Return the lower bound of values above (or also equal to) the constant; ``None`` if unknown."""
        with localcontext(prec=_DIGITS):
            return _outward(self.low if included else self.high + self.step, -self.step)

    def upper(self, *, included: bool) -> Decimal | int | None:
        """Return the upper bound of values below (or also equal to) the constant; ``None`` if unknown."""
        with localcontext(prec=_DIGITS):
            return _outward(self.high if included else self.low - self.step, self.step)


def span_of(constant: float | Decimal, scale: int, *, as_float: bool) -> Span | None:
    """Return the value equal to ``constant`` in a column with ``scale`` decimals; ``None`` if uncertain.

    ``as_float`` says that the values are rounded to float64 before they are compared.
    """
    if isinstance(constant, float) and not math.isfinite(constant):
        return None
    with localcontext(prec=_DIGITS):
        step = Decimal(1).scaleb(-scale)
        if not as_float:
            exact = Decimal(constant)
            return Span(exact.quantize(step, ROUND_CEILING), exact.quantize(step, ROUND_FLOOR), step)
        if isinstance(constant, Decimal) or (isinstance(constant, int) and abs(constant) > EXACT_INTEGER):
            return None  # polars would have to round the constant too
        target = float(constant)
        low = _middle(target, -math.inf).quantize(step, ROUND_CEILING)
        high = _middle(target, math.inf).quantize(step, ROUND_FLOOR)
        # A tie between two floats goes to the even one, which may be the other.
        if float(low) < target:
            low += step
        if float(high) > target:
            high -= step
        return Span(low, high, step)


def _outward(bound: Decimal, step: Decimal) -> Decimal | int | None:
    """Return ``bound``, or the nearest number in the direction of ``step`` that every server reads alike."""
    if (plain := _plain(bound)) is not None:
        return plain
    if _is_fine(bound, step):
        return (bound + step).normalize()
    return _plain(bound.to_integral_value(ROUND_CEILING if step > 0 else ROUND_FLOOR))


def _plain(number: Decimal) -> int | None:
    return int(number) if abs(number) < EXACT_INTEGER and number == number.to_integral_value() else None


def _is_fine(number: Decimal, step: Decimal) -> bool:
    """Return whether floats lie closer together here than the values of the column."""
    return abs(number) < EXACT_INTEGER * abs(step)


def _middle(target: float, towards: float) -> Decimal:
    """Return the middle between a float64 and the next one; the last float itself where there is none."""
    neighbour = math.nextafter(target, towards)
    return (Decimal(target) + Decimal(neighbour)) / 2 if math.isfinite(neighbour) else Decimal(target)
