"""The refresh panel in Notebook 7, whose page is another one than JupyterLab's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sacnb.sandbox import Sandbox


def test_the_panel_works_in_notebook_7(open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any) -> None:
    notebook = open_notebook("02_refresh_panel", place="notebooks")
    expect(notebook.page.locator("#jp-NotebookLogo")).to_be_visible()  # which JupyterLab does not have
    notebook.run_all()
    panel = notebook.output("Refresh")
    status = panel.get_by_role("status")
    refresh = panel.get_by_role("button", name="Refresh", exact=True)
    chart = notebook.page.get_by_role("img", name="Line chart. US_EMPLOYMENT: Employees.")
    expect(status).to_have_text("US_EMPLOYMENT: not refreshed yet")
    expect(chart).to_have_count(0)

    refresh.click()
    expect(status).to_have_text(re.compile(r"^US_EMPLOYMENT: fresh, 360 rows, \d\d:\d\d UTC\S*$"))
    expect(panel.get_by_role("row")).to_have_count(11)
    expect(panel.get_by_role("cell", name="2006-01-01").first).to_be_visible()
    expect(chart).to_be_visible()
    notebook.check_access(panel)

    # With the keyboard: stop a slow pull, and see that the data are old when SAC is away.
    tenant.misbehave("slow_bytes", on="facts", chunks=600, pause_s=0.2)
    notebook.leave_the_editor()
    notebook.focus_with_tab(refresh)
    notebook.page.keyboard.press("Space")
    expect(status).to_have_text("US_EMPLOYMENT: refreshing")
    notebook.page.keyboard.press("Tab")
    notebook.page.keyboard.press("Enter")
    expect(status).to_contain_text("cancelled; showing data from")
    tenant.behave()
    tenant.misbehave("error_503", on="any")
    notebook.page.keyboard.press("Shift+Tab")
    notebook.page.keyboard.press("Enter")
    expect(status).to_contain_text("SAC did not answer; showing data from")
    expect(panel.get_by_role("alert")).to_contain_text("from an earlier refresh")
    expect(panel.get_by_role("row")).to_have_count(11)
    expect(chart).to_be_visible()

    # The side panel is here, too, with the same models and the active cell of this notebook.
    tenant.behave()
    notebook.page.wait_for_function("jupyterapp.commands.hasCommand('sacnb:show')")
    notebook.page.evaluate("jupyterapp.commands.execute('sacnb:show')")
    side = notebook.page.locator("#sacnb-panel")
    expect(side.get_by_role("status")).to_have_text(re.compile(r"^\d+ models; choose one$"))
    side.get_by_role("treeitem").filter(has_text="US_EMPLOYMENT").click()
    expect(side.get_by_role("treeitem", name="Sector", exact=True)).to_be_visible()
    notebook.page.keyboard.press("Enter")  # inserts the code of the model, as the button does
    expect(side.get_by_role("status")).to_have_text("Code inserted into the active cell.")
    notebook.check_access(side)
