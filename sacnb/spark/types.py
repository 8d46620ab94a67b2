"""The columns of SAC as Spark's types: exact decimals up to 38 digits, text for what Spark cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import types as spark

from sacnb._frames.convert import arrow_schema

if TYPE_CHECKING:
    from sacnb._odata.schema import Column

__all__ = ["spark_batch", "spark_schema"]


def spark_schema(columns: Sequence[Column]) -> spark.StructType:
    """Return the schema of rows with these columns."""
    return spark.StructType([spark.StructField(field.name, _spark_type(field.type)) for field in arrow_schema(columns)])


def spark_batch(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Return the columns in the types that ``spark_schema`` declares; Spark compares them strictly."""
    arrays = [batch.column(name) for name in names]
    wanted = [_arrow_type(array.type) for array in arrays]
    cast = [array if array.type == kind else array.cast(kind) for array, kind in zip(arrays, wanted, strict=True)]
    return pa.RecordBatch.from_arrays(cast, names=list(names))


def _arrow_type(kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type in which values of *kind* are handed to Spark, which has no unsigned numbers."""
    if pa.types.is_uint8(kind):
        return pa.int16()
    if pa.types.is_decimal256(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return pa.string()
    return kind


def _spark_type(kind: pa.DataType) -> spark.DataType:
    kind = _arrow_type(kind)
    if pa.types.is_decimal(kind):
        return spark.DecimalType(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return spark.TimestampType()
    simple = {
        pa.string(): spark.StringType(), pa.bool_(): spark.BooleanType(), pa.int8(): spark.ByteType(),
        pa.int16(): spark.ShortType(), pa.int32(): spark.IntegerType(), pa.int64(): spark.LongType(),
        pa.float32(): spark.FloatType(), pa.float64(): spark.DoubleType(), pa.date32(): spark.DateType(),
        pa.binary(): spark.BinaryType(),
    }  # fmt: skip
    return simple[kind]
