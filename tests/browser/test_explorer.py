"""The explorer in JupyterLab: from the choice of a model to code that gives the same frame elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

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


def test_a_model_is_chosen_looked_at_and_taken_away_as_code(
    open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any
) -> None:
    """The choices with the keys that JupyterLab leaves to lists: letters and plain arrows are its own commands."""
    notebook = open_notebook(CELLS)
    notebook.show("light")
    notebook.run_all()
    explorer = output(notebook)
    status = explorer.get_by_role("status")
    chart = explorer.get_by_role("img")
    press, write = notebook.page.keyboard.press, notebook.page.keyboard.type

    def control(name: str) -> Any:
        return explorer.get_by_label(name, exact=True)

    def go_to(name: str) -> Any:
        part = control(name).or_(explorer.get_by_role("button", name=name, exact=True))
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
    notebook.picture("explorer_1_at_first", explorer, scale="css")
    notebook.leave_the_editor()
    notebook.focus_with_tab(control("Model"))
    choose("Model", "US employment")
    expect(control("Model").locator("option:checked")).to_have_text(MODEL)
    expect(status).to_have_text("US_EMPLOYMENT: choose, then Show")
    expect(control("Dimensions").get_by_role("option")).to_have_text(["Version", "Date", "Sector"])
    expect(control("Measures").get_by_role("option")).to_have_text(["Employees"])
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
    members = control("Members")
    expect(members.get_by_role("option", name="Mining")).to_have_count(0)
    go_to("Members")
    press("End")
    expect(explorer).to_contain_text("Sector: Nondurable goods (32)")
    press("Control+ArrowUp")
    press("Control+Space")
    expect(explorer).to_contain_text("Sector: Durable goods (31), Nondurable goods (32)")
    expect(members).to_be_focused()
    press("Control+ArrowDown")
    press("Control+Space")
    expect(explorer).not_to_contain_text("Nondurable goods (32),")
    press("Shift+Tab")
    expect(control("Search")).to_be_focused()
    press("Control+A")
    write("construction")
    expect(members.locator("option:checked")).to_contain_text("Durable goods (31)")  # what was chosen stays
    members.get_by_role("option", name="Construction (20)").click(modifiers=["Control"])
    expect(explorer).to_contain_text("Sector: Construction (20), Durable goods (31)")
    go_to("Since")
    write("2010")
    go_to("Until")
    write("2012")
    choose("Grain", "quarter")
    choose("Made by", "mean")
    expect(chart).to_have_count(0)
    show = go_to("Show")
    press("Enter")

    expect(status).to_have_text("US_EMPLOYMENT: 24 rows")
    expect(show).to_be_focused()
    expect(explorer.get_by_role("row")).to_have_count(11)
    expect(explorer.get_by_role("row").nth(1)).to_contain_text("2010-01-01")
    expect(chart).to_have_attribute("alt", re.compile("^Line chart. US_EMPLOYMENT: Employees. By Sector: "))
    expect(notebook.page.locator(".jp-CodeCell")).to_have_count(len(CELLS))  # no key was a command
    notebook.look(explorer, "explorer", scale="css")

    # Another choice is another chart.
    drawn = chart.get_attribute("src")
    control("Dimensions").select_option(["Date", "Sector"])
    control("Grain").select_option("year")
    show.click()
    expect(status).to_have_text("US_EMPLOYMENT: 6 rows")
    expect(chart).not_to_have_attribute("src", drawn)

    # The code is copied, and pasted into the next cell.
    code = control("Python").input_value()
    assert "dims=['Date', 'Sector']" in code
    copy = go_to("Copy code")
    press("Space")
    expect(explorer.get_by_text("Copied.", exact=True)).to_be_visible()
    expect(copy).to_be_focused()
    cell, check = notebook.page.locator(".jp-CodeCell").nth(1), notebook.page.locator(".jp-CodeCell").nth(2)
    cell.locator(".cm-content").click()
    expect(cell.locator(".cm-content")).to_be_focused()
    press("Control+V")
    expect(cell).to_contain_text("result.tidy(grain='year', agg='mean').frame")
    notebook.run_here(cell)
    notebook.run_here(check)
    expect(check).to_contain_text("(6, True, (('Version', ('public.Actual',)), ('Sector', ('20', '31'))))")

    # A browser that forbids it leaves the code selected.
    notebook.page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true});"
        "document.execCommand = () => false"
    )
    copy.click()
    expect(explorer).to_contain_text("The code is selected: press Ctrl+C")
    expect(control("Python")).to_be_focused()
    assert notebook.page.evaluate("getSelection().toString()") == code
    notebook.page.evaluate("delete navigator.clipboard; delete document.execCommand")  # the page serves further tests
