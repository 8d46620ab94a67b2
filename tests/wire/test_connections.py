"""Connections that end at a deadline, when they are stopped, and with their process."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import requests
import urllib3

from sacnb._connections import Watch, WatchedAdapter, open_session, watch
from sacnb.errors import SettingsError

Failure = (requests.RequestException, urllib3.exceptions.HTTPError)


def drip(seconds: float, byte: bytes = b"x") -> Iterator[bytes | float]:
    for _ in range(int(seconds / 0.05)):
        yield byte
        yield 0.05


SLOW: dict[str, Callable[[], Iterable[Any]]] = {
    "nothing comes": lambda: [10.0],
    "interim answers without end": lambda: drip(10, b"HTTP/1.1 100 Continue\r\n\r\n"),
    "other interim answers without end": lambda: drip(10, b"HTTP/1.1 102 Processing\r\n\r\n"),
    "the status line drips": lambda: [b"HTTP/1.1 200 ", *drip(10)],
    "a header drips": lambda: [b"HTTP/1.1 200 OK\r\nX-A: ", *drip(10)],
    "the body drips": lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *drip(10)],
    "the last body of a connection drips": lambda: [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", *drip(10)],
    "chunks drip": lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *drip(10, b"1\r\nx\r\n")],
}


def get(url: str, watched: Watch) -> str | None:
    """Ask for an address; why the request ended."""
    with open_session() as session:
        session.verify = False
        try:
            response = session.get(url, timeout=30, stream=True)
            while response.raw.read1(65_536):
                pass
        except Failure:
            assert watched.ended
    return watched.ended


@pytest.mark.parametrize("name", SLOW)
def test_a_request_ends_at_its_deadline_whatever_it_waits_for(name: str, raw: Any) -> None:
    raw.answer = lambda _: SLOW[name]()
    started = time.monotonic()
    with watch(0.3) as watched:
        assert get(raw.url, watched) == "deadline"
    assert 0.29 < time.monotonic() - started < 8


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("name", ["a header drips", "the last body of a connection drips"])
def test_so_it_does_over_tls(name: str, raw_tls: Any) -> None:
    raw_tls.answer = lambda _: SLOW[name]()
    with watch(0.4) as watched:
        assert get(raw_tls.url, watched) == "deadline"


def test_a_request_ends_when_it_is_stopped_from_another_thread(raw: Any) -> None:
    begun = threading.Event()

    def answer(_: Any) -> Iterator[Any]:
        begun.set()
        yield 10.0

    raw.answer = answer
    with watch(None) as watched:

        def stop() -> None:
            begun.wait(10)
            watched.end("stopped")

        stopper = threading.Thread(target=stop)
        stopper.start()
        assert get(raw.url, watched) == "stopped"
        stopper.join()


def test_a_request_that_is_stopped_before_it_connects_ends_at_once(raw: Any) -> None:
    raw.answer = lambda _: [10.0]
    with watch(None) as watched:
        watched.end("stopped")
        assert get(raw.url, watched) == "stopped"


def test_a_watch_ends_those_within_it_and_is_not_ended_by_them(raw: Any) -> None:
    raw.answer = lambda _: [10.0]
    with watch(60) as outer:
        with watch(0.2) as inner:
            assert get(raw.url, inner) == "deadline"
        assert outer.ended is None
        outer.end("stopped")
        with watch(60) as inner:
            assert get(raw.url, inner) == "stopped"


def test_a_connection_in_the_pool_is_left_alone(raw: Any) -> None:
    with open_session() as session, watch(None) as watched:
        session.get(raw.url, timeout=10)
        watched.end("stopped")
        assert raw.connections == 1
    with open_session() as session, watch(60):
        session.get(raw.url, timeout=10)


@pytest.mark.parametrize("interim", [[100], [102], [103], [199], [103, 103, 102, 100]])
def test_interim_answers_are_read_over(interim: list[int], raw: Any, answer_with: Any) -> None:
    lines = b"".join(b"HTTP/1.1 %d X\r\nLink: </a>\r\n\r\n" % status for status in interim)
    raw.answer = lambda seen: [lines, 0.05, answer_with(seen.path.encode())]
    with open_session() as session:
        assert [session.get(raw.url + path, timeout=10).content for path in ("/1", "/2", "/3")] == [b"/1", b"/2", b"/3"]
    assert raw.connections == 1


@pytest.mark.parametrize(
    "line", ["X-Gr\u00f6\u00dfe: 1", "no header", "X: 1\r\nno header\r\n\tgoes on", "X Y: 1", ": 1"]
)
def test_a_line_that_is_no_header_hides_none_after_it(line: str, raw: Any) -> None:
    head = f"HTTP/1.1 200 \u00d6K: fine\r\n{line}\r\nContent-Length : 2\r\nX-After: yes\r\n\r\nok"
    raw.answer = lambda _: [head.encode(), 0.0]
    with open_session() as session:
        for _ in range(2):
            answer = session.get(raw.url, timeout=3)
            assert (answer.content, answer.headers["X-After"], answer.headers["Content-Length"]) == (b"ok", "yes", "2")
    assert raw.connections == 2  # what was meant is not certain


def test_lines_in_the_place_of_headers_without_end_are_an_error(raw: Any) -> None:
    raw.answer = lambda _: [b"HTTP/1.1 200 OK\r\n" + b"no header\r\n" * 200]
    with open_session() as session, pytest.raises(requests.ConnectionError, match="in the place of headers"):
        session.get(raw.url, timeout=10)


def test_interim_answers_without_end_are_an_error(raw: Any) -> None:
    raw.answer = lambda _: [b"HTTP/1.1 103 X\r\n\r\n" * 200]
    with open_session() as session, pytest.raises(requests.ConnectionError, match="interim"):
        session.get(raw.url, timeout=10)


@pytest.mark.parametrize(
    "head",
    [
        "101 Switching Protocols\r\nUpgrade: x",
        "204 No Content\r\nContent-Length: 5",
        "204 No Content\r\nTransfer-Encoding: chunked",
        "200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked",
        "200 OK\r\nContent-Length: +0",
        "200 OK\r\nTransfer-Encoding: gzip, chunked",
    ],
)
def test_a_connection_on_which_bytes_may_follow_is_not_used_again(head: str, raw: Any) -> None:
    raw.answer = lambda _: [f"HTTP/1.1 {head}\r\n\r\n".encode(), b"0\r\n\r\n" if "chunked" in head else b"", 0.0]
    with open_session() as session:
        for _ in range(2):
            with session.get(raw.url, timeout=10, stream=True) as response:
                response.raw.read1(1)
    assert raw.connections == 2


def test_an_ordinary_connection_is_used_again(raw: Any) -> None:
    raw.answer = lambda seen: [b"HTTP/1.1 204 X\r\n\r\n"] if seen.path == "/none" else None
    with open_session() as session:
        for path in ("/none", "/some", "/none", "/some"):
            session.get(raw.url + path, timeout=10)
    assert raw.connections == 1


def test_a_redirect_is_not_looked_at(raw: Any) -> None:
    raw.answer = lambda _: [b"HTTP/1.1 302 X\r\nLocation: http://[::1\r\nContent-Length: 999999\r\n\r\n", 10.0]
    with open_session() as session, watch(5) as watched:
        assert session.get(raw.url, timeout=10, stream=True).status_code == 302
        assert watched.ended is None
    assert len(raw.seen) == 1


def test_cookies_are_not_kept_but_those_of_the_program_are_sent(raw: Any, answer_with: Any) -> None:
    raw.answer = lambda _: [answer_with(b"", headers="Set-Cookie: SESSION=1; Path=/\r\n")]
    with open_session() as session:
        session.cookies.set("mine", "1")
        session.get(raw.url, timeout=10)
        session.get(raw.url, timeout=10)
    assert [seen.headers.get("Cookie") for seen in raw.seen] == ["mine=1", "mine=1"]


def test_the_debug_switch_of_http_client_prints_nothing(
    raw: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with open_session() as session:
        session.get(raw.url, timeout=10, headers={"Authorization": "Bearer canary"})
    assert raw.seen[-1].headers["Authorization"] == "Bearer canary"
    assert capsys.readouterr().out == ""


def test_socks_without_pysocks_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", missing)
    session = open_session()
    session.proxies = {"https": "socks5h://user:canary@127.0.0.1:9"}
    with session, pytest.raises(SettingsError, match="pip install pysocks") as caught:
        session.get("https://acme.example", timeout=10)
    assert "canary" not in str(caught.value)


# -- fork -------------------------------------------------------------------------------------------------------------

forks = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="fork is a matter of Linux")


@forks
@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning", "ignore::urllib3.exceptions.InsecureRequestWarning"
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_child_connects_anew_and_leaves_the_parents_connections_alone(
    scheme: str, raw: Any, raw_tls: Any, answer_with: Any
) -> None:
    server = raw if scheme == "http" else raw_tls
    server.answer = lambda seen: [0.02, answer_with(seen.path.encode())]
    with open_session() as session:
        session.verify = False

        def ask(name: str) -> list[bytes]:
            return [session.get(f"{server.url}/{name}", timeout=10).content for _ in range(5)]

        def child(name: str, results: Any) -> None:
            results.put((name, ask(name)))

        ask("parent")
        before = server.connections
        context = multiprocessing.get_context("fork")
        results: Any = context.SimpleQueue()
        children = [context.Process(target=child, args=(name, results)) for name in ("a", "b")]
        for each in children:
            each.start()
        assert ask("parent") == [b"/parent"] * 5
        got = dict(results.get() for _ in children)
        for each in children:
            each.join(10)
        assert got == {name: [f"/{name}".encode()] * 5 for name in ("a", "b")}
        assert server.connections == before + 2, "the parent's connection still serves the parent"


@forks
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_does_not_shut_down_what_the_parent_waits_for(raw: Any) -> None:
    raw.answer = lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 0.3, b"ok"]
    with open_session() as session, watch(30) as watched:
        response = session.get(raw.url, timeout=10, stream=True)
        child = os.fork()
        if child == 0:
            watched.end("stopped")
            os._exit(0)
        os.waitpid(child, 0)
        assert response.content == b"ok"


@forks
def test_an_adapter_in_a_child_has_pools_of_its_own() -> None:
    adapter = WatchedAdapter(pool_connections=2, pool_maxsize=3)
    before = adapter.poolmanager
    adapter.after_fork()
    assert adapter.poolmanager is not before
    assert adapter.poolmanager.connection_pool_kw["maxsize"] == 3
