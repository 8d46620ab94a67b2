"""A notebook in a tab of a real browser, the Jupyter server behind it, and everything that comes to light of both."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import urllib3

from sacnb.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
# The Python of another Jupyter, with sacnb as pip installs it; `make labs` names the oldest and the newest.
JUPYTER = os.environ.get("SACNB_JUPYTER", sys.executable)
_SETTINGS = {
    # No question whether to fetch news, which would stand in the way.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    # A saved notebook then holds all that its widgets hold: the more there is to look for secrets in.
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}
_FORKING_LAB = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import forking
forking.kernels_are_forked()
from jupyterlab.labapp import main
main()
"""
# A busy machine with two cores takes its time to start a kernel; on an idle one no test waits this long.
PATIENCE_S = 90

CLIENT_ID = "sb-canary!b1|client!b2"
CLIENT_SECRET = "canaryOfTheSecret<&$='"
# The secret whatever is made of its signs by HTML, JSON or URLs; as the Basic header has it; and any token.
CANARIES = (
    "canaryOfTheSecret",
    base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode(),
    "sandbox-token.",
)


@dataclass
class Server:
    """A Jupyter server on loopback with a token of its own, which serves one folder to JupyterLab and to Notebook 7."""

    process: subprocess.Popen[str]
    token: str
    folder: Path
    said: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Read what it says, and go on reading, so that it never waits for a reader."""

        def read() -> None:
            assert self.process.stderr is not None
            with self.process.stderr as lines:
                for line in lines:
                    with self._news:
                        self.said.append(line)
                        self._news.notify_all()

        threading.Thread(target=read, daemon=True).start()

    def wait_for(self, pattern: str) -> str:
        """Wait until it has said something, and give back what that was."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.said)), None)

        with self._news:
            match = self._news.wait_for(found, PATIENCE_S)
        assert match, f"Jupyter did not say {pattern!r}:\n" + "".join(self.said)
        return match[0]

    @property
    def url(self) -> str:
        return self.wait_for(r"http://127\.0\.0\.1:\d+(?=/lab)")

    def address(self, name: str, place: str) -> str:
        return f"{self.url}/{place}/{name}?reset&token={self.token}"


def is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


