"""Client credentials against a real endpoint, and the pasted token."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import pickle
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from sealing import shown

from sacnb._auth import ClientCredentials, StaticToken
from sacnb._auth.endpoint import EndpointOptions
from sacnb._auth.sources import MIGRATE_HINT
from sacnb._auth.token import WarnOnce
from sacnb._settings import Secret
from sacnb.errors import DeprecatedTokenWarning, RefreshError, SettingsError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CLIENT_ID = "sb-0b8bd6b2-8c5c-4c43-9a5d-4c0b0b6f0a11!b123|client!b456"
# With everything that breaks naive encoding: non-ASCII, "%", "+", "/", ":", "&", "=", "$".
SECRET = "canary-9f3e%41+/:&=é$abc-DEF_=="
TOKEN = "canary-access-token"
GOOD = json.dumps({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3599, "scope": "s"}).encode()


def client(url: str, **options: Any) -> ClientCredentials:
    secret, style = options.pop("secret", Secret(SECRET)), options.pop("style", "basic")
    endpoint = EndpointOptions(**{"timeout": (30.0, 30.0), **options})
    return ClientCredentials(url, CLIENT_ID, secret, style=style, options=endpoint)


def assert_silent(error: BaseException) -> None:
    text = shown(error, __file__)
    assert "self" in text  # the locals are in there
    for secret in (SECRET, TOKEN, base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode(), "canary"):
        assert secret not in text


@pytest.mark.parametrize("secret", [SECRET, Secret(SECRET)])
def test_basic_style_sends_id_and_secret_raw_in_the_header_and_the_grant_in_the_body(
    secret: str | Secret, endpoint: Any, reply: Any
) -> None:
    endpoint.replies = [reply(body=GOOD)]
    token = client(endpoint.url, secret=secret).fetch(NOW)
    assert token.value.reveal() == TOKEN
    assert token.scope == "s"
    (seen,) = endpoint.seen
    assert (seen.method, seen.path) == ("POST", "/oauth/token")
    scheme, _, encoded = seen.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(encoded).decode("utf-8") == f"{CLIENT_ID}:{SECRET}"
    assert seen.body == b"grant_type=client_credentials"
    assert seen.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert seen.headers["Accept"] == "application/json"


def test_body_style_sends_all_three_in_the_body_encoded(endpoint: Any, reply: Any) -> None:
    endpoint.replies = [reply(body=GOOD)]
    client(endpoint.url, style="body").fetch(NOW)
    (seen,) = endpoint.seen
    assert "Authorization" not in seen.headers
    assert parse_qs(seen.body.decode("ascii"), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": [CLIENT_ID],
        "client_secret": [SECRET],
    }


def test_a_netrc_does_not_replace_the_client(
    endpoint: Any, reply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    endpoint.replies = [reply(body=GOOD)]
    client(endpoint.url, style="body").fetch(NOW)
    client(endpoint.url).fetch(NOW)
    assert "Authorization" not in endpoint.seen[0].headers
    assert base64.b64decode(endpoint.seen[1].headers["Authorization"][6:]).startswith(b"sb-")


@pytest.mark.parametrize(
    ("documentation", "trust_env", "used"), [("proxies are the environment's", True, True), ("or none", False, False)]
)
def test_proxies(  # noqa: PLR0917 - the columns of the table
    documentation: str, trust_env: bool, used: bool, endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint plays the proxy: it is asked to CONNECT, which it does not know, or it is not asked at all."""
    endpoint.replies = [reply(body=GOOD)]
    monkeypatch.setenv("https_proxy", endpoint.url.removesuffix("/oauth/token").replace("//", "//user:canary@"))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(RefreshError) as caught:
        client("https://tenant.invalid/oauth/token", trust_env=trust_env).fetch(NOW)
    assert ("proxy refused" in str(caught.value)) is used, documentation
    assert ("host name is not known" in str(caught.value)) is not used, documentation
    assert_silent(caught.value)


