"""Run the browser tests of the side panel in the oldest and the newest JupyterLab and Notebook 7, from the wheel.

    python tests/browser/labs.py            all
    python tests/browser/labs.py oldest     one of them

Each has an environment of its own below ``.tools/labs``, made by uv from the package index, and a folder of pictures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "labs"
TOLD = ("jupyterlab", "notebook", "jupyter-server")
LAB = ("tests/browser/test_side_panel.py", "tests/browser/test_side_panel_guard.py")
BOTH = (*LAB, "tests/browser/test_notebook_7.py")
# What is installed, and what runs. Notebook 7.3.0 wants JupyterLab 4.3.2, so an older one is tried alone.
VERSIONS = {
    "lab": (("jupyterlab==4.3.0", "jupyter-server==2.14.*"), (*LAB, "-k", "not tree")),
    "oldest": (("jupyterlab==4.3.2", "notebook==7.3.0", "jupyter-server==2.14.*"), BOTH),
    "newest": (("jupyterlab", "notebook", "jupyter-server"), BOTH),
}


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
        wanted, tests = VERSIONS[name]
        call(uv, "pip", "install", "--quiet", "--python", python, f"{wheel}[lab,notebook,plot]", *wanted)
        packages = subprocess.run([uv, "pip", "freeze", "--python", python], capture_output=True, text=True, check=True)
        found = [one for one in packages.stdout.split() if one.partition("==")[0] in TOLD]
        print(f"{name}: {', '.join(found)}", flush=True)
        pictures = TOOLS / "shown" / name
        pictures.mkdir(parents=True, exist_ok=True)
        environ = {
            **os.environ, "SACNB_JUPYTER": str(python), "SACNB_BROWSER": "required", "SACNB_PICTURES": str(pictures),
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:nbval", "--timeout", "300", "-m", "long or not long"]
        if subprocess.run([*command, *tests], cwd=ROOT, env=environ, check=False).returncode != 0:
            failed.append(name)
    print(f"Failed: {', '.join(failed)}" if failed else "The side panel works in all of them.")
    return int(bool(failed))


def call(*command: str | Path) -> None:
    """Run a command of the project. Raises CalledProcessError."""
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
