"""Write a Spark frame into a model: the tasks hand their rows to the driver, which writes them in one import job.

A task may run twice, or end without an answer, and Spark commits one message for each partition. So nothing is sent
before the commit, and all rows go through one job, which SAC writes as a whole or not at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.ipc
from pyspark.sql.datasource import DataSourceArrowWriter, WriterCommitMessage

from sacnb._tenant.connector import connect
from sacnb.errors import QueryError
from sacnb.spark.options import Options

__all__ = ["FactsWriter", "Rows"]


@dataclass
class Rows(WriterCommitMessage):  # type: ignore[misc]
    """The rows of one partition, as a compressed Arrow stream."""

    stream: bytes
    count: int


class FactsWriter(DataSourceArrowWriter):  # type: ignore[misc]
    """Collects the rows of all tasks, and writes them when all have ended."""

    def __init__(self, options: Options, *, overwrite: bool) -> None:
        self._options = options
        self._order = options.for_write()
        options.model  # noqa: B018 - refuses a missing provider before any task runs
        if overwrite:
            raise QueryError(
                'mode("overwrite") is refused: it would not say which rows of the model it deletes.',
                hint='mode("append"), with option("method", "Update") to replace values, "Append" to add to them, or '
                '"CleanAndReplace" with confirm to delete a slice first.',
            )

    def write(self, iterator: Iterator[pa.RecordBatch]) -> Rows:
        """Return the rows of a task as a message; nothing is sent to SAC."""
        target = io.BytesIO()
        rows, writer = 0, None
        for batch in iterator:
            if writer is None:
                options = pa.ipc.IpcWriteOptions(compression="zstd")
                writer = pa.ipc.new_stream(target, batch.schema, options=options)
            writer.write_batch(batch)
            rows += batch.num_rows
        if writer is not None:
            writer.close()
        return Rows(target.getvalue(), rows)

    def commit(self, messages: list[Any]) -> None:
        """Write the rows of all partitions through one import job; raises what ``Model.write`` raises."""
        found = [message for message in messages if message is not None and message.count]
        if not found:
            return
        table = pa.concat_tables([pa.ipc.open_stream(message.stream).read_all() for message in found])
        with connect(**self._options.connect) as tenant:
            tenant.model(**self._options.model).write(table, progress=None, **self._order)

    def abort(self, messages: list[Any]) -> None:
        """Drop the rows. Before the commit nothing was sent; a commit that fails deletes its job itself."""
        del messages
