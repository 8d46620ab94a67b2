"""Every misbehaviour is shown, over HTTP, by a client that knows nothing of sacnb."""

from __future__ import annotations

import contextlib
import socket
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from sacnb.sandbox import COMMON_OPTIONS, MISBEHAVIOURS, OPTIONS

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
TWO = {"pagesize": "2", "dollar_count": "true"}


def _raw_reply(api: Any, path: str) -> bytes:
    """What comes over the wire, byte by byte; a connection that is reset raises ConnectionResetError."""
    parts = urlsplit(api.sandbox.tenant_url)
    request = (
        f"GET /api/v1/dataexport/{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Accept-Encoding: gzip\r\nAuthorization: {api.http.headers['Authorization']}\r\n\r\n"
    )
    received = bytearray()
    with contextlib.closing(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)) as peer:
        peer.sendall(request.encode())
        while chunk := peer.recv(65536):
            received += chunk
    return bytes(received)


def _error(answer: requests.Response) -> str:
    message: str = answer.json()["error"]["message"]
    return message


def _token_lifetime(api: Any) -> None:
    assert api.token().json()["expires_in"] == 2


def _unauthorized(api: Any) -> None:
    assert api.data("US_EMPLOYMENT").status_code == 401


def _revoke_tokens(api: Any) -> None:
    assert [api.data("US_EMPLOYMENT").status_code for _ in range(2)] == [401, 401]
    api.login()
    assert api.data("US_EMPLOYMENT").status_code == 200


