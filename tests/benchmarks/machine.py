"""What a run ran on, and when."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "sacnb", "pyarrow", "polars", "pandas", "numpy", "requests", "urllib3", "sacapi", "dlt", "python-odata",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """The processor, the memory, the system, the versions, and the date; nothing that tells whose machine it is."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": _line("/proc/cpuinfo", r"model name\s*: (.*)"),
        "memory_gb": round(int(_line("/proc/meminfo", r"MemTotal:\s+(\d+) kB")) / 1e6),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _line(path: str, pattern: str) -> str:
    found = re.search(pattern, Path(path).read_text(encoding="utf-8"))
    return found[1].strip() if found else "0"
