"""Run mutated inputs through their targets, keep those that reach new code, and report what is found.

``python -m fuzz --seconds 60 --seed 7`` prints a report as JSON, and ends with an error where anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from sacnb.errors import SacError

from .mutate import MOST_BYTES, mutate
from .seeds import made
from .targets import TARGETS

CORPUS: Final = Path(__file__).parent / "corpus"
FOUND: Final = Path("out/fuzz")
MOST_S: Final = 2.0
MOST_GROWTH_MB: Final = 300
# What stays in the repository: inputs that reach code that no shorter one reaches.
_KEPT_BYTES: Final = 1_500
_KEPT_INPUTS: Final = 25


class _TooLongError(Exception):
    """An input took too much time."""


@dataclass
class Finding:
    """An input that gave something else than a value or an error of sacnb."""

    target: str
    problem: str
    place: str
    file: str


@dataclass
class Report:
    """Inputs by target, how many were refused by an error of sacnb, and what was found."""

    seed: int
    inputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    corpus: dict[str, int] = field(default_factory=dict)
    reached: int = 0
    longest_s: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def corpus_of(target: str) -> list[tuple[str, bytes]]:
    """Return the inputs to begin with, and their names."""
    kept = [(path.name, path.read_bytes()) for path in sorted((CORPUS / target).glob("*"))]
    return [*kept, *((f"made {number}", data) for number, data in enumerate(made(target)))]


class Coverage:
    """How much code was reached so far, as coverage.py counts it; it has a tracer in C."""

    def __init__(self) -> None:
        import coverage

        self._measured = coverage.Coverage(data_file=None, branch=True, source_pkgs=["sacnb"])
        self._measured.start()
        self._data: Mapping[str, Any] = self._measured._collector.data  # type: ignore[union-attr]

    def reached(self) -> int:
        """Return the number of jumps between lines."""
        return sum(map(len, self._data.values()))


class Fuzzer:
    """One target with its inputs."""

    def __init__(self, target: str, report: Report, coverage: Coverage | None = None) -> None:
        self._target = target
        self._call = TARGETS[target]
        self._report = report
        self._coverage = coverage
        self._rng = random.Random(f"{report.seed} {target}")
        self._known: set[tuple[str, str]] = set()
        self.corpus: list[bytes] = []
        self.grown: list[bytes] = []
        begun = [data for _, data in corpus_of(target)]
        for data in begun:
            with suppress(Exception):
                self._call(data)  # what is imported on first use takes seconds
        for data in begun:
            self._try(data)
            self.corpus.append(data[:MOST_BYTES])

    def step(self) -> None:
        """Try one more input."""
        rng = self._rng
        # New inputs are tried more often: they have just reached something.
        recent = self.grown[-20:]
        data = rng.choice(recent) if recent and rng.random() < 0.3 else rng.choice(self.corpus)
        self._try(mutate(data, self.corpus, rng))

    def _try(self, data: bytes) -> None:
        before = 0 if self._coverage is None else self._coverage.reached()
        self._report.inputs[self._target] += 1
        problem = self._problem(data)
        if problem is not None and (kind := (problem[0].partition(":")[0], problem[1])) not in self._known:
            self._known.add(kind)
            self._note(self._shorter(data, problem), problem)
        if self._coverage is not None and self._coverage.reached() > before:
            self.corpus.append(data)
            self.grown.append(data)

    def _problem(self, data: bytes) -> tuple[str, str] | None:
        """Return what is wrong with what the target does, and where; None where all is well."""
        started, memory = time.thread_time(), _most_memory_mb()
        try:
            with _time_limit(10 * MOST_S):
                self._call(data)
        except SacError:
            self._report.refused[self._target] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {error}"[:200], f"{Path(last.filename).name}, {last.name}"
        took_s, grown_mb = time.thread_time() - started, _most_memory_mb() - memory
        longest_s = self._report.longest_s
        longest_s[self._target] = round(max(took_s, longest_s.get(self._target, 0.0)), 3)
        if took_s > MOST_S:
            return "takes too long", ""
        return ("takes too much memory", "") if grown_mb > MOST_GROWTH_MB else None

    def _shorter(self, data: bytes, problem: tuple[str, str]) -> bytes:
        """Return a part of *data* that has the same problem at the same place."""
        if problem[0] == "takes too much memory":  # memory that was taken once is not given back
            return data
        size, tries = len(data) // 2, 0
        while size and tries < 300:
            for start in range(0, len(data), size):
                part, tries = data[:start] + data[start + size :], tries + 1
                found = self._problem(part)
                if found is not None and found[1] == problem[1] and found[0][:12] == problem[0][:12]:
                    data = part
                    break
            else:
                size //= 2
        return data

    def _note(self, data: bytes, problem: tuple[str, str]) -> None:
        FOUND.mkdir(parents=True, exist_ok=True)
        file = FOUND / f"{self._target}-{hashlib.sha256(data).hexdigest()[:12]}"
        file.write_bytes(data)
        self._report.findings.append(Finding(self._target, *problem, str(file)))


def _most_memory_mb() -> float:
    most: float = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise _TooLongError(f"still running after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(
    seed: int, *, inputs: int | None = None, seconds: float = 0.0, targets: Sequence[str] = tuple(TARGETS)
) -> Report:
    """Try *inputs* for each target, always the same ones; or for *seconds* in all, led by what code they reach."""
    report = Report(seed)
    coverage = None if inputs is not None else Coverage()
    for target in targets:
        ends_at = time.monotonic() + seconds / len(targets)
        fuzzer = Fuzzer(target, report, coverage)
        if inputs is not None:
            for _ in range(inputs):
                fuzzer.step()
        while inputs is None and time.monotonic() < ends_at:
            fuzzer.step()
        report.corpus[target] = len(fuzzer.corpus)
        if coverage is not None:
            _keep(target, fuzzer.grown)
    report.reached = 0 if coverage is None else coverage.reached()
    return report


def _keep(target: str, grown: list[bytes]) -> None:
    """Write the short inputs that reached new code, for the next run and for who adds them to the corpus."""
    folder = FOUND / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in sorted((one for one in grown if len(one) <= _KEPT_BYTES), key=len)[:_KEPT_INPUTS]:
        (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def main() -> int:
    """Parse the command line, run, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    logging.disable(logging.CRITICAL)
    print(f"seed {seed}", flush=True)
    report = fuzz(seed, seconds=given.seconds, targets=given.target or tuple(TARGETS))
    about = {**vars(report), "findings": [asdict(one) for one in report.findings]}
    print(json.dumps({"all": sum(report.inputs.values()), **about}, indent=1))
    return 1 if report.findings else 0
