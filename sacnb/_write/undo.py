"""Take a write back: the rows as they were, and none that were not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import polars as pl

from sacnb._write.slice import Place, Slice, differences, expected_after
from sacnb._write.target import VERSION
from sacnb.errors import UndoError, WriteError

if TYPE_CHECKING:
    from sacnb._write.report import WriteReport

__all__ = ["undo"]

Again = Callable[[pl.DataFrame, str, tuple[str, ...], int | None], "WriteReport"]


def undo(
    place: Place,
    before: Slice,
    written: pl.DataFrame,
    *,
    method: str,
    scope: tuple[str, ...],
    again: Again,
    force: bool,
) -> WriteReport:
    """Write *before* back. ``again`` writes a frame with a method, a scope and the number of rows it may delete.

    The import service removes rows in one way only: CleanAndReplace deletes the combinations of members that an upload
    has, so each combination needs a row that stays. The narrowest scope in which all have one is taken; the other rows
    of that scope are read now and written back as they are.
    """
    keys = list(before.keys)
    start = scope or before.keys
    now = Slice.around(place, written, start, keys, before.scales)
    current = now.matching(written, start)
    if not force:
        _refuse_changed(current, before, written, method)
    old = before.matching(written, start)
    gone = written.select(start).unique().join(old.select(start).unique(), on=list(start), how="anti")
    if not gone.height and not scope:
        measures = [name for name in before.measures if name in written.columns]
        return again(old.select(*keys, *measures), "Update", (), None)
    for candidate in _scopes(start):
        around = now if candidate == start else Slice.around(place, written, candidate, keys, before.scales)
        found = around.matching(written, candidate)
        others = found.join(written.select(start).unique(), on=list(start), how="anti")
        wanted = pl.concat([others, old])
        missing = (
            written.select(candidate).unique().join(wanted.select(candidate).unique(), on=list(candidate), how="anti")
        )
        if not missing.height:
            return again(wanted, "CleanAndReplace", candidate, found.height)
    raise UndoError(
        f"{gone.height:,} combinations of {', '.join(start)} had no rows before the write, and the import service "
        "cannot remove them: it deletes only where it also writes.",
        hint="Delete them in SAC (model, data management), or write zeros.",
    )


def _refuse_changed(current: pl.DataFrame, before: Slice, written: pl.DataFrame, method: str) -> None:
    expected = expected_after(before, written, method)
    different = differences(current.select(expected.columns), expected, before.keys)
    if different.height:
        raise WriteError(
            f"{different.height:,} rows are not as they were written any more; an undo would overwrite what came "
            "since.",
            differences=different,
            hint="error.differences is a frame of them; undo(force=True) overwrites them.",
        )


def _scopes(start: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the scopes within *start*, the narrowest first; the version is in each."""
    yield start
    free = [name for name in start if name != VERSION]
    for left_out in range(1, len(free) + 1):
        for names in combinations(free, left_out):
            scope = tuple(name for name in start if name not in names)
            if scope:
                yield scope
