"""Errors of requests and urllib3, put into words."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import requests
import urllib3
from urllib3.exceptions import ProtocolError

from sacnb._http import causes, in_words, is_certificate_error, surely_not_sent


@pytest.fixture
def listener() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """A port on which a script talks to whoever connects; gives its address."""
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(script: Callable[[socket.socket], None]) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        opened.append(server)

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                script(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        threads.append(thread)
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join(10)
    for server in opened:
        server.close()


def caught(url: str, **options: object) -> Exception:
    with requests.Session() as session:
        session.trust_env = False
        try:
            session.get(url, timeout=(5, 0.2), **options)  # type: ignore[arg-type]
        except requests.RequestException as error:
            return error
    raise AssertionError("nothing was raised")


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)


def say_nothing(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.settimeout(10)
    connection.recv(65536)


def cut_short(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def refuse_tunnel(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "kind", "not_sent"),
    [(hang_up, "connection_reset", False), (say_nothing, "read_timeout", False), (cut_short, "truncated", False)],
)
def test_failures_after_the_request_was_sent(
    script: Callable[[socket.socket], None],
    kind: str,
    not_sent: bool,
    listener: Callable[[Callable[[socket.socket], None]], str],
) -> None:
    error = caught(f"http://{listener(script)}/")
    assert in_words(error)[0] == kind
    assert surely_not_sent(error) is not_sent
    assert not is_certificate_error(error)


def test_a_proxy_that_refuses(listener: Callable[[Callable[[socket.socket], None]], str]) -> None:
    error = caught("https://tenant.invalid/", proxies={"https": f"http://user:canary@{listener(refuse_tunnel)}"})
    assert in_words(error)[0] == "proxy"
    assert surely_not_sent(error)


def test_a_host_that_is_not_known() -> None:
    error = caught("https://tenant.invalid/")
    assert in_words(error)[0] == "unknown_host"
    assert surely_not_sent(error)


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = caught(f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert in_words(error)[0] == "no_connection"
    assert surely_not_sent(error)


@pytest.mark.parametrize(
    ("error", "kind", "not_sent"),
    [
        (requests.ConnectTimeout(), "connect_timeout", True),
        (requests.ReadTimeout(), "read_timeout", False),
        (requests.ConnectionError(ProtocolError("x", ConnectionResetError())), "connection_reset", False),
        (ProtocolError("x", http.client.IncompleteRead(b"")), "truncated", False),
        (ProtocolError("x", OSError()), "connection_reset", False),
        (requests.exceptions.SSLError(urllib3.exceptions.SSLError("x")), "tls", False),
        (requests.exceptions.InvalidURL("x"), "InvalidURL", False),
    ],
)  # fmt: skip
def test_kinds(error: Exception, kind: str, not_sent: bool) -> None:
    assert in_words(error)[0] == kind
    assert surely_not_sent(error) is not_sent


def test_a_certificate_that_is_not_trusted_is_found_inside() -> None:
    inner = ssl.SSLCertVerificationError("self-signed")
    error = requests.exceptions.SSLError(
        urllib3.exceptions.MaxRetryError(None, "/", urllib3.exceptions.SSLError(inner))
    )  # type: ignore[arg-type]
    assert is_certificate_error(error)
    assert in_words(error)[0] == "tls"


def test_circular_causes_end() -> None:
    error = Exception()
    error.args = (error,)
    assert len(list(causes(error))) == 10
