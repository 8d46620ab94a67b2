"""The order of sending, against a real server: tokens, 401, throttling, trouble on the way, CSRF, refusals."""

from __future__ import annotations

import gzip
import logging
import os
import socket
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from sacnb._auth import StaticToken
from sacnb._wire import Answer, DispatchContext, RetryPlan, SacSession
from sacnb._wire.telemetry import Event, RetryEvent
from sacnb.errors import (
    AuthError,
    BadAnswer,
    Cancelled,
    DeprecatedTokenWarning,
    ForbiddenError,
    LiveConnectionError,
    NoAnswerError,
    NotFoundError,
    RefreshError,
    RequestError,
    SacError,
    ServerError,
    SettingsError,
    ThrottledError,
)

PATH = "/api/v1/dataexport/things"
TOKENS = "/oauth/token"
CSRF = "/api/v1/csrf"

Connect = Callable[..., DispatchContext]


def get(context: DispatchContext, path: str = PATH, **options: Any) -> Answer:
    return context.session.fetch("GET", path, operation="read things", **options)


def post(context: DispatchContext, **options: Any) -> Answer:
    options.setdefault("json", {"a": 1})
    return context.session.fetch("POST", PATH, operation="write things", **options)


def statuses(error_or_answer: Any) -> list[int | None]:
    return [attempt.status for attempt in error_or_answer.outcome.attempts]


# -- 1: a valid token, to the tenant only ----------------------------------------------------------------------------


def test_a_request_carries_the_token_and_what_sac_wants(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(body=b'{"value":[1]}', headers={"X-Request-Id": "r-1"})]
    answer = get(connect(tenant), headers={"Prefer": "x"})
    (seen,) = tenant.at(PATH)
    assert seen.bearer == "token-1"
    assert seen.headers["x-sap-sac-custom-auth"] == "true"
    assert seen.headers["Accept"] == "application/json"
    assert seen.headers["Accept-Encoding"] == "gzip, deflate"
    assert seen.headers["Prefer"] == "x"
    assert "x-csrf-token" not in seen.headers
    assert (answer.status, answer.body, answer.request_id) == (200, b'{"value":[1]}', "r-1")
    assert answer.url == tenant.url + PATH
    assert answer.server_date is not None
    assert abs(answer.server_date - datetime.now(UTC)) < timedelta(seconds=10)
    assert answer.outcome.operation == "read things"
    assert statuses(answer) == [200]
    assert answer.outcome.final_status == 200
    assert answer.content_type == "application/json"
    assert answer.headers["CONTENT-type"] == "application/json"


def test_plain_http_to_this_machine_needs_no_switch(tenant: Any, connect: Connect) -> None:
    """OAuth2Session refuses it unless OAUTHLIB_INSECURE_TRANSPORT lifts the rule for every address."""
    get(connect(tenant))
    assert "OAUTHLIB_INSECURE_TRANSPORT" not in os.environ


@pytest.mark.parametrize(
    "url",
    ["http://acme.eu10.hcs.cloud.sap", "ftp://127.0.0.1", "https://u:p@acme.example", "acme", "", "http://[::1"],
)
def test_a_session_is_not_made_for_an_address_where_a_token_may_not_go(
    url: str, session_for: Callable[..., SacSession]
) -> None:
    with pytest.raises(SettingsError, match="SAC_TENANT_URL"):
        session_for(url)


@pytest.mark.parametrize("url", ["https://acme.eu10.hcs.cloud.sap", "http://localhost:1", "http://[::1]:8000"])
def test_a_session_is_made_for_https_and_for_this_machine(url: str, session_for: Callable[..., SacSession]) -> None:
    assert repr(session_for(url)) == f"<SacSession {url}>"


@pytest.mark.parametrize(
    "make_url",
    [
        lambda url: "https://evil.example/api/v1/x",
        lambda url: url.replace("http:", "https:") + PATH,
        lambda url: url.rpartition(":")[0] + ":9" + PATH,
        lambda url: url.rpartition(":")[0] + PATH,
        lambda url: url.replace("127.0.0.1", "127.0.0.2") + PATH,
        lambda url: url.replace("127.0.0.1", "localhost") + PATH,
        lambda url: url.replace("//", "//user:canary@") + PATH,
        lambda url: url + "@evil.example/x",
        lambda url: url + ".evil.example/x",
        lambda url: url + r"\@evil.example/x",
        lambda url: "//evil.example/x",
        lambda url: "api/v1/relative",
        lambda url: "",
    ],
)
def test_nothing_is_sent_to_another_origin(make_url: Callable[[str], str], tenant: Any, connect: Connect) -> None:
    context = connect(tenant)
    with pytest.raises(SacError, match="is not an address of the tenant") as caught:
        get(context, make_url(tenant.url))
    assert not tenant.seen  # not even a token was asked for
    assert "canary" not in str(caught.value)


def test_an_address_within_the_tenant_is_requested_as_it_stands(tenant: Any, connect: Connect) -> None:
    link = f"{tenant.url}{PATH}?$skiptoken=a%2Bb%20c'd&$select=A,B&x=%F0"
    assert get(connect(tenant), link).url == link
    assert tenant.seen[-1].path == link.removeprefix(tenant.url)


@pytest.mark.parametrize(
    ("path", "params", "query"),
    [
        (PATH, {"$select": "A,B", "pagesize": "5"}, "?$select=A,B&pagesize=5"),
        (PATH, {"$filter": "City eq 'O''Hare' and x gt 1"}, "?$filter=City%20eq%20'O''Hare'%20and%20x%20gt%201"),
        (PATH, {"$filter": "A eq '#+&%=ä;'"}, "?$filter=A%20eq%20'%23%2B%26%25%3D%C3%A4%3B'"),
        (PATH + "?a=1", {"b": "2"}, "?a=1&b=2"),
        (PATH, {}, ""),
    ],
)
def test_a_query_is_encoded_as_sac_wants_it(
    path: str, params: dict[str, str], query: str, tenant: Any, connect: Connect
) -> None:
    get(connect(tenant), path, params=params)
    assert tenant.seen[-1].path == PATH + query


