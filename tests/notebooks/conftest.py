"""The notebooks, run by other programs, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UNPLUGGED = Path(__file__).with_name("unplugged.py")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A kernel inherits the environment: no files of the developer's Jupyter, and nothing of a notebook that runs."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return monkeypatch


@pytest.fixture
def run(environment: pytest.MonkeyPatch) -> Run:
    """Runs ``python -m`` with these arguments; by default without a network where that can be had on this machine."""

    def run(*arguments: str | Path, unplugged: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *map(str, arguments)]
        wrapped = [sys.executable, str(UNPLUGGED), "--if-possible", *command] if unplugged else command
        return subprocess.run(
            wrapped, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}, **options
        )

    return run
