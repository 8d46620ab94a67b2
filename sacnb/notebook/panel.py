"""A widget that refreshes one query at the push of a button, and shows the state of its data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, get_args

import traitlets

from sacnb._arguments import plain, required_text, text
from sacnb._auth.guard import RefreshEvent
from sacnb._frames.preview import preview
from sacnb._frames.tidy import Aggregation
from sacnb._odata.schema import Grain
from sacnb._results.result import Result
from sacnb._wire.telemetry import Event, RetryEvent
from sacnb.errors import Cancelled, SacError, SettingsError
from sacnb.notebook.background import SHOW_EVERY_S, BackgroundWidget, Later, Worker, later
from sacnb.notebook.panel_view import PanelView
from sacnb.notebook.words import (
    NOT_YET,
    Problem,
    State,
    as_html,
    cancelled_status,
    draw_for_page,
    failed_status,
    progress_text,
    result_status,
    retry_text,
    status_html,
    token_text,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sacnb._charts.chart import Chart
    from sacnb._connections import Interrupt
    from sacnb._pull import Progress
    from sacnb._results.result import Result, TidyFrame
    from sacnb._tenant import Facts

__all__ = ["RefreshPanel"]

_MOST_MINUTES: Final = 366 * 24 * 60
# Those of Result.plot that the panel does not set itself. The page decides on the theme.
_PLOT_ARGUMENTS: Final = tuple(
    name for name in inspect.signature(Result.plot).parameters if name not in {"self", "grain", "agg", "theme"}
)


class RefreshPanel(BackgroundWidget):
    """Buttons to refresh, to cancel, and to renew the token; progress, status, errors, and the first rows.

    Made by ``model.refresh_panel(...)``. It requests no facts before the first refresh. A refresh runs in a thread of
    its own, which ``close()``, leaving a ``with`` block, and the end of the kernel stop. It always queries SAC; while
    SAC is unreachable, the last cached result is shown with its age.

    ``result``, ``tidy``, ``chart``, ``status``, ``busy`` and ``error`` are traits to ``observe``. Observers run in that
    thread, where ``print`` has no cell to write to: let them change other widgets. ``busy`` changes last.

    Args:
        facts: The query.
        grain: Show the tidy frame at this grain, and offer it as ``tidy``; see ``Result.tidy``.
        agg: The aggregation to a coarser grain; see ``Result.tidy``.
        plot: Draw the result beside the table after each refresh: ``True``, or a dictionary of arguments for
            ``Result.plot``, such as ``{"unit": "thousands"}``. Grain and aggregation are the panel's.
        every_minutes: Also refresh automatically, that many minutes after the last refresh, until the panel is closed.
        after: Calls a function after so many seconds, and returns a function that cancels this.

    Raises:
        SettingsError: ``grain``, ``agg``, ``plot`` or ``every_minutes`` is invalid.
    """

    __module__ = "sacnb.notebook"

    result = traitlets.Any(None, allow_none=True, help="The Result that is shown, fresh or old; None at first.")
    tidy = traitlets.Any(None, allow_none=True, help="The TidyFrame of the result, if a grain was given.")
    chart = traitlets.Any(None, allow_none=True, help="The Chart of the result, if plot was given and it has one.")
    status = traitlets.Unicode(NOT_YET, help="The state of the data, in words.")
    busy = traitlets.Bool(default_value=False, help="Whether a refresh is running.")
    error = traitlets.Any(None, allow_none=True, help="The last failure; None after a success.")

    def __init__(
        self,
        facts: Facts,
        *,
        grain: Grain | None = None,
        agg: Aggregation = "sum",
        plot: bool | Mapping[str, Any] = False,
        every_minutes: float | None = None,
        after: Later = later,
    ) -> None:
        grain, agg, drawing, every_minutes = _checked(grain, agg, plot, every_minutes)
        self._facts = facts
        self._grain = grain
        self._agg = agg
        self._drawing = drawing
        self._every_minutes = every_minutes
        self._now = facts.connection.context.session.now
        self._after = after
        self._cancel_timer: Callable[[], None] = _nothing
        self._shown_at_s = -SHOW_EVERY_S
        self._trace_id: str | None = None
        self._puller = Worker("sacnb-panel", self._on_puller)
        self._renewer = Worker("sacnb-panel-token", _nothing)
        self._view = PanelView(automatic=None if every_minutes is None else f"Every {every_minutes:g} minutes")
        super().__init__(self._view.children)
        self._view.connect(refresh=self._refresh, cancel=self.cancel, renew=self.renew, automatic=self._plan_refresh)
        self._view.show_status(status_html("idle", NOT_YET, subject=facts.query.provider_id))
        self._show_token()
        self._stop_listening = facts.connection.context.telemetry.add_hook(self._on_event)
        self._open(self._puller, self._renewer)
        self._plan_refresh()

    @property
    def facts(self) -> Facts:
        """The query."""
        return self._facts

    def refresh(self, *, wait: bool = False) -> None:
        """Query SAC in the background, unless a refresh is running; ``wait`` waits for the end.

        Failures are shown and stored in ``error``, not raised.

        Raises:
            SacError: The panel is closed.
        """
        if self._puller.is_closed:
            raise SacError("This panel is closed.", hint="Make a new one: model.refresh_panel(...)")
        self._refresh()
        if wait:
            self._puller.wait()

    def cancel(self) -> None:
        """Cancel the running refresh or renewal, even in the middle of a page; the data is unchanged."""
        self._renewer.stop()
        if self._puller.stop():
            self._set_state("busy", "cancelling")

    def renew(self, *, wait: bool = False) -> None:
        """Get a new token in the background, whatever the age of the present one; ``wait`` waits for the end.

        Failures are shown and stored in ``error``, not raised.
        """
        self._renewer.start(self._renew)
        if wait:
            self._renewer.wait()

    def _release(self) -> None:
        self._stop_listening()
        self._cancel_timer()

    def __repr__(self) -> str:
        """Return the same text each time, so that a notebook has the same outputs when it runs again."""
        return f"RefreshPanel({self._facts.query.provider_id!r})"

    def _repr_html_(self) -> str:
        """Return the data for readers of the saved notebook, who have no kernel."""
        if self.result is None:
            return as_html([f"{self._facts.query.provider_id}: {NOT_YET}"])
        return _preview(self.result, self.tidy)

    # -- in the background -------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._puller.start(self._pull)

    def _pull(self, interrupt: Interrupt) -> None:
        facts, began = self._facts, self._now()
        result, tidy, error = None, None, None
        self._shown_at_s = -SHOW_EVERY_S  # always show the first page
        self._view.show_problems(refresh=None, observer=None, chart=None)
        self._view.show_progress("asking SAC", 0.0)
        self._set_state("busy", "refreshing")
        try:
            with facts.connection.context.telemetry.operation(f"panel {facts.query.provider_id}") as self._trace_id:
                # The panel shows the warning of an old result; printed in this thread, it would reach nobody.
                result = facts.refresh(max_age_s=0, progress=self._on_progress, cancelled=interrupt, announce=_ignore)
                if self._grain is not None:
                    tidy = result.tidy(self._grain, agg=self._agg)
        except Exception as caught:  # noqa: BLE001 - shown to the user
            error = caught
        if not self._puller.is_closed:
            self._show(began, result, tidy, error)

    def _show(self, began: datetime, result: Result | None, tidy: TidyFrame | None, error: Exception | None) -> None:
        is_cancelled = isinstance(error, Cancelled)
        problem = None if error is None or is_cancelled else Problem.of(error, again="Refresh")
        self._view.hide_progress()
        self._show_token()
        if result is None:
            self._view.show_problems(refresh=problem)
            self._set("error", None if is_cancelled else error)
            if is_cancelled:
                self._set_state("stopped", cancelled_status(self.result, self._now()))
            else:
                self._set_state("failed", failed_status(self.result, self._now()))
            return
        self._view.show_problems(refresh=problem or _warned(result))
        self._view.show_table(_preview(replace(result, warning=None), tidy))  # it is shown above
        chart = None if self._drawing is None else self._draw(result, self._drawing)
        self._set("result", result)
        self._set("tidy", tidy)
        self._set("chart", chart)
        self._set("error", error)
        self._set_state("old" if result.stale else "good", result_status(result, began, self._now()))

    def _draw(self, result: Result, drawing: Mapping[str, Any]) -> Chart | None:
        """Show the chart, or the reason why there is none; the refresh does not fail."""

        def plot(**theme: Any) -> Chart:
            return result.plot(self._grain, agg=self._agg, **drawing, **theme)

        try:
            chart, shown = draw_for_page(plot)
        except SacError as error:
            self._view.show_chart("")
            self._view.show_problems(chart=Problem(f"No chart: {error.message}", error.hint or ""))
            return None
        self._view.show_chart(shown)
        return chart

    def _renew(self, _: Interrupt) -> None:
        self._view.show_problems(token=None)
        try:
            self._facts.connection.context.guard.force()
        except Cancelled:
            pass  # the user's wish, and not a failure
        except Exception as error:  # noqa: BLE001 - shown to the user
            self._view.show_problems(token=Problem.of(error, again="Renew token"))
            self._set("error", error)
        self._show_token()

    # -- events ------------------------------------------------------------------------------------------------------

    def _on_progress(self, progress: Progress) -> None:
        if progress.elapsed_s - self._shown_at_s < SHOW_EVERY_S and progress.rows != progress.expected_rows:
            return
        self._shown_at_s = progress.elapsed_s
        share = progress.rows / progress.expected_rows if progress.expected_rows else None
        self._view.show_progress(progress_text(progress), share)

    def _on_event(self, event: Event) -> None:
        """Handle an event of the connection, which all its users cause, in any thread."""
        if isinstance(event, RetryEvent) and self._puller.is_busy and event.trace_id == self._trace_id:
            self._view.show_progress(retry_text(event))
        elif isinstance(event, RefreshEvent) and event.outcome == "success":
            self._show_token()

    def _on_puller(self) -> None:
        self._set("busy", self._puller.is_busy)
        if not self._puller.is_busy:
            self._plan_refresh()

    def _plan_refresh(self) -> None:
        """Plan the next automatic refresh instead of the planned one, or none."""
        self._cancel_timer()
        self._cancel_timer = _nothing
        if self._every_minutes is not None and self._view.is_automatic and not self._puller.is_closed:
            self._cancel_timer = self._after(self._every_minutes * 60, self._refresh)

    def _set_state(self, state: State, status: str) -> None:
        self._view.show_status(status_html(state, status, subject=self._facts.query.provider_id))
        self._set("status", status)

    def _show_token(self) -> None:
        self._view.show_token(token_text(self._facts.connection.context.guard.peek(), self._now()))

    def _show_failure(self, lines: list[str]) -> None:
        self._view.show_problems(observer=Problem(lines[0], details=tuple(lines[1:])))


def _checked(
    grain: object, agg: object, plot: object, every_minutes: object
) -> tuple[Any, Any, Mapping[str, Any] | None, float | None]:
    """Return the options in one form. Raises SettingsError with every problem, QueryError for what is no text."""
    grain, agg, every = text("grain", grain), required_text("agg", agg), plain(every_minutes)
    problems = []
    if grain is not None and grain not in get_args(Grain):
        problems.append(f"grain is {grain!r}; expected one of {', '.join(get_args(Grain))}.")
    if agg not in get_args(Aggregation):
        problems.append(f"agg is {agg!r}; expected one of {', '.join(get_args(Aggregation))}.")
    drawing: dict[str, Any] | None = None
    if isinstance(plot, Mapping):
        drawing = dict(plot)
        unknown = [name for name in drawing if name not in _PLOT_ARGUMENTS]
        if unknown:
            problems.append(f"plot has {unknown[0]!r:.80}; expected some of {', '.join(_PLOT_ARGUMENTS)}.")
    elif isinstance(plot, bool):
        drawing = {} if plot else None
    else:
        problems.append(f"plot is {plot!r:.80}; expected True, False or a dictionary.")
    is_number = isinstance(every, int | float | Decimal) and not isinstance(every, bool) and not math.isnan(every)
    if every is not None and not (is_number and 0 < every <= _MOST_MINUTES):
        problems.append(f"every_minutes is {every!r:.80}; expected a number of minutes above 0, at most a year.")
    if problems:
        raise SettingsError(problems)
    return grain, agg, drawing, None if every is None else float(every)


def _warned(result: Result) -> Problem | None:
    """Return the warning of a result in the panel's words."""
    if not result.warning:
        return None
    if result.stale:
        return Problem("The data below is from an earlier refresh.", "Press Refresh in a moment.", (result.warning,))
    return Problem(result.warning)


def _preview(result: Result, tidy: TidyFrame | None) -> str:
    if tidy is None:
        return result._repr_html_()
    notes = tuple(note for note in (result.warning, tidy.note) if note)
    return preview(tidy.frame.to_arrow(), title=f"{result.info.provider_id} by {tidy.grain}", notes=notes).html()


def _nothing() -> None:
    """Do nothing: no refresh is planned, or nobody waits for a renewal."""


def _ignore(_: str) -> None:
    """Do nothing: the panel shows the warning."""
