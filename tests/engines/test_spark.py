"""Spark reads and writes, on a local cluster of two: the rows of ``fetch()``, each once, and no secret anywhere."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: make engines")
if shutil.which("java") is None:
    pytest.skip("Java is not installed, such as Debian's default-jre-headless: make engines", allow_module_level=True)

from engines import in_order  # noqa: E402 - after the skips
from pyspark import cloudpickle  # noqa: E402
from pyspark.errors import AnalysisException  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as f  # noqa: E402
from sales import facts, plan, sales  # noqa: E402

import sacnb.spark  # noqa: E402
from sacnb.spark.source import FactsReader, FactsSource  # noqa: E402

# pyspark and what it imports warn of each other's next releases.
pytestmark = pytest.mark.filterwarnings("ignore")
# The tests are no module that a worker could import.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def spark(place: Any, logs: Path) -> Iterator[SparkSession]:
    """A session whose tasks may fail once; its processes inherit the environment, and so the secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = (
            SparkSession.builder.master("local[2,2]")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.memory", "1g")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.ui.port", "0")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.eventLog.enabled", "true")
            .config("spark.eventLog.compress", "false")
            .config("spark.eventLog.dir", logs.as_uri())
            .getOrCreate()
        )
        sacnb.spark.register(session)
        yield session
        session.stop()


@pytest.fixture
def options(place: Any) -> dict[str, str]:
    return {
        "tenantUrl": place.sandbox.tenant_url,
        "tokenUrl": place.sandbox.token_url,
        "clientId": place.sandbox.client_id,
        "partitions": "3",
    }


@pytest.fixture
def load(spark: SparkSession, options: dict[str, str]) -> Callable[..., Any]:
    def load(model: str, form: str = "sacnb", **more: str) -> Any:
        return spark.read.format(form).options(**options, **more).load(model)

    return load


def asked(place: Any, seen: int) -> list[str]:
    return [unquote(one.query) for one in place.sandbox.log[seen:] if one.kind == "facts" and one.rows]


@pytest.mark.parametrize("model", ["SCALE", "EDM_TYPES", "RECORDS"])
def test_the_frame_has_the_rows_of_fetch(place: Any, load: Callable[..., Any], model: str) -> None:
    frame = load(model)
    whole = place.tenant.model(model).facts().fetch().arrow()
    found = frame.toArrow()
    assert found.column_names == whole.column_names

    def comparable(table: pa.Table) -> list[tuple[Any, ...]]:
        odd = [name for name in whole.column_names if not _is_plain(whole.schema.field(name).type)]
        return in_order(zip(*(column.to_pylist() for column in table.drop_columns(odd).columns), strict=True))

    assert comparable(found) == comparable(whole)


def _is_plain(kind: pa.DataType) -> bool:
    """Spark has no times of day and no durations, which come as text, and shows moments in its own zone."""
    kinds = (pa.types.is_time, pa.types.is_duration, pa.types.is_timestamp, pa.types.is_decimal256)
    return not any(of_kind(kind) for of_kind in kinds)


def test_filters_reach_sac_and_spark_checks_them_again(place: Any, load: Callable[..., Any]) -> None:
    seen = len(place.sandbox.log)
    found = load("SCALE").where((f.col("Region") == "Zürich") & (f.col("Quantity") > 500) & ~f.col("Date").isNull())
    rows = found.collect()
    queries = asked(place, seen)
    whole = place.tenant.model("SCALE").facts(where={"Region": "Zürich"}).fetch().arrow().to_pylist()
    wanted = [tuple(row.values()) for row in whole if row["Quantity"] > 500]
    assert wanted
    assert in_order(rows) == in_order(wanted)
    assert queries
    # Spark 4.0 sends a Python source no filters, and filters by itself.
    is_told = tuple(map(int, pyspark.__version__.split(".")[:2])) >= (4, 1)
    assert all(("Region eq 'Zürich'" in query) == is_told for query in queries)
    assert not any("Quantity gt" in query for query in queries), "SAC would filter before it adds up"


def test_sac_adds_up_where_fewer_dimensions_are_asked_for(place: Any, load: Callable[..., Any]) -> None:
    rows = load("SCALE", dims="Date", measures="Quantity", version="public.Plan", since="2020-01").collect()
    model = place.tenant.model("SCALE", version="public.Plan")
    whole = model.facts(dims=["Date"], measures=["Quantity"], since="2020-01").fetch().arrow().to_pylist()
    assert in_order(rows) == in_order(tuple(row.values()) for row in whole)


def die_once(marker: str) -> None:
    """Kill this process, unless another one was killed before."""
    try:
        open(marker, "x").close()  # noqa: PTH123 - two tasks may come at the same time
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class DyingReader(FactsReader):
    """A reader whose process is killed in the middle of a slice, unless another one was before."""

    def __init__(self, given: FactsReader, marker: str) -> None:
        self.__dict__.update(vars(given))
        self._marker = marker

    def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(super().read(partition)):
            if number == 1:
                die_once(self._marker)
            yield batch


