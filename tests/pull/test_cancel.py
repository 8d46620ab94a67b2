"""Ctrl-C and cancel end a pull within a second, even while a page is awaited, and leave everything to go on from."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time as real_time
from collections.abc import Callable
from pathlib import Path

import pytest

from sacnb._cache.staging import list_staging, staging_root
from sacnb._pull.progress import Progress
from sacnb._tenant import Tenant
from sacnb.errors import Cancelled
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.scale import scale

ConnectTo = Callable[..., Tenant]
StartPull = Callable[..., subprocess.Popen[str]]

AT_MOST_S = 10.0  # a fraction of a second, unless the machine is busy; the page pauses for 30 s
PATIENCE_S = 20.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = real_time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert real_time.monotonic() < deadline, "it never came"
        pause.wait(0.01)


def threads_of_ours() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("sacnb-stream", "sacnb-decode"))]


@pytest.fixture
def stuck(sandbox: Sandbox) -> Callable[[], bool]:
    """The fourth page drips in, a byte now and then; whether it has begun to."""
    sandbox.add_model(scale(20_000))
    sandbox.misbehave("slow_bytes", on="facts", after=3, chunks=10, pause_s=30)
    return lambda: sandbox.counts["misbehaved_slow_bytes"] > 0


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers Ctrl-C to groups of processes")
@pytest.mark.parametrize("method", ["refresh", "to_parquet"])
def test_a_signal_ends_a_process_that_waits_for_a_page(
    sandbox: Sandbox,
    connect_to: ConnectTo,
    start_pull: StartPull,
    stuck: Callable[[], bool],
    *,
    tmp_path: Path,
    method: str,
) -> None:
    call = {"folder": str(tmp_path / "x")} if method == "to_parquet" else {}
    process = start_pull(method, sandbox, facts={"page_size": 1_200}, call=call)
    assert process.stdout is not None
    assert [int(process.stdout.readline()) for _ in range(3)] == [1_200, 2_400, 3_600]
    wait_for(stuck)

    began = real_time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert real_time.monotonic() - began < AT_MOST_S
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "")

    (left,) = list_staging(staging_root(tmp_path / "cache"))
    assert (left.rows, left.is_running) == (3_600, False)
    sandbox.behave()
    seen: list[Progress] = []
    getattr(connect_to(sandbox).model("SCALE").facts(page_size=1_200), method)(**call, progress=seen.append)
    assert (seen[0].resumed_rows, seen[-1].rows) == (3_600, 20_000)


@pytest.mark.parametrize("method", ["fetch", "refresh", "to_parquet", "stream"])
def test_cancel_from_another_thread_ends_the_wait_for_a_page(
    sandbox: Sandbox, connect_to: ConnectTo, stuck: Callable[[], bool], tmp_path: Path, method: str
) -> None:
    stop = threading.Event()
    facts = connect_to(sandbox).model("SCALE").facts(page_size=1_200, partitions=None)
    stopped_at: list[float] = []

    def stop_when_stuck() -> None:
        wait_for(stuck)
        stopped_at.append(real_time.monotonic())
        stop.set()

    def pull() -> None:
        if method == "stream":
            list(facts.stream(cancelled=stop.is_set))
        elif method == "to_parquet":
            facts.to_parquet(tmp_path / "x", cancelled=stop.is_set)
        else:
            getattr(facts, method)(cancelled=stop.is_set)

    stopper = threading.Thread(target=stop_when_stuck)
    stopper.start()
    with pytest.raises(Cancelled):
        pull()
    assert real_time.monotonic() - stopped_at[0] < AT_MOST_S
    stopper.join()
    assert threads_of_ours() == []
    assert not (tmp_path / "x").exists()
    summary = facts.connection.context.telemetry.summary()
    assert (summary.failures, summary.retries) == (0, {}), "to be stopped is no failure"


def test_the_last_good_result_outlives_a_cancel(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    before = model.refresh()
    with pytest.raises(Cancelled):
        model.refresh(cancelled=lambda: True)
    kept = model.facts().refresh(max_age_s=3600)
    assert kept.info == before.info