def _throttle_seconds(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")


def _throttle_date(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT")
    assert answer.status_code == 429
    waits = parsedate_to_datetime(answer.headers["Retry-After"]) - parsedate_to_datetime(answer.headers["Date"])
    assert waits.total_seconds() == 2  # one second from 12:00:00.25, in whole seconds, never less


def _throttle_bare(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT")
    assert answer.status_code == 429
    assert "Retry-After" not in answer.headers


def _forbidden(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT")
    assert (answer.status_code, _error(answer)[-6:]) == (403, "[3401]")


def _status(status: int, content_type: str) -> Callable[[Any], None]:
    def check(api: Any) -> None:
        answer = api.data("US_EMPLOYMENT")
        assert answer.status_code == status
        assert answer.headers["Content-Type"].startswith(content_type)

    return check


def _error_message_object(api: Any) -> None:
    assert api.data("US_EMPLOYMENT", "Nope").json()["error"]["message"]["value"].endswith("[3707]")


def _html_login(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT")
    assert (answer.status_code, answer.text[:15]) == (200, "<!DOCTYPE html>")


def _reset_before_body(api: Any) -> None:
    with pytest.raises(ConnectionResetError):
        _raw_reply(api, "providers/sac/US_EMPLOYMENT/FactData")


def _reset_mid_body(api: Any) -> None:
    with pytest.raises(ConnectionResetError):
        _raw_reply(api, "providers/sac/US_EMPLOYMENT/FactData")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        api.data("US_EMPLOYMENT")
    with api.http.get(
        f"{api.sandbox.tenant_url}/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData", stream=True, timeout=20
    ) as answer:
        assert answer.status_code == 200
        assert answer.raw.read(10)  # some of the body does arrive


def _slow_bytes(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT", **TWO)
    assert len(answer.json()["value"]) == 2
    assert answer.elapsed.total_seconds() < 5


def _truncated_json(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT", **TWO)
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def _truncated_gzip(api: Any) -> None:
    head, _, body = _raw_reply(api, "providers/sac/US_EMPLOYMENT/FactData").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(body).startswith(b'{"@odata.context"')
    assert not unpacker.eof


def _skewed_date(api: Any) -> None:
    for answer in [api.data("US_EMPLOYMENT", **TWO), api.token()]:
        assert (parsedate_to_datetime(answer.headers["Date"]) - NOW.replace(microsecond=0)).total_seconds() == 7200


def _link(api: Any) -> str:
    link: str = api.data("US_EMPLOYMENT", **TWO).json()["@odata.nextLink"]
    return link


def _service_relative(api: Any) -> None:
    link = _link(api)
    assert link.startswith("FactData?")
    base = f"{api.sandbox.tenant_url}/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData?x=1"
    assert api.get(urljoin(base, link)).json()["value"][0]["Sector"] == "31"


def _root_relative(api: Any) -> None:
    link = _link(api)
    assert link.startswith("/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData?")
    assert api.get(api.sandbox.tenant_url + link).status_code == 200


def _absolute(api: Any) -> None:
    assert _link(api).startswith(api.sandbox.tenant_url + "/")


def _cross_origin(api: Any) -> None:
    assert urlsplit(_link(api)).netloc == "elsewhere.invalid"


def _looping(api: Any) -> None:
    first = api.data("US_EMPLOYMENT", **TWO)
    link = first.json()["@odata.nextLink"]
    again = api.get(link)
    assert again.json()["value"] == first.json()["value"]
    assert again.json()["@odata.nextLink"] == link


def _expired(api: Any) -> None:
    link = _link(api)
    api.sandbox.behave()
    assert [api.get(link).status_code for _ in range(2)] == [410, 410]


def _link_first(api: Any) -> None:
    names = list(api.data("US_EMPLOYMENT", **TWO).json())
    assert names.index("@odata.nextLink") < names.index("value")


def _rows(expected: int) -> Callable[[Any], None]:
    def check(api: Any) -> None:
        page = api.data("US_EMPLOYMENT", dollar_filter="Date eq '200601'", dollar_count="true").json()
        assert (len(page["value"]), page["@odata.count"]) == (expected, 15)

    return check


def _numeric_strings(api: Any) -> None:
    row = api.data("US_EMPLOYMENT", **TWO).json()["value"][0]
    assert row["Employees"] == "656.0000000"


def _unknown_column(api: Any) -> None:
    assert api.data("US_EMPLOYMENT", **TWO).json()["value"][0]["Surprise"] == 1


def _nulls_left_out(api: Any) -> None:
    rows = api.data("SCALE", dollar_filter="Amount eq null").json()["value"]
    assert rows
    assert all("Amount" not in row and "Quantity" in row for row in rows)


def _stream_error(api: Any) -> None:
    page = api.data("US_EMPLOYMENT", **TWO).json()
    assert list(page) == ["@odata.context", "value", "error"]
    assert len(page["value"]) == 2


def _expires_in(api: Any) -> None:
    assert api.token().json()["expires_in"] == "3600"


def _same_token(api: Any) -> None:
    assert api.token().json()["access_token"] == api.login()


def _token_down(api: Any) -> None:
    with pytest.raises(requests.ConnectionError):
        api.token()
    assert api.data("US_EMPLOYMENT", **TWO).status_code == 200


def _token_slow(api: Any) -> None:
    assert api.token().elapsed.total_seconds() >= 1


def _token_status(status: int, error: str) -> Callable[[Any], None]:
    def check(api: Any) -> None:
        answer = api.token()
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert ("Retry-After" in answer.headers) == (status == 429)

    return check


SHOWN: dict[str, Callable[[Any], None]] = {
    "token_lifetime": _token_lifetime,
    "unauthorized": _unauthorized,
    "revoke_tokens": _revoke_tokens,
    "throttle_seconds": _throttle_seconds,
    "throttle_date": _throttle_date,
    "throttle_bare": _throttle_bare,
    "forbidden": _forbidden,
    "error_500": _status(500, "application/json"),
    "error_502": _status(502, "text/html"),
    "error_503": _status(503, "application/json"),
    "error_504": _status(504, "text/html"),
    "error_message_object": _error_message_object,
    "html_login": _html_login,
    "reset_before_body": _reset_before_body,
    "reset_mid_body": _reset_mid_body,
    "slow_bytes": _slow_bytes,
    "truncated_json": _truncated_json,
    "truncated_gzip": _truncated_gzip,
    "skewed_date": _skewed_date,
    "next_link_service_relative": _service_relative,
    "next_link_root_relative": _root_relative,
    "next_link_absolute": _absolute,
    "next_link_cross_origin": _cross_origin,
    "next_link_looping": _looping,
    "next_link_expired": _expired,
    "next_link_first": _link_first,
    "rows_repeated": _rows(16),
    "rows_missing": _rows(14),
    "numeric_strings": _numeric_strings,
    "unknown_column": _unknown_column,
    "nulls_left_out": _nulls_left_out,
    "stream_error": _stream_error,
    "expires_in": _expires_in,
    "same_token": _same_token,
    "token_down": _token_down,
    "token_slow": _token_slow,
    "token_429": _token_status(429, "too_many_requests"),
    "token_500": _token_status(500, "server_error"),
    "token_invalid_client": _token_status(401, "invalid_client"),
}


def test_every_misbehaviour_is_shown_here() -> None:
    assert set(SHOWN) == set(MISBEHAVIOURS)


@pytest.mark.parametrize("name", list(MISBEHAVIOURS))
def test_a_misbehaviour_strikes_is_counted_and_ends(start: Callable[..., Any], name: str) -> None:
    api = start(now=lambda: NOW)
    api.sandbox.misbehave(name)
    SHOWN[name](api)
    counts = api.sandbox.counts
    assert counts[f"misbehaved_{name}"] >= 1
    assert any(name in seen.misbehaviours for seen in api.sandbox.log)
    api.sandbox.behave(name)
    api.login()
    assert len(api.rows("US_EMPLOYMENT", pagesize="1000")) == 3420
    assert api.sandbox.counts[f"misbehaved_{name}"] == counts[f"misbehaved_{name}"]


@pytest.mark.parametrize("name", list(MISBEHAVIOURS))
def test_every_misbehaviour_can_be_on_from_the_start_and_counts_its_times(start: Callable[..., Any], name: str) -> None:
    entry = MISBEHAVIOURS[name]
    api = start(login=False, misbehaviours=[{"name": name, "times": 1}])
    described = api.http.get(f"{api.sandbox.tenant_url}/sandbox/misbehaviours", timeout=5).json()["misbehaviours"]
    assert described == [
        {"name": name, **entry.options, "on": entry.on, "times": 1, "every": 1, "after": 0, "seen": 0, "struck": 0}
    ]
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
def test_expires_in_can_say_anything_or_nothing(start: Callable[..., Any], value: Any) -> None:
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
def test_the_wait_can_be_chosen(
    start: Callable[..., Any], name: str, options: dict[str, Any], path: str, expected: str | None
) -> None:
    api = start()
    api.sandbox.misbehave(name, **options)
    assert api.get(path).headers.get("Retry-After") == expected


def test_the_token_endpoint_can_throttle_without_saying_how_long(start: Callable[..., Any]) -> None:
    api = start(login=False)
    api.sandbox.misbehave("token_429", retry_after_s=None)
    assert "Retry-After" not in api.token().headers


def test_a_token_can_be_made_to_live_shortly(start: Callable[..., Any]) -> None:
    seconds = [0.0]
    api = start(login=False, clock=lambda: seconds[0])
    api.sandbox.misbehave("token_lifetime", seconds=8)
    api.login()
    seconds[0] += 9
    assert api.get("administration/Namespaces").status_code == 401


def test_the_same_token_comes_back_until_it_has_expired_even_if_it_was_revoked(start: Callable[..., Any]) -> None:
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


def test_a_link_can_lead_to_a_host_of_choice(start: Callable[..., Any]) -> None:
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


def test_paging_misbehaviours_spare_what_has_no_next_page(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("next_link_looping", times=1)
    assert "@odata.nextLink" not in api.data("US_EMPLOYMENT").json()
    assert api.sandbox.counts["misbehaved_next_link_looping"] == 0
    link = _link(api)
    assert api.get(link).json()["value"] == api.data("US_EMPLOYMENT", **TWO).json()["value"]


def test_a_good_page_is_never_served_from_a_bad_one(start: Callable[..., Any]) -> None:
    api = start()
    good = api.data("US_EMPLOYMENT", **TWO).json()["value"]
    api.sandbox.misbehave("unknown_column", times=1)
    assert api.data("US_EMPLOYMENT", **TWO).json()["value"] != good
    assert api.data("US_EMPLOYMENT", **TWO).json()["value"] == good


def test_what_befalls_the_api_can_befall_the_token_endpoint_too(start: Callable[..., Any]) -> None:
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


def test_truncated_gzip_spares_an_answer_that_is_not_compressed(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("truncated_gzip", times=1)
    plain = api.get("administration/Namespaces", headers={"Accept-Encoding": "identity"})
    assert plain.json()["value"]
    assert api.sandbox.counts["misbehaved_truncated_gzip"] == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("throttle", {}, "There is no misbehaviour 'throttle'; there is: throttle_"),
        ("error_500", {"status": 501}, "has no option 'status'; it has: times, every, after, on"),
        ("error_500", {"on": "fact"}, "on='fact' is none of: pages, api, token, any"),
        ("token_500", {"on": "facts"}, "on='facts' is none of: token, any"),
        ("unauthorized", {"on": "token"}, "on='token' is none of: pages, api, any, facts"),
        ("slow_bytes", {"chunks": 0}, "chunks takes how many chunks, from 1 on, not 0"),
        ("slow_bytes", {"pause_s": -1}, "pause_s takes seconds between two chunks"),
        ("truncated_json", {"keep": 2}, "keep takes the part of the body that is kept, from 0 to 1, not 2"),
        ("next_link_expired", {"status": 200}, "status takes an error status"),
        ("next_link_looping", {"to": "last"}, "to takes 'self' or 'first', not 'last'"),
        ("next_link_looping", {"to": ["self"]}, "to takes 'self' or 'first', not "),
        ("stream_error", {"where": 1}, "where takes 'after' or 'inside', not 1"),
        ("throttle_date", {"retry_after_s": "soon"}, "retry_after_s takes seconds from 0 on, or null"),
        ("next_link_cross_origin", {"origin": None}, "origin takes scheme and host"),
        ("expires_in", {"value": [1]}, "value takes anything that JSON can hold"),
        ("error_500", {"times": 0}, "times must be a whole number from 1 on, not 0"),
        ("error_500", {"times": True}, "times must be a whole number"),
        ("error_500", {"every": 0}, "every must be a whole number from 1 on"),
        ("error_500", {"after": -1}, "after must be a whole number from 0 on"),
    ],
)
def test_what_makes_no_sense_is_refused(
    start: Callable[..., Any], name: str, options: dict[str, Any], message: str
) -> None:
    api = start()
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        api.sandbox.misbehave(name, **options)
    with pytest.raises(ValueError, match="There is no misbehaviour 'nope'"):
        api.sandbox.behave("nope")
    answer = api.http.post(f"{api.sandbox.tenant_url}/sandbox/misbehaviours", json={"name": name, **options}, timeout=5)
    assert answer.status_code == 400
    assert message.partition(";")[0] in _error(answer)
