"""A progress bar, log records and warnings of results, all on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click

from sacnb._rendering import printable
from sacnb.cli.output import console, is_terminal, say

if TYPE_CHECKING:
    from rich.console import Console

    from sacnb._pull import Progress, ProgressListener

__all__ = ["announce", "log_to_stderr", "progress_bar", "show_progress"]


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressListener | None]:
    """Draw a bar on stderr while the block runs; yields its listener, or ``None`` if stderr is no terminal."""
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

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            self.shown.add(message)
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
