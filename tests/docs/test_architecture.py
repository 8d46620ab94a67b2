"""docs/architecture.md shows the rooms that are there, and the import rule that is checked."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest


@pytest.fixture
def page(documents):
    return documents["docs/architecture.md"]


@pytest.fixture
def layers(root: Path) -> list[set[str]]:
    """The layers of the import rule, from the top; rooms in parentheses are to come and left out."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    found = [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]
    return [rooms for layer in found if (rooms := {name for name in layer if not name.startswith("(")})]


def _rooms_that_exist(root: Path) -> set[str]:
    package = root / "sacnb"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    return modules | {path.parent.name for path in package.glob("*/__init__.py")}


def test_every_room_is_described_in_one_sentence(page, rows, root) -> None:
    described = dict(rows(page.section("The rooms")))
    assert {room.strip("`") for room in described} == _rooms_that_exist(root)
    for room, sentence in described.items():
        assert len(re.findall(r"[.!?](?:\s|$)", sentence)) == 1, room


def test_the_rooms_stand_in_the_order_of_the_import_rule(page, rows, layers) -> None:
    order = [room.strip("`") for room, _ in rows(page.section("The rooms"))]
    height = {room: number for number, layer in enumerate(layers) for room in layer}
    assert [height[room] for room in order] == sorted(height.values())


def test_the_import_rule_is_the_one_that_is_checked(page, layers) -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", page.section("The import rule"), re.DOTALL)
    assert [set(line.split(" | ")) for line in shown.splitlines()] == layers


def test_the_light_rooms_are_light(page, root) -> None:
    (sentence,) = re.findall(r"^(`errors`.*?)\.$", page.section("The import rule"), re.MULTILINE)
    light, heavy = sentence.split(" import none of ")
    for room in re.findall(r"`(\w+)`", light):
        files = [*(root / "sacnb").glob(f"{room}.py"), *(root / "sacnb" / room).glob("**/*.py")]
        assert files, room
        for file in files:
            imports = re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert not set(imports) & set(re.findall(r"\w+", heavy)), file


def test_every_value_at_the_seams_is_where_it_says(page) -> None:
    names = set(re.findall(r"`(sacnb\.[\w.]+\.[A-Z]\w+)`", page.text))
    assert len(names) >= 9
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), attribute), type), name
