"""Two tenants that do exactly what a test tells them, time that passes only when slept, and contexts."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from sacnb._auth import RefreshPolicy, TokenEnvelope, TokenGuard
from sacnb._settings import Secret, Settings
from sacnb._wire import DispatchContext, RetryPlan, SacSession, Telemetry, build_context
from sacnb._wire.retry import refresh_runner

TOKEN_PATH = "/oauth/token"


@dataclass
class Reply:
    """What the tenant answers.

    ``length`` is a Content-Length that may be a lie; ``chunked`` sends chunks, without the last one if ``hang_up``;
    ``hang_up`` closes the connection at the end; ``reset`` breaks it, before the status line if ``status`` is 0;
    ``drip_s`` sends byte by byte; ``first`` is called before anything is sent.
    """

    status: int = 200
    body: bytes = b'{"value":[]}'
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    chunked: bool = False
    hang_up: bool = False
    reset: bool = False
    drip_s: float | None = None
    first: Callable[[], object] | None = None


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def bearer(self) -> str | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return value if scheme == "Bearer" else None


class Tenant:
    """A real HTTP server. ``answers[path]`` is a list of replies, the last one repeated, or a function of the request.

    The token endpoint gives token-1, token-2, ... unless it is told otherwise; the default answer is an empty page.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Any] = {}
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self.token_lifetime_s: float = 3600
        self._lock = threading.Lock()
        self._tokens = 0
        tenant = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen = Seen(self.command, self.path, dict(self.headers), body)
                reply = tenant.reply_to(seen)
                if reply.first is not None:
                    reply.first()
                try:
                    tenant.send(self, reply)
                except OSError:
                    self.close_connection = True  # the client has had enough

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = handle_any  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """A client that went away is what many tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"

    def at(self, path: str) -> list[Seen]:
        """What was asked of a path, without its query."""
        return [seen for seen in self.seen if seen.path.partition("?")[0] == path]

    def reply_to(self, seen: Seen) -> Reply:
        path = seen.path.partition("?")[0]
        with self._lock:
            self.seen.append(seen)
            answers = self.answers.get(path)
            if answers is None and path == TOKEN_PATH:
                self._tokens += 1
                token = {"access_token": f"token-{self._tokens}", "expires_in": self.token_lifetime_s}
                return Reply(body=json.dumps(token).encode())
            if answers is None:
                return Reply()
            if isinstance(answers, list):
                reply: Reply = answers.pop(0) if len(answers) > 1 else answers[0]
                return reply
        made: Reply = answers(seen)
        return made

    def send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.reset and not reply.status:
            self._reset(handler)
            return
        handler.send_response_only(reply.status)
        headers = {"Content-Type": "application/json", "Date": handler.date_time_string(), **reply.headers}
        if reply.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif reply.status not in {204, 304}:
            headers["Content-Length"] = str(len(reply.body) if reply.length is None else reply.length)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            self._send_body(handler, reply)
        handler.close_connection = reply.hang_up or handler.close_connection
        if reply.reset:
            self._reset(handler)

    def _send_body(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.drip_s is not None:
            for i in range(len(reply.body)):
                handler.wfile.write(reply.body[i : i + 1])
                if self.closing.wait(reply.drip_s):
                    return
        elif reply.chunked:
            for i in range(0, len(reply.body), 7):
                part = reply.body[i : i + 7]
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            handler.wfile.write(b"" if reply.hang_up else b"0\r\n\r\n")
        else:
            handler.wfile.write(reply.body)

    def _reset(self, handler: BaseHTTPRequestHandler) -> None:
        """Close so that the other side gets a reset: the descriptor goes when the handler's files do."""
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.server.shutdown_request = handler.server.close_request  # type: ignore[method-assign]  # no FIN first

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class RawTenant:
    """A server whose answers are bytes, so that every misbehaviour can be written down.

    ``answer(seen)`` gives the parts of the answer to a request: bytes to send, seconds to wait (cut short when the test
    is over), ``"close"`` to hang up. ``None`` is the answer of a good tenant, with a token or an empty page.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Callable[[Seen], Iterable[bytes | float | str] | None] = lambda _: None
        self.seen: list[Seen] = []
        self.connections = 0
        self.closing = threading.Event()
        self._tls = tls
        self._tokens = 0
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._server.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def at(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.partition("?")[0] == path]

    def close(self) -> None:
        self.closing.set()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as file:
                while (seen := self._read(file)) is not None:
                    self.seen.append(seen)
                    if not self._send(connection, seen):
                        return
        except OSError:
            return  # the client has had enough

    def _read(self, file: Any) -> Seen | None:
        line = file.readline().decode("latin-1")
        if not line:
            return None
        method, path, _ = line.split(" ", 2)
        headers: dict[str, str] = {}
        while (header := file.readline()) not in {b"\r\n", b""}:
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.strip()] = value.strip()
        return Seen(method, path, headers, file.read(int(headers.get("Content-Length", 0))))

    def _send(self, connection: socket.socket, seen: Seen) -> bool:
        parts = self.answer(seen)
        for part in self._good(seen) if parts is None else parts:
            if isinstance(part, bytes):
                connection.sendall(part)
            elif isinstance(part, str) or self.closing.wait(part):
                return False
        return True

    def _good(self, seen: Seen) -> list[bytes]:
        if seen.path == TOKEN_PATH:
            self._tokens += 1
            return [raw_reply(b'{"access_token":"token-%d","expires_in":3600}' % self._tokens)]
        return [raw_reply(b'{"value":[]}')]


def raw_reply(body: bytes = b"", status: int = 200, headers: str = "", *, length: int | None = None) -> bytes:
    """An answer as it goes over the wire; ``headers`` are lines, each with its line end."""
    shown = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {shown}\r\n\r\n"
    return head.encode("latin-1") + body


class Time:
    """Monotonic seconds that pass only when somebody sleeps, or when a test says so; ``slept`` lists the sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.seconds += seconds

    def now(self) -> datetime:
        """The wall clock: the real one, moved on by what was slept."""
        return datetime.now(UTC) + timedelta(seconds=self.seconds)


