"""Write results to stdout (a table for people, JSON for programs) and messages to stderr.

A progress bar, log records and warnings of results, all on stderr.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

import click

from sacnb._rendering import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sacnb._pull import Progress, ProgressListener

__all__ = [
    "announce",
    "console",
    "has_printed_json",
    "is_discarded",
    "is_terminal",
    "json_option",
    "log_to_stderr",
    "make_tolerant",
    "print_facts",
    "print_json",
    "print_table",
    "progress_bar",
    "replace_missing_streams",
    "say",
    "show_progress",
    "silence",
    "speaks_utf8",
    "wants_json",
    "width_of",
]


def replace_missing_streams() -> None:
    """Give a process without a console (``pythonw``, closed streams) streams that discard text.

    On POSIX the null device also takes the free file descriptors 0 to 2, which a data file would get otherwise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def is_discarded(stream: TextIO) -> bool:
    """Return whether *stream* is the substitute for one that the process does not have."""
    return getattr(stream, "name", None) == os.devnull


def make_tolerant(*streams: TextIO) -> None:
    r"""Write characters that the encoding lacks as ``\u....``, so that a Windows console does not end the program."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Write one or more lines to stderr, above a progress bar if there is one."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Return whether *stream* is an open terminal."""
    return not stream.closed and stream.isatty()


def speaks_utf8(stream: TextIO) -> bool:
    """Return whether *stream* can write every character."""
    return (stream.encoding or "").lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}


