"""The refresh panel in Notebook 7, whose page is another one than JupyterLab's, mostly with the keyboard."""

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

    # With the keyboard: stop a slow pull, renew the token, and see that the data are old when SAC is away. The focus
    # stays where it is while the panel changes around it; Enter and Space do what a click does.
    cancel, renew = (panel.get_by_role("button", name=name, exact=True) for name in ("Cancel", "Renew token"))
    press = notebook.page.keyboard.press
    tenant.misbehave("slow_bytes", on="facts", chunks=600, pause_s=0.2)
    notebook.leave_the_editor()
    notebook.focus_with_tab(refresh)
    press("Space")
    expect(status).to_have_text("US_EMPLOYMENT: refreshing")
    expect(refresh).to_be_focused()
    press("Tab")
    expect(cancel).to_be_focused()
    press("Enter")
    expect(status).to_contain_text("cancelled; showing data from")
    expect(cancel).to_be_focused()
    tenant.behave()
    press("Tab")
    expect(renew).to_be_focused()
    tokens = tenant.counts["tokens_issued"]
    token = panel.get_by_text(re.compile("^Token valid until"))
    in_an_hour = token.inner_text()
    tenant.misbehave("token_lifetime", seconds=600)
    press("Enter")
    expect(token).not_to_have_text(in_an_hour)
    in_ten_minutes = token.inner_text()
    tenant.behave()
    press("Space")
    expect(token).not_to_have_text(in_ten_minutes)
    expect(renew).to_be_focused()
    assert tenant.counts["tokens_issued"] == tokens + 2
    press("Shift+Tab")
    press("Shift+Tab")
    expect(refresh).to_be_focused()
    press("Space")
    expect(status).to_contain_text("fresh, 360 rows")
    expect(refresh).to_be_focused()
    tenant.misbehave("error_503", on="any")
    press("Enter")
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
