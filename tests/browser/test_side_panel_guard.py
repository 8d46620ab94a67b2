"""JupyterLab and Notebook 7 start, whatever is wrong with the files of the side panel or with its server part.

``make labs`` runs these in the oldest and the newest; ``make test`` runs one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Server, running_jupyter

from sacnb.sandbox import Sandbox

# The file, and what the server sends in its place: a status and a text; None for no answer at all.
BROKEN: dict[str, tuple[str, tuple[int, str] | None]] = {
    "no container": ("remoteEntry.js", (404, "")),
    "a container that does not parse": ("remoteEntry.js", (200, "}")),
    "a container that throws": ("remoteEntry.js", (200, "throw new Error('of the test');")),
    "a container that is empty": ("remoteEntry.js", (200, "")),
    "no panel": ("panel.js", (404, "")),
    "a panel that does not parse": ("panel.js", (200, "}")),
    "a panel that throws": ("panel.js", (200, "throw new Error('of the test');")),
    "a panel that has another form": ("panel.js", (200, "export const show = 1;")),
    "a panel that fails to start": (
        "panel.js",
        (200, "export function activate() { throw new Error('of the test'); }"),
    ),
    "a panel that never arrives": ("panel.js", None),
    "a panel without a part": ("tree.js", (404, "")),
    "no look": ("panel.css", (404, "")),
}
SOON = "a panel that fails to start"
CASES = [pytest.param(name, marks=[] if name == SOON else [pytest.mark.long]) for name in BROKEN]


@pytest.fixture
def open_place(context: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Opens JupyterLab or Notebook 7 in a tab of its own, and waits until it has started."""
    pages: list[Any] = []

    def open_place(place: str, at: Server = server, *, spoil: Callable[[Any], object] = lambda page: None) -> Any:
        page = context.new_page()
        pages.append(page)
        page.said = []
        page.on("console", lambda said: page.said.append(said.text))
        spoil(page)
        page.goto(f"{at.url}/{place}?reset&token={at.token}")
        page.wait_for_function("window.jupyterapp?.restored.then(() => true)")
        page.get_by_role("menuitem", name="File", exact=True).wait_for()
        page.locator(".jp-DirListing-content").first.wait_for()
        return page

    yield open_place
    for page in pages:
        page.close()


@pytest.mark.parametrize("place", ["lab", pytest.param("tree", marks=pytest.mark.long)])
@pytest.mark.parametrize("broken", CASES)
def test_jupyter_starts_without_a_file_of_the_panel(open_place: Callable[..., Any], broken: str, place: str) -> None:
    file, answer = BROKEN[broken]

    def spoil(page: Any) -> None:
        def send(route: Any) -> None:
            if answer is not None:
                status, text = answer
                route.fulfill(status=status, body=text, content_type="text/javascript")

        page.route(f"**/sacnb/static/{file}*", send)

    page = open_place(place, spoil=spoil)
    assert page.locator("#sacnb-panel").count() == (file == "panel.css")
    if file == "panel.js" and answer is not None:
        assert any("The side panel of sacnb is not shown" in said for said in page.said)


@pytest.mark.long
@pytest.mark.parametrize("place", ["lab", "tree"])
def test_without_its_server_part_the_panel_says_what_to_do(
    open_place: Callable[..., Any], without_sacnb: Server, expect: Any, place: str
) -> None:
    page = open_place(place, without_sacnb)
    page.wait_for_function("jupyterapp.commands.hasCommand('sacnb:show')")
    page.evaluate("jupyterapp.commands.execute('sacnb:show')")
    said = page.locator("#sacnb-panel").get_by_role("alert")
    expect(said).to_contain_text("The server part of sacnb is not running.")
    expect(said).to_contain_text("jupyter server extension enable sacnb.lab")


@pytest.fixture(scope="module")
def without_sacnb(tenant: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which ``jupyter server extension disable sacnb.lab`` has run."""
    base: Path = tmp_path_factory.mktemp("without")
    file = base / "config" / "jupyter_server_config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"sacnb.lab": False}}}), encoding="utf-8")
    with running_jupyter(tenant, base) as started:
        yield started
