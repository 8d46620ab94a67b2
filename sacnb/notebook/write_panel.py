"""A widget that checks a frame, shows what a write would change, writes it, and takes the write back."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import traitlets

from sacnb._write.frame import read_frame
from sacnb._write.order import make_order
from sacnb.errors import Cancelled, ConfirmationError, QueryError, RowsError, SacError, WriteError
from sacnb.notebook.background import SHOW_EVERY_S, BackgroundWidget, Worker
from sacnb.notebook.words import Problem, State, as_html, clock_text
from sacnb.notebook.write_panel_view import WriteView, counted, problem_of, report_html, step_text

if TYPE_CHECKING:
    from sacnb._connections import Interrupt
    from sacnb._tenant import Model
    from sacnb._write.report import WriteReport

__all__ = ["WritePanel"]

_NOT_YET: Final = "not checked yet; nothing was sent"
# From here on SAC writes; a request that is broken off would only hide how the run ends.
_NO_WAY_BACK: Final = frozenset({"run", "verify", "undo"})


class WritePanel(BackgroundWidget):
    """Buttons to check, write, cancel and undo; problems, changes and totals, progress, and the report.

    Made by ``model.write_panel(frame, ...)``. *Check* goes as far as SAC's validation, and nothing is written before
    *Write*, which can be pressed after a check without problems. CleanAndReplace also asks for the number of rows that
    it deletes. The work runs in a thread of its own, which ``close()``, leaving a ``with`` block, and the end of the
    kernel stop.

    ``checked``, ``result``, ``status``, ``busy`` and ``error`` are traits to ``observe``. Observers run in that thread,
    where ``print`` has no cell to write to. ``busy`` changes last.

    Args:
        model: The model to write into.
        frame: The rows, as they are now: later changes of the frame are not written.
        method, version, defaults, mapping, pivot, scope, allow_partial, verify, audit, rows_per_upload, timeout_s:
            The arguments of ``Model.write``.

    Raises:
        QueryError: An argument is invalid, or the frame has no rows.
    """

    __module__ = "sacnb.notebook"

    checked = traitlets.Any(None, allow_none=True, help="The WriteReport of the last good check; None at first.")
    result = traitlets.Any(None, allow_none=True, help="The WriteReport of the last write; None at first.")
    status = traitlets.Unicode(_NOT_YET, help="The state of the write, in words.")
    busy = traitlets.Bool(default_value=False, help="Whether a check, a write or an undo is running.")
    error = traitlets.Any(
        None, allow_none=True, help="The last failure, such as a RowsError with its problems; or None."
    )

    def __init__(
        self,
        model: Model,
        frame: object,
        *,
        method: str = "Update",
        version: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        mapping: Mapping[str, str] | None = None,
        pivot: Sequence[str] | str | None = None,
        scope: Sequence[str] | None = None,
        allow_partial: bool = False,
        verify: bool = True,
        audit: str | os.PathLike[str] | None = None,
        rows_per_upload: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "method": method,
            "version": version,
            "defaults": defaults,
            "mapping": mapping,
            "pivot": pivot,
            "scope": scope,
            "allow_partial": allow_partial,
            "verify": verify,
            "audit": audit,
            "rows_per_upload": rows_per_upload,
            "timeout_s": timeout_s,
        }
        make_order(**self._options)  # refuses now what would fail at every click
        self._frame = _own(frame)
        if not self._frame.height:
            raise QueryError("The frame has no rows; there is nothing to write.")
        self._model = model
        self._now = model._connection.context.session.now
        self._lock = threading.Lock()
        self._step = ""
        self._is_cancelled = False
        self._last: WriteReport | None = None  # the write that Undo takes back
        self._shown_at_s = -SHOW_EVERY_S
        self._worker = Worker("sacnb-write-panel", self._on_worker)
        self._view = WriteView()
        super().__init__(self._view.children)
        self._view.connect(check=self.check, write=self._press_write, cancel=self.cancel, undo=self._press_undo)
        self._open(self._worker)
        self._show_state("idle", f"{counted(self._frame.height, 'row')}, {_NOT_YET}")

    @property
    def frame(self) -> pl.DataFrame:
        """The rows to write, as polars."""
        return self._frame

    def check(self, *, wait: bool = False) -> None:
        """Check the frame in the background, by SAC too, unless something is running; ``wait`` waits for the end.

        Failures are shown and stored in ``error``, not raised.
        """
        self._start(self._check, wait=wait)

    def write(self, *, confirm: int | None = None, wait: bool = False) -> None:
        """Write the frame in the background, unless something is running; ``wait`` waits for the end.

        *confirm* is the number of rows that CleanAndReplace deletes; by default the one typed into the panel.

        Failures are shown and stored in ``error``, not raised.

        Raises:
            SacError: The frame was not checked since the last write, or the panel is closed.
            ConfirmationError: *confirm* is not the number of rows that will be deleted.
        """
        report = self.checked
        if report is None:
            raise SacError("The frame was not checked, or was written already.", hint="panel.check(wait=True)")
        typed = self._view.typed if confirm is None else confirm
        if report.deleted and typed != report.deleted:
            raise ConfirmationError(
                f"CleanAndReplace would delete {counted(report.deleted, 'row')} of {report.model_id!r}, and "
                f"{'no number' if typed is None else typed} was given.",
                rows=report.deleted,
                affected=None,
                hint=f"If that is what you want: confirm={report.deleted}.",
            )
        self._start(lambda interrupt: self._write(interrupt, report.deleted), wait=wait)

    def undo(self, *, wait: bool = False) -> None:
        """Write the rows back as they were, in the background; ``wait`` waits for the end.

        Failures are shown and stored in ``error``, not raised.

        Raises:
            SacError: Nothing was written that can be undone, or the panel is closed.
        """
        report = self._last
        if report is None:
            raise SacError("There is no write of this panel to undo.")
        self._start(lambda _: self._undo(report), wait=wait)

    def cancel(self) -> None:
        """Cancel a check, or a write whose run has not begun; nothing is written then."""
        with self._lock:  # the run begins before this, or sees it
            self._is_cancelled = self._step not in _NO_WAY_BACK
        if not self._is_cancelled:
            self._view.show_progress("SAC is writing; this can no longer be cancelled")
        elif self._worker.stop():
            self._show_state("busy", "cancelling")

    def _start(self, job: Callable[[Interrupt], None], *, wait: bool) -> None:
        if self._worker.is_closed:
            raise SacError("This panel is closed.", hint="Make a new one: model.write_panel(...)")
        self._worker.start(job)
        if wait:
            self._worker.wait()

    def _press_write(self) -> None:
        if self._view.may_write and not self._worker.is_busy:
            self.write()

    def _press_undo(self) -> None:
        if self._last is not None and not self._worker.is_busy:
            self.undo()

    def __repr__(self) -> str:
        """Return the same text each time, so that a notebook has the same outputs when it runs again."""
        return f"WritePanel({self._model.id!r})"

    def _repr_html_(self) -> str:
        """Return the outcome for readers of the saved notebook, who have no kernel."""
        report = self.result or self.checked
        return as_html([f"{self._model.id}: {_NOT_YET}"]) if report is None else report_html(report)

    # -- in the background -------------------------------------------------------------------------------------------

    def _check(self, interrupt: Interrupt) -> None:
        self._set("checked", None)
        self._view.show_nothing_checked()
        self._show_state("busy", "checking")
        report = self._carried_out(interrupt, dry_run=True)
        if report is None:
            return
        self._set("checked", report)
        self._set("error", None)
        self._view.show_check(report)
        left = report.rejected.get_column("row").n_unique() if report.rejected.height else 0
        without = f", {counted(left, 'row')} left out" if left else ""
        self._show_state("good", f"checked by SAC too, {counted(report.rows, 'row')} can be written{without}")

    def _write(self, interrupt: Interrupt, confirm: int | None) -> None:
        self._set("checked", None)
        self._view.show_writing()
        self._show_state("busy", "writing")
        report = self._carried_out(interrupt, confirm=confirm)
        if report is not None:
            self._show_written(report, None)

    def _undo(self, report: WriteReport) -> None:
        self._enter("undo")
        self._view.show_writing()
        self._show_state("busy", "undoing")
        self._view.show_progress("writing the rows back as they were")
        try:
            undone = report.undo()
        except Exception as error:  # noqa: BLE001 - shown to the user
            self._show_error(error, "not undone", again="Undo")
            return
        finally:
            self._enter("")
            self._view.hide_progress()
        self._last = None
        self._set("result", undone)
        self._set("error", None)
        self._view.show_report(undone)
        self._show_state("good", f"undone, {clock_text(self._now())}, the rows are as they were")

    def _carried_out(self, interrupt: Interrupt, **how: Any) -> WriteReport | None:
        """Return the report of a write or a dry run; show a failure and return ``None``."""
        self._shown_at_s = -SHOW_EVERY_S  # always show the first step
        with self._lock:
            self._is_cancelled = False
        try:
            options = {**self._options, **how, "progress": self._on_progress, "cancelled": interrupt}
            return self._model.write(self._frame, **options)
        except Cancelled:
            self._set("error", None)
            self._show_state("stopped", "cancelled; nothing was written")
        except Exception as error:  # noqa: BLE001 - shown to the user
            self._show_failed(error)
        finally:
            self._enter("")
            self._view.hide_progress()
        return None

    def _show_failed(self, error: Exception) -> None:
        if isinstance(error, RowsError):
            self._view.show_problems(error.problems)
            self._set("error", error)
            rows = error.problems.get_column("row").drop_nulls().n_unique()
            where = f" in {counted(rows, 'row')}" if rows else ""
            self._show_state("failed", f"{counted(error.problems.height, 'problem')}{where}; nothing was written")
            return
        report = error.report if isinstance(error, WriteError) else None
        if report is not None:
            self._show_written(report, error)
            return
        may_have_run = isinstance(error, WriteError) and self._step in _NO_WAY_BACK
        self._show_error(error, "the outcome is not known" if may_have_run else "nothing was written", again="Check")

    def _show_written(self, report: WriteReport, error: Exception | None) -> None:
        self._last = report if report.can_undo else None
        self._set("result", report)
        if error is not None:
            self._show_error(error, f"{counted(report.rows, 'row')} written, and not as asked", again="Check")
        else:
            self._set("error", None)
            how = "read back as written" if report.verified else "not read back"
            self._show_state("good", f"written, {counted(report.rows, 'row')}, {clock_text(self._now())}, {how}")
        self._view.show_report(report)

    def _show_error(self, error: Exception, status: str, *, again: str) -> None:
        self._set("error", error)
        self._view.show_problem(problem_of(error, again))
        self._show_state("failed", status)

    # -- events ------------------------------------------------------------------------------------------------------

    def _on_progress(self, progress: Any) -> None:
        """Show a step. Raises Cancelled if Cancel was pressed before the run began; afterwards it does nothing."""
        is_new = progress.step != self._step
        self._enter(progress.step)
        if self._is_cancelled:
            raise Cancelled("The write was cancelled.")
        if not is_new and progress.elapsed_s - self._shown_at_s < SHOW_EVERY_S:
            return
        self._shown_at_s = progress.elapsed_s
        share = progress.rows / progress.expected_rows if progress.step == "upload" and progress.expected_rows else None
        self._view.show_progress(step_text(progress), share)

    def _enter(self, step: str) -> None:
        with self._lock:
            self._step = step

    def _on_worker(self) -> None:
        self._view.allow_undo(can_undo=self._last is not None and not self._worker.is_busy)
        self._set("busy", self._worker.is_busy)

    def _show_state(self, state: State, status: str) -> None:
        if not self._worker.is_closed:
            self._view.show_status(state, status, subject=self._model.id)
        self._set("status", status)

    def _show_failure(self, lines: list[str]) -> None:
        self._view.show_problem(Problem(lines[0], details=tuple(lines[1:])))


def _own(frame: object) -> pl.DataFrame:
    """Return the rows as they are now; a pandas frame shares its memory, and may be changed in place afterwards."""
    found = read_frame(frame)
    if isinstance(frame, pl.DataFrame | pl.LazyFrame) or not found.width:
        return found
    kept = io.BytesIO()
    found.write_ipc(kept)
    kept.seek(0)
    return pl.read_ipc(kept)
