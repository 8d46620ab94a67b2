"""Access to the notebook room for the rooms below it.

``sacnb`` registers the room when it is imported; it is loaded when a user first asks for a panel, an explorer or a
progress bar. The protocols name what users do with the widgets, so that the lower rooms need no import of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Explorer", "Frontend", "Panel", "Widget", "WritePanel", "frontend", "register"]


class Widget(Protocol):
    """A widget that works in the background; a context manager that closes it.

    ``result``, ``status``, ``busy`` and ``error`` are traits to ``observe``.
    """

    result: Any
    status: str
    busy: bool
    error: Any

    def observe(self, handler: Callable[[Any], None], names: str | list[str]) -> None:
        """Call *handler* with each change of the named traits."""

    def cancel(self) -> None:
        """Stop what is running; what is shown stays."""

    def close(self) -> None:
        """Stop and join the threads, and remove the widget from the page."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Panel(Widget, Protocol):
    """A refresh panel; see ``sacnb.notebook.RefreshPanel``."""

    tidy: Any
    chart: Any

    def refresh(self, *, wait: bool = False) -> None:
        """Ask SAC in the background."""

    def renew(self, *, wait: bool = False) -> None:
        """Get a new token in the background."""


class Explorer(Widget, Protocol):
    """An explorer of models; see ``sacnb.notebook.Explorer``."""

    query: Any
    chart: Any
    code: str
    sql: str

    @property
    def frame(self) -> pl.DataFrame | None:
        """The polars frame that is shown."""

    def show(self, *, wait: bool = False) -> None:
        """Ask SAC for what is chosen, in the background."""

    def wait(self) -> None:
        """Wait until nothing is running."""


class WritePanel(Widget, Protocol):
    """A write panel; see ``sacnb.notebook.WritePanel``."""

    checked: Any

    def check(self, *, wait: bool = False) -> None:
        """Check the frame in the background."""

    def write(self, *, confirm: int | None = None, wait: bool = False) -> None:
        """Write the frame in the background."""

    def undo(self, *, wait: bool = False) -> None:
        """Take the write back in the background."""


class Frontend(Protocol):
    """The notebook room, as the rooms below it know it."""

    def RefreshPanel(self, facts: Any, **options: Any) -> Panel:  # noqa: N802 - the name of a class
        """Make a panel."""

    def WritePanel(self, model: Any, frame: object, **options: Any) -> WritePanel:  # noqa: N802 - the name of a class
        """Make a write panel."""

    def Explorer(self, tenant: Any, model: str | None = None) -> Explorer:  # noqa: N802 - the name of a class
        """Make an explorer."""

    def long_work(self) -> AbstractContextManager[Callable[[Any], None]]:
        """Make a listener that shows a progress bar once the work takes long."""


_load: Callable[[], Frontend] | None = None


def register(load: Callable[[], Frontend]) -> None:
    """Make *load* what ``frontend()`` calls."""
    global _load  # noqa: PLW0603 - one registration for the process, made by ``sacnb`` on import
    _load = load


def frontend() -> Frontend:
    """Load the notebook room. Raises MissingExtraError where the extra ``notebook`` is not installed."""
    assert _load is not None  # noqa: S101 - importing any module of sacnb imports sacnb first
    return _load()
