"""A fork gets its own answers or a clear refusal, and takes nothing away from the process it comes from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sacnb import _fork
from sacnb._cache.staging import StagingArea
from sacnb._pull.pipeline import Arrived, Pipeline
from sacnb._pull.stream import Spool
from sacnb._tenant import Tenant
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.scale import scale

ConnectTo = Callable[..., Tenant]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_a_fork(work: Callable[[], object]) -> str:
    """Call ``work`` in a fork; what it returned, or the class and the text of what it raised."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of a process with threads: that is the case
        child = os.fork()
    if child == 0:
        try:
            found = str(work())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            found = f"{type(error).__name__}: {error}"
        os.write(writer, found.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def test_a_fork_refuses_where_polars_would_hang(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"})
    assert len(facts.fetch()) == 228
    said = in_a_fork(facts.fetch)
    assert said.startswith("SacError: This process was forked")
    assert 'get_context("spawn")' in said
    assert len(facts.fetch()) == 228, "the process itself goes on"


def test_a_fork_may_use_polars_that_was_only_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pl.DataFrame({"a": [1]}).hash_rows().len() == 1
    monkeypatch.setattr(_fork, "_has_pool", lambda: False)
    assert in_a_fork(_fork.refuse_polars_after_fork) == "None"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_a_pool_that_runs_is_seen_among_the_threads() -> None:
    pl.DataFrame({"a": range(1000)}).hash_rows()
    assert _fork._has_pool()


def test_a_stream_that_was_begun_before_the_fork_ends_in_the_fork_and_goes_on_here(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    sandbox.add_model(scale(20_000))
    stream = connect_to(sandbox).model("SCALE").facts(page_size=2_000).stream()
    rows = next(stream).num_rows
    assert "cannot continue it" in in_a_fork(lambda: next(stream))
    assert in_a_fork(stream.close) == "None"
    assert rows + sum(batch.num_rows for batch in stream) == 20_000


def test_a_fork_waits_for_no_thread_and_stops_no_request_of_its_parent() -> None:
    stopped: list[int] = []
    with Pipeline[int, int](lambda page: page, streams=1, workers=1, ahead=3, stop=lambda: stopped.append(1)) as line:
        line.add(0, lambda: iter(range(5)))
        events = iter(line)
        assert next(events) == Arrived(0, 0)
        line._state.acquire()  # another thread may hold it at the fork
        try:
            assert in_a_fork(lambda: (line.close(), len(stopped))[1]) == "0"
            assert in_a_fork(lambda: next(events)).startswith("SacError")
        finally:
            line._state.release()
        assert [event.value for event in events if isinstance(event, Arrived)] == [1, 2, 3, 4]


def test_a_fork_leaves_the_files_and_the_lock_of_a_pull_alone(tmp_path: Path) -> None:
    import pyarrow as pa

    area = StagingArea.open(tmp_path, {"query": "x"})
    assert area is not None
    with Spool() as spool:
        spool.put(1, pa.table({"a": [1]}))

        def unwind() -> None:
            spool.__exit__(None, None, None)
            area.discard()
            area.close()

        assert in_a_fork(unwind) == "None"
        assert area.directory.is_dir()
        assert StagingArea.open(tmp_path, {"query": "x"}) is None, "it is still held"
        assert [table.num_rows for table in spool.take(1)] == [1]
    area.discard()


def test_a_fork_can_open_what_its_parent_let_go_of(tmp_path: Path) -> None:
    def opened() -> Any:
        area = StagingArea.open(tmp_path, {"query": "x"})
        if area is None:
            return "held"
        area.close()
        return "opened"

    area = StagingArea.open(tmp_path, {"query": "x"})
    assert area is not None
    assert in_a_fork(opened) == "held"
    area.close()
    assert in_a_fork(opened) == "opened"


def test_a_result_of_the_parent_is_given_as_arrow_and_refused_as_polars(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    result = connect_to(sandbox).model("US_EMPLOYMENT").facts(where={"Sector": "31"}).fetch()
    assert in_a_fork(lambda: result.arrow().num_rows) == "228"
    assert in_a_fork(result.polars).startswith("SacError: This process was forked")
