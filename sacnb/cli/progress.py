"""A progress bar on stderr, where somebody watches.

Log records and the warnings that ride on results, on stderr, each said once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sacnb.cli.output import clean, is_terminal, say

if TYPE_CHECKING:
    from rich.console import Console

    from sacnb._pull import Progress, ProgressListener

__all__ = ["announce", "log_to_stderr", "progress_bar", "show_progress"]


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressListener | None]:
    """A listener that draws a bar on stderr while the block runs; ``None`` where stderr is no terminal."""
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console

    with show_progress(Console(stderr=True, markup=False, highlight=False), label, transient=True) as listener:
        yield listener


@contextmanager
def show_progress(console: Console, label: str, *, transient: bool) -> Iterator[ProgressListener]:
    """A listener that draws a bar on ``console``, which is left standing unless ``transient``."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=transient) as bar:
        task = bar.add_task(clean(label), total=None)

        def listener(progress: Progress) -> None:
            bar.update(task, completed=progress.rows, total=progress.expected_rows)

        yield listener


class _StderrHandler(logging.Handler):
    """Shows log records where the rest is said, above a progress bar, and remembers what it has shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
            self.shown.add(message)
            # At -vv the thread and the room matter; a warning is for the person who watches.
            what = record.levelname.capitalize() if record.levelno >= logging.WARNING else record.name
            say(f"{what}: {message}")
            if record.exc_text:
                say(record.exc_text)
        except Exception:  # noqa: BLE001 - a record that cannot be shown must not end the command
            self.handleError(record)


def log_to_stderr() -> _StderrHandler:
    """Have the records of sacnb shown on stderr, redacted, while the command runs; asking twice changes nothing."""
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
    """Show a warning that rides on a result, unless its log record has been shown already."""
    if warning not in log_to_stderr().shown:
        say(f"Warning: {warning}")
