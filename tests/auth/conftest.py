"""A manual clock, a source that plays a script, and a token endpoint that answers as told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from loopback import LoopbackServer, Reply, Seen, next_of, tls_context

from sacnb._auth.token import TokenEnvelope
from sacnb._settings import Secret
from sacnb.errors import RefreshError

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A wall clock; seconds since START are how tests speak of time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def at(self, seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class Source:
    """Plays a script: numbers are lifetimes of new tokens, errors are raised, envelopes and calls are used as given.

    After the script, tokens that live an hour. ``calls`` counts how often it was asked.
    """

    name = "scripted"
    principal = "tester"

    def __init__(self, *script: Any, renewable: bool = True) -> None:
        self.script = list(script)
        self.renewable = renewable
        self.calls = 0
        self._lock = threading.Lock()

    def fetch(self, now: datetime) -> TokenEnvelope:
        with self._lock:
            self.calls += 1
            number = self.calls
            step = self.script.pop(0) if self.script else 3600.0
        if callable(step):
            step = step(number)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, TokenEnvelope):
            return step
        return TokenEnvelope(Secret(f"token-{number}"), issued_at=now, expires_at=now + timedelta(seconds=step))


class Endpoint(LoopbackServer):
    """A token endpoint with one reply after the other, whatever it is asked for; the last one is repeated."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: list[Reply] = []
        self.seen: list[Seen] = []
        super().__init__(tls)
        self.url += "/oauth/token"

    def reply_to(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        return next_of(self.replies)


Script = Callable[[socket.socket, threading.Event], None]


@pytest.fixture
def raw_endpoint() -> Iterator[Callable[[Script], str]]:
    """A port where a script talks to each client after its request; gives the URL. The event is set at the end."""
    server = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()
    threads: list[threading.Thread] = []

    def start(script: Script) -> str:
        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                script(connection, closing)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    thread = threading.Thread(target=serve, args=(server.accept()[0],), daemon=True)
                    thread.start()
                    threads.append(thread)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/oauth/token"

    yield start
    closing.set()
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()
    for thread in threads:
        thread.join(10)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_source() -> type[Source]:
    return Source


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority such as a company has: nobody trusts it who was not told to."""
    return trustme.CA()


@pytest.fixture
def make_tls_endpoint(authority: trustme.CA) -> Iterator[Callable[[str], Endpoint]]:
    """``make_tls_endpoint(host)`` starts an endpoint on loopback that shows the certificate of *host*."""
    servers: list[Endpoint] = []

    def make(host: str) -> Endpoint:
        servers.append(Endpoint(tls_context(authority, host)))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def tls_endpoint(make_tls_endpoint: Callable[[str], Endpoint]) -> Endpoint:
    return make_tls_endpoint("127.0.0.1")


@pytest.fixture
def failing() -> Callable[..., RefreshError]:
    """``failing()`` may pass, ``failing(final=True)`` will not."""

    def make(*, final: bool = False, retry_after_s: float | None = None) -> RefreshError:
        return RefreshError(
            "No luck.",
            error_code="non_retriable" if final else "refresh_failed",
            retry_after_s=retry_after_s,
            hint="Hint.",
        )

    return make
