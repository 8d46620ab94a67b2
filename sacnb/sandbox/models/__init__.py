"""The models every sandbox serves, one file each."""

from __future__ import annotations

import polars as pl

from sacnb.sandbox.model import Model
from sacnb.sandbox.models.scale import scale
from sacnb.sandbox.models.small import edm_types, planning, us_employment
from sacnb.sandbox.relation import FrameRelation

__all__ = ["builtin_models"]


def builtin_models(*, scale_rows: int, seed: int) -> list[Model]:
    """The models of a sandbox; ``SCALE`` has ``scale_rows`` rows made from ``seed``."""
    live = Model(
        provider_id="LIVE_SALES",
        name="Sales (live connection)",
        description="A model with a live connection: its data stays where it is, and SAC does not export it (412).",
        facts=FrameRelation((), pl.DataFrame()),
        live=True,
    )
    return [us_employment(), planning(), scale(scale_rows, seed), edm_types(), live]
