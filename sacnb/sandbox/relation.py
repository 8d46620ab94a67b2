"""Relations: the rows behind an entity set, reached by row number.

A relation never has to hold its rows. It gives the rows of any numbers asked for, always the same ones for the same
numbers: so pages can be cut anywhere, in any order, and a model of any size needs the memory of one page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from sacnb.sandbox.schema import Column, polars_type

__all__ = ["FrameRelation", "JoinedRelation", "Relation", "column_of", "frame_relation"]


class Relation(Protocol):
    """Rows of an entity set, by number from 0 to ``row_count`` - 1."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in the order ``$metadata`` declares them."""
        ...

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        ...

    @property
    def trims_decimals(self) -> bool:
        """Whether decimals are written without trailing zeros (``67284``) instead of in full (``16.0000000``).

        SAP prints both: the first in the README of ``sacapi``, the second in the REST guide.
        """
        ...

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of the rows with these numbers, in their order."""
        ...


def column_of(relation: Relation, name: str) -> Column | None:
    """The column of that name, or ``None``."""
    return next((c for c in relation.columns if c.name == name), None)


@dataclass(frozen=True, slots=True)
class FrameRelation:
    """A relation that is held in memory."""

    columns: tuple[Column, ...]
    frame: pl.DataFrame = field(repr=False)
    trims_decimals: bool = False

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.frame.height

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of the rows with these numbers."""
        return self.frame.select(pl.col(list(names)).gather(numbers))


def frame_relation(columns: Sequence[Column], frame: pl.DataFrame, *, trims_decimals: bool = False) -> FrameRelation:
    """A relation over ``frame``, cast to the types that ``columns`` declare; a value that does not fit is an error."""
    missing = [c.name for c in columns if c.name not in frame.columns]
    if missing:
        raise ValueError(f"The frame has no column {missing[0]!r}; it has {frame.columns}.")
    typed = frame.select(pl.col(c.name).cast(polars_type(c), strict=True) for c in columns)
    return FrameRelation(tuple(columns), typed.rechunk(), trims_decimals)


@dataclass(frozen=True, slots=True)
class JoinedRelation:
    """Fact rows joined with the attributes of their members: the entity set ``MasterData``.

    ``attributes`` maps each column of this relation to (dimension, attribute of its members); measures pass through.
    """

    columns: tuple[Column, ...]
    facts: Relation
    members: Mapping[str, Relation]
    attributes: Mapping[str, tuple[str, str]]
    member_ids: Mapping[str, str]

    @property
    def row_count(self) -> int:
        """As many rows as there are facts."""
        return self.facts.row_count

    @property
    def trims_decimals(self) -> bool:
        """As the facts do."""
        return self.facts.trims_decimals

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """The columns ``names`` of the rows with these numbers; the attributes of an unknown member are null."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            if name in self.attributes:
                wanted.setdefault(self.attributes[name][0], []).append(name)
        measures = [name for name in names if name not in self.attributes]
        frame = self.facts.rows(numbers, [*wanted, *measures])
        for dimension, outputs in wanted.items():
            master, id_name = self.members[dimension], self.member_ids[dimension]
            sources = {output: self.attributes[output][1] for output in outputs}
            table = master.rows(_all(master), list(dict.fromkeys([id_name, *sources.values()])))
            right = table.select(
                pl.col(id_name).alias(f"\0{dimension}"), *(pl.col(s).alias(o) for o, s in sources.items())
            )
            frame = frame.join(right, left_on=dimension, right_on=f"\0{dimension}", how="left", maintain_order="left")
        return frame.select(list(names))


def _all(relation: Relation) -> pl.Series:
    return pl.int_range(relation.row_count, dtype=pl.Int64, eager=True)
