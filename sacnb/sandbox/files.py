"""The data files of the sandbox, which are part of the package."""

from __future__ import annotations

import io
from importlib.resources import files

import polars as pl

__all__ = ["read_csv"]


def read_csv(name: str) -> pl.DataFrame:
    """A file of ``sacnb/sandbox/data``, every column as text, blanks kept."""
    raw = (files("sacnb.sandbox") / "data" / name).read_bytes()
    return pl.read_csv(io.BytesIO(raw), infer_schema=False)
