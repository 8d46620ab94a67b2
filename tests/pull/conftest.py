"""A sandbox in a process of its own, and processes that pull from it and can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forking
import pytest

from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Schema
from sacnb._pull.plan import Job
from sacnb._settings import Settings
from sacnb._settings.variables import Limits
from sacnb._tenant import Tenant
from sacnb._tenant.connector import connect_with
from sacnb._wire.retry import RetryPlan
from sacnb._wire.telemetry import Telemetry

SERVE = """
import json, sys
from sacnb import sandbox

def ready(one):
    names = ("tenant_url", "token_url", "client_id", "client_secret")
    print(json.dumps({name: getattr(one, name) for name in names}), flush=True)

sandbox.serve(on_ready=ready, **json.loads(sys.argv[1]))
"""

PULL = """
import json, os, signal, sys
from types import SimpleNamespace
from sacnb._settings import Settings
from sacnb._tenant.connector import connect_with

told = json.loads(sys.argv[1])
settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"}, **told["settings"])
tenant = connect_with(settings, sandbox=SimpleNamespace(**told["sandbox"]))
facts = tenant.model(told["model"]).facts(**told["facts"])

def progress(now):
    print(now.rows, flush=True)
    if told["kill_at"] is not None and now.rows >= told["kill_at"]:
        os.kill(os.getpid(), signal.SIGKILL)

told["call"].setdefault("progress", progress)
try:
    result = getattr(facts, told["method"])(**told["call"])
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
print("done", len(result) if told["method"] == "refresh" else result.row_count, flush=True)
"""


@dataclass(frozen=True)
class FarSandbox:
    """A sandbox that runs in another process, with what ``connect`` needs of one."""

    tenant_url: str
    token_url: str
    client_id: str
    client_secret: str

    def connect(self, cache_dir: Path, **arguments: Any) -> Tenant:
        environ = {"SAC_TENANT_URL": "sandbox", "SAC_CACHE_DIR": str(cache_dir)}
        settings = Settings.resolve(environ=environ, **arguments)
        return connect_with(settings, sandbox=self)  # type: ignore[arg-type]  # it has all that is used of one


@contextmanager
def far(scale_rows: int) -> Iterator[FarSandbox]:
    """Serve a sandbox in its own process, as a tenant is; SCALE has this many rows."""
    options = json.dumps({"scale_rows": scale_rows})
    with forking.Forked([sys.executable, "-c", SERVE, options], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield FarSandbox(**json.loads(server.stdout.readline()))
        finally:
            server.terminate()


@pytest.fixture
def serve_far() -> Callable[[int], AbstractContextManager[FarSandbox]]:
    return far


@pytest.fixture(scope="session")
def far_sandbox() -> Iterator[FarSandbox]:
    with far(120_000) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def far_million() -> Iterator[FarSandbox]:
    with far(1_000_000) as sandbox:
        yield sandbox


@pytest.fixture
def start_pull(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that pulls from a sandbox, and prints how many rows it has after each page."""
    started: list[subprocess.Popen[str]] = []

    def start(
        method: str,
        sandbox: Any,
        *,
        facts: dict[str, Any] | None = None,
        call: dict[str, Any] | None = None,
        kill_at: int | None = None,
        model: str = "SCALE",
        **settings: Any,
    ) -> subprocess.Popen[str]:
        told = {
            "settings": {"cache_dir": str(tmp_path / "cache"), **settings},
            "sandbox": {name: getattr(sandbox, name) for name in FarSandbox.__annotations__},
            "model": model,
            "facts": facts or {},
            "method": method,
            "call": call or {},
            "kill_at": kill_at,
        }
        process = forking.Forked(
            [sys.executable, "-c", PULL, json.dumps(told)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class GivenPages:
    """A session of a tenant that has the pages it is given, whatever is asked for first."""

    limits = Limits()

    def __init__(self, pages: list[bytes]) -> None:
        self._pages = pages
        self.clock = time.monotonic
        self.sleep = time.sleep

    def fetch(self, _: str, url: str, **options: Any) -> Any:
        answer = SimpleNamespace(
            body=self._pages[int(url.rpartition("at=")[2]) if "at=" in url else 0], url=url, status=200
        )
        options["check"](answer)
        return answer


@pytest.fixture
def job_of() -> Callable[..., Job]:
    """A job for rows of ``Name`` and ``Amount`` (a decimal with 7 digits after the point) that come in given pages."""

    def make(*pages: dict[str, str], **options: Any) -> Job:
        total = sum(map(len, pages))
        bodies = []
        for number, page in enumerate(pages, start=1):
            rows = ",".join(f'{{"Name":{json.dumps(name)},"Amount":{amount}}}' for name, amount in page.items())
            link = f',"@odata.nextLink":"/F?at={number}"' if number < len(pages) else ""
            bodies.append(f'{{"@odata.count":{total},"value":[{rows}]{link}}}'.encode())
        columns = (
            Column("Name", "Edm.String", "dimension"),
            Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
        )
        context: Any = SimpleNamespace(session=GivenPages(bodies), telemetry=Telemetry(), retry_plan=RetryPlan())
        return Job(
            context=context,
            tenant_url="https://acme.invalid",
            schema=Schema("GIVEN", "FactData", columns),
            query=Query("GIVEN"),
            **options,
        )

    return make
