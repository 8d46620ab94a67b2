"""A Jupyter server in a thread of this process, with the routes of the side panel, beside a sandbox."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from panel_routes import CLIENT_ID, CLIENT_SECRET, TOKEN, Api

import sacnb.sandbox
from sacnb.lab.handlers import Lab, add_routes
from sacnb.lab.jobs import Jobs
from sacnb.lab.tenants import Tenants
from sacnb.sandbox import Sandbox


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Lab]]:
    """The address of the server, and what its routes share."""
    from jupyter_server.serverapp import ServerApp
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    base = tmp_path_factory.mktemp("jupyter")
    lab = Lab(Tenants())
    started = threading.Event()
    ended: dict[str, Any] = {}

    async def serve() -> None:
        app = ServerApp(root_dir=str(base), base_url="/user/me/")
        app.init_signal = lambda: None
        app.initialize(argv=[f"--IdentityProvider.token={TOKEN}"], find_extensions=False, new_httpserver=False)
        add_routes(app.web_app, lab)
        server, sockets = HTTPServer(app.web_app), bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        ended.update(loop=asyncio.get_running_loop(), stop=asyncio.Event(), port=sockets[0].getsockname()[1])
        started.set()
        await ended["stop"].wait()
        server.stop()
        await server.close_all_connections()

    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR", "PATH", "CONFIG_PATH"):
            patch.setenv(f"JUPYTER_{name}", str(base / name.lower()))
        patch.delenv("JUPYTER_TOKEN", raising=False)
        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        assert started.wait(60)
        yield f"http://127.0.0.1:{ended['port']}/user/me/", lab
        ended["loop"].call_soon_threadsafe(ended["stop"].set)
        thread.join(60)
    ServerApp.clear_instance()


@pytest.fixture(scope="module")
def tenant() -> Iterator[Sandbox]:
    with sacnb.sandbox.start(client_id=CLIENT_ID, client_secret=CLIENT_SECRET) as started:
        yield started


@pytest.fixture
def environment(tenant: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Sets the variables of the sandbox as a tenant's."""
    monkeypatch.chdir(tmp_path)
    values = {
        "SAC_TENANT_URL": tenant.tenant_url,
        "SAC_TOKEN_URL": tenant.token_url,
        "SAC_CLIENT_ID": tenant.client_id,
        "SAC_CLIENT_SECRET": tenant.client_secret,
        "SAC_MAX_ATTEMPTS": "1",
        "SAC_STREAMS": "1",
        "SAC_PAGE_SIZE": "40",
    }

    def environment(**others: str | None) -> None:
        for name, value in {**values, **others}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return environment


@pytest.fixture
def api(
    jupyter: tuple[str, Lab], tenant: Sandbox, environment: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> Iterator[Api]:
    """The routes, with the sandbox as the tenant of the environment; no secret is in any answer or log."""
    url, lab = jupyter
    environment()
    lab.tenants, lab.jobs, lab.ensure_wait_s = Tenants(), Jobs(), 10.0
    lab.refreshing.clear()
    tenant.behave()
    api = Api(url, lab, [])
    yield api
    tenant.behave()
    for job in lab.jobs.all():
        job.cancel()
        job.wait(60)
    lab.close()
    log = capfd.readouterr()
    shown = "\n".join([*api.texts, log.out, log.err])
    assert [one for one in ("canaryOfTheSecret", "sandbox-token.", TOKEN) if one in shown] == []
