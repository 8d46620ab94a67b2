"""The authorization server, asked by a client that shares no code with sacnb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def api(start: Callable[..., Any]) -> Any:
    return start(login=False, users={"ann <b>": "pass&word"}, token_lifetime_s=600)


def log_in(api: Any, **changes: str) -> dict[str, str]:
    answer: dict[str, str] = api.log_in("ann <b>", "pass&word", **changes)
    return answer


def refused(answer: Any, words: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert words in answer.json()["error_description"]


def accepts(api: Any, token: str) -> bool:
    answer = api.get("administration/Namespaces", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in {200, 401}
    return bool(answer.status_code == 200)


def test_the_form_and_a_code(api: Any) -> None:
    page = api.http.get(api.authorize_url(), timeout=20)
    assert page.status_code == 200
    assert 'type="password"' in page.text
    assert page.headers["Content-Type"] == "text/html;charset=utf-8"
    back = log_in(api)
    assert back["state"] == "the-state"
    reply = api.exchange(back["code"]).json()
    assert set(reply) == {"access_token", "refresh_token", "token_type", "expires_in", "scope", "jti"}
    assert 590 < reply["expires_in"] <= 600
    assert accepts(api, reply["access_token"])


@pytest.mark.parametrize("password", ["", "wrong", "\0"])
@pytest.mark.parametrize("user", ["ann <b>", "nobody", ""])
def test_a_wrong_password(user: str, password: str, api: Any) -> None:
    data = {"username": user, "password": password}
    answer = api.http.post(api.authorize_url(), data=data, allow_redirects=False, timeout=20)
    assert answer.status_code == 200
    assert "is wrong" in answer.text


def test_cancel(api: Any) -> None:
    data = {"username": "ann <b>", "password": "pass&word", "action": "cancel"}
    answer = api.http.post(api.authorize_url(), data=data, allow_redirects=False, timeout=20)
    assert "error=access_denied" in answer.headers["Location"]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1.evil.example/"},
        {"redirect_uri": "http://[::1"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": ""},
    ],
)
def test_nobody_is_sent_to_an_address_that_is_not_registered(changes: dict[str, str], api: Any) -> None:
    for method in ("GET", "POST"):
        answer = api.http.request(method, api.authorize_url(**changes), allow_redirects=False, timeout=20)
        assert answer.status_code == 400
        assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "changes", [{"response_type": "token"}, {"code_challenge": ""}, {"code_challenge": "short"},
                {"code_challenge_method": "plain"}]
)  # fmt: skip
def test_only_codes_with_s256(changes: dict[str, str], api: Any) -> None:
    answer = api.http.get(api.authorize_url(**changes), allow_redirects=False, timeout=20)
    assert answer.status_code == 302
    assert "error=invalid_request" in answer.headers["Location"]
    assert answer.headers["Location"].endswith("&state=the-state")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code_verifier": "another-verifier-of-the-right-length-0123456789"}, "Invalid code verifier"),  # planted
        ({"code_verifier": ""}, "Invalid code verifier"),
        ({"redirect_uri": "http://127.0.0.1:1/"}, "Redirect URI mismatch"),
    ],
)
def test_a_code_is_bound_to_its_login(changes: dict[str, str], words: str, api: Any) -> None:
    code = log_in(api)["code"]
    refused(api.exchange(code, **changes), words)
    refused(api.exchange(code), "was used before")  # one try


def test_a_code_that_comes_twice_ends_its_login(api: Any) -> None:
    code = log_in(api)["code"]
    tokens = api.exchange(code).json()
    assert accepts(api, tokens["access_token"])
    refused(api.exchange(code), "was used before")
    assert not accepts(api, tokens["access_token"])
    refused(api.refresh(tokens["refresh_token"]), "Invalid refresh token")


def test_a_code_expires(start: Callable[..., Any]) -> None:
    seconds = [0.0]
    api = start(login=False, clock=lambda: seconds[0])
    code = api.log_in()["code"]
    seconds[0] = 301.0
    refused(api.exchange(code), "has expired")


def test_refresh_tokens_rotate_and_a_reused_one_ends_the_login(api: Any) -> None:
    first = api.exchange(log_in(api)["code"]).json()
    second = api.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert accepts(api, second["access_token"])
    refused(api.refresh(first["refresh_token"]), "was used before")
    assert not accepts(api, second["access_token"])
    refused(api.refresh(second["refresh_token"]), "Invalid refresh token")


def test_an_administrator_ends_all_logins_of_users_only(api: Any) -> None:
    technical = api.login()
    tokens = api.exchange(log_in(api)["code"]).json()
    waiting = log_in(api)["code"]
    api.sandbox.end_logins()
    assert not accepts(api, tokens["access_token"])
    refused(api.refresh(tokens["refresh_token"]), "Invalid refresh token")
    refused(api.exchange(waiting), "Invalid authorization code")
    assert accepts(api, technical)


def test_the_log_holds_no_state_and_no_code(api: Any) -> None:
    back = log_in(api)
    api.exchange(back["code"])
    whole = repr(api.sandbox.log)
    assert "authorize" in whole
    assert "the-state" not in whole
    assert back["code"] not in whole
    assert "pass" not in whole
