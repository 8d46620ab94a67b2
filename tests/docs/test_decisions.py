"""Every dependency was decided on, and every one that was decided on is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[ (<>=~!\[]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_the_main_dependencies_are_decided(project, documents, rows) -> None:
    decided = {row[0] for row in rows(documents["docs/decisions.md"].section("Main"))}
    assert decided == _names(project["project"]["dependencies"])


def test_the_extras_are_decided(project, documents, rows) -> None:
    decided = {row[0] for row in rows(documents["docs/decisions.md"].section("Extras"))}
    extras = project["project"]["optional-dependencies"]
    assert decided == {f"{name} (`{extra}`)" for extra in extras for name in _names(extras[extra])}


def test_the_development_tools_are_decided(project, documents, rows) -> None:
    decided = {row[0] for row in rows(documents["docs/decisions.md"].section("Development"))}
    extras = _names([one for extra in project["project"]["optional-dependencies"].values() for one in extra])
    groups = project["tool"]["poetry"]["group"]
    assert decided | extras == {*groups["dev"]["dependencies"], *groups["engines"]["dependencies"]}
    assert not decided & extras


def test_what_is_measured_against_is_decided(project, documents, rows) -> None:
    decided = {row[0] for row in rows(documents["docs/decisions.md"].section("Peers"))}
    peers = project["tool"]["poetry"]["group"]["peers"]["dependencies"]
    assert decided == {f"{name} (`peers`)" for name in peers}


def test_what_the_site_is_built_with_is_decided(project, documents, rows) -> None:
    decided = {row[0] for row in rows(documents["docs/decisions.md"].section("Documentation"))}
    assert decided == {f"{name} (`docs`)" for name in project["tool"]["poetry"]["group"]["docs"]["dependencies"]}


def test_the_decisions_are_numbered_without_a_gap(documents) -> None:
    numbers = re.findall(r"^(\d+)\. ", documents["docs/decisions.md"].section("How sacnb behaves"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert numbers
