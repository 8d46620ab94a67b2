"""The documents as the tests read them: their text, their fences, their headings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<mark>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=mark)[ ]*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """A fenced block: the words behind the backticks, the text, and the line its text begins on."""

    info: tuple[str, ...]
    body: str
    line: int


@dataclass(frozen=True)
class Document:
    """A Markdown file of the project."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def fences(self) -> list[Fence]:
        return [
            Fence(tuple(found["info"].split()), found["body"], self.text.count("\n", 0, found.start("body")) + 1)
            for found in _FENCE.finditer(self.text)
        ]

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def headings(self) -> list[str]:
        return _HEADING.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """The anchors a code host makes of the headings: lower case, punctuation dropped, blanks to hyphens."""
        anchors: list[str] = []
        for heading in self.headings:
            anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            repeats = sum(1 for earlier in anchors if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", earlier))
            anchors.append(f"{anchor}-{repeats}" if repeats else anchor)
        return set(anchors)

    def section(self, heading: str) -> str:
        """The text below a heading, up to the next one of the same or a higher level."""
        found = re.search(rf"^(#+) {re.escape(heading)}$", self.text, re.MULTILINE)
        assert found, f"{self.name} has no heading {heading!r}"
        rest = self.text[found.end() :]
        end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row in a text, headers and separators left out."""
    lines = [line.strip() for line in text.splitlines()]
    rows = []
    for number, line in enumerate(lines):
        is_row = line.startswith("|") and not set(line) <= set("|-: ")
        is_header = number + 1 < len(lines) and lines[number + 1].startswith("|-")
        if is_row and not is_header:
            rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line[1:-1])])
    return rows


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def documents() -> dict[str, Document]:
    """Every Markdown file a reader of the project finds, by its path."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return {doc.name: doc for path in sorted(paths) for doc in [Document(path, path.read_text(encoding="utf-8"))]}


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[list[str]]]:
    """The function that reads the tables of a text."""
    return table_rows
