"""Read the facts of a model into Spark, and write a Spark frame into a model.

    import sacnb.spark

    sacnb.spark.register(spark)
    frame = spark.read.format("sacnb").option("provider", "SALES").option("profile", "prod").load()
    frame.write.format("sacnb").mode("append").option("provider", "SALES").option("version", "public.Plan").save()

Driver and executors need sacnb, and the secret of the client in their own environment, profile or ``.env``: options
travel with the plan, so one that holds a secret is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["register"]


def register(spark: SparkSession) -> None:
    """Make ``format("sacnb")`` known to a Spark session, and let Spark hand its filters to it.

    The filters are sent to SAC as far as that loses no row, and Spark checks them all again.

    Raises MissingExtraError where the extra ``spark`` is not installed.
    """
    try:
        from sacnb.spark.source import FactsSource
    except ImportError as error:
        raise MissingExtraError("spark", "sacnb.spark") from error
    spark.conf.set("spark.sql.python.filterPushdown.enabled", "true")
    spark.dataSource.register(FactsSource)
