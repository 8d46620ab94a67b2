"""Small tables and paragraphs as text, HTML and Markdown: static, escaped, the same every time, and never large."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, Literal

__all__ = [
    "MAX_BYTES",
    "PAGED_ROWS",
    "Paged",
    "Paragraphs",
    "Preview",
    "Previewed",
    "fact_table",
    "html_table",
    "local_time",
    "printable",
    "same_everywhere",
    "shown_path",
    "text_width",
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
    more: str | Sequence[str] = "",
) -> str:
    """Return a static HTML table in the one look of sacnb, for outputs, widgets and code hosts; all texts are escaped.

    Args:
        columns: The header, which is left out if all names are empty.
        rows: The cells as they are shown; ``sacnb._frames.preview.as_shown`` formats numbers.
        numeric: The positions of the columns with numbers, which are aligned to the right.
        title: A line above the table.
        notes: Lines between title and table.
        more: A line or lines below the table, such as the number of rows that are left out.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(_html_cell(tag, text, is_number=place in numeric) for place, text in enumerate(cells))

    parts = [f'<p style="{_TITLE}"><strong>{html.escape(title)}</strong></p>'] if title else []
    parts += [f'<p style="{_NOTE}">{html.escape(note)}</p>' for note in notes]
    head = f'<thead><tr style="{_HEAD}">{line("th", columns)}</tr></thead>\n' if any(columns) else ""
    body = "".join(f'<tr style="{_ROW}">{line("td", cells)}</tr>\n' for cells in rows)
    parts.append(f'<table style="{_TABLE}">{head}<tbody>\n{body}</tbody></table>')
    parts += [
        f'<p style="{_MORE}">{html.escape(one)}</p>' for one in ([more] if isinstance(more, str) else more) if one
    ]
    return printable("\n".join([f'<div style="{_BOX}">', *parts, "</div>"]))


def _html_cell(tag: str, text: str, *, is_number: bool) -> str:
    # A code host that removes styles keeps the attribute align.
    side = ' align="right" style="text-align:right' if is_number else ' style="text-align:left'
    space = "normal" if len(text) > _WRAP_AFTER_CHARS else "nowrap"
    scope = ' scope="col"' if tag == "th" else ""
    return f'<{tag}{scope}{side};white-space:{space};{_CELL}">{html.escape(text)}</{tag}>'


