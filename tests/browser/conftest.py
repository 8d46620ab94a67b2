"""JupyterLab and Notebook 7 in a real browser, beside a sandbox that can be told to misbehave.

The browser is the system's Chromium; Playwright's own is never downloaded. Where either is missing the tests are
skipped, unless ``SACNB_BROWSER=required`` says that they must not be. ``SACNB_PICTURES=keep`` keeps the pictures that
the documents show, and ``SACNB_PICTURES=/some/folder`` puts them there. Whatever a test does: in the end no secret has
come to light, nothing has complained on the browser's console, and no other machine was asked for anything.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browsing import CLIENT_ID, CLIENT_SECRET, PATIENCE_S, ROOT, Notebook, Server, Tab, is_root, running_jupyter

import sacnb.sandbox
from sacnb.sandbox import Sandbox

PICTURES = ROOT / "docs" / "pictures"
_FLAGS = (
    *("--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [
    *([] if CHROMIUM else ["chromium"]),
    *(name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None),
]
WANTED = " and ".join(MISSING)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a browser, keep one of these tests and skip it: then pytest says so in one line."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    if ours and MISSING and os.environ.get("SACNB_BROWSER") != "required":
        reason = f"{len(ours)} browser tests are left out, since there is no {WANTED}"
        ours[0].add_marker(pytest.mark.skip(reason=reason))
        items[:] = [item for item in items if item not in ours[1:]]
        config.hook.pytest_deselected(items=ours[1:])


@pytest.fixture(scope="session")
def chromium() -> str:
    assert not MISSING, f"there is no {WANTED}, and SACNB_BROWSER=required"
    assert CHROMIUM is not None
    return CHROMIUM


@pytest.fixture(scope="session")
def tenant(chromium: str) -> Iterator[Sandbox]:
    with sacnb.sandbox.start(client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as started:
        yield started


@pytest.fixture(scope="session")
def server(tenant: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_jupyter(tenant, tmp_path_factory.mktemp("jupyter")) as started:
        yield started


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_S * 1000)
    # Chromium's own sandbox does not work for root, as whom containers run.
    flags = [*_FLAGS, *(["--no-sandbox"] if is_root() else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def expect(browser: Any) -> Any:
    from playwright.sync_api import expect

    return expect


@pytest.fixture(scope="session")
def context(browser: Any) -> Iterator[Any]:
    scale = 1.5 if os.environ.get("SACNB_PICTURES") == "keep" else 1.0  # fewer pixels to draw where nobody looks
    context = browser.new_context(
        viewport={"width": 1000, "height": 2000}, device_scale_factor=scale, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    yield context
    context.close()


@pytest.fixture(scope="session")
def tabs() -> dict[str, Tab]:
    """The open tabs, by their place."""
    return {}


@pytest.fixture
def open_notebook(
    context: Any, tabs: dict[str, Tab], server: Server, tenant: Sandbox
) -> Iterator[Callable[..., Notebook]]:
    """Opens a copy of a shipped notebook, by its name, or one of these cells; in JupyterLab, or elsewhere."""
    opened: list[Notebook] = []

    def open_notebook(source: str | list[str], *, place: str = "doc/tree") -> Notebook:
        if isinstance(source, str):
            document = nbformat.read(ROOT / "notebooks" / f"{source}.ipynb", as_version=4)
        else:
            document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in source])
            document.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        for cell in document.cells:
            if cell.cell_type == "code":
                cell.execution_count = None  # so that a number says that the cell has run here
        file = server.folder / f"notebook_{len(list(server.folder.iterdir()))}.ipynb"
        nbformat.write(document, file)
        wanted = os.environ.get("SACNB_PICTURES")
        pictures = PICTURES if wanted == "keep" else Path(wanted) if wanted else None
        is_loaded = place in tabs and not tabs[place].page.is_closed()
        if not is_loaded:
            tabs[place] = Tab(context.new_page())
        notebook = tabs[place].notebook = Notebook(tabs[place].page, file, server, pictures)
        opened.append(notebook)
        if is_loaded:
            # A list does not open in a tab that lies behind another one.
            notebook.page.bring_to_front()
            open_it = "async path => { await jupyterapp.commands.execute('docmanager:open', {path}); }"
            notebook.page.evaluate(open_it, file.name)
        else:
            notebook.page.goto(server.address(file.name, place))
        notebook.page.locator(".jp-Notebook").wait_for()
        # Before the kernel is there, "Run All" does nothing and says nothing.
        notebook.page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        )
        notebook.page.evaluate("jupyterapp.allPluginsActivated ?? jupyterapp.restored")
        # Notebook 7 may trip over its own shortcuts while it loads, long before a cell runs; that is not ours.
        notebook.errors.clear()
        return notebook

    tenant.behave()
    yield open_notebook
    tenant.behave()
    for notebook in opened:
        notebook.close()
