"""What people see first in JupyterLab: the list of models, a wide result, charts, and the completion popup."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import polars as pl

from sacnb.sandbox import Column, Sandbox, table_model

CELLS = [
    "import sacnb\n\nsac = sacnb.connect()\n%load_ext sacnb\n%sac connect sac",
    "%sac models",
    "wide = sac.model('WIDE').facts().fetch()\nwide",
    """
jobs = sac.model("US_EMPLOYMENT")
result = jobs.facts(where={"Version": "public.Actual"}).fetch()
drawing = dict(agg="mean", kind="line", labels={"Sector": jobs.members("Sector")}, unit="thousands")
result.plot("quarter", **drawing)
""",
    "result.plot('quarter', **drawing, theme='dark')",
    "None",  # where the popup is opened; Jupyter runs no empty cell
]


def wide_model() -> Any:
    """Return a model with 30 dimensions."""
    names = ["Date", "Version", *(f"Dimension{number:02}" for number in range(3, 31))]
    rows = {name: [f"{name[-2:]}-{row}" for row in range(40)] for name in names}
    rows |= {"Date": [f"2026{1 + row % 12:02}" for row in range(40)], "Version": ["public.Actual"] * 40}
    amounts = [1234567.891 * (row + 1) for row in range(40)]
    columns = [*(Column(name, key=True) for name in names), Column("SignedData", "Edm.Double")]
    return table_model("WIDE", columns=columns, rows=pl.DataFrame({**rows, "SignedData": amounts}))


def test_tables_charts_and_the_popup(open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any) -> None:
    tenant.add_model(wide_model())
    notebook = open_notebook(CELLS)
    notebook.run_all()
    cells = notebook.page.locator(".jp-CodeCell")
    outputs = {"models": 1, "wide": 2}
    for theme in ("dark", "light"):
        if notebook.pictures is not None:
            notebook.show(theme)
        for name, number in outputs.items():
            notebook.picture(f"{name}_{theme}", cells.nth(number).locator(".jp-OutputArea-output").last, scale="css")
        hero = cells.nth({"light": 3, "dark": 4}[theme]).locator(".jp-OutputArea-output").last
        expect(hero.locator("svg, canvas, img").first).to_be_visible()
        notebook.picture(f"chart_{theme}", hero, scale="css")
    expect(cells.nth(1)).to_contain_text("US_EMPLOYMENT")
    # Date and measure are in sight without scrolling.
    wide = cells.nth(2).locator(".jp-OutputArea-output").last
    expect(wide.locator("th").first).to_have_text("Date")
    expect(wide.locator("th").last).to_have_text("SignedData")
    assert wide.locator("table").evaluate(
        "table => table.getBoundingClientRect().right <= table.closest('.jp-OutputArea').getBoundingClientRect().right"
    )

    # The popup: the thing in full, and beside it its kind and what it is called.
    editor, popup = cells.nth(5).locator(".cm-content"), notebook.page.locator(".jp-Completer")
    for line, item, kind in (
        ("%sac refresh US_EMPLOYMENT --where Sector=", "Sector=20", r"^member:\sconstruction$"),
        ("%sac describe ", "US_EMPLOYMENT", r"^model:\sus\semployment\sby\ssector$"),
    ):
        editor.click()
        notebook.page.keyboard.press("Control+A")
        notebook.page.keyboard.type(line)
        notebook.page.keyboard.press("Tab")
        shown = popup.locator(".jp-Completer-item").filter(has_text=re.compile(re.escape(item)))
        expect(shown.first).to_be_visible()
        line_height = shown.first.evaluate("item => item.getBoundingClientRect().height")
        assert popup.locator(".jp-Completer-typeExtended").evaluate_all(
            "(all, most) => all.every(one => one.scrollHeight <= most)", line_height
        )  # no text runs into the row below
        expect(shown.first.locator(".jp-Completer-typeExtended")).to_have_text(re.compile(kind))
        name = "popup_members" if "where" in line else "popup_models"
        for theme in ("dark", "light") if notebook.pictures is not None else ():
            notebook.show(theme)
            expect(popup).to_be_visible()
            notebook.picture(f"{name}_{theme}", popup, scale="css")
        notebook.page.keyboard.press("Escape")
