"""The first rows of a table as text, HTML and Markdown: static, escaped, the same every time, and never large."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

__all__ = ["MAX_BYTES", "Preview", "preview"]

MAX_BYTES: Final = 64 * 1024
_ROWS: Final = 10
_COLUMNS: Final = 30
_CELL_CHARS: Final = 60
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>|$~#])")


@dataclass(frozen=True, slots=True)
class Preview:
    """A table to look at. ``notes`` are lines that stand above it; ``more`` says what is not shown."""

    title: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str

    def text(self) -> str:
        """For a terminal: aligned columns, numbers to the right."""
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        lines = [self.title, *self.notes]
        for cells in (self.columns, *self.rows):
            aligned = [
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(cells, widths, self.numeric, strict=True)
            ]
            lines.append("  ".join(aligned).rstrip())
        return "\n".join([*lines, self.more] if self.more else lines)

    def html(self) -> str:
        """For a notebook: without scripts, styles and colours, so that it looks right in the light and in the dark."""
        return self._within_budget(Preview._html)

    def markdown(self) -> str:
        """For a notebook on a code host, and for a README."""
        return self._within_budget(Preview._markdown)

    def _within_budget(self, render: Callable[[Preview], str]) -> str:
        shown = self
        while len((text := render(shown)).encode()) > MAX_BYTES and shown.rows:
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


def preview(table: pa.Table, *, title: str, notes: tuple[str, ...] = ()) -> Preview:
    """The first ten rows and the first thirty columns of a table; long texts are cut."""
    head = table.slice(0, _ROWS).select(range(min(table.num_columns, _COLUMNS)))
    numeric = tuple(_is_number(field.type) for field in head.schema)
    rows = tuple(tuple(map(_cell, row.values())) for row in head.to_pylist())
    left = [
        f"{count:,} more {word}{'' if count == 1 else 's'}"
        for count, word in ((table.num_rows - _ROWS, "row"), (table.num_columns - _COLUMNS, "column"))
        if count > 0
    ]
    names = tuple(map(_cell, head.column_names))
    return Preview(title, notes, names, numeric, rows, f"… {' and '.join(left)}" if left else "")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    # What cannot be printed (line ends, marks that turn the writing direction) is shown by its escape.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;"))
