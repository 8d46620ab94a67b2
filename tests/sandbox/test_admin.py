from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from changing import first_model, row


def test_another_process_can_steer_a_running_sandbox(start: Callable[..., Any]) -> None:
    api = start()
    url = f"{api.sandbox.tenant_url}/sandbox/misbehaviours"
    api.http.headers["Authorization"] = None  # steering needs no token
    for body in [{"name": "error_500", "times": 2}, {"name": "throttle_bare"}]:
        assert api.http.post(url, json=body, timeout=5).status_code == 200
    assert [m["name"] for m in api.get(url).json()["misbehaviours"]] == ["error_500", "throttle_bare"]
    assert api.http.delete(f"{url}/throttle_bare", timeout=5).json()["misbehaviours"][0]["name"] == "error_500"
    assert api.http.delete(url, timeout=5).json()["misbehaviours"] == []


def test_another_process_can_change_rows(start: Callable[..., Any]) -> None:
    api = start(models=[first_model()])
    url = f"{api.sandbox.tenant_url}/sandbox/changes"
    body = {"model_id": "CHANGING", "rows": [row("North", amount="8")], "deleted": [row("#")]}
    assert api.http.post(url, json=body, timeout=5).status_code == 200
    rows = {(one["Region"], one["Date"]): one["Amount"] for one in api.rows("CHANGING")}
    assert (rows["North", "202401"], len(rows)) == (8, 23)


def test_the_counts_can_be_read_and_steering_is_not_counted(start: Callable[..., Any]) -> None:
    api = start()
    api.data("US_EMPLOYMENT", pagesize="10")
    counts = api.get(f"{api.sandbox.tenant_url}/sandbox/counts").json()
    assert counts == dict(api.sandbox.counts)
    assert counts["requests"] == counts["token_requests"] + counts["facts_requests"] == 2
    assert (counts["rows"], counts["status_200"]) == (10, 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    [
        ("GET", "/sandbox/nothing", b"", None, 404),
        ("PUT", "/sandbox/misbehaviours", b"", None, 405),
        ("POST", "/sandbox/counts", b"", None, 405),
        ("POST", "/sandbox/misbehaviours", b'{"name":"error_500"}', "text/plain", 415),
        ("POST", "/sandbox/misbehaviours", b"name=error_500", "application/x-www-form-urlencoded", 415),
        ("POST", "/sandbox/misbehaviours", b"{", "application/json", 400),
        ("POST", "/sandbox/misbehaviours", b"[]", "application/json", 400),
        ("POST", "/sandbox/misbehaviours", b'{"times":1}', "application/json", 400),
        ("POST", "/sandbox/misbehaviours", b'{"name":"no_such"}', "application/json", 400),
        ("DELETE", "/sandbox/misbehaviours/no_such", b"", None, 400),
        ("GET", "/sandbox/changes", b"", None, 405),
        ("POST", "/sandbox/changes", b'{"model_id":"NOPE"}', "application/json", 400),
        ("POST", "/sandbox/changes", b'{"model_id":"US_EMPLOYMENT","nope":1}', "application/json", 400),
        ("POST", "/sandbox/changes", b'{"model_id":"US_EMPLOYMENT","rows":[1]}', "application/json", 400),
    ],
)
def test_wrong_steering_is_refused(
    start: Callable[..., Any], *, method: str, path: str, body: bytes, content_type: str | None, status: int
) -> None:
    api = start()
    answer = api.http.request(
        method, api.sandbox.tenant_url + path, data=body, headers={"Content-Type": content_type}, timeout=5
    )
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
