"""Named users against a real OpenID provider, with plain HTTP in the place of a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import openid
import pytest
import requests

from sacnb._auth.guard import TokenGuard
from sacnb._auth.named_user import AuthorizationCode
from sacnb._auth.named_user_flow import log_in
from sacnb._settings import Secret
from sacnb.errors import AuthError, RefreshError


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with openid.provider() as address:
        yield address


@pytest.fixture
def source(provider: str) -> AuthorizationCode:
    secret = Secret("s$e!c|r=e+t/")  # planted
    uri = "http://127.0.0.1:0/back"
    return AuthorizationCode(f"{provider}/oauth2/token", "client", secret, redirect_uri=uri, scope="openid email")


def browse(**form: str) -> Callable[[str], None]:
    def browse(link: str) -> None:
        page = requests.post(requests.get(link, timeout=30).url, data=form, timeout=30)
        assert "You can close this tab." in page.text

    return browse


def log_in_with(guard: TokenGuard, **form: str) -> None:
    log_in(guard, to="x", keep=False, paste=None, timeout_s=30, show=str, find=lambda: browse(**form))


def userinfo(provider: str, guard: TokenGuard) -> requests.Response:
    header = {"Authorization": f"Bearer {guard.ensure().token.value.reveal()}"}
    return requests.get(f"{provider}/userinfo", headers=header, timeout=30)


def test_a_login_a_refresh_and_a_revocation(provider: str, source: AuthorizationCode) -> None:
    guard = TokenGuard(source)
    log_in_with(guard, sub="ann")
    assert (source.who.user, source.who.email) == ("ann@acme.example", "ann@acme.example")
    principal = source.principal
    assert userinfo(provider, guard).json()["sub"] == "ann"
    first = guard.ensure().token
    assert guard.force().token.value != first.value
    assert userinfo(provider, guard).json()["sub"] == "ann"
    assert source.principal == principal
    requests.post(f"{provider}/users/ann/revoke-tokens", timeout=30)
    assert userinfo(provider, guard).status_code == 400
    with pytest.raises(RefreshError, match="The login has ended"):
        guard.force()
    log_in_with(guard, sub="ann")
    assert userinfo(provider, guard).json()["sub"] == "ann"


def test_a_refusal(source: AuthorizationCode) -> None:
    with pytest.raises(AuthError, match="SAC refused the login: access_denied"):
        log_in_with(TokenGuard(source), action="deny")


def test_a_code_of_nobody(source: AuthorizationCode) -> None:
    attempt = source.begin("http://127.0.0.1:1/")
    with pytest.raises(RefreshError, match="invalid_grant"):
        source.exchange(attempt, Secret("made-up"), datetime.now(UTC), keep=False)
