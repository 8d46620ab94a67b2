"""Merge changes into rows by their key, and compare rows with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from sacnb._frames.convert import arrow_schema, concat
from sacnb._odata.schema import Column
from sacnb._pull.count import count_quietly
from sacnb._pull.duplicates import Repeats
from sacnb._pull.plan import Job
from sacnb._pull.totals import Tally, totals_of
from sacnb._track.delta import Delta, Doubt

__all__ = ["Checked", "Merged", "check_with_totals", "merge", "rows_that_differ"]

_ROW = "\0row"
_NEW = "\0new"


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged rows, and the changes as they were merged: ``changed`` whole rows, ``deleted`` only their keys."""

    table: pa.Table
    changed: pa.Table
    deleted: pa.Table


def merge(base: pa.Table, delta: Delta, columns: Sequence[Column]) -> Merged:
    """Return the rows of *base* with the changes of *delta*: changed rows in their places, new ones at the end.

    Deleting a row that is not there changes nothing: it came and went between two refreshes, or was merged before.

    Raises:
        Doubt: A key has several rows, comes twice with different values, or both changed and deleted; or a changed row
            leaves out a measure that has a value.
    """
    keys = [column.name for column in columns if column.role == "dimension"]
    places = pl.DataFrame(base.select(keys)).with_row_index(_ROW)
    changed, left_out = _once(delta, keys)
    new = pl.DataFrame(changed.select(keys)).with_row_index(_NEW)
    known = places.join(new, on=keys, how="inner", nulls_equal=True).select(_ROW, _NEW)
    if known[_NEW].is_duplicated().any():
        raise Doubt("the cached result has several rows for a key that changed")
    _refuse_unclear(base, known, left_out)
    gone = _gone(places, new, delta, keys)
    order = np.arange(len(base), dtype=np.int64)
    order[known[_ROW].to_numpy()] = len(base) + known[_NEW].to_numpy().astype(np.int64)
    removed = gone[_ROW].to_numpy()
    order = np.delete(order, removed)
    inserted = np.setdiff1d(np.arange(len(changed), dtype=np.int64), known[_NEW].to_numpy().astype(np.int64))
    whole = concat([base, changed]).take(pa.array(np.concatenate([order, len(base) + inserted])))
    return Merged(_as_declared(whole, columns), changed, base.select(keys).take(pa.array(removed)))


def _once(delta: Delta, keys: Sequence[str]) -> tuple[pa.Table, dict[int, frozenset[str]]]:
    """Return each changed row once: a page may come twice.

    Raises:
        Doubt: A key comes with different values; their order is no proof of which is the later one.
    """
    left_out = dict(delta.left_out)
    repeated = pl.DataFrame(delta.changed.select(keys)).is_duplicated()
    if not repeated.any():
        return delta.changed, left_out
    first: dict[tuple[object, ...], int] = {}
    kept: list[int] = []
    doubled = set(repeated.arg_true().to_list())
    for number in range(len(delta.changed)):
        if number in doubled:
            row = delta.changed.slice(number, 1)
            key = tuple(row.column(name)[0].as_py() for name in keys)
            other = first.setdefault(key, number)
            if other != number:
                same = row.equals(delta.changed.slice(other, 1)) and left_out.get(number) == left_out.get(other)
                if not same:
                    raise Doubt("a key changed twice, and the order of changes is not certain")
                continue
        kept.append(number)
    renumbered = {place: left_out[number] for place, number in enumerate(kept) if number in left_out}
    return delta.changed.take(pa.array(kept, pa.int64())), renumbered


def _refuse_unclear(base: pa.Table, known: pl.DataFrame, left_out: dict[int, frozenset[str]]) -> None:
    """Raise Doubt where a row leaves out a measure that has a value: it may be unchanged, or null now."""
    if not left_out:
        return
    for place, number in known.rows():
        for name in left_out.get(number, ()):
            if base.column(name)[place].is_valid:
                raise Doubt(f"a changed row leaves out {name!r}, which may be unchanged or empty now")