@contextmanager
def running_jupyter(tenant: Sandbox, base: Path) -> Iterator[Server]:
    """Run a Jupyter server with the sandbox as the tenant of its environment; ``base/config`` may configure it."""
    folder = base / "root"
    folder.mkdir()
    for name, value in _SETTINGS.items():
        file = base / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value), encoding="utf-8")
    # A second tenant beside that of the environment: the same one, by a profile.
    profiles = base / "profiles" / "sacnb" / "profiles.toml"
    profiles.parent.mkdir(parents=True)
    client = ("tenant_url", "token_url", "client_id", "client_secret")
    lines = ["[other]", *(f"{name} = {json.dumps(getattr(tenant, name))}" for name in client)]
    profiles.write_text("\n".join(lines) + "\n", encoding="utf-8")
    profiles.chmod(0o600)
    token = secrets.token_urlsafe(16)
    ours = re.compile("SAC_.*|JUPYTER.*|.*_PROXY", re.IGNORECASE)
    environment = {name: value for name, value in os.environ.items() if not ours.fullmatch(name)} | {
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
        "IPYTHONDIR": str(base / "ipython"),
        "XDG_CONFIG_HOME": str(base / "profiles"),  # where Linux has the profiles
        "SAC_REPLAY": "off",
        "SAC_TENANT_URL": tenant.tenant_url,
        "SAC_TOKEN_URL": tenant.token_url,
        "SAC_CLIENT_ID": tenant.client_id,
        "SAC_CLIENT_SECRET": tenant.client_secret,
        "SAC_CACHE_DIR": str(base / "cache"),
        # Small models, and yet several pages, one after the other.
        "SAC_PAGE_SIZE": "40",
        "SAC_STREAMS": "1",
        "SAC_MAX_ATTEMPTS": "1",  # a test of what is shown in the end need not wait for tries in between
    }
    if sys.executable == JUPYTER:  # poetry installs none of the data that pip puts into the environment
        environment["JUPYTER_PATH"] = str(ROOT / "sacnb" / "lab" / "share" / "jupyter")
        environment["JUPYTER_CONFIG_PATH"] = str(ROOT / "sacnb" / "lab" / "etc" / "jupyter")
    options = ["--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}"]
    # Jupyter Server 2.14 does not tell which port it was given for 0.
    with socket.create_server(("127.0.0.1", 0)) as free:
        options += [f"--ServerApp.port={free.getsockname()[1]}"]
    options += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
    options += ["--LabApp.extension_manager=readonly"]
    options += ["--allow-root"] if is_root() else []
    # The kernels of our own Jupyter are forked, without seconds of imports; those of `make labs` begin anew.
    start = ["-c", _FORKING_LAB] if sys.executable == JUPYTER else ["-m", "jupyterlab"]
    process = subprocess.Popen(
        [JUPYTER, *start, *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        server = Server(process, token, folder)
        server.listen()
        # It says where it is a moment before it is there.
        tries = urllib3.Retry(2 * PATIENCE_S, backoff_factor=0.1, backoff_max=0.5)
        assert urllib3.request("GET", f"{server.url}/api", retries=tries).status == 200
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@dataclass
class Notebook:
    """A notebook that is open in the browser, and what came to light of it."""

    page: Any
    file: Path
    server: Server
    pictures: Path | None
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    theme: str = ""

    def on_console(self, said: Any) -> None:
        self.console.append(said.text)
        self.errors += [said.text] if said.type == "error" else []

    def on_pageerror(self, error: Any) -> None:
        self.errors.append(f"{error.stack}")

    def on_request(self, asked: Any) -> None:
        if not asked.url.startswith((self.server.url, self.server.url.replace("http", "ws", 1), "data:", "blob:")):
            self.strangers.append(asked.url)

    def on_message(self, message: str | bytes) -> None:
        self.messages.append(message if isinstance(message, str) else message.decode(errors="replace"))

    def run_all(self) -> None:
        """Run all cells, as a user does it, and wait for the last one, or for one that fails."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self._wait_for(self.page.locator(".jp-CodeCell").last)

    def run_here(self, cell: Any) -> None:
        """Run the cell that has the focus, which is this one, and go to the next."""
        number = cell.locator(".jp-InputPrompt").first.inner_text()
        self.page.keyboard.press("Shift+Enter")
        self._wait_for(cell, last_number=number)

    def _wait_for(self, cell: Any, *, last_number: str = "") -> None:
        done = cell.get_by_text(re.compile(rf"^(?!{re.escape(last_number)}$)\[\d+\]:$"))
        failed = self.page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
        done.or_(failed).first.wait_for()
        assert failed.all_inner_texts() == []

    def show(self, theme: str) -> None:
        """Change to the theme ``light`` or ``dark``."""
        self.theme = theme
        name = f"JupyterLab {theme.capitalize()}"
        self.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        is_light = "true" if theme == "light" else "false"
        self.page.locator(f"body[data-jp-theme-light={is_light}]").wait_for(state="attached")
        # JupyterLab shows its splash meanwhile, and removes it twice where a theme follows before it has faded.
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def output(self, button: str) -> Any:
        """The output that has a button of this name: the panel has *Refresh*, the explorer *Show*."""
        return self.page.locator(".jp-OutputArea-output").filter(
            has=self.page.get_by_role("button", name=button, exact=True)
        )

    def focus_with_tab(self, part: Any, *, at_most: int = 60) -> None:
        """From the cell that was clicked last, press Tab until a control has the focus."""
        for _ in range(at_most):
            if part.evaluate("part => part === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{at_most} times Tab did not reach {part}")

    def leave_the_editor(self) -> None:
        """Go to the first cell of code, where keys are commands."""
        self.page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
        self.page.keyboard.press("Escape")

    def look(self, part: Any, name: str, *, scale: str = "device", is_like_before: bool = False) -> None:
        """Take pictures of a part in both themes, and check it in both; end in the theme that it was not in.

        A part whose colours were checked in both before is checked in the theme that it is in, without pictures.
        """
        if is_like_before and self.pictures is None:
            self.picture(name, part, scale=scale)
            self.check_access(part)
            return
        for theme, rules in ((self.theme, None), ({"light": "dark", "dark": "light"}[self.theme], ["color-contrast"])):
            self.show(theme)
            self.picture(f"{name}_{theme}", part, scale=scale)
            self.check_access(part, rules)

    def check_access(self, part: Any, rules: list[str] | None = None) -> None:
        """Check that by the rules of axe-core, all or some, nothing in this part keeps anybody out."""
        source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        self.page.evaluate(f"if (!window.axe) {{ {source} }}")
        # Jupyter's body is 0 pixels high and hides what is beyond: axe-core takes all text for invisible.
        found = part.evaluate(
            """async (part, rules) => {
                const before = document.body.style.height;
                document.body.style.height = '100vh';
                const options = {resultTypes: ['violations'], ...(rules ? {runOnly: rules} : {})};
                try { return await axe.run(part, options); } finally { document.body.style.height = before; }
            }""",
            rules,
        )
        assert {*(rules or ["button-name", "color-contrast"])} <= {rule["id"] for rule in found["passes"]}  # it looked
        serious = [rule for rule in found["violations"] if rule["impact"] in {"serious", "critical"}]
        assert serious == [], json.dumps([(r["id"], [n["html"] for n in r["nodes"]]) for r in serious], indent=1)

    def picture(self, name: str, part: Any, *, scale: str = "device") -> None:
        """Look at all the text on show, and where pictures are kept, take one of a part."""
        shown = self.page.evaluate("document.body.innerText")
        assert [one for one in CANARIES if one in shown] == []
        if self.pictures is None:
            return
        part.evaluate("part => part.scrollIntoView({block: 'center'})")
        box = part.bounding_box()
        x, y = (0, 0) if part.get_attribute("id") == "sacnb-panel" else (8, 4)  # what is beside the panel is Jupyter's
        clip = {"x": box["x"] - x, "y": box["y"] - y, "width": box["width"] + 2 * x, "height": box["height"] + 2 * y}
        path = self.pictures / f"{name}.png"
        self.page.screenshot(path=path, clip=clip, scale=scale, animations="disabled")

    def save(self) -> None:
        """Save the notebook, as a user does it, and wait until it is in the file."""
        self.page.get_by_role("menuitem", name="File", exact=True).click()
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and self.file.name in answer.url):
            self.page.get_by_role("menuitem", name=re.compile("^Save Notebook")).first.click()
        self.server.wait_for(f"Saving file at /{self.file.name}")

    def seen(self, text: str) -> set[str]:
        """Where a text has come to light."""
        places = {
            "text": self.page.evaluate("document.body.innerText"),
            "html": self.page.content(),
            "console": "\n".join([*self.console, *self.errors]),
            "messages": "\n".join(self.messages),
            "file": self.file.read_text(encoding="utf-8"),
            "log": "".join(self.server.said),
        }
        return {place for place, content in places.items() if text in content}

    def close(self) -> None:
        """Close it with its kernel. Nothing may have come to light that must not, or gone wrong unseen."""
        try:
            assert {canary: self.seen(canary) for canary in CANARIES} == {canary: set() for canary in CANARIES}
            assert self.errors == []
            assert self.strangers == []
        finally:
            # Without the question whether to save it.
            self.page.evaluate("() => { jupyterapp.shell.currentWidget?.dispose(); }")
            self.page.evaluate("async () => { await jupyterapp.serviceManager.sessions.shutdownAll(); }")


class Tab:
    """A page in which one notebook is open after the other, since to load JupyterLab takes seconds.

    The notebook that is open hears what the page says, what it asks for, and every message between it and the server.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.notebook: Notebook | None = None
        for event in ("console", "pageerror", "request"):
            page.on(event, partial(self._tell, event))
        page.on("websocket", self._listen_to)

    def _listen_to(self, socket: Any) -> None:
        for event in ("framereceived", "framesent"):
            socket.on(event, partial(self._tell, "message"))

    def _tell(self, event: str, what: Any) -> None:
        if self.notebook is not None:
            getattr(self.notebook, f"on_{event}")(what)
