"""A notebook is recorded, handed on and pruned at the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import Result

from sacnb.cli.failures import ExitCode
from sacnb.replay import document
from sacnb.replay.notebook import Runner
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]
Run = Callable[..., subprocess.CompletedProcess[str]]

CASSETTES = Path(__file__).parents[2] / "cassettes"
CONNECT = "import sacnb\njobs = sacnb.connect().model('US_EMPLOYMENT')"
FACTS = "jobs.facts(where={'Sector': '31'}, since='2015-06').fetch()"
# The ids of widgets are made up anew each time, and what is printed comes in other pieces.
PANEL = "panel = jobs.refresh_panel(where={'Sector': '31'}, since='2015-06')\npanel.refresh(wait=True)\npanel"
PRINTS = """
import sys
for number in range(3):
    print(number, flush=True)
    print("!", file=sys.stderr, flush=True)
"""


def write(path: Path, *cells: str, kernel: str = "python3") -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": "Python", "language": "python"}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    notebook.cells = [nbformat.v4.new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells)]
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def env_file(tenant: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The tenant's settings in a file that nobody finds by looking for ``.env``, and nowhere else."""
    names = ("SAC_TENANT_URL", "SAC_TOKEN_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET")
    values = (tenant.tenant_url, tenant.token_url, tenant.client_id, tenant.client_secret)
    path = tmp_path / "acme.env"
    path.write_text("".join(f"{name}='{value}'\n" for name, value in zip(names, values, strict=True)))
    for name in names:
        monkeypatch.delenv(name)
    return path


