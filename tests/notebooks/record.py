"""Record the notebooks again, from the sandbox: ``make notebooks``, or this file with the names of some.

Each is run twice, to record its cassette and to replay it, and shows what the replay showed. Where the sandbox answers
as before, no file changes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat

from sacnb.replay import record_notebook

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
_VIEW = "application/vnd.jupyter.widget-view+json"


def record(path: Path) -> str:
    """Record one notebook, and say what came of it."""
    recording = record_notebook(path)
    tidy(path)
    return str(recording)


def tidy(path: Path) -> None:
    """Leave out what differs from run to run, and what only the kernel that is gone could have shown.

    A widget is its kernel's: without it, JupyterLab shows an error in its place. The HTML that stands beside it is for
    all who only read.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(_VIEW, None)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")


def main(names: list[str]) -> None:
    """Record the notebooks with these names, by default all."""
    for name in [name for name in os.environ if name.startswith("SAC_")]:
        del os.environ[name]
    os.environ.update(SAC_TENANT_URL="sandbox", TZ="UTC")
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            sys.stdout.write(f"{record(path)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
