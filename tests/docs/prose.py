"""Print docstrings, comments and messages of the package, drawn at random, to be read as an editor reads them.

python tests/docs/prose.py [seed] [count]
"""

from __future__ import annotations

import ast
import io
import random
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "sacnb"
_LEAST_CHARS = 25
# Calls whose first argument a user may read.
_SPOKEN = re.compile(r"(Error|Answer|Cancelled|warn_user|warning|info|debug|say)$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of the package: where it stands, what it is (docstring, comment or message), and its words."""

    place: str
    kind: str
    text: str


def docstrings(package: Path = PACKAGE) -> Iterator[Passage]:
    """Yield the first paragraph of each docstring; of a function none within it, to be quick."""
    for path in sorted(package.rglob("*.py")):
        name = _name_of(path)
        open_nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
        while open_nodes:
            node = open_nodes.pop()
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield Passage(f"{name}:{getattr(node, 'lineno', 1)}", "docstring", text.partition("\n\n")[0])
                open_nodes += [] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else node.body


def passages(package: Path = PACKAGE) -> tuple[Passage, ...]:
    """Return docstrings, comments of whole lines, and texts of exceptions, warnings and hints."""
    spoken = (passage for path in sorted(package.rglob("*.py")) for passage in _spoken(path))
    return (*docstrings(package), *spoken)


def _name_of(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


def _spoken(path: Path) -> Iterator[Passage]:
    source = path.read_text(encoding="utf-8")
    name = _name_of(path)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            given = [word.value for word in node.keywords if word.arg in {"hint", "help", "short_help"}]
            given += node.args[:1] if _SPOKEN.search(_name(node.func)) else []
            for text in filter(None, map(_text, given)):
                if " " in text and len(text) >= _LEAST_CHARS:
                    yield Passage(f"{name}:{node.lineno}", "message", text)
    yield from _comments(name, source)


def _name(function: ast.expr) -> str:
    """Return the last name of what is called; ``""`` where it has none."""
    match function:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    return None


def _comments(name: str, source: str) -> Iterator[Passage]:
    block: list[str] = []
    began = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.line.strip() != token.string:
            continue
        line, text = token.start[0], token.string.lstrip("# ")
        if line != last + 1 and block:
            yield Passage(f"{name}:{began}", "comment", " ".join(block))
            block = []
        began, last = (line if not block else began), line
        block.append(text)
    if block:
        yield Passage(f"{name}:{began}", "comment", " ".join(block))


def main() -> None:
    """Print passages; the same seed draws the same ones from the same tree."""
    seed, count = (int(text) for text in (*sys.argv[1:3], *("1", "20")[len(sys.argv[1:3]) :]))
    for passage in random.Random(seed).sample(passages(PACKAGE), count):
        print(f"{passage.place} ({passage.kind})")
        print(textwrap.indent(textwrap.fill(" ".join(passage.text.split()), 100), "    "))


if __name__ == "__main__":
    main()
