"""What the documents point at is there, and nothing in them belongs to one machine only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from sacnb.replay.scan import scan_text

_ROOT = Path(__file__).parents[2]
_NAMES = [path.relative_to(_ROOT).as_posix() for path in sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")])]

# [text](target) and ![text](target); the target ends at a blank (a title follows) or at the parenthesis.
_INLINE = re.compile(r"\]\(([^)\s]+)")
_USED_REFERENCE = re.compile(r"\]\[([^\]]+)\]")
_REFERENCE = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")

# Home folders, temporary folders, drives of one machine; addresses of package indexes and of private networks.
_OF_ONE_MACHINE = re.compile(
    r"(?<![\w.])/(?:home|Users|root|tmp|work|mnt|media)/|[A-Z]:[\\/]Users[\\/]|/simple/|files\.pythonhosted|index-url|"
    r"\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b"
)


@pytest.fixture(params=_NAMES)
def document(request, documents):
    return documents[request.param]


def test_relative_links_and_their_anchors_resolve(document, documents, root) -> None:
    text = _CODE.sub("", document.prose)
    for target in [*_INLINE.findall(text), *(target for _, target in _REFERENCE.findall(text))]:
        if re.match(r"[a-z]+:", target):
            assert target.startswith(("https://", "mailto:")), target
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (document.path.parent / path).resolve() if path else document.path
        assert file.exists(), f"{document.name} points at {target}"
        assert file.is_relative_to(root), target
        if anchor:
            assert anchor in documents[file.relative_to(root).as_posix()].anchors, f"{document.name}: {target}"


@pytest.mark.parametrize("notebook", sorted(_ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_the_links_of_notebooks_resolve(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    targets = [target for target in _INLINE.findall(_CODE.sub("", text)) if not target.startswith("https://")]
    missing = [target for target in targets if not (notebook.parent / target.partition("#")[0]).exists()]
    assert not missing


def test_every_reference_is_defined_and_used(document) -> None:
    text = _CODE.sub("", document.prose)
    defined = [name for name, _ in _REFERENCE.findall(text)]
    assert len(defined) == len(set(defined))
    assert set(defined) == set(_USED_REFERENCE.findall(text))


def test_nothing_belongs_to_one_machine(document) -> None:
    found = [match[0] for match in _OF_ONE_MACHINE.finditer(document.text)]
    assert not found, f"{document.name} holds {found}"


def test_nothing_looks_like_a_secret(document) -> None:
    assert list(scan_text(document.text, path=document.name)) == []


def test_every_fence_says_what_it_holds(document) -> None:
    known = {"console", "dotenv", "ini", "mermaid", "powershell", "python", "sh", "text", "toml", "yaml"}
    for fence in document.fences:
        assert fence.info, f"{document.name}:{fence.line} has no language"
        assert fence.info[0] in known, f"{document.name}:{fence.line} says {fence.info[0]}"
