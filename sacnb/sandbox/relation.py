"""The rows behind an entity set, reached by row number: filtered, ordered, cut into pages, or summed.

A relation need not hold its rows in memory. It returns the rows for any row numbers, always the same rows for the same
numbers. So pages can be cut anywhere, in any order, and a model of any size needs the memory of one page.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Protocol, TypeVar

import polars as pl

from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.query import Options
from sacnb.sandbox.schema import Column, polars_type

__all__ = [
    "Cut",
    "FrameRelation",
    "JoinedRelation",
    "Memory",
    "Reader",
    "Relation",
    "aggregate",
    "aggregation_columns",
    "chosen_columns",
    "column_of",
    "frame_relation",
]

T = TypeVar("T")


class Memory(Generic[T]):
    """A cache of the results used last, up to ``max_bytes``. Threads that want the same result compute it once.

    A result larger than ``max_bytes`` is returned and not kept.
    """

    def __init__(self, max_bytes: int, size: Callable[[T], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._lock = threading.Lock()
        self._busy: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result under ``key``, computing it where it is not kept; an error is raised and not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            busy, waiters = self._busy.get(key, (threading.Lock(), 0))
            self._busy[key] = busy, waiters + 1
        try:
            with busy:
                with self._lock:
                    if key in self._kept:
                        return self._kept[key]
                result = compute()
                self._keep(key, result)
                return result
        finally:
            with self._lock:
                busy, waiters = self._busy[key]
                if waiters == 1:
                    del self._busy[key]
                else:
                    self._busy[key] = busy, waiters - 1

    def _keep(self, key: Hashable, result: T) -> None:
        size = self._size(result)
        if size > self._max_bytes:
            return
        with self._lock:
            self._kept[key] = result
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= self._size(oldest)


class Relation(Protocol):
    """The rows of an entity set, numbered from 0 to ``row_count`` - 1."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, in the order of ``$metadata``."""
        ...

    @property
    def row_count(self) -> int:
        """The number of rows."""
        ...

    @property
    def trims_decimals(self) -> bool:
        """Return whether decimals are written without trailing zeros (``67284``) instead of in full (``16.0000000``).

        SAP prints both forms: the first in the README of ``sacapi``, the second in the REST guide.
        """
        ...

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """Return the columns ``names`` of the rows with these numbers, in their order."""
        ...


def column_of(relation: Relation, name: str) -> Column | None:
    """Return the column of that name, or ``None``."""
    return next((c for c in relation.columns if c.name == name), None)


@dataclass(frozen=True, slots=True)
class FrameRelation:
    """A relation in memory."""

    columns: tuple[Column, ...]
    frame: pl.DataFrame = field(repr=False)
    trims_decimals: bool = False

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return self.frame.height

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """Return the columns ``names`` of the rows with these numbers."""
        return self.frame.select(pl.col(list(names)).gather(numbers))


