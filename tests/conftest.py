"""What every test gets: an environment without SAC variables, a cache folder of its own, and a time of its own."""

from __future__ import annotations

import atexit
import gc
import itertools
import logging
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

import sacnb.sandbox
from sacnb._settings import Settings
from sacnb._tenant import Tenant, connector
from sacnb._tenant.connector import connect_with
from sacnb.sandbox import Sandbox

# How long one example takes says more about what else the machine is doing than about the code. What guards a change
# tries the same examples each time, so that a change is refused for what it changes; `make search` looks for new ones.
hypothesis.settings.register_profile("guard", deadline=None, derandomize=True, max_examples=12)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1500, print_blob=True)
hypothesis.settings.load_profile("guard")
# Hypothesis also tries constants that it finds by parsing every module of sacnb: seconds in each process, and other
# examples whenever a module changes. Without this name it does as it likes.
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

_numbers = itertools.count()
gc.disable()  # until all is collected: nothing of it can be freed


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let later garbage collections pass over what is imported and collected by now, a second's work each time."""
    gc.freeze()
    gc.enable()
    if coverage := _coverage_of(session):
        coverage.pause()


def pytest_unconfigure() -> None:
    """Let what was passed over be freed at the end: DuckDB lists what is not."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count coverage while a test itself runs, unless it tries many examples.

    To trace fixtures, their servers and pytest takes longer than all of the tests.
    """
    coverage = _coverage_of(item)
    if coverage is None or hasattr(getattr(item, "obj", None), "hypothesis"):
        return (yield)
    coverage.resume()
    try:
        return (yield)
    finally:
        coverage.pause()


def _coverage_of(node: pytest.Session | pytest.Item) -> Any:
    plugin = node.config.pluginmanager.getplugin("_cov")
    return plugin and plugin.cov_controller


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return a folder of the test's own.

    pytest's fixture looks through the folders of all tests before for the next number; this one counts.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}-{next(_numbers)}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the developer's machine reaches a test, and no test reaches the developer's cache and profiles."""
    for name in list(os.environ):
        if name.startswith("SAC_") or name.upper() in {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # where Linux has the profiles


@pytest.fixture(autouse=True)
def _nobody_set_up_logging() -> Iterator[None]:
    """What ``connect()`` sets up for a user's log reaches no other test.

    A fixture that serves a whole module connects before the first of its tests begins, so it is not enough to put back
    afterwards what was found.
    """
    logger = logging.getLogger("sacnb")
    silent = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]

    def as_imported() -> None:
        logger.handlers[:] = silent
        logger.setLevel(logging.NOTSET)

    as_imported()
    yield
    as_imported()


@pytest.fixture(scope="module", autouse=True)
def _next_sandbox_is_another() -> Iterator[None]:
    """What the tests of a module write to the sandbox of this process, or let it do, reaches no other module."""
    yield
    embedded, workers = connector._embedded, connector._workers
    workers._tenants.clear()
    if embedded.sandbox is not None:
        atexit.unregister(embedded.sandbox.close)
        embedded.sandbox.close()
        embedded.sandbox = None


@dataclass
class Time:
    """A clock that moves when somebody sleeps, or when it is told to."""

    passed_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def clock(self) -> float:
        return self.passed_s

    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.passed_s)

    def advance(self, seconds: float) -> None:
        with self.lock:
            self.passed_s += seconds

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.advance(seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def sandbox(time: Time) -> Iterator[Sandbox]:
    with sacnb.sandbox.start(clock=time.clock, now=time.now) as started:
        yield started


@pytest.fixture
def connect_to(tmp_path: Path, time: Time) -> Iterator[Callable[..., Tenant]]:
    """Connects to a sandbox with the test's own time; arguments are those of ``connect()``."""
    tenants = []

    def connect_to(sandbox: Sandbox, **arguments: Any) -> Tenant:
        environ = {"SAC_TENANT_URL": "sandbox", "SAC_CACHE_DIR": str(tmp_path / "cache")}
        settings = Settings.resolve(environ=environ, **arguments)
        tenant = connect_with(
            settings,
            sandbox=sandbox,
            now=time.now,
            clock=time.clock,
            sleep=time.sleep,
            random=random.Random(7).random,
        )
        tenants.append(tenant)
        return tenant

    yield connect_to
    for tenant in tenants:
        tenant.close()


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


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A keyring in memory instead of the system's, and a home folder of the test's own."""
    import keyrings

    monkeypatch.setenv("HOME", str(tmp_path))
    with keyrings.in_use() as ring:
        yield ring
