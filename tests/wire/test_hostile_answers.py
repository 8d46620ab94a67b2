"""Answers that go on too long, lead elsewhere, contradict themselves, or would do something to a terminal."""

from __future__ import annotations

import gzip
import json
import logging
import os
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from sacnb._http import Origin
from sacnb._settings.variables import Bound, Limits
from sacnb._wire import Answer, DispatchContext, RetryPlan, SacSession
from sacnb.errors import AuthError, BadAnswer, NoAnswerError, NotFoundError, RequestError, SacError, ServerError

PATH = "/api/v1/dataexport/things"
BODY = b'{"value":[' + b",".join(b'{"n":%d}' % n for n in range(500)) + b"]}"

Connect = Callable[..., DispatchContext]
SessionFor = Callable[..., SacSession]


def get(session: SacSession, **options: Any) -> Answer:
    return session.fetch("GET", PATH, operation="read things", **options)


# -- where redirects lead ---------------------------------------------------------------------------------------------

HOME = "https://acme.example:8443"


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/b?x=1", HOME + "/b?x=1"),
        ("b", HOME + "/a/b"),
        ("?x=a b", HOME + "/a/here?x=a%20b"),
        ("", HOME + "/a/here"),
        ("  /b\t", HOME + "/b"),
        ("HTTPS://ACME.example:8443/b", HOME + "/b"),
        ("//acme.example:8443/b", HOME + "/b"),
        ("/b?filter=a\\b", HOME + "/b?filter=a%5Cb"),
        ("/ä", HOME + "/%C3%A4"),
        *(
            (location, None)
            for location in (
                "http://acme.example:8443/b",
                "https://acme.example/b",
                "https://acme.example:443/b",
                "https://evil.example/b",
                "//evil.example/b",
                "///evil.example/b",
                "////evil.example/b",
                "https:////evil.example/b",
                "https:///evil.example/b",
                "https:/evil.example/b",
                "https:evil.example",
                "https:",
                "\\\\evil.example/b",
                "/\\evil.example/b",
                "https:\\\\evil.example",
                "https://acme.example:8443\\@evil.example/",
                "https://user@acme.example:8443/b",
                "https://acme.example:8443@evil.example/b",
                "https://acme.example:99999999/b",
                "https://[::1/b",
                "https://acme.example:8443\n.evil.example/",
                "ht\ttps://evil.example",
                "javascript:alert(1)",
                "ftp://acme.example:8443/",
                "file:///etc/passwd",
            )
        ),
    ],
)
def test_a_location_leads_within_the_origin_or_nowhere(location: str, leads_to: str | None) -> None:
    origin = Origin.of(HOME)
    assert origin is not None
    assert origin.resolve(HOME + "/a/here", location) == leads_to


@pytest.mark.parametrize(
    "location", ["http:////{there}/x", "//{there}/x", "http://{there}/x", "\\\\{there}/x", "http:{there}"]
)
@pytest.mark.parametrize("face", ["fetch", "get"])
def test_nothing_of_a_redirect_reaches_a_stranger(  # noqa: PLR0917 - fixtures
    face: str, location: str, tenant: Any, other_tenant: Any, reply: Any, session_for: SessionFor
) -> None:
    there = other_tenant.url.removeprefix("http://")
    tenant.answers[PATH] = [reply(status=302, headers={"Location": location.format(there=there)})]
    session = session_for(tenant.url)
    with pytest.raises(AuthError, match="login page"):
        get(session) if face == "fetch" else session.get(PATH)
    assert not other_tenant.seen


@pytest.mark.parametrize("face", ["fetch", "get"])
def test_of_the_body_of_a_redirect_little_is_read(face: str, raw: Any, session_for: SessionFor) -> None:
    endless = [
        b"HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[b"ffff\r\n" + b"a" * 65535 + b"\r\n"] * 50,
        10.0,
    ]
    raw.answer = lambda seen: endless if seen.path == PATH else None
    session = session_for(raw.url)
    assert (get(session).url if face == "fetch" else session.get(PATH).url) == raw.url + "/elsewhere"


def test_a_redirect_whose_body_drips_ends_at_the_deadline(raw: Any, session_for: SessionFor) -> None:
    head = b"HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nContent-Length: 1000\r\n\r\n"
    raw.answer = lambda seen: [head, *[b"x", 0.05] * 200] if seen.path == PATH else None
    started = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"deadline of 0\.4 s"):
        get(session_for(raw.url, plan=RetryPlan(deadline_s=0.4)))
    assert time.monotonic() - started < 8


