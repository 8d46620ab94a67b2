"""The explorer in JupyterLab: from the choice of a model to code that gives the same frame elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from sacnb.sandbox import Sandbox

CELLS = [
    "import sacnb\n\nsac = sacnb.connect()\nexplorer = sac.explore()\nexplorer",
    "",  # here goes the code
    "(len(frame), frame.equals(explorer.frame), explorer.query.where) if explorer.result else 'nothing yet'",
]
CONTROLS = [
    *("Model", "Dimensions", "Measures", "Versions", "Filter by", "Search", "Members", "Since", "Until"),
    *("Grain", "Made by", "Show", "Cancel", "Copy code", "Python"),
]
NAME_OF_THE_FOCUS = "(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()"
MODEL = "US employment by sector (US_EMPLOYMENT)"


def output(notebook: Any) -> Any:
    """Return the explorer, which has its list of models from the first moment."""
    return notebook.page.locator(".jp-OutputArea-output").filter(has=notebook.page.get_by_label("Model", exact=True))


@pytest.fixture
def notebook(open_notebook: Callable[..., Any]) -> Any:
    notebook = open_notebook(CELLS)
    notebook.show("light")
    notebook.run_all()
    return notebook


def test_a_model_is_chosen_looked_at_and_taken_away_as_code(notebook: Any, tenant: Sandbox, expect: Any) -> None:
    explorer = output(notebook)
    status = explorer.get_by_role("status")
    chart = explorer.get_by_role("img")

    def control(name: str) -> Any:
        return explorer.get_by_label(name, exact=True)

    expect(status).to_have_text("choose a model")
    notebook.picture("explorer_1_at_first", explorer, scale="css")
    control("Model").select_option(MODEL)
    expect(status).to_have_text("US_EMPLOYMENT: choose, then Show")
    expect(control("Dimensions").get_by_role("option")).to_have_text(["Version", "Date", "Sector"])
    expect(control("Measures").get_by_role("option")).to_have_text(["Employees"])
    control("Versions").select_option("Actual (public.Actual)")
    control("Filter by").select_option("Sector")
    expect(explorer).to_contain_text("21 of 21 members")
    control("Search").fill("durable")
    expect(control("Members").get_by_role("option", name="Mining")).to_have_count(0)
    control("Members").get_by_role("option", name="Durable goods (31)").click()
    control("Search").fill("construction")
    expect(control("Members").locator("option:checked")).to_contain_text("Durable goods (31)")  # what was chosen stays
    control("Members").get_by_role("option", name="Construction (20)").click(modifiers=["Control"])
    expect(explorer).to_contain_text("Sector: Construction (20), Durable goods (31)")
    control("Since").fill("2010")
    control("Until").fill("2012")
    control("Grain").select_option("quarter")
    control("Made by").select_option("mean")
    expect(chart).to_have_count(0)
    explorer.get_by_role("button", name="Show", exact=True).click()

    expect(status).to_have_text("US_EMPLOYMENT: 24 rows")
    expect(explorer.get_by_role("row")).to_have_count(11)
    expect(explorer.get_by_role("row").nth(1)).to_contain_text("2010-01-01")
    expect(chart).to_have_attribute("alt", re.compile("^Line chart. US_EMPLOYMENT: Employees. By Sector: "))
    for theme in ("dark", "light"):
        notebook.show(theme)
        notebook.picture(f"explorer_{theme}", explorer, scale="css")
        notebook.check_access(explorer)

    # Another choice is another chart.
    drawn = chart.get_attribute("src")
    control("Dimensions").select_option(["Date", "Sector"])
    control("Grain").select_option("year")
    explorer.get_by_role("button", name="Show", exact=True).click()
    expect(status).to_have_text("US_EMPLOYMENT: 6 rows")
    expect(chart).not_to_have_attribute("src", drawn)

    # The code is copied, and pasted into the next cell.
    code = control("Python").input_value()
    assert "dims=['Date', 'Sector']" in code
    copy = explorer.get_by_role("button", name="Copy code", exact=True)
    copy.click()
    expect(explorer.get_by_text("Copied.", exact=True)).to_be_visible()
    expect(copy).to_be_focused()
    cell, check = notebook.page.locator(".jp-CodeCell").nth(1), notebook.page.locator(".jp-CodeCell").nth(2)
    cell.locator(".cm-content").click()
    expect(cell.locator(".cm-content")).to_be_focused()
    notebook.page.keyboard.press("Control+V")
    expect(cell).to_contain_text("result.tidy(grain='year', agg='mean').frame")
    notebook.run_here(cell)
    notebook.run_here(check)
    expect(check).to_contain_text("(6, True, (('Version', ('public.Actual',)), ('Sector', ('20', '31'))))")

    # A browser that forbids it leaves the code selected.
    notebook.spoils_its_page = True
    notebook.page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false"
    )
    copy.click()
    expect(explorer).to_contain_text("The code is selected: press Ctrl+C")
    expect(control("Python")).to_be_focused()
    assert notebook.page.evaluate("getSelection().toString()") == code


def test_the_explorer_obeys_the_keyboard_alone(notebook: Any, expect: Any) -> None:
    """By the keys that JupyterLab leaves to lists: it takes letters and plain arrows for commands to the notebook."""
    explorer = output(notebook)
    status = explorer.get_by_role("status")
    press, write = notebook.page.keyboard.press, notebook.page.keyboard.type

    def go_to(name: str) -> Any:
        part = explorer.get_by_label(name, exact=True).or_(explorer.get_by_role("button", name=name, exact=True))
        notebook.focus_with_tab(part, at_most=len(CONTROLS))
        return part

    def choose(name: str, label: str) -> None:
        part = go_to(name)
        press("Space")
        write(label)
        press("Enter")
        expect(part.locator("option:checked")).to_contain_text(label)
        expect(part).to_be_focused()

    expect(status).to_have_text("choose a model")
    expect(explorer.get_by_role("button")).to_have_count(0)  # nothing to choose from, and no empty lists
    notebook.leave_the_editor()
    notebook.focus_with_tab(explorer.get_by_label("Model", exact=True))
    choose("Model", "US employment")
    expect(status).to_have_text("US_EMPLOYMENT: choose, then Show")
    choose("Filter by", "Sector")
    expect(explorer).to_contain_text("21 of 21 members")
    for _ in range(CONTROLS.index("Filter by")):
        press("Shift+Tab")
    reached = []
    for _ in CONTROLS:
        reached.append(notebook.page.evaluate(NAME_OF_THE_FOCUS))
        press("Tab")
    assert reached == CONTROLS
    for _ in CONTROLS:
        press("Shift+Tab")

    versions = go_to("Versions")
    press("Home")
    expect(versions.locator("option:checked")).to_have_text(["Actual (public.Actual)"])
    go_to("Search")
    write("durable")
    members = explorer.get_by_label("Members", exact=True)
    expect(members.get_by_role("option", name="Mining")).to_have_count(0)
    go_to("Members")
    press("End")
    expect(explorer).to_contain_text("Sector: Nondurable goods (32)")
    press("Control+ArrowUp")
    press("Control+Space")
    expect(explorer).to_contain_text("Sector: Durable goods (31), Nondurable goods (32)")
    expect(members).to_be_focused()
    go_to("Since")
    write("2014")
    choose("Grain", "year")
    choose("Made by", "mean")
    show = go_to("Show")
    press("Enter")
    expect(status).to_have_text("US_EMPLOYMENT: 4 rows")
    expect(show).to_be_focused()
    expect(explorer.get_by_role("img")).to_be_visible()
    go_to("Copy code")
    press("Space")
    expect(explorer.get_by_text("Copied.", exact=True)).to_be_visible()
    assert "'Sector': ['31', '32']" in explorer.get_by_label("Python", exact=True).input_value()
    expect(notebook.page.locator(".jp-CodeCell")).to_have_count(len(CELLS))  # no key was a command
