"""The notebooks run under the tools that run notebooks: replayed without a network, with parameters, live, as pages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

import sacnb.sandbox
from sacnb.notebook.progress_bar import TAG
from sacnb.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LIVE = "05_offline_and_tests"  # asks the tenant for what its cassette does not have, too
UNPLUGGED = Path(__file__).with_name("unplugged.py")
Run = Callable[..., subprocess.CompletedProcess[str]]
Execute = Callable[[Path, Path], None]

# The same in a terminal: papermill notebooks/05_offline_and_tests.ipynb out.ipynb --cwd notebooks
PAPERMILL = ("papermill", "--no-progress-bar", "--no-log-output", "--kernel", "python3")


def shown(path: Path) -> dict[str, str]:
    """What each cell of a notebook shows as text, by the cell's id; the time of day is not compared."""
    cells = nbformat.read(path, as_version=4).cells
    # A slow machine shows how far a pull is: that is no result.
    kept = {cell.id: [one for one in cell.get("outputs", ()) if TAG not in one.get("metadata", {})] for cell in cells}
    texts = {name: "".join(map(text_of, outputs)) for name, outputs in kept.items()}
    return {name: re.sub(r"\b\d\d:\d\d\b", "HH:MM", text) for name, text in texts.items()}


def text_of(output: Any) -> str:
    return str(output.get("text", "") or output.get("data", {}).get("text/plain", ""))


@pytest.fixture
def tenant(environment: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox in this process, asked over HTTP by the settings, as a real tenant would be."""
    with sacnb.sandbox.start() as sandbox:
        environment.setenv("SAC_REPLAY", "off")
        environment.setenv("SAC_TENANT_URL", sandbox.tenant_url)
        environment.setenv("SAC_TOKEN_URL", sandbox.token_url)
        environment.setenv("SAC_CLIENT_ID", sandbox.client_id)
        environment.setenv("SAC_CLIENT_SECRET", sandbox.client_secret)
        yield sandbox


def test_where_it_can_be_unplugged_there_is_no_network() -> None:
    asks = "import socket; socket.create_connection(('192.0.2.1', 443), timeout=5)"
    done = subprocess.run(
        [sys.executable, UNPLUGGED, sys.executable, "-c", asks], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr


# Every notebook is replayed and compared by `make notebooks`; other programs that run notebooks get one each.
@pytest.mark.long
def test_papermill_runs_a_notebook_from_its_cassette(run: Run, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("SAC_REPLAY", "replay")
    path = FOLDER / "03_sql_and_frames.ipynb"
    done = run(*PAPERMILL, "--cwd", FOLDER, path, tmp_path / path.name)
    assert done.returncode == 0, done.stderr
    assert shown(tmp_path / path.name) == shown(path)


@pytest.mark.parametrize(
    ("name", "preview"),
    [
        (LIVE, "US_EMPLOYMENT/FactData: 12 rows"),
        # The preview of the panel, which needs no kernel.
        pytest.param("02_refresh_panel", "US_EMPLOYMENT by quarter", marks=pytest.mark.long),
    ],
)
def test_nbconvert_makes_a_page_of_a_notebook_from_its_cassette(
    run: Run, environment: pytest.MonkeyPatch, tmp_path: Path, name: str, preview: str
) -> None:
    environment.setenv("SAC_REPLAY", "replay")
    path = FOLDER / f"{name}.ipynb"
    made = run("nbconvert", "--to", "html", "--execute", "--output-dir", tmp_path, path, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / f"{path.stem}.html").read_text(encoding="utf-8")
    assert nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ") in page
    assert preview in page


# One notebook for the tool; the others, whose cells are compared by `make notebooks`, with `make search`.
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem == LIVE else pytest.mark.long) for path in NOTEBOOKS],
)
def test_unchanged_it_asks_a_live_tenant(path: Path, execute: Execute, tenant: Sandbox, tmp_path: Path) -> None:
    """Away from its cassette, so that nothing but the tenant can have answered."""
    copy = Path(shutil.copy(path, tmp_path))
    execute(copy, tmp_path)
    assert tenant.counts["requests"] > 2
    live, shipped = shown(copy), shown(path)
    # By its address the sandbox is a tenant like any other; and who asks live is refused nothing.
    live = {name: text.replace("(sac)", "(sandbox)") for name, text in live.items()}
    if path.stem == LIVE:
        assert live.pop("miss") == ""
        assert shipped.pop("miss").startswith("The cassette '05_offline_and_tests' has no answer to GET ")
    assert live == shipped


def test_papermill_hands_parameters_in(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are another question than the recorded one, so that a tenant is asked: the sandbox within the kernel."""
    environment.setenv("SAC_REPLAY", "off")
    environment.setenv("SAC_TENANT_URL", "sandbox")
    path = FOLDER / "05_offline_and_tests.ipynb"
    parameters = {"sector": "20", "since": "2015-07"}
    papermill.execute_notebook(path, tmp_path / "july.ipynb", parameters, cwd=tmp_path, progress_bar=False)
    facts = shown(tmp_path / "july.ipynb")["facts"]
    assert facts.startswith("US_EMPLOYMENT/FactData: 6 rows")
    assert "public.Actual  201507  20" in facts


@pytest.mark.long
def test_parameters_that_were_not_recorded_fail_when_they_are_replayed(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = FOLDER / "05_offline_and_tests.ipynb"
    environment.setenv("SAC_REPLAY", "replay")
    with pytest.raises(papermill.PapermillExecutionError, match="has no answer to GET "):
        papermill.execute_notebook(path, tmp_path / "out.ipynb", {"sector": "20"}, cwd=FOLDER, progress_bar=False)


def test_a_kernel_of_a_replay_reaches_nobody_by_any_other_way(
    execute: Execute, environment: pytest.MonkeyPatch, tenant: Sandbox, tmp_path: Path
) -> None:
    """The network is there: what refuses is the replay itself, also where a program goes around requests."""
    notebook = nbformat.v4.new_notebook()
    address = tenant.tenant_url.removeprefix("http://").split(":")
    notebook.cells = [
        nbformat.v4.new_code_cell("import sacnb.replay\nsacnb.replay.start('02_refresh_panel', 'replay')", id="start"),
        nbformat.v4.new_code_cell(
            f"import socket\ntry:\n    socket.create_connection(({address[0]!r}, {address[1]}), timeout=5)\n"
            "except Exception as error:\n    print(type(error).__name__)",
            id="around",
        ),
    ]
    nbformat.write(notebook, tmp_path / "around.ipynb")
    environment.setenv("SAC_REPLAY", "replay")
    before = tenant.counts["requests"]
    execute(tmp_path / "around.ipynb", FOLDER)
    assert shown(tmp_path / "around.ipynb")["around"] == "ReplayError\n"
    assert tenant.counts["requests"] == before


def test_the_unplugged_command_ends_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, UNPLUGGED, "--if-possible", sys.executable, "-c", "raise SystemExit(3)"],
        check=False,
        env=os.environ,
    )
    assert done.returncode == 3