def test_a_notebook_is_recorded_handed_on_and_pruned(  # noqa: PLR0917 - fixtures
    run: Run, invoke: Invoke, tenant: Sandbox, env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write(tmp_path / "plan.ipynb", CONNECT, FACTS, PANEL, PRINTS, "jobs.members('Sector').height")
    cassette = tmp_path / "plan.cassette.json"
    before = tenant.counts["requests"]
    done = run("--env-file", str(env_file), "replay", "record", "plan.ipynb")
    assert (done.returncode, done.stdout) == (
        0,
        f"notebook   {plan}\ncassette   {cassette}\nresponses  {len(document.read(cassette)[1])}\n",
    ), done.stderr
    assert done.stderr == (
        "plan.ipynb: recording ...\nplan.ipynb: replaying ...\n"
        "The cassette holds the data that the notebook requested. Check it before you share it.\n"
    )
    asked = tenant.counts["requests"]
    assert asked > before  # the tenant itself was asked, and not the embedded one
    notebook = nbformat.read(plan, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # no state of widgets
    assert notebook.metadata["language_info"]["file_extension"] == ".py"
    assert "version" not in notebook.metadata["language_info"]  # this machine's Python
    shown = [cell.outputs for cell in notebook.cells]
    assert shown[1][0]["data"]["text/plain"].startswith("US_EMPLOYMENT/FactData: 14 rows")
    assert set(shown[2][0]["data"]) == {"text/html", "text/plain"}
    assert [output["text"] for output in shown[3]] == ["0\n1\n2\n", "!\n!\n!\n"]

    # Once more: the same bytes, and the same again from what the colleague is handed.
    kept = (plan.read_bytes(), cassette.read_bytes())
    again = invoke("--env-file", str(env_file), "replay", "record", "plan.ipynb", "--json")
    assert json.loads(again.stdout) == {
        "notebook": str(plan),
        "cassettes": [str(cassette)],
        "interactions": len(document.read(cassette)[1]),
    }
    assert (plan.read_bytes(), cassette.read_bytes()) == kept
    asked = tenant.counts["requests"]

    colleague = tmp_path / "colleague"
    (colleague / ".git").mkdir(parents=True)
    shutil.copy(cassette, colleague)
    write(colleague / "shorter.ipynb", CONNECT, FACTS)
    monkeypatch.chdir(colleague)
    pruned = invoke("replay", "prune", "plan", "shorter.ipynb", "--json")
    assert pruned.exit_code == 0, pruned.stderr
    said = json.loads(pruned.stdout)
    assert said == {"path": str(colleague / cassette.name), "kept": 3, "dropped": said["dropped"]}
    assert said["dropped"] > 0
    assert len(document.read(colleague / cassette.name)[1]) == 3
    assert tenant.counts["requests"] == asked


def test_no_outputs_leaves_the_notebook_as_it_is(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without kernels, which the recording above has; what they would show is in the notebook that they return."""
    plan = write(tmp_path / "plan.ipynb", CONNECT, "jobs.schema")
    before = plan.read_bytes()

    def run(runner: Runner, mode: str, cassette: Path) -> tuple[Any, list[dict[str, Any]]]:
        shutil.copy(CASSETTES / "01_first_read.cassette.json", cassette)
        shown = nbformat.read(plan, as_version=4)
        shown.cells[1].outputs = [nbformat.v4.new_output("stream", text="the schema")]
        return shown, [{"path": str(cassette), "mode": mode, "requests": 1}]

    monkeypatch.setattr(Runner, "run", run)
    result = invoke("replay", "record", "plan.ipynb", "--no-outputs", "--cassette", "other")
    assert result.exit_code == 0, result.output
    assert plan.read_bytes() == before
    assert (tmp_path / "other.cassette.json").is_file()


def test_a_cell_that_fails_is_named_with_its_error_and_nothing_is_kept(
    invoke: Invoke, tenant: Sandbox, tmp_path: Path
) -> None:
    plan = write(tmp_path / "plan.ipynb", CONNECT, "jobs.facts(where={'Sectr': '31'})")
    before = plan.read_bytes()
    result = invoke("replay", "record", "plan.ipynb")
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert "Cell 2 of the notebook 'plan.ipynb' failed when it was recorded: UnknownNameError: " in result.stderr
    assert "Did you mean 'Sector'?" in result.stderr
    assert "Traceback" not in result.stderr
    assert plan.read_bytes() == before
    # A kernel that ends in an orderly way saves what it recorded; one whose notebook failed must not.
    assert not list(tmp_path.glob("*.cassette.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "nowhere.ipynb"], "nowhere.ipynb' does not exist"),
        (["record", "broken.ipynb"], "broken.ipynb' cannot be read"),
        (["record", "plan.ipynb", "--timeout-s", "0"], "'--timeout-s': 0.0 is not in the range"),
        (["record", "elsewhere.ipynb"], "There is no kernel 'acme-python' on this machine"),
        (["prune", "plan"], "Missing argument 'NOTEBOOK...'"),
        (["prune", "plan", "plan.ipynb"], "There is no cassette 'plan'"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    invoke: Invoke, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    write(tmp_path / "plan.ipynb", "1")
    write(tmp_path / "elsewhere.ipynb", "1", kernel="acme-python")
    result = invoke("replay", *arguments)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import os\nos.write(2, b'out of memory')\nos._exit(3)", "Kernel died. out of memory"),
        pytest.param("import threading\nthreading.Event().wait()", "it took longer than 2 s.", marks=pytest.mark.long),
    ],
    ids=["dies", "hangs"],
)
def test_a_kernel_that_dies_or_hangs_is_told_of(invoke: Invoke, tmp_path: Path, cell: str, message: str) -> None:
    write(tmp_path / "plan.ipynb", cell)
    result = invoke("replay", "record", "plan.ipynb", "--timeout-s", "2")
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert f"'plan.ipynb' failed when it was recorded: {message}" in result.stderr
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another signal there")
def test_ctrl_c_ends_the_kernel_too(tmp_path: Path) -> None:
    waits = "import os, threading\nopen('pid', 'w').write(f'{os.getpid()}.')\nthreading.Event().wait()"
    write(tmp_path / "plan.ipynb", waits)
    command = [sys.executable, "-m", "sacnb", "replay", "record", "plan.ipynb"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        pid = tmp_path / "pid"
        while not (pid.is_file() and pid.read_text().endswith(".")):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert said == ""
    assert complained.splitlines()[-1].startswith("Interrupted")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()[:-1]), 0)


def test_settings_that_are_not_there_are_named(invoke: Invoke, tmp_path: Path) -> None:
    write(tmp_path / "plan.ipynb", "1")
    result = invoke("--env-file", "nowhere.env", "replay", "record", "plan.ipynb")
    assert result.exit_code == ExitCode.USAGE
    assert "nowhere.env" in result.stderr
