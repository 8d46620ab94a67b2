"""What memory a process takes, as Linux says: resident megabytes, now and at most."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_INTERVAL_S: Final = 0.1


def resident_mb(pid: int | str = "self") -> float:
    """What is resident now."""
    return _read(pid, "VmRSS")


def peak_mb() -> float:
    """The most that was resident since ``forget_peak``."""
    return _read("self", "VmHWM")


def forget_peak() -> None:
    """Have the peak begin anew: what imports took for a moment is not what a pull takes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _read(pid: int | str, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    if found is None:
        raise ProcessLookupError(f"{name} of process {pid} cannot be read")
    return int(found[1]) / 1024


class Watch:
    """Looks at another process's memory every 100 ms until it is stopped: pairs of seconds and megabytes."""

    def __init__(self, pid: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._clock = clock
        self._over = threading.Event()
        self._samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> list[tuple[float, float]]:
        """The samples."""
        self._over.set()
        self._thread.join()
        return self._samples

    def _look(self) -> None:
        began = self._clock()
        while not self._over.wait(_INTERVAL_S):
            self._samples.append((round(self._clock() - began, 2), round(resident_mb(self._pid), 1)))
