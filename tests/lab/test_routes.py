"""The routes of the side panel: the contract, authentication, tokens, lists and refreshes."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import requests
from panel_routes import API, TOKEN, Api

from sacnb._settings import save_profile
from sacnb.lab.handlers import ROUTES
from sacnb.lab.relay import readable
from sacnb.sandbox import Sandbox

CALLS = [
    ("GET", "/status", None),
    ("POST", "/token/ensure", {}),
    ("POST", "/request/send", {"path": "/api/v1/dataexport/administration/Namespaces"}),
    ("GET", "/models", None),
    ("GET", "/models/US_EMPLOYMENT", None),
    ("POST", "/refresh", {"model": "US_EMPLOYMENT"}),
    ("GET", "/jobs/0", None),
    ("DELETE", "/jobs/0", None),
]


def test_the_document_has_every_route_and_every_route_is_tried() -> None:
    described = {
        (method.upper(), path) for path, item in API["paths"].items() for method in item if method != "parameters"
    }
    tried = {(method, path.replace("US_EMPLOYMENT", "{id}").replace("/0", "/{id}")) for method, path, _ in CALLS}
    methods = ("get", "post", "delete")
    there = {
        (method.upper(), path.replace(r"([^/]+)", "{id}").replace(r"([0-9a-f]+)", "{id}"))
        for path, handler in ROUTES
        for method in methods
        if method in vars(handler)
    }
    assert described == tried == there


@pytest.mark.parametrize("known", [{}, {"Authorization": "token wrong"}], ids=["none", "wrong"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1]}")
def test_nobody_without_the_servers_token_gets_an_answer(
    api: Api, tenant: Sandbox, call: tuple[str, str, Any], known: dict[str, str]
) -> None:
    method, path, body = call
    asked = tenant.counts["requests"]
    assert api.call(method, path, headers=known, json=body).status_code == 403
    assert tenant.counts["requests"] == asked


def test_a_browser_needs_the_xsrf_token(api: Api) -> None:
    browser = requests.Session()
    browser.get(f"{api.url}login?token={TOKEN}", timeout=60)
    send = {"url": f"{api.url}sacnb/token/ensure", "json": {}, "timeout": 60}
    assert browser.post(**send).status_code == 403
    assert browser.post(**send, headers={"X-XSRFToken": browser.cookies["_xsrf"]}).status_code == 202


def test_a_page_of_another_origin_is_refused(api: Api) -> None:
    browser = requests.Session()
    browser.get(f"{api.url}login?token={TOKEN}", timeout=60)
    foreign = {"Origin": "https://evil.example", "X-XSRFToken": browser.cookies["_xsrf"]}
    assert browser.post(f"{api.url}sacnb/token/ensure", json={}, headers=foreign, timeout=60).status_code in {403, 404}


def test_ensure_says_whether_it_refreshed(api: Api, tenant: Sandbox) -> None:
    issued = tenant.counts["tokens_issued"]
    first, second, forced = (api.post("/token/ensure", force=force) for force in (False, False, True))
    assert [one.status_code for one in (first, second, forced)] == [202, 200, 202]
    assert first.json()["token"]["state"] == "valid"
    assert [one.json()["refresh_applied"] for one in (first, second, forced)] == [True, False, True]
    assert forced.json()["last_refresh"]["reason"] == "forced"
    assert tenant.counts["tokens_issued"] == issued + 2


def test_ensure_says_when_a_refresh_is_running_and_many_callers_share_it(api: Api, tenant: Sandbox) -> None:
    api.lab.ensure_wait_s = 0.01
    issued = tenant.counts["tokens_issued"]
    tenant.misbehave("token_slow", delay_s=0.4)
    waiting = api.post("/token/ensure")
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (202, "1")
    assert waiting.json()["is_refreshing"]
    api.lab.ensure_wait_s = 10.0
    answers: list[requests.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(api.post("/token/ensure"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {one.status_code for one in answers} <= {200, 202}
    assert len(answers) == 4
    assert tenant.counts["tokens_issued"] == issued + 1


@pytest.mark.parametrize(
    ("misbehaviour", "code"), [("token_invalid_client", "non_retriable"), ("token_500", "refresh_failed")]
)
def test_ensure_without_a_token_says_why_and_when_to_come_back(
    api: Api, tenant: Sandbox, misbehaviour: str, code: str
) -> None:
    tenant.misbehave(misbehaviour)
    answer = api.post("/token/ensure")
    assert answer.status_code == 503
    assert answer.headers["X-Sacnb-Error"] == code
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["error"]["last_attempt_at"]


def test_send_reads_through_the_guard_and_survives_a_revoked_token(api: Api, tenant: Sandbox) -> None:
    path = "/api/v1/dataexport/providers/sac/US_EMPLOYMENT/SectorMaster?$top=2"
    assert len(json.loads(api.post("/request/send", path=path).json()["body"])["value"]) == 2
    tenant.revoke_tokens()
    again = api.post("/request/send", path=path)
    assert again.status_code == 200
    assert again.headers["X-Sacnb-Attempts"] == "2"  # a refused one, and one with a fresh token
    metadata = "/api/v1/dataexport/providers/sac/US_EMPLOYMENT/$metadata"
    assert api.post("/request/send", path=metadata, accept="application/xml").json()["body"].startswith("<")


@pytest.mark.parametrize(
    ("misbehaviour", "status", "kind"),
    [
        ("error_503", 502, "ServerError"),
        ("forbidden", 502, "ForbiddenError"),
        ("throttle_seconds", 503, "ThrottledError"),
    ],
)
def test_a_refusal_of_sac_is_a_bad_gateway_with_its_error(
    api: Api, tenant: Sandbox, misbehaviour: str, status: int, kind: str
) -> None:
    tenant.misbehave(misbehaviour, on="api")
    answer = api.post("/request/send", path="/api/v1/dataexport/administration/Namespaces")
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/scim/Users",
        "/api/v1/csrf",
        "/api/v1/dataimport/models",
        "/api/v1/multiActions/X/executions",
        "/api/v1/dataexport/providers/../../scim/Users",
        "/api/v1/dataexport/providers/%2e%2e/%2E%2e/scim/Users",
        "/api/v1/dataexport/providers/%252e%252e/x",
        "/api/v1/dataexport/providers/..%2f..%5cscim",
        "/api/v1/dataexport/providers/sac/X#/scim",
        "/api/v1/dataexport/providers/sac/X Y",
        "/api/v1/dataexport/providers/sac/X\nHost: evil",
        "//evil.example/api/v1/dataexport/providers/",
        "https://evil.example/api/v1/dataexport/providers/",
        "/api/v1/dataexport/providers/" + "x" * 70_000,
        "",
    ],
)
def test_send_reads_nothing_else(api: Api, tenant: Sandbox, path: str) -> None:
    asked = tenant.counts["requests"]
    answer = api.post("/request/send", path=path)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "QueryError")
    assert tenant.counts["requests"] == asked


def test_ids_with_signs_can_be_read() -> None:
    path = "/api/v1/dataexport/providers/sac/t.A%3A1%2F%25..x/FactData?$filter=A%20eq%20'..'"
    assert readable(path) == path


def test_send_refuses_another_tenant_than_the_servers(api: Api) -> None:
    answer = api.post("/request/send", path="/api/v1/dataexport/administration/", tenant_url="https://other.example")
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "SettingsError")


def test_a_client_that_leaves_stops_what_was_asked_for_it(api: Api, tenant: Sandbox) -> None:
    api.post("/token/ensure")
    tenant.misbehave("slow_bytes", on="api", chunks=600, pause_s=0.1)
    asked = f"{api.url}sacnb/models"
    with pytest.raises(requests.ReadTimeout):
        requests.get(asked, headers={"Authorization": f"token {TOKEN}"}, timeout=(60, 0.3))
    working = [thread for thread in threading.enumerate() if thread.name == "sacnb-await"]
    for thread in working:
        thread.join(20)
    assert [thread for thread in working if thread.is_alive()] == []
    tenant.behave()
    assert api.get("/models")["total"] > 0


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"path": 1}', b'{"force": "yes"}', b'{"secret": "x"}', b"[" * 5_000, b" " * 300_000]
)
@pytest.mark.parametrize("path", ["/token/ensure", "/request/send", "/refresh"])
def test_a_wrong_body_is_said_plainly(api: Api, path: str, body: bytes) -> None:
    answer = api.call("POST", path, data=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "QueryError")


def test_the_lists_from_models_to_members(api: Api) -> None:
    found = api.get("/models", q="EMPLOY")
    assert [one["id"] for one in found["models"]] == ["US_EMPLOYMENT"]
    assert found["total"] > found["matching"] == 1
    model = api.get("/models/US_EMPLOYMENT")
    assert [one["name"] for one in model["dimensions"] if one["is_date"]] == ["Date"]
    assert "Employees" in {one["name"] for one in model["measures"]}
    members = api.get("/models/US_EMPLOYMENT", dimension="Sector", q="construction")
    assert [one["id"] for one in members["members"] if not one["is_parent"]] == ["20"]
    assert members["members"][0]["level"] == 0


def test_lists_are_read_once_until_they_are_to_be_fresh(api: Api, tenant: Sandbox) -> None:
    api.get("/models/US_EMPLOYMENT", dimension="Sector")
    asked = tenant.counts["requests"]
    api.get("/models/US_EMPLOYMENT", dimension="Sector", q="a")
    assert tenant.counts["requests"] == asked
    api.get("/models/US_EMPLOYMENT", dimension="Sector", fresh="1")
    assert tenant.counts["requests"] > asked


@pytest.mark.parametrize(
    ("params", "status"),
    [({"profile": "nobody"}, 404), ({"profile": "../x"}, 400), ({"dimension": "Sektor"}, 404)],
)
def test_unknown_names_are_said_plainly(api: Api, params: dict[str, str], status: int) -> None:
    answer = api.call("GET", "/models/US_EMPLOYMENT", params=params)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_refresh_is_cached_and_its_age_is_shown(api: Api) -> None:
    assert api.get("/models/US_EMPLOYMENT")["cached"] is None
    job = api.post("/refresh", model="US_EMPLOYMENT").json()
    found = api.lab.jobs.find(job["id"])
    assert found is not None
    found.wait(60)
    ended = api.get(f"/jobs/{job['id']}")
    assert (ended["state"], ended["error"]) == ("done", None)
    assert ended["rows"] == ended["cached"]["rows"] > 0
    assert api.get("/models/US_EMPLOYMENT")["cached"]["rows"] == ended["rows"]
    listed = {one["id"]: one["cached"] for one in api.get("/models")["models"]}
    assert listed["US_EMPLOYMENT"]["age_s"] < 3600


def test_a_refresh_is_cancelled_in_mid_page_and_runs_once(api: Api, tenant: Sandbox) -> None:
    tenant.misbehave("slow_bytes", on="facts", chunks=600, pause_s=0.2)
    job = api.post("/refresh", model="US_EMPLOYMENT").json()
    assert api.post("/refresh", model="US_EMPLOYMENT").json()["id"] == job["id"]
    assert api.call("DELETE", f"/jobs/{job['id']}").status_code == 202
    found = api.lab.jobs.find(job["id"])
    assert found is not None
    found.wait(60)
    assert api.get(f"/jobs/{job['id']}")["state"] == "cancelled"
    assert [one["state"] for one in api.get("/status")["jobs"]] == ["cancelled"]


def test_a_refresh_goes_on_when_the_profiles_are_changed(api: Api, tenant: Sandbox) -> None:
    tenant.misbehave("slow_bytes", on="facts", chunks=4, pause_s=0.05)
    job = api.post("/refresh", model="US_EMPLOYMENT").json()
    found = api.lab.jobs.find(job["id"])
    assert found is not None
    save_profile("another", {"SAC_TENANT_URL": tenant.tenant_url}, in_keyring=False)
    api.get("/models")  # connects anew, and closes the connections before
    assert api.lab.tenants.peek("") is not found.held
    assert found.state == "running"
    tenant.behave()
    found.wait(60)
    assert api.get(f"/jobs/{job['id']}")["state"] == "done"


def test_a_refresh_that_fails_says_why(api: Api, tenant: Sandbox) -> None:
    job = api.post("/refresh", model="NOBODY").json()
    found = api.lab.jobs.find(job["id"])
    assert found is not None
    found.wait(60)
    ended = api.get(f"/jobs/{job['id']}")
    assert (ended["state"], ended["error"]["type"]) == ("failed", "UnknownNameError")
    assert api.call("GET", "/jobs/abc").status_code == 404


def test_status_connects_to_nobody_and_never_shows_a_token(api: Api, tenant: Sandbox) -> None:
    asked = tenant.counts["requests"]
    (found,) = api.get("/status")["tenants"]
    assert (found["profile"], found["is_connected"], found["token"]["state"]) == ("", False, "absent")
    assert tenant.counts["requests"] == asked
    api.post("/token/ensure")
    (found,) = api.get("/status")["tenants"]
    assert (found["is_connected"], found["token"]["state"]) == (True, "valid")
    assert found["last_refresh"]["outcome"] == "success"


def test_a_refresh_of_more_rows_than_the_server_should_hold_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sacnb.lab.jobs._MOST_ROWS", 100)
    job = api.post("/refresh", model="US_EMPLOYMENT").json()
    found = api.lab.jobs.find(job["id"])
    assert found is not None
    found.wait(60)
    ended = api.get(f"/jobs/{job['id']}")
    assert ended["state"] == "failed"
    assert "at most 100" in ended["error"]["message"]
    assert api.get("/models/US_EMPLOYMENT")["cached"] is None
