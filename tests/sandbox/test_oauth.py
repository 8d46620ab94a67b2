from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

GRANT = {"grant_type": "client_credentials"}


def test_the_reply_has_the_fields_of_the_token_service(start: Callable[..., Any]) -> None:
    answer = start(login=False).token()
    assert answer.status_code == 200
    reply = answer.json()
    assert list(reply) == ["access_token", "token_type", "expires_in", "scope", "jti"]
    assert reply["token_type"].lower() == "bearer"
    assert reply["expires_in"] in {3599, 3600}
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_client_may_stand_in_the_header_or_in_the_body_and_the_grant_in_the_query(
    start: Callable[..., Any],
) -> None:
    api = start(login=False)
    body = {"client_id": api.sandbox.client_id, "client_secret": api.sandbox.client_secret}
    assert api.token(auth=None, data={**GRANT, **body}).status_code == 200
    assert api.token(auth=None, data=None, params={**GRANT, **body}).status_code == 200
    assert api.token(data=None, params=GRANT).status_code == 200


def test_the_header_takes_the_raw_secret_and_not_the_encoded_form_of_rfc_6749(start: Callable[..., Any]) -> None:
    api = start(login=False)
    encoded = api.basic(quote(api.sandbox.client_id, safe=""), quote(api.sandbox.client_secret, safe=""))
    assert api.token(auth=None, headers=encoded).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": "Bearer abc"},
        {"Authorization": "Basic bWU6d3Jvbmc="},
    ],
)
def test_a_wrong_client_gets_the_answer_of_saps_token_service(
    start: Callable[..., Any], samples: Any, headers: dict[str, str]
) -> None:
    answer = start(login=False).token(auth=None, headers=headers)
    assert answer.status_code == 401
    assert answer.text == (samples / "oauth_error_invalid_client.json").read_text().strip()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, "invalid_grant"),
        ({"grant_type": "authorization_code"}, "invalid_grant"),
        ({}, "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
    ],
)
def test_other_grants_are_refused(start: Callable[..., Any], data: Any, error: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = start(login=False).token(data=data, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"] == error


def test_a_token_request_is_a_post(start: Callable[..., Any]) -> None:
    api = start(login=False)
    assert api.http.get(api.sandbox.token_url, timeout=5).status_code == 405


def test_a_token_lives_as_long_as_it_says(start: Callable[..., Any]) -> None:
    seconds = [1000.0]
    api = start(login=False, token_lifetime_s=8, clock=lambda: seconds[0])
    assert api.token().json()["expires_in"] == 8
    api.login()
    seconds[0] += 7.99
    assert api.get("administration/Namespaces").status_code == 200
    seconds[0] += 0.02
    assert api.get("administration/Namespaces").status_code == 401


def test_revoked_tokens_are_refused_and_new_ones_are_valid(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.revoke_tokens()
    assert api.get("administration/Namespaces").status_code == 401
    api.login()
    assert api.get("administration/Namespaces").status_code == 200


def test_64_threads_are_counted_and_get_different_tokens(start: Callable[..., Any]) -> None:
    api = start(login=False)
    tokens: list[str] = []
    barrier = threading.Barrier(64)

    def ask() -> None:
        barrier.wait()
        tokens.append(api.token().json()["access_token"])

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 64
    counts = api.sandbox.counts
    assert counts["token_requests"] == counts["tokens_issued"] == counts["requests"] == 64
