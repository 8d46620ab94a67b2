"""Bounds of measures lose no value, however a server reads numbers; and they are as tight as that allows."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacnb._pushdown.number_bounds import Span, span_of

SIGNS: Final = {"lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}

# How a server might compare a value of the column with the number in a filter.
READINGS: Final[dict[str, Callable[[Decimal, Decimal], tuple[Any, Any]]]] = {
    "as decimals": lambda value, bound: (value, bound),
    "the bound became a double": lambda value, bound: (value, Decimal(float(bound))),
    "both became doubles": lambda value, bound: (float(value), float(bound)),
}

constants = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e3, 1e3),
    st.integers(-(2**53), 2**53),
    st.integers(-(10**9), 10**9).map(lambda number: number / 10**7),
)


def near(constant: float | Decimal, scale: int, steps: int) -> Decimal:
    """A value of a column of that many digits, so many steps away from a constant."""
    return Decimal(int(Decimal(constant) * 10**scale) + steps).scaleb(-scale)


@pytest.mark.parametrize(
    ("constant", "scale", "low", "high"),
    [
        (0.1, 7, "0.1", "0.1"),
        (100, 7, "100", "100"),
        (100.0, 7, "100", "100"),
        (1 / 3, 7, "0.3333334", "0.3333333"),  # no value of seven digits is a third
        (-1 / 3, 2, "-0.33", "-0.34"),
        (1e16, 7, "9999999999999999", "10000000000000001"),  # the middles: the even float wins
        (1e16 + 2, 7, "10000000000000001.0000001", "10000000000000002.9999999"),  # the middles go to its neighbours
        (1e15, 7, "999999999999999.9375", "1000000000000000.0625"),
        (5e-324, 7, "0.0000001", "0"),
        (2.5, 0, "3", "2"),
    ],
)
def test_values_that_become_a_float(constant: float, scale: int, low: str, high: str) -> None:
    span = span_of(constant, scale, as_float=True)
    assert span is not None
    assert (span.low, span.high) == (Decimal(low), Decimal(high))


@pytest.mark.parametrize("constant", [math.nan, math.inf, -math.inf, 2**53 + 1, Decimal("0.1")])
def test_constants_that_have_no_certain_float(constant: float | Decimal) -> None:
    assert span_of(constant, 7, as_float=True) is None


@pytest.mark.parametrize(
    ("constant", "as_float", "bounds"),
    [
        (100.0, True, (100, 100, 100, 100)),
        (0, True, (0, 0, 0, 0)),
        (0.1, True, (None, None, Decimal("0.0999999"), Decimal("0.1000001"))),
        (-0.1, True, (None, None, Decimal("-0.1000001"), Decimal("-0.0999999"))),
        (10**9, False, (10**9, None, 10**9, 10**9)),  # not sharp: 1000000000.0000001 is the same double
        (Decimal("1000000000.5"), False, (None, None, 10**9, 10**9 + 1)),
        (1e9 + 0.5, True, (None, None, 10**9, 10**9 + 1)),
        (1e20, True, (None, None, None, None)),
    ],
)
def test_bounds_are_whole_or_one_step_outside(
    constant: float | Decimal, as_float: bool, bounds: tuple[object, ...]
) -> None:
    span = span_of(constant, 7, as_float=as_float)
    assert span is not None
    assert (span.whole, span.sharp, span.lower(included=True), span.upper(included=True)) == bounds


@given(constants, st.integers(0, 12), st.integers(-40, 40))
@example(100.0, 7, 0)
@example(9007199254740992.0, 0, 1)
def test_a_span_holds_exactly_the_values_that_become_the_constant(constant: float, scale: int, steps: int) -> None:
    span = span_of(constant, scale, as_float=True)
    assert span is not None
    value = near(constant, scale, steps)
    assert (span.low <= value <= span.high) == (float(value) == float(constant))


@given(
    constants, st.integers(0, 12), st.integers(-40, 40), st.sampled_from(list(SIGNS)), st.sampled_from(list(READINGS))
)
@example(1e9, 7, 1, "gt", "both became doubles")
@example(0.1, 7, 0, "ge", "the bound became a double")
def test_no_value_is_lost_in_any_reading(constant: float, scale: int, steps: int, sign: str, reading: str) -> None:
    span = span_of(constant, scale, as_float=True)
    assert span is not None
    value = near(constant, scale, steps)
    if SIGNS[sign](float(value), float(constant)):
        assert _kept(span, value, sign, reading)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**20), max_value=10**20),
    st.integers(0, 10),
    st.integers(-40, 40),
    st.sampled_from(list(SIGNS)),
    st.sampled_from(["as decimals", "the bound became a double"]),
)
def test_no_exact_value_is_lost(constant: Decimal, scale: int, steps: int, sign: str, reading: str) -> None:
    span = span_of(constant, scale, as_float=False)
    assert span is not None
    value = near(constant, scale, steps)
    if SIGNS[sign](value, constant):
        assert _kept(span, value, sign, reading)


def _kept(span: Span, value: Decimal, sign: str, reading: str) -> bool:
    """Whether a server that reads numbers in this way keeps a value, asked with what the span says."""
    if sign in {"gt", "ge"}:
        bound, asked = span.lower(included=sign == "ge"), "ge"
    else:
        bound, asked = span.upper(included=sign == "le"), "le"
    if span.sharp is not None:
        bound, asked = span.sharp, sign
    if bound is None:
        return True
    mine, other = READINGS[reading](value, Decimal(bound))
    return bool(SIGNS[asked](mine, other))