def _gone(places: pl.DataFrame, new: pl.DataFrame, delta: Delta, keys: Sequence[str]) -> pl.DataFrame:
    """Return the places and keys of the deleted rows that are there.

    Raises:
        Doubt: A key is both changed and deleted, or an id fits two rows.
    """
    spellings = [(number, pl.DataFrame(spelling)) for number, each in enumerate(delta.deleted) for spelling in each]
    if not spellings:
        return places.clear()
    wanted = pl.concat([frame.with_columns(pl.lit(number).alias(_NEW)) for number, frame in spellings])
    if new.join(wanted, on=keys, how="semi", nulls_equal=True).height:
        raise Doubt("a key is both changed and deleted")
    found = places.join(wanted, on=keys, how="inner", nulls_equal=True)
    fits = found.select(_NEW, _ROW).unique()
    if fits[_NEW].is_duplicated().any():
        raise Doubt("the id of a deleted row fits two rows")
    return found.select(_ROW, *keys).unique(_ROW, maintain_order=True)


def _as_declared(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """Return the table with the types that ``$metadata`` declares, where all values fit, as a full read has them."""
    declared = arrow_schema(columns)
    for place, field in enumerate(declared):
        if table.schema.field(place).type != field.type:
            try:
                table = table.set_column(place, field, table.column(place).cast(field.type))
            except pa.ArrowInvalid:  # a value needs the wider type
                continue
    return table


def rows_that_differ(one: pa.Table, other: pa.Table, *, but_for: Sequence[pa.Table] = ()) -> int:
    """Return the number of rows that only one of two tables of unique rows has, whatever their order.

    Rows with the keys of *but_for* do not count; the last of these tables has nothing but keys.
    """
    whole = concat([one, other])
    for place, field in enumerate(whole.schema):
        if pa.types.is_decimal256(field.type):  # polars has none; texts of one scale are equal where the numbers are
            whole = whole.set_column(place, field.name, whole.column(place).cast(pa.string()))
    frame = pl.DataFrame(whole)
    sides = [frame.slice(0, len(one)), frame.slice(len(one))]
    if but_for:
        keys = but_for[-1].column_names
        known = pl.concat([pl.DataFrame(table.select(keys)) for table in but_for])
        sides = [side.join(known, on=keys, how="anti", nulls_equal=True) for side in sides]
    left, right = sides
    differing = [a.join(b, on=frame.columns, how="anti", nulls_equal=True) for a, b in ((left, right), (right, left))]
    return sum(rows.height for rows in differing)


@dataclass(frozen=True, slots=True)
class Checked:
    """Comparison of rows with what SAC says of them: why they do not fit, and the measures that it gives no sum of."""

    problem: str = ""
    count: int | None = None
    compared: tuple[str, ...] = ()
    without_sum: tuple[str, ...] = ()

    @property
    def proves_something(self) -> bool:
        """Return whether SAC gave a count, or a total that is the sum of the rows."""
        return self.count is not None or bool(self.compared)


def check_with_totals(job: Job, table: pa.Table, *, without_sum: Sequence[str] = ()) -> Checked:
    """Compare rows with SAC's count and its totals, but for measures that are known to be no sums.

    This finds a lost page, and a link that was used up, at the price of two small requests.
    """
    count = count_quietly(job)
    if count not in {None, len(table)}:
        return Checked(f"SAC counts {count:,} rows, and there are {len(table):,} after the merge", count)
    tally = Tally(job.columns)
    tally.add(table)
    totals = totals_of(job, tally.measures)
    if isinstance(totals, str):
        return Checked("", count)
    found = tally.compare(totals, Repeats(0, {}, 0))
    # A total that is no sum now, and was one before, is a coincidence; and so is a total of rows without a value.
    unlike = [
        *found.other,
        *found.differing,
        *(one for one in tally.measures if one not in found.matched and totals[one]),
    ]
    unlike = list(dict.fromkeys(unlike))
    differing = [name for name in unlike if name not in without_sum]
    problem = f"SAC's total of {differing[0]!r} is another than that of the merged rows" if differing else ""
    return Checked(problem, count, found.matched, tuple(unlike))
