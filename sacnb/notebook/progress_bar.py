"""How far a pull is, shown where it was started: a bar in a notebook, a line in a terminal, nothing under replay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from sacnb.notebook.words import as_html, how_far, how_far_it_got
from sacnb.replay import active

if TYPE_CHECKING:
    from sacnb._pull import Progress, ProgressListener

__all__ = ["TAG", "long_work", "progress"]

# In the metadata of an output: it tells how long something took, and is no result.
TAG: Final = "sacnb-progress"
# What takes less time leaves nothing behind.
_LONG_S: Final = 1.0
# More often would only keep the browser busy.
_SHOW_EVERY_S: Final = 0.2


def progress(*, stream: TextIO | None = None) -> ProgressListener:
    """A listener for one pull: ``facts.fetch(progress=sacnb.notebook.progress())``.

    In a notebook a bar of ipywidgets with its text, in a terminal one line that is written over, and otherwise, such as
    under replay and while a cassette is recorded, nothing: outputs stay the same.

    Args:
        stream: Where lines go; by default stderr.
    """
    if active() is not None:
        return _nothing
    show = _Bar().show if _in_notebook() else _line(stream or sys.stderr)
    shown_at_s = -_SHOW_EVERY_S

    def listen(progress: Progress) -> None:
        nonlocal shown_at_s
        is_last = progress.rows == progress.expected_rows
        if progress.elapsed_s - shown_at_s < _SHOW_EVERY_S and not is_last:
            return
        shown_at_s = progress.elapsed_s
        show(progress, is_last)

    return listen


@contextmanager
def long_work() -> Iterator[ProgressListener]:
    """A listener that shows a bar in a notebook once the work takes its time; in the end a line of text is left of it.

    A bar belongs to its kernel, and the file that is saved would show an error in its place.
    """
    if active() is not None:
        yield _nothing
        return
    bar: _Bar | None = None
    last: Progress | None = None
    cell = _current_cell()  # another cell may run by the time the bar appears
    shown_at_s = 0.0

    def listen(reached: Progress) -> None:
        nonlocal bar, last, shown_at_s
        last = reached
        if reached.elapsed_s < _LONG_S or reached.elapsed_s - shown_at_s < _SHOW_EVERY_S:
            return
        shown_at_s = reached.elapsed_s
        bar = bar or _Bar(cell)
        bar.show(reached, is_last=False)

    try:
        yield listen
    finally:
        if bar is not None and last is not None:
            bar.leave(last)


def _nothing(_: Progress) -> None:
    """Outputs that are compared must not tell how fast a machine is."""


def _in_notebook() -> bool:
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def _current_cell() -> dict[str, Any] | None:
    """Return the header of the message that runs the current cell, to which outputs refer; ``None`` without one."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(getattr(shell, "display_pub", None), "parent_header", None)


@contextmanager
def _shown_in(cell: dict[str, Any] | None) -> Iterator[None]:
    """Send the outputs of this thread to a cell; before ipykernel 7 they go to the cell that is running."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    publisher: Any = getattr(shell, "display_pub", None)
    if not cell or not hasattr(publisher, "set_thread_parent"):
        yield
        return
    token = publisher.set_thread_parent(cell)
    try:
        yield
    finally:
        publisher.reset_thread_parent(token)


class _Bar:
    """A bar of ipywidgets with its text, shown in *cell*, or in the one that is running."""

    def __init__(self, cell: dict[str, Any] | None = None) -> None:
        import ipywidgets as widgets  # type: ignore[import-untyped]
        from IPython.display import display

        self._bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0, description="Progress")
        # The bar has no role and no value for a screen reader, so that the text beside it says all.
        self._text = widgets.HTML()
        self._box = widgets.HBox([self._bar, self._text])
        with _shown_in(cell):
            self._place = display(self._box, display_id=True, metadata={TAG: True})  # type: ignore[no-untyped-call]

    def show(self, progress: Progress, is_last: bool) -> None:  # noqa: FBT001 - told by listeners only
        if progress.expected_rows:
            self._bar.value = min(progress.rows / progress.expected_rows, 1.0)
        elif is_last:
            self._bar.value = 1.0
        self._text.value = as_html([how_far(progress)])

    def leave(self, progress: Progress) -> None:
        """Put text in the place of the bar, for good."""
        said = how_far_it_got(progress)
        texts = {"text/plain": said, "text/html": as_html([said])}
        self._place.update(texts, raw=True, metadata={TAG: True})
        for widget in (self._bar, self._text, self._box):
            widget.close()


def _line(stream: TextIO) -> Callable[[Progress, bool], None]:
    def show(progress: Progress, is_last: bool) -> None:  # noqa: FBT001 - told by listen() only
        if stream.isatty():
            stream.write(f"\r\x1b[K{how_far(progress)}" + ("\n" if is_last else ""))
            stream.flush()

    return show
