"""The data source of Daft: one task for each slice, and Daft's filters as conditions for SAC.

Daft's interface was a plain one up to 0.6 and is an asynchronous one since; what it calls is the same.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from daft import Schema
from daft.io.source import DataSource, DataSourceTask
from daft.recordbatch import MicroPartition, RecordBatch

from sacnb._tenant.connector import read_slice
from sacnb._tenant.scan import filtered
from sacnb.daft.filters import conditions

if TYPE_CHECKING:
    from daft.io.pushdowns import Pushdowns

    from sacnb._slices.slice import Slice
    from sacnb._tenant.facts import Facts

__all__ = ["FactsSource", "SliceTask"]

_IS_ASYNC = inspect.isasyncgenfunction(DataSource.get_tasks)


class FactsSource(DataSource):  # type: ignore[misc]
    """The facts of one query."""

    def __init__(self, facts: Facts, partitions: Any, at_once: int | None) -> None:
        self._facts = facts
        self._partitions = partitions
        self._at_once = at_once

    @property
    def name(self) -> str:
        """The name in Daft's plans."""
        return f"sacnb-{self._facts.query.provider_id}"

    @property
    def schema(self) -> Schema:
        """The columns of the query."""
        from sacnb._frames.convert import arrow_schema

        return Schema.from_pyarrow_schema(_for_daft(arrow_schema(self._facts.query.columns(self._facts.schema))))

    def get_tasks(self, pushdowns: Pushdowns) -> Any:
        """Make the slices, with those of Daft's filters that lose no row; Daft checks all of them again."""
        tasks = self._tasks(pushdowns)
        return _asynchronous(tasks) if _IS_ASYNC else tasks

    def _tasks(self, pushdowns: Pushdowns) -> Iterator[SliceTask]:
        facts, needed = self._facts, pushdowns.columns
        if pushdowns.filters is not None:
            if facts.query.where is not None:
                facts.partitions(1)  # refuse a member that does not exist; in a filter of Daft it has no rows
            facts = filtered(facts, conditions(pushdowns.filters))
            needed = None if needed is None else [*needed, *pushdowns.filter_required_column_names()]
        for piece in facts.partitions(self._partitions, at_once=self._at_once):
            yield SliceTask(piece if needed is None else piece.narrowed(needed))


class SliceTask(DataSourceTask):  # type: ignore[misc]
    """Reads one slice, wherever Daft runs it."""

    def __init__(self, piece: Slice) -> None:
        self._piece = piece

    @property
    def schema(self) -> Schema:
        """The columns of the slice."""
        return Schema.from_pyarrow_schema(_for_daft(self._piece.schema))

    def get_micro_partitions(self) -> Iterator[MicroPartition]:
        """Read the slice page by page, for Daft up to 0.6; raises what ``read_slice`` raises."""
        for batch, schema in self._batches():
            yield MicroPartition.from_arrow_record_batches([batch], schema)

    async def read(self) -> AsyncIterator[RecordBatch]:
        """Read the slice page by page; raises what ``read_slice`` raises."""
        for batch, schema in self._batches():
            yield RecordBatch.from_arrow_record_batches([batch], schema)

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, pa.Schema]]:
        with read_slice(self._piece) as batches:
            schema = _for_daft(batches.schema)
            for batch in batches:
                yield from ((one, schema) for one in pa.Table.from_batches([batch]).cast(schema).to_batches())


async def _asynchronous(tasks: Iterator[SliceTask]) -> AsyncIterator[SliceTask]:
    for task in tasks:
        yield task


def _for_daft(schema: pa.Schema) -> pa.Schema:
    """Return the schema without metadata, and with text for decimals that Daft cannot hold."""
    return pa.schema(
        [(field.name, pa.string() if pa.types.is_decimal256(field.type) else field.type) for field in schema]
    )
