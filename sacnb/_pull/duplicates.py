"""Find rows that share their key with another row, on whatever page it came; tell copied pages; add up records.

A row's dimensions are its key. A key that comes twice is either several records of one cell (reported from live
tenants: imports, data actions and entries leave their own), or paging went wrong (SAP warns of repeated rows where
pages have no order: KBA 3517434, about imports). Holding all keys would hold the model; a 64-bit hash of each is eight
bytes a row. Equal hashes are a suspicion and not a proof: of ten million different keys two hash alike once in
370,000 pulls. Where the rows are in memory, ``exact_repeats`` settles the suspicion; a stream, which has given its rows
away, relies on a hash. Each pull seeds its hashes differently, so that a chance hit does not repeat.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._frames.types import MAX_DECIMAL_DIGITS
from sacnb._odata.schema import NUMERIC_TYPES, Column
from sacnb.errors import ContractError, InconsistentAnswer

__all__ = [
    "MAX_KEYS", "Hashes", "KeyWatch", "Repeats", "copied_run", "limbs_of", "repeated_rows", "row_hashes",
    "sum_per_key",
]  # fmt: skip

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

# 128 MB of hashes. A pull of more rows is compared up to here; its manifest says how many keys were compared.
MAX_KEYS: Final = 16_000_000
# Sorted ranges of about this size are compared, so that the comparison needs little memory of its own.
_RANGE_KEYS: Final = 500_000
_FIRST_LOOK: Final = 100_000
_NONE: Final = np.empty(0, np.uint64)
# The places of a row's copies that are looked at; records that are all alike would have as many as there are rows.
_MOST_COPIES: Final = 1_000
_LIMB: Final = 0xFFFF_FFFF
_WORDS: Final = 8  # 32-bit words of a decimal256
_POLARS_DIGITS: Final = 38


class Repeats(NamedTuple):
    """Rows that share their key with another row, the first such key, and the number of such keys."""

    rows: int
    first: dict[str, Any]
    keys: int


class KeyWatch:
    """Keeps a hash of each row's key by segment. For one thread."""

    def __init__(self, columns: Sequence[Column], *, max_keys: int = MAX_KEYS, seed: int | None = None) -> None:
        self.names = [column.name for column in columns if column.role == "dimension"]
        self._max_keys = max_keys
        self._seed = secrets.randbits(63) if seed is None else seed
        self._runs: dict[int, list[Hashes]] = {}
        self._next_look = _FIRST_LOOK

    @property
    def keys(self) -> int:
        """The number of rows that are compared with each other."""
        return sum(len(run) for runs in self._runs.values() for run in runs)

    @property
    def edges(self) -> list[int]:
        """The places where pages begin, in the order of the segments, and the number of rows."""
        return [0, *accumulate(len(run) for segment in sorted(self._runs) for run in self._runs[segment])]

    def hashes(self, table: pa.Table) -> Hashes:
        """Return the sorted hashes of the keys of a table; none at all where its columns make no key."""
        found = self._hash(table)
        found.sort()
        return found

    def add(self, segment: int, hashes: Hashes) -> None:
        """Add the hashes of the next rows of a segment."""
        if self.keys + len(hashes) <= self._max_keys:
            self._runs.setdefault(segment, []).append(hashes)

    def forget(self, segment: int) -> None:
        """Forget the rows of a segment, which restarts."""
        self._runs.pop(segment, None)

    def early_suspects(self) -> Hashes:
        """Return ``suspects`` each time the number of keys has doubled, and nothing in between, to save time."""
        if self.keys < self._next_look:
            return _NONE
        self._next_look = 2 * self.keys
        return self.suspects()

    def suspects(self) -> Hashes:
        """Return the hashes that more than one row has."""
        runs = [run for runs in self._runs.values() for run in runs]
        ranges = max(1, self.keys // _RANGE_KEYS)
        bounds = np.linspace(0, 2.0**64, ranges + 1)[1:-1].astype(np.uint64)
        cuts = [[0, *np.searchsorted(run, bounds).tolist(), len(run)] for run in runs]
        found: list[Hashes] = []
        for i in range(ranges):
            merged = np.concatenate([_NONE, *(run[cut[i] : cut[i + 1]] for run, cut in zip(runs, cuts, strict=True))])
            merged.sort(kind="stable")  # merges sorted runs, five times faster than the default sort
            found.append(merged[1:][merged[1:] == merged[:-1]])
        return np.unique(np.concatenate(found))

    def suspects_in(self, table: pa.Table) -> Hashes:
        """Return the suspects of a table that holds all rows, also where they are too many to be watched."""
        if len(table) <= self._max_keys:
            return self.suspects()
        found = self.hashes(table)
        return np.unique(found[1:][found[1:] == found[:-1]])

    def rows_of(self, suspects: Hashes) -> int:
        """Return the number of rows that have one of these hashes."""
        return sum(int(np.isin(run, suspects).sum()) for runs in self._runs.values() for run in runs)

    def copied_pages(self, alike: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> int:
        """Return the rows of the largest page whose keys are those of another; *alike* are pairs of segment and page.

        For streams, whose rows are gone: the caller names the pages of which everything else is the same.
        """
        pages = [
            (self._runs[a][i], self._runs[b][j]) for (a, i), (b, j) in alike if self._has(a, i) and self._has(b, j)
        ]
        return max((len(one) for one, other in pages if np.array_equal(one, other)), default=0)

    def _has(self, segment: int, page: int) -> bool:
        return page < len(self._runs.get(segment, ()))

    def exact_repeats(self, tables: Iterable[pa.Table], suspects: Hashes) -> Repeats | None:
        """Return the rows that share their key with another row, or ``None`` if none do.

        Only rows with one of the hashes of *suspects* are kept, so that *tables* can be read one by one.
        """
        if not len(suspects):
            return None
        kept = []
        for table in tables:
            suspicious = np.isin(self._hash(table), suspects)
            kept.append(table.select(self.names).filter(pa.array(suspicious)))
        frame = pl.DataFrame(pa.concat_tables(kept, promote_options="permissive"))
        repeated = frame.is_duplicated()
        if not repeated.any():
            return None
        first = frame.row(repeated.arg_max() or 0, named=True)
        return Repeats(int(repeated.sum()), first, frame.filter(repeated).n_unique())

    def in_order(self, table: pa.Table) -> Hashes:
        """Return the hashes of the keys of a table in the order of its rows."""
        return self._hash(table) if self.names else np.zeros(len(table), np.uint64)

    def _hash(self, table: pa.Table) -> Hashes:
        if not self.names:
            return _NONE
        return pl.DataFrame(table.select(self.names)).hash_rows(seed=self._seed).to_numpy().copy()


def repeated_rows(what: str, count: int, first: dict[str, Any]) -> InconsistentAnswer:
    """Return the error for rows that share their keys where that is not allowed."""
    return InconsistentAnswer(
        f"{count:,} rows of {what} share their key with another row, the first: {first}.",
        hint="No data was saved. If the model keeps several records for one cell, ask for facts(..., repeated='sum') "
        "or repeated='keep'.",
    )


# -- copied pages ----------------------------------------------------------------------------------------------------


def row_hashes(table: pa.Table, seed: int = 0) -> Hashes:
    """Return a hash of each row, in their order, with all columns."""
    for place, field in enumerate(table.schema):
        if pa.types.is_decimal256(field.type):  # polars cannot read them
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return pl.DataFrame(table).hash_rows(seed=seed).to_numpy()


def copied_run(rows: Hashes, edges: Sequence[int]) -> int:
    """Return the number of rows in the longest run of equal rows that stands on two pages, as a fault leaves it.

    A page that came twice, or pages that overlap, leave a run that begins where one of the two pages begins and ends
    where one of them ends. A run that begins or ends within pages are records that look alike.

    Args:
        rows: The hashes of the rows in the order of their pages.
        edges: The places of the first rows of the pages, and the number of rows at the end.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    known = {*edges, 0, len(rows)}
    found = 0
    for first, end in pairwise(edges):
        if first == end:
            continue
        low, high = np.searchsorted(ordered, rows[first], "left"), np.searchsorted(ordered, rows[first], "right")
        copies = order[low:high][:_MOST_COPIES]
        for copy in copies[(copies < first) | (copies >= end)].tolist():
            if min(first, copy) > 0 and rows[first - 1] == rows[copy - 1]:
                continue  # the run begins before
            length = _common(rows[first:], rows[copy:])
            if known & {first + length, copy + length}:
                found = max(found, length)
    return found


def _common(one: Hashes, other: Hashes) -> int:
    """Return how many values at the beginning are the same."""
    most, step, done = min(len(one), len(other)), 64, 0
    while done < most:
        differ = np.flatnonzero(one[done : min(done + step, most)] != other[done : min(done + step, most)])
        if len(differ):
            return done + int(differ[0])
        done, step = min(done + step, most), step * 2
    return most


# -- sums ------------------------------------------------------------------------------------------------------------


def sum_per_key(table: pa.Table, columns: Sequence[Column], suspects: Hashes | None, watch: KeyWatch) -> pa.Table:
    """Return one row for each key, in the order of their first records: measures added up, the rest as it is.

    Sums are exact, but for floats; a column gets a wider type where its sums need one. Nulls take no part, and the sum
    of nothing but nulls is null. Only rows with one of the hashes of *suspects* are touched; ``None`` stands for all.

    Raises:
        ContractError: The records of a key differ in a column that cannot be added up, or a sum has too many digits.
    """
    touched = np.ones(len(table), np.bool_) if suspects is None else np.isin(watch.in_order(table), suspects)
    places = np.flatnonzero(touched)
    if not len(places):
        return table
    some = table if len(places) == len(table) else table.filter(pa.array(touched))
    keys = pl.DataFrame(some.select(watch.names)) if watch.names else pl.DataFrame({"": np.zeros(len(some), np.int8)})
    groups = (
        keys.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("\0row"))
        .group_by(keys.columns, maintain_order=True)
        .agg(pl.col("\0row"))
        .get_column("\0row")
    )
    order = groups.explode().to_numpy()
    lengths = groups.list.len().to_numpy().astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    firsts = order[starts]
    kinds = {column.name: column for column in columns}
    summed = []
    for name in some.column_names:
        values = some.column(name).combine_chunks()
        column = kinds[name]
        if column.role == "dimension":
            summed.append(values.take(pa.array(firsts)))
            continue
        values = values.take(pa.array(order))
        if column.edm_type in NUMERIC_TYPES:
            summed.append(_sums(name, values, starts))
        else:
            _refuse_unequal(name, values, starts)
            summed.append(values.take(pa.array(starts)))
    fields = [some.schema.field(i).with_type(array.type) for i, array in enumerate(summed)]
    added = pa.Table.from_arrays(summed, schema=pa.schema(fields, some.schema.metadata))
    if len(places) == len(table):
        return added
    whole = pa.concat_tables([table.filter(pa.array(~touched)), added], promote_options="permissive")
    return whole.take(pa.array(np.argsort(np.concatenate([np.flatnonzero(~touched), places[firsts]]), kind="stable")))


def _refuse_unequal(name: str, values: pa.Array, starts: Integers) -> None:
    codes = pc.dictionary_encode(values, null_encoding="encode").indices.to_numpy()
    lowest, highest = np.minimum.reduceat(codes, starts), np.maximum.reduceat(codes, starts)
    differing = np.flatnonzero(lowest != highest)
    if len(differing):
        raise ContractError(
            f"The records of {len(differing):,} keys differ in {name!r}, which cannot be added up.",
            hint=f"See the records with facts(..., repeated='keep'), or leave {name!r} out of select.",
        )


def limbs_of(values: pa.Array) -> Integers:
    """Return integers and decimals as 32-bit words with the lowest first, nulls as 0; only the last word has a sign."""
    if values.null_count:
        # A cast needs the digits of an int64. pa.scalar() would load pandas, which takes seconds on a busy machine,
        # while neither the stop button nor a cancel is seen.
        zero = pa.py_buffer(bytes(values.type.bit_width // 8))
        values = pc.fill_null(values, pa.Array.from_buffers(values.type, 1, [None, zero])[0])
    if pa.types.is_integer(values.type):
        values = values.cast(pa.int64())
    words = values.type.bit_width // 32
    raw = np.frombuffer(values.buffers()[1], dtype="<u4").reshape(-1, words)
    limbs = raw[values.offset : values.offset + len(values)].astype(np.int64)
    limbs[:, -1] = limbs[:, -1].astype(np.uint32).view(np.int32)
    return limbs


def _sums(name: str, values: pa.Array, starts: Integers) -> pa.Array:
    """Return the sums of the groups of a numeric column that begin at *starts*."""
    valid = np.asarray(values.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    nulls = ~np.logical_or.reduceat(valid, starts)
    if pa.types.is_floating(values.type):
        floats = pc.fill_null(values.cast(pa.float64()), 0.0).to_numpy()
        return pa.array(np.add.reduceat(floats, starts), mask=nulls).cast(values.type, safe=False)
    sums = np.add.reduceat(limbs_of(values), starts, axis=0)
    words = np.empty((len(starts), _WORDS), "<u4")
    carry = np.zeros(len(starts), np.int64)
    for word in range(_WORDS):
        carry = carry + sums[:, word] if word < sums.shape[1] else carry
        words[:, word] = carry & _LIMB
        carry >>= 32
    is_overflown = carry != -(words[:, -1] >> 31).astype(np.int64)
    words[nulls] = 0
    scale = getattr(values.type, "scale", 0)
    bits = pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    wide = pa.Array.from_buffers(
        pa.decimal256(MAX_DECIMAL_DIGITS, scale), len(starts), [bits, pa.py_buffer(words.tobytes())]
    )
    try:
        wide.validate(full=True)
    except pa.ArrowInvalid:
        is_overflown[:] = True
    if is_overflown.any():
        raise ContractError(
            f"The sum of the records of a key has more than {MAX_DECIMAL_DIGITS} digits in {name!r}.",
            hint="See the records with facts(..., repeated='keep').",
        )
    narrower = [pa.int64()] if pa.types.is_integer(values.type) else []
    for kind in (values.type, *narrower, pa.decimal128(_POLARS_DIGITS, min(scale, _POLARS_DIGITS))):
        try:
            return wide.cast(kind)
        except pa.ArrowInvalid:
            continue
    return wide
