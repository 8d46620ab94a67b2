"""A manual clock, a source that plays a script, and a token endpoint that answers as told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

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


@dataclass
class Reply:
    """A reply of the endpoint; ``drip_s`` sends byte by byte, ``hang_up`` closes the connection after ``body``."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float | None = None
    hang_up: bool = False


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Endpoint:
    """A real HTTP server on loopback, with one reply after the other; the last one is repeated."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: list[Reply] = []
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                endpoint.seen.append(Seen(self.command, self.path, dict(self.headers), body))
                reply = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
                endpoint.send(self, reply)

            do_GET = do_POST = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}/oauth/token"

    def send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.send_response_only(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **reply.headers}
        headers.setdefault("Date", handler.date_time_string())
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if reply.drip_s is not None:
            for i in range(len(reply.body)):
                if self.closing.wait(reply.drip_s):
                    return
                try:
                    handler.wfile.write(reply.body[i : i + 1])
                except OSError:
                    return
            return
        handler.wfile.write(reply.body)
        handler.close_connection = reply.hang_up

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)
        servers.append(Endpoint(context))
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


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Run a call in n threads that begin together; the results, or the exceptions that they raised."""

    def run(count: int, call: Callable[[int], Any]) -> list[Any]:
        barrier = threading.Barrier(count)
        results: list[Any] = [None] * count

        def work(index: int) -> None:
            barrier.wait()
            try:
                results[index] = call(index)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                results[index] = error

        threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads), "a thread hangs"
        return results

    return run
