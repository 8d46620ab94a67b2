"""The parts of a refresh panel: core widgets only, each control with a text for its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]

from sacnb.notebook.words import as_html

__all__ = ["PanelView", "close_parts"]


class PanelView:
    """Buttons, a bar with its text, and lines of text; safe to be told things by any thread.

    A button is never disabled or hidden: one that has the focus would lose it. A click out of turn does nothing.
    Texts are HTML widgets and not labels, which would set ``$...$`` in a server's text as mathematics.
    """

    def __init__(self, *, automatic: str | None) -> None:
        self._refresh = widgets.Button(description="Refresh", tooltip="Ask SAC for the data again")
        self._cancel = widgets.Button(description="Cancel", tooltip="Stop the refresh that is running")
        self._renew = widgets.Button(description="Renew token", tooltip="Get a new token from SAC now")
        self._automatic = widgets.Checkbox(value=True, description=automatic, indent=False) if automatic else None
        self._bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0, description="Progress")
        self._progress, self._status, self._trouble, self._token, self._preview = (widgets.HTML() for _ in range(5))
        self._troubles: dict[str, list[str]] = {}
        self.children = [
            widgets.HBox([self._refresh, self._cancel, self._renew, self._token]),
            # The bar has no role and no value for a screen reader, so that the text beside it says all.
            widgets.HBox([self._bar, self._progress]),
            *([self._automatic] if self._automatic is not None else []),
            self._status,
            self._trouble,
            self._preview,
        ]

    def connect(
        self,
        *,
        refresh: Callable[[], object],
        cancel: Callable[[], object],
        renew: Callable[[], object],
        automatic: Callable[[], object],
    ) -> None:
        """What is called when a button is clicked, and when the box for automatic refreshes is ticked or cleared."""
        self._refresh.on_click(lambda _: refresh())
        self._cancel.on_click(lambda _: cancel())
        self._renew.on_click(lambda _: renew())
        if self._automatic is not None:
            self._automatic.observe(lambda _: automatic(), "value")

    @property
    def is_automatic(self) -> bool:
        """Whether there is a box for automatic refreshes, and it is ticked."""
        return self._automatic is not None and bool(self._automatic.value)

    def show_progress(self, text: str, share: float | None = None) -> None:
        """How far it is: in words, and from 0 to 1 where that is known."""
        if share is not None:
            self._bar.value = min(share, 1.0)
        self._progress.value = as_html([text] if text else [])

    def show_status(self, text: str) -> None:
        """How the data are, in words."""
        # Whether a screen reader announces it differs: the element is replaced, and core widgets have no live region.
        self._status.value = as_html([text], role="status")

    def show_token(self, text: str) -> None:
        """How the token is, in words."""
        self._token.value = as_html([text])

    def show_trouble(self, **troubles: list[str]) -> None:
        """What is wrong, by its kind, in the place of what was said of that kind before; no lines: nothing is."""
        self._troubles.update(troubles)
        lines = [line for kind in list(self._troubles.values()) for line in kind]
        self._trouble.value = as_html(lines, role="alert")

    def show_preview(self, html: str) -> None:
        """The data; ``html`` is shown as it is."""
        self._preview.value = html

    def close(self) -> None:
        """Take all parts from the page."""
        close_parts(self.children)


def close_parts(parts: Iterable[Any]) -> None:
    """Close widgets with what belongs to them: ipywidgets would keep that for ever."""
    for part in parts:
        close_parts(getattr(part, "children", ()))
        for owned in (part.layout, getattr(part, "style", None), part):
            if owned is not None:
                owned.close()