# -- how long they may be ---------------------------------------------------------------------------------------------


@cache
def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"value":['), *(packer.compress(b" " * 1_000_000) for _ in range(megabytes))]
    return b"".join([*parts, packer.compress(b"]}"), packer.flush()])


@pytest.mark.parametrize(
    ("kind", "face"),
    [
        ("packed", "fetch"),
        ("plain without end", "get"),
        pytest.param("packed", "get", marks=pytest.mark.long),
        pytest.param("plain without end", "fetch", marks=pytest.mark.long),
        ("empty members without end", "fetch"),
    ],
)
def test_an_answer_beyond_the_bound_is_given_up(kind: str, face: str, raw: Any, session_for: SessionFor) -> None:
    gzipped = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    packed = bomb(40)
    answer = {
        "packed": [gzipped + b"Content-Length: %d\r\n\r\n" % len(packed) + packed],
        "plain without end": [b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 1_000_000] * 6],
        "empty members without end": [gzipped + b"\r\n", *[gzip.compress(b"") * 10_000] * 6],
    }[kind]
    raw.answer = lambda _: answer
    megabytes = 1 if kind.startswith("empty") else 4
    session = session_for(raw.url, limits=Limits(Bound(megabytes, "SAC_MAX_ANSWER_MB")))
    tracemalloc.start()
    with pytest.raises(BadAnswer, match=rf"longer than {megabytes} MB \(SAC_MAX_ANSWER_MB\)") as caught:
        get(session) if face == "fetch" else session.get(PATH)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000
    assert not caught.value.truncated
    assert len(raw.seen) == 1


def test_the_setting_bounds_the_answers(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(body=b'{"value":[' + b" " * 1_000_001 + b"]}")]
    with pytest.raises(BadAnswer, match="SAC_MAX_ANSWER_MB"):
        get(connect(tenant, max_answer_mb=1).session)
    assert get(connect(tenant, max_answer_mb=2).session).status == 200


def test_of_a_packed_refusal_the_beginning_is_unpacked(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=404, body=bomb(40), headers={"Content-Encoding": "gzip"})]
    tracemalloc.start()
    with pytest.raises(NotFoundError):
        get(connect(tenant).session)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("tail", "encoding"), [(b"trailing", "gzip"), (b"\0\0\r\n", "gzip"), (b"\x1f", "gzip"), (b"tail", "deflate")]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_tail_behind_a_packed_answer_is_left_out(  # noqa: PLR0917 - the columns of the table
    tail: bytes, encoding: str, chunked: bool, tenant: Any, reply: Any, connect: Connect
) -> None:
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)
    tenant.answers[PATH] = [reply(body=packed + tail, headers={"Content-Encoding": encoding}, chunked=chunked)]
    assert get(connect(tenant).session).body == BODY


def test_a_second_member_that_is_cut_short_is_not_a_tail(tenant: Any, reply: Any, connect: Connect) -> None:
    packed = gzip.compress(BODY[:99]) + gzip.compress(BODY[99:])[:-12]
    tenant.answers[PATH] = [reply(body=packed, headers={"Content-Encoding": "gzip"})]
    with pytest.raises(BadAnswer, match="end mark"):
        get(connect(tenant, max_attempts=1).session)


# -- interim answers, and headers that contradict each other ----------------------------------------------------------


@pytest.mark.parametrize("status", [100, 102, 103, 150])
def test_the_rows_of_one_question_are_not_given_for_the_next(
    status: int, raw: Any, answer_with: Any, session_for: SessionFor
) -> None:
    interim = f"HTTP/1.1 {status} X\r\nLink: </a.css>\r\n\r\n".encode()
    raw.answer = lambda seen: [interim, 0.05, answer_with(b'{"path":"%b"}' % seen.path.encode())]
    session = session_for(raw.url)
    for number in range(3):
        answer = session.fetch("GET", f"/{number}", operation="read things")
        assert answer.body == b'{"path":"/%d"}' % number


