"""Many seeded runs in a spoiled world: each ends in time, with exactly the right rows or a typed error.

``make chaos RUNS=1000 SEED=7`` prints a report; ``--only 42`` of ``python -m chaos`` repeats one run.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import random
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .jobs import JOBS, Run, Wrong, expected
from .world import World

# A run with its waits on the chaos clock takes about a second; the longest wait for bytes is one.
LIMIT_S = 120.0


@dataclass
class Report:
    """What happened: runs by outcome, faults by kind, and everything that may not be."""

    seed: int
    runs: int = 0
    right_rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    rows_lost: int = 0
    rows_doubled: int = 0
    longest_run_s: float = 0.0
    # On the clock of the runs, on which waits count in full: of a call as a whole, and of one wait.
    longest_stall_s: float = 0.0
    longest_wait_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)


def chaos(seed: int, numbers: range, seconds: float = float("inf")) -> Report:
    """Make the runs of these *numbers*, or those that begin in time; each depends on the seed and its number alone."""
    until = time.monotonic() + seconds
    report = Report(seed)
    top = Path(tempfile.mkdtemp(prefix="sacnb-chaos-"))
    _warm_up(seed, top)
    before = open_things()
    world = World(seed)
    try:
        quiet = world.connect(top / "quiet")
        right = expected(quiet)
        quiet.close()
        for number in numbers:
            if time.monotonic() > until:
                break
            folder = top / str(number)
            folder.mkdir()
            randomness = random.Random(f"{seed}/{number}")
            job = randomness.choice(JOBS)
            run = Run(world, randomness, folder, world.connect(folder / "cache", randomness),
                      world.connect(folder / "cache"), right)  # fmt: skip
            started = time.monotonic()
            failures = _in_time(job, run)
            report.longest_run_s = max(report.longest_run_s, time.monotonic() - started)
            report.runs += 1
            report.jobs[job.__name__] += 1
            report.retries.update(run.tenant.telemetry.summary().retries)
            report.retries.update(run.retries)
            report.longest_stall_s = max(report.longest_stall_s, run.stall_s)
            report.rows_lost += run.lost
            report.rows_doubled += run.doubled
            report.wrong += [f"run {number}, {job.__name__}: {failure}" for failure in failures]
            if run.error is not None:
                report.errors[type(run.error).__name__] += 1
            elif not failures:
                report.right_rows += 1
            run.tenant.close()
            run.quiet.close()
            shutil.rmtree(folder)
    finally:
        world.close()
        shutil.rmtree(top)
    report.faults = world.faults
    report.longest_wait_s = world.time.longest_wait_s
    report.left_over = left_over(before)
    return report


def _warm_up(seed: int, top: Path) -> None:
    """Do everything once, so that threads which live as long as the process are there before the count begins."""
    world = World(seed)
    with world.connect(top / "first") as tenant:
        expected(tenant)
    world.close()


def _in_time(job: object, run: Run) -> list[str]:
    failures: list[str] = []

    def work() -> None:
        try:
            job(run)  # type: ignore[operator]
        except Wrong as wrong:
            failures.append(str(wrong))
        except BaseException:  # noqa: BLE001 - whatever is no error of ours is a finding
            failures.append(traceback.format_exc())

    thread = threading.Thread(target=work, name="chaos-run", daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if thread.is_alive():
        faulthandler.dump_traceback(all_threads=True)
        failures.append(f"did not end within {LIMIT_S:.0f} s; the stacks are above")
    return failures


def open_things() -> set[str]:
    """Return the threads, sockets, pipes and files of this process."""
    # A dummy is a thread of polars that called us once; polars keeps its threads.
    threads = {
        f"thread {thread.name}" for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)
    }
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return threads
    found = set()
    for one in folder.iterdir():
        try:
            kind = str(one.readlink())
        except OSError:  # the one that lists the folder is closed by now
            continue
        if kind.startswith(("socket:", "pipe:")) or "sacnb-chaos" in kind:
            found.add(f"file {kind}")
    return threads | found


def left_over(before: set[str]) -> list[str]:
    """Return what is open that was not before, once threads had a moment to end."""
    deadline = time.monotonic() + 5
    while True:
        gc.collect()
        left = sorted(open_things() - before)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def read_runs(program: str, description: str | None, *, usual: int) -> tuple[int, range, float]:
    """Read which runs are asked for: their seed, which is printed, their numbers, and the seconds they may take."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--runs", type=int, default=usual)
    parser.add_argument("--seed", type=int, default=None, help="by default another one each time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after that")
    parser.add_argument("--only", type=int, default=None, help="the number of one run")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    return seed, range(given.runs) if given.only is None else range(given.only, given.only + 1), given.seconds


def main() -> int:
    """Make the runs, print the report; return 1 where anything was wrong."""
    report = chaos(*read_runs("chaos", __doc__, usual=1000))
    print(json.dumps(vars(report), indent=2))
    return 1 if report.wrong or report.left_over else 0
