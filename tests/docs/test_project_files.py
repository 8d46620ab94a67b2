"""The files around the code agree with each other: version, make targets, paths that the texts name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import sacnb


def test_the_version_is_the_same_everywhere(root: Path, documents) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    released = re.findall(r"^## \[(\d\S*)\]", documents["CHANGELOG.md"].text, re.MULTILINE)
    assert sacnb.__version__ == project["version"] == released[0]


def test_the_changelog_keeps_its_form(documents) -> None:
    headings = re.findall(r"^## (.+)$", documents["CHANGELOG.md"].text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
    kinds = set(re.findall(r"^### (.+)$", documents["CHANGELOG.md"].text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_make_target_that_is_named_exists(root: Path, documents) -> None:
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in documents.values():
        code = [*re.findall(r"`([^`\n]+)`", document.prose), *(fence.body for fence in document.fences)]
        named = {target for text in code for target in re.findall(r"^make ([a-z]+)", text, re.MULTILINE)}
        assert named <= targets, document.name


def test_every_file_that_is_named_exists(root: Path, documents) -> None:
    for document in documents.values():
        for path in re.findall(r"`((?:sacnb|tests|docs|notebooks)/[\w./-]+)`", document.prose):
            assert (root / path).exists(), f"{document.name} names {path}"
