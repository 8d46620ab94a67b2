"""However the token endpoint behaves, one deadline covers all of it, a cancelled pull ends it, and errors are typed."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from sacnb._auth import ClientCredentials, EnsureResult, TokenGuard
from sacnb._auth.endpoint import EndpointOptions
from sacnb._connections import Watch, watch
from sacnb._wire.retry import RetryPlan, refresh_runner
from sacnb.errors import Cancelled, RefreshError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GOOD = json.dumps({"access_token": "canary-token", "token_type": "bearer", "expires_in": 3600}).encode()


def client(url: str, **options: Any) -> ClientCredentials:
    endpoint = EndpointOptions(**{"timeout": (5.0, 5.0), **options})
    return ClientCredentials(url, "client", "canary-secret", options=endpoint)


def answer(head: bytes, body: bytes = GOOD) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def interim_answers(connection: Any, closing: threading.Event) -> None:
    while not closing.wait(0.02):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def status_line(connection: Any, closing: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 ")
    while not closing.wait(0.02):
        connection.sendall(b"x")


def header(connection: Any, closing: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not closing.wait(0.02):
        connection.sendall(b"x")


def body(connection: Any, closing: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    while not closing.wait(0.02):
        connection.sendall(b" ")


def nothing(connection: Any, closing: threading.Event) -> None:
    closing.wait(30)


@pytest.mark.parametrize("drip", [interim_answers, status_line, header, body, nothing])
def test_one_deadline_covers_the_whole_exchange(drip: Any, raw_endpoint: Any) -> None:
    started = time.monotonic()
    with pytest.raises(RefreshError, match=r"did not answer within 0\.3 s") as caught:
        client(raw_endpoint(drip), deadline_s=0.3).fetch(NOW)
    assert time.monotonic() - started < 8
    assert caught.value.error_code == "refresh_failed"


@pytest.mark.parametrize("drip", [interim_answers, header, body, nothing])
def test_the_deadline_holds_for_all_attempts_together(drip: Any, raw_endpoint: Any) -> None:
    run = refresh_runner(RetryPlan(deadline_s=0.4, initial_delay_s=0.01))
    started = time.monotonic()
    with pytest.raises(RefreshError):
        TokenGuard(client(raw_endpoint(drip), timeout=(0.2, 0.2)), run=run).ensure()
    assert time.monotonic() - started < 8


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    ["http://h:99999999/", "http://[::1", "//", "", "http://h\x1b[2J/", "https://elsewhere.example/x", "/again"],
)
def test_a_redirect_is_never_followed_wherever_it_leads(location: str, raw_endpoint: Any) -> None:
    seen = itertools.count(1)
    asked = [0]

    def redirect(connection: Any, _: threading.Event) -> None:
        asked[0] = next(seen)
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    with pytest.raises(RefreshError, match="redirects to") as caught:
        client(raw_endpoint(redirect)).fetch(NOW)
    assert caught.value.error_code == "non_retriable"
    assert str(caught.value).isprintable()
    assert asked == [1]


def test_the_body_of_a_redirect_is_not_read(raw_endpoint: Any) -> None:
    sent = [0]

    def endless(connection: Any, closing: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not closing.is_set():
            connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent[0] += 65_536

    started = time.monotonic()
    with pytest.raises(RefreshError, match="redirects to another address"):
        client(raw_endpoint(endless), deadline_s=10).fetch(NOW)
    assert time.monotonic() - started < 8
    assert sent[0] < 50_000_000


# -- dates and headers that make no sense ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Fri, 32 Foo 99999 25:61:61 GMT",
        "nonsense",
        "",
    ],
)
@pytest.mark.parametrize("status", [200, 503])
def test_any_date_header_is_survived(date: str, status: int, raw_endpoint: Any) -> None:
    head = f"Date: {date}\r\nRetry-After: {date or 'x'}\r\n".encode()
    message = answer(head).replace(b"200 OK", b"%d Whatever" % status)
    source = client(raw_endpoint(lambda connection, _: connection.sendall(message)))
    if status == 503:
        with pytest.raises(RefreshError) as caught:
            source.fetch(NOW)
        assert caught.value.error_code == "refresh_failed"
        return
    token = source.fetch(NOW)
    assert token.remaining_s(NOW) == 3600
    assert not token.is_expired(NOW + timedelta(seconds=3599))
    assert token.is_expired(NOW + timedelta(seconds=3600))


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/1.1 abc nonsense\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        answer(b"Content-Length: 7\r\n"),
        answer(b"Transfer-Encoding: chunked\r\n"),
        answer(b"X: " + b"x" * 70_000 + b"\r\n"),
        answer(b"".join(b"X-%d: y\r\n" % number for number in range(200))),
        answer(b"Content-Encoding: gzip\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
    ],
)
def test_an_answer_that_makes_no_sense_is_a_refresh_error(message: bytes, raw_endpoint: Any) -> None:
    with pytest.raises(RefreshError):
        client(raw_endpoint(lambda connection, _: connection.sendall(message))).fetch(NOW)


def test_a_certificate_of_another_host_is_not_blamed_on_the_bundle(
    make_tls_endpoint: Any, reply: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    """The bundle is right: the address is wrong, or somebody else answers."""
    bundle = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(bundle))
    server = make_tls_endpoint("other.example")
    server.replies = [reply(body=GOOD)]
    with pytest.raises(RefreshError, match="belongs to another host") as caught:
        client(server.url, verify=str(bundle)).fetch(NOW)
    assert "SAC_CA_BUNDLE" not in str(caught.value)


# -- cancelled -------------------------------------------------------------------------------------------------------


def cancelled_soon(work: Callable[[], Any], until: Callable[[], bool] = lambda: False) -> tuple[BaseException, float]:
    """Run *work* in a watched thread and stop the watch; return the error and the seconds it took to end."""
    watches: list[Watch] = []
    began = threading.Event()
    ended: list[BaseException] = []

    def run() -> None:
        with watch(None) as watched:
            watches.append(watched)
            began.set()
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(10)
    give_up_at = time.monotonic() + 0.3  # nothing tells that a thread waits in recv
    while not until() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    started = time.monotonic()
    watches[0].end("stopped")
    thread.join(10)
    return ended[0], time.monotonic() - started


@pytest.mark.parametrize("drip", [interim_answers, header, body, nothing])
def test_a_cancelled_pull_ends_the_request_for_its_token(drip: Any, raw_endpoint: Any) -> None:
    guard = TokenGuard(client(raw_endpoint(drip)), run=refresh_runner(RetryPlan()))
    error, seconds = cancelled_soon(guard.ensure)
    assert isinstance(error, Cancelled)
    assert seconds < 8


def test_a_cancelled_pull_does_not_wait_between_attempts(raw_endpoint: Any) -> None:
    refusal = answer(b"Retry-After: 30\r\n", b"{}").replace(b"200 OK", b"503 Service Unavailable")
    source = client(raw_endpoint(lambda connection, _: connection.sendall(refusal)))
    naps: list[float] = []
    with watch(None) as watched:

        def sleep(seconds: float) -> None:
            naps.append(seconds)
            watched.end("stopped")

        guard = TokenGuard(source, run=refresh_runner(RetryPlan(), sleep=sleep))
        with pytest.raises(Cancelled):
            guard.ensure()
    assert sum(naps) < 1


def test_a_thread_that_waits_for_the_token_of_another_is_cancelled_alone(make_source: Any, clock: Any) -> None:
    asked, may_end = threading.Event(), threading.Event()

    def slow(_: int) -> float:
        asked.set()
        assert may_end.wait(10)
        return 3600.0

    source = make_source(slow)
    guard = TokenGuard(source, now=clock)
    results: list[EnsureResult] = []
    leader = threading.Thread(target=lambda: results.append(guard.ensure()))
    leader.start()
    assert asked.wait(10)
    error, seconds = cancelled_soon(guard.ensure)
    assert isinstance(error, Cancelled)
    assert seconds < 8
    may_end.set()
    leader.join(10)
    assert results[0].token.value.reveal() == "token-1"
    assert (source.calls, guard.waiting) == (1, 0)


def test_a_thread_that_is_cancelled_leaves_the_refresh_to_one_that_waits(raw_endpoint: Any, clock: Any) -> None:
    numbers = itertools.count()
    results: list[EnsureResult] = []

    def hang_once(connection: Any, closing: threading.Event) -> None:
        if next(numbers) == 0:
            follower.start()  # the request of the first caller is under way
            closing.wait(30)
        connection.sendall(answer(b""))

    guard = TokenGuard(client(raw_endpoint(hang_once)), now=clock)
    follower = threading.Thread(target=lambda: results.append(guard.ensure()))
    error, _ = cancelled_soon(guard.ensure, until=lambda: guard.waiting == 1)
    follower.join(10)
    assert isinstance(error, Cancelled)
    assert results[0].token.value.reveal() == "canary-token"
