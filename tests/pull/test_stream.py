"""The rows as they come: for everything that reads Arrow, in order, in constant memory, once."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import forking
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sacnb._pull.plan import Job, Plan
from sacnb._pull.stream import BatchStream, Spool
from sacnb._tenant import Tenant
from sacnb._wire.telemetry import current_trace_id
from sacnb.errors import BadAnswer, Cancelled, ExportError, UnknownNameError
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]


def threads_of_ours() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("sacnb-stream", "sacnb-decode"))]


@pytest.fixture
def facts(sandbox: Sandbox, connect_to: ConnectTo) -> Callable[..., Any]:
    def facts(**options: Any) -> Any:
        return connect_to(sandbox).model("US_EMPLOYMENT").facts(**{"page_size": 500, **options})

    return facts


def of(job: Job) -> BatchStream:
    return BatchStream(job, lambda job: Plan.of(job.query, job.schema, job.tenant_url))


def test_nothing_is_asked_before_the_first_batch_is(sandbox: Sandbox, facts: Callable[..., Any]) -> None:
    question = facts()
    stream = question.stream()
    assert sandbox.counts["facts_requests"] == 0
    assert stream.schema.names == ["Version", "Date", "Sector", "Employees"]
    assert next(stream).num_rows == 500
    assert sandbox.counts["facts_requests"] >= 1


def test_every_reader_of_arrow_gets_the_rows_of_a_fetch(facts: Callable[..., Any]) -> None:
    whole = facts().fetch().arrow()
    assert facts().stream().read_all().equals(whole, check_metadata=True)
    assert pa.Table.from_batches(list(facts().stream())).equals(whole)
    assert pa.table(facts().stream()).equals(whole)
    assert pa.RecordBatchReader.from_stream(facts().stream()).read_all().equals(whole)
    assert pl.DataFrame(facts().stream()).equals(pl.DataFrame(whole))
    assert pd.DataFrame.from_arrow(facts().stream()).equals(pd.DataFrame.from_arrow(whole))


def test_duckdb_reads_a_stream_by_the_name_of_its_variable(facts: Callable[..., Any], sandbox: Sandbox) -> None:
    rows = facts().fetch().arrow().to_pylist()
    asked = sandbox.counts["facts_requests"]
    stream = facts().stream()  # noqa: F841 - DuckDB finds it
    assert duckdb.sql("select * from stream").fetchall() == [tuple(row.values()) for row in rows]
    assert sandbox.counts["facts_requests"] == 2 * asked  # once is enough


def test_a_stream_says_what_it_is(facts: Callable[..., Any]) -> None:
    assert repr(facts().stream()).startswith("<BatchStream of ")


def test_a_batch_is_a_page(facts: Callable[..., Any]) -> None:
    assert [batch.num_rows for batch in facts().stream()] == [500] * 6 + [420]


def test_no_rows_are_no_batches_and_a_schema(facts: Callable[..., Any]) -> None:
    stream = facts(where={"Sector": []}).stream()
    assert list(stream) == []
    assert pl.DataFrame(facts(where={"Sector": []}).stream()).columns == stream.schema.names


@pytest.mark.parametrize("limit", [0, 1, 499, 500, 1234])
def test_a_limit_holds(facts: Callable[..., Any], limit: int) -> None:
    assert facts(limit=limit).stream().read_all().equals(facts(limit=limit).fetch().arrow())


def test_a_stream_can_be_read_once(facts: Callable[..., Any]) -> None:
    stream = facts().stream()
    assert stream.read_all().num_rows == 3420
    assert stream.read_all().num_rows == 0


def test_leaving_early_ends_the_threads(facts: Callable[..., Any]) -> None:
    with facts().stream() as stream:
        next(stream)
        assert threads_of_ours()
    assert threads_of_ours() == []
    assert list(stream) == []


def test_dropping_a_stream_ends_the_threads(facts: Callable[..., Any]) -> None:
    stream = facts().stream()
    next(stream)
    assert threads_of_ours()
    del stream
    gc.collect()
    assert threads_of_ours() == []


def test_cancel_ends_it_from_any_thread(facts: Callable[..., Any]) -> None:
    stream = facts().stream()
    next(stream)
    canceller = threading.Thread(target=stream.cancel)
    canceller.start()
    canceller.join()
    with pytest.raises(Cancelled) as caught:
        list(stream)
    assert stream.error is caught.value
    assert threads_of_ours() == []


def test_an_error_that_another_library_wraps_is_kept(sandbox: Sandbox, facts: Callable[..., Any]) -> None:
    sandbox.misbehave("rows_missing", times=1, after=2)
    stream = facts().stream()
    with pytest.raises(Exception, match="announced 3,420 rows"):
        pl.DataFrame(stream)
    assert isinstance(stream.error, BadAnswer)


def test_an_unknown_member_is_an_error_at_the_end(facts: Callable[..., Any]) -> None:
    stream = facts(where={"Sector": ["31", "3l"]}).stream()
    assert next(stream).num_rows == 228
    with pytest.raises(UnknownNameError, match="'3l'"):
        next(stream)


def test_the_telemetry_operation_does_not_leak_into_the_caller(facts: Callable[..., Any]) -> None:
    traces: set[str | None] = set()
    question = facts()
    question.connection.context.telemetry.add_hook(lambda event: traces.add(getattr(event, "trace_id", None)))
    stream = question.stream()
    for _ in stream:
        assert current_trace_id() is None
    assert len(traces - {None}) == 1


def test_more_digits_than_declared_are_refused_and_not_rounded(job_of: Callable[..., Job]) -> None:
    job = job_of({"a": "1.5", "b": "0.1234567"}, {"c": "0.12345678"})
    stream = of(job)
    assert next(stream).column("Amount").to_pylist() == [Decimal("1.5000000"), Decimal("0.1234567")]
    with pytest.raises(BadAnswer, match=r"GIVEN/FactData has more digits.*Use fetch\(\) or to_parquet\(\)"):
        next(stream)


def test_digits_that_fit_after_all_are_no_reason_to_refuse(job_of: Callable[..., Job]) -> None:
    job = job_of({"a": '"1.5"', "b": "25e-1"})  # a number as a string: this page is read by the strict decoder
    assert of(job).read_all()["Amount"].to_pylist() == [Decimal("1.5000000"), Decimal("2.5000000")]


def test_what_comes_ahead_of_its_turn_waits_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    tables = [pa.table({"x": [number]}) for number in range(4)]
    with Spool() as spool:
        assert list(tmp_path.iterdir()) == []
        for table in tables[:3]:
            spool.put(2, table)
        spool.put(5, tables[3])
        spool.put(6, tables[3])
        assert len(list(tmp_path.iterdir())) == 1
        assert list(spool.take(9)) == []
        assert list(spool.take(2)) == tables[:3]
        assert list(spool.take(2)) == []
        spool.drop(5)
        spool.drop(5)
        assert list(spool.take(5)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits on the size of files")
def test_a_full_folder_for_temporary_files_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    code = (
        "import pyarrow as pa, resource, signal, sys\n"
        "from sacnb._pull.stream import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "table = pa.table({'x': [str(number) for number in range(100_000)]})\n"
        "from sacnb.errors import ExportError\n"
        "try:\n"
        "    with Spool() as spool:\n"
        "        spool.put(1, table)\n"
        "except ExportError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = forking.run([sys.executable, "-c", code], env=environment, text=True)
    assert done.returncode == 0, done.stderr
    assert "is full" in done.stdout
    assert "TMPDIR" in done.stdout
    assert str(tmp_path) in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_no_folder_for_temporary_files_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with Spool() as spool, pytest.raises(ExportError, match=r"cannot be used \(No usable.*TMPDIR"):
        spool.put(1, pa.table({"x": [1]}))
