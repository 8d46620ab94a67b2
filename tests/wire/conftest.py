"""Two tenants that do exactly what a test tells them, time that passes only when slept, and contexts."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from loopback import LoopbackServer, Reply, Seen, next_of, tls_context

from sacnb._auth import RefreshPolicy, TokenEnvelope, TokenGuard
from sacnb._settings import Secret, Settings
from sacnb._wire import DispatchContext, RetryPlan, SacSession, Telemetry, build_context
from sacnb._wire.retry import refresh_runner

TOKEN_PATH = "/oauth/token"


@dataclass
class Page(Reply):
    """A reply whose body, unless it is told otherwise, is a page without rows."""

    body: bytes | str = b'{"value":[]}'


class Tenant(LoopbackServer):
    """``answers[path]`` is a list of replies, the last one repeated, or a function of the request.

    The token endpoint gives token-1, token-2, ... unless it is told otherwise; the default answer is an empty page.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Any] = {}
        self.seen: list[Seen] = []
        self.token_lifetime_s: float = 3600
        self._lock = threading.Lock()
        self._tokens = 0
        super().__init__(tls)

    def at(self, path: str) -> list[Seen]:
        """Return the requests for a path, whatever their query."""
        return [seen for seen in self.seen if seen.route == path]

    def reply_to(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            answers = self.answers.get(seen.route)
            if answers is None and seen.route == TOKEN_PATH:
                self._tokens += 1
                token = {"access_token": f"token-{self._tokens}", "expires_in": self.token_lifetime_s}
                return Reply(json.dumps(token))
            if answers is None:
                return Page()
            if isinstance(answers, list):
                return next_of(answers)
        made: Reply = answers(seen)
        return made


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
        return [seen for seen in self.seen if seen.route == path]

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
def reply() -> type[Page]:
    return Page


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
    server = RawTenant(tls_context(authority))
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
    server = Tenant(tls_context(authority))
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
