"""The notebooks as they are shipped: with outputs, without secrets, each with its cassette, and compared strictly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from sacnb.replay import scan_paths

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_shipped_with_its_outputs_and_nothing_of_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # no state of widgets, no version of Python
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))  # run once, from top to bottom
    assert any(cell.outputs for cell in code)
    assert all("execution" not in cell.metadata for cell in code)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert str(Path.home()) not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_its_own_cassette(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    starts = [line for cell in cells for line in cell.source.splitlines() if "sacnb.replay.start(" in line]
    assert any(f'sacnb.replay.start("{path.stem}"' in line for line in starts)
    assert (ROOT / "cassettes" / f"{path.stem}.cassette.json").is_file()


def test_no_notebook_holds_a_secret() -> None:
    assert NOTEBOOKS
    assert scan_paths(NOTEBOOKS) == ()


def test_pytest_nbval_notebooks_compares_every_cell_in_its_order(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Typed without an option more: what was changed is the only failure, though pytest-randomly shuffles tests."""
    for folder in ("notebooks", "cassettes", "tests/notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    path = tmp_path / "notebooks" / "02_refresh_panel.ipynb"
    shutil.copy(ROOT / "cassettes" / "02_refresh_panel.cassette.json", tmp_path / "cassettes")
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path / "notebooks")
    shutil.copy(ROOT / "tests" / "notebooks" / "sanitize.cfg", tmp_path / "tests" / "notebooks")
    text = (ROOT / "notebooks" / path.name).read_text(encoding="utf-8")
    assert text.count("fresh, 360 rows") == 1
    path.write_text(text.replace("fresh, 360 rows", "fresh, 361 rows"), encoding="utf-8")
    cells = sum(cell.cell_type == "code" for cell in nbformat.reads(text, as_version=4).cells)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "notebooks", "--randomly-seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"1 failed, {cells - 1} passed" in done.stdout
    assert "fresh, 361 rows, HH:MM" in done.stdout
