"""A plain ``requests`` client for the sandbox, independent of sacnb so that it cannot share its mistakes."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
import requests

import sacnb.sandbox
from sacnb.sandbox import Sandbox

EXPORT = "/api/v1/dataexport"
REDIRECT_URI = "http://127.0.0.1:8414/"
# The example of RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


class Api:
    """Requests to one sandbox; ``login`` gets a token, ``get`` takes a path below ``/api/v1/dataexport``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["x-sap-sac-custom-auth"] = "true"

    def token(self, **options: Any) -> requests.Response:
        """Ask for a token, with the client in a Basic header by default."""
        options.setdefault("auth", (self.sandbox.client_id, self.sandbox.client_secret))
        options.setdefault("data", {"grant_type": "client_credentials"})
        return self.http.post(self.sandbox.token_url, timeout=20, **options)

    def login(self) -> str:
        """Get a token and use it from now on."""
        token: str = self.token().json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        return token

    def authorize_url(self, **changes: str) -> str:
        """Return the address of the login, with *changes* of its parameters; an empty one is left out."""
        asked = {
            "response_type": "code",
            "client_id": self.sandbox.client_id,
            "redirect_uri": REDIRECT_URI,
            "state": "the-state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{self.sandbox.tenant_url}/oauth/authorize?{urlencode({k: v for k, v in asked.items() if v})}"

    def log_in(self, user: str = "planner", password: str = "planner", **changes: str) -> dict[str, str]:
        """Log a user in; return the parameters that the browser is sent back with."""
        answer = self.http.post(
            self.authorize_url(**changes),
            data={"username": user, "password": password},
            allow_redirects=False,
            timeout=20,
        )
        assert answer.status_code == 302, answer.text
        address, _, query = answer.headers["Location"].partition("?")
        assert address == REDIRECT_URI
        return dict(parse_qsl(query))

    def exchange(self, code: str, **changes: str) -> requests.Response:
        """Exchange a code for tokens."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
        return self.token(data={**form, "code_verifier": VERIFIER, **changes})

    def refresh(self, token: str) -> requests.Response:
        """Use a refresh token."""
        return self.token(data={"grant_type": "refresh_token", "refresh_token": token})

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path below the export service, or a full URL."""
        url = path if path.startswith("http") else f"{self.sandbox.tenant_url}{EXPORT}/{path}"
        return self.http.get(url, timeout=20, **options)

    def data(self, provider: str, entity_set: str = "FactData", **options: str) -> requests.Response:
        """GET an entity set; query options as keywords, with ``dollar_`` for ``$`` and values not yet encoded."""
        pairs = [f"{k.replace('dollar_', '$')}={quote(v, safe='')}" for k, v in options.items()]
        return self.get(f"providers/sac/{provider}/{entity_set}" + ("?" + "&".join(pairs) if pairs else ""))

    def pages(self, provider: str, entity_set: str = "FactData", **options: str) -> Iterator[dict[str, Any]]:
        """Yield every page by following the links; numbers are exact decimals."""
        answer = self.data(provider, entity_set, **options)
        while True:
            assert answer.status_code == 200, answer.text
            page: dict[str, Any] = answer.json(parse_float=Decimal)
            yield page
            if "@odata.nextLink" not in page:
                return
            answer = self.get(page["@odata.nextLink"])

    def rows(self, provider: str, entity_set: str = "FactData", **options: str) -> list[dict[str, Any]]:
        """Return the rows of all pages."""
        return [row for page in self.pages(provider, entity_set, **options) for row in page["value"]]

    def raw(self, target: str) -> tuple[int, bytes]:
        """Send this request target unchanged, which ``requests`` would repair; return status and body."""
        address = urlsplit(self.sandbox.tenant_url).netloc
        with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as connection:
            connection.request("GET", target, headers={"Authorization": str(self.http.headers["Authorization"])})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def raw_reply(self, path: str) -> bytes:
        """Return the bytes of the reply; a reset connection raises ConnectionResetError."""
        parts = urlsplit(self.sandbox.tenant_url)
        request = (
            f"GET /api/v1/dataexport/{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
            f"Accept-Encoding: gzip\r\nAuthorization: {self.http.headers['Authorization']}\r\n\r\n"
        )
        received = bytearray()
        with contextlib.closing(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)) as peer:
            peer.sendall(request.encode())
            while chunk := peer.recv(65536):
                received += chunk
        return bytes(received)

    def basic(self, client_id: str, client_secret: str) -> dict[str, str]:
        """Return a Basic header with this id and secret."""
        return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()}


@pytest.fixture
def start() -> Iterator[Callable[..., Api]]:
    """Start a sandbox and return a client with a token (``login=False``: without); closed after the test."""
    opened: list[Api] = []

    def _start(*, login: bool = True, **options: Any) -> Api:
        options.setdefault("scale_rows", 1000)
        api = Api(sacnb.sandbox.start(**options))
        opened.append(api)
        if login:
            api.login()
        return api

    yield _start
    for api in opened:
        api.http.close()
        api.sandbox.close()


@pytest.fixture(scope="session")
def shared() -> Iterator[Api]:
    """One sandbox for all tests that only read, or add models of their own."""
    with sacnb.sandbox.start(scale_rows=300_000) as sandbox:
        api = Api(sandbox)
        api.login()
        yield api
        api.http.close()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with replies of SAP's documentation and of other clients' tests."""
    return Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session")
def data_files() -> Path:
    """The folder with the sandbox's own data."""
    return Path(sacnb.sandbox.__file__).parent / "data"
