"""The runbook has every error and warning, with texts that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sacnb
from sacnb import errors

SOURCES = sorted(
    path
    for path in Path(sacnb.__file__).parent.rglob("*.py")
    if "sandbox" not in path.relative_to(sacnb.__path__[0]).parts
)


def _texts() -> list[str]:
    """Every text of the code, with a mark where a value stands."""
    texts = []
    for path in SOURCES:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        alone = {node.value for node in nodes if isinstance(node, ast.Expr)}  # docstrings
        for node in nodes:
            if node in alone:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [one.value if isinstance(one, ast.Constant) else "\0" for one in node.values]
                texts.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return _texts()


def _documented(rows, documents, heading: str) -> dict[str, str]:
    return {row[0].strip("`"): row[1].strip("`") for row in rows(documents["docs/runbook.md"].section(heading))}


def _public(base: type) -> set[str]:
    named = [getattr(errors, name) for name in errors.__all__]
    found = {one.__name__ for one in named if isinstance(one, type) and issubclass(one, base)}
    return found - {"SacError", "SacWarning"}


@pytest.mark.parametrize(("heading", "base"), [("Errors", errors.SacError), ("Warnings", errors.SacWarning)])
def test_every_one_has_an_entry(rows, documents, heading: str, base: type) -> None:
    assert set(_documented(rows, documents, heading)) == _public(base)


@pytest.mark.parametrize("heading", ["Errors", "Warnings", "Log lines"])
def test_the_texts_are_those_of_the_code(rows, documents, texts: list[str], heading: str) -> None:
    missing = []
    for row in rows(documents["docs/runbook.md"].section(heading)):
        parts = [part.strip() for part in row[1].strip("`").split("…") if part.strip(" .")]
        assert parts, row
        pattern = re.compile(".*".join(re.escape(part) for part in parts), re.DOTALL)
        if not any(all(part in text for part in parts) and pattern.search(text) for text in texts):
            missing.append(row[1])
    assert missing == []


def test_the_loggers_are_those_of_the_code(rows, documents) -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    for logger, *_ in rows(documents["docs/runbook.md"].section("Log lines")):
        name = logger.strip("`")
        assert re.search(rf'getLogger\("{name}"\)|room_logger\("{name.removeprefix("sacnb.")}"\)', code), logger