def frame_relation(columns: Sequence[Column], frame: pl.DataFrame, *, trims_decimals: bool = False) -> FrameRelation:
    """Return a relation over ``frame``, cast to the types of ``columns``; a value that does not fit is an error."""
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
        """The number of facts."""
        return self.facts.row_count

    @property
    def trims_decimals(self) -> bool:
        """Return whether the facts do."""
        return self.facts.trims_decimals

    def rows(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """Return the columns ``names`` of the rows with these numbers; attributes of unknown members are null."""
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


_BLOCK_ROWS: Final = 250_000


@dataclass(frozen=True, slots=True)
class Cut:
    """One page: its rows, the number of rows over all pages, and the start of the next page, if there is one."""

    frame: pl.DataFrame = field(repr=False)
    total: int
    next_start: int | None


class Reader:
    """Cut pages out of relations.

    A filter or an order selects a list of row numbers. The list is computed once, in blocks, and kept, so that
    following pages cost nothing. Without filter and order there is no list.
    """

    def __init__(self, *, memory_bytes: int) -> None:
        self._selections: Memory[pl.Series] = Memory(memory_bytes, lambda s: int(s.estimated_size()))

    def cut(
        self,
        key: Hashable,
        relation: Relation,
        options: Options,
        columns: Sequence[Column],
        *,
        start: int,
        size: int,
        rotation: int = 0,
    ) -> Cut:
        """Return the page of ``size`` rows that starts at row ``start`` of the selected rows.

        ``key`` names the relation. The total is OData's count: after ``$filter``, before ``$top`` and ``$skip``.
        ``rotation`` lets the order of rows begin with another row.
        """
        numbers = self._select(key, relation, options)
        total = relation.row_count if numbers is None else numbers.len()
        end = total if options.top is None else min(total, options.skip + options.top)
        first = min(options.skip + start, end)
        last = min(first + size, end)
        wanted = pl.int_range(first, last, dtype=pl.Int64, eager=True)
        if rotation and total:
            wanted = (wanted + rotation) % total
        frame = relation.rows(wanted if numbers is None else numbers.gather(wanted), [c.name for c in columns])
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
        """Return the numbers of the selected rows. Ties of ``$orderby`` keep the order of rows: pages never overlap."""
        predicate = None if options.filter is None else parse_filter(options.filter, relation.columns)
        order = [name for name, _ in options.order_by]
        names = list(dict.fromkeys([*(predicate.names if predicate else ()), *order]))
        parts, low = [], 0
        for block in _blocks(relation, names):
            positions = pl.int_range(block.height, dtype=pl.Int64, eager=True)
            if predicate is not None:
                positions = predicate.positions(block)
            ordered_by = [block.get_column(name).gather(positions) for name in dict.fromkeys(order)]
            parts.append(pl.DataFrame([(positions + low).alias("\0row"), *ordered_by]))
            low += block.height
        found = pl.concat(parts)
        if order:
            descending = [down for _, down in options.order_by]
            # OData sorts null first ascending, and last descending.
            found = found.sort(order, descending=descending, nulls_last=descending, maintain_order=True)
        return found.get_column("\0row").rechunk()


def chosen_columns(options: Options, relation: Relation, *, all_keys: bool) -> tuple[Column, ...]:
    """Return the columns of ``$select``, in the order of the metadata.

    Raises:
        Refusal: 400 for an unknown column, and 400 [1402] when ``all_keys`` is set and a key column is not selected
            ("Make sure it contains all key columns", SAP's guide; the number was seen on a live tenant).
    """
    if options.select is None:
        return relation.columns
    for name in options.select:
        if column_of(relation, name) is None:
            raise Refusal(400, f"The property {name!r} in $select does not exist.")
    if all_keys:
        for column in relation.columns:
            if column.key and column.name not in options.select:
                raise Refusal(400, f"All key columns must be selected; {column.name!r} is missing.", 1402)
    return tuple(c for c in relation.columns if c.name in options.select)


def aggregate(relation: Relation, condition: str | None, columns: Sequence[Column]) -> FrameRelation:
    """Sum the measures of ``columns`` by their dimensions, as the entity set ``FactDataAggregation`` does.

    The filter applies to the rows before they are summed (unconfirmed for measures). A sum of nulls is null. Other
    aggregations than sums are not offered.
    """
    predicate = None if condition is None else parse_filter(condition, relation.columns)
    keys = [c.name for c in columns if c.key]
    sums = [_sum(c) for c in columns if not c.key]
    names = list(dict.fromkeys([*(c.name for c in columns), *(predicate.names if predicate else ())]))
    parts: list[pl.DataFrame] = []
    for block in _blocks(relation, names):
        kept = block if predicate is None else predicate.keep(block)
        parts.append(kept.group_by(keys).agg(sums) if keys else kept.select(sums))
    merged = pl.concat(parts)
    frame = merged.group_by(keys).agg(sums).sort(keys) if keys else merged.select(sums)
    return FrameRelation(tuple(columns), frame.select([c.name for c in columns]), relation.trims_decimals)


def aggregation_columns(relation: Relation) -> tuple[Column, ...]:
    """Return the columns of ``FactDataAggregation``: the dimensions, and the measures in types that hold their sums."""
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
    """Yield the rows in blocks: at least one block, which may be empty, with at least one column, to have a height."""
    names = names or [relation.columns[0].name]
    for low in range(0, max(relation.row_count, 1), _BLOCK_ROWS):
        high = min(low + _BLOCK_ROWS, relation.row_count)
        yield relation.rows(pl.int_range(low, high, dtype=pl.Int64, eager=True), names)
