"""Find rows that share their key with another row, on whatever page it came.

A row's dimensions are its key, and a key that comes twice means that paging went wrong (SAP warns of repeated rows
where pages have no order: KBA 3517434, about imports). Holding all keys would hold the model; a 64-bit hash of each is
eight bytes a row. Equal hashes are a suspicion and not a proof: of ten million different keys two hash alike once in
370,000 pulls. Where the rows are at hand, ``exact_repeats`` settles the suspicion; a stream, which has given its rows
away, says in its error that it relies on a hash. Hashes are seeded anew in every pull, so that a chance hit does not
come again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from sacnb._odata.schema import Column
from sacnb._pull.plan import Inconsistent

__all__ = ["MAX_KEYS", "Hashes", "KeyWatch", "repeated_rows"]

Hashes = npt.NDArray[np.uint64]

# 128 MB of hashes. A pull of more rows is compared up to here; its manifest says how many keys were compared.
MAX_KEYS: Final = 16_000_000
# Sorted ranges of about this size are compared, so that the comparison needs little memory of its own.
_RANGE_KEYS: Final = 500_000
_FIRST_LOOK: Final = 100_000
_NONE: Final = np.empty(0, np.uint64)


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

    def exact_repeats(self, tables: Iterable[pa.Table], suspects: Hashes) -> tuple[int, dict[str, Any]] | None:
        """Return the number of rows that share their key with another row, and the first such key; ``None`` if none do.

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
        return int(repeated.sum()), frame.row(repeated.arg_max() or 0, named=True)

    def _hash(self, table: pa.Table) -> Hashes:
        if not self.names:
            return _NONE
        return pl.DataFrame(table.select(self.names)).hash_rows(seed=self._seed).to_numpy().copy()


def repeated_rows(what: str, count: int, first: dict[str, Any]) -> Inconsistent:
    """Return the error for rows that are proven to share their keys."""
    return Inconsistent(
        f"{count:,} rows of {what} share their key with another row, the first: {first}.",
        hint="Download again; no data was saved.",
    )
