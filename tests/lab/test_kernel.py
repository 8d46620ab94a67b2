"""A kernel that uses the server's guard: the same rows, the same errors, and no token."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from panel_routes import TOKEN, Api

import sacnb
from sacnb import errors
from sacnb._auth.sources import running_server
from sacnb._tenant.connector import _workers
from sacnb.sandbox import Sandbox


@pytest.fixture
def server_file(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the Jupyter server writes into its runtime folder, for the process that stands for a kernel here."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", "4711")
    port = int(api.url.split(":")[2].partition("/")[0])
    about = {"hostname": "localhost", "port": port, "base_url": "/user/me/", "token": TOKEN, "secure": False}
    file = tmp_path / "jpserver-4711.json"
    file.write_text(json.dumps(about), encoding="utf-8")
    return file


@pytest.fixture
def kernel(server_file: Path, tenant: Sandbox) -> Iterator[sacnb.Tenant]:
    """The connection of a kernel that has no secret."""
    with sacnb.connect(tenant.tenant_url, auth="jupyter_server") as connected:
        yield connected


def test_a_kernel_reads_what_the_server_may_read(kernel: sacnb.Tenant, api: Api) -> None:
    own = sacnb.connect()
    facts: dict[str, Any] = {"where": {"Version": "public.Actual", "Sector": "20"}}
    expected = own.model("US_EMPLOYMENT").facts(**facts).fetch().polars()
    model = kernel.model("US_EMPLOYMENT")
    assert model.facts(**facts).fetch().polars().equals(expected)
    assert model.members("Sector").equals(own.model("US_EMPLOYMENT").members("Sector"))
    assert kernel.models().equals(own.models())
    own.close()


def test_it_shares_the_cache_of_the_server(kernel: sacnb.Tenant, api: Api) -> None:
    job = api.post("/refresh", model="US_EMPLOYMENT").json()
    found = api.lab.jobs.find(job["id"])
    assert found is not None
    found.wait(60)
    rows = kernel.model("US_EMPLOYMENT").refresh(max_age_s=3600, progress=None).info
    assert rows.row_count == api.get(f"/jobs/{job['id']}")["cached"]["rows"]
    assert kernel.telemetry.summary().rows == 0


def test_it_never_has_a_token_or_a_secret(kernel: sacnb.Tenant, tenant: Sandbox) -> None:
    kernel.models()
    kernel.renew_token()
    token = kernel._connection.context.session.token["access_token"].reveal()
    assert token == "kept-by-the-jupyter-server"
    assert kernel.settings.client_secret.reveal() == ""
    assert kernel.settings.client_id == ""


def test_renewing_renews_the_servers_token(kernel: sacnb.Tenant, tenant: Sandbox) -> None:
    kernel.authenticate()
    issued = tenant.counts["tokens_issued"]
    assert kernel.renew_token().renewed
    assert tenant.counts["tokens_issued"] == issued + 1


@pytest.mark.parametrize(
    ("misbehaviour", "kind"),
    [
        ("error_503", errors.ServerError),
        ("forbidden", errors.ForbiddenError),
        ("token_invalid_client", errors.RefreshError),
    ],
)
def test_errors_are_those_of_the_server(
    kernel: sacnb.Tenant, tenant: Sandbox, misbehaviour: str, kind: type[Exception]
) -> None:
    tenant.misbehave(misbehaviour, **({} if misbehaviour.startswith("token") else {"on": "api"}))
    with pytest.raises(kind) as raised:
        kernel.models()
    assert type(raised.value) is kind


def test_it_writes_nothing_and_reads_no_users(kernel: sacnb.Tenant, tenant: Sandbox) -> None:
    asked = tenant.counts["requests"]
    with pytest.raises(errors.AuthError, match="writes nothing"):
        kernel._connection.context.session.fetch("POST", "/api/v1/dataimport/models/X/factData", operation="x", json={})
    with pytest.raises(errors.QueryError, match="does not send"):
        kernel.read("/api/v1/scim/Users")
    assert tenant.counts["requests"] - asked <= 1  # that for a token


def test_worker_processes_of_a_kernel_read_slices_through_its_server(
    kernel: sacnb.Tenant, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = kernel.model("US_EMPLOYMENT").facts().partitions(2)
    assert TOKEN.encode() not in pickle.dumps(slices)
    # This process stands for a worker as well, which inherits the variable of the kernel that started it.
    read = [sacnb.read_slice(pickle.loads(pickle.dumps(one))).read_all() for one in slices]
    assert sum(table.num_rows for table in read) == kernel.model("US_EMPLOYMENT").facts().fetch().info.row_count


def test_a_worker_on_another_machine_says_what_it_needs(
    kernel: sacnb.Tenant, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (one,) = kernel.model("US_EMPLOYMENT").facts(where={"Sector": "20"}).partitions(1)
    monkeypatch.delenv("JPY_PARENT_PID")
    _workers.forget(one.spec)
    with pytest.raises(errors.SettingsError, match=r"no kernel of a Jupyter server[\s\S]*auth='client_credentials'"):
        sacnb.read_slice(one)
    _workers.forget(one.spec)
    # As that error says: with a client of the worker's own.
    with sacnb.connect(one.spec, auth="client_credentials") as own:
        assert sacnb.read_slice(one, tenant=own).read_all().num_rows == one.expected_rows


def test_another_tenant_than_the_servers_is_refused(server_file: Path) -> None:
    with (
        sacnb.connect("https://other.eu10.hcs.cloud.sap", auth="jupyter_server") as other,
        pytest.raises(errors.SettingsError, match="The kernel means"),
    ):
        other.models()


def test_a_wrong_token_of_the_kernel_is_said_plainly(server_file: Path, kernel: sacnb.Tenant) -> None:
    about = json.loads(server_file.read_text(encoding="utf-8"))
    server_file.write_text(json.dumps({**about, "token": "wrong"}), encoding="utf-8")
    with pytest.raises(errors.AuthError, match="does not accept the token of this kernel"):
        kernel.models()


def test_a_server_that_has_ended_is_said_plainly(server_file: Path, kernel: sacnb.Tenant) -> None:
    about = json.loads(server_file.read_text(encoding="utf-8"))
    server_file.write_text(json.dumps({**about, "port": 9}), encoding="utf-8")
    with pytest.raises(errors.SacError, match="Jupyter server did not answer"):
        kernel.models()


def test_outside_of_jupyter_there_is_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    with (
        sacnb.connect("https://acme.eu10.hcs.cloud.sap", auth="jupyter_server") as connected,
        pytest.raises(errors.SettingsError, match="no kernel of a Jupyter server"),
    ):
        connected.models()


@pytest.mark.parametrize(
    ("hostname", "secure", "expected"),
    [
        ("0.0.0.0", False, "http://127.0.0.1:8888/user/me/sacnb"),
        ("10.0.0.7", False, "http://10.0.0.7:8888/user/me/sacnb"),
        ("localhost", True, "https://127.0.0.1:8888/user/me/sacnb"),
    ],
)
def test_the_server_is_found_by_its_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hostname: str, secure: bool, expected: str
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-the-hub")
    about = {"hostname": hostname, "port": 8888, "base_url": "/user/me/", "token": "", "secure": secure}
    (tmp_path / f"jpserver-{os.getpid()}.json").write_text(json.dumps(about), encoding="utf-8")
    url, token = running_server()
    assert (url, token.reveal()) == (expected, "of-the-hub")
