"""The wheel, as users get it: what is in it, and that it works with the main dependencies only.

The tool that builds it comes from the index that pip is configured for. `make dist` installs everything from there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sacnb

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
# What pip, Python and the program would otherwise take from the environment of the tests.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")

_PIP_INDEX = """
from pip._internal.commands import create_command
print(create_command("install").parser.get_default_values().index_url)
"""


def python(executable: str | Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return subprocess.run(
        [str(executable), *args],
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # uv takes a fifth of the time that pip does; its index is the one that pip is configured for.
    index = python(sys.executable, "-c", _PIP_INDEX, cwd=folder).stdout.strip()
    done = python(
        UV, "build", "--wheel", "--quiet", "--default-index", index, "--out-dir", str(folder), str(ROOT), cwd=folder
    )
    assert done.returncode == 0, done.stdout
    (built,) = folder.glob("*.whl")
    return built


def needed_by(asked: Distribution, found: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the names of all packages without which this one cannot be installed, without those of extras."""
    for text in asked.requires or ():
        required = Requirement(text)
        name = canonicalize_name(required.name)
        if name not in found and (required.marker is None or required.marker.evaluate({"extra": ""})):
            found = needed_by(distribution(name), found | {name})
    return found


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The Python of an environment that holds the wheel, links to its main dependencies, and nothing else."""
    home = tmp_path / "venv"
    executable = home / "bin" / "python"
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(home)],
        ["pip", "install", "--quiet", "--python", str(executable), "--no-deps", str(wheel)],
    ):
        done = python(UV, *command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    (packages,) = home.glob("lib/python*/site-packages")
    (info,) = packages.glob("sacnb-*.dist-info")
    for name in needed_by(Distribution.at(info)):
        for file in distribution(name).files or ():
            link = packages / file.parts[0]
            if file.parts[0] not in {"..", "__pycache__"} and not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))))
    return executable


@pytest.mark.timeout(300)
def test_it_holds_the_data_and_the_types_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert wheel.name == f"sacnb-{sacnb.__version__}-py3-none-any.whl"
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sacnb").rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert {"sacnb/py.typed", "sacnb/sandbox/data/us_employment.csv", "sacnb/cli/data/us_employment_2015.json"} <= data
    assert {name for name in names if name.startswith("sacnb/") and not name.endswith(".py")} == data
    own = f"sacnb-{sacnb.__version__}"
    assert all(name.startswith(("sacnb/", f"{own}.dist-info/", f"{own}.data/data/")) for name in names)
    # What Jupyter looks for is in the environment's own share and etc.
    panel = {
        name.removeprefix("sacnb/lab/") for name in data if name.startswith(("sacnb/lab/etc/", "sacnb/lab/share/"))
    }
    assert {"etc/jupyter/jupyter_server_config.d/sacnb.json"} < panel
    assert {name.removeprefix(f"{own}.data/data/") for name in names if name.startswith(f"{own}.data/")} == panel
    assert any(name.endswith("/LICENSE") for name in names)


@pytest.mark.skipif(os.name == "nt", reason="makes links, which not everybody may there")
@pytest.mark.timeout(300)
def test_it_works_with_the_main_dependencies_only(installed: Path, tmp_path: Path) -> None:
    def run(*args: str, code: int = 0) -> str:
        done = python(installed.with_name("sacnb"), *args, cwd=tmp_path)
        assert done.returncode == code, done.stdout
        return done.stdout

    extras = ["aiohttp", "altair", "vl_convert", "IPython", "ipywidgets", "vcr", "pytest"]
    # Every name of the public face can be had, and what needs more says what.
    check = "from sacnb import *; import sacnb, importlib.util as u; "
    check += f"print([n for n in {extras!r} if u.find_spec(n)], sacnb.__file__)"
    present, place = python(installed, "-c", check, cwd=tmp_path).stdout.split(" ", 1)
    assert present == "[]"
    assert Path(place.strip()).is_relative_to(tmp_path)

    # pip has put the side panel where Jupyter finds it.
    jupyter = installed.parent.parent
    entry = jupyter / "share" / "jupyter" / "labextensions" / "sacnb" / "static" / "remoteEntry.js"
    assert entry.is_file()
    assert json.loads((jupyter / "etc/jupyter/jupyter_server_config.d/sacnb.json").read_text()) == {
        "ServerApp": {"jpserver_extensions": {"sacnb.lab": True}}
    }

    assert run("--version") == f"sacnb {sacnb.__version__}\n"
    assert run("smoke").endswith("SMOKE OK\n")
    assert "error_503" in run("sandbox", "misbehaviours")
    assert 'pip install "sacnb[sandbox]"' in run("--tenant-url", "sandbox", "models", code=2)
