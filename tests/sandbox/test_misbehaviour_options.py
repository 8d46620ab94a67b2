"""Options of misbehaviours: when they strike, and which values they take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from sacnb.sandbox import COMMON_OPTIONS, MISBEHAVIOURS, OPTIONS

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
TWO = {"pagesize": "2", "dollar_count": "true"}


def _error(answer: requests.Response) -> str:
    message: str = answer.json()["error"]["message"]
    return message


def _link(api: Any) -> str:
    link: str = api.data("US_EMPLOYMENT", **TWO).json()["@odata.nextLink"]
    return link


def _rows(expected: int) -> Callable[[Any], None]:
    def check(api: Any) -> None:
        page = api.data("US_EMPLOYMENT", dollar_filter="Date eq '200601'", dollar_count="true").json()
        assert (len(page["value"]), page["@odata.count"]) == (expected, 15)

    return check


def test_every_misbehaviour_can_be_on_from_the_start(start: Callable[..., Any]) -> None:
    api = start(login=False, misbehaviours=[{"name": name, "times": 1} for name in MISBEHAVIOURS])
    described = api.http.get(f"{api.sandbox.tenant_url}/sandbox/misbehaviours", timeout=5).json()["misbehaviours"]
    counts = {"times": 1, "every": 1, "after": 0, "seen": 0, "struck": 0}
    assert described == [{"name": e.name, **e.options, "on": e.on, **counts} for e in MISBEHAVIOURS.values()]


@pytest.mark.parametrize("name", list(MISBEHAVIOURS))
def test_every_misbehaviour_is_described_and_its_defaults_are_valid(name: str) -> None:
    entry = MISBEHAVIOURS[name]
    assert entry.description
    assert not set(entry.options) & {*COMMON_OPTIONS, "name"}
    assert all(OPTIONS[option].accepts(default) for option, default in entry.options.items())


@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        ({}, [401, 401, 401, 401, 401, 401]),
        ({"times": 1}, [401, 200, 200, 200, 200, 200]),
        ({"every": 3}, [200, 200, 401, 200, 200, 401]),
        ({"after": 4}, [200, 200, 200, 200, 401, 401]),
        ({"after": 1, "every": 2, "times": 2}, [200, 200, 401, 200, 401, 200]),
        ({"on": "metadata"}, [200, 200, 200, 200, 200, 200]),
        ({"on": "namespaces"}, [401, 401, 401, 401, 401, 401]),
    ],
)
def test_times_every_after_and_on(start: Callable[..., Any], options: dict[str, Any], statuses: list[int]) -> None:
    api = start()
    api.sandbox.misbehave("unauthorized", **options)
    assert [api.get("administration/Namespaces").status_code for _ in statuses] == statuses


@pytest.mark.parametrize("value", [10, 3599, 43199, "3600", 0, -5, None, "soon", 1.5])
def test_expires_in_can_have_any_value_or_be_missing(start: Callable[..., Any], value: Any) -> None:
    api = start(login=False)
    api.sandbox.misbehave("expires_in", value=value)
    reply = api.token().json()
    assert reply.get("expires_in") == value
    assert ("expires_in" in reply) == (value is not None)


@pytest.mark.parametrize(
    ("name", "options", "path", "expected"),
    [
        ("throttle_seconds", {"retry_after_s": 17}, "administration/Namespaces", "17"),
        ("error_503", {"retry_after_s": 5}, "administration/Namespaces", "5"),
        ("error_503", {}, "administration/Namespaces", None),
    ],
)
def test_retry_after_is_the_chosen_wait(
    start: Callable[..., Any], name: str, options: dict[str, Any], path: str, expected: str | None
) -> None:
    api = start()
    api.sandbox.misbehave(name, **options)
    assert api.get(path).headers.get("Retry-After") == expected


def test_the_token_endpoint_can_throttle_without_retry_after(start: Callable[..., Any]) -> None:
    api = start(login=False)
    api.sandbox.misbehave("token_429", retry_after_s=None)
    assert "Retry-After" not in api.token().headers


def test_the_lifetime_of_tokens_can_be_shortened(start: Callable[..., Any]) -> None:
    seconds = [0.0]
    api = start(login=False, clock=lambda: seconds[0])
    api.sandbox.misbehave("token_lifetime", seconds=8)
    api.login()
    seconds[0] += 9
    assert api.get("administration/Namespaces").status_code == 401


def test_the_same_token_is_returned_until_it_expires_even_if_revoked(start: Callable[..., Any]) -> None:
    seconds = [0.0]
    api = start(clock=lambda: seconds[0], token_lifetime_s=100)
    api.sandbox.misbehave("same_token")
    first = api.token().json()
    seconds[0] += 30
    api.sandbox.revoke_tokens()
    second = api.token().json()
    assert second["access_token"] == first["access_token"]
    assert second["expires_in"] == 70
    seconds[0] += 71
    assert api.token().json()["access_token"] != first["access_token"]


def test_a_loop_can_lead_back_to_the_first_page(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("next_link_looping", to="first", after=1)
    first = api.data("US_EMPLOYMENT", **TWO).json()
    second = api.get(first["@odata.nextLink"]).json()
    assert second["value"] != first["value"]
    assert api.get(second["@odata.nextLink"]).json()["value"] == first["value"]


def test_an_error_object_can_stand_inside_value(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("stream_error", where="inside")
    page = api.data("US_EMPLOYMENT", **TWO).json()
    assert list(page["value"][-1]) == ["error"]
    assert "@odata.nextLink" in page


def test_next_link_can_point_to_a_chosen_host(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("next_link_cross_origin", origin="http://127.0.0.1:9")
    assert _link(api).startswith("http://127.0.0.1:9/api/v1/")


def test_several_rows_can_be_repeated_or_missing(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("rows_repeated", rows=3)
    _rows(18)(api)
    api.sandbox.behave()
    api.sandbox.misbehave("rows_missing", rows=30)
    _rows(0)(api)


def test_link_misbehaviours_do_not_strike_a_page_without_a_link(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("next_link_looping", times=1)
    assert "@odata.nextLink" not in api.data("US_EMPLOYMENT").json()
    assert api.sandbox.counts["misbehaved_next_link_looping"] == 0
    link = _link(api)
    assert api.get(link).json()["value"] == api.data("US_EMPLOYMENT", **TWO).json()["value"]


def test_a_damaged_page_is_not_cached(start: Callable[..., Any]) -> None:
    api = start()
    good = api.data("US_EMPLOYMENT", **TWO).json()["value"]
    api.sandbox.misbehave("unknown_column", times=1)
    assert api.data("US_EMPLOYMENT", **TWO).json()["value"] != good
    assert api.data("US_EMPLOYMENT", **TWO).json()["value"] == good


def test_misbehaviours_of_the_api_can_strike_the_token_endpoint(start: Callable[..., Any]) -> None:
    api = start(login=False)
    api.sandbox.misbehave("html_login", on="token", times=1)
    assert api.token().text.startswith("<!DOCTYPE html>")
    api.sandbox.misbehave("truncated_json", on="token", times=1)
    with pytest.raises(requests.JSONDecodeError):
        api.token().json()
    api.sandbox.misbehave("reset_before_body", on="any", times=1)
    with pytest.raises(requests.ConnectionError):
        api.token()
    api.login()


def test_truncated_gzip_does_not_strike_an_uncompressed_answer(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("truncated_gzip", times=1)
    plain = api.get("administration/Namespaces", headers={"Accept-Encoding": "identity"})
    assert plain.json()["value"]
    assert api.sandbox.counts["misbehaved_truncated_gzip"] == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("throttle", {}, "Unknown misbehaviour 'throttle'. Did you mean: throttle_"),
        ("error_500", {"status": 501}, "has no option 'status'; it has: times, every, after, on"),
        ("error_500", {"on": "fact"}, "on='fact' is not one of: pages, import, action, api, token, any"),
        ("token_500", {"on": "facts"}, "on='facts' is not one of: token, any"),
        ("unauthorized", {"on": "token"}, "on='token' is not one of: pages, import, action, api, any, facts"),
        ("slow_bytes", {"chunks": 0}, "chunks takes a number of chunks, at least 1, not 0"),
        ("slow_bytes", {"pause_s": -1}, "pause_s takes seconds between two chunks"),
        ("truncated_json", {"keep": 2}, "keep takes the part of the body that is sent, from 0 to 1, not 2"),
        ("next_link_expired", {"status": 200}, "status takes an error status"),
        ("next_link_looping", {"to": "last"}, "to takes 'self' or 'first', not 'last'"),
        ("next_link_looping", {"to": ["self"]}, "to takes 'self' or 'first', not "),
        ("stream_error", {"where": 1}, "where takes 'after' or 'inside', not 1"),
        ("throttle_date", {"retry_after_s": "soon"}, "retry_after_s takes seconds, or null for no header"),
        ("next_link_cross_origin", {"origin": None}, "origin takes scheme and host"),
        ("interim_answers", {"interim_status": 200}, "interim_status takes one of: 102, 103, not 200"),
        ("page_shape", {"shape": "square"}, "shape takes one of: blanks, json_dumps"),
        ("gzip_bomb", {"mib": 0}, "mib takes a number of MiB, at least 1"),
        ("expires_in", {"value": [1]}, "value takes a text, a number, or null"),
        ("error_500", {"times": 0}, "times must be a whole number, at least 1, not 0"),
        ("error_500", {"times": True}, "times must be a whole number"),
        ("error_500", {"every": 0}, "every must be a whole number, at least 1"),
        ("error_500", {"after": -1}, "after must be a whole number, at least 0"),
    ],
)
def test_unknown_misbehaviours_and_invalid_options_are_refused(
    start: Callable[..., Any], name: str, options: dict[str, Any], message: str
) -> None:
    api = start()
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        api.sandbox.misbehave(name, **options)
    with pytest.raises(ValueError, match=r"Unknown misbehaviour 'nope'\. Known"):
        api.sandbox.behave("nope")
    answer = api.http.post(f"{api.sandbox.tenant_url}/sandbox/misbehaviours", json={"name": name, **options}, timeout=5)
    assert answer.status_code == 400
    assert message.partition(";")[0] in _error(answer)


@pytest.mark.parametrize(
    ("name", "wait", "expected"),
    [
        ("throttle_seconds", 0, "0"),
        ("throttle_seconds", -1, "-1"),
        ("throttle_date", -5, "Sun, 01 Mar 2026 11:59:56 GMT"),
        ("error_503", 0, "0"),
        ("token_429", 0, "0"),
    ],
)
def test_retry_after_can_be_zero_or_in_the_past(
    start: Callable[..., Any], name: str, wait: float, expected: str
) -> None:
    api = start(now=lambda: NOW)
    api.sandbox.misbehave(name, retry_after_s=wait)
    answer = api.token() if name == "token_429" else api.get("administration/Namespaces")
    assert answer.headers["Retry-After"] == expected


@pytest.mark.parametrize(("seconds", "year"), [(10**12, "9999"), (-(10**12), "0001")])
def test_the_date_stays_within_the_years_that_a_date_can_have(
    start: Callable[..., Any], seconds: int, year: str
) -> None:
    api = start()
    api.sandbox.misbehave("skewed_date", seconds=seconds)
    assert f" {year} " in api.token().headers["Date"]


def test_a_redirect_can_lead_anywhere_and_have_a_body(start: Callable[..., Any]) -> None:
    api = start(login=False)
    strange = "http:////elsewhere.invalid/x"
    api.sandbox.misbehave("redirect", on="token", redirect_status=307, location=strange, body_kib=64)
    answer = api.token(allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"], len(answer.content)) == (307, strange, 64 << 10)
    api.sandbox.behave()
    api.login()
    api.sandbox.misbehave("redirect", times=1)
    assert len(api.data("US_EMPLOYMENT", pagesize="3").json()["value"]) == 3


def test_interim_answers_can_be_many(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("interim_answers", interim_status=102, chunks=50, pause_s=0)
    reply = api.raw_reply("administration/Namespaces")
    assert reply.count(b"HTTP/1.1 102 Processing\r\n") == 50
    assert reply.count(b"HTTP/1.1 200 OK\r\n") == 1


def test_a_dead_token_can_be_refused_with_any_status(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("dead_token_status", status=400)
    assert api.get("administration/Namespaces").status_code == 200
    api.sandbox.revoke_tokens()
    assert api.get("administration/Namespaces").status_code == 400
    assert api.sandbox.counts["misbehaved_dead_token_status"] == 1


def test_a_forced_session_can_end_and_a_client_without_cookies_is_served(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("session_forced")
    assert api.get("administration/Namespaces").status_code == 200
    api.sandbox.misbehave("session_ended", status=403)
    assert api.get("administration/Namespaces").status_code == 403
    api.http.cookies.clear()
    assert api.get("administration/Namespaces").status_code == 200
