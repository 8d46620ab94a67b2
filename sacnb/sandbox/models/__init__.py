"""The models every sandbox serves, one file each."""

from __future__ import annotations

from ..model import Model
from .us_employment import us_employment

__all__ = ["builtin_models"]


def builtin_models(*, scale_rows: int, seed: int) -> list[Model]:
    """The models of a sandbox; ``SCALE`` has ``scale_rows`` rows made from ``seed``."""
    return [us_employment()]
