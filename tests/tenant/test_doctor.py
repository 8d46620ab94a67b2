"""The doctor looks at one thing after the other, and says for each what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sacnb.sandbox
from sacnb._tenant import Diagnosis, diagnose
from sacnb.sandbox import Sandbox

Examine = Callable[..., Diagnosis]


@pytest.fixture
def tenant() -> Iterator[Sandbox]:
    """A sandbox that goes by the real clock, like the tenant of a user."""
    with sacnb.sandbox.start() as started:
        yield started


@pytest.fixture
def examine(tenant: Sandbox, tmp_path: Path) -> Examine:
    def examine(**arguments: Any) -> Diagnosis:
        given = {
            "tenant_url": tenant.tenant_url,
            "token_url": tenant.token_url,
            "client_id": tenant.client_id,
            "client_secret": tenant.client_secret,
            "max_attempts": 1,
        }
        return diagnose(**{**given, **arguments})

    return examine


def statuses(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: check.status for check in diagnosis.checks}


def test_a_healthy_connection(examine: Examine) -> None:
    diagnosis = examine()
    assert diagnosis.healthy
    assert statuses(diagnosis) == {
        "settings": "ok",
        "cache folder": "ok",
        "host": "ok",
        "clock": "ok",
        "token": "ok",
        "grant: Data Export Service": "ok",
        "grant: Data Import Service": "ok",
    }


def test_missing_settings_are_all_named_and_the_rest_is_skipped() -> None:
    diagnosis = diagnose()
    assert not diagnosis.healthy
    text = " ".join(check.detail for check in diagnosis.checks if check.status == "failed")
    assert all(name in text for name in ("SAC_TENANT_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET"))
    assert all(check.remedy for check in diagnosis.checks if check.status == "failed")
    assert {check.name for check in diagnosis.checks if check.status == "skipped"} == {
        "host",
        "clock",
        "token",
        "grants",
    }


def test_a_wrong_secret_fails_the_token_and_shows_nothing(examine: Examine) -> None:
    diagnosis = examine(client_secret="canary-secret")
    token = next(check for check in diagnosis.checks if check.name == "token")
    assert token.status == "failed"
    assert "SAC_CLIENT_SECRET" in token.detail + token.remedy
    assert "canary-secret" not in repr(diagnosis)


def test_a_missing_grant_names_the_box_to_tick(examine: Examine, tenant: Sandbox) -> None:
    tenant.misbehave("forbidden")
    diagnosis = examine()
    grant = next(check for check in diagnosis.checks if check.name == "grant: Data Export Service")
    assert grant.status == "failed"
    assert "tick Data Export Service" in grant.remedy
    assert not diagnosis.healthy


@pytest.mark.parametrize(("ahead_s", "words"), [(3600, "ahead of"), (-3600, "behind")])
def test_a_wrong_clock_is_a_warning(examine: Examine, ahead_s: int, words: str) -> None:
    diagnosis = examine(now=lambda: datetime.now(UTC) + timedelta(seconds=ahead_s))
    clock = next(check for check in diagnosis.checks if check.name == "clock")
    assert clock.status == "warning"
    assert words in clock.detail
    assert diagnosis.healthy


def test_a_host_that_does_not_answer_says_where_to_look(examine: Examine) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        diagnosis = examine(tenant_url=f"http://127.0.0.1:{held.getsockname()[1]}")
    host = next(check for check in diagnosis.checks if check.name == "host")
    assert host.status == "failed"
    assert "SAC_TENANT_URL" in host.remedy
    assert statuses(diagnosis)["token"] == "skipped"


def test_a_proxy_that_does_not_answer_is_named_without_its_password(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:canary-word@127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        diagnosis = examine(tenant_url="https://tenant.invalid")
    host = next(check for check in diagnosis.checks if check.name == "host")
    assert host.status == "failed"
    assert f"127.0.0.1:{port}" in host.detail
    assert "HTTPS_PROXY" in host.remedy
    assert "canary-word" not in repr(diagnosis)


def test_an_authority_nobody_knows_is_explained(examine: Examine, tls_server: str) -> None:
    diagnosis = examine(tenant_url=tls_server)
    host = next(check for check in diagnosis.checks if check.name == "host")
    assert host.status == "failed"
    assert "SAC_CA_BUNDLE" in host.remedy


def test_a_cache_folder_that_cannot_be_written_is_found(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    diagnosis = examine(cache_dir=tmp_path / "file" / "cache")
    folder = next(check for check in diagnosis.checks if check.name == "cache folder")
    assert folder.status == "failed"
    assert "SAC_CACHE_DIR" in folder.remedy


def test_the_corporate_authority_is_trusted_where_it_is_named(
    examine: Examine, tls_server: str, corporate_bundle: Path
) -> None:
    diagnosis = examine(tenant_url=tls_server, ca_bundle=corporate_bundle)
    host = next(check for check in diagnosis.checks if check.name == "host")
    assert (host.status, str(corporate_bundle) in host.detail) == ("ok", True)


def test_a_sandbox_on_this_machine_is_not_looked_for_through_a_proxy(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    diagnosis = diagnose(
        tenant_url=sandbox.tenant_url,
        token_url=sandbox.token_url,
        client_id=sandbox.client_id,
        client_secret=sandbox.client_secret,
    )
    assert diagnosis.healthy
    assert any("without a proxy" in check.detail for check in diagnosis.checks)
