"""The parts of the write panel, and its words and tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import ipywidgets as widgets  # type: ignore[import-untyped]
import polars as pl

from sacnb._endpoints import IMPORT_ROOT
from sacnb._frames.preview import as_shown, preview_of
from sacnb._rendering import html_table
from sacnb._write.report import CHANGES
from sacnb._write.target import VERSION
from sacnb.errors import ForbiddenError, SacError
from sacnb.notebook.background import row, show_html, style_sheet
from sacnb.notebook.words import Problem, State, as_html, status_html

if TYPE_CHECKING:
    from sacnb._write.report import WriteProgress, WriteReport

__all__ = ["WriteView", "counted", "problem_of", "report_html", "step_text"]

_STEPS: Final = {
    "queue": "waiting for another write into this model",
    "check": "checking {expected} here",
    "read": "reading the facts as they are",
    "upload": "uploaded {rows} of {expected}",
    "validate": "SAC checks the rows",
    "run": "SAC writes the rows",
    "verify": "reading the rows back",
}
_ROWS_SHOWN: Final = 10
_NONE: Final = "\u2013"
# What people and spreadsheets put between thousands.
_BETWEEN_THOUSANDS: Final = re.compile(r"[\s,.'\u2019_]")


class WriteView:
    """One row of actions, the status, and below it what there is: the number to confirm, progress, problems, tables.

    Write and Undo are the only buttons of sacnb that can be disabled, so that nobody writes what was not shown. The
    others do nothing at the wrong time. Any thread may change the parts.
    """

    def __init__(self) -> None:
        self._check = widgets.Button(description="Check", tooltip="Check the rows, by SAC too; nothing is written")
        self._write = widgets.Button(description="Write", tooltip="Write the rows into the model", disabled=True)
        self._cancel = widgets.Button(description="Cancel", tooltip="Cancel while nothing is written yet")
        self._undo = widgets.Button(description="Undo", tooltip="Write the rows back as they were", disabled=True)
        self._confirm = widgets.Text(description="Rows to delete", placeholder="type the number")
        self._bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0)
        self._progress, self._status, self._failure, self._deletes = (widgets.HTML() for _ in range(4))
        self._tables = [widgets.HTML() for _ in range(3)]
        self._advance = row(self._bar, self._progress)
        self._question = row(self._confirm, self._deletes)
        self._question.add_class("sacnb-confirm")
        data = widgets.HBox(self._tables)
        data.add_class("sacnb-data")
        for part in self._tables:
            part.add_class("sacnb-table")
        self._data = data
        self._to_delete: int | None = None
        self._is_checked = False
        actions = row(self._check, self._write, self._cancel, self._undo)
        self.children = [
            style_sheet(),
            actions,
            self._status,
            self._advance,
            self._question,
            self._failure,
            self._data,
        ]
        self._undo.layout.display = "none"
        self.hide_progress()
        self.show_nothing_checked()

    def connect(
        self,
        *,
        check: Callable[[], object],
        write: Callable[[], object],
        cancel: Callable[[], object],
        undo: Callable[[], object],
    ) -> None:
        """Set the functions to call when a button is clicked."""
        self._check.on_click(lambda _: check())
        self._write.on_click(lambda _: write())
        self._cancel.on_click(lambda _: cancel())
        self._undo.on_click(lambda _: undo())
        self._confirm.observe(lambda _: self._allow_write(), "value")

    @property
    def typed(self) -> int | None:
        """The number in the field; ``None`` where there is none."""
        text = _BETWEEN_THOUSANDS.sub("", self._confirm.value)
        return int(text) if text.isdecimal() else None

    @property
    def may_write(self) -> bool:
        """Return whether *Write* can be pressed."""
        return not self._write.disabled

    def show_status(self, state: State, text: str, *, subject: str) -> None:
        """Show the state of the write."""
        self._status.value = status_html(state, text, subject=subject)

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
        self._bar.value = 0.0

    def show_nothing_checked(self) -> None:
        """Show neither problems nor tables: a check begins, or there was none yet."""
        self._forbid_write()
        self._check.button_style = "primary"
        show_html(self._failure, "")
        self._show_tables()

    def show_writing(self) -> None:
        """Show that a write or an undo begins; the tables stay."""
        self._forbid_write()
        show_html(self._failure, "")

    def show_check(self, report: WriteReport) -> None:
        """Show what the write will change, and let it be written."""
        if report.rejected.height:
            show_html(self._failure, _left_out(report.rejected))
        self._show_tables(_counts_html(report), _totals_html(report), _rows_html(report))
        self._is_checked, self._to_delete = True, report.deleted or None
        self._write.description = f"Write {counted(report.rows, 'row')}"
        self._check.button_style, self._write.button_style = "", "primary"
        if self._to_delete is not None:
            deletes = f"{report.method} deletes {counted(self._to_delete, 'row')} first."
            self._deletes.value = as_html([f"{deletes} Type this number to allow the write."])
            self._question.layout.display = None
        self._allow_write()

    def show_problems(self, problems: pl.DataFrame) -> None:
        """Show the problems of the frame as a table."""
        show_html(self._failure, Problem(f"{counted(problems.height, 'problem')}: the rows cannot be written.").html())
        self._show_tables(_problems_html(problems))

    def show_problem(self, problem: Problem) -> None:
        """Show a failure; the tables stay."""
        show_html(self._failure, problem.html())

    def show_report(self, report: WriteReport) -> None:
        """Show the report of a write."""
        self._show_tables(report_html(report), _totals_html(report))
        self._check.button_style, self._write.button_style = "", ""

    def allow_undo(self, *, can_undo: bool) -> None:
        """Enable or disable the undo of the last write."""
        self._undo.disabled = not can_undo
        if can_undo:
            self._undo.layout.display = None

    def _allow_write(self) -> None:
        self._write.disabled = not self._is_checked or self._to_delete not in {None, self.typed}

    def _forbid_write(self) -> None:
        self._is_checked, self._to_delete = False, None
        self._write.disabled = True
        self._write.button_style = ""
        self._write.description = "Write"
        self._question.layout.display = "none"
        self._confirm.value = ""

    def _show_tables(self, *tables: str) -> None:
        for place, part in enumerate(self._tables):
            show_html(part, tables[place] if place < len(tables) else "")
        self._data.layout.display = None if any(tables) else "none"


def step_text(progress: WriteProgress) -> str:
    """Return the step of a write in words, with its rows."""
    expected = counted(progress.expected_rows, "row")
    return _STEPS.get(progress.step, progress.step).format(rows=f"{progress.rows:,}", expected=expected)


def counted(number: int, word: str) -> str:
    """Return ``1,200 rows`` or ``1 row``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def problem_of(error: Exception, again: str) -> Problem:
    """Return the words for *error*; *again* names the button that repeats the work."""
    if isinstance(error, ForbiddenError) and IMPORT_ROOT in error.url:  # of the other service Problem tells
        told = Problem.of(error, again=again)
        return Problem(f"You may not write into this model ({error.status}).", error.hint or "", told.details)
    advice = f"The details say more; correct the cause, then press {again}." if isinstance(error, SacError) else ""
    return Problem.of(error, again=again, advice=advice)


