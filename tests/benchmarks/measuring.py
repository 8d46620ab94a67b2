"""Start measurements, one process after the other, and take down what they say."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.memory import Watch
from benchmarks.server import Server

SMALL_ROWS = 1000


@dataclass(frozen=True)
class Bench:
    """What all measurements share. ``say`` is told how far they are."""

    server: Server
    environ: dict[str, str]
    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)

    def measure(
        self,
        candidate: str,
        rows: int,
        latency_ms: float,
        *,
        times: int = 1,
        sample: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a candidate so many times, each in a process of its own; the medians, and what each run said."""
        runs = [self._run(candidate, rows, latency_ms, sample=sample, options=options) for _ in range(times)]
        result = {
            "candidate": candidate,
            "rows": rows,
            "latency_ms": latency_ms,
            **options,
            "seconds": statistics.median(run["seconds"] for run in runs),
            "cpu_s": statistics.median(run["cpu_s"] for run in runs),
            "peak_mb": statistics.median(run["peak_mb"] for run in runs),
            "above_idle_mb": round(statistics.median(run["peak_mb"] - run["idle_mb"] for run in runs), 1),
            "runs": runs,
        }
        self.say(
            f"{time.monotonic() - self.began:5.0f} s  {candidate:<24}{rows:>11,} rows {latency_ms:>4.0f} ms  "
            f"{result['seconds']:8.3f} s  {result['above_idle_mb']:7.0f} MB above idle"
            + "".join(f"  {name}={value}" for name, value in options.items())
        )
        return result

    def _run(
        self, candidate: str, rows: int, latency_ms: float, *, sample: bool, options: dict[str, Any]
    ) -> dict[str, Any]:
        job = {
            "candidate": candidate,
            "small": asdict(self.server.target(SMALL_ROWS)),
            "target": asdict(self.server.target(rows)),
            "options": options,
        }
        self.server.set_latency(0)
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as said,
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=self.environ,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            is_ready = bool(process.stdout.readline())
            watch = None
            if is_ready:
                self.server.set_latency(latency_ms)
                watch = Watch(process.pid) if sample else None
                process.stdin.write("go\n")
                process.stdin.flush()
            line = process.stdout.readline()
            samples = watch.stop() if watch is not None else []
            process.wait()
            if not line:
                said.seek(0)
                raise RuntimeError(f"{candidate} failed:\n{said.read()}")
        found: dict[str, Any] = json.loads(line)
        return {**found, "samples": samples} if sample else found
