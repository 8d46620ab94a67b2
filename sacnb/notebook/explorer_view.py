"""The parts of the explorer: core widgets only, each control with a text for its name.

What is shown of an answer in the explorer: its first rows, and a chart or the reason why there is none.
"""

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
from sacnb.notebook.panel_view import close_parts
from sacnb.notebook.words import as_html

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sacnb._charts.chart import Chart
    from sacnb._results.result import Result
    from sacnb.notebook.choice import Choice

__all__ = ["ExplorerView", "draw", "table"]

_ALL_ROWS = "as SAC sends it"
_NO_SQL = "SQL stands here for rows as SAC holds them: all dimensions, and no grain."


class ExplorerView:
    """Lists, fields, buttons, and what they lead to. A control is never disabled or hidden: it would lose the focus."""

    def __init__(self) -> None:
        def several(name: str, rows: int = 6) -> Any:
            return widgets.SelectMultiple(description=name, rows=rows)

        wide = {"width": "auto"}  # all there is; "100%" and the margin would be more
        self.model = widgets.Dropdown(description="Model", options=[("choose a model", None)], layout=wide)
        self.dims, self.measures, self.versions = several("Dimensions"), several("Measures"), several("Versions")
        self.filtered = widgets.Dropdown(description="Filter by", options=[("no dimension", None)])
        self.search = widgets.Text(description="Search", placeholder="part of a member's name or id")
        self.members = several("Members", rows=10)
        self.since = widgets.Text(description="Since", placeholder="2010, 2010-Q1, 2010-01", continuous_update=False)
        self.until = widgets.Text(description="Until", placeholder="included", continuous_update=False)
        self.grain = widgets.Dropdown(
            description="Grain", options=[(_ALL_ROWS, None), *((grain, grain) for grain in get_args(Grain))]
        )
        self.agg = widgets.Dropdown(description="Made by", options=list(get_args(Aggregation)))
        self._show = widgets.Button(description="Show", tooltip="Ask SAC, and show the result")
        self._cancel = widgets.Button(description="Cancel", tooltip="Stop what is running")
        self._copy = widgets.Button(description="Copy as code", tooltip="Go to the code that gives this frame")
        self._python = widgets.Textarea(description="Python", rows=10, layout=wide)
        self._sql = widgets.Textarea(description="SQL", rows=4, layout=wide, placeholder=_NO_SQL)
        names = ("filters", "found", "status", "trouble", "preview", "chart")
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
            self._texts["trouble"],
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
        """What is called when a button is clicked, and when something is chosen."""
        for button, action in ((self._show, show), (self._cancel, cancel), (self._copy, copy)):
            button.on_click(lambda _, action=action: action())
        listeners = ((self.model, model), (self.filtered, filtered), (self.search, search), (self.members, members))
        choices = (self.dims, self.measures, self.versions, self.since, self.until, self.grain, self.agg)
        for part, action in (*listeners, *((one, choice) for one in choices)):
            part.observe(lambda _, action=action: action(), "value")

    def go_to_code(self) -> None:
        """Put the focus on the Python code."""
        self._python.focus()

    def show_code(self, python: str, sql: str) -> None:
        """The code that gives the frame."""
        self._python.value, self._sql.value = python, sql

    def say(self, **lines: list[str]) -> None:
        """Show lines of text at ``filters``, ``found``, ``status`` or ``trouble``, escaped."""
        roles = {"status": "status", "trouble": "alert"}
        for name, said in lines.items():
            self._texts[name].value = as_html(said, role=roles.get(name))

    def show_preview(self, html_text: str) -> None:
        """The data; the HTML is shown as it is."""
        self._texts["preview"].value = html_text

    def show_chart(self, png: bytes, description: str) -> None:
        """A picture of the data, with its description for those who cannot see it; no bytes: none."""
        picture = base64.b64encode(png).decode()
        alt = html.escape(description, quote=True)
        self._texts["chart"].value = (
            f'<img style="max-width: 100%" alt="{alt}" src="data:image/png;base64,{picture}">' if png else ""
        )

    @property
    def preview(self) -> str:
        """The HTML of the data, empty at first."""
        return str(self._texts["preview"].value)

    def close(self) -> None:
        """Take all parts from the page."""
        close_parts(self.children)


def table(choice: Choice, result: Result, frame: pl.DataFrame) -> str:
    """The first rows as HTML: those of the tidy frame, where there is a grain."""
    if choice.grain is None:
        return result._repr_html_()
    return preview(frame.to_arrow(), title=f"{choice.model_id} by {choice.grain}: {len(frame):,} rows").html()


def draw(choice: Choice, result: Result, labels: Mapping[str, pl.DataFrame]) -> tuple[Chart | None, list[str]]:
    """The chart, or in words why there is none: that is no failure of the result."""
    try:
        chart = result.plot(choice.grain, agg=choice.agg, labels=labels)
        chart.png()
    except MissingExtraError as error:
        return None, [f"No chart: {error}"]
    except SacError as error:
        return None, [f"No chart: {error.message}", *([error.hint] if error.hint else [])]
    return chart, []
