"""Named users against the sandbox's authorization server: without a browser, which plain HTTP replaces."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import keyring
import keyrings
import pytest
import requests
from keyring.backends import fail
from loopback import Reply
from sealing import shown

import sacnb
import sacnb.sandbox
from sacnb import Tenant
from sacnb._auth.named_user import AuthorizationCode, authorize_url, who_of
from sacnb._auth.named_user_flow import log_in
from sacnb._auth.named_user_keyring import KeptLogin
from sacnb._auth.named_user_login import Listener
from sacnb._settings import Secret, Settings
from sacnb.errors import AuthError, RefreshError, SettingsError
from sacnb.sandbox import Sandbox
from sacnb.sandbox.login import user_token

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Person:
    """Logs in as a user with a browser does: follows the link, fills in the form, is sent back."""

    def __init__(self, user: str = "planner", **fields: str) -> None:
        self.fields = {"username": user, "password": user, "action": "login", **fields}
        self.pages: list[requests.Response] = []

    def go_to_form(self, link: str) -> str:
        """Return the address of the form."""
        page = requests.get(link, timeout=30)
        assert page.status_code == 200, page.text
        return page.url

    def redirected(self, link: str) -> str:
        """Return the address that the browser is sent back to."""
        answer = requests.post(self.go_to_form(link), data=self.fields, allow_redirects=False, timeout=30)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def __call__(self, link: str) -> None:
        self.pages.append(requests.get(self.redirected(link), timeout=30))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sacnb.sandbox.start() as started:
        yield started


@pytest.fixture(autouse=True)
def _behave(sandbox: Sandbox) -> None:
    sandbox.behave()


@pytest.fixture
def connect(sandbox: Sandbox, tmp_path: Any) -> Iterator[Callable[..., Tenant]]:
    opened: list[Tenant] = []

    def connect(**arguments: Any) -> Tenant:
        settings = {
            "token_url": sandbox.token_url,
            "client_id": sandbox.client_id,
            "client_secret": sandbox.client_secret,
            "redirect_uri": "http://127.0.0.1:0/back",
            "cache_dir": tmp_path / "cache",
            "max_attempts": 1,
            "profile": "",
        }
        opened.append(sacnb.connect(sandbox.tenant_url, auth="authorization_code", **{**settings, **arguments}))
        return opened[-1]

    yield connect
    for tenant in opened:
        tenant.close()


@pytest.fixture
def tenant(connect: Callable[..., Tenant]) -> Tenant:
    return connect()


def source_of(tenant: Tenant) -> AuthorizationCode:
    source = tenant._connection.context.guard.source
    assert isinstance(source, AuthorizationCode)
    return source


def login(tenant: Tenant, person: Person | None = None, **options: Any) -> Any:
    person = person or Person()
    options = {"keep": False, "paste": None, "timeout_s": 30, "show": str, "find": lambda: person, **options}
    return tenant._login(**options)


def test_a_user_logs_in_and_reads(tenant: Tenant) -> None:
    person = Person()
    who = login(tenant, person)
    assert (who.kind, who.user, who.email, who.is_kept) == ("named user", "planner", "planner@sandbox.invalid", False)
    assert "planner" in str(who)
    assert "US_EMPLOYMENT" in tenant.models()["id"].to_list()
    (page,) = person.pages
    assert page.status_code == 200
    assert "You can close this tab." in page.text
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "code" not in page.text


def test_without_a_login_nothing_opens_a_browser(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", pytest.fail)
    with pytest.raises(RefreshError, match="Nobody is logged in") as caught:
        tenant.models()
    assert caught.value.error_code == "non_retriable"
    assert "sacnb login" in str(caught.value.hint)
    login(tenant)  # at once, although the refusal is remembered
    assert len(tenant.models())


def test_the_link_works_once_and_shows_nothing(tenant: Tenant) -> None:
    links: list[str] = []
    person = Person()

    def browse(link: str) -> None:
        person(link)
        assert requests.get(link, timeout=30).status_code == 410

    login(tenant, show=links.append, find=lambda: browse)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/login-[\w-]{32}", links[0])


def test_the_request_has_pkce_state_and_nonce_of_its_own(tenant: Tenant) -> None:
    first, second = (source_of(tenant).begin("http://127.0.0.1:1/") for _ in range(2))
    asked = {name: value for name, (value,) in parse_qs(urlsplit(first.url).query, strict_parsing=True).items()}
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert asked["response_type"] == "code"
    assert asked["state"] == first.state.reveal()
    assert first.verifier.reveal() not in first.url
    for name in ("state", "verifier", "nonce"):
        assert getattr(first, name) != getattr(second, name)
    for hidden in (asked["state"], first.verifier.reveal(), first.nonce, asked["code_challenge"]):
        assert hidden not in repr(first)


@pytest.mark.parametrize("query", ["code=x", "code=x&state=wrong", "code=x&state={state}&state={state}", ""])
def test_a_request_of_another_login_changes_nothing(query: str, tenant: Tenant) -> None:
    person = Person()

    def browse(link: str) -> None:
        form = person.go_to_form(link)
        asked = parse_qs(urlsplit(form).query)
        forged = f"{asked['redirect_uri'][0]}?{query.format(state=asked['state'][0])}"
        assert requests.get(forged, timeout=30).status_code == 400
        assert requests.get(forged.replace("/back", "/favicon.ico"), timeout=30).status_code == 404
        person(form)

    assert login(tenant, find=lambda: browse).user == "planner"


def test_only_one_answer_is_taken(sandbox: Sandbox, tenant: Tenant) -> None:
    listener = Listener("http://127.0.0.1:0/back")
    attempt = source_of(tenant).begin(listener.redirect_uri)
    with listener.serving(attempt):
        address = f"{listener.redirect_uri}?state={attempt.state.reveal()}&code="
        pages = [requests.get(address + code, timeout=30) for code in ("first", "second")]
        assert [page.status_code for page in pages] == [200, 410]
        assert attempt.code_in(listener.wait(30, lambda: 0.0)).reveal() == "first"
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=5)


def test_the_time_limit(tenant: Tenant) -> None:
    times = iter([0.0, 29.0, 31.0])
    guard = tenant._connection.context.guard
    with pytest.raises(AuthError, match="Nobody logged in within 30 s"):
        log_in(
            guard, to="x", keep=False, paste=False, timeout_s=30, show=str, find=lambda: None, clock=lambda: next(times)
        )


def test_a_port_in_use(connect: Callable[..., Tenant]) -> None:
    listener = Listener("http://127.0.0.1:0/")
    try:
        with pytest.raises(AuthError, match=r"Port \d+ of this machine") as caught:
            login(connect(redirect_uri=listener.redirect_uri))
        assert "SAC_REDIRECT_URI" in str(caught.value.hint)
    finally:
        listener.close()


@pytest.mark.parametrize("form", ["{url}", "  {url}\n", "'{url}'", "{code}"])
def test_pasting_where_there_is_no_browser(form: str, tenant: Tenant) -> None:
    links: list[str] = []

    def ask(prompt: str) -> str:
        assert "not shown" in prompt
        url = Person().redirected(links[-1])
        return form.format(url=url, code=parse_qs(urlsplit(url).query)["code"][0])

    assert login(tenant, show=links.append, ask=ask, find=lambda: None).user == "planner"
    assert parse_qs(urlsplit(links[0]).query)["redirect_uri"] == ["http://127.0.0.1:8414/back"]


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "Neither a code nor an address"),
        ("two words", "Neither a code nor an address"),
        ("http://127.0.0.1:8414/back?code=x&state=y", "belongs to another login"),
        ("http://127.0.0.1:8414/back", "belongs to another login"),
        ("http://127.0.0.1:8414/back?state={state}", "holds no code"),
        ("?error=access_denied&error_description=No%20way&state={state}", "refused the login: access_denied No way"),
        ("made-up-code", "Invalid authorization code"),
    ],
)
def test_what_is_pasted_wrongly(pasted: str, said: str, tenant: Tenant) -> None:
    links: list[str] = []

    def ask(_: str) -> str:
        return pasted.format(state=parse_qs(urlsplit(links[0]).query)["state"][0])

    with pytest.raises(AuthError, match=said):
        login(tenant, show=links.append, ask=ask, paste=True)


def test_a_redirect_uri_elsewhere_is_pasted(connect: Callable[..., Tenant]) -> None:
    tenant = connect(redirect_uri="https://hub.example/back")
    with pytest.raises(AuthError, match="which is not this machine"):
        login(tenant, paste=False)
    with pytest.raises(AuthError, match="Neither a code"):
        login(tenant, ask=lambda _: "")


@pytest.mark.parametrize(
    ("misbehaviour", "said"),
    [
        ("code_expired", "400 invalid_grant .*has expired"),
        ("login_refused", "refused the login: access_denied"),
        ("token_invalid_client", "401 invalid_client"),
        ("token_500", "500"),
    ],
)
def test_what_the_server_refuses(misbehaviour: str, said: str, sandbox: Sandbox, tenant: Tenant) -> None:
    sandbox.misbehave(misbehaviour, times=1)
    before = sandbox.counts["token_requests"]
    with pytest.raises(AuthError, match=said):
        login(tenant)
    assert sandbox.counts["token_requests"] - before <= 1  # a code is never sent twice
    assert login(tenant).user == "planner"


def test_a_wrong_state_from_the_server_is_not_taken(sandbox: Sandbox, tenant: Tenant) -> None:
    sandbox.misbehave("login_wrong_state")
    person, times = Person(), iter([0.0, 99.0])
    with pytest.raises(AuthError, match="Nobody logged in"):
        log_in(
            tenant._connection.context.guard,
            to="x",
            keep=False,
            paste=None,
            timeout_s=30,
            show=str,
            find=lambda: person,
            clock=lambda: next(times),
        )
    assert [page.status_code for page in person.pages] == [400]
    assert sandbox.counts["misbehaved_login_wrong_state"]


def test_refresh_tokens_rotate_and_each_is_used_once(sandbox: Sandbox, tenant: Tenant) -> None:
    login(tenant)
    seen = {source_of(tenant)._refresh_token}
    for _ in range(3):
        tenant.renew_token()
        seen.add(source_of(tenant)._refresh_token)
    assert len(seen) == 4
    assert len(tenant.models())  # had one been sent twice, the sandbox would have ended the login


def test_a_server_that_does_not_rotate(sandbox: Sandbox, tenant: Tenant) -> None:
    sandbox.misbehave("refresh_token_kept")
    login(tenant)
    before = source_of(tenant)._refresh_token
    tenant.renew_token()
    tenant.renew_token()
    assert source_of(tenant)._refresh_token == before


@pytest.mark.parametrize("how", ["expired", "ended", "reused"])
def test_a_login_that_has_ended_is_said_plainly_and_a_new_one_helps(how: str, sandbox: Sandbox, tenant: Tenant) -> None:
    login(tenant)
    if how == "expired":
        sandbox.misbehave("refresh_token_expired", times=1)
    elif how == "ended":
        sandbox.end_logins()
    else:
        stolen = source_of(tenant)._refresh_token
        tenant.renew_token()
        source_of(tenant)._refresh_token = stolen
    with pytest.raises(RefreshError, match=r"The login has ended: .*400 invalid_grant") as caught:
        tenant.renew_token()
    assert "Log in: sacnb login" in str(caught.value.hint)
    before = sandbox.counts["token_requests"]
    sandbox.revoke_tokens()
    with pytest.raises(RefreshError):
        tenant.models()
    assert sandbox.counts["token_requests"] == before  # a refresh token that was refused is not sent again
    assert login(tenant).user == "planner"
    assert len(tenant.models())


def test_a_lost_answer_to_a_refresh_keeps_the_refresh_token(sandbox: Sandbox, tenant: Tenant) -> None:
    login(tenant)
    before = source_of(tenant)._refresh_token
    sandbox.misbehave("token_down", times=1)
    with pytest.raises(RefreshError) as caught:
        tenant.renew_token()
    assert caught.value.error_code == "refresh_failed"
    assert source_of(tenant)._refresh_token == before
    tenant.renew_token()


def test_a_401_costs_one_refresh(sandbox: Sandbox, tenant: Tenant) -> None:
    login(tenant)
    sandbox.revoke_tokens()
    before = sandbox.counts["token_requests"]
    assert len(tenant.models())
    assert sandbox.counts["token_requests"] == before + 1


def test_without_a_refresh_token_the_login_ends_with_the_access_token(
    sandbox: Sandbox, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.misbehave("refresh_token_missing")
    login(tenant)
    assert "the login ends with this access token" in caplog.text
    assert len(tenant.models())
    sandbox.revoke_tokens()
    with pytest.raises(RefreshError, match="Nobody is logged in"):
        tenant.models()


def test_a_connection_is_for_one_user(connect: Callable[..., Tenant]) -> None:
    tenant, other = connect(), connect()
    nobody = {tenant._connection.principal, other._connection.principal}
    assert len(nobody) == 2  # not even the results of nobody are shared
    login(tenant)
    ours = tenant._connection.principal
    assert ours not in nobody
    with pytest.raises(AuthError, match="This connection belongs to planner, and the token to controller"):
        login(tenant, Person("controller"))
    assert tenant._connection.principal == ours
    login(tenant)
    login(other, Person("controller"))
    assert other._connection.principal != ours


def test_two_users_do_not_see_each_others_results(connect: Callable[..., Tenant], sandbox: Sandbox) -> None:
    keys = []
    for user in ("planner", "controller", "planner"):
        tenant = connect()
        login(tenant, Person(user))
        keys.append(tenant.model("US_EMPLOYMENT").facts(where={"Version": "public.Actual"}, limit=1).cache_key)
    assert keys[0] == keys[2] != keys[1]


def test_logout_forgets(tenant: Tenant) -> None:
    assert tenant.logout() is False
    login(tenant)
    assert tenant.logout() is True
    with pytest.raises(RefreshError, match="Nobody is logged in"):
        tenant.models()


def test_a_forked_process_does_not_use_up_the_login(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    login(tenant)
    source_of(tenant)._pid = os.getpid() + 1
    with pytest.raises(RefreshError, match="forked process"):
        tenant.renew_token()


def test_a_technical_user_cannot_log_in(sandbox: Sandbox, connect: Callable[..., Tenant]) -> None:
    tenant = sacnb.connect(
        sandbox.tenant_url,
        token_url=sandbox.token_url,
        client_id=sandbox.client_id,
        client_secret=sandbox.client_secret,
        profile="",
    )
    with tenant, pytest.raises(AuthError, match="signs in with client credentials") as caught:
        tenant.login()
    assert "SAC_AUTH=authorization_code" in str(caught.value.hint)
    assert (tenant.whoami().kind, tenant.whoami().user) == ("technical user", "")


# -- kept in the keyring


def test_a_kept_login_is_found_by_the_next_program(
    connect: Callable[..., Tenant], sandbox: Sandbox, ring: keyrings.Ring
) -> None:
    first = connect()
    assert login(first, keep=True).is_kept
    assert len(ring.kept) == 1
    second = connect()
    assert second._connection.principal == first._connection.principal  # before any request, so its cache is found
    assert second.whoami().user == "planner"
    first.renew_token()  # the second one has used up the refresh token that the first one knows
    second.renew_token()
    assert len(first.models()) == len(second.models())
    assert second.logout() is True
    assert ring.kept == {}
    with pytest.raises(RefreshError, match="Nobody is logged in"):
        connect().models()


def test_a_login_is_kept_only_if_asked(connect: Callable[..., Tenant], ring: keyrings.Ring) -> None:
    tenant = connect()
    login(tenant)
    tenant.renew_token()
    assert ring.kept == {}


def test_a_machine_without_a_keyring_can_log_out(connect: Callable[..., Tenant], ring: keyrings.Ring) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    tenant = connect()
    login(tenant)
    assert tenant.logout() is True
    assert tenant.logout() is False


def test_the_new_refresh_token_is_kept_before_anything_can_fail(
    connect: Callable[..., Tenant], sandbox: Sandbox, ring: keyrings.Ring
) -> None:
    tenant = connect()
    login(tenant, keep=True)
    before = dict(ring.kept)
    sandbox.misbehave("token_lifetime", seconds=1)
    sandbox.misbehave("expires_in", value="nonsense")
    tenant.renew_token()
    assert ring.kept != before
    assert source_of(tenant)._refresh_token.reveal() in next(iter(ring.kept.values()))


def test_a_keyring_that_is_locked(
    connect: Callable[..., Tenant], ring: keyrings.Ring, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = connect()
    ring.locked = "The keyring is locked."
    with pytest.raises(SettingsError, match="cannot be used for the login: The keyring is locked"):
        login(tenant, keep=True, find=lambda: pytest.fail)  # before anybody logs in
    assert login(tenant).user == "planner"
    ring.locked = ""
    login(tenant, keep=True)
    kept = dict(ring.kept)
    ring.set_password = lambda *_: None  # type: ignore[method-assign]
    tenant.renew_token()
    assert "could not be kept" in caplog.text
    assert ring.kept == kept
    ring.locked = "The keyring is locked."
    with pytest.raises(RefreshError, match="Nobody is logged in"):
        connect().models()


def test_the_login_of_another_tenant_or_profile_is_not_used(ring: keyrings.Ring) -> None:
    settings = Settings.resolve(
        environ={},
        tenant_url="https://acme.eu10.hcs.cloud.sap",
        client_id="client",
        auth="authorization_code",
        profile="",
    )
    assert settings.client_secret == Secret("")  # a public client has none
    stranger = Settings.resolve(
        environ={},
        tenant_url="https://evil.example",
        token_url=settings.token_url,
        client_id="client",
        auth="authorization_code",
        profile="",
    )
    assert KeptLogin.of(settings)._name != KeptLogin.of(stranger)._name


def test_another_user_in_the_keyring_is_not_mixed_in(connect: Callable[..., Tenant], ring: keyrings.Ring) -> None:
    first, second = connect(), connect()
    login(first, keep=True)
    login(second, Person("controller"), keep=True)
    with pytest.raises(RefreshError, match="kept in the keyring is now that of controller"):
        first.renew_token()


# -- nothing leaks


def test_codes_and_tokens_appear_nowhere(
    sandbox: Sandbox,
    connect: Callable[..., Tenant],
    ring: keyrings.Ring,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    tenant = connect(log="debug")
    caplog.set_level(logging.DEBUG, logger="sacnb")
    addresses: list[str] = []
    links: list[str] = []

    def ask(_: str) -> str:
        addresses.append(Person().redirected(links[-1]))
        return addresses[-1]

    login(tenant, show=links.append, ask=ask, paste=True, keep=True)
    tenant.renew_token()
    source, guard = source_of(tenant), tenant._connection.context.guard
    token = guard.peek()
    assert token is not None
    assert source._refresh_token is not None
    values = {name: value[0] for name, value in parse_qs(urlsplit(addresses[0]).query).items()}
    planted = [values["code"], values["state"], token.value.reveal(), source._refresh_token.reveal()]
    errors = []
    for misbehaviour in ("code_expired", "token_500", "token_down"):
        sandbox.misbehave(misbehaviour, times=1)
        with pytest.raises(AuthError) as caught:
            login(tenant, show=links.append, ask=ask, paste=True)
        errors.append(caught.value)
        planted.append(parse_qs(urlsplit(addresses[-1]).query)["code"][0])
    sandbox.misbehave("refresh_token_expired", times=1)
    with pytest.raises(RefreshError) as ended:
        tenant.renew_token()
    errors.append(ended.value)
    whole = "".join(
        [
            *(shown(error, __file__) for error in errors),
            caplog.text,
            *capfd.readouterr(),
            *map(repr, (tenant, tenant.settings, tenant.spec, source, guard, source.who, tenant._connection)),
            repr(pickle.dumps(tenant.spec)),
            repr(sandbox.log),
        ]
    )
    assert len(whole) > 1000
    assert [secret for secret in planted if secret in whole] == []
    with pytest.raises(TypeError):
        pickle.dumps(source)


# -- other authorization servers, answers of which a sandbox gives none


GOOD = b'{"access_token": "opaque", "token_type": "bearer", "expires_in": 3599, "refresh_token": "first"}'


def test_a_public_client_sends_its_id_and_no_header(endpoint: Any) -> None:
    source = AuthorizationCode(endpoint.url, "public", redirect_uri="http://127.0.0.1:1/")
    endpoint.replies = [Reply(body=GOOD)]
    attempt = source.begin("http://127.0.0.1:1/")
    source.exchange(attempt, Secret("the-code"), NOW, keep=False)  # planted
    (seen,) = endpoint.seen
    assert "Authorization" not in seen.headers
    assert parse_qs(seen.body.decode()) == {
        "grant_type": ["authorization_code"],
        "code": ["the-code"],
        "redirect_uri": ["http://127.0.0.1:1/"],
        "code_verifier": [attempt.verifier.reveal()],
        "client_id": ["public"],
    }
    principal = source.principal
    source.fetch(NOW)
    assert parse_qs(endpoint.seen[1].body.decode())["refresh_token"] == ["first"]
    assert source.principal == principal  # an opaque token does not say whose it is, so it is the same user's


@pytest.mark.parametrize(("nonce", "is_good"), [("{nonce}", True), ("another", False)])
def test_the_nonce_of_an_id_token(nonce: str, is_good: bool, endpoint: Any) -> None:
    source = AuthorizationCode(endpoint.url, "client", redirect_uri="http://127.0.0.1:1/")
    attempt = source.begin("http://127.0.0.1:1/")
    id_token = user_token("planner", nonce=nonce.format(nonce=attempt.nonce)).encode()
    endpoint.replies = [Reply(body=GOOD.replace(b"{", b'{"id_token": "' + id_token + b'", '))]
    if is_good:
        source.exchange(attempt, Secret("x"), NOW, keep=False)
        assert source.who.user == "planner"
    else:
        with pytest.raises(AuthError, match="its nonce differs"):
            source.exchange(attempt, Secret("x"), NOW, keep=False)
        with pytest.raises(RefreshError, match="Nobody is logged in"):
            source.fetch(NOW)


@pytest.mark.parametrize("token", ["", "a.b", "a.!.c", "a.bm90IGpzb24.c", "a.W10.c", "a.eyJzdWIiOiAxfQ.c"])
def test_a_token_that_does_not_say_whose_it_is(token: str) -> None:
    assert who_of(Secret(token)).id == ""


def test_the_authorization_url() -> None:
    for path, expected in {
        "/oauth/token": "/oauth/authorize",
        "/oauth2/api/v1/token": "/oauth2/api/v1/authorize",
    }.items():
        assert authorize_url(f"https://acme.example{path}") == f"https://acme.example{expected}"
    with pytest.raises(SettingsError, match="must end in /token"):
        authorize_url("https://acme.example/")