@pytest.mark.parametrize(
    ("options", "body", "content_type"),
    [
        ({"json": {"ä": [1.5, None]}}, '{"ä": [1.5, null]}'.encode(), "application/json"),
        ({"json": [], "headers": {"Content-Type": "application/scim+json"}}, b"[]", "application/scim+json"),
        ({"data": {"a": "b c&d", "e": "+"}}, b"a=b%20c%26d&e=%2B", "application/x-www-form-urlencoded"),
        ({"data": "x,y\nä,1", "headers": {"Content-Type": "text/csv"}}, "x,y\nä,1".encode(), "text/csv"),
        ({"data": b"\xff\x00"}, b"\xff\x00", None),
    ],
)
def test_bodies(options: dict[str, Any], body: bytes, content_type: str | None, tenant: Any, connect: Connect) -> None:
    connect(tenant).session.fetch("post", PATH, operation="write", **options)
    seen = tenant.seen[-1]
    assert (seen.method, seen.body, seen.headers.get("Content-Type")) == ("POST", body, content_type)


def test_json_that_is_none_is_refused_before_it_is_sent(tenant: Any, connect: Connect) -> None:
    with pytest.raises(ValueError, match="JSON"):
        post(connect(tenant), json={"a": float("nan")})
    assert not tenant.seen


# -- 2: 401 ----------------------------------------------------------------------------------------------------------


def test_a_401_costs_the_token_and_is_answered_with_one_more_try(
    tenant: Any, reply: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    tenant.answers[PATH] = [reply(status=401, headers={"x-correlationid": "r-401"}), reply()]
    context = connect(tenant)
    answer = get(context)
    assert [seen.bearer for seen in tenant.at(PATH)] == ["token-1", "token-2"]
    assert statuses(answer) == [401, 200]
    assert context.telemetry.summary().retries == {"401": 1}
    assert context.telemetry.summary().refreshes == {"absent": 1, "rejected": 1}
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "401" in record.getMessage()
    assert record.request_id == "r-401"  # type: ignore[attr-defined]
    assert len(record.trace_id) == 32  # type: ignore[attr-defined]


def test_a_writing_request_is_sent_again_with_its_body_after_a_401(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=401), reply(status=201)]
    assert post(connect(tenant)).status == 201
    assert [seen.body for seen in tenant.at(PATH)] == [b'{"a": 1}'] * 2


def test_a_second_401_is_final(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=401)]
    with pytest.raises(AuthError, match="also to a fresh token") as caught:
        get(connect(tenant))
    assert len(tenant.at(PATH)) == 2
    assert len(tenant.at(TOKENS)) == 2
    assert not isinstance(caught.value, RefreshError)
    assert statuses(caught.value) == [401, 401]
    assert all(word in str(caught.value) for word in ("App Integration", "SAC_TOKEN_URL", "SAC_TENANT_URL", PATH))


def test_a_401_after_a_503_is_still_the_second(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=401), reply(status=503), reply(status=401), reply()]
    with pytest.raises(AuthError) as caught:
        get(connect(tenant))
    assert statuses(caught.value) == [401, 503, 401]


def test_a_rejected_token_that_comes_back_is_not_sent_again(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=401)]
    tenant.answers[TOKENS] = [reply(body=b'{"access_token": "cached", "expires_in": 600}')]
    context = connect(tenant)
    for _ in range(3):
        with pytest.raises(AuthError, match="hands the rejected token out again"):
            get(context)
    assert len(tenant.at(PATH)) == 3
    assert len(tenant.at(TOKENS)) == 2


def test_a_pasted_token_is_not_tried_twice(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=401)]
    with pytest.warns(DeprecatedTokenWarning):
        context = connect(tenant, auth="static", token="pasted", client_id=None, client_secret=None)
    assert isinstance(context.guard.source, StaticToken)
    with pytest.raises(RefreshError, match="rejected the pasted token") as caught:
        get(context)
    assert [seen.bearer for seen in tenant.seen] == ["pasted"]
    assert caught.value.outcome is not None
    assert statuses(caught.value) == [401]


