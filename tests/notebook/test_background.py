"""The worker of a widget: one job at a time, stopped and joined."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import forking
import pytest

from sacnb._connections import Interrupt
from sacnb.notebook.background import Worker, later

PATIENCE_S = 30


def test_one_job_runs_at_a_time_and_changes_are_reported() -> None:
    reported: list[bool] = []
    worker = Worker("test", lambda: reported.append(worker.is_busy))
    go_on = threading.Event()
    assert worker.start(lambda _: go_on.wait(PATIENCE_S) and None)
    assert not worker.start(lambda _: None)
    go_on.set()
    worker.wait()
    assert reported == [True, False]
    assert worker.start(lambda _: None)
    worker.close()
    assert reported == [True, False, True, False]


def test_stopping_sets_the_switch_of_the_running_job_only() -> None:
    worker = Worker("test", lambda: None)
    assert not worker.stop()
    seen: list[bool] = []
    for _ in range(2):
        began, go_on = threading.Event(), threading.Event()

        def job(interrupt: Interrupt, began: threading.Event = began, go_on: threading.Event = go_on) -> None:
            seen.append(interrupt())
            began.set()
            go_on.wait(PATIENCE_S)
            seen.append(interrupt())

        worker.start(job)
        assert began.wait(PATIENCE_S)
        assert worker.stop()
        go_on.set()
        worker.wait()
    assert seen == [False, True, False, True]


def test_a_closed_worker_accepts_no_job() -> None:
    worker = Worker("test", lambda: None)
    worker.close()
    assert worker.is_closed
    assert not worker.start(lambda _: None)


def test_a_job_may_close_its_own_worker() -> None:
    worker = Worker("test", lambda: None)
    worker.start(lambda _: worker.close())
    worker.wait()
    assert worker.is_closed


def test_ctrl_c_while_waiting_stops_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker("test", lambda: None)
    go_on = threading.Event()
    seen: list[bool] = []

    def job(interrupt: Interrupt) -> None:
        go_on.wait(PATIENCE_S)
        seen.append(interrupt())

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    worker.start(job)
    with monkeypatch.context() as patch:
        patch.setattr(worker._thread, "join", interrupted)  # a real signal would come a moment too early or too late
        with pytest.raises(KeyboardInterrupt):
            worker.wait()
    go_on.set()
    worker.wait()
    assert seen == [True]


def test_a_timer_fires_unless_it_is_cancelled() -> None:
    fired, never = threading.Event(), threading.Event()
    cancel = later(3600, never.set)
    later(0, fired.set)
    assert fired.wait(PATIENCE_S)
    cancel()
    assert not never.is_set()


def test_the_end_of_the_program_ends_a_working_panel(tmp_path: Path) -> None:
    """As at the end of a kernel: without waiting for a page that takes minutes, and without output."""
    program = """
import sacnb
sac = sacnb.connect("sandbox")
sac.sandbox.misbehave("slow_bytes", on="facts", chunks=1000, pause_s=1)
panel = sac.model("US_EMPLOYMENT").refresh_panel(every_minutes=60)
panel.refresh()
"""
    done = forking.run(
        [sys.executable, "-c", program],
        text=True,
        timeout=60,
        env={"SAC_CACHE_DIR": str(tmp_path), "PATH": ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
