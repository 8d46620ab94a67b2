"""The tenants of a server: by profile, one guard each, and what is taken out of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from panel_routes import Api

from sacnb._settings import Secret, save_profile
from sacnb.lab.tenants import Tenants, take_secrets
from sacnb.sandbox import Sandbox


def make_profile(name: str, tenant: Sandbox) -> None:
    values: dict[str, str | Secret] = {
        "SAC_TENANT_URL": tenant.tenant_url,
        "SAC_TOKEN_URL": tenant.token_url,
        "SAC_CLIENT_ID": tenant.client_id,
        "SAC_CLIENT_SECRET": Secret(tenant.client_secret),
    }
    save_profile(name, values, in_keyring=False)


def test_each_profile_has_one_connection_however_many_ask(
    environment: Callable[..., None], tenant: Sandbox, in_threads: Callable[..., list[Any]]
) -> None:
    environment(SAC_TENANT_URL=None)
    make_profile("prod", tenant)
    tenants = Tenants()
    assert [one["profile"] for one in tenants.list()] == ["prod"]
    held = in_threads(4, lambda _: tenants.get("prod"))
    assert len(set(map(id, held))) == 1
    assert tenants.peek("test") is None
    tenants.close()


def test_a_changed_profile_is_connected_anew(environment: Callable[..., None], tenant: Sandbox) -> None:
    environment()
    make_profile("prod", tenant)
    tenants = Tenants()
    before = tenants.get("prod")
    make_profile("test", tenant)
    assert tenants.get("prod") is not before
    assert {one["profile"] for one in tenants.list()} == {"", "prod", "test"}
    tenants.close()


def test_without_any_tenant_the_sandbox_is_offered(environment: Callable[..., None]) -> None:
    environment(SAC_TENANT_URL=None)
    assert Tenants().list() == [{"profile": "sandbox", "tenant": "sandbox"}]


def test_a_mistake_in_the_settings_is_shown(api: Api, environment: Callable[..., None]) -> None:
    environment(SAC_STREAMS="many")
    (found,) = api.get("/status")["tenants"]
    assert "SAC_STREAMS" in found["problem"]["message"]
    assert api.call("GET", "/models").status_code == 409


def test_the_secrets_of_a_server_for_kernels_leave_its_environment() -> None:
    environ = {"SAC_AUTH": "jupyter_server", "SAC_CLIENT_SECRET": "s3cr3t-planted", "SAC_TENANT_URL": "x"}  # planted
    taken = take_secrets(environ)
    assert environ == {"SAC_AUTH": "jupyter_server", "SAC_TENANT_URL": "x"}
    assert taken["SAC_CLIENT_SECRET"].reveal() == "s3cr3t-planted"  # planted
    kept = {"SAC_CLIENT_SECRET": "x"}
    assert take_secrets(kept) == {}
    assert kept == {"SAC_CLIENT_SECRET": "x"}


@pytest.mark.parametrize("profile", ["", "prod"])
def test_the_server_signs_in_with_the_client_where_kernels_do_not(
    environment: Callable[..., None], tenant: Sandbox, profile: str
) -> None:
    environment(SAC_AUTH="jupyter_server", SAC_CLIENT_SECRET=None)
    make_profile("prod", tenant)
    tenants = Tenants(secrets={"SAC_CLIENT_SECRET": Secret(tenant.client_secret)})
    held = tenants.get(profile)
    assert held.tenant.settings.auth == "client_credentials"
    assert held.tenant.authenticate().remaining_s > 0
    tenants.close()