class DyingSource(FactsSource):
    def __init__(self, options: Any) -> None:
        marker = {name: value for name, value in options.items() if name.lower() == "marker"}
        super().__init__({name: value for name, value in options.items() if name not in marker})
        (self._marker,) = marker.values()

    @classmethod
    def name(cls) -> str:
        return "dying"

    def reader(self, schema: Any) -> DyingReader:
        return DyingReader(super().reader(schema), self._marker)


def test_a_worker_that_dies_in_a_slice_costs_no_row_and_repeats_none(
    place: Any, spark: SparkSession, load: Callable[..., Any], tmp_path: Path
) -> None:
    spark.dataSource.register(DyingSource)
    marker = tmp_path / "died"
    rows = load("SCALE", "dying", marker=str(marker), pageSize="200").collect()
    assert marker.exists()
    assert in_order(rows) == in_order(
        tuple(row.values()) for row in place.tenant.model("SCALE").facts().fetch().arrow().to_pylist()
    )


def test_nothing_that_spark_shows_or_sends_holds_a_secret(
    place: Any, spark: SparkSession, load: Callable[..., Any], options: dict[str, str], logs: Path
) -> None:
    frame = load("SCALE").where(f.col("Region") == "#")
    frame.collect()
    source = FactsSource({**options, "path": "SCALE"})
    plans = frame._jdf.queryExecution()
    place.refuse_secrets(
        pickle.dumps(source._options),
        cloudpickle.dumps(source),
        cloudpickle.dumps(FactsReader(source._options, frame.columns)),
        plans.toString().encode(),
        plans.executedPlan().toString().encode(),
    )
    ui = spark.sparkContext.uiWebUrl
    assert ui is not None
    app = f"/api/v1/applications/{spark.sparkContext.applicationId}"
    pages = [
        "/jobs/",
        "/stages/",
        "/environment/",
        "/executors/",
        "/SQL/",
        f"{app}/environment",
        f"{app}/sql?details=true",
    ]
    for page in pages:
        with urllib.request.urlopen(ui + page, timeout=30) as answer:
            place.refuse_secrets(answer.read())
    written = [path for path in logs.rglob("*") if path.is_file()]
    assert written
    place.refuse_secrets(*(path.read_bytes() for path in written))


def test_an_option_with_a_secret_is_refused(place: Any, load: Callable[..., Any]) -> None:
    with pytest.raises(AnalysisException, match="SAC_CLIENT_SECRET where driver and executors start"):
        load("SCALE", clientSecret="canary-of-nobody")


# -- writing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def target(place: Any) -> Any:
    place.sandbox.add_model(sales())
    return place.tenant.model("SALES")


def written(place: Any, seen: int) -> list[str]:
    return [one.kind for one in place.sandbox.log[seen:] if one.kind in {"import_create", "import_run"}]


@pytest.fixture
def frame(spark: SparkSession) -> Any:
    """Three rows in two partitions."""
    columns = "Date string, Store string, Amount decimal(31,7), Pieces bigint"
    return spark.createDataFrame(plan().rows(), columns).repartition(2)


def test_a_frame_is_written_through_one_import_job(
    place: Any, target: Any, frame: Any, options: dict[str, str]
) -> None:
    del options["partitions"]
    before, seen = facts(target), len(place.sandbox.log)
    frame.write.format("sacnb").mode("append").options(**options, version="public.Plan", method="Append").save("SALES")
    after = facts(target)
    runs = written(place, seen)
    assert runs.count("import_run") == 1
    for key, (amount, pieces) in after.items():
        old_amount, old_pieces = before[key]
        if key[:2] == ("public.Plan", "202401") and key[2] in {"S0", "S1", "S2"}:
            assert (amount, pieces) != (old_amount, old_pieces)
        else:
            assert (amount, pieces) == (old_amount, old_pieces)


def test_a_task_that_runs_twice_writes_its_rows_once(
    place: Any, target: Any, frame: Any, options: dict[str, str], tmp_path: Path
) -> None:
    del options["partitions"]
    marker = str(tmp_path / "failed")

    def once(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            die_once(marker)

    before = facts(target)["public.Plan", "202401", "S1"]
    failing = frame.mapInArrow(once, frame.schema)
    failing.write.format("sacnb").mode("append").options(**options, version="public.Plan", method="Append").save(
        "SALES"
    )
    assert os.path.exists(marker)  # noqa: PTH110
    added = next(row for row in plan().to_dicts() if row["Store"] == "S1")
    assert facts(target)["public.Plan", "202401", "S1"][0] == before[0] + added["Amount"]


def test_a_write_that_fails_leaves_nothing(place: Any, target: Any, frame: Any, options: dict[str, str]) -> None:
    del options["partitions"]

    def never(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from batches
        raise RuntimeError("of the test")

    before, seen = facts(target), len(place.sandbox.log)
    failing = frame.mapInArrow(never, frame.schema)
    with pytest.raises(Exception, match="of the test"):
        failing.write.format("sacnb").mode("append").options(**options, version="public.Plan").save("SALES")
    assert written(place, seen) == []
    assert facts(target) == before


def test_overwriting_a_model_is_refused(target: Any, frame: Any, options: dict[str, str]) -> None:
    del options["partitions"]
    with pytest.raises(AnalysisException, match="which rows of the model it deletes"):
        frame.write.format("sacnb").mode("overwrite").options(**options, version="public.Plan").save("SALES")
