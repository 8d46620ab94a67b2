"""The parts of the refresh panel: one row of actions, the status, progress, problems, and the data."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as widgets  # type: ignore[import-untyped]

from sacnb.notebook.background import TableAndChart, row, show_html, style_sheet
from sacnb.notebook.words import Problem, as_html

__all__ = ["PanelView"]


class PanelView:
    """One row of actions, the status, and below it what there is: progress, problems, the table and the chart.

    Buttons are never disabled or hidden, because they would lose the focus; a click at the wrong time does nothing.
    Texts are HTML widgets, because labels typeset ``$...$`` in a server's text as mathematics. Parts without content
    are hidden. Any thread may change the parts.
    """

    def __init__(self, *, automatic: str | None) -> None:
        self._refresh = widgets.Button(description="Refresh", tooltip="Query SAC again")
        self._refresh.button_style = "primary"
        self._cancel = widgets.Button(description="Cancel", tooltip="Cancel the running refresh or renewal")
        self._renew = widgets.Button(description="Renew token", tooltip="Get a new token from SAC now")
        self._automatic = widgets.Checkbox(value=True, description=automatic, indent=False) if automatic else None
        self._bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0)
        self._progress, self._status, self._failure, self._token = (widgets.HTML() for _ in range(4))
        self._problems: dict[str, Problem | None] = {}
        self._renew.add_class("sacnb-quiet")
        for name in ("sacnb-quiet", "sacnb-right"):
            self._token.add_class(name)
        # Screen readers get no value from the bar, so the text beside it repeats it.
        self._advance = row(self._bar, self._progress)
        self._data = TableAndChart()
        self.children = [
            style_sheet(),
            row(
                self._refresh,
                self._cancel,
                *([self._automatic] if self._automatic is not None else []),
                self._token,
                self._renew,
            ),
            self._status,
            self._advance,
            self._failure,
            self._data.box,
        ]
        for part in (self._advance, self._failure):
            part.layout.display = "none"

    def connect(
        self,
        *,
        refresh: Callable[[], object],
        cancel: Callable[[], object],
        renew: Callable[[], object],
        automatic: Callable[[], object],
    ) -> None:
        """Set the functions to call when a button is clicked, and when the box for automatic refreshes changes."""
        self._refresh.on_click(lambda _: refresh())
        self._cancel.on_click(lambda _: cancel())
        self._renew.on_click(lambda _: renew())
        if self._automatic is not None:
            self._automatic.observe(lambda _: automatic(), "value")

    @property
    def is_automatic(self) -> bool:
        """Return whether automatic refreshes are offered and switched on."""
        return self._automatic is not None and bool(self._automatic.value)

    def show_progress(self, text: str, share: float | None = None) -> None:
        """Show the progress in words, and as a share from 0 to 1 if that is known."""
        if share is not None:
            self._bar.value = min(share, 1.0)
        self._progress.value = as_html([text])
        self._advance.layout.display = None

    def hide_progress(self) -> None:
        """Show no progress: nothing is running."""
        self._advance.layout.display = "none"
        self._progress.value = ""

    def show_status(self, html: str) -> None:
        """Show the state of the data; *html* is not escaped."""
        # Not every screen reader announces this: the element is replaced, and core widgets have no live region.
        self._status.value = html

    def show_token(self, text: str) -> None:
        """Show the state of the token, in words."""
        self._token.value = as_html([text])

    def show_problems(self, **problems: Problem | None) -> None:
        """Show the problem of each kind instead of its earlier one; ``None`` clears it."""
        self._problems.update(problems)
        show_html(self._failure, "".join(one.html() for one in list(self._problems.values()) if one is not None))

    def show_table(self, html: str) -> None:
        """Show the data; *html* is not escaped."""
        self._data.show(table=html)

    def show_chart(self, html: str) -> None:
        """Show a chart; *html* is not escaped."""
        self._data.show(chart=html)