def silence(stream: TextIO) -> None:
    """Point *stream* at the null device: its reader has left, and Python's last flush would complain."""
    with contextlib.suppress(io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


_F = TypeVar("_F", bound=Callable[..., Any])

# Of paragraphs in files and pipes; tables take what they need there.
_WIDTH_WITHOUT_TERMINAL: Final = 200
_NO_LIMIT: Final = 1_000_000
# A column that is narrower than this, and not by nature, breaks words everywhere.
_LEAST_CELLS: Final = 12
# Keys in the ``meta`` of click's context, which all commands of one run share.
_WANTED: Final = "sacnb.json.wanted"
_PRINTED: Final = "sacnb.json.printed"


def json_option(keys: str) -> Callable[[_F], _F]:
    """Return the option ``--json``; its help lists *keys*."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON: {keys}.")


def wants_json(ctx: click.Context, arguments: Sequence[str] | None = None) -> bool:
    """Return whether this run has the option ``--json``; remember it if *arguments* are given.

    A mistake in the arguments is found before click has read ``--json``, so the words themselves decide.
    """
    if arguments is not None:
        ctx.meta[_WANTED] = "--json" in arguments
    return bool(ctx.meta.get(_WANTED))


def has_printed_json(ctx: click.Context) -> bool:
    """Return whether this run has printed its JSON document."""
    return bool(ctx.meta.get(_PRINTED))


def width_of(stream: TextIO) -> int:
    """Return the width of text on *stream*: ``COLUMNS`` if it is above 0, else that of the terminal, else 200."""
    return _given_width(stream) or _WIDTH_WITHOUT_TERMINAL


def _given_width(stream: TextIO) -> int | None:
    columns = os.environ.get("COLUMNS", "")
    if is_terminal(stream) or (columns.isdecimal() and int(columns) > 0):
        return shutil.get_terminal_size().columns
    return None


def console(stream: TextIO, width: int | None = None) -> Console:
    """Return a console that prints text as it is, without markup and highlighting; it respects NO_COLOR."""
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width or width_of(stream))


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), whole: Sequence[str] = ()
) -> None:
    """Print a table; columns in *right* hold numbers, those in *whole* ids, which are not folded.

    A pipe or a file gets one line for each record and no rule; a terminal too narrow for the columns gets each record
    as names and values.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(_cell(value)) for value in row] for row in rows]
    width = _given_width(sys.stdout)
    if width is None:
        cells = [[" ".join(cell.split("\n")) for cell in row] for row in cells]
    elif cells and _least_width(headers, cells) > width:
        for number, row in enumerate(cells):
            sys.stdout.write("\n" if number else "")
            print_facts({name: cell for name, cell in zip(headers, row, strict=True) if cell})
        return
    table = Table(
        box=None if width is None else box.SIMPLE_HEAD,
        padding=(0, 2, 0, 0) if width is None else (0, 1),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for header in headers:
        justify: Any = "right" if header in right else "left"
        table.add_column(header, justify=justify, overflow="fold", no_wrap=width is None or header in whole)
    for row in cells:
        table.add_row(*map(Text, row))
    _print(table)


def _least_width(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Return the width below which the columns of a table cannot be read any more."""
    from rich.cells import cell_len

    natural = (max(map(cell_len, column)) for column in zip(headers, *cells, strict=True))
    return sum(min(width, _LEAST_CELLS) for width in natural) + 3 * (len(headers) - 1)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one per line, with the values aligned; leave out values that are ``None``."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            grid.add_row(Text(name), Text(printable(_cell(value))))
    _print(grid)


def _print(table: Table) -> None:
    """Print a table without the blanks that pad its last column, which would fold in a narrow terminal."""
    target = console(sys.stdout)
    # A column that must not be folded may need more than the terminal has; nothing is folded in a pipe.
    needed = target.measure(table, options=target.options.update(width=_NO_LIMIT))
    target.width = needed.maximum if _given_width(sys.stdout) is None else max(target.width, needed.minimum)
    with target.capture() as captured:
        target.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def print_json(value: Any) -> None:
    """Print *value* as JSON, with instants and dates in ISO form; escaped if stdout cannot write every character."""
    text = json.dumps(value, indent=2, ensure_ascii=not speaks_utf8(sys.stdout), default=_plain)
    sys.stdout.write(text + "\n")
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_PRINTED] = True


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
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


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressListener | None]:
    """Draw a bar on stderr while the block runs; yields its listener, or ``None`` if stderr is not a terminal."""
    if not is_terminal(sys.stderr):
        yield None
        return
    with show_progress(console(sys.stderr), label, transient=True) as listener:
        yield listener


@contextmanager
def show_progress(target: Console, label: str, *, transient: bool) -> Iterator[ProgressListener]:
    """Draw a bar on *target*, which disappears at the end if *transient*; yields its listener."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=target, transient=transient) as bar:
        task = bar.add_task(printable(label), total=None)

        def listener(progress: Progress) -> None:
            bar.update(task, completed=progress.rows, total=progress.expected_rows)

        yield listener


class _StderrHandler(logging.Handler):
    """Writes log records to stderr, above a progress bar, and remembers their messages."""

    takes_log_format = True  # connect() sets a formatter where SAC_LOG_FORMAT is json

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            self.shown.add(message)
            if self.formatter is not None:
                say(self.formatter.format(record))
                return
            say(f"{_prefix(record)}: {message}")
            if record.exc_text:
                say(record.exc_text)
        except Exception:  # noqa: BLE001 - a record that cannot be shown must not end the command
            self.handleError(record)


def _prefix(record: logging.LogRecord) -> str:
    """Return ``Warning``; or time, level and logger if the user asked for a log (``-v``, ``SAC_LOG=info``)."""
    if logging.getLogger("sacnb").getEffectiveLevel() > logging.INFO:
        return record.levelname.capitalize()
    at = datetime.fromtimestamp(record.created).astimezone()
    return f"{at.isoformat(timespec='seconds')} {record.levelname} {record.name}"


def log_to_stderr() -> _StderrHandler:
    """Write sacnb's log records to stderr, redacted, while the command runs; a second call changes nothing."""
    from sacnb._redact import RedactingFilter

    logger = logging.getLogger("sacnb")
    for handler in logger.handlers:
        if isinstance(handler, _StderrHandler):
            return handler
    handler = _StderrHandler()
    handler.addFilter(RedactingFilter())
    logger.addHandler(handler)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.find_root().call_on_close(lambda: logger.removeHandler(handler))
    return handler


def announce(warning: str) -> None:
    """Show the warning of a result, unless its log record has been shown already."""
    if warning not in log_to_stderr().shown:
        say(f"Warning: {warning}")
