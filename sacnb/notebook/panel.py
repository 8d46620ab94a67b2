"""A panel that refreshes one question at the push of a button, and says how its data are."""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, get_args

import ipywidgets as widgets  # type: ignore[import-untyped]
import traitlets

from sacnb._auth.token import RefreshEvent
from sacnb._frames.preview import preview
from sacnb._odata.schema import Grain
from sacnb._wire.telemetry import Event, RetryEvent
from sacnb.errors import Cancelled, SacError, SettingsError
from sacnb.notebook.panel_view import PanelView
from sacnb.notebook.words import (
    NOT_YET,
    as_html,
    cancelled,
    failed,
    failure_lines,
    how_far,
    retrying,
    shown,
    token_state,
)
from sacnb.notebook.worker import Later, Worker, later

if TYPE_CHECKING:
    from datetime import datetime

    from sacnb._connections import Interrupt
    from sacnb._frames.tidy import Aggregation, TidyFrame
    from sacnb._pull import Progress
    from sacnb._results.result import Result
    from sacnb._tenant import Facts

__all__ = ["RefreshPanel"]

_log = logging.getLogger("sacnb.notebook")

# More often would only keep the browser busy.
_SHOW_EVERY_S: Final = 0.2


class RefreshPanel(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Buttons to refresh, to stop, and to renew the token; progress, status, errors, and the first rows.

    Made by ``model.refresh_panel(...)``. Nothing is asked of SAC before the first refresh, and none blocks the kernel:
    it runs in a thread of its own, which ``close()``, leaving a ``with`` block, and the end of the kernel stop. A
    refresh always asks SAC; where SAC is away, the last kept result is shown and said to be old.

    ``result``, ``tidy``, ``status``, ``busy`` and ``error`` are traits to ``observe``. Observers run in that thread,
    where a ``print`` goes astray: let them set other widgets. ``busy`` changes last.

    Args:
        facts: The question.
        grain: Show, and offer as ``tidy``, the tidy frame at this grain; see ``Result.tidy``.
        agg: How values become one where the grain gets coarser; see ``Result.tidy``.
        every_minutes: Also refresh by itself, so many minutes after the last time, until the panel is closed.
        after: Calls a function after so many seconds, and returns what calls it off.

    Raises:
        SettingsError: ``grain`` or ``every_minutes`` is none.
    """

    result = traitlets.Any(None, allow_none=True, help="The Result that is shown, fresh or old; None at first.")
    tidy = traitlets.Any(None, allow_none=True, help="The TidyFrame of the result, where a grain was given.")
    status = traitlets.Unicode(NOT_YET, help="How the data are, in words.")
    busy = traitlets.Bool(default_value=False, help="Whether a refresh is running.")
    error = traitlets.Any(None, allow_none=True, help="What went wrong the last time; None if nothing did.")

    def __init__(
        self,
        facts: Facts,
        *,
        grain: Grain | None = None,
        agg: Aggregation = "sum",
        every_minutes: float | None = None,
        after: Later = later,
    ) -> None:
        _check(grain, every_minutes)
        self._facts = facts
        self._grain = grain
        self._agg = agg
        self._every_minutes = every_minutes
        self._now = facts.connection.context.session.now
        self._after = after
        self._call_off: Callable[[], None] = _nothing
        self._shown_at_s = -_SHOW_EVERY_S
        self._trace_id: str | None = None
        self._puller = Worker("sacnb-panel", self._on_puller)
        self._renewer = Worker("sacnb-panel-token", _nothing)
        self._view = PanelView(automatic=None if every_minutes is None else f"Every {every_minutes:g} minutes")
        super().__init__(self._view.children)
        self._view.connect(
            refresh=self._refresh, cancel=self.cancel, renew=self.renew, automatic=self._plan_the_next_one
        )
        self.observe(self._on_status, "status")
        self._on_status(None)
        self._show_token()
        self._stop_listening = facts.connection.context.telemetry.add_hook(self._on_event)
        self._plan_the_next_one()
        _open_panels.add(self)

    @property
    def facts(self) -> Facts:
        """The question that is asked."""
        return self._facts

    def refresh(self, *, wait: bool = False) -> None:
        """Ask SAC in the background; does nothing while that is being done. ``wait`` waits for the end.

        Nothing is raised of what goes wrong: it is in ``error``, and shown.

        Raises:
            SacError: The panel is closed.
        """
        if self._puller.is_closed:
            raise SacError("This panel is closed.", hint="Make a new one: model.refresh_panel(...).")
        self._refresh()
        if wait:
            self._puller.wait()

    def cancel(self) -> None:
        """Stop the refresh that is running, in the middle of a page if need be; the data stay as they are."""
        if self._puller.stop():
            self._set("status", "stopping")

    def renew(self, *, wait: bool = False) -> None:
        """Get a new token in the background, whatever the age of the present one. ``wait`` waits for the end.

        Nothing is raised of what goes wrong: it is in ``error``, and shown.
        """
        self._renewer.start(self._renew)
        if wait:
            self._renewer.wait()

    def close(self) -> None:
        """Stop and join what runs, and take the panel from the page. Closing twice does nothing."""
        if self not in _open_panels:  # also one whose constructor failed: ipywidgets closes those too
            return
        _open_panels.discard(self)
        self._stop_listening()
        self._puller.close()
        self._renewer.close()
        self._call_off()
        self.busy = False
        self._view.close()
        self.layout.close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Always the same, so that a notebook that is run again has the same outputs."""
        return f"RefreshPanel({self._facts.query.provider_id!r})"

    def _repr_html_(self) -> str:
        """What stands in the file beside the live panel, for readers without a kernel."""
        if self.result is None:
            return as_html([f"{self._facts.query.provider_id}: {NOT_YET}"])
        return _preview(self.result, self.tidy)

    # -- in the background -------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._puller.start(self._pull)

    def _pull(self, interrupt: Interrupt) -> None:
        facts, began = self._facts, self._now()
        result, tidy, error = None, None, None
        self._shown_at_s = -_SHOW_EVERY_S  # the first page is shown in any case
        self._view.show_trouble(refresh=[], observer=[])
        self._view.show_progress("asking SAC", 0.0)
        self._set("status", "refreshing")
        try:
            with facts.connection.context.telemetry.operation(f"panel {facts.query.provider_id}") as self._trace_id:
                # The warning of an old result is shown; announced from this thread, it would reach nobody.
                result = facts.refresh(
                    max_age_s=0, progress=self._on_progress, cancelled=interrupt, announce=_say_nothing
                )
                if self._grain is not None:
                    tidy = result.tidy(self._grain, agg=self._agg)
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is shown
            error = caught
        if not self._puller.is_closed:
            self._show(began, result, tidy, error)

    def _show(self, began: datetime, result: Result | None, tidy: TidyFrame | None, error: Exception | None) -> None:
        stopped = isinstance(error, Cancelled)
        lines = failure_lines(error) if error is not None and not stopped else []
        self._view.show_progress("", None if result is None else 1.0)
        self._show_token()
        if result is None:
            self._view.show_trouble(refresh=lines)
            self._set("error", None if stopped else error)
            self._set("status", (cancelled if stopped else failed)(self.result, self._now()))
            return
        self._view.show_trouble(refresh=[*lines, *([result.warning] if result.warning else [])])
        self._view.show_preview(_preview(replace(result, warning=None), tidy))  # the warning stands above it
        self._set("result", result)
        self._set("tidy", tidy)
        self._set("error", error)
        self._set("status", shown(result, began, self._now()))

    def _renew(self, _: Interrupt) -> None:
        self._view.show_trouble(token=[])
        try:
            self._facts.connection.context.guard.force()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            self._view.show_trouble(token=failure_lines(error))
            self._set("error", error)
        self._show_token()

    # -- what happens meanwhile --------------------------------------------------------------------------------------

    def _on_progress(self, progress: Progress) -> None:
        if progress.elapsed_s - self._shown_at_s < _SHOW_EVERY_S and progress.rows != progress.expected_rows:
            return
        self._shown_at_s = progress.elapsed_s
        share = progress.rows / progress.expected_rows if progress.expected_rows else None
        self._view.show_progress(how_far(progress), share)

    def _on_event(self, event: Event) -> None:
        """Told by the connection of everything that anybody does with it, in any thread."""
        if isinstance(event, RetryEvent) and self._puller.is_busy and event.trace_id == self._trace_id:
            self._view.show_progress(retrying(event))
        elif isinstance(event, RefreshEvent) and event.outcome == "success":
            self._show_token()

    def _on_puller(self) -> None:
        self._set("busy", self._puller.is_busy)
        if not self._puller.is_busy:
            self._plan_the_next_one()

    def _plan_the_next_one(self) -> None:
        """Plan the next refresh in the place of the one that was planned, or none."""
        self._call_off()
        self._call_off = _nothing
        if self._every_minutes is not None and self._view.is_automatic and not self._puller.is_closed:
            self._call_off = self._after(self._every_minutes * 60, self._refresh)

    def _on_status(self, _: Any) -> None:
        self._view.show_status(f"{self._facts.query.provider_id}: {self.status}")

    def _show_token(self) -> None:
        self._view.show_token(token_state(self._facts.connection.context.guard.peek(), self._now()))

    def _set(self, name: str, value: object) -> None:
        """Set a trait, unless the panel is closed.

        What an observer raises is shown like a failure of ours: in a thread of ours nobody would see it.
        """
        if self._puller.is_closed:
            return
        try:
            self.set_trait(name, value)
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and shown
            _log.exception("An observer of %r failed.", name)
            self._view.show_trouble(observer=[f"An observer of {name!r} failed.", *failure_lines(error)])


_open_panels: weakref.WeakSet[RefreshPanel] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Before the interpreter takes itself apart under a thread that still works."""
    for panel in list(_open_panels):
        panel.close()


def _check(grain: str | None, every_minutes: float | None) -> None:
    problems = []
    if grain is not None and grain not in get_args(Grain):
        problems.append(f"grain is {grain!r}; expected one of {', '.join(get_args(Grain))}.")
    if every_minutes is not None and not every_minutes > 0:
        problems.append(f"every_minutes is {every_minutes!r}; expected a number of minutes above 0.")
    if problems:
        raise SettingsError(problems)


def _preview(result: Result, tidy: TidyFrame | None) -> str:
    if tidy is None:
        return result._repr_html_()
    notes = tuple(note for note in (result.warning, tidy.note) if note)
    return preview(tidy.frame.to_arrow(), title=f"{result.info.provider_id} by {tidy.grain}", notes=notes).html()


def _nothing() -> None:
    """Nothing is planned that could be called off; nobody is told of a renewal."""


def _say_nothing(_: str) -> None:
    """The warning is shown by other means."""
