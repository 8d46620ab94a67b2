"""A real JupyterLab in a real browser, beside a sandbox that can be told to misbehave.

The browser is the system's Chromium; Playwright's own is never downloaded. Where either is missing the tests are
skipped, unless ``SACNB_BROWSER=required`` says that they must not be.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

import sacnb.sandbox
from sacnb.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
# A busy machine with two cores takes its time to start a kernel; on an idle one no test waits this long.
PATIENCE_S = 60

_SETTINGS = {
    # No question whether to fetch news, which would stand in the way.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [
    *([] if CHROMIUM else ["chromium"]),
    *(name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None),
]
REASON = f"the browser tests need {' and '.join(MISSING)}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip by a mark: then pytest says so in one line for all of them."""
    if MISSING and os.environ.get("SACNB_BROWSER") != "required":
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def chromium() -> str:
    assert CHROMIUM is not None, REASON
    assert not MISSING, REASON
    return CHROMIUM


@pytest.fixture(scope="session")
def tenant(chromium: str) -> Iterator[Sandbox]:
    with sacnb.sandbox.start() as started:
        yield started


@dataclass
class Server:
    """A JupyterLab on loopback with a token of its own, which serves one folder."""

    url: str
    token: str
    folder: Path

    def address(self, path: str) -> str:
        return f"{self.url}/doc/tree/{path}?reset&token={self.token}"


@pytest.fixture(scope="session")
def server(tenant: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("jupyter")
    folder = base / "root"
    folder.mkdir()
    for name, value in _SETTINGS.items():
        file = base / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value), encoding="utf-8")
    token = secrets.token_urlsafe(16)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SAC_", "JUPYTER"))}
    environment |= {
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
        "IPYTHONDIR": str(base / "ipython"),
        "SAC_REPLAY": "off",
        "SAC_TENANT_URL": tenant.tenant_url,
        "SAC_TOKEN_URL": tenant.token_url,
        "SAC_CLIENT_ID": tenant.client_id,
        "SAC_CLIENT_SECRET": tenant.client_secret,
        "SAC_CACHE_DIR": str(base / "cache"),
        "SAC_MAX_ATTEMPTS": "1",  # a test of what is shown in the end need not wait for tries in between
    }
    options = ["--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={folder}"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    options += ["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(_address(process), token, folder)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _address(process: subprocess.Popen[str]) -> str:
    """Where the server says that it is. Its messages are read on, so that it never waits for a reader."""
    said: list[str] = []
    found: list[str] = []
    known = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                said.append(line)
                address = re.search(r"http://127\.0\.0\.1:\d+(?=/lab)", line)
                if address and not found:
                    found.append(address[0])
                    known.set()
        known.set()

    threading.Thread(target=read, daemon=True).start()
    known.wait(PATIENCE_S)
    assert found, "JupyterLab did not start:\n" + "".join(said)
    return found[0]


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox does not work for root, as whom containers run.
    as_root = os.name == "posix" and os.geteuid() == 0
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if as_root else [])
        yield launched
        launched.close()


@dataclass
class Notebook:
    """A notebook that is open in JupyterLab."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def run_all(self) -> None:
        """Run all cells, as a user does it, and wait for the last one, or for one that fails."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        done = self.page.locator(".jp-CodeCell").last.get_by_text(re.compile(r"^\[\d+\]:$"))
        failed = self.page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
        self._expect(done.or_(failed).first).to_be_visible()
        assert failed.all_inner_texts() == []

    def show(self, theme: str) -> None:
        """Change to the theme ``light`` or ``dark``."""
        name = f"JupyterLab {theme.capitalize()}"
        self.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        is_light = "true" if theme == "light" else "false"
        self._expect(self.page.locator("body")).to_have_attribute("data-jp-theme-light", is_light)

    @property
    def panel(self) -> Any:
        """The refresh panel: the output that has the button."""
        return self.page.locator(".jp-OutputArea-output").filter(
            has=self.page.get_by_role("button", name="Refresh", exact=True)
        )

    def button(self, name: str) -> Any:
        return self.panel.get_by_role("button", name=name, exact=True)

    @staticmethod
    def _expect(locator: Any) -> Any:
        from playwright.sync_api import expect

        return expect(locator)


@pytest.fixture
def open_notebook(
    browser: Any, server: Server, tenant: Sandbox, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Notebook]]:
    """Opens a copy of a shipped notebook; at the end nothing in it may have complained on the browser's console."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_S * 1000)
    context = browser.new_context(viewport={"width": 1100, "height": 1000}, device_scale_factor=2)
    context.set_default_timeout(PATIENCE_S * 1000)
    opened: list[Notebook] = []

    def open_notebook(name: str) -> Notebook:
        file = server.folder / f"{name}_{len(list(server.folder.iterdir()))}.ipynb"
        document = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in document.cells:
            if cell.cell_type == "code":
                cell.execution_count = None  # so that a number says that the cell has run here
        nbformat.write(document, file)
        notebook = Notebook(context.new_page())
        notebook.page.on("console", lambda said: notebook.errors.append(said.text) if said.type == "error" else None)
        notebook.page.on("pageerror", lambda error: notebook.errors.append(str(error)))
        opened.append(notebook)
        notebook.page.goto(server.address(file.name))
        expect(notebook.page.locator(".jp-Notebook")).to_be_visible()
        # Before that, "Run All" does nothing and says nothing.
        expect(notebook.page.get_by_role("button", name=re.compile("Python 3.* Idle"))).to_be_visible()
        return notebook

    tenant.behave()
    yield open_notebook
    tenant.behave()
    for notebook in opened:
        notebook.page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
    context.close()
