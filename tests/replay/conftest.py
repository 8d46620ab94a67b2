"""A folder of one's own, a tenant that leaks wherever it can, and the certainty that nothing stays switched on."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

import sacnb.replay
from sacnb._settings import Settings
from sacnb._wire.context import DispatchContext, build_context


@pytest.fixture(autouse=True)
def _nothing_stays_switched_on() -> Iterator[None]:
    before = (HTTPAdapter.send, socket.socket.connect, socket.getaddrinfo, socket.socketpair)
    yield
    sacnb.replay.stop()
    assert sacnb.replay.active() is None
    assert (HTTPAdapter.send, socket.socket.connect, socket.getaddrinfo, socket.socketpair) == before


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a top of its own: no cassette above it is found."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@dataclass
class Canned:
    """An answer to give."""

    body: bytes | str = b"{}"
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    zipped: bool = False
    cut: bool = False


class Leaky:
    """A tenant on loopback that answers what it is told to; of several answers the last one is repeated."""

    client_id = "sb-canary-id!b1|client!b2"
    client_secret = "canary$client/secret+="

    def __init__(self) -> None:
        self.answers: dict[str, list[Canned]] = defaultdict(lambda: [Canned()])
        self.seen: list[str] = []
        self.tokens: list[str] = []
        self.token_fields: dict[str, str] = {}
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def settings(self, **arguments: Any) -> Settings:
        return Settings.resolve(
            environ={},
            tenant_url=self.url,
            token_url=f"{self.url}/some/oauth/token",
            client_id=self.client_id,
            client_secret=self.client_secret,
            **arguments,
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, path: str) -> Canned:
        with self._lock:
            self.seen.append(path)
            answers = self.answers[path]
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _token(self) -> Canned:
        with self._lock:
            self.tokens.append(f"canary-token-{len(self.tokens)}")
            fields = {"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 3599, **self.token_fields}
        return Canned(json.dumps(fields), headers={"Set-Cookie": "JTENANTSESSIONID=canary-token-cookie; Path=/"})

    def _handler(leaky) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two packets, and the second would wait for 40 ms

            def _answer(self) -> None:
                with leaky._lock:
                    leaky._at_once += 1
                    leaky.most_at_once = max(leaky.most_at_once, leaky._at_once)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                canned = leaky._token() if self.path == "/some/oauth/token" else leaky._next(self.path)
                body = canned.body.encode() if isinstance(canned.body, str) else canned.body
                body = gzip.compress(body) if canned.zipped else body
                self.send_response(canned.status)
                headers = {"Content-Type": canned.content_type, "Content-Length": str(len(body)), **canned.headers}
                if canned.zipped:
                    headers["Content-Encoding"] = "gzip"
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with leaky._lock:
                    leaky._at_once -= 1
                if self.command != "HEAD":
                    self.wfile.write(body[: len(body) // 2] if canned.cut else body)
                self.close_connection = canned.cut

            do_GET = do_POST = do_HEAD = do_PUT = _answer  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def leaky() -> Iterator[Leaky]:
    server = Leaky()
    yield server
    server.close()


@pytest.fixture
def canned() -> type[Canned]:
    return Canned


@pytest.fixture
def ask(leaky: Leaky) -> Iterator[Callable[[], DispatchContext]]:
    """Builds an engine for the leaky tenant, which waits for nothing; ask it with ``.session.fetch``."""
    contexts: list[DispatchContext] = []

    def build() -> DispatchContext:
        contexts.append(build_context(leaky.settings(), sleep=lambda _: None))
        return contexts[-1]

    yield build
    for context in contexts:
        context.close()


@pytest.fixture
def text_of(folder: Path) -> Callable[[str], str]:
    """The text of a cassette that was recorded in the working directory."""
    return lambda name: (folder / f"{name}.cassette.json").read_text(encoding="utf-8")
