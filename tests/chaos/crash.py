"""Processes that are killed, meet a full or read-only disk, or get in each other's way: ``make crash RUNS=200 SEED=7``.

Each run makes trouble for a refresh, an export, a write, an append to Snowflake or a repair of the cache, looks at what
is there afterwards, and then lets the same call run in peace: the last good result is intact, and in the end every row
is there once. ``--only 42`` of ``python -m chaos.crash`` repeats one run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import forking

from .run import read_runs
from .scenes import SCENES, Scene, World, Wrong

# The exit codes of victim.py.
DONE, REFUSED, KILLED, ALARMED = 0, 3, -9, -14
LIMIT_S: Final = 60.0
NAMES: Final = ("plain", "a b  c", "größe 目录 \u202e", "emoji \U0001f4c1 & 'quotes'", "100% #1?&=;", ".hidden", "-rf")


@dataclass
class Report:
    """What happened: runs by kind of trouble, how the processes ended, and everything that may not be."""

    seed: int
    runs: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    longest_run_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Victims:
    """The process whose forks are killed."""

    def __init__(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("SAC_", "SNOWFLAKE_"))}
        script = Path(__file__).with_name("victim.py")
        self._process = forking.Forked(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**environ, "PYTHONPATH": os.pathsep.join([*sys.path])},
        )  # fmt: skip

    def run(self, *told: dict[str, Any]) -> list[dict[str, Any]]:
        """Run these jobs at once; return how each ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([{"die_after_s": LIMIT_S, **one} for one in told]) + "\n")
        self._process.stdin.flush()
        outcomes: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        for one, outcome in zip(told, outcomes, strict=True):
            if outcome["code"] == ALARMED and "die_after_s" not in one:
                raise Wrong(f"it did not end within {LIMIT_S:.0f} s")
            if outcome["code"] not in {DONE, REFUSED, KILLED, ALARMED}:
                raise Wrong(f"it ended with {outcome['code']}: {outcome['said']}")
        return outcomes

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Crash:
    """One run: its random numbers and its folder."""

    def __init__(self, world: World, victims: Victims, report: Report, numbers: random.Random, scene: Scene) -> None:
        self.world = world
        self.victims = victims
        self.report = report
        self.numbers = numbers
        self.scene = scene

    def run(self) -> None:
        """Make trouble, look at what is left, and run the same call in peace."""
        self.scene.prepare(self.numbers)
        told = self.scene.told()
        # How long it takes in peace differs with what was prepared; too late a death is no death.
        steps, seconds = self.world.pace[told["job"]]
        kinds = ["step", "step", "step", "time", "again", "file limit", "together"]
        kinds += ["full disk", "read-only"] if self.world.can_mount else []
        trouble = self.numbers.choice(kinds)
        self.report.troubles[trouble] += 1
        self._make(trouble, told, steps, seconds)
        self.scene.look()
        if not self.scene.is_done():
            (last,) = self.victims.run(told)
            if last["code"] != DONE:
                raise Wrong(f"in peace it ended with {last['code']}: {last['said']}")
        self.scene.check()

    def _make(self, trouble: str, told: dict[str, Any], steps: int, seconds: float) -> None:
        numbers = self.numbers
        deaths = [{**told, "die_at": numbers.randint(1, steps + 2)} for _ in range(numbers.randint(2, 5))]
        match trouble:
            case "step":
                self._ended(self.victims.run(deaths[0]))
            case "time":
                self._ended(self.victims.run({**told, "die_after_s": numbers.uniform(0.001, seconds * 1.2)}))
            case "again":
                for one in deaths:
                    if self.scene.is_done():
                        break
                    self._ended(self.victims.run(one))
                    self.scene.look()
            case "file limit":
                self._ended(self.victims.run({**told, "most_bytes": numbers.choice([0, 200, 2_000, 8_000])}))
            case "full disk":
                room_kib = _used_kib(self.scene.folder) + numbers.choice([4, 8, 16, 32, 64])
                self._on_disk(told, f"size={room_kib}k", "size=64m")
            case "read-only":
                self._on_disk(told, "ro", "rw")
            case "together":
                self._together(told, steps)

    def _together(self, told: dict[str, Any], steps: int) -> None:
        several = [dict(told) for _ in range(self.numbers.randint(2, 8))]
        self.scene.most = len(several)
        for one in several[1:]:
            if self.numbers.random() < 0.3:
                one["die_at"] = self.numbers.randint(1, steps)
        outcomes = self.victims.run(*several)
        self._ended(outcomes)
        if all(outcome["code"] == REFUSED for outcome in outcomes):
            raise Wrong(f"they refused each other: {outcomes[0]['said']}")

    def _on_disk(self, told: dict[str, Any], spoiled: str, mended: str) -> None:
        for options in (spoiled, mended):
            subprocess.run(["mount", "-o", f"remount,{options}", str(self.scene.folder)], check=True)
            if options == spoiled:
                self._ended(self.victims.run(told))
                self.scene.look()

    def _ended(self, outcomes: list[dict[str, Any]]) -> None:
        for outcome in outcomes:
            names = {DONE: "done", REFUSED: "refused", KILLED: "killed", ALARMED: "killed"}
            self.report.ended[names[outcome["code"]]] += 1
            if outcome["code"] == REFUSED:
                self.report.errors[outcome["said"].partition(":")[0]] += 1