def test_no_token_is_an_auth_error_and_nothing_is_sent(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[TOKENS] = [reply(status=401, body=b'{"error":"invalid_client"}')]
    with pytest.raises(RefreshError, match="invalid_client") as caught:
        get(connect(tenant))
    assert caught.value.error_code == "non_retriable"
    assert len(tenant.seen) == 1


def test_the_token_endpoint_is_asked_again_by_the_plan(tenant: Any, reply: Any, connect: Connect, passing: Any) -> None:
    good = reply(body=b'{"access_token": "t", "expires_in": 600}')
    tenant.answers[TOKENS] = [reply(status=429, headers={"Retry-After": "7"}), reply(status=503), good]
    context = connect(tenant)
    get(context)
    assert passing.seconds == pytest.approx(7.1)
    summary = context.telemetry.summary()
    assert summary.retries == {"token": 2}
    assert summary.seconds_waited == pytest.approx(7.1)


def test_a_token_endpoint_that_stays_down(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[TOKENS] = [reply(status=500)]
    with pytest.raises(RefreshError, match="answered 500") as caught:
        get(connect(tenant))
    assert len(tenant.seen) == 4
    assert caught.value.error_code == "refresh_failed"
    assert caught.value.outcome is not None
    assert len(caught.value.outcome.attempts) == 4


# -- 3: 429 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("documentation", "retry_after", "date_s", "waits"),
    [
        ("seconds", "11", 0, [11.0, 11.0]),
        ("a date by the reply's own clock, which is a day ahead", 20, 86400, [20.0, 20.0]),
        ("a date that has passed names no wait", -20, 0, [2.0, 3.6]),
        ("at once names no wait", "0", 0, [2.0, 3.6]),
        ("hours are capped", "7200", 0, [60.0, 60.0]),
        ("nothing said: one to three seconds, growing", None, 0, [2.0, 3.6]),
        ("nonsense is nothing said", "soon", 0, [2.0, 3.6]),
    ],
)
def test_throttling(  # noqa: PLR0917 - the columns of the table
    documentation: str,
    retry_after: str | int | None,
    date_s: int,
    waits: list[float],
    method: str,
    tenant: Any,
    reply: Any,
    connect: Connect,
    passing: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    date = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=date_s)
    headers = {"Date": format_datetime(date, usegmt=True), "x-request-id": "r-429"}
    if isinstance(retry_after, int):
        headers["Retry-After"] = format_datetime(date + timedelta(seconds=retry_after), usegmt=True)
    elif retry_after is not None:
        headers["Retry-After"] = retry_after
    throttled = reply(status=429, headers=headers)
    tenant.answers[PATH] = [throttled, throttled, reply()]
    context = connect(tenant)
    events: list[Event] = []
    context.telemetry.add_hook(events.append)
    answer = get(context) if method == "GET" else post(context)
    assert passing.slept == pytest.approx(waits), documentation
    assert [attempt.delay_s for attempt in answer.outcome.attempts] == pytest.approx([*waits, 0.0])
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [f"waiting {wait:.1f} s" in record.getMessage() for wait, record in zip(waits, warnings, strict=True)]
    assert all(record.request_id == "r-429" for record in warnings)  # type: ignore[attr-defined]
    retries = [event for event in events if isinstance(event, RetryEvent)]
    assert [(event.cause, event.attempt, event.max_attempts) for event in retries] == [("429", 1, 4), ("429", 2, 4)]
    assert len({event.trace_id for event in retries}) == 1


def test_throttling_that_does_not_end(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=429)]
    with pytest.raises(ThrottledError, match="429") as caught:
        get(connect(tenant))
    assert statuses(caught.value) == [429] * 4
    assert "SAC_STREAMS" in str(caught.value)


def test_a_wait_beyond_the_deadline_is_not_begun(tenant: Any, reply: Any, connect: Connect, passing: Any) -> None:
    tenant.answers[PATH] = [reply(status=429, headers={"Retry-After": "10"})]
    with pytest.raises(ThrottledError, match="deadline of 25 s") as caught:
        get(connect(tenant, deadline_s=25, max_attempts=20))
    assert passing.slept == [10.0, 10.0]
    assert statuses(caught.value) == [429] * 3


def test_the_number_of_tries_can_be_chosen(tenant: Any, reply: Any, connect: Connect, passing: Any) -> None:
    tenant.answers[PATH] = [reply(status=429)]
    with pytest.raises(ThrottledError):
        get(connect(tenant, max_attempts=1))
    assert len(tenant.at(PATH)) == 1
    assert passing.slept == []


# -- 4: trouble on the way -------------------------------------------------------------------------------------------

BODY = b'{"value":[' + b",".join(b'{"n":%d}' % n for n in range(500)) + b"]}"
GZIPPED = gzip.compress(BODY)


def test_statuses_that_may_pass_are_tried_again(tenant: Any, reply: Any, connect: Connect, passing: Any) -> None:
    tenant.answers[PATH] = [reply(status=408), reply(status=500), reply(status=504), reply()]
    context = connect(tenant)
    answer = get(context)
    assert statuses(answer) == [408, 500, 504, 200]
    assert passing.slept == pytest.approx([0.1, 0.18, 0.324])
    assert context.telemetry.summary().retries == {"408": 1, "500": 1, "504": 1}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 507, 599, 408, 425])
def test_statuses_that_do_not_pass_end_as_server_errors(status: int, tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=status)]
    with pytest.raises(ServerError, match=str(status)) as caught:
        get(connect(tenant))
    assert statuses(caught.value) == [status] * 4


@pytest.mark.parametrize("status", [501, 505])
def test_statuses_that_cannot_pass_are_not_tried_again(status: int, tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=status)]
    with pytest.raises(ServerError):
        get(connect(tenant))
    assert len(tenant.at(PATH)) == 1


def test_a_503_that_says_when_is_waited_for(tenant: Any, reply: Any, connect: Connect, passing: Any) -> None:
    tenant.answers[PATH] = [reply(status=503, headers={"Retry-After": "9"}), reply()]
    get(connect(tenant))
    assert passing.slept == [9.0]


TROUBLE: dict[str, tuple[dict[str, Any], str, type[SacError]]] = {
    "reset before an answer": ({"status": 0, "reset": True}, "connection_reset", NoAnswerError),
    "reset in the body": ({"body": BODY[:100], "length": len(BODY), "reset": True}, "truncated", BadAnswer),
    "cut short of its length": ({"body": BODY[:100], "length": len(BODY), "hang_up": True}, "truncated", BadAnswer),
    "chunks without an end": ({"body": BODY, "chunked": True, "hang_up": True}, "truncated", BadAnswer),
    "no bytes in time": ({"body": BODY, "drip_s": 30}, "read_timeout", NoAnswerError),
    "gzip cut short": ({"body": GZIPPED[:-30], "headers": {"Content-Encoding": "gzip"}}, "truncated", BadAnswer),
    "gzip without its end": ({"body": GZIPPED[:-1], "headers": {"Content-Encoding": "gzip"}}, "truncated", BadAnswer),
    "gzip that is none": ({"body": BODY, "headers": {"Content-Encoding": "gzip"}}, "truncated", BadAnswer),
    "deflate cut short": (
        {"body": zlib.compress(BODY)[:-9], "headers": {"Content-Encoding": "deflate"}}, "truncated", BadAnswer,
    ),
    "JSON cut short": ({"body": BODY[:-1]}, "truncated", BadAnswer),
    "nothing at all": ({"body": b""}, "truncated", BadAnswer),
}  # fmt: skip


