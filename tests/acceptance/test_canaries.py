"""A notebook is recorded from a tenant with secrets everywhere, at its most talkative, and none of them is found again.

The tenant has real host names and is asked through a company's proxy, over TLS: the sandbox stands behind both.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit

import nbformat
import pytest
import trustme

import sacnb.sandbox

NAME = "canary-acme"
TENANT = f"{NAME}.eu10.hcs.cloud.sap"
TOKENS = f"{NAME}.authentication.eu10.hana.ondemand.com"
CLIENT_ID = "sb-canary-id/0000!b1|client!b2"
CLIENT_SECRET = "canary$0f?client/secret+=="
PROXY_PASSWORD = "canary-of-the-proxy"
COOKIE = "canary-cookie-of-a-session"
CSRF = "canary-csrf-of-a-session"

# The log of everybody, at its most talkative, in a file; and ours beside the results.
TALKATIVE = """
import logging
logging.basicConfig(filename="everything.log", level=logging.DEBUG)
logging.getLogger("sacnb").addHandler(logging.StreamHandler())
"""
REFUSED = """
try:
    sac.model("US_EMPLOYMNT").schema
except Exception as error:
    print(error)
"""
PANEL = """
panel = sac.model("US_EMPLOYMENT").refresh_panel(where={"Sector": "31"}, since="2015-06")
panel.refresh(wait=True)
panel
"""
CELLS = (
    TALKATIVE,
    "%load_ext sacnb\n%sac connect",
    "import sacnb.notebook\nsac = sacnb.notebook.current_tenant()\nsac",
    "sac.authenticate()",
    "sac.models()",
    "result = sac.model('US_EMPLOYMENT').facts(where={'Sector': '31'}, since='2015-06').fetch()\nresult",
    "result.info",
    "%sac status",
    "sac.settings",
    "sac.telemetry.summary()",
    REFUSED,
    PANEL,
)


class Company:
    """A proxy that is also the end of each TLS connection, with the sandbox behind it; it keeps the tokens it saw."""

    def __init__(self, sandbox: sacnb.sandbox.Sandbox, tls: ssl.SSLContext) -> None:
        self.seen: set[str] = set()
        self.hosts: set[str] = set()
        self._behind, self._tls = urlsplit(sandbox.tenant_url).netloc, tls
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://planner:{PROXY_PASSWORD}@127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(company) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_CONNECT(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.close_connection = False  # requests asks as of old, and stays
                company.hosts.add(self.path.partition(":")[0])
                self.connection = company._tls.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                company.seen.add(self.headers.get("Authorization", "").partition(" ")[2])
                behind = http.client.HTTPConnection(company._behind, timeout=30)
                # The sandbox speaks of itself by the name that it was asked under.
                behind.request(self.command, self.path, body, dict(self.headers))
                answer = behind.getresponse()
                content = answer.read()
                behind.close()
                if b'"access_token"' in content:
                    company.seen.add(json.loads(content)["access_token"])
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                        self.send_header(name, value)
                self.send_header("Set-Cookie", f"JSESSIONID={COOKIE}; Path=/; HttpOnly")
                self.send_header("x-csrf-token", CSRF)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_HEAD = _forward  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(TENANT, TOKENS).configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    with sacnb.sandbox.start(scale_rows=10, client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as sandbox:
        made = Company(sandbox, tls)
        yield made
        made.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A planner's folder, with the settings in ``.env`` and one notebook."""
    folder = tmp_path / "home" / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / ".env").write_text(
        f"SAC_TENANT_URL=https://{TENANT}\nSAC_TOKEN_URL=https://{TOKENS}/oauth/token\n"
        f"SAC_CLIENT_ID='{CLIENT_ID}'\nSAC_CLIENT_SECRET='{CLIENT_SECRET}'\n"
        f"SAC_CA_BUNDLE={tmp_path / 'company.pem'}\nSAC_LOG=debug\n",
        encoding="utf-8",
    )
    write(folder / "plan.ipynb", *CELLS)
    return folder


def write(path: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells)]
    nbformat.write(notebook, path)


