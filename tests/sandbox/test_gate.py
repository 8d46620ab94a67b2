from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FETCH = {"x-csrf-token": "fetch"}


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic abc", "Bearer ", ""])
def test_every_path_answers_401_without_a_valid_token(start: Callable[..., Any], header: str | None) -> None:
    api = start(login=False)
    api.http.headers["Authorization"] = header
    for path in ["administration/Namespaces", "providers/sac/US_EMPLOYMENT/FactData", "nowhere", "providers/sac/NO/"]:
        answer = api.get(path)
        assert answer.status_code == 401
        assert set(answer.json()["error"]) == {"code", "message"}
    assert api.sandbox.counts["status_401"] == 4


def test_a_csrf_token_is_given_when_fetched_and_belongs_to_the_access_token(start: Callable[..., Any]) -> None:
    api = start()
    url = f"{api.sandbox.tenant_url}/api/v1/csrf"
    assert "x-csrf-token" not in api.get(url).headers
    first = api.get(url, headers=FETCH).headers["x-csrf-token"]
    assert api.get("administration/Namespaces", headers=FETCH).headers["x-csrf-token"] == first
    api.login()
    assert api.get(url, headers=FETCH).headers["x-csrf-token"] != first


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writing_needs_a_csrf_token_and_then_is_not_allowed(start: Callable[..., Any], method: str) -> None:
    api = start()
    url = f"{api.sandbox.tenant_url}/api/v1/dataexport/administration/Subscriptions"
    refused = api.http.request(method, url, timeout=5)
    assert (refused.status_code, refused.headers["x-csrf-token"]) == (403, "Required")
    assert api.http.request(method, url, headers={"x-csrf-token": "wrong"}, timeout=5).status_code == 403
    token = api.get("administration/Namespaces", headers=FETCH).headers["x-csrf-token"]
    assert api.http.request(method, url, headers={"x-csrf-token": token}, timeout=5).status_code == 405


def test_the_custom_auth_header_prevents_a_session(start: Callable[..., Any]) -> None:
    api = start()
    assert "Set-Cookie" not in api.get("administration/Namespaces").headers
    assert api.sandbox.counts["sessions_opened"] == 0
    del api.http.headers["x-sap-sac-custom-auth"]
    assert "JSESSIONID" in api.get("administration/Namespaces").cookies
    api.get("administration/Namespaces")
    assert api.sandbox.counts["sessions_opened"] == 1


def test_the_data_import_service_can_be_withheld(start: Callable[..., Any]) -> None:
    api = start()
    assert api.get(f"{api.sandbox.tenant_url}/api/v1/dataimport/models").status_code == 200
    api.sandbox.misbehave("forbidden", on="import")
    answer = api.get(f"{api.sandbox.tenant_url}/api/v1/dataimport/models")
    assert answer.status_code == 403
    assert answer.json()["error"]["message"].endswith("[3401]")