@pytest.fixture
def troubled(tenant: Any, session_for: Callable[..., SacSession]) -> Callable[..., SacSession]:
    """A session whose patience for bytes is short only where a test needs it to run out: machines can be busy."""

    def make(name: str, **options: Any) -> SacSession:
        return session_for(tenant.url, timeout=(5.0, 1.0 if name == "no bytes in time" else 30.0), **options)

    return make


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_is_overcome(name: str, tenant: Any, reply: Any, troubled: Callable[..., SacSession]) -> None:
    options, cause, _ = TROUBLE[name]
    tenant.answers[PATH] = [reply(**options), reply(body=BODY)]
    session = troubled(name)
    answer = session.fetch("GET", PATH, operation="x")
    assert answer.body == BODY
    assert len(answer.outcome.attempts) == 2
    assert session.telemetry.summary().retries == {cause: 1}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_that_stays_is_one_error(
    name: str, tenant: Any, reply: Any, troubled: Callable[..., SacSession]
) -> None:
    options, _, error_class = TROUBLE[name]
    tenant.answers[PATH] = [reply(**options)]
    session = troubled(name, plan=RetryPlan(max_attempts=2))
    with pytest.raises(error_class, match=r"read things|answer from") as caught:
        session.fetch("GET", PATH, operation="read things")
    assert len(tenant.at(PATH)) == 2
    assert getattr(caught.value, "truncated", True)
    assert caught.value.outcome is not None


@pytest.mark.parametrize("name", TROUBLE)
def test_a_post_that_may_have_arrived_is_not_repeated(
    name: str, tenant: Any, reply: Any, troubled: Callable[..., SacSession]
) -> None:
    options, _, error_class = TROUBLE[name]
    tenant.answers[PATH] = [reply(**options)]
    session = troubled(name)
    with pytest.raises(error_class) as caught:
        session.fetch("POST", PATH, operation="write things", json={})
    assert len(tenant.at(PATH)) == 1
    if not name.startswith(("JSON", "nothing")):
        assert "not sent again" in str(caught.value)


@pytest.mark.parametrize("status", [408, 500, 503])
def test_a_post_is_not_repeated_for_a_status_that_does_not_say_whether_it_was_done(
    status: int, tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = [reply(status=status)]
    with pytest.raises(ServerError):
        post(connect(tenant))
    assert len(tenant.at(PATH)) == 1


@pytest.mark.parametrize("options", [{"idempotent": True}, {"headers": {"idempotency-KEY": "k"}}])
@pytest.mark.parametrize("bad", [{"status": 503}, {"status": 0, "reset": True}])
def test_a_post_that_does_no_harm_twice_is_repeated(
    bad: dict[str, Any], options: dict[str, Any], tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = [reply(**bad), reply()]
    post(connect(tenant), **options)
    assert len(tenant.at(PATH)) == 2


def test_the_idempotent_argument_wins_over_the_method(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=503)]
    with pytest.raises(ServerError):
        get(connect(tenant), idempotent=False)
    assert len(tenant.at(PATH)) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
def test_methods_that_may_be_repeated(method: str, tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=503), reply()]
    connect(tenant).session.fetch(method, PATH, operation="x")
    assert len(tenant.at(PATH)) == 2


