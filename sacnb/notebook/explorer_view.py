"""The parts of the explorer: core widgets only, each control with a text label."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import ipywidgets as widgets  # type: ignore[import-untyped]

from sacnb._frames.preview import preview
from sacnb._frames.tidy import Aggregation
from sacnb._odata.schema import Grain
from sacnb.errors import MissingExtraError, SacError
from sacnb.notebook.words import as_html

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sacnb._charts.chart import Chart
    from sacnb._results.result import Result
    from sacnb.notebook.choice import Choice

__all__ = ["ExplorerView", "draw", "table"]

_ALL_ROWS = "rows as in SAC"
_NO_SQL = "SQL is available for rows as in SAC: all dimensions, and no grain."


class ExplorerView:
    """Lists, fields, buttons and outputs. Controls are never disabled or hidden, because they would lose the focus."""

    def __init__(self) -> None:
        def several(name: str, rows: int = 6) -> Any:
            return widgets.SelectMultiple(description=name, rows=rows)

        wide = {"width": "auto"}  # "100%" plus the margin would be too wide
        self.model = widgets.Dropdown(description="Model", options=[("choose a model", None)], layout=wide)
        self.dims, self.measures, self.versions = several("Dimensions"), several("Measures"), several("Versions")
        self.filtered = widgets.Dropdown(description="Filter by", options=[("no dimension", None)])
        self.search = widgets.Text(description="Search", placeholder="part of a member's name or id")
        self.members = several("Members", rows=10)
        self.since = widgets.Text(description="Since", placeholder="2010, 2010-Q1, 2010-01", continuous_update=False)
        self.until = widgets.Text(description="Until", placeholder="inclusive", continuous_update=False)
        self.grain = widgets.Dropdown(
            description="Grain", options=[(_ALL_ROWS, None), *((grain, grain) for grain in get_args(Grain))]
        )
        self.agg = widgets.Dropdown(description="Made by", options=list(get_args(Aggregation)))
        self._show = widgets.Button(description="Show", tooltip="Query SAC and show the result")
        self._cancel = widgets.Button(description="Cancel", tooltip="Stop what is running")
        self._copy = widgets.Button(description="Copy as code", tooltip="Go to the code that gives this frame")
        self._python = widgets.Textarea(description="Python", rows=10, layout=wide)
        self._sql = widgets.Textarea(description="SQL", rows=4, layout=wide, placeholder=_NO_SQL)
        names = ("filters", "found", "status", "failure", "preview", "chart")
        self._texts = {name: widgets.HTML() for name in names}
        for part in (self.members, self.search, self.dims, self.measures, self.versions):
            part.layout.width = "auto"
        self.children = [
            self.model,
            widgets.HBox([self.dims, self.measures, self.versions]),
            widgets.HBox([self.filtered, self.search]),
            self.members,
            self._texts["found"],
            self._texts["filters"],
            widgets.HBox([self.since, self.until]),
            widgets.HBox([self.grain, self.agg]),
            widgets.HBox([self._show, self._cancel, self._copy]),
            self._texts["status"],
            self._texts["failure"],
            self._texts["preview"],
            self._texts["chart"],
            self._python,
            self._sql,
        ]

    def connect(
        self,
        *,
        show: Callable[[], object],
        cancel: Callable[[], object],
        copy: Callable[[], object],
        model: Callable[[], object],
        filtered: Callable[[], object],
        search: Callable[[], object],
        members: Callable[[], object],
        choice: Callable[[], object],
    ) -> None:
        """Set the functions to call when a button is clicked or a choice changes."""
        for button, action in ((self._show, show), (self._cancel, cancel), (self._copy, copy)):
            button.on_click(lambda _, action=action: action())
        listeners = ((self.model, model), (self.filtered, filtered), (self.search, search), (self.members, members))
        choices = (self.dims, self.measures, self.versions, self.since, self.until, self.grain, self.agg)
        for part, action in (*listeners, *((one, choice) for one in choices)):
            part.observe(lambda _, action=action: action(), "value")

    def go_to_code(self) -> None:
        """Move the focus to the Python code."""
        self._python.focus()

    def show_code(self, python: str, sql: str) -> None:
        """Show the code that returns the frame."""
        self._python.value, self._sql.value = python, sql

    def show(self, **texts: list[str]) -> None:
        """Show lines of text at ``filters``, ``found``, ``status`` or ``failure``, escaped."""
        roles = {"status": "status", "failure": "alert"}
        for name, lines in texts.items():
            self._texts[name].value = as_html(lines, role=roles.get(name))

    def show_preview(self, html_text: str) -> None:
        """Show the data; the HTML is not escaped."""
        self._texts["preview"].value = html_text

    def show_chart(self, png: bytes, description: str) -> None:
        """Show a chart with its description as alternative text; no chart for empty *png*."""
        picture = base64.b64encode(png).decode()
        alt = html.escape(description, quote=True)
        self._texts["chart"].value = (
            f'<img style="max-width: 100%" alt="{alt}" src="data:image/png;base64,{picture}">' if png else ""
        )

    @property
    def preview(self) -> str:
        """The HTML of the data, empty at first."""
        return str(self._texts["preview"].value)


def table(choice: Choice, result: Result, frame: pl.DataFrame) -> str:
    """Return the first rows as HTML; with a grain, those of the tidy frame."""
    if choice.grain is None:
        return result._repr_html_()
    return preview(frame.to_arrow(), title=f"{choice.model_id} by {choice.grain}: {len(frame):,} rows").html()


def draw(choice: Choice, result: Result, labels: Mapping[str, pl.DataFrame]) -> tuple[Chart | None, list[str]]:
    """Return the chart, or the reason for having none, which is not a failure of the result."""
    try:
        chart = result.plot(choice.grain, agg=choice.agg, labels=labels)
        chart.png()
    except MissingExtraError as error:
        return None, [f"No chart: {error}"]
    except SacError as error:
        return None, [f"No chart: {error.message}", *([error.hint] if error.hint else [])]
    return chart, []
