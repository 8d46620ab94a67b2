"""The parts of the explorer: core widgets only, each control with a text label."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, get_args

import ipywidgets as widgets  # type: ignore[import-untyped]

from sacnb._frames.preview import preview
from sacnb._frames.tidy import Aggregation
from sacnb._odata.schema import Grain
from sacnb._results.info import said_of_mixed
from sacnb.errors import SacError
from sacnb.notebook.background import TableAndChart, row, show_html, style_sheet
from sacnb.notebook.words import Problem, as_html, draw_for_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sacnb._charts.chart import Chart
    from sacnb._results.result import Result
    from sacnb.notebook.choice import Choice

__all__ = ["ExplorerView", "draw", "table"]

_ALL_ROWS = "rows as in SAC"
_MAX_CODE_LINES: Final = 24
_FEWER: Final = "Choose fewer dimensions or measures, one version, or fewer members."


# A core widget cannot write to the clipboard, but HTML in it can. Without the right to do so (a page that is neither
# https nor localhost, or a browser that asks) the older command is tried, and at last the code is left selected. Five
# seconds later the explorer may be gone.
_COPY: Final = """
const explorer = this.closest('.sacnb'), box = explorer.querySelector('.sacnb-python textarea');
const say = text => { const place = explorer.querySelector('.sacnb-copied'); if (place) place.textContent = text; };
const done = () => { say('Copied.'); setTimeout(() => say(''), 5000); };
const select = () => {
  box.focus(); box.select();
  document.execCommand('copy') ? done() : say('The code is selected: press Ctrl+C (on a Mac \u2318C).');
};
if (navigator.clipboard) { navigator.clipboard.writeText(box.value).then(done, select); } else { select(); }
"""


class ExplorerView:
    """The model, and once it is chosen: lists, fields, one row of actions, the result, and the code.

    Controls are never disabled, and not hidden while they can have the focus, which they would lose.
    """

    def __init__(self) -> None:
        def several(name: str, rows: int = 6) -> Any:
            return widgets.SelectMultiple(description=name, rows=rows)

        self.model = widgets.Dropdown(description="Model", options=[("choose a model", None)], layout={"width": "auto"})
        self.dims, self.measures, self.versions = several("Dimensions"), several("Measures"), several("Versions")
        self.filtered = widgets.Dropdown(description="Filter by", options=[("no dimension", None)])
        self.search = widgets.Text(description="Search", placeholder="part of a member's name or id")
        self.members = several("Members", rows=8)
        self.since = widgets.Text(description="Since", placeholder="2010, 2010-Q1, 2010-01", continuous_update=False)
        self.until = widgets.Text(description="Until", placeholder="inclusive", continuous_update=False)
        self.grain = widgets.Dropdown(
            description="Grain", options=[(_ALL_ROWS, None), *((grain, grain) for grain in get_args(Grain))]
        )
        self.agg = widgets.Dropdown(description="Made by", options=list(get_args(Aggregation)))
        self._show = widgets.Button(description="Show", tooltip="Query SAC and show the result")
        self._show.button_style = "primary"
        self._cancel = widgets.Button(description="Cancel", tooltip="Stop what is running")
        self._copy = widgets.HTML(
            '<button type="button" class="lm-Widget jupyter-widgets jupyter-button widget-button" '
            f'title="Copy the Python code" onclick="{html.escape(_COPY, quote=True)}">'
            "Copy code</button>"
            '<span aria-live="polite" class="sacnb-copied"></span>'
        )
        self._python = widgets.Textarea(description="Python")
        self._sql = widgets.Textarea(description="SQL")
        self._texts = {name: widgets.HTML() for name in ("filters", "found", "status", "failure")}
        self._data = TableAndChart()
        for part in (self.model, self.members, self._python, self._sql):
            part.add_class("sacnb-above")
        self._python.add_class("sacnb-python")
        for name in ("found", "filters"):
            self._texts[name].add_class("sacnb-quiet")
        self._choice = self._body(
            _columns(self.dims, self.measures, self.versions),
            _columns(self.filtered, self.search),
            self.members,
            self._texts["found"],
            self._texts["filters"],
            _columns(self.since, self.until, self.grain, self.agg),
            row(self._show, self._cancel, self._copy),
        )
        self._code = self._body(self._python, self._sql)
        self.children = [
            style_sheet(),
            self.model,
            self._choice,
            self._texts["status"],
            self._texts["failure"],
            self._data.box,
            self._code,
        ]
        self.show_lists(are_filled=False)
        self.show_members(are_listed=False)
        self.show_code("", "")
        self.show_lines(filters=[], found=[])
        self.show_problem(None)

    @staticmethod
    def _body(*parts: Any) -> Any:
        made = widgets.VBox(parts)
        made.add_class("sacnb-body")
        return made

    def connect(
        self,
        *,
        show: Callable[[], object],
        cancel: Callable[[], object],
        model: Callable[[], object],
        filtered: Callable[[], object],
        search: Callable[[], object],
        members: Callable[[], object],
        choice: Callable[[], object],
    ) -> None:
        """Set the functions to call when a button is clicked or a choice changes."""
        for button, action in ((self._show, show), (self._cancel, cancel)):
            button.on_click(lambda _, action=action: action())
        listeners = ((self.model, model), (self.filtered, filtered), (self.search, search), (self.members, members))
        choices = (self.dims, self.measures, self.versions, self.since, self.until, self.grain, self.agg)
        for part, action in (*listeners, *((one, choice) for one in choices)):
            part.observe(lambda _, action=action: action(), "value")

    def show_lists(self, *, are_filled: bool) -> None:
        """Show the lists, fields and actions once a model has filled them."""
        self._choice.layout.display = None if are_filled else "none"

    def show_members(self, *, are_listed: bool) -> None:
        """Show the list of members and its search once a dimension is chosen."""
        for part in (self.search, self.members):
            part.layout.display = None if are_listed else "none"

    def show_code(self, python: str, sql: str) -> None:
        """Show the code that returns the frame."""
        for box, code in ((self._python, python), (self._sql, sql)):
            box.rows = min(code.count("\n") + 2, _MAX_CODE_LINES)
            box.value = code
        self._code.layout.display = None if python else "none"
        self._sql.layout.display = None if sql else "none"

    def show_status(self, html_text: str) -> None:
        """Show the status; the HTML is not escaped."""
        self._texts["status"].value = html_text

    def show_problem(self, problem: Problem | None) -> None:
        """Show what went wrong, or nothing."""
        show_html(self._texts["failure"], "" if problem is None else problem.html())

    def show_lines(self, **texts: list[str]) -> None:
        """Show lines of text at ``filters`` or ``found``, escaped."""
        for name, lines in texts.items():
            show_html(self._texts[name], as_html(lines))

    def show_result(self, table: str, chart: str) -> None:
        """Show the data and its chart; the HTML is not escaped."""
        self._data.show(table=table, chart=chart)

    @property
    def preview(self) -> str:
        """The HTML of the data, empty at first."""
        return self._data.table


def _columns(*parts: Any) -> Any:
    """Return *parts* in columns that share the width, each below its label."""
    made = widgets.HBox(parts)
    made.add_class("sacnb-columns")
    return made


def table(choice: Choice, result: Result, frame: pl.DataFrame) -> str:
    """Return the first rows as HTML; with a grain, those of the tidy frame."""
    if choice.grain is None:
        return result._repr_html_()
    notes = tuple(filter(None, [said_of_mixed(result.info.mixed)]))
    title = f"{choice.model_id} by {choice.grain}: {len(frame):,} rows"
    return preview(frame.to_arrow(), title=title, notes=notes).html()


def draw(
    choice: Choice, result: Result, labels: Mapping[str, pl.DataFrame]
) -> tuple[Chart | None, str, Problem | None]:
    """Return the chart and its HTML, or the reason for having none, which is not a failure of the result."""

    def plot(**theme: Any) -> Chart:
        return result.plot(choice.grain, agg=choice.agg, labels=labels, **theme)

    try:
        return *draw_for_page(plot), None
    except SacError as error:
        said = Problem.of(error, again="Show", advice=_FEWER)
        return None, "", Problem(f"No chart: {said.headline}", said.advice)
