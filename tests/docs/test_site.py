"""The site has every page in one place, and a reference entry for every public name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import sacnb

KINDS = ["Tutorial", "How-to", "Reference", "Explanation"]
PUBLIC = [
    "sacnb",
    "sacnb.cli",
    "sacnb.daft",
    "sacnb.dask",
    "sacnb.errors",
    "sacnb.lab",
    "sacnb.notebook",
    "sacnb.planning",
    "sacnb.replay",
    "sacnb.sandbox",
    "sacnb.snowflake",
    "sacnb.spark",
]
_DIRECTIVE = re.compile(r"^\.\. auto(\w+):: ([\w.]+)\n((?:   :.*\n)*)", re.MULTILINE)


@pytest.fixture(scope="module")
def pages(root: Path) -> dict[str, list[str]]:
    """The pages of the site by their kind, without suffix, in the order of the sidebar."""
    toc = yaml.safe_load((root / "docs" / "toc.yml").read_text(encoding="utf-8"))
    return {tree["caption"]: [entry["file"] for entry in tree["entries"]] for tree in toc["subtrees"]}


@pytest.fixture(scope="module")
def entries(root: Path) -> dict[str, str]:
    """What the reference pages document: the name behind each directive, and the directive with its options."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted((root / "docs" / "api").glob("*.rst")))
    return {name: f"{directive} {options}" for directive, name, options in _DIRECTIVE.findall(text)}


def _find(name: str) -> Any:
    """Import the longest module in a dotted name, and get the rest of the name from it."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(_find(module), attribute)


def test_every_page_is_of_one_kind(pages: dict[str, list[str]], root: Path) -> None:
    files = [
        *root.glob("*.md"),
        *root.glob("docs/**/*.md"),
        *root.glob("docs/**/*.rst"),
        *root.glob("notebooks/*.ipynb"),
    ]
    names = {file.relative_to(root).with_suffix("").as_posix() for file in files} - {"README"}
    listed = [page for kind in pages.values() for page in kind]
    assert list(pages) == KINDS
    assert sorted(listed) == sorted(names)


@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_leads_to_the_pages_under_their_kind(kind: str, pages: dict[str, list[str]], documents: Any) -> None:
    section = documents["README.md"].section("Documentation").split(f"**{kind}**")[1].split("\n**")[0]
    linked = {target.rsplit(".", 1)[0] for target in re.findall(r"\]\(([^)#]+)", section)}
    assert linked <= set(pages[kind])
    assert set(pages[kind]) <= linked or kind == "Tutorial"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_a_reference_entry(module: str, entries: dict[str, str]) -> None:
    whole = module in entries and ":no-members:" not in entries[module]
    missing = [name for name in importlib.import_module(module).__all__ if f"{module}.{name}" not in entries]
    assert whole or not missing


def test_everything_the_reference_documents_exists(entries: dict[str, str]) -> None:
    for name, directive in entries.items():
        found = _find(name)
        assert directive.startswith(("class", "exception")) == isinstance(found, type), name


def test_public_modules_are_those_without_an_underscore(root: Path) -> None:
    package = Path(sacnb.__file__).parent
    names = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {f"sacnb.{name}" for name in names if not name.startswith("_")} | {"sacnb"} == set(PUBLIC)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "python"])
def test_the_names_linked_in_other_projects_exist(library: str, root: Path) -> None:
    head, _, *lines = (root / "docs" / "inventories" / f"{library}.inv").read_text(encoding="utf-8").splitlines()
    assert head == "# Sphinx inventory version 1"
    for line in lines[1:]:
        name, role, page = line.split()
        found = _find(name if "." in name else f"builtins.{name}")
        assert (role == "exception") == (isinstance(found, type) and issubclass(found, BaseException)), name
        assert page.endswith(".html")