def test_a_post_that_surely_did_not_arrive_is_repeated(session_for: Callable[..., SacSession], passing: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        session = session_for(f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(NoAnswerError, match="connection was refused") as caught:
        session.fetch("POST", "/x", operation="write", data=b"x")
    assert len(passing.slept) == 3
    assert [attempt.error_kind for attempt in caught.value.outcome.attempts] == ["no_connection"] * 4  # type: ignore[union-attr]
    assert "SAC_TENANT_URL" in str(caught.value)


def test_a_proxy_that_refuses_is_named_without_its_password(
    tenant: Any, session_for: Callable[..., SacSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant plays the proxy: it is asked to CONNECT, which it does not know."""
    monkeypatch.setenv("https_proxy", tenant.url.replace("//", "//user:canary@"))
    monkeypatch.setenv("no_proxy", "")
    session = session_for("https://acme.invalid", plan=RetryPlan(max_attempts=2))
    with pytest.raises(NoAnswerError, match="the proxy refused") as caught:
        session.fetch("POST", PATH, operation="x", data=b"1")
    assert [attempt.error_kind for attempt in caught.value.outcome.attempts] == ["proxy"] * 2  # type: ignore[union-attr]
    assert "proxy variables" in str(caught.value)
    assert "canary" not in str(caught.value) + repr(session.telemetry.summary())


def test_a_certificate_that_is_not_trusted_is_not_tried_again(
    tls_tenant: Any, session_for: Callable[..., SacSession], passing: Any
) -> None:
    with pytest.raises(NoAnswerError, match="certificate is not trusted") as caught:
        session_for(tls_tenant.url).fetch("GET", PATH, operation="x")
    assert "SAC_CA_BUNDLE" in str(caught.value)
    assert passing.slept == []
    assert not tls_tenant.seen


def test_a_certificate_of_the_companys_own_is_trusted_if_it_is_named(
    tls_tenant: Any, authority: trustme.CA, connect: Connect, tmp_path: Path
) -> None:
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = connect(tls_tenant, ca_bundle=str(bundle))
    assert get(context).status == 200
    assert context.session.get(PATH).status_code == 200
    assert tls_tenant.at(TOKENS)


@pytest.mark.parametrize(
    ("documentation", "body", "encoding"),
    [
        ("gzip", GZIPPED, "gzip"),
        ("gzip under its old name", GZIPPED, "X-GZIP"),
        ("several gzip members", gzip.compress(BODY[:99]) + gzip.compress(b"") + gzip.compress(BODY[99:]), "gzip"),
        ("gzip with padding", GZIPPED + b"\0" * 20, "gzip"),
        ("deflate as the standard has it", zlib.compress(BODY), "deflate"),
        ("deflate as some servers have it", zlib.compress(BODY)[2:-4], "deflate"),
        ("named identity", BODY, "identity"),
        ("as it is", BODY, ""),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_encodings(  # noqa: PLR0917 - the columns of the table
    documentation: str, body: bytes, encoding: str, chunked: bool, tenant: Any, reply: Any, connect: Connect
) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    tenant.answers[PATH] = [reply(body=body, headers=headers, chunked=chunked)]
    context = connect(tenant)
    assert get(context).body == BODY, documentation
    assert context.telemetry.summary().bytes == len(body)


def test_an_encoding_that_was_not_asked_for(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(headers={"Content-Encoding": "br"})]
    with pytest.raises(BadAnswer, match="'br'") as caught:
        get(connect(tenant))
    assert len(tenant.at(PATH)) == 1
    assert not caught.value.truncated


def test_connections_are_used_again(
    tenant: Any, reply: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "urllib3")
    tenant.answers[PATH] = [reply(body=GZIPPED, headers={"Content-Encoding": "gzip"}), reply(status=500), reply()]
    context = connect(tenant)
    for _ in range(5):
        get(context)
    started = [record for record in caplog.records if "Starting new HTTP connection" in record.getMessage()]
    assert len(started) == 2  # one for the token, one for all the rest


def test_a_check_may_have_the_request_sent_again(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(body=b'{"page":1}'), reply(body=b'{"page":2}')]
    looked_at: list[bytes] = []

    def check(answer: Answer) -> None:
        looked_at.append(answer.body)
        if len(looked_at) == 1:
            raise BadAnswer("too short", truncated=True)

    assert get(connect(tenant), check=check).body == b'{"page":2}'
    assert looked_at == [b'{"page":1}', b'{"page":2}']


@pytest.mark.parametrize(
    ("method", "truncated", "sent"), [("GET", True, 4), ("GET", False, 1), ("POST", True, 1), ("POST", False, 1)]
)
def test_a_check_that_keeps_failing_raises_its_error(
    method: str, truncated: bool, sent: int, tenant: Any, connect: Connect
) -> None:
    error = BadAnswer("not good", truncated=truncated)

    def check(_: Answer) -> None:
        raise error

    with pytest.raises(BadAnswer) as caught:
        connect(tenant).session.fetch(method, PATH, operation="x", check=check)
    assert caught.value is error
    assert len(tenant.at(PATH)) == sent
    assert len(caught.value.outcome.attempts) == sent  # type: ignore[union-attr]


# -- 5: CSRF ---------------------------------------------------------------------------------------------------------


def csrf_tenant(tenant: Any, reply: Any, *, token: str = "csrf-of-{bearer}") -> None:
    """As SAC does it: a writing request needs the CSRF token that was given for its bearer token."""

    def write(seen: Any) -> Any:
        if seen.headers.get("x-csrf-token") == token.format(bearer=seen.bearer):
            return reply(status=201)
        return reply(status=403, headers={"x-csrf-token": "Required"}, body=b'{"error":{"message":"no"}}')

    def fetch(seen: Any) -> Any:
        assert seen.headers.get("x-csrf-token") == "fetch"
        return reply(body=b"", headers={"x-csrf-token": token.format(bearer=seen.bearer)})

    tenant.answers[PATH] = write
    tenant.answers[CSRF] = fetch


def test_a_csrf_token_is_fetched_once_and_used_again(tenant: Any, reply: Any, connect: Connect) -> None:
    csrf_tenant(tenant, reply)
    context = connect(tenant)
    answer = post(context)
    assert statuses(answer) == [403, 201]
    assert "x-csrf-token" not in answer.headers
    post(context)
    get(context, "/api/v1/other")
    assert [seen.path for seen in tenant.seen] == [TOKENS, PATH, CSRF, PATH, PATH, "/api/v1/other"]
    assert "x-csrf-token" not in tenant.seen[-1].headers
    assert context.telemetry.summary().retries == {"csrf": 1}


def test_a_new_bearer_token_drops_the_csrf_token(tenant: Any, reply: Any, connect: Connect) -> None:
    csrf_tenant(tenant, reply)
    context = connect(tenant)
    post(context)
    context.guard.force()
    assert post(context).status == 201
    sent = [seen.headers.get("x-csrf-token") for seen in tenant.at(PATH)]
    assert sent == [None, "csrf-of-token-1", None, "csrf-of-token-2"]


def test_a_401_in_the_middle_of_it(tenant: Any, reply: Any, connect: Connect) -> None:
    """The bearer token dies between the CSRF token and the replay: both are renewed, once each."""
    csrf_tenant(tenant, reply)
    write = tenant.answers[PATH]
    context = connect(tenant)
    post(context)
    tenant.answers[PATH] = lambda seen: reply(status=401) if seen.bearer == "token-1" else write(seen)
    assert post(context).status == 201
    assert [seen.bearer for seen in tenant.at(CSRF)] == ["token-1", "token-2"]


def test_a_csrf_token_that_is_refused_is_fetched_anew_once(tenant: Any, reply: Any, connect: Connect) -> None:
    csrf_tenant(tenant, reply)
    tenant.answers[PATH] = [reply(status=403, headers={"X-CSRF-Token": "required"}, body=b'{"error":{"message":"x"}}')]
    context = connect(tenant)
    for _ in range(2):
        with pytest.raises(ForbiddenError) as caught:
            post(context)
        assert statuses(caught.value) == [403, 403]
    assert len(tenant.at(CSRF)) == 2


def test_a_403_that_speaks_of_csrf_is_one(tenant: Any, reply: Any, connect: Connect) -> None:
    csrf_tenant(tenant, reply)
    tenant.answers[PATH] = [reply(status=403, body=b'{"error":{"message":"CSRF token validation failed"}}'), reply()]
    post(connect(tenant))
    assert len(tenant.at(CSRF)) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_never_asks_for_a_csrf_token(method: str, tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=403, headers={"x-csrf-token": "Required"})]
    with pytest.raises(ForbiddenError):
        connect(tenant).session.fetch(method, PATH, operation="x")
    assert not tenant.at(CSRF)


def test_a_403_of_another_kind_does_not_ask_for_a_csrf_token(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=403, body=b'{"error":{"message":"not allowed [3401]"}}')]
    with pytest.raises(ForbiddenError, match="3401"):
        post(connect(tenant))
    assert not tenant.at(CSRF)


def test_no_csrf_token_comes(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=403, headers={"x-csrf-token": "Required"})]
    with pytest.raises(ForbiddenError) as caught:
        post(connect(tenant))
    assert statuses(caught.value) == [403, 403]


def with_session(tenant: Any, reply: Any, *, refuse: Callable[[], Any]) -> set[str]:
    """As ``csrf_tenant``, with a session behind the CSRF token; *refuse* is the answer to one that has ended."""
    csrf_tenant(tenant, reply)
    fetch, write = tenant.answers[CSRF], tenant.answers[PATH]
    ended: set[str] = set()
    opened = iter(range(100))

    def with_cookie(seen: Any) -> Any:
        made = fetch(seen)
        made.headers["Set-Cookie"] = f"JSESSIONID=s{next(opened)}; Path=/; HttpOnly"
        return made

    def checked(seen: Any) -> Any:
        return refuse() if seen.headers.get("Cookie") in ended else write(seen)

    tenant.answers[CSRF] = with_cookie
    tenant.answers[PATH] = checked
    return ended


def test_cookies_travel_with_the_csrf_token_and_with_nothing_else(tenant: Any, reply: Any, connect: Connect) -> None:
    with_session(tenant, reply, refuse=lambda: None)
    context = connect(tenant)
    answer = post(context)
    assert tenant.seen[-1].headers["Cookie"] == "JSESSIONID=s0"
    assert "Set-Cookie" not in answer.headers
    get(context, "/api/v1/other")
    assert "Cookie" not in tenant.seen[-1].headers
    context.guard.force()
    post(context)
    assert [seen.headers.get("Cookie") for seen in tenant.at(PATH)] == [None, "JSESSIONID=s0", None, "JSESSIONID=s1"]


@pytest.mark.parametrize("status", [400, 401, 403, 302])
def test_a_session_that_has_ended_is_opened_anew(status: int, tenant: Any, reply: Any, connect: Connect) -> None:
    headers = {"Location": "https://login.invalid/"} if status == 302 else {}
    ended = with_session(tenant, reply, refuse=lambda: reply(status=status, headers=headers, body=b"timed out"))
    context = connect(tenant)
    post(context)
    ended.add("JSESSIONID=s0")
    assert post(context).status == 201
    assert tenant.seen[-1].headers["Cookie"] == "JSESSIONID=s1"


@pytest.mark.parametrize("status", [400, 401, 403, 302])
def test_a_session_that_a_server_opens_unasked_is_not_gone_on_with(
    status: int, tenant: Any, reply: Any, connect: Connect
) -> None:
    """Once it has ended, such a server refuses whoever still has its cookie."""

    def answer(seen: Any) -> Any:
        if "Cookie" in seen.headers:
            return reply(status=status, headers={"Location": "https://login.invalid/"})
        return reply(headers={"Set-Cookie": "SESSION=1; Path=/"})

    tenant.answers[PATH] = answer
    context = connect(tenant)
    for _ in range(2):
        get(context)
        context.session.get(PATH)
    assert len(tenant.at(TOKENS)) == 1


# -- 6: everything else is one typed error ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "error_class", "number", "hint"),
    [
        (400, "A key column is not selected [1402]", RequestError, 1402, "FactDataAggregation"),
        (400, "malformed", RequestError, None, "quoting"),
        (403, "OAuth Client is not allowed to interact with API [3401]", ForbiddenError, 3401, "Access"),
        (403, "no", ForbiddenError, None, "App Integration"),
        (404, "no entity set [3707]", NotFoundError, 3707, "service document"),
        (404, "no", NotFoundError, None, "sac.models()"),
        (405, "no", RequestError, None, "method"),
        (406, "no", RequestError, None, "format"),
        (409, "conflict", RequestError, None, None),
        (412, "Requested ProviderID is not supported", LiveConnectionError, None, "live connection"),
        (413, "no", RequestError, None, "fewer rows"),
        (414, "no", RequestError, None, "too long"),
    ],
)
def test_refusals(  # noqa: PLR0917 - the columns of the table
    status: int,
    message: str,
    error_class: type[RequestError],
    number: int | None,
    hint: str | None,
    tenant: Any,
    reply: Any,
    connect: Connect,
) -> None:
    body = b'{"error":{"code":"c0ffee","message":"%b"}}' % message.encode()
    tenant.answers[PATH] = [reply(status=status, body=body, headers={"x-vcap-request-id": "r-9"})]
    context = connect(tenant)
    with pytest.raises(RequestError) as caught:
        get(context, f"{PATH}?$filter=x&access_token=canary")
    error = caught.value
    assert type(error) is error_class
    assert (error.method, error.status, error.sac_number, error.request_id) == ("GET", status, number, "r-9")
    assert error.url == f"{tenant.url}{PATH}?$filter=x&access_token=***"
    assert all(word in str(error) for word in ("read things", "GET", error.url, str(status), message, "r-9"))
    assert (error.hint is None) is (hint is None)
    assert hint is None or hint in str(error)
    assert "canary" not in str(error) + repr(error)
    assert statuses(error) == [status] * (2 if status == 403 else 1)  # a 403 may be the answer to a dead token
    assert context.telemetry.summary().failures == 1


@pytest.mark.parametrize(
    "options",
    [
        {
            "body": b"<!DOCTYPE html><html><title>Sign in</title>",
            "headers": {"Content-Type": "text/html;charset=utf-8"},
        },
        {"body": b"\xef\xbb\xbf\r\n <HTML>", "headers": {"Content-Type": "application/json"}},
        {"body": b"", "headers": {"Content-Type": "text/html"}},
    ],
)
@pytest.mark.parametrize("expect", ["json", "xml", "csv", "any"])
def test_a_web_page_is_a_login_page(
    expect: Any, options: dict[str, Any], tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = [reply(**options)]
    with pytest.raises(AuthError, match="two usual causes") as caught:
        get(connect(tenant), expect=expect)
    assert "SAC_TENANT_URL" in str(caught.value)
    assert len(tenant.at(PATH)) == 1


def test_a_web_page_that_was_asked_for_is_one(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(body=b"<html></html>", headers={"Content-Type": "text/html"})]
    assert get(connect(tenant), accept="text/html", expect="any").body == b"<html></html>"


@pytest.mark.parametrize(
    ("expect", "body", "is_good"),
    [
        ("json", b"\xef\xbb\xbf {} \n", True),
        ("json", b" " * 1000 + b"[1]" + b"\n" * 1000, True),
        ("json", b"<?xml version='1.0'?><a/>", False),
        ("json", b"OK", False),
        ("xml", b"\n<a/>\n", True),
        ("xml", b"{}", False),
        ("csv", b"A,B\n1,2\n", True),
        ("csv", b"", True),
        ("any", b"whatever", True),
    ],
)
def test_the_shape_of_an_answer(  # noqa: PLR0917 - the columns of the table
    expect: Any, body: bytes, is_good: bool, tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = [reply(body=body)]
    context = connect(tenant)
    if is_good:
        assert get(context, expect=expect).body == body
    else:
        with pytest.raises(BadAnswer, match=f"is not {expect.upper()}"):
            get(context, expect=expect)
        assert len(tenant.at(PATH)) == 1


@pytest.mark.parametrize("status", [202, 204])
def test_an_answer_may_be_empty_where_its_status_says_so(
    status: int, tenant: Any, reply: Any, connect: Connect
) -> None:
    tenant.answers[PATH] = [reply(status=status, body=b"")]
    assert post(connect(tenant)).body == b""


def test_head_has_no_body(tenant: Any, connect: Connect) -> None:
    answer = connect(tenant).session.fetch("HEAD", PATH, operation="x")
    assert (answer.status, answer.body) == (200, b"")


def test_a_refusal_whose_body_is_damaged_is_still_that_refusal(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=404, body=b"not gzip", headers={"Content-Encoding": "gzip"})]
    with pytest.raises(NotFoundError):
        get(connect(tenant))
    tenant.answers[PATH] = [reply(status=404, body=b"x", length=99, hang_up=True)]
    with pytest.raises(NotFoundError):
        get(connect(tenant))


def test_of_a_long_refusal_the_beginning_is_read(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=400, body=b"no " * 10**6)]
    with pytest.raises(RequestError) as caught:
        get(connect(tenant))
    assert len(str(caught.value)) < 1500


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_another_origin_is_not_followed(  # noqa: PLR0917 - the columns of the table
    method: str, status: int, tenant: Any, other_tenant: Any, reply: Any, connect: Connect
) -> None:
    location = f"{other_tenant.url}/login?token=canary"
    tenant.answers[PATH] = [reply(status=status, headers={"Location": location})]
    with pytest.raises(AuthError, match="login page; the token is not sent there") as caught:
        connect(tenant).session.fetch(method, PATH, operation="x")
    assert not other_tenant.seen
    assert len(tenant.at(PATH)) == 1
    assert other_tenant.url.rpartition(":")[0] in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("location", ["https:", "//evil.example/x", "https://u:p@evil.example", "http://[::1"])
def test_odd_redirects_are_not_followed_either(location: str, tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=302, headers={"Location": location})]
    with pytest.raises(SacError):
        get(connect(tenant))
    assert len(tenant.at(PATH)) == 1


def test_a_redirect_within_the_tenant_is_followed_with_the_token(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=307, headers={"Location": "/api/v1/elsewhere?x=1"})]
    answer = get(connect(tenant))
    assert answer.url == tenant.url + "/api/v1/elsewhere?x=1"
    assert tenant.seen[-1].bearer == "token-1"


def test_a_writing_request_is_not_redirected_at_all(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=307, headers={"Location": "/api/v1/elsewhere"})]
    with pytest.raises(AuthError):
        post(connect(tenant))
    assert not tenant.at("/api/v1/elsewhere")


def test_redirects_in_a_circle_end(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=302, headers={"Location": PATH})]
    with pytest.raises(BadAnswer, match="redirects in a circle"):
        get(connect(tenant, max_attempts=2))
    assert len(tenant.at(PATH)) == 12


def test_a_redirect_without_an_address_is_a_refusal(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=302)]
    with pytest.raises(RequestError, match="302"):
        get(connect(tenant))


# -- stopping --------------------------------------------------------------------------------------------------------


def test_a_stopped_operation_sends_nothing_more(tenant: Any, connect: Connect) -> None:
    context = connect(tenant)
    with pytest.raises(Cancelled, match="read things was stopped"):
        get(context, cancelled=lambda: True)
    assert not tenant.seen
    assert context.telemetry.summary().failures == 0


def test_a_wait_can_be_stopped(tenant: Any, reply: Any, connect: Connect, passing: Any) -> None:
    tenant.answers[PATH] = [reply(status=429, headers={"Retry-After": "50"})]
    with pytest.raises(Cancelled) as caught:
        get(connect(tenant), cancelled=lambda: passing.seconds > 3)
    assert 3 < passing.seconds < 3.5
    assert len(tenant.at(PATH)) == 1
    assert statuses(caught.value) == [429]


def test_a_wait_that_is_not_stopped_is_as_long_as_without_looking(
    tenant: Any, reply: Any, connect: Connect, passing: Any
) -> None:
    tenant.answers[PATH] = [reply(status=429, headers={"Retry-After": "7.3"}), reply()]
    get(connect(tenant), cancelled=lambda: False)
    assert passing.seconds == pytest.approx(7.3)


def test_an_answer_that_is_coming_in_can_be_stopped(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(body=BODY, drip_s=0.001)]
    looks = iter([False, False, False, True])
    with pytest.raises(Cancelled) as caught:
        get(connect(tenant), cancelled=lambda: next(looks, True))
    assert statuses(caught.value) == [200]


def test_an_answer_that_drips_past_the_deadline_is_given_up(
    tenant: Any, reply: Any, connect: Connect, passing: Any
) -> None:
    """Every byte is in time, all of them together are not."""

    def look() -> bool:
        passing.seconds += 1
        return False

    tenant.answers[PATH] = [reply(body=BODY, drip_s=0.001)]
    with pytest.raises(NoAnswerError, match="still coming at the deadline of 20 s") as caught:
        get(connect(tenant, deadline_s=20), cancelled=look)
    assert len(tenant.at(PATH)) == 1
    assert "SAC_DEADLINE_S" in str(caught.value)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_passes_through_a_wait(
    stop: type[BaseException], tenant: Any, reply: Any, session_for: Callable[..., SacSession]
) -> None:
    def sleep(_: float) -> None:
        raise stop

    tenant.answers[PATH] = [reply(status=429)]
    session = session_for(tenant.url, sleep=sleep)
    with pytest.raises(stop):
        session.fetch("GET", PATH, operation="x")
    tenant.answers[PATH] = [reply()]
    session.fetch("GET", PATH, operation="x")


def test_ctrl_c_while_sending_is_counted_and_passes(
    session_for: Callable[..., SacSession], monkeypatch: pytest.MonkeyPatch, tenant: Any
) -> None:
    session = session_for(tenant.url)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.fetch("GET", PATH, operation="x")
    assert session.telemetry.summary().requests == 1


def test_timeouts_are_cut_to_what_is_left_of_the_deadline(
    tenant: Any, reply: Any, session_for: Callable[..., SacSession], passing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[float, float]] = []
    session = session_for(tenant.url, plan=RetryPlan(deadline_s=30), timeout=(10.0, 120.0))
    send = session.send

    def noting(request: Any, **options: Any) -> Any:
        given.append(options["timeout"])
        return send(request, **options)

    monkeypatch.setattr(session, "send", noting)
    tenant.answers[PATH] = [reply(status=429, headers={"Retry-After": "25"}), reply()]
    session.fetch("GET", PATH, operation="x")
    assert given == [(10.0, 30.0), (5.0, 5.0)]


# -- many threads ----------------------------------------------------------------------------------------------------


def test_64_threads_on_an_expired_token_are_one_token_request(
    tenant: Any, connect: Connect, passing: Any, in_threads: Callable[..., list[Any]]
) -> None:
    context = connect(tenant)
    get(context)
    passing.seconds = 4000
    answers = in_threads(64, lambda _: get(context))
    assert all(isinstance(answer, Answer) for answer in answers), answers
    assert len(tenant.at(TOKENS)) == 2
    assert {seen.bearer for seen in tenant.at(PATH)[1:]} == {"token-2"}


def test_one_revocation_under_64_threads_is_one_renewal(
    tenant: Any, reply: Any, connect: Connect, in_threads: Callable[..., list[Any]]
) -> None:
    """All 64 have sent with the first token before any of them hears that it is worthless."""
    all_sent = threading.Barrier(64)

    def answer(seen: Any) -> Any:
        if seen.bearer == "token-1":
            return reply(status=401, first=lambda: all_sent.wait(30))
        return reply()

    context = connect(tenant, read_timeout_s=60)
    context.guard.ensure()
    tenant.answers[PATH] = answer
    answers = in_threads(64, lambda _: get(context))
    assert all(isinstance(one, Answer) for one in answers), answers
    assert len(tenant.at(TOKENS)) == 2
    assert [seen.bearer for seen in tenant.at(PATH)].count("token-1") == 64
    assert [seen.bearer for seen in tenant.at(PATH)].count("token-2") == 64


def test_threads_do_not_get_each_others_answers(
    tenant: Any, reply: Any, connect: Connect, in_threads: Callable[..., list[Any]]
) -> None:
    def echo(seen: Any) -> Any:
        cookie = f"c{seen.path[-2:]}=1; Path=/"
        return reply(body=b'{"path":"%b"}' % seen.path.encode(), headers={"Set-Cookie": cookie})

    for number in range(20):
        tenant.answers[f"/api/v1/{number:02}"] = echo
    context = connect(tenant)

    def go(index: int) -> bool:
        path = f"/api/v1/{index:02}"
        return all(get(context, path).body == b'{"path":"%b"}' % path.encode() for _ in range(10))

    assert in_threads(20, go) == [True] * 20
    assert context.telemetry.summary().requests == 200
