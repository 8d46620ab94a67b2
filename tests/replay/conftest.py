"""A folder of one's own, a tenant that leaks wherever it can, and the certainty that nothing stays switched on."""

from __future__ import annotations

import json
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback import LoopbackServer, Reply, Seen, next_of
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


class Leaky(LoopbackServer):
    """A tenant that answers what it is told to; of several answers the last one is repeated."""

    client_id = "sb-canary-id!b1|client!b2"
    client_secret = "canary$client/secret+="

    def __init__(self) -> None:
        self.answers: dict[str, list[Reply]] = defaultdict(lambda: [Reply(b"{}")])
        self.seen: list[str] = []
        self.tokens: list[str] = []
        self.token_fields: dict[str, str] = {}
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        super().__init__()

    def settings(self, **arguments: Any) -> Settings:
        return Settings.resolve(
            environ={},
            tenant_url=self.url,
            token_url=f"{self.url}/some/oauth/token",
            client_id=self.client_id,
            client_secret=self.client_secret,
            **arguments,
        )

    def reply_to(self, seen: Seen) -> Reply:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            if seen.path == "/some/oauth/token":
                reply = self._token()
            else:
                self.seen.append(seen.path)
                reply = next_of(self.answers[seen.path])
        return replace(reply, first=self._answered)

    def _answered(self) -> None:
        with self._lock:
            self._at_once -= 1

    def _token(self) -> Reply:
        self.tokens.append(f"canary-token-{len(self.tokens)}")
        fields = {"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": 3599, **self.token_fields}
        return Reply(json.dumps(fields), headers={"Set-Cookie": "JTENANTSESSIONID=canary-token-cookie; Path=/"})


@pytest.fixture
def leaky() -> Iterator[Leaky]:
    server = Leaky()
    yield server
    server.close()


@pytest.fixture
def canned() -> type[Reply]:
    return Reply


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
