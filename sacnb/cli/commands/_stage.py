"""How the demonstration looks: numbered steps, indented below their heading, readable without colour."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sacnb.cli.output import clean, is_terminal
from sacnb.cli.progress import show_progress

if TYPE_CHECKING:
    from sacnb._pull import ProgressListener

__all__ = ["Stage"]

_INDENT: Final = "   "
# Longer lines are hard to read, and a screenshot of them is small.
_WIDTH: Final = 100


class Stage:
    """Writes steps to stdout; knows how many there have been."""

    def __init__(self) -> None:
        width = min(Console(file=sys.stdout).width, _WIDTH) if is_terminal(sys.stdout) else _WIDTH
        self._console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)
        self._steps = 0
        self._below_table = False

    def title(self, text: str) -> None:
        """The first line."""
        self._console.print(Text(text, style="bold"))

    def step(self, heading: str) -> None:
        """Begin the next numbered step."""
        self._steps += 1
        self._below_table = False
        self._console.print()
        self._console.print(Text(f"{self._steps}. {heading}", style="bold cyan"))

    def say(self, text: str, *, style: str = "") -> None:
        """A paragraph of the step."""
        if self._below_table:
            self._console.print()
        self._below_table = False
        lines = textwrap.fill(
            clean(text),
            self._console.width - 1,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._console.print(Text(lines, style=style), soft_wrap=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
        """A table of the step."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
        for header in headers:
            table.add_column(header, justify="right" if header in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(str(value))) for value in row))
        self._console.print(Padding(table, (0, 0, 0, len(_INDENT)), expand=False))
        self._below_table = True

    @contextmanager
    def progress(self, label: str, *, stays: bool = True) -> Iterator[ProgressListener | None]:
        """A progress bar on stderr where somebody watches; it is left standing if it ``stays``."""
        sys.stdout.flush()
        if not is_terminal(sys.stderr):
            yield None
            return
        console = Console(stderr=True, markup=False, highlight=False)
        with show_progress(console, _INDENT + label, transient=not stays) as listener:
            yield listener
