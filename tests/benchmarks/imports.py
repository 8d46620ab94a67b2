"""What importing costs, each time in a fresh interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any, Final

_CODE: Final = "import time; began = time.perf_counter(); import {0}; print((time.perf_counter() - began) * 1000)"
_MODULES: Final = ("sacnb", "pandas")


def import_times(times: int) -> dict[str, Any]:
    """Milliseconds of ``import sacnb`` and ``import pandas``, in turns: the medians, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in _MODULES}
    for number in range(times + 1):
        for name in _MODULES:
            done = subprocess.run(
                [sys.executable, "-c", _CODE.format(name)], capture_output=True, text=True, check=True
            )
            if number:
                found[name].append(round(float(done.stdout), 1))
    return {name: {"ms": statistics.median(runs), "runs": runs} for name, runs in found.items()}