@dataclass(frozen=True, slots=True)
class Preview:
    """A table for display.

    ``notes`` are the lines above it; ``more`` tells how many rows are left out. Where the table is too wide, ``cut``
    holds the columns whose texts may be shortened, and ``drop`` those that may be left out, in the order in which they
    are. ``rest`` are further rows, to page through in a notebook, and ``total`` is the number of all rows.
    """

    title: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str
    cut: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()
    rest: tuple[tuple[str, ...], ...] = ()
    total: int = 0

    def text(self, width: int | None = None) -> str:
        """Return the table for a terminal, as wide as it is if possible: aligned columns, numbers to the right."""
        width = width or text_width()
        shown, missing = self._fitted(width)
        fill = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
        lines = [line for text in (self.title, *self.notes) for line in fill.wrap(text)]
        widths = shown._widths()
        for cells in (shown.columns, *shown.rows):
            aligned = []
            for cell, wide, number in zip(cells, widths, shown.numeric, strict=True):
                space = " " * (wide - _width_of(cell))
                aligned.append(space + cell if number else cell + space)
            lines.append(_GAP.join(aligned).rstrip())
        lines += fill.wrap(_not_shown(missing))
        return printable("\n".join([*lines, self.more] if self.more else lines))

    def html(self) -> str:
        """Return the table for a notebook: static, readable on light and dark pages."""
        return self._within_budget(Preview._html)

    def markdown(self) -> str:
        """Return the table for a notebook on a code host, or for a README."""
        return self._within_budget(Preview._markdown)

    def paged_html(self) -> str:
        """Return the static table with a script that pages through ``rest``, sorts and searches, without a kernel."""
        page = self.html()
        shown = self._narrow()[0]
        rows, left = [], _PAGED_BYTES
        for cells in (*shown.rows, *shown.rest):
            left -= sum(len(cell.encode()) + 4 for cell in cells)
            if left < 0:
                break
            rows.append([printable(cell) for cell in cells])
        if len(rows) <= len(shown.rows):
            return page
        numeric = [place for place, is_number in enumerate(shown.numeric) if is_number]
        store = {"total": max(self.total, len(rows)), "page": len(shown.rows), "numeric": numeric, "rows": rows}
        # A text with </script> would end the element.
        text = json.dumps(store, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        page = page.replace("<div ", '<div data-sacnb="rows" ', 1).removesuffix("</div>")
        if self.more:
            page = page.replace(f'<p style="{_MORE}">', f'<p data-sacnb="rest" style="{_MORE}">', 1)
        return f'{page}<script type="application/json">{text}</script>\n<script>{_script()}</script>\n</div>'

    def _within_budget(self, render: Callable[[Preview], str]) -> str:
        shown = self
        while len((text := printable(render(shown))).encode()) > MAX_BYTES and shown.rows:
            rows = shown.rows[: len(shown.rows) // 2]
            shown = replace(shown, rows=rows, more=f"Only {len(rows)} rows are shown, to keep the notebook small.")
        return text

    def _html(self) -> str:
        shown, missing = self._narrow()
        numeric = {place for place, is_number in enumerate(shown.numeric) if is_number}
        more = (self.more, _not_shown(missing))
        return html_table(shown.columns, shown.rows, numeric=numeric, title=self.title, notes=self.notes, more=more)

    def _markdown(self) -> str:
        shown, missing = self._narrow()
        parts = [f"**{_escaped(self.title)}**", *(_escaped(note) for note in self.notes)]
        table = [" | ".join(_escaped(cell) for cell in cells) for cells in (shown.columns, *shown.rows)]
        table.insert(1, " | ".join("---:" if number else "---" for number in shown.numeric))
        parts.append("\n".join(f"| {line} |" for line in table))
        return "\n\n".join([*parts, *(_escaped(line) for line in (self.more, _not_shown(missing)) if line)])

    def _narrow(self) -> tuple[Preview, tuple[str, ...]]:
        """Return the table with as many columns as fit on a page, and the names of the others."""
        return self._dropped(
            lambda shown: sum(min(width, _WRAPPED_CHARS) * 8 + 24 for width in shown._widths()) <= _PAGE_PIXELS
        )

    def _fitted(self, width: int) -> tuple[Preview, tuple[str, ...]]:
        """Return the table that fits into *width* if possible, and the names of the columns that are left out."""
        shown = self._shortened(width)
        if shown._width() > width and any(self.columns):
            # An id as wide as half a terminal would push everything else out.
            most = max(width // 2, _LEAST_CHARS)
            rows = tuple(tuple(_cut(cell, most, "middle") for cell in row) for row in self.rows)
            shown = replace(self, rows=rows)._shortened(width)
        return shown._dropped(lambda shown: shown._width() <= width)

    def _dropped(self, fits: Callable[[Preview], bool]) -> tuple[Preview, tuple[str, ...]]:
        """Leave out columns until the table fits, or none can go; return it and the names of these columns."""
        for count in range(len(self.drop) + 1):
            shown, missing = self._without(self.drop[:count])
            if fits(shown):
                break
        return shown, missing

    def _widths(self) -> list[int]:
        return [max(map(_width_of, cells)) for cells in zip(self.columns, *self.rows, strict=True)]

    def _width(self) -> int:
        widths = self._widths()
        return sum(widths) + len(_GAP) * (len(widths) - 1)

    def _shortened(self, width: int) -> Preview:
        """Shorten the texts that may be cut, the longest first, as far as *width* asks for it."""
        widths = self._widths()
        most = {place: widths[place] for place in self.cut}
        over = self._width() - width
        while over > 0 and max(most.values(), default=0) > _LEAST_CHARS:
            most[max(most, key=lambda place: most[place])] -= 1
            over -= 1
        rows = tuple(
            tuple(_cut(cell, most.get(place, widths[place])) for place, cell in enumerate(cells)) for cells in self.rows
        )
        return replace(self, rows=rows)

    def _without(self, places: Sequence[int]) -> tuple[Preview, tuple[str, ...]]:
        """Return the table with one narrow column in the place of each run of columns, and the names of these."""
        if not places:
            return self, ()
        kept: list[int | None] = []
        for place in range(len(self.columns)):
            if place not in places:
                kept.append(place)
            elif not kept or kept[-1] is not None:
                kept.append(None)

        def narrow(cells: tuple[str, ...]) -> tuple[str, ...]:
            return tuple("…" if place is None else cells[place] for place in kept)

        shown = replace(
            self,
            columns=narrow(self.columns),
            numeric=tuple(place is not None and self.numeric[place] for place in kept),
            rows=tuple(map(narrow, self.rows)),
            rest=tuple(map(narrow, self.rest)),
        )
        return shown, tuple(self.columns[place] for place in sorted(places))


_GAP: Final = "  "
_LEAST_CHARS: Final = 12  # of a text that is shortened, so that it can be told from others
# The width of an output in JupyterLab beside its file browser on a small screen, for the 8 pixels of a bold character.
_PAGE_PIXELS: Final = 800
# A text that wraps can be as narrow as this.
_WRAPPED_CHARS: Final = 45
_NAMED_CHARS: Final = 300
# The rows to page through weigh at most this much in the saved notebook.
_PAGED_BYTES: Final = 32 * 1024
_WIDTH_WITHOUT_TERMINAL: Final = 120


def text_width() -> int:
    """Return the width of tables of text: ``COLUMNS`` if it is above 0, else that of the terminal, else 120."""
    columns = os.environ.get("COLUMNS", "")
    given = columns.isdecimal() and int(columns) > 0
    if not _REPLAYS and (given or (sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty())):
        return shutil.get_terminal_size().columns
    return _WIDTH_WITHOUT_TERMINAL


def _width_of(text: str) -> int:
    """Return how many cells of a terminal a text takes: characters of Chinese, Japanese and Korean take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, width: int, where: Literal["end", "middle"] = "end") -> str:
    """Return a text that takes *width* cells of a terminal at most."""
    if _width_of(text) <= width:
        return text
    end = "…" + (text[-((width - 1) // 2) :] if where == "middle" else "")
    while _width_of(text + end) > width:
        text = text[:-1]
    return text + end


def _not_shown(names: Sequence[str]) -> str:
    if not names:
        return ""
    listed = ", ".join(names)
    listed = listed if len(listed) <= _NAMED_CHARS else listed[: _NAMED_CHARS - 1] + "…"
    return f"{len(names):,} column{'' if len(names) == 1 else 's'} not shown: {listed}"


@cache
def _script() -> str:
    return resources.files("sacnb").joinpath("_rendering.js").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Paragraphs:
    """A title and lines of text, for display in a notebook."""

    title: str
    lines: tuple[str, ...]

    def html(self) -> str:
        """Return the text as static HTML."""
        paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines)
        return printable(f"<div><p><strong>{html.escape(self.title)}</strong></p>{paragraphs}</div>")

    def markdown(self) -> str:
        """Return the text as Markdown."""
        return printable("\n\n".join([f"**{_escaped(self.title)}**", *(_escaped(line) for line in self.lines)]))


class Previewed(ABC):
    """Base class of objects that a notebook or a code host shows as a small table."""

    __slots__ = ()

    @abstractmethod
    def _preview(self) -> Preview: ...

    def _repr_html_(self) -> str:
        return self._preview().html()

    def _repr_markdown_(self) -> str:
        return self._preview().markdown()


class Paged(Previewed):
    """Base class of frames: a notebook also gets the script to page through them, sort and search."""

    __slots__ = ()

    @abstractmethod
    def _preview(self, rows: int = 0) -> Preview:
        """Return the table; *rows* is the number of rows to format beyond those at the top."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/html": self._preview(PAGED_ROWS).paged_html()}


# Formatting more would take longer than people wait for a cell.
PAGED_ROWS: Final = 500


def fact_table(title: str, facts: Mapping[str, str]) -> Preview:
    """Return a table of names and values."""
    return Preview(title, (), ("", ""), (False, False), tuple(facts.items()), "")


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;"))
