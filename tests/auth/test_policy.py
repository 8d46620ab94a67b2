"""When a token counts as aging."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._auth.token import RefreshPolicy
from sacnb.errors import SettingsError


@pytest.mark.parametrize(
    ("ttl_s", "margin_s", "threshold_s"),
    [
        (3600, None, 120),
        (600, None, 120),
        (599, None, 119.8),
        (300, None, 60),
        (10, None, 2),
        (3600, 300, 300),
        (3600, 30, 30),
        (3600, 3599, 3599),
        (300, 300, 60),  # a margin as long as the life would renew with every request: the rule holds instead
        (20, 30, 4),
    ],
)
def test_the_threshold(ttl_s: float, margin_s: float | None, threshold_s: float) -> None:
    assert RefreshPolicy(margin_s=margin_s).threshold_s(ttl_s) == pytest.approx(threshold_s)


@given(st.floats(0.001, 1e6), st.one_of(st.none(), st.floats(30, 1e6)))
def test_a_new_token_is_never_aging(ttl_s: float, margin_s: float | None) -> None:
    assert 0 < RefreshPolicy(margin_s=margin_s).threshold_s(ttl_s) < ttl_s


@pytest.mark.parametrize("margin_s", [29.999, 0, -1, math.nan, math.inf])
def test_a_margin_that_makes_no_sense_is_refused(margin_s: float) -> None:
    with pytest.raises(SettingsError, match="SAC_REFRESH_MARGIN_S"):
        RefreshPolicy(margin_s=margin_s)
