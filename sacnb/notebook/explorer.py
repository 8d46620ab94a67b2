"""Choose a model and what to see of it; see it, as a table, a chart, and the code that gives the same."""

from __future__ import annotations

import atexit
import logging
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import ipywidgets as widgets  # type: ignore[import-untyped]
import traitlets

from sacnb.errors import Cancelled, SacError
from sacnb.notebook.catalogue import KnownModels
from sacnb.notebook.choice import python_code, sql_code
from sacnb.notebook.explorer_lists import ExplorerLists
from sacnb.notebook.explorer_view import ExplorerView, draw, table
from sacnb.notebook.words import as_html, failure_lines, how_far
from sacnb.notebook.worker import Worker

if TYPE_CHECKING:
    import polars as pl

    from sacnb._connections import Interrupt
    from sacnb._pull import Progress
    from sacnb._results.result import Result
    from sacnb._tenant import Tenant
    from sacnb.notebook.choice import Choice

__all__ = ["Explorer"]

_log = logging.getLogger("sacnb.notebook")

_NOT_YET: Final = "choose a model"
# More often would only keep the browser busy.
_SHOW_EVERY_S: Final = 0.2


class Explorer(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Lists to choose a model, its dimensions, measures, members and period from; a table, a chart and the code.

    Made by ``tenant.explore()``. What SAC is asked is asked in a thread of its own, which ``close()``, leaving a
    ``with`` block, and the end of the kernel stop.

    ``query`` (a ``Choice``, ``None`` before there is one) and ``code`` follow what is chosen; ``result``, ``chart`` and
    ``sql`` what was shown last; ``error`` is what went wrong. All are traits to ``observe``; observers may run in that
    thread. ``sql`` is empty where SQL would not give the same frame. ``busy`` changes last.

    Args:
        tenant: Whose models.
        model: The id of the model to begin with.
    """

    query = traitlets.Any(None, allow_none=True, help="What is chosen: a Choice, or None without a model.")
    result = traitlets.Any(None, allow_none=True, help="The Result that is shown; None at first.")
    chart = traitlets.Any(None, allow_none=True, help="Its Chart, where one can be drawn.")
    code = traitlets.Unicode("", help="Python that gives the frame of what is chosen.")
    sql = traitlets.Unicode("", help="SQL that gives the frame that is shown; empty where there is none.")
    status = traitlets.Unicode(_NOT_YET, help="What goes on, in words.")
    busy = traitlets.Bool(default_value=False, help="Whether SAC is being asked.")
    error = traitlets.Any(None, allow_none=True, help="What went wrong the last time; None if nothing did.")

    def __init__(self, tenant: Tenant, model: str | None = None) -> None:
        self._tenant = tenant
        self._known = KnownModels(tenant, first=model)
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
            copy=self._go_to_code,
            model=self._on_model,
            filtered=self._on_filtered,
            search=self._lists.list_members,
            members=self._on_members,
            choice=self._on_choice,
        )
        self.observe(lambda _: self._view.say(status=[self.status]), "status")
        self._view.say(status=[self.status])
        _open_explorers.add(self)
        self._go_on()

    @property
    def frame(self) -> pl.DataFrame | None:
        """The polars frame of ``result``: its rows, or tidy at the grain. No trait, since frames cannot be compared."""
        return self._frame

    def show(self, *, wait: bool = False) -> None:
        """Ask SAC for what is chosen, in the background, and after the lists that it is being asked for.

        Does nothing while a result is on its way. ``wait`` waits for the end.

        Nothing is raised of what goes wrong: it is in ``error``, and shown.

        Raises:
            SacError: The explorer is closed.
        """
        if self._worker.is_closed:
            raise SacError("This explorer is closed.", hint="Make a new one: sac.explore().")
        self._show()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until SAC is not being asked any more; Ctrl-C stops it."""
        while self._worker.is_busy:
            self._worker.wait()

    def cancel(self) -> None:
        """Stop what is running, in the middle of a page if need be; what is shown stays."""
        self._is_wanted = False
        if self._worker.stop():
            self._set("status", "stopping")

    def close(self) -> None:
        """Stop and join what runs, and take the explorer from the page. Closing twice does nothing."""
        if self not in _open_explorers:  # also one whose constructor failed: ipywidgets closes those too
            return
        _open_explorers.discard(self)
        self._worker.close()
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
        return f"Explorer({self._tenant!r})"

    def _repr_html_(self) -> str:
        """What stands in the file beside the live explorer, for readers without a kernel."""
        return self._view.preview or as_html([f"{self!r}: run this cell to explore the models."])

    # -- what is chosen ----------------------------------------------------------------------------------------------

    def _on_model(self) -> None:
        if self._lists.is_filling:
            return
        self._known.try_again()
        self._lists.filters = {}
        self._set("query", None)
        self._set("code", "")
        self._view.show_code("", "")
        self._filled = None
        self._go_on()

    def _on_filtered(self) -> None:
        if not self._lists.is_filling:
            self._known.try_again()
            self._lists.list_members()
            self._go_on()

    def _on_members(self) -> None:
        if self._lists.keep_members():
            self._on_choice()

    def _on_choice(self) -> None:
        if self._lists.is_filling or self._filled is None:
            return
        choice = self._lists.choice(self._filled)
        self._view.say(filters=self._lists.filters_in_words(self._filled))
        self._set("query", choice)
        self._set("code", python_code(choice, is_sandbox=self._tenant.settings.is_sandbox))
        self._view.show_code(self.code, self.sql)

    # -- what is listed ----------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Put what is known by now into the lists."""
        view = self._view
        self._lists.fill_models()
        schema = self._known.schema(view.model.value)
        if schema is not None and self._filled != view.model.value:
            self._lists.fill(schema)
            self._filled = view.model.value
            self._set("status", f"{schema.provider_id}: choose, then Show")
            self._on_choice()
        self._lists.list_members()

    # -- in the background -------------------------------------------------------------------------------------------

    def _on_worker(self) -> None:
        self._set("busy", self._worker.is_busy)
        if not self._worker.is_busy and not self._worker.is_closed:
            self._go_on()

    def _go_on(self) -> None:
        """Ask for the next list that is wanted and not there yet; then for the result, if that is wanted."""
        if self._worker.is_busy:
            return
        view = self._view
        if self._known.wants(view.model.value, view.filtered.value):
            self._worker.start(self._load)
            return
        self._fill()
        if self._is_wanted:
            self._is_wanted = False
            self._show_what_is_chosen()

    def _load(self, interrupt: Interrupt) -> None:  # noqa: ARG002 - lists are short, and close() does not wait for long
        self._say_trouble(None)
        self._set("status", "asking SAC")
        try:
            self._known.load(self._view.model.value, self._view.filtered.value)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            self._is_wanted = False
            self._say_trouble(error)
            self._set("status", "that did not work")
            return
        if not self._worker.is_closed:
            self._set("status", _NOT_YET)
            self._fill()
            if self._filled is not None:
                self._set("status", f"{self._filled}: choose, then Show")

    def _show(self) -> None:
        # Said first, and looked at by whoever finds the worker idle: so no click is lost while lists are loading.
        self._is_wanted = True
        self._go_on()

    def _show_what_is_chosen(self) -> None:
        if self._filled is None:
            self._set("status", _NOT_YET if self._view.model.value is None else self.status)
            return
        choice = self._lists.choice(self._filled)
        self._worker.start(lambda interrupt: self._pull(choice, interrupt))

    def _pull(self, choice: Choice, interrupt: Interrupt) -> None:
        self._shown_at_s = -_SHOW_EVERY_S  # the first page is shown in any case
        self._say_trouble(None)
        self._set("status", "asking SAC")
        try:
            facts = choice.facts(self._tenant)
            result = facts.fetch(progress=self._on_progress, cancelled=interrupt)
            frame = choice.frame(result)
        except Cancelled:
            self._set("status", "stopped")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            self._say_trouble(error)
            self._set("status", "that did not work")
        else:
            sql = sql_code(facts.query) if choice.grain is None else None
            self._present(choice, result, frame, sql or "")
        self._is_wanted = False  # another click meanwhile did nothing

    def _present(self, choice: Choice, result: Result, frame: pl.DataFrame, sql: str) -> None:
        if self._worker.is_closed:
            return
        chart, why_not = draw(choice, result, self._known.texts(choice.model_id, result.schema))
        self._view.show_preview(table(choice, result, frame))
        self._view.show_chart(b"" if chart is None else chart.png(), "" if chart is None else chart.description)
        self._view.say(trouble=why_not)
        self._frame = frame
        for name, value in (("chart", chart), ("sql", sql), ("result", result)):
            self._set(name, value)
        self._view.show_code(self.code, sql)
        self._set("status", f"{choice.model_id}: {len(frame):,} rows")

    def _on_progress(self, progress: Progress) -> None:
        if progress.elapsed_s - self._shown_at_s >= _SHOW_EVERY_S:
            self._shown_at_s = progress.elapsed_s
            self._set("status", how_far(progress))

    def _say_trouble(self, error: Exception | None) -> None:
        self._view.say(trouble=[] if error is None else failure_lines(error))
        self._set("error", error)

    def _go_to_code(self) -> None:
        self._view.go_to_code()
        if self.code:
            self._set("status", "The code is in the box called Python: Ctrl+A, Ctrl+C copies it.")

    def _set(self, name: str, value: object) -> None:
        """Set a trait, unless the explorer is closed; what an observer raises is shown like a failure of ours."""
        if self._worker.is_closed:
            return
        try:
            self.set_trait(name, value)
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and shown
            _log.exception("An observer of %r failed.", name)
            self._view.say(trouble=[f"An observer of {name!r} failed.", *failure_lines(error)])


_open_explorers: weakref.WeakSet[Explorer] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Before the interpreter takes itself apart under a thread that still works."""
    for explorer in list(_open_explorers):
        explorer.close()
