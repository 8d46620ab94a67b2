"""Report the progress of a pull: by itself in a notebook, and otherwise to the listener that the user passes."""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sacnb._frontend import frontend

__all__ = [
    "Meter",
    "Progress",
    "ProgressListener",
    "ProgressOption",
    "age_in_words",
    "in_notebook",
    "progress_listener",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a pull: rows and pages so far, SAC's row count (if it sent one), and the seconds since the start.

    ``resumed_rows`` of the rows were pulled by an earlier run.
    """

    rows: int
    pages: int
    expected_rows: int | None
    elapsed_s: float
    resumed_rows: int = 0


ProgressListener = Callable[[Progress], None]


class Meter:
    """Adds up the rows of each segment and calls the listener. For one thread."""

    def __init__(
        self, listener: ProgressListener | None, clock: Callable[[], float], *, expected_rows: int | None = None
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._began = clock()
        self._expected_rows = expected_rows
        self._announced: dict[int, int] = {}
        self._rows: defaultdict[int, int] = defaultdict(int)
        self._resumed: defaultdict[int, int] = defaultdict(int)
        self._pages = 0

    @property
    def rows(self) -> int:
        """All rows so far."""
        return sum(self._rows.values())

    @property
    def pages(self) -> int:
        """Pages that this run fetched."""
        return self._pages

    @property
    def resumed_rows(self) -> int:
        """Rows that an earlier run pulled."""
        return sum(self._resumed.values())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the pull began."""
        return self._clock() - self._began

    def expect(self, segment: int, rows: int) -> None:
        """Note SAC's count of the rows of a segment."""
        self._announced[segment] = rows

    def resume(self, segment: int, rows: int) -> None:
        """Add rows of a segment that an earlier run pulled."""
        self._rows[segment] += rows
        self._resumed[segment] += rows

    def add(self, segment: int, rows: int) -> None:
        """Add a page, and call the listener."""
        self._rows[segment] += rows
        self._pages += 1
        self.report()

    def restart(self, segment: int) -> None:
        """Forget the rows of a segment."""
        self._rows[segment] = self._resumed[segment] = 0

    def report(self) -> None:
        """Call the listener with the progress."""
        if self._listener is None:
            return
        expected = self._expected_rows
        if expected is None and self._announced:
            expected = sum(self._announced.values())
        self._listener(Progress(self.rows, self._pages, expected, self.elapsed_s, resumed_rows=self.resumed_rows))


# A listener; "auto" for a bar in a notebook; None for nothing.
ProgressOption = ProgressListener | Literal["auto"] | None


@contextmanager
def progress_listener(progress: ProgressOption) -> Iterator[ProgressListener | None]:
    """Give the listener for a pull, for as long as it runs; ``"auto"`` is a bar in a notebook, else nothing."""
    if not isinstance(progress, str):
        yield progress
        return
    if not _is_notebook():
        yield None
        return
    with frontend().long_work() as listener:
        yield listener


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def _is_notebook() -> bool:
    """Return whether this process is a kernel that can show widgets."""
    return in_notebook() and importlib.util.find_spec("ipywidgets") is not None


def age_in_words(age: timedelta) -> str:
    """Return an age in words: ``52 minutes``, ``3 hours``, ``2 days``."""
    seconds = max(0, int(age.total_seconds()))
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {word}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
