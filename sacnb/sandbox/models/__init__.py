"""The built-in models."""

from __future__ import annotations

from sacnb.sandbox.model import Model
from sacnb.sandbox.models.scale import scale
from sacnb.sandbox.models.small import (
    edm_types,
    hierarchies,
    live_sales,
    planning,
    records,
    seamless_plan,
    us_employment,
)

__all__ = ["builtin_models"]


def builtin_models(*, scale_rows: int, seed: int) -> list[Model]:
    """Return the built-in models; ``SCALE`` has ``scale_rows`` rows made from ``seed``."""
    usual = [us_employment(), planning(), scale(scale_rows, seed), edm_types()]
    return [*usual, live_sales(), seamless_plan(), records(), hierarchies()]
