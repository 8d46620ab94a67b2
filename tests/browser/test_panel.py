"""The refresh panel in JupyterLab: what a user sees, clicks, and reaches without a mouse."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from sacnb.sandbox import Sandbox

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
NAME = "02_refresh_panel"


@pytest.fixture
def expect(chromium: str) -> Any:
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def notebook(open_notebook: Callable[[str], Any], expect: Any) -> Any:
    opened = open_notebook(NAME)
    opened.run_all()
    expect(opened.panel).to_have_count(1)
    expect(opened.panel).to_contain_text("US_EMPLOYMENT: not refreshed yet")
    return opened


def test_a_click_shows_the_rows_the_status_and_the_chart(notebook: Any, expect: Any) -> None:
    expect(notebook.page.get_by_text("The chart appears here after the first refresh.").last).to_be_visible()
    notebook.button("Refresh").click()
    expect(notebook.panel.get_by_role("status")).to_have_text(
        re.compile(r"^US_EMPLOYMENT: fresh, 360 rows, \d\d:\d\d$")
    )
    expect(notebook.panel.get_by_role("row")).to_have_count(11)
    expect(notebook.panel.get_by_role("cell", name="2006-01-01").first).to_be_visible()
    expect(notebook.panel).to_contain_text("Token: valid until")
    expect(notebook.page.get_by_role("img", name="Line chart. US_EMPLOYMENT: Employees.")).to_be_visible()
    assert notebook.errors == []


def test_a_slow_pull_is_stopped_by_a_click(notebook: Any, tenant: Sandbox, expect: Any) -> None:
    tenant.misbehave("slow_bytes", on="facts", chunks=600, pause_s=0.2)
    status = notebook.panel.get_by_role("status")
    notebook.button("Refresh").click()
    expect(status).to_have_text("US_EMPLOYMENT: refreshing")
    notebook.button("Cancel").click()
    expect(status).to_have_text("US_EMPLOYMENT: stopped; there is no data yet")
    assert notebook.errors == []


def test_data_that_are_old_are_called_old(notebook: Any, tenant: Sandbox, expect: Any) -> None:
    status = notebook.panel.get_by_role("status")
    notebook.button("Refresh").click()
    expect(status).to_contain_text("fresh, 360 rows")
    tenant.misbehave("error_503", on="any")
    notebook.button("Refresh").click()
    expect(status).to_have_text(
        re.compile(r"^US_EMPLOYMENT: SAC did not answer; showing data from \d\d:\d\d, .* old at \d\d:\d\d$")
    )
    expect(notebook.panel.get_by_role("alert")).to_contain_text("503")
    expect(notebook.panel.get_by_role("row")).to_have_count(11)
    tenant.behave()
    notebook.button("Refresh").click()
    expect(status).to_contain_text("fresh, 360 rows")
    expect(notebook.panel.get_by_role("alert")).to_have_count(0)
    assert notebook.errors == []


def test_everything_is_done_with_the_keyboard_alone(notebook: Any, expect: Any) -> None:
    """From the cell above the panel, with Tab; the focus stays where it is while the panel changes around it."""
    page = notebook.page
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    page.keyboard.press("Escape")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "document.activeElement.tagName == 'BUTTON' ? document.activeElement.innerText.trim() : ''"
        )
        reached += [name] if name in {"Refresh", "Cancel", "Renew token"} else []
        if name == "Renew token":
            break
    assert reached == ["Refresh", "Cancel", "Renew token"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(notebook.button("Refresh")).to_be_focused()
    page.keyboard.press("Space")
    expect(notebook.panel.get_by_role("status")).to_contain_text("fresh, 360 rows")
    expect(notebook.button("Refresh")).to_be_focused()
    assert notebook.errors == []


def test_nothing_in_the_panel_keeps_anybody_out(notebook: Any, expect: Any, tmp_path: Path) -> None:
    """By the rules of axe-core, in the light and in the dark. SACNB_PICTURES=1 keeps what it looks like."""
    folder = PICTURES if os.environ.get("SACNB_PICTURES") else tmp_path
    notebook.button("Refresh").click()
    expect(notebook.panel.get_by_role("status")).to_contain_text("fresh, 360 rows")
    notebook.page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    # JupyterLab's body is 0 pixels high and hides what is beyond: axe-core takes all text for invisible.
    notebook.page.evaluate("document.body.style.height = '100vh'")
    for theme in ("light", "dark"):
        notebook.show(theme)
        notebook.panel.screenshot(path=folder / f"panel_{theme}.png")
        found = notebook.panel.evaluate("panel => axe.run(panel)")
        assert {"button-name", "color-contrast"} <= {rule["id"] for rule in found["passes"]}  # it has looked
        serious = [rule for rule in found["violations"] if rule["impact"] in {"serious", "critical"}]
        assert serious == [], json.dumps([(r["id"], [n["html"] for n in r["nodes"]]) for r in serious], indent=1)
    assert notebook.errors == []