def report_html(report: WriteReport) -> str:
    """Return the report as a table."""
    facts = report.facts()
    return html_table(("", ""), list(facts.items()), title="Checked" if report.is_dry_run else "Written")


def _counts_html(report: WriteReport) -> str:
    """Return how many rows are new, changed, the same and removed."""
    if report.changes is None:
        more = "The facts cannot be read here, so it is not known what changes."
        return html_table(("", "rows"), [("to write", f"{report.rows:,}")], numeric=(1,), title="Changes", more=more)
    counts = dict(report.changes.group_by("change").len().iter_rows())
    kinds = [one for one in CHANGES if one in counts or one != "removed"]
    rows = [(kind, f"{counts.get(kind, 0):,}") for kind in kinds]
    rounded = [f"{counted(count, 'value')} of {name} rounded." for name, count in report.rounded.items()]
    title = f"Changes in {', '.join(report.versions)}" if report.versions else "Changes"
    return html_table(("change", "rows"), rows, numeric=(1,), title=title, more=rounded)


def _totals_html(report: WriteReport) -> str:
    """Return the sum of each measure before and after, for each version that is written."""
    if report.changes is None:
        return ""
    frame, by = report.changes, [VERSION] if len(report.versions) > 1 and VERSION in report.changes.columns else []
    rows: list[tuple[str, ...]] = []
    for keys, part in frame.group_by(by, maintain_order=True) if by else [((), frame)]:
        for name in _measures(frame):
            before, after = (Decimal(part.get_column(f"{name}_{when}").sum() or 0) for when in ("before", "after"))
            rows.append((*map(str, keys), name, *as_shown([before, after, after - before])))
    columns = (*by, "measure", "before", "after", "difference")
    numeric = range(len(by) + 1, len(columns))
    return html_table(columns, rows, numeric=numeric, title="Totals before and after")


def _rows_html(report: WriteReport) -> str:
    """Return the first rows that will not stay as they are."""
    if report.changes is None:
        return ""
    different = report.changes.filter(pl.col("change") != "same")
    if not different.height:
        return ""
    if len(report.versions) == 1:  # in the title of the changes
        different = different.drop(VERSION, strict=False)
    numbers: dict[str, list[str]] = {}
    first = different.head(_ROWS_SHOWN)
    for before, after in ((f"{name}_before", f"{name}_after") for name in _measures(different)):
        # Both with the same decimals.
        cells = as_shown([*first.get_column(before), *first.get_column(after)])
        shown = [_NONE if cell == "null" else cell for cell in cells]
        numbers[before], numbers[after] = shown[: first.height], shown[first.height :]
    amounts = {name: f"{name[: name.rindex('_')]} {name[name.rindex('_') + 1 :]}" for name in numbers}
    texts = first.with_columns(pl.Series(name, cells, pl.String) for name, cells in numbers.items()).rename(amounts)
    kept = tuple(amounts.values())
    made = preview_of(texts, title="The first rows that change", whole=texts.columns, kept=kept)
    left = different.height - first.height
    numeric = tuple(name in kept for name in texts.columns)
    return replace(made, numeric=numeric, more=f"… {counted(left, 'more row')}" if left else "").html()


def _measures(changes: pl.DataFrame) -> list[str]:
    """Return the measures of ``report.changes``, which has each before and after."""
    stems = [name.removesuffix("_before") for name in changes.columns if name.endswith("_before")]
    return [name for name in stems if f"{name}_after" in changes.columns]


def _problems_html(problems: pl.DataFrame) -> str:
    # The message says more than the kind of problem, for which there is no room.
    first = problems.sort("row", nulls_last=False, maintain_order=True).drop("problem")
    return preview_of(first, title="Problems, by the row of your frame (from 0)", whole=["column", "value"]).html()


def _left_out(problems: pl.DataFrame) -> str:
    rows = problems.get_column("row").n_unique()
    return Problem(f"{counted(rows, 'row')} will be left out, because of these problems.").html() + _problems_html(
        problems
    )
