"""The data source ``sacnb`` of Spark: the executors read slices, and the driver writes through one import job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from sacnb._tenant.connector import connect, read_slice
from sacnb._tenant.scan import filtered
from sacnb.spark.filters import condition
from sacnb.spark.options import Options
from sacnb.spark.types import spark_batch, spark_schema
from sacnb.spark.writer import FactsWriter

if TYPE_CHECKING:
    from pyspark.sql.datasource import Filter
    from pyspark.sql.types import StructType

    from sacnb._slices.slice import Slice
    from sacnb._tenant.facts import Facts

__all__ = ["FactsReader", "FactsSource"]


class FactsSource(DataSource):  # type: ignore[misc]
    """The facts of one model. Spark makes it anew in each process that plans."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._options = Options(options)  # refuses secrets before the plan is made

    @classmethod
    def name(cls) -> str:
        """Return the name for ``format()``."""
        return "sacnb"

    def schema(self) -> StructType:
        """Return the columns of the query, asking SAC for those of the model."""
        facts, _ = _question(self._options)
        return spark_schema(facts.query.columns(facts.schema))

    def reader(self, schema: StructType) -> FactsReader:
        """Return the reader of the query."""
        return FactsReader(self._options, schema.fieldNames())

    def writer(self, schema: StructType, overwrite: bool) -> FactsWriter:  # noqa: ARG002, FBT001 - Spark's signature
        """Return the writer into the model."""
        return FactsWriter(self._options, overwrite=overwrite)


class FactsReader(DataSourceReader):  # type: ignore[misc]
    """Plans the slices of a query in the planner's process, and reads one in each task."""

    def __init__(self, options: Options, columns: Sequence[str]) -> None:
        self._options = options
        self._columns = list(columns)
        self._filters: list[Filter] = []

    def pushFilters(self, filters: list[Filter]) -> Iterator[Filter]:  # noqa: N802 - Spark's name
        """Note the filters, and leave all of them to Spark as well: what is sent may let more rows through."""
        self._filters = list(filters)
        return iter(self._filters)

    def partitions(self) -> Sequence[InputPartition]:
        """Make the slices; raises what ``Facts.partitions`` raises."""
        facts, how = _question(self._options)
        if facts.query.where is not None:
            facts.partitions(1)  # refuse a member that does not exist; in a filter of Spark it has no rows
        facts = filtered(facts, map(condition, self._filters))
        slices = facts.partitions(how.get("partitions", "auto"), at_once=how.get("at_once"))
        return [InputPartition(one) for one in slices]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Read a slice in an executor; raises what ``read_slice`` raises."""
        piece: Slice = partition.value
        with read_slice(piece.narrowed(self._columns)) as batches:
            for batch in batches:
                yield spark_batch(batch, self._columns)


def _question(options: Options) -> tuple[Facts, dict[str, Any]]:
    """Return the query of the options, and those for its partitions."""
    given = options.for_read()
    how: dict[str, Any] = {name: given.pop(name) for name in ("partitions", "at_once") if name in given}
    version = given.pop("version", None)
    model = connect(**options.connect).model(**options.model, version=version)
    return model.facts(**given), how
