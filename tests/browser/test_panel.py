"""The refresh panel in JupyterLab: what a user sees, clicks, and reaches without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.small import us_employment
from sacnb.sandbox.relation import frame_relation

NAME = "02_refresh_panel"
TIME = r"\d\d:\d\d"


@pytest.fixture
def change_the_numbers(tenant: Sandbox) -> Iterator[Callable[[], None]]:
    """Doubles all facts of the model that the panel asks for."""
    model = us_employment()
    names = [column.name for column in model.facts.columns]
    facts = model.facts.rows(pl.int_range(model.facts.row_count, dtype=pl.Int64, eager=True), names)
    other = facts.with_columns((pl.col("Employees") * 2).cast(facts.schema["Employees"]))
    yield lambda: tenant.add_model(replace(model, facts=frame_relation(model.facts.columns, other)))
    tenant.add_model(model)


def test_a_panel_from_its_first_refresh_to_the_day_when_sac_is_away(
    open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any, change_the_numbers: Callable[[], None]
) -> None:
    notebook = open_notebook(NAME)
    notebook.show("light")
    notebook.run_all()
    panel = notebook.output("Refresh")
    status = panel.get_by_role("status")
    refresh = panel.get_by_role("button", name="Refresh", exact=True)
    chart = notebook.page.get_by_role("img", name="Line chart. US_EMPLOYMENT: Employees.")

    expect(status).to_have_text("US_EMPLOYMENT: not refreshed yet")
    expect(panel).to_contain_text("Token valid until")
    expect(chart).to_have_count(0)
    expect(panel.get_by_role("table")).to_have_count(0)
    assert panel.bounding_box()["height"] < 90  # one row of actions and the status, and no empty parts
    notebook.picture("panel_1_at_first", panel)

    # A slow pull says how far it is, and is stopped by a click.
    tenant.misbehave("slow_bytes", on="facts", chunks=8, pause_s=0.3)
    refresh.click()
    expect(status).to_have_text("US_EMPLOYMENT: refreshing")
    expect(panel).to_contain_text(re.compile(r"\d+ of 360 rows, [2-8] pages, \d+ rows/s, about \d+ s left"))
    notebook.picture("panel_2_refreshing", panel)
    panel.get_by_role("button", name="Cancel", exact=True).click()
    expect(status).to_have_text("US_EMPLOYMENT: cancelled; no data yet")
    notebook.picture("panel_3_stopped", panel)
    tenant.behave()

    # It goes on where it was stopped, and says so: status, rows, and the chart.
    refresh.click()
    expect(status).to_have_text(
        re.compile(rf"^US_EMPLOYMENT: resumed, 360 rows; showing data from {TIME} UTC\S*, .* old at {TIME}$")
    )
    refresh.click()
    expect(status).to_have_text(re.compile(rf"^US_EMPLOYMENT: fresh, 360 rows, {TIME} UTC\S*$"))
    expect(panel.get_by_role("row")).to_have_count(11)
    expect(panel.get_by_role("cell", name="2006-01-01").first).to_be_visible()
    expect(panel.get_by_role("row").nth(1)).to_contain_text("7,651.3")
    expect(chart).to_be_visible()
    drawn = chart.get_attribute("src")
    assert chart.evaluate("chart => chart.decode().then(() => chart.naturalWidth)") > 300

    # Nothing in it keeps anybody out, in the light and in the dark; the chart follows the theme.
    notebook.look(panel, "panel")
    for theme in ("dark", "light"):
        if theme != notebook.theme:  # the look ends in the dark
            notebook.show(theme)
        expect(panel.locator(f".sacnb-{theme}")).to_be_visible()
        expect(chart).to_have_count(1)

    # Where there is room, the chart is beside the table, and else below it.
    places = [panel.get_by_role("table"), chart]
    assert places[0].bounding_box()["y"] + 100 < places[1].bounding_box()["y"]
    notebook.page.set_viewport_size({"width": 1500, "height": 2000})
    notebook.picture("panel_wide", panel)
    assert places[0].bounding_box()["x"] + 100 < places[1].bounding_box()["x"]
    notebook.page.set_viewport_size({"width": 1000, "height": 2000})

    # SAC is unreachable: the data stays, and table and chart are marked as old.
    tenant.misbehave("error_503", on="any")
    refresh.click()
    expect(status).to_have_text(
        re.compile(rf"^US_EMPLOYMENT: SAC did not answer; showing data from {TIME} UTC\S*, .* old at {TIME}$")
    )
    problem = panel.get_by_role("alert")
    expect(problem).to_contain_text("The data below is from an earlier refresh.")
    expect(problem.get_by_text("503")).to_be_hidden()
    expect(panel.get_by_role("row").nth(1)).to_contain_text("7,651.3")
    expect(chart).to_have_attribute("alt", re.compile("SAC did not deliver; showing the data of"))
    notebook.picture("panel_5_old", panel)
    notebook.check_access(panel)
    problem.get_by_text("Details", exact=True).click()
    expect(problem.get_by_text("503")).to_be_visible()

    # It is back, with other numbers: another table, and another chart.
    tenant.behave()
    change_the_numbers()
    refresh.click()
    expect(status).to_have_text(re.compile(rf"^US_EMPLOYMENT: fresh, 360 rows, {TIME} UTC\S*$"))
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(panel.get_by_role("row").nth(1)).to_contain_text("15,302.6")
    expect(chart).to_have_attribute("alt", re.compile(r"from 8,882\b.* to 18,043\b"))
    expect(chart).not_to_have_attribute("src", drawn)
