"""The side panel in JupyterLab: tokens, the tree by keyboard, a refresh, and code in the notebook."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sacnb.lab
from sacnb.sandbox import Sandbox

TIME = r"\d\d:\d\d UTC\S*"


def show_panel(notebook: Any) -> Any:
    """Show the panel, as its command does, and wait for its lists."""
    notebook.page.wait_for_function("jupyterapp.commands.hasCommand('sacnb:show')")
    notebook.page.evaluate("jupyterapp.commands.execute('sacnb:show')")
    panel = notebook.page.locator("#sacnb-panel")
    panel.get_by_role("status").get_by_text(re.compile(r"^\d+ models; choose one$")).wait_for()
    return panel


def read_part(name: str) -> str:
    """Return a script of the panel."""
    folder = Path(sacnb.lab.__file__).parent / "share/jupyter/labextensions/sacnb/static"
    return (folder / name).read_text(encoding="utf-8")


def set_width(page: Any, width: int) -> None:
    """Drag the border between the side bar and the notebook."""
    handle = page.locator("#jp-main-split-panel > .lm-SplitPanel-handle:not(.lm-mod-hidden)").first.bounding_box()
    left = page.locator("#sacnb-panel").bounding_box()["x"]
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 300)
    page.mouse.down()
    page.mouse.move(left + width, handle["y"] + 300, steps=4)
    page.mouse.up()


def code_of(notebook: Any) -> list[str]:
    return notebook.page.evaluate(
        "jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.sharedModel.getSource())"
    )


def test_from_the_first_look_to_code_in_the_notebook(
    open_notebook: Callable[..., Any], tenant: Sandbox, expect: Any
) -> None:
    notebook = open_notebook(["# the first cell", "# the second cell"])
    page, press = notebook.page, notebook.page.keyboard.press
    page.set_viewport_size({"width": 1000, "height": 760})
    notebook.show("light")
    page.locator('.jp-SideBar [data-id="sacnb-panel"]').click()
    panel = show_panel(notebook)
    status, search = panel.get_by_role("status"), panel.get_by_role("searchbox")
    items = panel.get_by_role("treeitem")
    expect(panel.locator(".sacnb-token")).to_have_text(re.compile(f"^Token valid until {TIME}$"))
    expect(search).to_be_focused()

    # Search, and down to the members, with the keyboard alone.
    page.keyboard.type("employment")
    expect(items).to_have_count(1)
    press("ArrowDown")
    expect(items.first).to_be_focused()
    press("ArrowRight")
    expect(items.nth(1)).to_be_visible()
    expect(items.first).to_have_attribute("aria-expanded", "true")
    press("s")
    expect(page.locator(":focus")).to_contain_text("Sector")
    press("ArrowRight")
    member = items.filter(has_text="Construction")
    expect(member).to_have_attribute("aria-level", "6")  # below three sums
    press("Home")
    expect(items.first).to_be_focused()
    press("ArrowLeft")
    expect(items).to_have_count(1)
    press("ArrowRight")
    expect(member).to_be_visible()

    # Download: how far it is, stopped by a click, then to its end.
    tenant.misbehave("slow_bytes", on="facts", chunks=8, pause_s=0.3)
    panel.get_by_role("button", name="Refresh", exact=True).click()
    expect(status).to_have_text(re.compile(r"^US_EMPLOYMENT: \d+ of [\d,]+ rows"))
    expect(panel.get_by_role("progressbar")).to_be_visible()
    notebook.picture("side_panel_refreshing", panel)
    panel.get_by_role("button", name="Cancel", exact=True).click()
    expect(status).to_have_text("US_EMPLOYMENT: cancelled; what is cached stays")
    tenant.behave()
    panel.get_by_role("button", name="Refresh", exact=True).click()
    expect(status).to_have_text(re.compile(rf"^US_EMPLOYMENT: fresh, [\d,]+ rows, {TIME}$"))
    expect(items.first).to_contain_text(re.compile(r"[\d,]+ rows, \d+ (second|minute)s? old"))

    # A new token, and nothing in the panel keeps anybody out, in the light and in the dark.
    issued = tenant.counts["tokens_issued"]
    panel.get_by_role("button", name="Renew token").click()
    expect(panel.locator(".sacnb-token")).to_have_text(re.compile(f"^Token valid until {TIME}$"))
    assert tenant.counts["tokens_issued"] == issued + 1
    member.click()
    notebook.look(panel, "side_panel")
    notebook.show("light")
    notebook.picture("side_panel_lab", page.locator("#main"), scale="css")
    if notebook.pictures is not None and notebook.pictures.name != "pictures":  # to look at, and not for the documents
        for width in (420, 230):
            set_width(page, width)
            for theme in ("dark", "light"):
                notebook.show(theme)
                notebook.picture(f"side_panel_{theme}_{width}", panel)
    set_width(page, 230)
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth"), "something is cut off"
    set_width(page, 320)

    # Code for a member goes to the cursor of the active cell, and runs; a model is dragged into the other one.
    page.locator(".jp-CodeCell").first.locator(".cm-content").click()
    press("Control+A")
    press("Delete")
    panel.get_by_role("button", name="Insert code", exact=True).click()
    expect(status).to_have_text("Code inserted into the active cell.")
    first, second = code_of(notebook)
    assert first.splitlines()[-2:] == ['result = model.facts(where={"Sector": "20"}).fetch()', "result.polars()"]
    assert second == "# the second cell"
    items.first.drag_to(page.locator(".jp-CodeCell").nth(1).locator(".cm-content"))
    page.wait_for_function(
        "jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.getSource().includes('model.refresh(')"
    )
    notebook.run_all()
    expect(page.locator(".jp-CodeCell").first.locator(".jp-OutputArea-output").last).to_contain_text("Employees")

    # Dropped beside the cells, code gets a cell of its own.
    items.first.drag_to(page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt"))
    page.wait_for_function("jupyterapp.shell.currentWidget.content.widgets.length === 3")
    assert code_of(notebook)[2].endswith("result.polars()")

    # Another tenant is looked at while a refresh runs, which is there again afterwards.
    tenant.misbehave("slow_bytes", on="facts", chunks=8, pause_s=0.3)
    items.filter(has_text="US_EMPLOYMENT").first.click()
    panel.get_by_role("button", name="Refresh", exact=True).click()
    expect(status).to_have_text(re.compile(r"^US_EMPLOYMENT: \d+ of [\d,]+ rows"))
    cancel = panel.get_by_role("button", name="Cancel", exact=True)
    panel.get_by_label("Tenant").select_option("other")
    expect(status).to_have_text(re.compile(r"^\d+ models; choose one$"))
    expect(panel.get_by_role("progressbar")).to_be_hidden()
    expect(cancel).to_have_attribute("aria-disabled", "true")
    panel.get_by_label("Tenant").select_option("")
    expect(panel.get_by_role("progressbar")).to_be_visible()
    expect(cancel).to_have_attribute("aria-disabled", "false")
    cancel.click()
    expect(status).to_have_text("US_EMPLOYMENT: cancelled; what is cached stays")
    tenant.behave()

    # SAC is away: the panel says so, and what to do.
    tenant.misbehave("error_503", on="api")
    panel.get_by_role("button", name="Read the lists again").click()
    expect(panel.get_by_role("alert")).to_contain_text("503")
    notebook.check_access(panel)
    tenant.behave()
    panel.get_by_role("button", name="Read the lists again").click()
    expect(panel.get_by_role("alert")).to_be_hidden()
    refused = [said for said in notebook.errors if "502" in said]  # the browser's own line about the answer
    notebook.errors[:] = [said for said in notebook.errors if said not in refused]
    assert len(refused) == 1


def test_a_refresh_is_followed_whichever_tenant_is_shown_and_while_the_server_is_away(browser: Any) -> None:
    """What the panel hears of two refreshes: the second was started in another tab, and its server starts again."""
    page = browser.new_page()
    page.add_script_tag(content=f"{read_part('jobs.js').replace('export class', 'window.Jobs = class')}")
    heard = page.evaluate(
        """async () => {
            const heard = [], waits = [];
            const away = Object.assign(new Error("away"), {status: 0});
            const gone = Object.assign(new Error("gone"), {status: 404});
            const a = {id: "a", profile: "one", state: "running"};
            const answers = {a: [{...a, rows: 7}, away, {...a, state: "done"}], b: [gone]};
            const ask = async (method, path) => {
                const answer = answers[path.slice("jobs/".length)].shift();
                if (answer instanceof Error) throw answer;
                return answer;
            };
            const jobs = new Jobs(ask, {
                show: (job, error) => heard.push([job.profile, job.rows ?? 0, error && error.message]),
                end: (job) => heard.push([job.profile, job.state]),
            }, async (milliseconds) => { waits.push(milliseconds); });
            const first = jobs.follow(a);
            jobs.adopt([a, {id: "b", profile: "two", state: "running"}]);
            await first;
            const [one, again, two] = [jobs.takeEnded("one"), jobs.takeEnded("one"), jobs.takeEnded("two")];
            return {heard, waits, ended: [one.state, again, two.error.message], left: jobs.of("one") || jobs.of("two")};
        }"""
    )
    page.close()
    assert [one for one in heard["heard"] if one[0] == "one"] == [
        ["one", 0, None],
        ["one", 7, None],
        ["one", 7, "away"],
        ["one", "done"],
    ]
    assert [one for one in heard["heard"] if one[0] == "two"] == [["two", 0, None], ["two", "failed"]]
    assert sorted(heard["waits"]) == [500, 500, 500, 3000]
    assert heard["ended"][:2] == ["done", None]
    assert "was started again" in heard["ended"][2]
    assert heard["left"] is None


TENANT = {"profile": "prod", "tenant": "acme.example", "token": {"state": "absent"}}
REFUSED = {"message": "The token endpoint answered 401.", "hint": "Look at SAC_CLIENT_SECRET. " + "It is long. " * 60}
# What the routes answer (none: the server is away), the status, and the words that say what to do.
STATES = {
    "server": ({}, "The tenants were not loaded", "Look at the terminal in which Jupyter was started."),
    "tenants": ({"status": {"tenants": [], "jobs": []}}, "No tenant yet", "run sacnb init --profile NAME"),
    "models": (
        {"status": {"tenants": [TENANT], "jobs": []}, "models": {"models": [], "total": 0}},
        "No models",
        "Ask your administrator",
    ),
    "secret": (
        {"status": {"tenants": [TENANT], "jobs": []}, "models": {"error": REFUSED}},
        "The models were not loaded",
        "Look at SAC_CLIENT_SECRET.",
    ),
}
ACTIVATE = """
import {activate} from "/panel.js";
const given = {
  place: location.origin, tracker: {}, notebook: {}, coreutils: {URLExt: {join: (...parts) => parts.at(-1)}},
  widgets: {Widget: class { constructor({node}) { this.node = node; this.title = {}; } onAfterShow() {} }},
  services: {ServerConnection: {makeRequest: async (path) => {
    const body = ANSWERS[path.split("?")[0]];
    if (!body) throw new Error("away");
    return {ok: !body.error, status: body.error ? 503 : 200, json: async () => body};
  }}},
};
const shell = {add: (side) => { document.body.append(side.node); side.onAfterShow({}); }};
activate({serviceManager: {serverSettings: {baseUrl: "/"}}, shell, commands: {addCommand() {}}}, given);
"""


@pytest.mark.parametrize("state", STATES)
def test_a_panel_with_nothing_to_show_says_what_to_do(browser: Any, expect: Any, state: str) -> None:
    """No Jupyter is needed for this: the routes are answered here."""
    answers, status, remedy = STATES[state]
    page = browser.new_page(viewport={"width": 240, "height": 500}, forced_colors="active")
    script = ACTIVATE.replace("ANSWERS", json.dumps(answers))
    body = f'<body style="margin:0;height:100vh"><script type="module">{script}</script>'

    def answer(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        kind = {"js": "text/javascript", "css": "text/css"}.get(name.rpartition(".")[2], "text/html")
        route.fulfill(body=read_part(name) if name else body, content_type=kind)

    page.route("http://panel.test/**", answer)
    page.goto("http://panel.test/")
    expect(page.get_by_role("status")).to_have_text(status)
    expect(page.locator(".sacnb-panel")).to_contain_text(remedy)
    # However long the problem is, the buttons stay in the window, and have an edge without colours.
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_in_viewport(ratio=1)
    expect(cancel).to_have_css("border-style", "solid")
    page.close()


@pytest.mark.parametrize("broken", ["window._JUPYTERLAB.sacnb.init(null);", "window._JUPYTERLAB.sacnb.init({});"])
def test_a_container_without_packages_has_no_plugin_and_no_error(browser: Any, broken: str) -> None:
    """A Lab that shares nothing that the panel knows goes without the panel."""
    page = browser.new_page()
    page.add_script_tag(content=read_part("remoteEntry.js"))
    found = page.evaluate(
        f"""async () => {{
            {broken}
            const module = (await window._JUPYTERLAB.sacnb.get('./extension'))();
            return [Object.hasOwn(module, '__esModule'), module.default.map(one => one.optional.length)];
        }}"""
    )
    page.close()
    assert found == [True, [0]]
