"""Every misbehaviour but those of pages, over HTTP, with a client independent of sacnb."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from sacnb.sandbox import MISBEHAVIOURS

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
TWO = {"pagesize": "2", "dollar_count": "true"}


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


def _throttle_text(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "soon")


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
        api.raw_reply("providers/sac/US_EMPLOYMENT/FactData")


def _reset_mid_body(api: Any) -> None:
    with pytest.raises(ConnectionResetError):
        api.raw_reply("providers/sac/US_EMPLOYMENT/FactData")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        api.data("US_EMPLOYMENT")
    with api.http.get(
        f"{api.sandbox.tenant_url}/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData", stream=True, timeout=20
    ) as answer:
        assert answer.status_code == 200
        assert answer.raw.read(10)  # part of the body arrives


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
    head, _, body = api.raw_reply("providers/sac/US_EMPLOYMENT/FactData").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(body).startswith(b'{"@odata.context"')
    assert not unpacker.eof


def _skewed_date(api: Any) -> None:
    for answer in [api.data("US_EMPLOYMENT", **TWO), api.token()]:
        assert (parsedate_to_datetime(answer.headers["Date"]) - NOW.replace(microsecond=0)).total_seconds() == 7200


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


def _dead_token_status(api: Any) -> None:
    api.sandbox.revoke_tokens()
    answer = api.data("US_EMPLOYMENT")
    assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (403, False)
    api.login()


def _session_forced(api: Any) -> None:
    assert "JSESSIONID" in api.data("US_EMPLOYMENT", **TWO).cookies


def _session_ended(api: Any) -> None:
    refused = api.get("administration/Namespaces", headers={"Cookie": "=".join(("JSESSIONID", "1"))})
    assert (refused.status_code, _error(refused)) == (401, "Session timed out")
    assert api.get("administration/Namespaces").status_code == 200


def _redirect(api: Any) -> None:
    answer = api.get("administration/Namespaces?x=1", allow_redirects=False)
    url = f"{api.sandbox.tenant_url}/api/v1/dataexport/administration/Namespaces?x=1"
    assert (answer.status_code, answer.headers["Location"]) == (302, url)


def _interim_answers(api: Any) -> None:
    head, *_, rest = api.raw_reply("providers/sac/US_EMPLOYMENT/FactData").partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload"
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def _slow_headers(api: Any) -> None:
    reply = api.raw_reply("providers/sac/US_EMPLOYMENT/FactData")
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert len(api.data("US_EMPLOYMENT", **TWO).json()["value"]) == 2


def _two_lengths(api: Any) -> None:
    head, _, body = api.raw_reply("providers/sac/US_EMPLOYMENT/FactData").partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert lengths == [len(body), len(body) + 1]


def _wrong_length(api: Any) -> None:
    head, _, body = api.raw_reply("providers/sac/US_EMPLOYMENT/FactData").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body) + 10}".encode() in head.split(b"\r\n")


def _gzip_tail(api: Any) -> None:
    body = api.raw_reply("providers/sac/US_EMPLOYMENT/FactData").partition(b"\r\n\r\n")[2]
    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(body).endswith(b"}")
    assert unpacker.unused_data == bytes(16)


def _gzip_bomb(api: Any) -> None:
    answer = api.data("US_EMPLOYMENT", **TWO)
    assert (len(answer.content) >> 20, len(answer.json()["value"])) == (16, 2)
    assert int(answer.headers["Content-Length"]) < 64 << 10


def _no_hierarchy_400(api: Any) -> None:
    assert api.data("US_EMPLOYMENT", "VersionMasterWithHierarchy").status_code == 400
    assert api.data("US_EMPLOYMENT", "NopeMasterWithHierarchy").status_code == 404
    assert api.data("US_EMPLOYMENT", "SectorMasterWithHierarchy").status_code == 200


def _hierarchy_annotations(api: Any) -> None:
    text = api.get("providers/sac/HIERARCHIES/$metadata").text
    assert text.count(".RecursiveHierarchy") == 3
    assert ' Qualifier="H1"><Record>' in text
    ElementTree.fromstring(text)


def _login_wrong_state(api: Any) -> None:
    assert api.log_in()["state"] != "the-state"


def _login_refused(api: Any) -> None:
    assert api.log_in()["error"] == "access_denied"


def _invalid_grant(words: str, *, refresh: bool) -> Callable[[Any], None]:
    def show(api: Any) -> None:
        code = api.log_in()["code"]
        answer = api.exchange(code)
        if refresh:
            answer = api.refresh(answer.json()["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert words in answer.json()["error_description"]

    return show


def _refresh_token_kept(api: Any) -> None:
    first = api.exchange(api.log_in()["code"]).json()["refresh_token"]
    for _ in range(2):
        assert "refresh_token" not in api.refresh(first).json()


def _refresh_token_missing(api: Any) -> None:
    assert "refresh_token" not in api.exchange(api.log_in()["code"]).json()


SHOWN: dict[str, Callable[[Any], None]] = {
    "token_lifetime": _token_lifetime,
    "unauthorized": _unauthorized,
    "revoke_tokens": _revoke_tokens,
    "dead_token_status": _dead_token_status,
    "session_forced": _session_forced,
    "session_ended": _session_ended,
    "throttle_seconds": _throttle_seconds,
    "throttle_date": _throttle_date,
    "throttle_bare": _throttle_bare,
    "throttle_text": _throttle_text,
    "forbidden": _forbidden,
    "not_allowed_400": _status(400, "application/json"),
    "error_404": _status(404, "text/html"),
    "error_408": _status(408, "application/json"),
    "error_425": _status(425, "application/json"),
    "error_500": _status(500, "application/json"),
    "error_502": _status(502, "text/html"),
    "error_503": _status(503, "application/json"),
    "error_504": _status(504, "text/html"),
    "error_message_object": _error_message_object,
    "html_login": _html_login,
    "redirect": _redirect,
    "interim_answers": _interim_answers,
    "reset_before_body": _reset_before_body,
    "answer_lost": _reset_before_body,
    "reset_mid_body": _reset_mid_body,
    "slow_headers": _slow_headers,
    "slow_bytes": _slow_bytes,
    "two_lengths": _two_lengths,
    "wrong_length": _wrong_length,
    "truncated_json": _truncated_json,
    "truncated_gzip": _truncated_gzip,
    "gzip_tail": _gzip_tail,
    "gzip_bomb": _gzip_bomb,
    "skewed_date": _skewed_date,
    "no_hierarchy_400": _no_hierarchy_400,
    "hierarchy_annotations": _hierarchy_annotations,
    "expires_in": _expires_in,
    "same_token": _same_token,
    "token_down": _token_down,
    "token_slow": _token_slow,
    "token_429": _token_status(429, "too_many_requests"),
    "token_500": _token_status(500, "server_error"),
    "token_invalid_client": _token_status(401, "invalid_client"),
    "login_wrong_state": _login_wrong_state,
    "login_refused": _login_refused,
    "code_expired": _invalid_grant("has expired", refresh=False),
    "refresh_token_expired": _invalid_grant("has expired", refresh=True),
    "refresh_token_kept": _refresh_token_kept,
    "refresh_token_missing": _refresh_token_missing,
}


def test_every_other_misbehaviour_is_shown_here() -> None:
    elsewhere = ("pages", "import", "action", "delta", "tracked")
    others = {name for name, entry in MISBEHAVIOURS.items() if not entry.within.startswith(elsewhere)}
    assert set(SHOWN) == others


@pytest.mark.parametrize("name", list(SHOWN))
def test_a_misbehaviour_strikes_is_counted_and_ends(start: Callable[..., Any], name: str) -> None:
    api = start(now=lambda: NOW)
    api.sandbox.misbehave(name)
    SHOWN[name](api)
    counts = api.sandbox.counts
    assert counts[f"misbehaved_{name}"] >= 1
    assert any(name in seen.misbehaviours for seen in api.sandbox.log)
    api.sandbox.behave(name)
    api.login()
    assert len(api.rows("US_EMPLOYMENT", pagesize="100", dollar_filter="Sector eq '31'")) == 228
    assert api.sandbox.counts[f"misbehaved_{name}"] == counts[f"misbehaved_{name}"]
