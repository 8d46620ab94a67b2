"""A tenant of a few lines that does exactly what a test tells it, time that passes only when slept, and contexts."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
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
        """What was asked of a path, without its query."""
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
