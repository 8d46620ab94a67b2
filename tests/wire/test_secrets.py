"""Nothing that anybody could look at ever holds a secret: logs of everybody, errors, tracebacks with locals, pickles.

Every secret in here begins with "canary"; what goes over the wire is full of them.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from requests_oauthlib import OAuth2Session

from sacnb._wire import DispatchContext
from sacnb._wire.telemetry import Event
from sacnb.errors import SacError

PATH = "/api/v1/things"
TOKENS = "/oauth/token"
CANARY = "canary"
SECRET = "canary-Secret$0f/+=="


def shown(error: BaseException, *, without: str = __file__) -> str:
    """Return all a tool could show of an error and its chain, locals included, without the frames of this file."""
    parts: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None:
            continue
        trace = traceback.TracebackException.from_exception(current, capture_locals=True)
        frames = [frame for frame in trace.stack if frame.filename != without]
        assert any(frame.locals for frame in frames) or not frames
        parts += [str(current), repr(current), repr(vars(current)), *(repr(frame.locals) for frame in frames)]
        todo += [current.__context__, current.__cause__]
    return "\n".join(parts)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log of everybody at its most talkative, loggers included that were set to say less."""
    quiet = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = [(logger, logger.level) for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    yield caplog
    for logger, level in before:
        logger.setLevel(level)


@pytest.fixture
def talkative(tenant: Any, reply: Any) -> Any:
    """A tenant that puts secrets wherever a tenant can."""
    issued = iter(range(10**6))

    def token(_: Any) -> Any:
        body = (
            b'{"access_token":"canary-access-%d","refresh_token":"canary-refresh","jti":"canary-jti",'
            b'"token_type":"bearer","expires_in":600}' % next(issued)
        )
        return reply(body=body, headers={"Set-Cookie": "XSUAA=canary-cookie"})

    tenant.answers[TOKENS] = token
    tenant.answers["/api/v1/csrf"] = [
        reply(body=b"", headers={"x-csrf-token": "canary-csrf", "Set-Cookie": "JSESSIONID=canary-session; Path=/"})
    ]
    return tenant


FAILURES: dict[str, dict[str, Any]] = {
    "refused": {"status": 400, "body": b'{"error":{"code":"x","message":"access_token=canary-echo is bad [1402]"}}'},
    "forbidden": {"status": 403, "body": b'{"error":"x","error_description":"Authorization: Bearer canary-echo"}'},
    "unauthorized": {"status": 401, "headers": {"WWW-Authenticate": 'Bearer token="canary-echo"'}},
    "down": {"status": 503, "body": b"<html><title>Cookie: canary</title>", "headers": {"Content-Type": "text/html"}},
    "login page": {"body": b"<html>canary", "headers": {"Content-Type": "text/html"}},
    "redirected": {"status": 302, "headers": {"Location": "https://u:canary@idp.example/?code=canary"}},
    "cut short": {"body": b'{"a":"canary', "length": 999, "hang_up": True},
    "reset": {"status": 0, "reset": True},
    "foreign": {"body": b"OK canary"},
    "bad encoding": {"body": b"canary", "headers": {"Content-Encoding": "gzip"}},
    "silent": {"body": b"canary", "drip_s": 30},
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", FAILURES)
def test_no_failure_shows_a_secret(  # noqa: PLR0917 - fixtures
    name: str,
    method: str,
    talkative: Any,
    reply: Any,
    connect: Callable[..., DispatchContext],
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    talkative.answers[PATH] = [reply(**FAILURES[name])]
    context = connect(talkative, client_secret=SECRET, read_timeout_s=1 if name == "silent" else 30, max_attempts=2)
    events: list[Event] = []
    context.telemetry.add_hook(events.append)
    with pytest.raises(SacError) as caught:
        context.session.fetch(method, PATH, operation="x")
    # The server's own words may quote data; what is shaped or named like a secret is gone even from them.
    assert CANARY not in shown(caught.value)
    assert CANARY not in everything_logged.text
    assert CANARY not in repr(events)
    assert CANARY.encode() not in pickle.dumps(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    logging.getLogger("anybody").error("seen", exc_info=caught.value)
    assert CANARY not in everything_logged.text


def test_no_success_shows_a_secret(
    talkative: Any,
    reply: Any,
    connect: Callable[..., DispatchContext],
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    required = reply(status=403, headers={"x-csrf-token": "Required"})
    good = reply(headers={"Set-Cookie": "JSESSIONID=canary-session", "x-csrf-token": "canary-csrf-2"})
    talkative.answers[PATH] = [reply(status=401), required, good]
    context = connect(talkative, client_secret=SECRET)
    events: list[Event] = []
    context.telemetry.add_hook(events.append)
    answer = context.session.fetch("POST", PATH, operation="x", json={})
    response = context.session.get(PATH)
    context.guard.force()
    assert any("canary" in str(seen.headers) for seen in talkative.seen)
    assert talkative.at(PATH)[-2].headers["Cookie"].startswith("JSESSIONID=canary")
    assert "Cookie" not in talkative.at(PATH)[-1].headers
    for value in (answer, response, context, context.session, context.guard, context.guard.source, context.telemetry):
        assert CANARY not in repr(value) + str(value)
    assert CANARY not in repr(vars(context.guard))
    assert CANARY not in repr(events) + repr(context.telemetry.summary()) + repr(dict(answer.headers))
    assert CANARY.encode() not in pickle.dumps(answer)
    assert len(everything_logged.records) > 10
    assert {"urllib3.connectionpool", "sacnb.auth", "sacnb.wire"} <= {r.name for r in everything_logged.records}
    assert CANARY not in everything_logged.text
    for record in everything_logged.records:
        assert CANARY not in repr(vars(record))


@pytest.mark.parametrize("what", ["context", "session", "guard", "source", "token"])
def test_objects_that_hold_secrets_are_not_pickled_or_copied_deep(
    what: str, talkative: Any, connect: Callable[..., DispatchContext]
) -> None:
    context = connect(talkative, client_secret=SECRET)
    parts = {
        "context": context,
        "session": context.session,
        "guard": context.guard,
        "source": context.guard.source,
        "token": context.guard.ensure().token,
    }
    with pytest.raises(TypeError):
        pickle.dumps(parts[what])
    with pytest.raises(TypeError):
        copy.deepcopy(parts[what])


def test_a_token_endpoint_that_repeats_the_secret(
    talkative: Any, reply: Any, connect: Callable[..., DispatchContext], everything_logged: pytest.LogCaptureFixture
) -> None:
    echo = b'{"error":"invalid_client","error_description":"not %b"}' % SECRET.encode()
    talkative.answers[TOKENS] = [reply(status=401, body=echo)]
    context = connect(talkative, client_secret=SECRET)
    for call in (context.guard.ensure, context.guard.force, lambda: context.session.get(PATH)):
        with pytest.raises(SacError) as caught:
            call()
        assert CANARY not in shown(caught.value)
    assert CANARY not in everything_logged.text


def test_a_check_or_hook_that_fails_shows_nothing(
    talkative: Any, connect: Callable[..., DispatchContext], everything_logged: pytest.LogCaptureFixture
) -> None:
    context = connect(talkative, client_secret=SECRET)

    def broken(_: Any) -> None:
        raise ZeroDivisionError

    context.telemetry.add_hook(broken)
    with pytest.raises(ZeroDivisionError) as caught:
        context.session.fetch("GET", PATH, operation="x", check=broken)
    assert CANARY not in shown(caught.value)
    assert CANARY not in everything_logged.text


# -- Ctrl-C, wherever it strikes -------------------------------------------------------------------------------------


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Gives what interrupts this thread as Ctrl-C does, from any other one."""

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, strike)
    me = threading.get_ident()
    try:
        yield lambda: signal.pthread_kill(me, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


posix = pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")


@posix
@pytest.mark.parametrize("face", ["fetch", "get"])
@pytest.mark.parametrize("path", [TOKENS, PATH])
def test_ctrl_c_while_waiting_for_an_answer_shows_nothing(
    path: str, face: str, talkative: Any, reply: Any, connect: Callable[..., DispatchContext]
) -> None:
    context = connect(talkative, client_secret=SECRET)
    with interruptible() as strike:
        talkative.answers[path] = [reply(first=lambda: strike() or talkative.closing.wait(30))]
        call = context.session.get if face == "get" else partial(context.session.fetch, "GET", operation="x")
        with pytest.raises(KeyboardInterrupt) as caught:
            call(PATH)
    text = shown(caught.value)
    assert "in urlopen" in "".join(traceback.format_exception(caught.value))  # the lines are still there
    assert CANARY not in text
    assert "c2ItY2xpZW50" not in text  # the id and secret in base64


@posix
def test_the_bare_session_shows_the_token_there(talkative: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above is known to be able to fail."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with interruptible() as strike, OAuth2Session(token={"access_token": CANARY, "token_type": "bearer"}) as bare:
        talkative.answers[PATH] = [reply(first=lambda: strike() or talkative.closing.wait(30))]
        with pytest.raises(KeyboardInterrupt) as caught:
            bare.get(talkative.url + PATH)
    assert CANARY in shown(caught.value)
