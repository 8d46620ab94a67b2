"""Results on stdout: a table for people, JSON for programs.

Text to the two streams of a terminal that may know neither UTF-8 nor colours, or have closed already.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "clean",
    "console",
    "is_terminal",
    "json_option",
    "make_tolerant",
    "print_facts",
    "print_json",
    "print_table",
    "say",
    "silence",
    "speaks_utf8",
]

# Escape sequences in the name of a model could move the cursor or retitle the window. Tabs and line ends may stay.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def make_tolerant(*streams: TextIO) -> None:
    r"""Have ``streams`` write what their encoding lacks as ``\u....``: a Windows console must not end the program."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def clean(text: str) -> str:
    """``text`` with control characters written out, so that nothing from outside can steer the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: str) -> None:
    """One or more lines on stderr, for the person who watches; a progress bar makes room for them."""
    sys.stderr.write(clean(text) + "\n")
    sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody watches ``stream``."""
    return not stream.closed and stream.isatty()


def speaks_utf8(stream: TextIO) -> bool:
    """Whether ``stream`` can write every character."""
    return (stream.encoding or "").lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}


def silence(stream: TextIO) -> None:
    """Point ``stream`` at nothing: its reader has left, and Python would complain when it flushes at the end."""
    with contextlib.suppress(io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


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