def crash(seed: int, numbers: range, seconds: float = float("inf")) -> Report:
    """Make the runs of these *numbers*, or those that begin in time; each depends on the seed and its number alone."""
    until = time.monotonic() + seconds
    report = Report(seed)
    top = Path(tempfile.mkdtemp(prefix="sacnb-crash-"))
    victims, world = Victims(), World(can_mount=_can_mount(top))
    try:
        for scene_class in SCENES:
            world.pace[scene_class.job] = _pace(world, victims, top / f"pace of {scene_class.job}", scene_class)
        for number in numbers:
            if time.monotonic() > until:
                break
            randomness = random.Random(f"{seed}/{number}")
            folder = top / f"{randomness.choice(NAMES)} {number}"
            folder.mkdir()
            scene = SCENES[number % len(SCENES)](world, folder, number)
            started = time.monotonic()
            try:
                with _mounted(folder) if world.can_mount else _unmounted():
                    Crash(world, victims, report, randomness, scene).run()
            except Wrong as wrong:
                report.wrong.append(f"run {number}, {scene.job}: {wrong}")
            except Exception:  # noqa: BLE001 - whatever is no error of ours is a finding
                report.wrong.append(f"run {number}, {scene.job}: {traceback.format_exc()}")
            report.longest_run_s = max(report.longest_run_s, time.monotonic() - started)
            report.runs += 1
            report.jobs[scene.job] += 1
            shutil.rmtree(folder)
    finally:
        victims.close()
        world.close()
        shutil.rmtree(top)
    return report


def _pace(world: World, victims: Victims, folder: Path, scene_class: type[Scene]) -> tuple[int, float]:
    """Run a job once in peace; return its steps and seconds."""
    folder.mkdir()
    scene = scene_class(world, folder, -1)
    scene.prepare(random.Random(0))
    started = time.monotonic()
    (outcome,) = victims.run(scene.told())
    seconds = time.monotonic() - started
    if outcome["code"] != DONE:
        raise Wrong(f"{scene.job} in peace ended with {outcome['code']}: {outcome['said']}")
    scene.check()
    return outcome["steps"], seconds


def _used_kib(folder: Path) -> int:
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize // 1024


def _can_mount(top: Path) -> bool:
    """Return whether this process may mount: a full disk and a read-only one then need no pretence."""
    if os.name == "nt" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    folder = top / "mount"
    folder.mkdir()
    try:
        with _mounted(folder):
            return True
    except subprocess.CalledProcessError:
        return False


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    subprocess.run(mount, check=True, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _unmounted() -> Iterator[None]:
    yield


def main() -> int:
    """Make the runs, print the report; return 1 where anything was wrong."""
    report = crash(*read_runs("crash", __doc__, usual=500))
    print(json.dumps(vars(report), indent=2))
    return 1 if report.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
