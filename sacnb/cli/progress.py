"""A progress bar on stderr, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sacnb.cli.streams import clean, is_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from sacnb._pull import Progress, ProgressListener

__all__ = ["progress_bar", "show_progress"]


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