def test_this_machine_is_never_asked_through_a_proxy(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http to this machine would leave it in plain http."""
    endpoint.replies = [reply(body=GOOD)]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert client(endpoint.url).fetch(NOW).value.reveal() == TOKEN


def test_the_environment_is_read_once_and_not_with_each_request(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = client(endpoint.url.replace("127.0.0.1", "localhost"))
    endpoint.replies = [reply(body=GOOD)]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert source.fetch(NOW).value.reveal() == TOKEN


def test_a_company_certificate_is_trusted_with_its_bundle(
    tls_endpoint: Any, reply: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(bundle))
    tls_endpoint.replies = [reply(body=GOOD)]
    with pytest.raises(RefreshError, match="certificate of the token endpoint") as caught:
        client(tls_endpoint.url).fetch(NOW)
    assert caught.value.error_code == "non_retriable"
    assert "SAC_CA_BUNDLE" in str(caught.value)
    assert_silent(caught.value)
    assert client(tls_endpoint.url, verify=str(bundle)).fetch(NOW).value.reveal() == TOKEN


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_the_secret(status: int, endpoint: Any, reply: Any) -> None:
    """Not even on the same host: the token URL is to be corrected instead."""
    endpoint.replies = [reply(status=status, headers={"Location": "https://elsewhere.example/x?canary=1"})]
    with pytest.raises(RefreshError, match=r"redirects to elsewhere\.example") as caught:
        client(endpoint.url, style="body").fetch(NOW)
    assert len(endpoint.seen) == 1
    assert caught.value.error_code == "non_retriable"
    assert "SAC_TOKEN_URL" in str(caught.value)
    assert_silent(caught.value)


INVALID_CLIENT = b'{"error":"invalid_client","error_description":"Bad credentials"}'
ECHO = json.dumps({"error": "invalid_client", "error_description": f"wrong\n{CLIENT_ID}:{SECRET}\u200b" * 20}).encode()


@pytest.mark.parametrize(
    ("documentation", "reply_options", "error_code", "words"),
    [
        ("the wrong secret", {"status": 401, "body": INVALID_CLIENT}, "non_retriable",
         ("invalid_client (Bad credentials)", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET", "SAC_TOKEN_URL")),
        ("the secret echoed", {"status": 401, "body": ECHO}, "non_retriable", ("***",)),
        ("not allowed this grant", {"status": 400, "body": b'{"error":"unauthorized_client"}'}, "non_retriable",
         ("400 unauthorized_client", "SAC_CLIENT_ID")),
        ("an error with status 200", {"body": b'{"error":"invalid_client"}'}, "non_retriable", ("invalid_client",)),
        ("it says it is passing", {"status": 400, "body": b'{"error":"temporarily_unavailable"}'}, "refresh_failed",
         ("temporarily_unavailable",)),
        ("an OAuth error with 503", {"status": 503, "body": b'{"error":"server_error"}'}, "refresh_failed", ("503",)),
        ("an unknown subdomain", {"status": 404, "body": b"<html>Not found</html>",
                                  "headers": {"Content-Type": "text/html"}}, "non_retriable",
         ("404", "no such token service", "SAC_TOKEN_URL")),
        ("a 401 that says nothing", {"status": 401, "body": b""}, "non_retriable", ("401", "SAC_CLIENT_SECRET")),
        ("another refusal", {"status": 405, "body": b"no"}, "non_retriable", ("405", "SAC_TOKEN_URL")),
        ("down", {"status": 500, "body": b"oops"}, "refresh_failed", ("500",)),
        ("a gateway", {"status": 502, "body": b"<html>", "headers": {"Content-Type": "text/html"}}, "refresh_failed",
         ("502 (text/html)",)),
        ("timed out", {"status": 408}, "refresh_failed", ("408",)),
        ("throttled", {"status": 429}, "refresh_failed", ("429",)),
        ("a login page", {"body": b" <!doctype html>canary", "headers": {"Content-Type": "text/html;charset=utf-8"}},
         "non_retriable", ("a web page (text/html)", "SAC_TOKEN_URL")),
        ("truncated JSON", {"body": GOOD[:-9]}, "refresh_failed", ("not JSON",)),
        ("JSON that is no object", {"body": b"[1]"}, "refresh_failed", ("not JSON",)),
        ("nothing", {"body": b""}, "refresh_failed", ("not JSON",)),
        ("JSON without a token", {"body": b'{"refresh_token": "canary"}'}, "non_retriable", ("access token is empty",)),
        ("a token that would inject a header", {"body": b'{"access_token": "canary\\r\\nX: y"}'}, "non_retriable",
         ("access token",)),
        ("another type of token", {"body": b'{"access_token": "canary", "token_type": "mac"}'}, "non_retriable",
         ("'mac'",)),
        ("cut short", {"body": GOOD[:20], "headers": {"Content-Length": "500"}, "hang_up": True}, "refresh_failed",
         ("did not answer",)),
        ("a megabyte", {"body": b'{"access_token": "' + b"x" * 1_100_000 + b'"}'}, "refresh_failed",
         ("did not answer",)),
    ],
)  # fmt: skip
def test_every_shape_of_refusal(  # noqa: PLR0917 - the columns of the table
    documentation: str,
    reply_options: dict[str, Any],
    error_code: str,
    words: tuple[str, ...],
    endpoint: Any,
    reply: Any,
) -> None:
    endpoint.replies = [reply(**reply_options)]
    with pytest.raises(RefreshError) as caught:
        client(endpoint.url).fetch(NOW)
    assert caught.value.error_code == error_code, documentation
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert len(message) < 800
    assert_silent(caught.value)


@pytest.mark.parametrize("style", ["basic", "body"])
def test_a_secret_that_is_echoed_in_any_form_is_not_repeated(style: Any, endpoint: Any, reply: Any) -> None:
    form = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
    for text in (SECRET, f"x{SECRET}y", form) if style == "basic" else (SECRET, f"x{SECRET}y"):
        endpoint.replies = [reply(status=401, body=json.dumps({"error": text, "error_description": text}).encode())]
        with pytest.raises(RefreshError) as caught:
            client(endpoint.url, style=style).fetch(NOW)
        assert form not in str(caught.value)
        if style == "body":
            assert_silent(caught.value)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("17", 17.0), ("Sun, 01 Mar 2026 12:00:30 GMT", 20.0), ("soon", None)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_of_the_endpoint(status: int, header: str, wait_s: float | None, endpoint: Any, reply: Any) -> None:
    headers = {"Retry-After": header, "Date": "Sun, 01 Mar 2026 12:00:10 GMT"}
    endpoint.replies = [reply(status=status, headers=headers)]
    with pytest.raises(RefreshError) as caught:
        client(endpoint.url).fetch(NOW)
    assert caught.value.retry_after_s == wait_s
    assert caught.value.error_code == "refresh_failed"


@pytest.mark.parametrize(
    ("expires_in", "lifetime_s"), [("10", 10), ("3599", 3599), ("43199", 3600), ('"3600"', 3600), ("0", 1800)]
)
def test_the_lifetime_of_the_reply(expires_in: str, lifetime_s: float, endpoint: Any, reply: Any) -> None:
    body = b'{"access_token": "t", "expires_in": %b}' % expires_in.encode()
    endpoint.replies = [reply(body=body)]
    token = client(endpoint.url, assumed_lifetime_s=1800, warn_once=WarnOnce()).fetch(datetime.now(UTC))
    assert token.lifetime_s == lifetime_s


@pytest.mark.parametrize("skew_s", [-4000, 0, 4000])
def test_a_skewed_date_header(skew_s: int, endpoint: Any, reply: Any) -> None:
    endpoint.replies = [reply(body=GOOD)]
    now = datetime.now(UTC) - timedelta(seconds=skew_s)  # this machine's clock is off, the endpoint's is right
    token = client(endpoint.url).fetch(now)
    assert token.remaining_s(now) == 3599
    assert abs((token.clock_offset - timedelta(seconds=skew_s)).total_seconds()) < (5 if skew_s else 1e-9)
    assert abs((token.issued_at - datetime.now(UTC)).total_seconds()) < 5


def test_a_reply_that_drips_is_given_up(endpoint: Any, reply: Any) -> None:
    """Each byte is in time, the whole never is: the sum of the timeouts is the limit, or the deadline."""
    endpoint.replies = [reply(body=GOOD, drip_s=0.02)]
    for options in ({"timeout": (0.05, 0.1)}, {"timeout": (5.0, 5.0), "deadline_s": 0.15}):
        with pytest.raises(RefreshError, match=r"did not answer within 0\.15 s") as caught:
            client(endpoint.url, **options).fetch(NOW)
        assert caught.value.error_code == "refresh_failed"
        assert_silent(caught.value)


def test_an_endpoint_that_is_silent_is_given_up(endpoint: Any, reply: Any) -> None:
    endpoint.replies = [reply(body=GOOD, drip_s=30)]
    with pytest.raises(RefreshError, match="no bytes in time") as caught:
        client(endpoint.url, timeout=(5.0, 0.05)).fetch(NOW)
    assert caught.value.error_code == "refresh_failed"
    assert_silent(caught.value)


def test_an_endpoint_that_is_not_there(endpoint: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RefreshError, match="the connection was refused") as caught:
        client(f"http://127.0.0.1:{port}/oauth/token").fetch(NOW)
    assert caught.value.error_code == "refresh_failed"
    assert all(word in str(caught.value) for word in ("127.0.0.1", "SAC_TOKEN_URL", "proxy"))
    assert_silent(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.authentication.eu10.hana.ondemand.com/oauth/token",
        "http://127.0.0.1.evil.example/oauth/token",
        "ftp://127.0.0.1/oauth/token",
        "https://user:canary@acme.example/oauth/token",
        "oauth/token",
        "",
    ],
)
def test_an_unsafe_token_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="SAC_TOKEN_URL") as caught:
        client(url)
    assert "canary" not in str(caught.value)


def test_a_missing_id_and_secret_are_named_together() -> None:
    with pytest.raises(SettingsError) as caught:
        ClientCredentials("https://acme.example/oauth/token", "", "")
    assert [problem.split()[0] for problem in caught.value.problems] == ["SAC_CLIENT_ID", "SAC_CLIENT_SECRET"]


def test_a_source_shows_its_host_and_id_and_is_not_pickled() -> None:
    source = client("https://acme.example/oauth/token")
    assert repr(source) == f"ClientCredentials('acme.example', client_id={CLIENT_ID!r})"
    assert (source.principal, source.name, source.renewable) == (CLIENT_ID, "client_credentials", True)
    with pytest.raises(TypeError):
        pickle.dumps(source)


@pytest.mark.parametrize(
    "options",
    [
        {"body": GOOD},
        {"status": 500, "body": b"x"},
        {"body": GOOD[:5], "headers": {"Content-Length": "99"}, "hang_up": True},
        {"body": b"x" * 1_100_000},
    ],
)
def test_no_connection_is_left_open(options: dict[str, Any], endpoint: Any, reply: Any) -> None:
    """Whatever came, the socket is closed when the answer is there, and not when the garbage is collected."""
    endpoint.replies = [reply(**options)]
    gc.disable()
    try:
        with contextlib.suppress(RefreshError):
            client(endpoint.url).fetch(NOW)
        still_open = [
            thing for thing in gc.get_objects() if isinstance(thing, socket.socket) and is_to(thing, endpoint)
        ]
    finally:
        gc.enable()
    assert still_open == []


def is_to(connection: socket.socket, endpoint: Any) -> bool:
    try:
        peer = connection.getpeername()
        return isinstance(peer, tuple) and peer[1] == endpoint.port  # a pair of Unix sockets has a text for a name
    except OSError:
        return False  # closed, or not connected


# -- the pasted token ------------------------------------------------------------------------------------------------


def jwt(claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"


def pasted(value: str | Secret) -> StaticToken:
    with pytest.warns(DeprecatedTokenWarning, match="SAC_CLIENT_ID"):
        return StaticToken(value)


@pytest.mark.parametrize("text", ["abc.def", " abc.def\n", "Bearer abc.def", "bearer  abc.def ", Secret("abc.def")])
def test_a_pasted_token_is_cleaned_of_what_is_pasted_with_it(text: str | Secret) -> None:
    source = pasted(text)
    token = source.fetch(NOW)
    assert token.value.reveal() == "abc.def"
    assert not token.is_expired(NOW + timedelta(days=365))
    assert (source.principal, source.name, source.renewable) == ("static", "static", False)
    assert "abc" not in repr(source)


def test_a_pasted_token_is_deprecated_in_the_log_too(caplog: pytest.LogCaptureFixture) -> None:
    pasted("abc")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert MIGRATE_HINT in record.getMessage()


@pytest.mark.parametrize("text", ["", "  ", "Bearer ", "canary with blanks", "canary\nlines"])
def test_an_invalid_token_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="SAC_TOKEN") as caught:
        StaticToken(text)
    assert "canary" not in shown(caught.value, __file__)


def test_the_expiry_is_read_from_a_jwt() -> None:
    end = NOW + timedelta(hours=12)
    token = pasted(jwt({"exp": int(end.timestamp())})).fetch(NOW)
    assert token.expires_at == end  # not capped: it cannot be refreshed early
    with pytest.raises(RefreshError, match="expired at 2026-03-02 00:00 UTC") as caught:
        pasted(jwt({"exp": int(end.timestamp())})).fetch(end)
    assert caught.value.error_code == "non_retriable"


@pytest.mark.parametrize(
    "text",
    [
        "opaque",
        "a.b",
        "a.b.c.d",
        "a.!!!.c",
        jwt({}),
        jwt([]),
        jwt({"exp": "soon"}),
        jwt({"exp": 10**30}),
        jwt({"exp": None}),
        "eyJ.eyJ.x",
    ],
)
def test_a_token_of_unknown_expiry_counts_as_valid(text: str) -> None:
    assert pasted(text).fetch(NOW).expires_at.year == 9999
