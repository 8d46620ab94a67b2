"""Results on stdout: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sacnb.cli.streams import clean, is_terminal, speaks_utf8

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["console", "json_option", "print_facts", "print_json", "print_table"]

_F = TypeVar("_F", bound=Callable[..., Any])

# Wide enough that a table in a file or a pipe is not folded; nothing is padded to it.
_WIDTH_WITHOUT_TERMINAL: Final = 200


def json_option(keys: str) -> Callable[[_F], _F]:
    """The option ``--json``; ``keys`` is the sentence of its help that names them."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON: {keys}.")


def console() -> Console:
    """Where tables go. Text is shown as it is: no markup, no highlighting; NO_COLOR and COLUMNS are respected."""
    from rich.console import Console

    width = None if is_terminal(sys.stdout) or "COLUMNS" in os.environ else _WIDTH_WITHOUT_TERMINAL
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A table; the columns named in ``right`` are numbers and stand to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(_cell(value))) for value in row))
    _print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line, the values below each other; those that are ``None`` are left out."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            grid.add_row(Text(name), Text(clean(_cell(value))))
    _print(grid)


def _print(table: Table) -> None:
    """A table without the blanks that pad its last column: they would be kept in a file, and fold in a terminal."""
    target = console()
    with target.capture() as captured:
        target.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def print_json(value: Any) -> None:
    """``value`` as JSON; instants and dates in ISO form. Escaped where stdout cannot write every character."""
    text = json.dumps(value, indent=2, ensure_ascii=not speaks_utf8(sys.stdout), default=_plain)
    sys.stdout.write(text + "\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.12g}"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
