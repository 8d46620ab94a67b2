"""The write panel in JupyterLab: nothing is written before it is shown, and all of it without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sales import sales

from sacnb.sandbox import Sandbox

BAD = """
import polars as pl
import sacnb

sac = sacnb.connect()
model = sac.model("SALES")
bad = pl.DataFrame({"Date": ["202401"] * 3, "Store": ["S0", "S0", "S9"], "Amount": [1, 2, 3]})
model.write_panel(bad, version="public.Plan")
"""
GOOD = """
dates, stores = ["202401", "202401", "202402"], ["S0", "S1", "S0"]
plan = pl.DataFrame({"Date": dates, "Store": stores, "Amount": [650.0, 605.0, 700.5]})
panel = model.write_panel(plan, version="public.Plan")
panel
"""
CLEAN = """
model.write_panel(plan, version="public.Plan", method="CleanAndReplace")
"""


def panel_of(notebook: Any, cell: int) -> Any:
    output = notebook.page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")
    return output.filter(has=notebook.page.get_by_role("button", name="Check", exact=True))


@pytest.fixture
def notebook(open_notebook: Callable[..., Any], tenant: Sandbox) -> Any:
    tenant.add_model(sales())
    notebook = open_notebook([BAD, GOOD, CLEAN])
    notebook.show("light")
    notebook.run_all()
    return notebook


def test_a_write_from_its_problems_to_its_undo(notebook: Any, tenant: Sandbox, expect: Any) -> None:
    def button(name: str) -> Any:
        return panel.get_by_role("button", name=re.compile(f"^{name}"))

    panel = panel_of(notebook, 0)
    status = panel.get_by_role("status")
    expect(status).to_have_text("SALES: 3 rows, not checked yet; nothing was sent")
    expect(button("Write")).to_be_disabled()
    button("Check").click()
    expect(status).to_have_text("SALES: 3 problems in 3 rows; nothing was written")
    expect(panel.get_by_role("row").nth(1)).to_contain_text("The key occurs 2 times")
    expect(button("Write")).to_be_disabled()
    notebook.look(panel, "write_problems", scale="css")

    # The rest with the keyboard alone.
    panel = panel_of(notebook, 1)
    status = panel.get_by_role("status")
    press = notebook.page.keyboard.press
    notebook.page.locator(".jp-CodeCell").nth(1).locator(".jp-InputArea-editor").click()
    press("Escape")
    notebook.focus_with_tab(button("Check"))
    press("Enter")
    expect(status).to_have_text("SALES: checked by SAC too, 3 rows can be written")
    expect(button("Check")).to_be_focused()
    expect(panel).to_contain_text("The first rows that change")
    expect(panel).to_contain_text("1,955.5")
    notebook.look(panel, "write_checked", scale="css", is_like_before=True)
    notebook.focus_with_tab(button("Check"))
    press("Tab")
    expect(button("Write 3 rows")).to_be_focused()
    tenant.misbehave("import_is_slow", polls=2)
    press("Space")
    expect(status).to_contain_text(re.compile(r"written, 3 rows, \d\d:\d\d UTC\S*, read back as written$"))
    expect(button("Write")).to_be_disabled()
    notebook.look(panel, "write_written", scale="css", is_like_before=True)
    notebook.show("light")
    notebook.focus_with_tab(button("Undo"))
    press("Enter")
    expect(status).to_contain_text("undone, ")
    expect(button("Undo")).to_be_disabled()

    # CleanAndReplace: the number opens the way.
    panel = panel_of(notebook, 2)
    status = panel.get_by_role("status")
    button("Check").click()
    expect(panel).to_contain_text("CleanAndReplace deletes 10 rows first.")
    expect(button("Write 3 rows")).to_be_disabled()
    field = panel.get_by_label("Rows to delete", exact=True)
    field.fill("9")
    expect(button("Write 3 rows")).to_be_disabled()
    notebook.picture("write_confirm", panel, scale="css")
    field.fill("10")
    expect(button("Write 3 rows")).to_be_enabled()
    notebook.check_access(panel)
    button("Write").click()
    expect(status).to_contain_text("written, 3 rows")
