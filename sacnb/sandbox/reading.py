"""Reading a relation: filter, order and cut it, or add it up."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.memory import Memory
from sacnb.sandbox.problems import Refusal
from sacnb.sandbox.query import Options
from sacnb.sandbox.relation import FrameRelation, Relation, column_of
from sacnb.sandbox.schema import Column, polars_type

__all__ = ["Cut", "Reader", "aggregate", "aggregation_columns"]

_BLOCK_ROWS: Final = 250_000


@dataclass(frozen=True, slots=True)
class Cut:
    """One page: its rows, how many rows the filter leaves over all pages, and where the next page starts, if any."""

    frame: pl.DataFrame = field(repr=False)
    total: int
    next_start: int | None


class Reader:
    """Cuts pages out of relations.

    What a filter or an order selects is a list of row numbers. It is computed once, by blocks, and remembered, so that
    following pages cost nothing; without filter and order there is no list at all.
    """

    def __init__(self, *, memory_bytes: int) -> None:
        self._selections: Memory[pl.Series] = Memory(memory_bytes, lambda s: int(s.estimated_size()))

    def cut(
        self, key: Hashable, relation: Relation, options: Options, columns: Sequence[Column], *, start: int, size: int
    ) -> Cut:
        """The page of ``size`` rows that starts at row ``start`` of what the options select.

        ``key`` names the relation. The count is the one OData defines: after ``$filter``, before ``$top`` and
        ``$skip``.
        """
        numbers = self._select(key, relation, options)
        total = relation.row_count if numbers is None else numbers.len()
        end = total if options.top is None else min(total, options.skip + options.top)
        first = min(options.skip + start, end)
        last = min(first + size, end)
        wanted = pl.int_range(first, last, dtype=pl.Int64, eager=True) if numbers is None else numbers[first:last]
        frame = relation.rows(wanted, [c.name for c in columns])
        return Cut(frame, total, start + size if last < end else None)

    def _select(self, key: Hashable, relation: Relation, options: Options) -> pl.Series | None:
        for name, _ in options.order_by:
            if column_of(relation, name) is None:
                raise Refusal(400, f"The property {name!r} in $orderby does not exist.")
        if options.filter is None and not options.order_by:
            return None
        memory_key = (key, options.filter, options.order_by)
        return self._selections.get(memory_key, lambda: self._compute(relation, options))

    def _compute(self, relation: Relation, options: Options) -> pl.Series:
        """The numbers of the selected rows. Ties of ``$orderby`` keep the order of the rows, so pages never overlap."""
        predicate = None if options.filter is None else parse_filter(options.filter, relation.columns)
        order = [name for name, _ in options.order_by]
        names = list(dict.fromkeys([*(predicate.names if predicate else ()), *order]))
        parts, low = [], 0
        for block in _blocks(relation, names):
            numbered = block.with_columns(pl.int_range(low, low + pl.len(), dtype=pl.Int64).alias("\0row"))
            low += block.height
            kept = numbered if predicate is None else numbered.filter(predicate.expression)
            parts.append(kept.select("\0row", *order))
        found = pl.concat(parts)
        if order:
            descending = [down for _, down in options.order_by]
            # OData: null comes first ascending and last descending.
            found = found.sort(order, descending=descending, nulls_last=descending, maintain_order=True)
        return found.get_column("\0row").rechunk()


def aggregate(relation: Relation, condition: str | None, columns: Sequence[Column]) -> FrameRelation:
    """The measures of ``columns`` summed by their dimensions: the entity set ``FactDataAggregation``.

    The filter is applied to the rows before they are added up (unconfirmed for measures). A sum of nulls is null.
    Every model of the sandbox has measures that add up; other aggregations of SAC are not offered.
    """
    predicate = None if condition is None else parse_filter(condition, relation.columns)
    keys = [c.name for c in columns if c.key]
    sums = [_sum(c) for c in columns if not c.key]
    names = list(dict.fromkeys([*(c.name for c in columns), *(predicate.names if predicate else ())]))
    parts: list[pl.DataFrame] = []
    for block in _blocks(relation, names):
        kept = block if predicate is None else block.filter(predicate.expression)
        parts.append(kept.group_by(keys).agg(sums) if keys else kept.select(sums))
    merged = pl.concat(parts)
    frame = merged.group_by(keys).agg(sums).sort(keys) if keys else merged.select(sums)
    return FrameRelation(tuple(columns), frame.select([c.name for c in columns]), relation.trims_decimals)


def aggregation_columns(relation: Relation) -> tuple[Column, ...]:
    """The columns of ``FactDataAggregation``: the dimensions, and every measure in a type that holds its sums."""
    wide = {"Edm.Decimal": "Edm.Decimal", "Edm.Single": "Edm.Double", "Edm.Double": "Edm.Double"}
    return tuple(
        c if c.key else replace(c, edm_type=wide.get(c.edm_type, "Edm.Int64"))
        for c in relation.columns
        if c.key or c.is_number
    )


def _sum(column: Column) -> pl.Expr:
    value = pl.col(column.name)
    total = value.sum() if column.edm_type == "Edm.Decimal" else value.cast(polars_type(column)).sum()
    return pl.when(value.is_not_null().any()).then(total).otherwise(None).alias(column.name)


def _blocks(relation: Relation, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows in blocks, at least one of them, perhaps empty; with at least one column, so that they have a height."""
    names = names or [relation.columns[0].name]
    for low in range(0, max(relation.row_count, 1), _BLOCK_ROWS):
        high = min(low + _BLOCK_ROWS, relation.row_count)
        yield relation.rows(pl.int_range(low, high, dtype=pl.Int64, eager=True), names)
