"""How far a pull is.

Whether a pull shows how far it is: by itself in a notebook, and nowhere else.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sacnb._frontend import frontend

__all__ = ["Meter", "Progress", "ProgressListener", "Shown", "listener_of"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is: rows and pages so far, the rows SAC announced (if it did), and the seconds since it began.

    ``resumed_rows`` of the rows were pulled by an earlier run.
    """

    rows: int
    pages: int
    expected_rows: int | None
    elapsed_s: float
    resumed_rows: int = 0


ProgressListener = Callable[[Progress], None]


class Meter:
    """Adds up what arrived on each lane, and tells the listener. For one thread."""

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
    def resumed_rows(self) -> int:
        """Those of them that an earlier run pulled."""
        return sum(self._resumed.values())

    def expect(self, lane: int, rows: int) -> None:
        """SAC announced so many rows for a lane."""
        self._announced[lane] = rows

    def resume(self, lane: int, rows: int) -> None:
        """So many rows of a lane are there already."""
        self._rows[lane] += rows
        self._resumed[lane] += rows

    def add(self, lane: int, rows: int) -> None:
        """A page has come."""
        self._rows[lane] += rows
        self._pages += 1
        self.tell()

    def restart(self, lane: int) -> None:
        """A lane begins anew: what it brought does not count."""
        self._rows[lane] = self._resumed[lane] = 0

    def tell(self) -> None:
        """Tell the listener how far it is."""
        if self._listener is None:
            return
        expected = self._expected_rows
        if expected is None and self._announced:
            expected = sum(self._announced.values())
        self._listener(
            Progress(self.rows, self._pages, expected, self._clock() - self._began, resumed_rows=self.resumed_rows)
        )


# A listener; "auto" for a bar where somebody watches; None for nothing.
Shown = ProgressListener | Literal["auto"] | None


@contextmanager
def listener_of(progress: Shown) -> Iterator[ProgressListener | None]:
    """What is told how far a pull is, for as long as it takes; ``"auto"`` is a bar in a notebook, else nothing."""
    if not isinstance(progress, str):
        yield progress
        return
    if progress != "auto":
        raise TypeError(f"progress is {progress!r}; expected a function, 'auto' or None.")
    if not _is_notebook():
        yield None
        return
    with frontend().long_work() as listener:
        yield listener


def _is_notebook() -> bool:
    """Whether this process is a kernel that can show widgets."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None and importlib.util.find_spec("ipywidgets") is not None
