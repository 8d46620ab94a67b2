"""Numbers to look at: aligned, short, and never whole where the value is not."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._frames.preview import as_shown

D = Decimal


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([7651.333333333333, 17519.0, 18090.666666666668], ["7,651.33", "17,519.00", "18,090.67"]),
        ([7601.0, 17299.0, None], ["7,601", "17,299", "null"]),
        ([D("1.50"), D("20000.0000000"), D("-0.25")], ["1.50", "20,000.00", "-0.25"]),
        ([-4691148.0, -4554512.34], ["-4,691,148.00", "-4,554,512.34"]),
        ([2**63 - 1], ["9,223,372,036,854,775,807"]),
        ([0.1 + 0.2], ["0.3"]),
        ([781.065], ["781.065"]),
        ([781.065, 6017.0], ["781.07", "6,017.00"]),  # as a spreadsheet rounds, not to the even digit
        ([0.02912627356885777, -0.5], ["0.02913", "-0.50000"]),
        ([D("1E-7"), D("0E-7"), D("-0")], ["0.0000001", "0", "0"]),
        ([0.0, -0.0], ["0", "0"]),
        ([math.nan, math.inf, -math.inf, 5.0], ["NaN", "inf", "-inf", "5"]),
        ([1e300, 5e-324, 1.0], ["1.00000e+300", "5.00000e-324", "1"]),
        ([D("123456789012345678901.5")], ["123,456,789,012,345,678,901.5"]),
        ([D("999999999999999999999999.9999999")], ["1.00000e+24"]),
        ([], []),
        ([None], ["null"]),
    ],
)
def test_a_column_of_numbers(values: list[float | Decimal | None], shown: list[str]) -> None:
    assert as_shown(values) == shown


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([16.9999999, 3.0], ["16.9999999", "3"]),
        ([17519.000000000004], ["17,519.000000000004"]),
        ([0.9999999], ["0.9999999"]),
        ([D("1.0000001"), D("1.25")], ["1.0000001", "1.25"]),
    ],
)
def test_what_is_not_whole_does_not_look_whole(values: list[float | Decimal], shown: list[str]) -> None:
    assert as_shown(values) == shown


def test_a_rate_among_amounts_is_still_a_rate() -> None:
    assert as_shown([1000000.0, 0.0312, 0.004123456, 0.0]) == ["1,000,000.00", "0.0312", "0.00412", "0.00"]


quantities = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=7)
    | st.floats(-2e6, 2e6)
    | st.integers(-(2**63), 2**63 - 1)
)


@given(st.lists(quantities, min_size=1))
def test_what_is_shown_is_near_and_says_whether_it_is_whole_and_small_enough_to_read(
    values: list[float | Decimal],
) -> None:
    for value, text in zip(values, as_shown(values), strict=True):
        exact, seen = D(str(value)), D(text.replace(",", ""))
        if abs(exact) < 10**21 and "e" not in text:
            assert abs(seen - exact) <= D("0.005")
            assert (seen == seen.to_integral_value()) == (exact == exact.to_integral_value())
        assert (seen == 0) == (exact == 0)
        assert abs(seen - exact) <= abs(exact) * D("0.005")
        assert len(text) <= 60
    assert as_shown(values) == as_shown(list(values))
