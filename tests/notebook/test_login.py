"""``%sac login``, ``logout`` and ``whoami``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

import sacnb.sandbox
from sacnb.errors import AuthError
from sacnb.notebook.session import SESSION
from sacnb.notebook.words import LoginLink
from sacnb.sandbox import Sandbox


def visit(link: str) -> None:
    """Log in as the planner, as a browser does."""
    form = requests.get(link, timeout=30).url
    assert requests.post(form, data={"username": "planner", "password": "planner"}, timeout=30).status_code == 200


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    with sacnb.sandbox.start() as served:
        yield served


@pytest.fixture
def user_shell(shell: Any, served: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SAC_TENANT_URL", served.tenant_url)
    monkeypatch.setenv("SAC_TOKEN_URL", served.token_url)
    monkeypatch.setenv("SAC_CLIENT_ID", served.client_id)
    monkeypatch.setenv("SAC_CLIENT_SECRET", served.client_secret)
    monkeypatch.setenv("SAC_AUTH", "authorization_code")
    monkeypatch.setenv("SAC_REDIRECT_URI", "http://127.0.0.1:0/")
    monkeypatch.setenv("SAC_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("sacnb._auth.named_user_flow.find_browser", lambda: visit)
    shell.run("%load_ext sacnb")
    return shell


def test_login_and_logout(user_shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AuthError, match="Nobody is logged in") as caught:
        user_shell.run("%sac models")
    assert "%sac login" in str(caught.value.hint)
    who = user_shell.run("%sac login")
    assert who.user == "planner"
    assert "US_EMPLOYMENT" in user_shell.run("%sac models")["id"].to_list()
    assert user_shell.run("%sac whoami") == who
    assert repr(user_shell.run("%sac logout")) == "Logged out."
    with pytest.raises(AuthError, match="Nobody is logged in"):
        user_shell.run("%sac models")
    assert user_shell.run("%sac login").user == "planner"  # the same tenant, once more


def test_a_login_that_fails_keeps_the_tenant(user_shell: Any, served: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAC_AUTH", "client_credentials")
    user_shell.run("%sac connect")
    before = SESSION.tenant
    served.misbehave("login_refused", times=1)
    with pytest.raises(AuthError, match="refused the login"):
        user_shell.run("%sac login")
    served.behave()
    assert SESSION.tenant is before
    assert len(user_shell.run("%sac models"))


def test_the_link_is_escaped_and_tells_the_other_side_nothing() -> None:
    link = LoginLink('http://127.0.0.1:1/login-x?"><script>')
    assert "<script>" not in link._repr_html_()
    assert 'rel="noopener noreferrer"' in link._repr_html_()