class Source:
    """Tokens "token-1", "token-2", ... without a network."""

    name = "counting"
    principal = "tester"
    renewable = True

    def __init__(self, lifetime_s: float = 3600.0) -> None:
        self.lifetime_s = lifetime_s
        self.calls = 0

    def fetch(self, now: datetime) -> TokenEnvelope:
        self.calls += 1
        return TokenEnvelope(Secret(f"token-{self.calls}"), now, now + timedelta(seconds=self.lifetime_s))


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    server = Tenant()
    yield server
    server.close()


@pytest.fixture
def other_tenant() -> Iterator[Tenant]:
    server = Tenant()
    yield server
    server.close()


@pytest.fixture
def raw() -> Iterator[RawTenant]:
    server = RawTenant()
    yield server
    server.close()


@pytest.fixture
def raw_tls(authority: trustme.CA) -> Iterator[RawTenant]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = RawTenant(context)
    yield server
    server.close()


@pytest.fixture
def answer_with() -> Callable[..., bytes]:
    return raw_reply


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority such as a company has: nobody trusts it who was not told to."""
    return trustme.CA()


@pytest.fixture
def tls_tenant(authority: trustme.CA) -> Iterator[Tenant]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Tenant(context)
    yield server
    server.close()


@pytest.fixture
def passing() -> Time:
    return Time()


@pytest.fixture
def settings_for() -> Callable[..., Settings]:
    def make(tenant: Any, **options: Any) -> Settings:
        given = {
            "tenant_url": tenant.url,
            "token_url": tenant.url + TOKEN_PATH,
            "client_id": "sb-client!b1|client!b2",
            "client_secret": "secret-of-the-client",  # planted
            "connect_timeout_s": 30,
            "read_timeout_s": 30,
        }
        return Settings.resolve(environ={}, **{**given, **options})

    return make


@pytest.fixture
def connect(passing: Time, settings_for: Callable[..., Settings]) -> Iterator[Callable[..., DispatchContext]]:
    """A context for a tenant, on the time that passes only when slept; jitter is always half of what it may be."""
    opened: list[DispatchContext] = []

    def make(tenant: Any, *, random: Callable[[], float] = lambda: 0.5, **options: Any) -> DispatchContext:
        context = build_context(
            settings_for(tenant, **options),
            now=passing.now,
            clock=passing.clock,
            sleep=passing.sleep,
            random=random,
        )
        opened.append(context)
        return context

    yield make
    for context in opened:
        context.close()


@pytest.fixture
def session_for(passing: Time) -> Iterator[Callable[..., SacSession]]:
    """A session for an address whose tokens come from a source without a network."""
    opened: list[SacSession] = []

    def make(url: str, *, source: Any = None, plan: RetryPlan | None = None, **options: Any) -> SacSession:
        plan = plan or RetryPlan()
        telemetry = Telemetry()
        guard = TokenGuard(
            source or Source(),
            RefreshPolicy(),
            run=refresh_runner(plan, clock=passing.clock, sleep=passing.sleep, random=lambda: 0.5),
            listener=telemetry.on_refresh,
        )
        given = {"clock": passing.clock, "sleep": passing.sleep, "random": lambda: 0.5, "timeout": (30.0, 30.0)}
        session = SacSession(url, guard, retry_plan=plan, telemetry=telemetry, **{**given, **options})
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()


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
