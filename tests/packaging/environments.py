"""Run the core of the test suite with other versions of Python and of the dependencies.

    python tests/packaging/environments.py lowest    the lowest version of everything that pyproject.toml declares
    python tests/packaging/environments.py pythons   the newest versions, on every Python of this machine

Each run gets an environment of its own below ``.tools``, made by uv from the package index. What follows ``--`` goes to
pytest instead of the folders of the core. ``--python`` names interpreters instead of looking for them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
# Documents, notebooks, browsers and the wheel do not depend on the version of a library or of Python.
LEFT_OUT = {"benchmarks", "browser", "docs", "notebooks", "packaging", "samples", "support", "typing"}
CORE = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "tests").iterdir()
    if (path.is_dir() and path.name not in LEFT_OUT and not path.name.startswith("_")) or path.match("test_*.py")
)
# Bounds that the tools below have and sacnb has not: what they share with sacnb is resolved for sacnb first.
TOOL_BOUNDS = ("python-dateutil<3",)  # odata-query
# What the core imports besides sacnb and its extras.
TEST_TOOLS = (
    "duckdb",
    "hypothesis",
    "ipykernel",
    "odata-query",
    "pytest",
    "pytest-randomly",
    "pytest-timeout",
    "pytest-xdist",
    "sacapi",
    "trustme",
)
_VERSION = "import sys; print(sys.implementation.name, '.'.join(map(str, sys.version_info[:3])))"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, and return 1 if a test failed anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("what", choices=["lowest", "pythons"])
    parser.add_argument("--python", action="append", help="an interpreter; may be given several times")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    options = parser.parse_args(arguments)
    if options.what == "lowest":
        runs = [(Path((options.python or [sys.executable])[0]), "lowest-direct")]
    else:
        runs = [(python, "highest") for python in map(Path, options.python or found_pythons())]
    lines, failed = [], False
    for python, resolution in runs:
        line, code = run(python, resolution, options.pytest)
        failed |= code != 0
        lines.append(line)
        print(line, flush=True)
    if len(lines) > 1:
        print("", *lines, sep="\n")
    return int(failed)


def run(python: Path, resolution: str, arguments: Sequence[str]) -> tuple[str, int]:
    """Make an environment for this interpreter, run the tests in it, and return a line about it and the exit code."""
    implementation, version = _output(python, "-c", _VERSION).split()
    name = f"{implementation} {version}" + (", lowest versions" if resolution == "lowest-direct" else "")
    print(f"{name}: installing ...", flush=True)
    home = TOOLS / re.sub(r"[^\w.]+", "-", name)
    environment = make_environment(home, python, resolution)
    command = [str(environment), "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--randomly-seed", "1"]
    began = time.monotonic()
    done = subprocess.Popen(
        [*command, *(arguments or CORE)], cwd=ROOT, env=_environ(), stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    last = ""
    for line in done.stdout:
        sys.stdout.write(line)
        last = line.strip() or last
    done.wait()
    return f"{name}: {last.strip('= ')} ({time.monotonic() - began:.0f} s)", done.returncode


def make_environment(home: Path, python: Path, resolution: str) -> Path:
    """Install sacnb with all extras and the tools of the tests, and return the environment's Python."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise SystemExit("uv was not found. Install it: make setup")

    def call(*args: str | Path) -> None:
        subprocess.run([uv, *args], check=True, cwd=ROOT, env=_environ())

    made = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    call("venv", "--quiet", "--clear", "--python", python, home)
    pins, bounds = home / "versions.txt", home / "bounds.txt"
    bounds.write_text("\n".join(TOOL_BOUNDS), encoding="utf-8")
    call("pip", "compile", "--quiet", "--python", made, "--resolution", resolution, "--all-extras", "--no-annotate",
         "--no-header", "--constraints", bounds, "pyproject.toml", "--output-file", pins)  # fmt: skip
    # The tools get their newest versions: only what sacnb itself declares is on trial.
    call("pip", "install", "--quiet", "--python", made, "--requirements", pins, *test_tools())
    call("pip", "install", "--quiet", "--python", made, "--no-deps", "--editable", ROOT)
    return made


def test_tools() -> Iterator[str]:
    """Yield the requirements of the tests' tools, in the ranges of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    ranges = project["tool"]["poetry"]["group"]["dev"]["dependencies"]
    for name in TEST_TOOLS:
        wanted = ranges.get(name, "")  # jupyterlab brings ipykernel
        yield f"{name}=={wanted}" if wanted[:1].isdigit() else f"{name}{wanted}"


def found_pythons() -> list[Path]:
    """Return one interpreter of each supported minor version: those on the path, then those of pyenv."""
    names = [f"python3.{minor}" for minor in range(11, 30)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, sorted(pyenv.glob("*/bin"), reverse=True))]
    pythons = []
    for name in names:
        candidates = (Path(place) / name for place in places if (Path(place) / name).exists())
        working = next((python for python in candidates if _works(python)), None)
        if working is not None:
            pythons.append(working)
    return pythons


def _works(python: Path) -> bool:
    """Return whether the interpreter starts and can make environments; the shims of pyenv may not."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _environ() -> dict[str, str]:
    """Return the environment without what would lead uv or Python to the environment that this script runs in."""
    foreign = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
    return {name: value for name, value in os.environ.items() if name not in foreign}


if __name__ == "__main__":
    sys.exit(main())
