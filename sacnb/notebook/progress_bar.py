"""How far a pull is, shown where it was started: a bar in a notebook, a line in a terminal, nothing under replay."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TextIO

from sacnb.notebook.panel_words import how_far
from sacnb.replay import active

if TYPE_CHECKING:
    from sacnb.export import Progress, ProgressListener

__all__ = ["progress"]

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
    show = _widget() if _in_notebook() else _line(stream or sys.stderr)
    shown_at_s = -_SHOW_EVERY_S

    def listen(progress: Progress) -> None:
        nonlocal shown_at_s
        is_last = progress.rows == progress.expected_rows
        if progress.elapsed_s - shown_at_s < _SHOW_EVERY_S and not is_last:
            return
        shown_at_s = progress.elapsed_s
        show(progress, is_last)

    return listen


def _nothing(_: Progress) -> None:
    """Outputs that are compared must not tell how fast a machine is."""


def _in_notebook() -> bool:
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def _widget() -> Callable[[Progress, bool], None]:
    import ipywidgets as widgets  # type: ignore[import-untyped]
    from IPython.display import display

    from sacnb.notebook.panel_words import as_html

    bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0, description="Progress")
    # The bar has no role and no value for a screen reader, so that the text beside it says all.
    text = widgets.HTML()
    display(widgets.HBox([bar, text]))  # type: ignore[no-untyped-call]

    def show(progress: Progress, is_last: bool) -> None:  # noqa: FBT001 - told by listen() only
        if progress.expected_rows:
            bar.value = min(progress.rows / progress.expected_rows, 1.0)
        elif is_last:
            bar.value = 1.0
        text.value = as_html([how_far(progress)])

    return show


def _line(stream: TextIO) -> Callable[[Progress, bool], None]:
    def show(progress: Progress, is_last: bool) -> None:  # noqa: FBT001 - told by listen() only
        if stream.isatty():
            stream.write(f"\r\x1b[K{how_far(progress)}" + ("\n" if is_last else ""))
            stream.flush()

    return show
