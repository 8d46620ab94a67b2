"""The notebooks, run by other programs, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
UNPLUGGED = Path(__file__).with_name("unplugged.py")
Run = Callable[..., subprocess.CompletedProcess[str]]
Execute = Callable[[Path, Path], None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A kernel inherits the environment: no files of the developer's Jupyter, and nothing of a notebook that runs."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return monkeypatch


@pytest.fixture
def execute(environment: pytest.MonkeyPatch) -> Iterator[Execute]:
    """Runs a notebook in a folder, with the network there is, and writes its outputs into its file.

    The kernel is talked to by files: the ports that a client looks for may be taken before the kernel has them.
    """
    environment.delenv("COLUMNS", raising=False)  # tables were recorded in the width without a terminal
    with tempfile.TemporaryDirectory(prefix="sacnb-") as connections:
        config = Config()
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(Path(connections) / "kernel.json")

        def execute(path: Path, folder: Path) -> None:
            notebook = nbformat.read(path, as_version=4)
            where = {"metadata": {"path": str(folder)}}
            nbclient.NotebookClient(
                notebook, timeout=100, kernel_name="python3", resources=where, config=config
            ).execute()
            nbformat.write(notebook, path)

        yield execute


@pytest.fixture
def run(environment: pytest.MonkeyPatch) -> Run:
    """Runs ``python -m`` with these arguments, without a network where that can be had on this machine."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(UNPLUGGED), "--if-possible", sys.executable, "-m", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}, **options
        )

    return run
