"""Small tables and paragraphs as text, HTML and Markdown: static, escaped, the same every time, and never large."""

from __future__ import annotations

import html
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

__all__ = [
    "MAX_BYTES",
    "Paragraphs",
    "Preview",
    "Previewed",
    "fact_table",
    "local_time",
    "printable",
    "same_everywhere",
    "shown_path",
]

MAX_BYTES: Final = 64 * 1024
# Control characters, marks that change the direction of writing, and halves of surrogate pairs.
_STEERING: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>|$~#])")


def printable(text: str) -> str:
    r"""Return *text* with characters that steer a terminal written out: ``\x1b``. Line ends and tabs stay."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@contextmanager
def same_everywhere(folder: Path) -> Iterator[None]:
    """Within the block, show times in UTC and *folder*, whose name is random, as ``<replay>``, in all threads.

    For replays: what a notebook shows must not depend on the machine.
    """
    _REPLAYS.append(folder)
    try:
        yield
    finally:
        _REPLAYS.remove(folder)


# The temporary folders of the replays in this process.
_REPLAYS: Final[list[Path]] = []


def local_time(moment: datetime) -> datetime:
    """Return *moment* in the zone of this machine, or in UTC during a replay."""
    return moment.astimezone(UTC if _REPLAYS else None)


def shown_path(path: Path) -> str:
    """Return *path* for display."""
    for folder in tuple(_REPLAYS):
        if path.is_relative_to(folder):
            return "/".join(["<replay>", *path.relative_to(folder).parts])
    return str(path)


@dataclass(frozen=True, slots=True)
class Preview:
    """A table for display. ``notes`` are the lines above it; ``more`` tells how many rows are left out."""

    title: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str

    def text(self) -> str:
        """Return the table for a terminal: aligned columns, numbers to the right."""
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        lines = [self.title, *self.notes]
        for cells in (self.columns, *self.rows):
            aligned = [
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(cells, widths, self.numeric, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
        return printable("\n".join([*lines, self.more] if self.more else lines))

    def html(self) -> str:
        """Return the table for a notebook, without scripts and colours, so that it fits light and dark themes."""
        return self._within_budget(Preview._html)

    def markdown(self) -> str:
        """Return the table for a notebook on a code host, or for a README."""
        return self._within_budget(Preview._markdown)

    def _within_budget(self, render: Callable[[Preview], str]) -> str:
        shown = self
        while len((text := printable(render(shown))).encode()) > MAX_BYTES and shown.rows:
            rows = shown.rows[: len(shown.rows) // 2]
            shown = replace(shown, rows=rows, more=f"Only {len(rows)} rows are shown, to keep the notebook small.")
        return text

    def _html(self) -> str:
        def cell(tag: str, text: str, *, number: bool) -> str:
            return f'<{tag} style="text-align: {"right" if number else "left"}">{html.escape(text)}</{tag}>'

        parts = [f"<p><strong>{html.escape(self.title)}</strong></p>"]
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        for tag, group in (("th", [self.columns]), ("td", list(self.rows))):
            lines = [
                "<tr>" + "".join(cell(tag, c, number=n) for c, n in zip(cells, self.numeric, strict=True)) + "</tr>"
                for cells in group
            ]
            section = "thead" if tag == "th" else "tbody"
            parts.append(("<table>" if tag == "th" else "") + f"<{section}>{''.join(lines)}</{section}>")
        parts[-1] += "</table>"
        if self.more:
            parts.append(f"<p>{html.escape(self.more)}</p>")
        return "\n".join(["<div>", *parts, "</div>"])

    def _markdown(self) -> str:
        parts = [f"**{_escaped(self.title)}**", *(_escaped(note) for note in self.notes)]
        table = [" | ".join(_escaped(cell) for cell in cells) for cells in (self.columns, *self.rows)]
        table.insert(1, " | ".join("---:" if number else "---" for number in self.numeric))
        parts.append("\n".join(f"| {line} |" for line in table))
        return "\n\n".join([*parts, _escaped(self.more)] if self.more else parts)


@dataclass(frozen=True, slots=True)
class Paragraphs:
    """A title and lines of text, for display in a notebook."""

    title: str
    lines: tuple[str, ...]

    def html(self) -> str:
        """Return the text as static HTML."""
        paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines)
        return f"<div><p><strong>{html.escape(self.title)}</strong></p>{paragraphs}</div>"

    def markdown(self) -> str:
        """Return the text as Markdown."""
        return "\n\n".join([f"**{_escaped(self.title)}**", *(_escaped(line) for line in self.lines)])


class Previewed(ABC):
    """Base class of objects that a notebook or a code host shows as a small table."""

    __slots__ = ()

    @abstractmethod
    def _preview(self) -> Preview: ...

    def _repr_html_(self) -> str:
        return self._preview().html()

    def _repr_markdown_(self) -> str:
        return self._preview().markdown()


def fact_table(title: str, facts: Mapping[str, str]) -> Preview:
    """Return a table of names and values."""
    return Preview(title, (), ("", ""), (False, False), tuple(facts.items()), "")


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;"))
