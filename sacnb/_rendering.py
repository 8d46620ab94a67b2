"""Small tables and paragraphs as text, HTML and Markdown: static, escaped, the same every time, and never large."""

from __future__ import annotations

import html
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
    "html_table",
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


# One look for every table, in inline styles: code hosts and widgets keep no style sheet. The lines are a half
# transparent grey, which is visible on light and dark pages; JupyterLab removes var(...) from outputs that it does not
# trust, and the whole border with it. Texts have the page's colour.
_BOX: Final = "overflow-x:auto;margin:4px 0"
_TABLE: Final = "border-collapse:collapse;border:none;margin:0;font-size:13px;font-variant-numeric:tabular-nums"
_HEAD: Final = "border-bottom:1px solid rgba(128,128,128,0.7);background:none"
_ROW: Final = "border-bottom:1px solid rgba(128,128,128,0.2);background:none"
_CELL: Final = "padding:4px 12px;border:none;vertical-align:top"
_TITLE: Final = "margin:0;padding:4px 12px"
_NOTE: Final = "margin:0;padding:0 12px 4px 12px;max-width:80ch"
_MORE: Final = "margin:0;padding:4px 12px;opacity:0.75;max-width:80ch"
# Longer texts wrap; ids and numbers stay on one line.
_WRAP_AFTER_CHARS: Final = 60


def html_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Collection[int] = (),
    title: str = "",
    notes: Sequence[str] = (),
    more: str = "",
) -> str:
    """Return a static HTML table in the one look of sacnb, for outputs, widgets and code hosts; all texts are escaped.

    Args:
        columns: The header, which is left out if all names are empty.
        rows: The cells as they are shown; ``sacnb._frames.preview.as_shown`` formats numbers.
        numeric: The positions of the columns with numbers, which are aligned to the right.
        title: A line above the table.
        notes: Lines between title and table.
        more: A line below the table, such as the number of rows that are left out.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(_html_cell(tag, text, is_number=place in numeric) for place, text in enumerate(cells))

    parts = [f'<p style="{_TITLE}"><strong>{html.escape(title)}</strong></p>'] if title else []
    parts += [f'<p style="{_NOTE}">{html.escape(note)}</p>' for note in notes]
    head = f'<thead><tr style="{_HEAD}">{line("th", columns)}</tr></thead>\n' if any(columns) else ""
    body = "".join(f'<tr style="{_ROW}">{line("td", cells)}</tr>\n' for cells in rows)
    parts.append(f'<table style="{_TABLE}">{head}<tbody>\n{body}</tbody></table>')
    parts += [f'<p style="{_MORE}">{html.escape(more)}</p>'] if more else []
    return printable("\n".join([f'<div style="{_BOX}">', *parts, "</div>"]))


def _html_cell(tag: str, text: str, *, is_number: bool) -> str:
    # A code host that removes styles keeps the attribute align.
    side = ' align="right" style="text-align:right' if is_number else ' style="text-align:left'
    space = "normal" if len(text) > _WRAP_AFTER_CHARS else "nowrap"
    scope = ' scope="col"' if tag == "th" else ""
    return f'<{tag}{scope}{side};white-space:{space};{_CELL}">{html.escape(text)}</{tag}>'


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
        """Return the table for a notebook: static, readable on light and dark pages."""
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
        numeric = {place for place, is_number in enumerate(self.numeric) if is_number}
        return html_table(self.columns, self.rows, numeric=numeric, title=self.title, notes=self.notes, more=self.more)

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