def test_an_interim_answer_before_a_refusal_hides_nothing(raw: Any, answer_with: Any, session_for: SessionFor) -> None:
    refused = answer_with(b'{"error":{"message":"No such set [3707]"}}', status=404)
    raw.answer = lambda _: [b"HTTP/1.1 103 X\r\n\r\n", refused]
    with pytest.raises(NotFoundError, match="3707"):
        get(session_for(raw.url))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("200 OK\r\nContent-Length: 2\r\nContent-Length: 3", "headers contradict each other"),
        ("200 OK\r\nX-Long: " + "x" * 70_000, "header line"),
        ("200 OK\r\n" + "".join(f"X-{n}: x\r\n" for n in range(150)) + "X: x", "more than 100 headers"),
        ("999999 OK", "999999"),
        ("OK", "the connection broke"),
    ],
)
def test_headers_that_cannot_be_read_are_tried_again_and_then_an_error(
    head: str, said: str, raw: Any, session_for: SessionFor
) -> None:
    raw.answer = lambda _: [f"HTTP/1.1 {head}\r\n\r\n{{}} ".encode(), "close"]
    with pytest.raises(SacError, match=said) as caught:
        get(session_for(raw.url, plan=RetryPlan(max_attempts=2)))
    assert isinstance(caught.value, BadAnswer | NoAnswerError)  # so the last good result is served
    assert len(raw.seen) == 2


def test_too_early_is_tried_again_whatever_the_method(tenant: Any, reply: Any, connect: Connect) -> None:
    tenant.answers[PATH] = [reply(status=425), reply()]
    session = connect(tenant).session
    session.fetch("POST", PATH, operation="write things", json={})
    tenant.answers[PATH] = [reply(status=425)]
    with pytest.raises(ServerError, match="try again later"):
        get(session)


def test_a_switch_of_protocols_is_a_refusal(raw: Any, session_for: SessionFor) -> None:
    raw.answer = lambda _: [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]
    with pytest.raises(RequestError, match="answered 101"):
        get(session_for(raw.url))


# -- terminals, and secrets that a server repeats ---------------------------------------------------------------------

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"


@pytest.mark.parametrize(
    "options",
    [
        {"status": 404, "body": f'{{"error":{{"code":"{ESCAPES}","message":"no{ESCAPES}"}}}}'.encode()},
        {"status": 500, "body": f"<html><title>{ESCAPES}</title>".encode(), "headers": {"Content-Type": "text/html"}},
        {"status": 403, "headers": {"WWW-Authenticate": 'Bearer error="\x1b[2J"', "X-Request-Id": "a\x1b[2Jb"}},
        {"status": 302, "headers": {"Location": "http://\x1b[2J.example/"}},
        {"body": b"OK", "headers": {"Content-Type": "text/\x1b[2J"}},
        {"body": BODY, "headers": {"Content-Encoding": "\x1b[2J"}},
        {"status": 429, "body": ESCAPES.encode(), "headers": {"Retry-After": "\x1b[2J"}},
    ],
)
def test_no_control_character_of_a_server_reaches_a_terminal(
    options: dict[str, Any], tenant: Any, reply: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sacnb")
    tenant.answers[PATH] = [reply(**options)]
    with pytest.raises(SacError) as caught:
        get(connect(tenant, max_attempts=2).session)
    shown = str(caught.value) + repr(getattr(caught.value, "request_id", "")) + str(caught.value.outcome)
    said = "".join(record.getMessage() for record in caplog.records if record.name.startswith("sacnb"))
    assert (shown + said).isprintable()


PLANTED = "token-1-planted"


@pytest.mark.parametrize("form", [PLANTED, "c2VjcmV0LW9mLXRoZS1jbGllbnQ=", "secret-of-the-client"])
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_secret_that_a_server_repeats_is_masked(  # noqa: PLR0917 - fixtures
    status: int, form: str, tenant: Any, reply: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    tenant.answers["/oauth/token"] = [reply(body=json.dumps({"access_token": PLANTED, "expires_in": 600}).encode())]
    headers = {"WWW-Authenticate": f'Bearer error="x", error_description="{form}"', "X-Request-Id": form}
    tenant.answers[PATH] = [reply(status=status, body=f"not {form} at all".encode(), headers=headers)]
    with pytest.raises(SacError) as caught:
        get(connect(tenant, max_attempts=2).session)
    assert form not in str(caught.value) + repr(vars(caught.value)) + caplog.text
    assert "not *** at all" in str(caught.value)


# -- fork -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="fork is a matter of Linux")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_is_forked_in_the_middle_of_anything_can_ask(tenant: Any, connect: Connect) -> None:
    """Also where the locks were held by a thread that the child does not have."""
    context = connect(tenant)
    get(context.session)
    with context.telemetry._lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if get(context.session).status == 200 else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(context.session).status == 200
