"""The session as ``requests`` knows it, beside the bare OAuth2Session whose ways with tokens it replaces."""

from __future__ import annotations

import base64
import dataclasses
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient, InsecureTransportError
from requests_oauthlib import OAuth2Session, TokenUpdated

from sacnb._settings import Secret
from sacnb._settings.variables import Bound, Limits
from sacnb._wire import RetryPlan, SacSession
from sacnb.errors import AuthError, BadAnswer, NoAnswerError, RequestError

PATH = "/api/v1/things"
CANARY = "canary-bearer-token"

SessionFor = Callable[..., SacSession]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OAuth2Session]]:
    """The OAuth2Session of requests-oauthlib, with the switch it needs to talk to this machine."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    opened: list[OAuth2Session] = []

    def make(*, expires_in: float = 3600, **options: Any) -> OAuth2Session:
        token = {"access_token": CANARY, "token_type": "bearer", "expires_at": time.time() + expires_in}
        session = OAuth2Session(client=BackendApplicationClient("client"), token=token, **options)
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()


class Canary:
    """A source whose only token is the canary, and whose next ones are not."""

    name = "canary"
    principal = "client"
    renewable = True

    def __init__(self, make: Any) -> None:
        self._make = make
        self.calls = 0

    def fetch(self, now: Any) -> Any:
        self.calls += 1
        token = self._make.fetch(now)
        return dataclasses.replace(token, value=Secret(CANARY)) if self.calls == 1 else token


# -- what is replaced, and why ---------------------------------------------------------------------------------------


def test_the_bare_session_logs_the_token_and_ours_does_not(
    tenant: Any, bare: Callable[..., OAuth2Session], session_for: SessionFor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bare().get(tenant.url + PATH)
    assert CANARY in caplog.text
    caplog.clear()
    session = session_for(tenant.url)
    session.guard.source = Canary(session.guard.source)
    session.get(tenant.url + PATH)
    session.fetch("GET", PATH, operation="x")
    assert [seen.bearer for seen in tenant.seen] == [CANARY] * 3
    assert "urllib3" in caplog.text  # DEBUG is on for everybody
    assert CANARY not in caplog.text


def test_the_bare_session_cannot_renew_a_technical_users_token_and_ours_can(
    tenant: Any, reply: Any, bare: Callable[..., OAuth2Session], connect: Any, passing: Any
) -> None:
    """It posts a refresh_token grant without a token and without the client, and if that worked it would raise."""
    token_url = tenant.url + "/oauth/token"
    session = bare(expires_in=-10, auto_refresh_url=token_url)
    with pytest.raises(TokenUpdated):
        session.get(tenant.url + PATH)
    (asked,) = tenant.seen
    assert asked.body == b"grant_type=refresh_token&allow_redirects=True"
    assert "Authorization" not in asked.headers

    tenant.seen.clear()
    context = connect(tenant)
    context.session.get(tenant.url + PATH)
    before = tenant.seen[-1].bearer
    passing.seconds = 4000
    assert context.session.get(tenant.url + PATH).status_code == 200
    asked = tenant.at("/oauth/token")[-1]
    assert asked.body == b"grant_type=client_credentials"
    assert asked.headers["Authorization"].startswith("Basic ")
    assert tenant.seen[-1].bearer not in {None, before}


def test_the_bare_session_refuses_this_machine_and_ours_does_not(
    tenant: Any, bare: Callable[..., OAuth2Session], session_for: SessionFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bare()
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT")
    with pytest.raises(InsecureTransportError):
        session.get(tenant.url + PATH)
    assert session_for(tenant.url).get(tenant.url + PATH).status_code == 200


def test_a_netrc_replaces_the_bare_sessions_token_after_a_redirect_and_not_ours(  # noqa: PLR0917 - fixtures
    tenant: Any,
    reply: Any,
    bare: Callable[..., OAuth2Session],
    session_for: SessionFor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    tenant.answers[PATH] = [reply(status=302, headers={"Location": "/api/v1/elsewhere"})]
    bare().get(tenant.url + PATH)
    assert tenant.seen[-1].headers["Authorization"].startswith("Basic ")
    session = session_for(tenant.url)
    for answer in (session.get(tenant.url + PATH).url, session.fetch("GET", PATH, operation="x").url):
        assert answer == tenant.url + "/api/v1/elsewhere"
        assert tenant.seen[-1].bearer == "token-1"


def test_the_bare_session_follows_a_redirect_elsewhere_and_ours_does_not(
    tenant: Any, other_tenant: Any, reply: Any, bare: Callable[..., OAuth2Session], session_for: SessionFor
) -> None:
    tenant.answers[PATH] = [reply(status=302, headers={"Location": other_tenant.url + "/login"})]
    bare().get(tenant.url + PATH)
    assert len(other_tenant.seen) == 1
    with pytest.raises(AuthError, match="login page"):
        session_for(tenant.url).get(tenant.url + PATH)
    assert len(other_tenant.seen) == 1


def test_the_bare_session_asks_the_environment_with_each_request_and_ours_once(
    tenant: Any, bare: Callable[..., OAuth2Session], session_for: SessionFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = session_for(tenant.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(requests.exceptions.ProxyError):
        bare().get(tenant.url + PATH)
    assert ours.get(tenant.url + PATH).status_code == 200


@pytest.mark.parametrize(
    ("url", "no_proxy", "trust_env", "expected"),
    [
        ("https://acme.example", "", True, "http://proxy.example:3128"),
        ("https://acme.example", "acme.example", True, None),
        ("https://acme.example", ".example", True, None),
        ("https://acme.example", "other.example", True, "http://proxy.example:3128"),
        ("https://acme.example", "", False, None),
        ("http://127.0.0.1:8000", "", True, None),
    ],
)
def test_proxies_are_those_of_the_environment_for_the_tenant(  # noqa: PLR0917 - the columns of the table
    url: str,
    no_proxy: str,
    trust_env: bool,
    expected: str | None,
    session_for: SessionFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    session = session_for(url, trust_env=trust_env)
    assert session.proxies.get(url.partition(":")[0]) == expected
    assert not session.trust_env


# -- the face itself -------------------------------------------------------------------------------------------------


def test_it_is_requests(tenant: Any, reply: Any, session_for: SessionFor) -> None:
    tenant.answers[PATH] = [reply(body=b'{"value":[1]}')]
    session = session_for(tenant.url)
    assert isinstance(session, OAuth2Session)
    response = session.get(PATH, params={"a": "b"}, headers={"Prefer": "x"})
    assert isinstance(response, requests.Response)
    assert response.json() == {"value": [1]}
    seen = tenant.seen[-1]
    assert (seen.path, seen.bearer) == (PATH + "?a=b", "token-1")
    assert (seen.headers["Prefer"], seen.headers["x-sap-sac-custom-auth"]) == ("x", "true")
    assert session.post(tenant.url + PATH, json={"a": 1}).status_code == 200
    assert tenant.seen[-1].body == b'{"a": 1}'
    assert session.telemetry.summary().requests == 2


def test_refusals_are_responses_as_with_requests(tenant: Any, reply: Any, session_for: SessionFor) -> None:
    tenant.answers[PATH] = [reply(status=500)]
    assert session_for(tenant.url).get(PATH).status_code == 500
    assert len(tenant.seen) == 1


@pytest.mark.parametrize("body", [None, "text", b"bytes", {"a": "form"}])
def test_a_401_is_replayed_once_with_a_fresh_token(body: Any, tenant: Any, reply: Any, session_for: SessionFor) -> None:
    tenant.answers[PATH] = [reply(status=401), reply()]
    assert session_for(tenant.url).post(PATH, data=body).status_code == 200
    first, second = tenant.at(PATH)
    assert (first.bearer, second.bearer) == ("token-1", "token-2")
    assert first.body == second.body


def test_a_second_401_is_final(tenant: Any, reply: Any, session_for: SessionFor) -> None:
    tenant.answers[PATH] = [reply(status=401)]
    with pytest.raises(AuthError, match="also to a fresh token"):
        session_for(tenant.url).get(PATH)
    assert len(tenant.at(PATH)) == 2


@pytest.mark.parametrize("argument", ["data", "files"])
def test_a_body_that_is_gone_is_not_sent_again(
    argument: str, tenant: Any, reply: Any, session_for: SessionFor, tmp_path: Path
) -> None:
    tenant.answers[PATH] = [reply(status=401)]
    file = tmp_path / "rows.csv"
    file.write_text("a,b")
    with file.open("rb") as body, pytest.raises(AuthError, match="cannot be sent a second time"):
        session_for(tenant.url).post(PATH, **{argument: body if argument == "data" else {"rows": body}})
    assert len(tenant.at(PATH)) == 1


def test_a_rejected_token_that_comes_back_is_not_sent_again(tenant: Any, reply: Any, connect: Any) -> None:
    tenant.answers[PATH] = [reply(status=401)]
    tenant.answers["/oauth/token"] = [reply(body=b'{"access_token": "cached", "expires_in": 600}')]
    with pytest.raises(AuthError, match="hands the rejected token out"):
        connect(tenant).session.get(PATH)
    assert len(tenant.at(PATH)) == 1


@pytest.mark.parametrize("url", ["https://evil.example/x", "http://127.0.0.1:9/x", "//evil.example/x"])
def test_the_token_goes_to_the_tenant_only(url: str, session_for: SessionFor) -> None:
    with pytest.raises((RequestError, requests.exceptions.MissingSchema)):
        session_for("http://127.0.0.1:1").get(url)


def test_a_redirect_that_is_not_to_be_followed_is_a_response(
    tenant: Any, other_tenant: Any, reply: Any, session_for: SessionFor
) -> None:
    tenant.answers[PATH] = [reply(status=302, headers={"Location": other_tenant.url})]
    response = session_for(tenant.url).get(PATH, allow_redirects=False)
    assert (response.status_code, response.next) == (302, None)


def test_a_token_can_be_withheld(tenant: Any, session_for: SessionFor) -> None:
    session = session_for(tenant.url)
    session.request("GET", PATH, withhold_token=True)
    assert "Authorization" not in tenant.seen[-1].headers
    assert session.guard.peek() is None


def test_hooks_of_the_base_class_still_work(tenant: Any, session_for: SessionFor) -> None:
    session = session_for(tenant.url)
    session.register_compliance_hook(
        "protected_request", lambda url, headers, data: (url, {**(headers or {}), "X-Hooked": "1"}, data)
    )
    session.get(PATH)
    assert tenant.seen[-1].headers["X-Hooked"] == "1"


def test_streaming_works(tenant: Any, reply: Any, session_for: SessionFor) -> None:
    tenant.answers[PATH] = [reply(body=b"x" * 1000)]
    with session_for(tenant.url).get(PATH, stream=True) as response:
        assert b"".join(response.iter_content(100)) == b"x" * 1000


def test_tokens_cannot_be_put_in_or_fetched_behind_the_guards_back(tenant: Any, session_for: SessionFor) -> None:
    session = session_for(tenant.url)
    for call in (session.fetch_token, session.refresh_token):
        with pytest.raises(AuthError, match=r"guard\.force"):
            call(tenant.url + "/oauth/token", client_secret="x")
    assert not tenant.seen
    with pytest.raises(AuthError, match="takes none that is set"):
        session.token = {"access_token": "smuggled", "token_type": "bearer"}
    with pytest.raises(AuthError, match='auth="static"'):
        session.access_token = "smuggled"  # planted
    session.get(PATH)
    assert tenant.seen[-1].bearer == "token-1"


def test_authorized_tells_of_the_guards_token(tenant: Any, session_for: SessionFor) -> None:
    session = session_for(tenant.url)
    assert not session.authorized
    session.get(PATH)
    assert session.authorized
    assert session.guard.peek() is not None
    assert session.token["token_type"] == "Bearer"
    assert session.token["expires_at"] > time.time()
    assert session.access_token is not None
    assert session.access_token.reveal() == "token-1"
    assert "token-1" not in repr(session.token)


def test_before_there_is_a_token_the_session_has_none(session_for: SessionFor) -> None:
    session = session_for("https://acme.example")
    assert (session.token, session.access_token) == ({}, None)


@pytest.mark.parametrize("of", ["the request", "the session"])
def test_an_authorisation_of_the_programs_own_takes_the_tokens_place(
    of: str, tenant: Any, session_for: SessionFor
) -> None:
    session = session_for(tenant.url)
    if of == "the session":
        session.auth = ("user", "password")
    session.get(PATH, **({"auth": ("user", "password")} if of == "the request" else {}))
    assert tenant.seen[-1].headers["Authorization"] == f"Basic {base64.b64encode(b'user:password').decode()}"
    assert session.guard.peek() is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_form_is_redirected_as_requests_does_it(
    status: int, tenant: Any, reply: Any, session_for: SessionFor
) -> None:
    tenant.answers[PATH] = [reply(status=status, headers={"Location": "/api/v1/elsewhere"})]
    response = session_for(tenant.url).post(PATH, data={"a": "1"})
    assert (response.status_code, [each.status_code for each in response.history]) == (200, [status])
    seen = tenant.seen[-1]
    assert (seen.method, seen.body) == (("POST", b"a=1") if status >= 307 else ("GET", b""))
    assert seen.bearer == "token-1"


def test_an_endless_answer_and_one_that_drips_end(raw: Any, session_for: SessionFor) -> None:
    session = session_for(raw.url, limits=Limits(Bound(1, "SAC_MAX_ANSWER_MB")), plan=RetryPlan(deadline_s=0.5))
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    raw.answer = lambda _: [head, *[b"x" * 100_000] * 30]
    with pytest.raises(BadAnswer, match="SAC_MAX_ANSWER_MB"):
        session.get(PATH)
    raw.answer = lambda _: [head, *[b"x", 0.1] * 50]
    with pytest.raises(NoAnswerError, match="deadline"):
        session.get(PATH)


def test_a_session_is_not_pickled(session_for: SessionFor) -> None:
    with pytest.raises(TypeError, match="connect again"):
        pickle.dumps(session_for("https://acme.example"))