def record(project: Path, company: Company) -> subprocess.CompletedProcess[bytes]:
    """``sacnb replay record plan.ipynb``, with a home, a cache and a folder for temporary files of its own."""
    home = project.parent
    (home / "tmp").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    own = {"HOME": home, "TMPDIR": home / "tmp", "XDG_CACHE_HOME": home / "cache"}
    own |= {name: home / name.lower() for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    return subprocess.run(
        [sys.executable, "-m", "sacnb", "-vv", "replay", "record", "plan.ipynb"],
        capture_output=True,
        cwd=project,
        env={**inherited, **{name: str(path) for name, path in own.items()}, "HTTPS_PROXY": company.url},
        check=False,
    )


def forms(secret: str) -> Iterator[bytes]:
    """The ways in which a value may be written down."""
    once = quote(secret, safe="")
    texts = {secret, once, quote_plus(secret), quote(secret), quote(once, safe=""), json.dumps(secret)[1:-1]}
    texts |= {text.lower() for text in texts}
    yield from (text.encode() for text in texts)
    for before in (b"", b"x", b"xx"):
        # What stands in front of it, and behind it, changes the first and the last characters.
        encoded = base64.b64encode(before + secret.encode() + b"x" * 3)
        inner = encoded[4 if before else 0 : -8]
        yield from (inner, inner.translate(bytes.maketrans(b"+/", b"-_")))


def places(found: dict[str, bytes], secrets: set[str]) -> list[str]:
    """Where any of the secrets stands, in any form; the case does not matter."""
    wanted = {form.lower(): secret for secret in secrets for form in forms(secret) if len(form) >= 8}
    assert len(wanted) > len(secrets)
    return [
        f"{name}: {secret[:9]}..."
        for name, content in found.items()
        for form, secret in wanted.items()
        if form in content.lower()
    ]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below the folder but the settings themselves; those in ``.git`` too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".env"
    }


def test_no_secret_of_the_settings_or_of_the_tenant_is_found_in_anything_that_a_recording_leaves(
    project: Path, company: Company
) -> None:
    done = record(project, company)
    assert done.returncode == 0, done.stderr.decode()
    assert company.hosts == {TENANT, TOKENS}
    secrets = {CLIENT_ID, CLIENT_SECRET, PROXY_PASSWORD, COOKIE, CSRF, *company.seen} - {""}
    assert len(secrets) > 6  # tokens were minted, and Basic credentials sent

    said: dict[str, bytes] = {"stdout": done.stdout, "stderr": done.stderr}
    left = files(project.parent)
    shared = {name: content for name, content in left.items() if name.endswith((".ipynb", ".cassette.json"))}
    assert sorted(shared) == ["project/plan.cassette.json", "project/plan.ipynb"]
    log = left["project/everything.log"]
    assert b"urllib3" in log  # the log of everybody was on
    assert b"DEBUG:sacnb" in log
    assert places({**said, **left}, secrets) == []
    # Whoever gets the notebook and the cassette does not learn whose they are; a log may name the host.
    assert places({**said, **shared}, {TENANT, TOKENS, NAME}) == []
    notebook = nbformat.read(project / "plan.ipynb", as_version=4)
    assert all(cell.outputs for cell in notebook.cells[1:6])


# Two kernels more; that a recording with a secret is not written, tests/replay shows each time.
@pytest.mark.long
def test_a_notebook_that_shows_a_secret_itself_is_not_written(project: Path, company: Company) -> None:
    basic = base64.b64encode(f"id:{CLIENT_SECRET}".encode()).decode()
    shown = [CLIENT_SECRET, basic, f"?x={quote(CLIENT_SECRET, safe='')}", f"asked {TENANT}"]
    write(
        project / "plan.ipynb", "import sacnb\nsacnb.connect().models().height", *(f"print({one!r})" for one in shown)
    )
    before = (project / "plan.ipynb").read_bytes()
    done = record(project, company)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    for number, what in ((2, "a secret of"), (3, "a secret of"), (4, "a secret of"), (5, "the tenant's host")):
        assert f"cell {number} shows {what}" in said
    assert (project / "plan.ipynb").read_bytes() == before
    assert places({"stdout": done.stdout, "stderr": done.stderr}, {CLIENT_SECRET, TENANT}) == []


def test_the_search_finds_what_it_looks_for() -> None:
    for form in (
        CLIENT_SECRET,
        quote(CLIENT_SECRET, safe=""),
        base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode(),
        base64.b64encode(f"ab{CLIENT_SECRET}".encode()).decode(),
        json.dumps({"x": CLIENT_SECRET}),
    ):
        assert places({"file": f"...{form}...".encode()}, {CLIENT_SECRET}), form
    assert places({"file": b"canary"}, {CLIENT_SECRET}) == []
