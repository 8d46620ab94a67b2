"""The code that a reader follows: counted by tracing it, and listed in docs/architecture.md."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

import sacnb

PACKAGE = Path(sacnb.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"
# Rooms of their own size, beside the house that the number below is about.
NEW_ROOMS = (
    *("sacnb._write", "sacnb.snowflake", "sacnb.sandbox.snowflake", "sacnb.sandbox.imports"),
    *("sacnb.notebook.write_panel", "sacnb._auth.named_user", "sacnb.sandbox.login", "sacnb._actions"),
    *("sacnb.sandbox.actions", "sacnb.cli.commands.run", "sacnb.planning"),
    *("sacnb._admin", "sacnb.sandbox.directory", "sacnb._track", "sacnb.sandbox.tracking"),
    *("sacnb._slices", "sacnb.spark", "sacnb.dask", "sacnb.daft", "sacnb.lab", "sacnb._logs"),
)
MOST_FILES = {"fetch facts to a frame": 39, "get a valid token": 9}
MOST_LINES = 400
LONG_FILES = {"errors.py": "one list of classes, in which a reader looks one up"}


def called(work: Callable[[], object]) -> set[str]:
    """Run *work* and return the functions of sacnb, less those of the sandbox, that it calls in any thread."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE) and "sandbox" not in path.parts:
            module = ".".join(("sacnb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
            seen.add(f"{module}.{frame.f_code.co_qualname}")

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return {name for name in seen if "<module>" not in name}


def modules() -> dict[str, Path]:
    paths = {path.relative_to(PACKAGE.parent).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for parts, path in paths.items()}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    with sacnb.connect("sandbox", cache_dir=tmp_path_factory.mktemp("cache")) as tenant:
        model = tenant.model("US_EMPLOYMENT")
        model.facts(where={"Version": "public.Actual"}).fetch().polars()  # what is read once is no part of the path
        return {
            "fetch facts to a frame": called(lambda: model.facts(where={"Version": "public.Actual"}).fetch().polars()),
            "get a valid token": called(tenant._connection.context.guard.force),
        }


def test_a_reader_of_the_main_paths_opens_few_files(
    traced: dict[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    known = modules()
    for path, functions in traced.items():
        files = {module for module in known for name in functions if _module_of(name, known) == module}
        with capsys.disabled():
            print(f"\n{path}: {len(functions)} functions in {len(files)} files", end="")
        assert len(files) <= MOST_FILES[path], sorted(files)


@pytest.mark.parametrize("path", MOST_FILES)
def test_the_documented_chain_is_the_one_that_runs(path: str, traced: dict[str, set[str]]) -> None:
    listed = list(_listed(path))
    assert len(listed) >= 5
    assert [name for name in listed if name not in traced[path]] == []


def test_no_module_imports_itself_on_a_detour() -> None:
    known = modules()
    imports = {module: _imports(path, known) - {module} for module, path in known.items()}
    cycles = [module for module in imports if module in _reachable(module, imports)]
    assert cycles == []


def test_the_house_stays_small() -> None:
    assert len([name for name in modules() if not name.startswith(NEW_ROOMS)]) <= 165


def test_each_file_can_be_read_alone() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_bytes().splitlines()) for path in modules().values()}
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} == LONG_FILES.keys()


def _module_of(name: str, known: dict[str, Path]) -> str:
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def _listed(path: str) -> Iterator[str]:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    section = re.search(rf"^## Reading path: {path}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, path
    for line in section[1].splitlines():
        if found := re.match(r"\d+\. `(sacnb\.[\w.]+)`", line):
            yield found[1]


def _imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file imports anywhere, for type checking too; its own packages do not count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sacnb."):
            found |= {f"{node.module}.{name.name}" for name in node.names} & known.keys() or {node.module}
    return found & known.keys()


def _reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(imports[start])
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += imports[module]
    return found
