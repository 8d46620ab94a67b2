"""Run the browser tests of the side panel in the oldest and the newest JupyterLab and Notebook 7, from the wheel.

    python tests/browser/labs.py            both
    python tests/browser/labs.py oldest     one of them

Each has an environment of its own below ``.tools/labs``, made by uv from the package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "labs"
VERSIONS = {
    "oldest": ("jupyterlab==4.3.2", "notebook==7.3.0", "jupyter-server==2.14.*"),
    "newest": ("jupyterlab", "notebook", "jupyter-server"),
}
TESTS = ("tests/browser/test_side_panel.py", "tests/browser/test_notebook_7.py")
_VERSIONS = "import jupyterlab as a, notebook as b, jupyter_server as c; print(*(m.__version__ for m in (a, b, c)))"


def main(names: list[str]) -> int:
    """Run the tests in each of these, all without names, and return 1 if one has failed."""
    uv = Path(sys.executable).with_name("uv")
    call(uv, "build", "--quiet", "--wheel", "--out-dir", TOOLS / "wheel")
    (wheel,) = (TOOLS / "wheel").glob("*.whl")
    failed = []
    for name in names or list(VERSIONS):
        home = TOOLS / name
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        print(f"{name}: installing ...", flush=True)
        call(uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
        call(uv, "pip", "install", "--quiet", "--python", python, f"{wheel}[lab,notebook,plot]", *VERSIONS[name])
        found = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True).stdout.split()
        print(f"{name}: JupyterLab {found[0]}, Notebook {found[1]}, Jupyter Server {found[2]}", flush=True)
        environ = {**os.environ, "SACNB_JUPYTER": str(python), "SACNB_BROWSER": "required"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:nbval", "--timeout", "300", *TESTS]
        if subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode != 0:
            failed.append(name)
    print(f"Failed: {', '.join(failed)}" if failed else "The side panel works in all of them.")
    return int(bool(failed))


def call(*command: str | Path) -> None:
    """Run a command of the project. Raises CalledProcessError."""
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
