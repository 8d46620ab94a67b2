"""Offer rows as a LazyFrame that reads only what polars asks for, as far as SAC can be asked for it.

polars calls such a source with the columns it needs, a predicate, and perhaps a number of rows. Two of its rules are
easily got wrong: where it gives both, the number of rows comes first and the predicate after it
(``head(5).filter(...)``); and ``filter(...).head(5)`` comes without a number, and polars then stops reading early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from sacnb._frames.convert import arrow_schema, to_polars
from sacnb._odata.schema import Schema
from sacnb._pushdown.translate import Kept, PushDown, push_down
from sacnb.errors import QueryError

__all__ = ["Ask", "Read", "Source", "require_polars"]

_OLDEST_POLARS: Final = 2
_LIMIT_FIRST: Final = "the number of rows is limited before it, and SAC would filter first"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of polars to a source: at least these columns, of at least the rows that ``pushed.where`` keeps.

    ``limit`` is the number of rows to read, of any that match; never with a filter.
    """

    columns: tuple[str, ...]
    pushed: PushDown
    limit: int | None


# Answers an Ask; the context is left when polars has enough.
Read = Callable[[Ask], AbstractContextManager[Iterable[pa.RecordBatch]]]


def require_polars(version: str) -> None:
    """Refuse versions of polars whose sources are not to be relied on.

    Before 2.0 two sources in one query (a join, a concat) could wait forever: they are read in the threads that polars
    needs for everything else (seen in 1.35 and 1.38). And 1.30 gave the wrong column for a filter on another one.

    Raises:
        QueryError: This is one of them.
    """
    if int(version.partition(".")[0]) < _OLDEST_POLARS:
        raise QueryError(
            f"Scans and SQL need polars {_OLDEST_POLARS}, and {version} is installed.",
            hint=f'Run: pip install "polars>={_OLDEST_POLARS}". facts() works with any.',
        )


class Source:
    """Rows that ``read`` gives, as a LazyFrame.

    Args:
        schema: What ``read`` can give; the frame has these columns.
        read: Reads them. It may give more columns and more rows than it was asked for, but no fewer.
        filterable: The columns whose conditions may be handed to ``read``.
        decimals: Whether measures are exact decimals, and not float64.
    """

    def __init__(self, schema: Schema, read: Read, *, filterable: frozenset[str], decimals: bool) -> None:
        self._schema = schema
        self._read = read
        self._filterable = filterable
        self._decimals = decimals
        self._types = pl.Schema()

    def frame(self) -> pl.LazyFrame:
        """Return the LazyFrame. Collecting it reads, and raises what ``read`` raises.

        The one place that knows ``register_io_source``, which polars may still change.

        Raises:
            QueryError: polars is too old.
        """
        require_polars(pl.__version__)
        empty = to_polars(pa.Table.from_batches([], arrow_schema(self._schema.columns)), decimals=self._decimals)
        self._types = empty.schema
        return register_io_source(
            self._rows,
            schema=self._types,
            is_pure=True,  # let polars deduplicate identical scans
            explain_name=f"{self._schema.provider_id}/{self._schema.entity_set}",
        )

    def _rows(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns or list(self._schema.names)
        needed = {*wanted, *(predicate.meta.root_names() if predicate is not None else ())}
        columns = tuple(name for name in self._schema.names if name in needed)
        left = limit
        with self._read(Ask(columns, self._push_down(predicate, limit), limit)) as batches:
            for batch in batches:
                rows = _in_types(to_polars(pa.Table.from_batches([batch]), decimals=self._decimals), self._types)
                if left is not None:
                    rows = rows.head(left)
                    left -= rows.height
                if predicate is not None:
                    rows = _filtered(rows, predicate)
                yield rows.select(wanted)
                if left == 0:
                    return

    def _push_down(self, predicate: pl.Expr | None, limit: int | None) -> PushDown:
        if predicate is not None and limit is not None:
            return PushDown(kept=(Kept(str(predicate), _LIMIT_FIRST),))
        return push_down(predicate, self._schema, self._filterable, decimals=self._decimals)


def _in_types(rows: pl.DataFrame, types: pl.Schema) -> pl.DataFrame:
    """Return the rows in the types that the frame was promised in; sums may come in wider ones."""
    wider = [name for name, kind in rows.schema.items() if types[name] != kind]
    try:
        return rows.cast({name: types[name] for name in wider}) if wider else rows
    except pl.exceptions.InvalidOperationError as error:
        raise QueryError(
            f"A sum in {', '.join(map(repr, wider))} has more digits than $metadata declares, and a scan has one type.",
            hint="Use facts().fetch(), which widens the column.",
        ) from error


def _filtered(rows: pl.DataFrame, predicate: pl.Expr) -> pl.DataFrame:
    """Return the rows that the predicate keeps, without polars' optimizer.

    polars 2.1 turns ``is_null(x) & ~is_in(x, ..., nulls_equal=True)`` into false, and would lose rows.
    """
    return rows.lazy().filter(predicate).collect(optimizations=pl.QueryOptFlags.none())
