"""Nothing that is secret gets into a cassette, from wherever it comes; and data stays data."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

import sacnb.replay
from sacnb._redact import redact_data
from sacnb._settings import Settings
from sacnb.errors import ReplayError
from sacnb.replay.library import make_request
from sacnb.replay.scrub import Known, Scrubber

CANARY = "canary-5f3a9c-secret"
# Put together here, so that this file itself passes the scan.
JWT = "ey" + "JhbGciOiJSUzI1NiJ9" + ".eyJqdGkiOiI0MiJ9." + "c2lnbmF0dXJl"


def interaction(
    *,
    url: str = "https://acme.eu10.hcs.cloud.sap/api/v1/x",
    method: str = "GET",
    sent: dict[str, str] | None = None,
    sent_body: bytes | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
    body: str | bytes = "{}",
    content_type: str = "application/json",
) -> tuple[Any, dict[str, Any]]:
    all_headers = {"Content-Type": content_type, **(headers or {})}
    response = {
        "status": {"code": status, "message": ""},
        "headers": {name: [value] for name, value in all_headers.items()},
        "body": {"string": body.encode() if isinstance(body, str) else body},
    }
    return make_request(method, url, sent_body, {"Authorization": "Bearer canary-live-token", **(sent or {})}), response


def scrubbed(*interactions: tuple[Any, dict[str, Any]], known: Known | None = None) -> list[dict[str, Any]]:
    """The interactions as they would be saved, as plain values."""
    known = known or Known()
    for each in interactions:
        known.learn(*each)
    scrub = Scrubber(known)
    return [
        {
            "uri": request.uri,
            "sent": dict(request.headers),
            "sent_body": (request.body or b"").decode(),
            "headers": response["headers"],
            "body": response["body"]["string"].decode("utf-8", "replace"),
        }
        for request, response in (scrub(*each) for each in interactions)
    ]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BASIC = "Basic " + base64.b64encode(f"sb-canary!b1:{CANARY}".encode()).decode()
ECHO = interaction(
    body=json.dumps({"text": f"a {CANARY} b {quote(CANARY)} {base64.b64encode(CANARY.encode()).decode()}"})
)


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(interaction(sent={"Authorization": f"Bearer {CANARY}"}), id="bearer header"),
        pytest.param(interaction(sent={"authorization": BASIC}), id="basic header"),
        pytest.param(interaction(sent={"Cookie": f"a=1; JSESSIONID={CANARY}"}), id="cookie"),
        pytest.param(interaction(sent={"X-CSRF-Token": CANARY}), id="csrf sent"),
        pytest.param(interaction(headers={"X-CSRF-Token": CANARY}), id="csrf received"),
        pytest.param(interaction(headers={"set-cookie": f"__Host-x={CANARY}; Secure; HttpOnly"}), id="set-cookie"),
        pytest.param(
            interaction(method="POST", sent=FORM, sent_body=f"grant_type=password&password={CANARY}".encode()),
            id="form of a token request",
        ),
        pytest.param(
            interaction(
                method="POST",
                sent=FORM,
                sent_body=b"grant_type=client_credentials",
                body=f'{{"access_token":"{CANARY}"}}',
            ),
            id="token minted",
        ),
        pytest.param(
            interaction(method="POST", sent=FORM, sent_body=b"grant_type=x", body=f'{{"refresh_token":"{CANARY}"}}'),
            id="refresh token minted",
        ),
        pytest.param(
            interaction(method="POST", sent=FORM, sent_body=b"grant_type=x", body=f'{{"jti":"{CANARY}"}}'), id="jti"
        ),
    ],
)
def test_a_secret_seen_anywhere_is_taken_out_everywhere(leak: tuple[Any, dict[str, Any]]) -> None:
    """Also out of the answer that came before it was seen, and in other spellings."""
    saved = scrubbed(interaction(body=f'{{"text": "{CANARY}"}}'), leak, ECHO)
    text = json.dumps(saved)
    assert CANARY not in text
    assert base64.b64encode(CANARY.encode()).decode() not in text
    assert json.loads(saved[0]["body"]) == {"text": "***"}
    assert json.loads(saved[2]["body"]) == {"text": "a *** b *** ***"}


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(interaction(body=f'{{"a": [{{"accessToken": "{CANARY}"}}]}}'), id="key in json"),
        pytest.param(interaction(body=f'{{"client_secret": {{"deep": "{CANARY}"}}}}'), id="object under a secret key"),
        pytest.param(interaction(body=JWT, content_type="text/csv"), id="jwt in csv"),
        pytest.param(interaction(body=f"<a>{JWT}</a>", content_type="application/xml"), id="jwt in xml"),
        pytest.param(interaction(body=f'{{"x": "Bearer {CANARY * 2}"}}'), id="bearer in json"),
        pytest.param(interaction(url=f"https://acme.example/x?access_token={CANARY}"), id="query"),
        pytest.param(interaction(headers={"Location": f"/login?code={CANARY}"}), id="location"),
        pytest.param(
            interaction(
                method="POST",
                sent={"Content-Type": "application/json"},
                sent_body=f'{{"password":"{CANARY}"}}'.encode(),
            ),
            id="json sent",
        ),
        pytest.param(interaction(method="POST", sent=FORM, sent_body=f"a=1&secret={CANARY}".encode()), id="form sent"),
        pytest.param(interaction(status=500, body=f"failed: password={CANARY}", content_type="text/plain"), id="error"),
        pytest.param(interaction(body=f"<html>token={CANARY}</html>", content_type="text/html"), id="login page"),
        pytest.param(interaction(sent={"X-Api-Key": CANARY}), id="unknown header sent"),
        pytest.param(interaction(headers={"X-Something": CANARY, "Via": CANARY}), id="unknown header received"),
    ],
)
def test_a_secret_is_taken_out_by_its_place_name_or_shape(leak: tuple[Any, dict[str, Any]]) -> None:
    text = json.dumps(scrubbed(leak))
    assert CANARY not in text
    assert JWT not in text


def test_a_token_exchange_is_written_anew() -> None:
    url = "https://acme.authentication.eu10.hana.ondemand.com/oauth/token?x=1"
    body = json.dumps({"access_token": CANARY, "scope": "approuter!t12345", "expires_in": 43199, "extra": "left out"})
    form = b"grant_type=client_credentials&client_id=sb-1&client_secret=short"
    (saved,) = scrubbed(
        interaction(url=url, method="POST", sent={"authorization": BASIC, **FORM}, sent_body=form, body=body)
    )
    assert saved == {
        "uri": "https://token.replay.invalid/oauth/token",
        "sent": FORM,
        "sent_body": "grant_type=client_credentials",
        "headers": {"Content-Type": ["application/json"]},
        "body": '{"access_token":"***","token_type":"bearer","expires_in":3600}',
    }


def test_a_refused_token_request_keeps_its_reason() -> None:
    body = json.dumps({"error": "invalid_client", "error_description": f"Bad credentials for {CANARY}"})
    request = interaction(
        url="https://login.example/t", method="POST", sent={"authorization": BASIC, **FORM}, sent_body=b"grant_type=x",
        status=401, body=body,
    )  # fmt: skip
    (saved,) = scrubbed(request)
    assert json.loads(saved["body"]) == {"error": "invalid_client", "error_description": "Bad credentials for ***"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("https://acme.eu10.hcs.cloud.sap/api/v1/y?a=1", "https://tenant.replay.invalid/api/v1/y?a=1"),
        ("HTTPS://ACME.eu10.hcs.cloud.sap:443/z", "https://tenant.replay.invalid/z"),
        (r"https:\/\/acme.eu10.hcs.cloud.sap\/z", r"https:\/\/tenant.replay.invalid\/z"),
        ("https%3A%2F%2Facme.eu10.hcs.cloud.sap%2Fz", "https%3A%2F%2Ftenant.replay.invalid%2Fz"),
        ("see acme.eu10.hcs.cloud.sap.", "see tenant.replay.invalid."),
        ("https://acme.authentication.eu10.hana.ondemand.com/x", "https://token.replay.invalid/x"),
        ("other-1.us20.sapanalytics.cloud", "tenant.replay.invalid"),
        ("Acme Inc., ACME_SALES", "tenant Inc., tenant_SALES"),
        ("acmena, placme, https://acme.example", "acmena, placme, https://tenant.example"),
        ("https://docs.oasis-open.org/odata", "https://docs.oasis-open.org/odata"),
    ],
)
def test_the_tenants_hosts_and_name_are_replaced(answer: str, expected: str) -> None:
    (saved,) = scrubbed(interaction(body=answer, content_type="application/xml"))
    assert saved["uri"] == "https://tenant.replay.invalid/api/v1/x"
    assert saved["body"] == expected


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([], False),
        (["http://127.0.0.1:8000/x"], True),
        (["http://[::1]:8000/x", "http://localhost/y"], True),
        (["https://acme.example/x"], False),
        (["http://127.0.0.1:8000/x", "https://acme.example/x"], False),
    ],
)
def test_a_tenant_on_this_machine_is_a_pretended_one(urls: list[str], expected: bool) -> None:
    known = Known()
    for saved in scrubbed(*[interaction(url=url, body=json.dumps(url)) for url in urls], known=known):
        assert saved["uri"].startswith("https://tenant.replay.invalid/")
        assert json.loads(saved["body"]) == saved["uri"]
    assert known.is_sandbox is expected


def test_a_name_that_the_requests_hold_stays(caplog: pytest.LogCaptureFixture) -> None:
    known = Known()
    (saved,) = scrubbed(interaction(url="https://acme.eu10.hcs.cloud.sap/x/ACME", body='{"n": "ACME"}'), known=known)
    assert saved["uri"] == "https://tenant.replay.invalid/x/ACME"
    assert json.loads(saved["body"]) == {"n": "ACME"}
    with caplog.at_level(logging.WARNING, "sacnb.replay"):
        Scrubber(known).check("")
    assert "part of the requests" in caplog.text


def test_names_of_ones_own_are_hidden_or_refused() -> None:
    known = Known(names=["Umbrella", "  "])
    (saved,) = scrubbed(interaction(body='{"n": "umbrella acme"}'), known=known)
    assert json.loads(saved["body"]) == {"n": "tenant acme"}
    refused = Known(names=["x"])
    scrubbed(interaction(), known=refused)
    with pytest.raises(ReplayError, match="'x' cannot be hidden"):
        Scrubber(refused).check("")


def test_a_replaced_name_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    known = Known()
    scrubbed(interaction(body='["acme", "acme"]'), known=known)
    with caplog.at_level(logging.WARNING, "sacnb.replay"):
        Scrubber(known).check("")
    assert "in 2 places" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        '{"value":[{"Sector":"Basic Materials","Note":"Bearer Securities","Amount":1.10}]}',
        '{"value":[{"Amount":12345678901234567890.0000001},{"Amount":1e-7}]}',
        '{"value":[{"Description":"password: see the safe","Tokens":null,"ID":"#"}]}',
        '{"Account":"Authorization: pending","Cookie Sales":12}',
        "Sector;Basic Materials\r\nSecret;Recipe=12\r\n",
        "<Property Name='Token' Type='Edm.String'/>",
    ],
)
def test_data_stays_as_it_is(data: str) -> None:
    (saved,) = scrubbed(interaction(body=data, content_type="application/json;charset=utf-8"))
    assert saved["body"] == data


def test_a_dimension_that_is_called_like_a_secret_is_masked_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    scrub = Scrubber(Known())
    request, response = interaction(body='{"value":[{"Token":"A"}]}')
    scrub(request, response)
    assert response["body"]["string"] == b'{"value":[{"Token":"***"}]}'
    with caplog.at_level(logging.WARNING, "sacnb.replay"):
        scrub.check("")
    assert "answers changed: 1" in caplog.text


def test_data_keeps_its_words_where_other_texts_lose_them() -> None:
    assert (
        redact_data('{"a": "Basic Materials", "token": "x", "n": 1.0}')
        == '{"a": "Basic Materials", "token": "***", "n": 1.0}'
    )


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    request, response = interaction(body=b"\xff\xfe\x00binary", content_type="application/octet-stream")
    Scrubber(Known())(request, response)
    assert response["body"]["string"] == b"\xff\xfe\x00binary"


def test_what_differs_by_chance_is_made_the_same() -> None:
    page = '{"value":[],"@des.processingTimeInMilliseconds":"%d"}'
    error = '{"error": {"code": "%s", "message": "no [1402]"}}'
    first, second = (
        scrubbed(
            interaction(body=page % number, headers={"X-Vcap-Request-Id": str(number), "Date": f"day {number}"}),
            interaction(status=400, body=error % f"0000000{number}-1f7a-4f0e-9b7d-6a1c2e3f4a5b"),
        )
        for number in (1, 2)
    )
    assert first == second


def test_the_secrets_of_the_settings_are_known_before_anything_is_asked() -> None:
    environ = {"SAC_TENANT_URL": "https://acme.eu10.hcs.cloud.sap", "SAC_TOKEN": CANARY, "SAC_AUTH": "static"}
    known = Known()
    known.learn_settings(Settings.resolve(environ=environ))
    (saved,) = scrubbed(interaction(body=f'["{CANARY}"]'), known=known)
    assert json.loads(saved["body"]) == ["***"]
    assert known.is_sandbox is False


@pytest.mark.parametrize("credentials", ["no base64 at all!", "/////w==", ""])
def test_a_basic_header_that_is_none_is_a_secret_all_the_same(credentials: str) -> None:
    (saved,) = scrubbed(interaction(sent={"authorization": f"Basic {credentials}"}, body=json.dumps([credentials])))
    assert json.loads(saved["body"]) == ["***" if len(credentials) >= 8 else ""]


def test_a_token_reply_that_is_no_json_is_written_anew_too() -> None:
    (saved,) = scrubbed(interaction(method="POST", sent=FORM, sent_body=b"grant_type=x", body="token: " + CANARY))
    assert CANARY not in saved["body"]


def test_a_retry_after_that_is_a_date_becomes_seconds() -> None:
    headers = {"Date": "Fri, 20 Nov 2026 08:00:00 GMT", "Retry-After": "Fri, 20 Nov 2026 08:00:07 GMT"}
    (saved,) = scrubbed(interaction(status=429, headers=headers))
    assert saved["headers"]["Retry-After"] == ["7"]


@pytest.mark.parametrize("word", ["fetch", "required", "Fetch"])
def test_the_words_of_the_csrf_protocol_are_no_secrets(word: str) -> None:
    (saved,) = scrubbed(interaction(headers={"x-csrf-token": word}, body='{"n": "fetch required"}'))
    assert saved["headers"]["x-csrf-token"] == [word]
    assert saved["body"] == '{"n": "fetch required"}'


@pytest.mark.parametrize(
    "left", [CANARY, CANARY.upper(), quote(CANARY + "/", safe="")[:-3], f"http://acme.example/{JWT}"]
)
def test_a_cassette_with_something_left_in_it_is_refused(left: str) -> None:
    known = Known(secrets=[CANARY])
    known.learn(*interaction(url="https://acme.example/x"))
    with pytest.raises(ReplayError, match="was not saved") as caught:
        Scrubber(known).check(f'"{left}"')
    assert CANARY not in str(caught.value)
    assert JWT not in str(caught.value)


def test_nothing_leaks_over_the_wire(
    leaky: Any, canned: Any, ask: Callable[[], Any], text_of: Callable[[str], str]
) -> None:
    """The whole way, over real sockets: every place at once, zipped."""
    leaky.token_fields = {"refresh_token": "canary-refresh-token", "id_token": "canary-id-token", "jti": "canary-jti-1"}
    leaky.answers["/api/v1/a"] = [
        canned(
            f'{{"value": [], "who": "{leaky.client_id}", "host": "{leaky.url}", "again": "canary-jti-1"}}',
            headers={"Set-Cookie": "s=canary-session-cookie; Path=/", "x-csrf-token": "canary-csrf-token"},
            zipped=True,
        )
    ]
    with sacnb.replay.cassette("leaky", "record"):
        session = ask().session
        session.fetch("GET", "/api/v1/a", operation="read")
        session.fetch("POST", "/api/v1/b", operation="write", json={"password": "canary-password"})
    text = text_of("leaky")
    assert "canary" not in text
    assert leaky.url not in text
    assert "127.0.0.1" not in text
    assert list(sacnb.replay.scan_text(text)) == []


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_nothing_leaks_into_the_log_while_recording(
    leaky: Any, canned: Any, ask: Callable[[], Any], caplog: pytest.LogCaptureFixture, level: int
) -> None:
    """By itself, vcrpy logs every answer, tokens included."""
    leaky.answers["/api/v1/a"] = [canned('{"accessToken": "canary-in-body"}')]
    with caplog.at_level(level), sacnb.replay.cassette("leaky", "record"):
        ask().session.fetch("GET", "/api/v1/a", operation="read")
    assert caplog.records
    assert "canary" not in caplog.text
    with caplog.at_level(level), sacnb.replay.cassette("leaky"):
        requests.get(f"{leaky.url}/api/v1/a", timeout=5)
    assert "canary" not in caplog.text


def test_a_secret_planted_while_recording_is_thrown_away_with_the_recording(
    leaky: Any, canned: Any, monkeypatch: pytest.MonkeyPatch, folder: Any
) -> None:
    """If the scrubber had a hole, the last look would still close it: here the scrubber does nothing at all."""
    leaky.answers["/x"] = [canned('{"text": "canary-planted-value"}')]
    monkeypatch.setattr(Scrubber, "__call__", lambda self, request, response: (request, response))
    with (
        pytest.raises(ReplayError, match="a secret of 20 characters"),
        sacnb.replay.cassette("hole", "record", secrets=["canary-planted-value"]),
    ):
        requests.get(f"{leaky.url}/x", timeout=5)
    assert list(folder.glob("*.json")) == []
