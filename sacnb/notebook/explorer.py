"""A widget to choose a model and a query, and to see the result as a table, a chart, and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import traitlets

from sacnb._arguments import text
from sacnb.errors import Cancelled, SacError
from sacnb.notebook.background import SHOW_EVERY_S, BackgroundWidget, Worker
from sacnb.notebook.choice import python_code, sql_code
from sacnb.notebook.explorer_lists import ExplorerLists, KnownModels
from sacnb.notebook.explorer_view import ExplorerView, draw, table
from sacnb.notebook.words import Problem, State, as_html, progress_text, status_html

if TYPE_CHECKING:
    import polars as pl

    from sacnb._connections import Interrupt
    from sacnb._pull import Progress
    from sacnb._results.result import Result
    from sacnb._tenant import Tenant
    from sacnb.notebook.choice import Choice

__all__ = ["Explorer"]

_NOT_YET: Final = "choose a model"
_CHOOSE: Final = "choose, then Show"
_FAILED: Final = "failed"


class Explorer(BackgroundWidget):
    """Lists to choose a model, its dimensions, measures, members and period; a table, a chart and the code.

    Made by ``tenant.explore()``. Requests run in a thread of their own, which ``close()``, leaving a ``with`` block,
    and the end of the kernel stop.

    ``query`` (a ``Choice``, or ``None``) and ``code`` follow the choice; ``result``, ``chart`` and ``sql`` belong to
    the result that is shown; ``error`` is the last failure. All are traits to ``observe``; observers may run in that
    thread. ``sql`` is empty if SQL would not return the same frame. ``busy`` changes last.

    Args:
        tenant: The tenant.
        model: The id of the model to begin with.
    """

    __module__ = "sacnb.notebook"

    query = traitlets.Any(None, allow_none=True, help="The choice: a Choice, or None without a model.")
    result = traitlets.Any(None, allow_none=True, help="The Result that is shown; None at first.")
    chart = traitlets.Any(None, allow_none=True, help="Its Chart; None if it has none.")
    code = traitlets.Unicode("", help="Python code that returns the chosen frame.")
    sql = traitlets.Unicode("", help="SQL that returns the frame that is shown; empty if there is none.")
    status = traitlets.Unicode(_NOT_YET, help="The state of the explorer, in words.")
    busy = traitlets.Bool(default_value=False, help="Whether a request is running.")
    error = traitlets.Any(None, allow_none=True, help="The last failure; None after a success.")

    def __init__(self, tenant: Tenant, model: str | None = None) -> None:
        self._tenant = tenant
        self._known = KnownModels(tenant, first=text("model", model))
        self._filled: str | None = None
        self._frame: pl.DataFrame | None = None
        self._shown_at_s = 0.0
        self._is_wanted = False
        self._worker = Worker("sacnb-explorer", self._on_worker)
        self._view = ExplorerView()
        self._lists = ExplorerLists(self._view, self._known)
        super().__init__(self._view.children)
        self._view.connect(
            show=self._show,
            cancel=self.cancel,
            model=self._on_model,
            filtered=self._on_filtered,
            search=self._lists.list_members,
            members=self._on_members,
            choice=self._on_choice,
        )
        self._view.show_status(status_html("idle", _NOT_YET))
        self._open(self._worker)
        self._go_on()

    @property
    def frame(self) -> pl.DataFrame | None:
        """The polars frame of ``result``: its rows, or tidy at the grain. No trait, since frames cannot be compared."""
        return self._frame

    def show(self, *, wait: bool = False) -> None:
        """Query SAC in the background, after the lists that are loading; ``wait`` waits for the end.

        Does nothing while a result is being downloaded. Failures are shown and stored in ``error``, not raised.

        Raises:
            SacError: The explorer is closed.
        """
        if self._worker.is_closed:
            raise SacError("This explorer is closed.", hint="Make a new one: sac.explore()")
        self._show()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until no request is running; Ctrl-C cancels."""
        while self._worker.is_busy:
            self._worker.wait()

    def cancel(self) -> None:
        """Cancel the running request, even in the middle of a page; what is shown stays."""
        self._is_wanted = False
        if self._worker.stop():
            self._set_state("busy", "cancelling")

    def __repr__(self) -> str:
        """Return the same text each time, so that a notebook has the same outputs when it runs again."""
        return f"Explorer({self._tenant!r})"

    def _repr_html_(self) -> str:
        """Return the data for readers of the saved notebook, who have no kernel."""
        return self._view.preview or as_html([f"{self!r}: run this cell to explore the models."])

    # -- the choice --------------------------------------------------------------------------------------------------

    def _on_model(self) -> None:
        if self._lists.is_filling:
            return
        self._known.retry()
        self._lists.filters = {}
        self._set("query", None)
        self._set("code", "")
        self._view.show_code("", "")
        self._filled = None
        self._view.show_lists(are_filled=False)
        self._set_state("idle", _NOT_YET)
        self._go_on()

    def _on_filtered(self) -> None:
        if not self._lists.is_filling:
            self._known.retry()
            self._lists.list_members()
            self._go_on()

    def _on_members(self) -> None:
        if self._lists.keep_members():
            self._on_choice()

    def _on_choice(self) -> None:
        if self._lists.is_filling or self._filled is None:
            return
        choice = self._lists.choice(self._filled)
        self._view.show_lines(filters=self._lists.filters_in_words(self._filled))
        settings = self._tenant.settings
        self._set("query", choice)
        self._set("code", python_code(choice, is_sandbox=settings.is_sandbox, profile=settings.profile))
        self._view.show_code(self.code, self.sql)

    # -- the lists ---------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Fill the lists with what is loaded."""
        view = self._view
        self._lists.fill_models()
        schema = self._known.schema(view.model.value)
        if schema is not None and self._filled != view.model.value:
            self._lists.fill(schema)
            self._filled = view.model.value
            view.show_lists(are_filled=True)
            self._set_state("idle", _CHOOSE, subject=schema.provider_id)
            self._on_choice()
        self._lists.list_members()

    # -- in the background -------------------------------------------------------------------------------------------

    def _on_worker(self) -> None:
        self._set("busy", self._worker.is_busy)
        if not self._worker.is_busy and not self._worker.is_closed:
            self._go_on()

    def _go_on(self) -> None:
        """Load the next list that is wanted, or else the result if that is wanted."""
        if self._worker.is_busy:
            return
        view = self._view
        if self._known.wants(view.model.value, view.filtered.value):
            self._worker.start(self._load)
            return
        self._fill()
        if self._is_wanted:
            self._is_wanted = False
            self._show_choice()

    def _load(self, _: Interrupt) -> None:
        self._show_error(None)
        self._set_state("busy", "loading the lists")
        try:
            self._known.load(self._view.model.value, self._view.filtered.value)
        except Cancelled:
            self._set_state("stopped", "cancelled")
            return
        except Exception as error:  # noqa: BLE001 - shown to the user
            self._is_wanted = False
            self._show_error(error, advice="Choose another model, or press Show to try again.")
            self._set_state("failed", _FAILED)
            return
        if not self._worker.is_closed:
            self._set_state("idle", _NOT_YET)
            self._fill()
            if self._filled is not None:
                self._set_state("idle", _CHOOSE, subject=self._filled)

    def _show(self) -> None:
        # Set before the worker is checked: code that finds it idle looks here, so no click is lost while lists load.
        self._is_wanted = True
        self._go_on()

    def _show_choice(self) -> None:
        if self._filled is None:
            if self._view.model.value is None:
                self._set_state("idle", _NOT_YET)
            return
        choice = self._lists.choice(self._filled)
        self._worker.start(lambda interrupt: self._pull(choice, interrupt))

    def _pull(self, choice: Choice, interrupt: Interrupt) -> None:
        self._shown_at_s = -SHOW_EVERY_S  # always show the first page
        self._show_error(None)
        self._set_state("busy", "asking SAC", subject=choice.model_id)
        try:
            facts = choice.facts(self._tenant)
            result = facts.fetch(progress=self._on_progress, cancelled=interrupt)
            frame = choice.frame(result)
        except Cancelled:
            self._set_state("stopped", "cancelled", subject=choice.model_id)
        except Exception as error:  # noqa: BLE001 - shown to the user
            self._show_error(error, advice="Change the choice above, then press Show.")
            self._set_state("failed", _FAILED, subject=choice.model_id)
        else:
            sql = sql_code(facts.query) if choice.grain is None else None
            self._present(choice, result, frame, sql or "")
        self._is_wanted = False  # ignore clicks during the download

    def _present(self, choice: Choice, result: Result, frame: pl.DataFrame, sql: str) -> None:
        if self._worker.is_closed:
            return
        labels = self._known.labels(choice.model_id, result.schema)
        chart, drawn, why_not = draw(choice, result, labels)
        self._view.show_result(table(choice, result, frame), drawn)
        self._view.show_problem(why_not)
        self._frame = frame
        for name, value in (("chart", chart), ("sql", sql), ("result", result)):
            self._set(name, value)
        self._view.show_code(self.code, sql)
        self._set_state("good", f"{len(frame):,} rows", subject=choice.model_id)

    def _on_progress(self, progress: Progress) -> None:
        if progress.elapsed_s - self._shown_at_s >= SHOW_EVERY_S:
            self._shown_at_s = progress.elapsed_s
            self._set_state("busy", progress_text(progress))

    def _set_state(self, state: State, text: str, *, subject: str = "") -> None:
        self._view.show_status(status_html(state, text, subject=subject))
        self._set("status", f"{subject}: {text}" if subject else text)

    def _show_error(self, error: Exception | None, *, advice: str = "") -> None:
        self._view.show_problem(None if error is None else Problem.of(error, again="Show", advice=advice))
        self._set("error", error)

    def _show_failure(self, lines: list[str]) -> None:
        self._view.show_problem(Problem(lines[0], details=tuple(lines[1:])))
