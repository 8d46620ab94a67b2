"""Widgets that work in the background: a thread of their own that runs one job at a time, and parts of their look."""

from __future__ import annotations

import atexit
import contextvars
import logging
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable
from importlib import resources
from types import TracebackType
from typing import Any, Final, Self

import ipywidgets as widgets  # type: ignore[import-untyped]

from sacnb._connections import Interrupt, watch
from sacnb.notebook.words import error_lines

__all__ = [
    "SHOW_EVERY_S",
    "BackgroundWidget",
    "Job",
    "Later",
    "TableAndChart",
    "Worker",
    "close_parts",
    "later",
    "row",
    "show_html",
    "style_sheet",
]

_log = logging.getLogger("sacnb.notebook")

Job = Callable[[Interrupt], None]
# Calls the action after so many seconds, unless the returned function is called before.
Later = Callable[[float, Callable[[], None]], Callable[[], None]]

# Updates of progress in shorter intervals would only keep the browser busy.
SHOW_EVERY_S: Final = 0.2
# Waits are cut into slices, because an endless wait cannot be interrupted on Windows.
_SLICE_S: Final = 0.1
# More than a job needs to end after it is stopped, except while it connects.
_SLICES_TO_END: Final = 30


def later(delay_s: float, action: Callable[[], None]) -> Callable[[], None]:
    """Call *action* after *delay_s* seconds, in a daemon thread; return a function that cancels this."""
    timer = threading.Timer(delay_s, action)
    timer.daemon = True
    timer.start()
    return timer.cancel


class Worker:
    """Runs one job at a time; safe for threads.

    ``on_change`` is called when a job begins and when it has ended. At the end it may start the next job.
    """

    def __init__(self, name: str, on_change: Callable[[], None]) -> None:
        self._name = name
        self._on_change = on_change
        # Held during on_change, so that beginnings and ends are reported in order.
        self._lock = threading.RLock()
        self._interrupt = Interrupt()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Return whether a job is running."""
        return self._is_busy

    @property
    def is_closed(self) -> bool:
        """Return whether the worker accepts no more jobs."""
        return self._is_closed

    def start(self, job: Job) -> bool:
        """Start *job* in the background; return false and do nothing during another job, or after ``close``.

        *job* handles its own errors. Its argument is set when it must end early, which also stops every request that
        the thread is sending, the one for a token included.
        """
        with self._lock:
            if self._is_busy or self._is_closed:
                return False
            self._is_busy = True
            self._interrupt = Interrupt()
            # With the caller's context, so that output and log records of the job belong to the caller's cell.
            run = contextvars.copy_context().run
            # A daemon, because a job that hangs in connect() must not keep the kernel from ending.
            self._thread = threading.Thread(target=run, args=(self._run, job), name=self._name, daemon=True)
            self._on_change()
            try:
                self._thread.start()
            except RuntimeError:  # the system has no more threads
                self._end()
                raise
            return True

    def stop(self) -> bool:
        """Stop the job; return false if none is running."""
        with self._lock:
            if self._is_busy:
                self._interrupt.set()
            return self._is_busy

    def wait(self) -> None:
        """Wait for the end of the running job; Ctrl-C stops it."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        try:
            while thread.is_alive():
                thread.join(_SLICE_S)
        except KeyboardInterrupt:
            self.stop()
            raise

    def close(self) -> None:
        """Accept no more jobs, stop the running one, and wait for its end. Closing twice does nothing."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        for _ in range(_SLICES_TO_END):
            # Keep trying: the request may only now have become interruptible.
            self.stop()
            thread.join(_SLICE_S)
            if not thread.is_alive():
                return
        _log.debug("%s is still connecting, and ends by itself.", self._name)

    def _run(self, job: Job) -> None:
        try:
            with watch(None) as watched, self._interrupt.over(watched):
                job(self._interrupt)
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._is_busy = False
            self._on_change()


class BackgroundWidget(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Base of the panel and the explorer: a context manager that stops its workers and leaves the page.

    A subclass calls ``_open`` once it is complete. The end of the kernel closes what is still open.
    """

    def _open(self, *workers: Worker) -> None:
        self._workers = workers
        self.add_class("sacnb")
        _open_widgets.add(self)

    def _release(self) -> None:
        """Release what the subclass holds besides its workers; called once, by ``close``."""

    @abstractmethod
    def _show_failure(self, lines: list[str]) -> None:
        """Show that an observer has failed."""

    def close(self) -> None:
        """Stop what is running, and remove the widget from the page. Closing twice does nothing."""
        if self not in _open_widgets:  # ipywidgets also closes widgets whose constructor failed
            return
        _open_widgets.discard(self)
        for worker in self._workers:
            worker.close()
        self._release()
        self.busy = False
        close_parts(self.children)
        self.layout.close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set(self, name: str, value: object) -> None:
        """Set a trait, unless the widget is closed.

        In this thread nobody would see the error of an observer, so it is shown like a failure of the widget.
        """
        if self._workers[0].is_closed:
            return
        try:
            self.set_trait(name, value)
        except Exception as error:  # noqa: BLE001 - logged with its traceback, and shown
            _log.exception("An observer of %r failed.", name)
            self._show_failure([f"An observer of {name!r} failed.", *error_lines(error)])


_open_widgets: weakref.WeakSet[BackgroundWidget] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close what is still open, before the interpreter ends under a working thread."""
    for widget in list(_open_widgets):
        widget.close()


def close_parts(parts: Iterable[Any]) -> None:
    """Close widgets with their parts, which ipywidgets would keep forever."""
    for part in parts:
        close_parts(getattr(part, "children", ()))
        for owned in (part.layout, getattr(part, "style", None), part):
            if owned is not None:
                owned.close()


# -- parts of the look -----------------------------------------------------------------------------------------------


def style_sheet() -> Any:
    """Return an invisible widget with the style sheet of the panel and the explorer."""
    text = resources.files("sacnb.notebook").joinpath("widgets.css").read_text(encoding="utf-8")
    return widgets.HTML(f"<style>{text}</style>", layout={"display": "none"})


def row(*parts: Any) -> Any:
    """Return *parts* in a row, which wraps where the page is narrow."""
    made = widgets.HBox(parts, layout={"flex_flow": "row wrap"})
    made.add_class("sacnb-row")
    return made


def show_html(part: Any, html: str) -> None:
    """Show *html*, which is not escaped, in an HTML widget; hide the widget if there is none."""
    part.value = html
    part.layout.display = None if html else "none"


class TableAndChart:
    """A table, and beside or below it a chart, by the width of the page. ``box`` is the widget."""

    def __init__(self) -> None:
        self._table, self._chart = widgets.HTML(), widgets.HTML()
        self._table.add_class("sacnb-table")
        self._chart.add_class("sacnb-chart")
        self.box = widgets.HBox([self._table, self._chart])
        self.box.add_class("sacnb-data")
        self.show(table="", chart="")

    def show(self, *, table: str | None = None, chart: str | None = None) -> None:
        """Show HTML, which is not escaped; ``None`` leaves a part as it is."""
        for part, html in ((self._table, table), (self._chart, chart)):
            if html is not None:
                show_html(part, html)
        self.box.layout.display = None if self.table or self._chart.value else "none"

    @property
    def table(self) -> str:
        """The HTML of the table, empty at first."""
        return str(self._table.value)
