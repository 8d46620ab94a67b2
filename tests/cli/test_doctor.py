"""The findings of the doctor, and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from sacnb._settings import Secret, save_profile
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]


def test_a_healthy_tenant(invoke: Invoke, tenant: Sandbox) -> None:
    done = invoke("doctor")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.endswith("\nData can be read.\n")
    for name in ("settings", "cache folder", "host", "clock", "token", "grant: Data Export Service"):
        assert name in done.stdout
    assert tenant.client_secret not in done.stdout


def test_as_json(invoke: Invoke, tenant: Sandbox) -> None:
    answer = json.loads(invoke("doctor", "--json").stdout)
    assert list(answer) == ["healthy", "checks"]
    assert answer["healthy"] is True
    assert {tuple(check) for check in answer["checks"]} == {("name", "status", "detail", "remedy")}


def test_a_missing_grant_is_unhealthy_and_names_its_remedy(invoke: Invoke, tenant: Sandbox) -> None:
    tenant.misbehave("forbidden")
    result = invoke("doctor")
    assert result.exit_code == ExitCode.NO
    assert "-> System > Administration > App Integration" in result.stdout


def test_a_wrong_secret_is_unhealthy_and_not_shown(
    invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAC_CLIENT_SECRET", "a-wrong-secret")
    result = invoke("doctor", "--json")
    assert result.exit_code == ExitCode.NO
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["token"]["status"] == "failed"
    assert "SAC_CLIENT_SECRET" in checks["token"]["remedy"]
    assert "a-wrong-secret" not in result.output


def test_a_warning_of_the_settings_is_shown_once(
    invoke: Invoke, tenant: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SAC_TENANT_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    values = {
        "SAC_TENANT_URL": "https://acme.eu10.hcs.cloud.sap",
        "SAC_TOKEN_URL": tenant.token_url,
        "SAC_CLIENT_ID": tenant.client_id,
        "SAC_CLIENT_SECRET": Secret(tenant.client_secret),
    }
    save_profile("prod", values, in_keyring=False)
    shown = invoke("--profile", "prod", "--tenant-url", tenant.tenant_url, "doctor").output
    assert " ".join(shown.split()).count("is used with the client of") == 1


def test_without_settings_every_missing_variable_is_a_line(invoke: Invoke) -> None:
    result = invoke("doctor")
    assert result.exit_code == ExitCode.NO
    assert "SAC_TENANT_URL is missing" in result.stdout
    assert result.stdout.endswith("Data cannot be read yet: see what failed above.\n")


def test_the_env_file_that_was_read_is_named(invoke: Invoke, tenant: Sandbox, tmp_path: Path) -> None:
    def settings(*options: str) -> str:
        checks = json.loads(invoke(*options, "doctor", "--json").stdout)["checks"]
        return str(next(check["detail"] for check in checks if check["name"] == "settings"))

    assert settings().endswith(", no .env was read")
    file = tmp_path / "settings.env"
    file.write_text("SAC_STREAMS=2\n", "utf-8")
    assert settings("--env-file", str(file)).endswith(f", from {file}")
