"""``sacnb login``, ``logout`` and ``whoami``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import keyrings
import pytest
import requests
from click.testing import Result

from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]


def visit(link: str) -> None:
    """Log in as the planner, as a browser does."""
    form = requests.get(link, timeout=30).url
    page = requests.post(form, data={"username": "planner", "password": "planner"}, timeout=30)
    assert "You can close this tab." in page.text


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacnb._auth.named_user_flow.find_browser", lambda: visit)


@pytest.fixture
def user_settings(tenant: Sandbox, ring: keyrings.Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_AUTH", "authorization_code")
    monkeypatch.setenv("SAC_REDIRECT_URI", "http://127.0.0.1:0/")


def test_login_is_kept_for_the_commands_after_it(
    invoke: Invoke, tenant: Sandbox, user_settings: None, browser: None, ring: keyrings.Ring
) -> None:
    refused = invoke("whoami")
    assert refused.exit_code == 2
    assert "Nobody is logged in" in refused.stderr
    assert "sacnb login" in refused.stderr
    done = invoke("login")
    assert done.exit_code == 0, done.output
    assert "planner" in done.stdout
    assert "kept in the system's keyring" in done.stdout
    assert "Note" not in done.stderr
    who = json.loads(invoke("whoami", "--json").stdout)
    assert (who["user"], who["kind"], who["is_kept"]) == ("planner", "named user", True)
    assert who["tenant_host"] == urlsplit(tenant.tenant_url).netloc
    assert "US_EMPLOYMENT" in invoke("models").stdout
    assert [kind for kind in invoke("logout").stdout.splitlines() if kind] == ["Logged out."]
    assert ring.kept == {}
    assert "Nobody was logged in." in invoke("logout").stdout
    assert invoke("models").exit_code == 2


def test_login_says_which_setting_uses_it(
    invoke: Invoke, user_settings: None, browser: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAC_AUTH")
    done = invoke("login")
    assert done.exit_code == 0, done.output
    assert "Note: set SAC_AUTH=authorization_code" in done.stderr
    assert json.loads(invoke("whoami", "--json").stdout)["kind"] == "technical user"


@pytest.mark.usefixtures("user_settings", "browser")
def test_a_profile(invoke: Invoke, tenant: Sandbox, ring: keyrings.Ring, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "sacnb"
    folder.mkdir(parents=True)
    (folder / "profiles.toml").write_text(
        f"[plan]\ntenant_url = '{tenant.tenant_url}'\ntoken_url = '{tenant.token_url}'\n"
        f"client_id = '{tenant.client_id}'\nclient_secret = '{tenant.client_secret}'\n"
        "auth = 'authorization_code'\nredirect_uri = 'http://127.0.0.1:0/'\n"
    )
    assert invoke("login", "--profile", "plan").exit_code == 0
    assert all(name.startswith("login plan ") for _, name in ring.kept)
    assert "planner" in invoke("--profile", "plan", "whoami").stdout
    assert invoke("whoami").exit_code == 2  # the environment's own client has no login
    assert "Logged out." in invoke("logout", "--profile", "plan").stdout


def test_without_a_terminal_nothing_is_pasted(invoke: Invoke, user_settings: None) -> None:
    done = invoke("login", "--paste")
    assert done.exit_code == 2
    assert "in a terminal only" in done.stderr


def test_the_time_limit_is_checked(invoke: Invoke, user_settings: None) -> None:
    assert invoke("login", "--timeout", "0").exit_code == 2
