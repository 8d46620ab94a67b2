"""Columns of an entity set, and the polars type for each Edm primitive type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

__all__ = ["NUMERIC_TYPES", "Column", "decimal_column", "polars_type", "text_column"]

_TYPES: Final[dict[str, pl.DataType]] = {
    "Edm.Boolean": pl.Boolean(),
    "Edm.Byte": pl.UInt8(),
    "Edm.SByte": pl.Int8(),
    "Edm.Int16": pl.Int16(),
    "Edm.Int32": pl.Int32(),
    "Edm.Int64": pl.Int64(),
    "Edm.Single": pl.Float32(),
    "Edm.Double": pl.Float64(),
    "Edm.String": pl.String(),
    "Edm.Date": pl.Date(),
    "Edm.TimeOfDay": pl.Time(),
    "Edm.DateTimeOffset": pl.Datetime("us", "UTC"),
    "Edm.Duration": pl.Duration("us"),
    "Edm.Guid": pl.String(),  # in lower case, so that equal GUIDs are equal strings
    "Edm.Binary": pl.Binary(),
}
NUMERIC_TYPES: Final = frozenset(
    f"Edm.{name}" for name in ("Byte", "SByte", "Int16", "Int32", "Int64", "Single", "Double", "Decimal")
)


@dataclass(frozen=True, slots=True)
class Column:
    """One property of an entity type, as ``$metadata`` declares it.

    ``key`` marks a dimension of a fact set. ``precision`` and ``scale`` are for ``Edm.Decimal``, ``max_length`` (in
    characters, or bytes for ``Edm.Binary``) for strings and binaries. ``left_out_if_null`` leaves a null out of
    its row, unless the column comes first.
    """

    __module__ = "sacnb.sandbox"

    name: str
    edm_type: str = "Edm.String"
    key: bool = False
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    nullable: bool = True
    left_out_if_null: bool = False

    def __post_init__(self) -> None:
        if self.edm_type != "Edm.Decimal" and self.edm_type not in _TYPES:
            known = ", ".join([*_TYPES, "Edm.Decimal"])
            raise ValueError(f"Column {self.name!r}: unknown type {self.edm_type!r}. Known types: {known}.")

    @property
    def is_number(self) -> bool:
        """Return whether the column holds numbers."""
        return self.edm_type in NUMERIC_TYPES


def text_column(name: str, *, key: bool = False, max_length: int = 256) -> Column:
    """Return a string column; the published fixtures declare 256 characters for dimensions."""
    return Column(name, "Edm.String", key=key, max_length=max_length, nullable=not key)


def decimal_column(name: str) -> Column:
    """Return a measure as SAC declares it: ``Edm.Decimal`` with precision 31 and scale 7, nullable."""
    return Column(name, "Edm.Decimal", precision=31, scale=7)


def polars_type(column: Column) -> pl.DataType:
    """Return the polars type of the column's values."""
    if column.edm_type == "Edm.Decimal":
        return pl.Decimal(column.precision or 31, 0 if column.scale is None else column.scale)
    return _TYPES[column.edm_type]
