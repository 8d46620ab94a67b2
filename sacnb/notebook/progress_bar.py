"""The progress of a download in its cell: a bar in a notebook, a line in a terminal, nothing under replay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from sacnb._pull.progress import in_notebook
from sacnb.notebook.words import as_html, progress_text, summary_text
from sacnb.replay import active

if TYPE_CHECKING:
    from sacnb._pull import Progress, ProgressListener

__all__ = ["TAG", "long_work", "progress"]

# In the metadata of an output: it is about the time a download took, and not a result.
TAG: Final = "sacnb-progress"
# A quicker download leaves no output.
_LONG_S: Final = 1.0
# Updates in shorter intervals would only keep the browser busy.
_SHOW_EVERY_S: Final = 0.2


def progress(*, stream: TextIO | None = None) -> ProgressListener:
    """Return a listener for one download: ``facts.fetch(progress=sacnb.notebook.progress())``.

    In a notebook it shows a bar of ipywidgets, in a terminal one line that it overwrites, and otherwise nothing. Under
    replay and during a recording it shows nothing, so that outputs stay the same.

    Args:
        stream: The stream for lines, by default stderr.
    """
    if active() is not None:
        return _nothing
    show = _Bar(_cell()).show if in_notebook() else _line(stream or sys.stderr)
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
    """Show a bar in the cell that runs now, once the work takes a second; at the end replace it by a line of text.

    A bar belongs to its kernel, and a saved notebook would show an error in its place.
    """
    if active() is not None:
        yield _nothing
        return
    cell = _cell()
    bar: _Bar | None = None
    last: Progress | None = None
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
    """Show nothing: outputs that are compared must not tell the speed of a machine."""


def _shell() -> Any:
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _cell() -> Any:
    """Return the header of the request that runs the current cell, for outputs of a thread that outlives it."""
    return getattr(getattr(_shell(), "display_pub", None), "parent_header", None)


@contextmanager
def _output_of(cell: Any) -> Iterator[None]:
    """Display in *cell*. Without it, a thread displays in whatever cell is running."""
    publisher: Any = getattr(_shell(), "display_pub", None)
    if not cell or getattr(publisher, "set_thread_parent", None) is None:  # ipykernel before 7
        yield
        return
    reset = publisher.set_thread_parent(cell)
    try:
        yield
    finally:
        publisher.reset_thread_parent(reset)


class _Bar:
    """A bar of ipywidgets with a text beside it, displayed in a cell at its first progress."""

    def __init__(self, cell: Any) -> None:
        import ipywidgets as widgets  # type: ignore[import-untyped]

        self._cell = cell
        self._bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0, description="Progress")
        # Screen readers get no value from the bar, so the text beside it repeats it.
        self._text = widgets.HTML()
        self._box = widgets.HBox([self._bar, self._text])
        self._place: Any = None

    def show(self, progress: Progress, is_last: bool) -> None:  # noqa: FBT001 - called by listeners only
        """Show *progress*."""
        if progress.expected_rows:
            self._bar.value = min(progress.rows / progress.expected_rows, 1.0)
        elif is_last:
            self._bar.value = 1.0
        text = progress_text(progress)
        self._text.value = as_html([text])
        if self._place is None:
            # A frontend without widgets (Spyder, qtconsole, jupyter console) shows the text instead of ``HBox(...)``.
            self._place = self._display({**self._box._repr_mimebundle_(), "text/plain": f"Downloading: {text}"})

    def leave(self, progress: Progress) -> None:
        """Replace the bar by text."""
        text = summary_text(progress)
        with _output_of(self._cell):
            self._place.update({"text/plain": text, "text/html": as_html([text])}, raw=True, metadata={TAG: True})
        for widget in (self._bar, self._text, self._box):
            widget.close()

    def _display(self, bundle: dict[str, Any]) -> Any:
        from IPython.display import display

        with _output_of(self._cell):
            return display(bundle, raw=True, display_id=True, metadata={TAG: True})  # type: ignore[no-untyped-call]


def _line(stream: TextIO | None) -> Callable[[Progress, bool], None]:
    def show(progress: Progress, is_last: bool) -> None:  # noqa: FBT001 - called by listen() only
        if stream is not None and not stream.closed and stream.isatty():
            stream.write(f"\r\x1b[K{progress_text(progress)}" + ("\n" if is_last else ""))
            stream.flush()

    return show
