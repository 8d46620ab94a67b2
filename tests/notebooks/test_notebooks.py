"""The notebooks run under every tool that runs notebooks: replayed, live, with other parameters, and as a page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from sacnb.replay import scan_paths

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SANITIZE = ROOT / "tests" / "notebooks" / "sanitize.cfg"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A kernel inherits the environment: no files of the developer's Jupyter, and nothing of a notebook that runs."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return monkeypatch


def run(path: Path, folder: Path, *, parameters: str = "") -> dict[str, str]:
    """Run a notebook in ``folder``; the text of each cell's outputs by the cell's id.

    ``parameters`` becomes a cell behind the one with that tag, which is how papermill hands them in.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        places = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
        assert len(places) == 1
        notebook.cells.insert(places[0] + 1, nbformat.v4.new_code_cell(parameters, id="injected"))
    client = nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return {cell.id: "".join(map(text_of, cell.get("outputs", ()))) for cell in notebook.cells}


def text_of(output: Any) -> str:
    return str(output.get("text", "") or output.get("data", {}).get("text/plain", ""))


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
    assert any(f'sacnb.replay.start("{path.stem}")' in line for line in starts)
    assert (ROOT / "cassettes" / f"{path.stem}.cassette.json").is_file()


def test_no_notebook_holds_a_secret() -> None:
    assert NOTEBOOKS
    assert scan_paths(NOTEBOOKS) == ()


@pytest.mark.parametrize("name", ["02_refresh_panel", "03_sql_and_frames", "04_plan_vs_actual"])
def test_the_same_notebook_asks_a_live_tenant(name: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Away from its cassette, so that nothing but the sandbox can have answered."""
    path = Path(shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path))
    environment.setenv("SAC_REPLAY", "off")
    environment.setenv("SAC_TENANT_URL", "sandbox")
    shipped = nbformat.read(path, as_version=4)
    live = run(path, tmp_path)
    for cell in shipped.cells:
        if cell.id != "script":  # it shows the time of day
            assert live[cell.id] == "".join(map(text_of, cell.get("outputs", ()))), cell.id
    if name == "02_refresh_panel":
        assert live["script"].startswith("fresh, 360 rows, ")


def test_a_notebook_takes_parameters_as_papermill_hands_them_in(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = ROOT / "notebooks" / "05_offline_and_tests.ipynb"
    environment.setenv("SAC_REPLAY", "off")
    environment.setenv("SAC_TENANT_URL", "sandbox")
    shown = run(path, tmp_path, parameters='sector = "20"\nsince = "2015-07"')
    assert shown["facts"].startswith("US_EMPLOYMENT/FactData: 6 rows")
    assert "public.Actual  201507  20" in shown["facts"]
    assert shown["miss"] == ""


def test_parameters_that_were_not_recorded_fail_when_they_are_replayed(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = ROOT / "notebooks" / "05_offline_and_tests.ipynb"
    environment.setenv("SAC_REPLAY", "replay")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="has no answer to GET "):
        run(path, path.parent, parameters='sector = "20"')


def test_a_notebook_becomes_a_page(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ["-m", "jupyter", "nbconvert", "--to", "html", "--execute", "--output-dir", str(tmp_path)]
    environment.setenv("SAC_REPLAY", "replay")
    done = subprocess.run(
        [sys.executable, *command, str(ROOT / "notebooks" / "02_refresh_panel.ipynb")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "02_refresh_panel.html").read_text(encoding="utf-8")
    assert "fresh, 360 rows, " in page
    assert "US_EMPLOYMENT by quarter" in page  # the preview of the panel, which needs no kernel


def test_a_notebook_that_shows_something_else_fails_as_a_test(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rules for comparing are few enough that a changed number is seen."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "cassettes").mkdir()
    path = tmp_path / "notebooks" / "02_refresh_panel.ipynb"
    shutil.copy(ROOT / "cassettes" / "02_refresh_panel.cassette.json", tmp_path / "cassettes")
    text = (ROOT / "notebooks" / path.name).read_text(encoding="utf-8")
    assert text.count("fresh, 360 rows") == 1
    path.write_text(text.replace("fresh, 360 rows", "fresh, 361 rows"), encoding="utf-8")
    environment.setenv("SAC_REPLAY", "replay")
    options = ["--nbval-sanitize-with", str(SANITIZE), "--nbval-cell-timeout", "60", "--rootdir", str(tmp_path)]
    plugins = ["-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "--nbval", str(path), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "fresh, 361 rows, HH:MM" in done.stdout
