"""While a cassette is replayed nothing connects anywhere, but where it was allowed."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from sacnb.errors import ReplayError
from sacnb.replay.guard import Ban, Beside, SocketGuard


@pytest.fixture
def guard() -> Iterator[SocketGuard]:
    guard = SocketGuard(lambda: Ban("the_name", Beside.of(["allowed.invalid"])))
    guard.install()
    yield guard
    guard.remove()


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def tcp(port: int) -> object:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def tcp_without_raising(port: int) -> object:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port))


def tcp6(port: int) -> object:
    with socket.socket(socket.AF_INET6) as sock:
        return sock.connect(("::1", port))


def udp(port: int) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", ("127.0.0.1", port))


def udp_with_flags(port: int) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", 0, ("127.0.0.1", port))


def urllib_of_python(port: int) -> object:
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


def asyncio_streams(port: int) -> object:
    async def connect() -> None:
        await asyncio.open_connection("127.0.0.1", port)

    return asyncio.run(connect())


def from_another_thread(port: int) -> object:
    raised: list[BaseException] = []

    def connect() -> None:
        try:
            tcp(port)
        except ReplayError as error:
            raised.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    raise raised[0]


@pytest.mark.parametrize(
    "way",
    [tcp, tcp_without_raising, tcp6, udp, udp_with_flags, urllib_of_python, asyncio_streams, from_another_thread],
)
def test_no_way_out_is_open(guard: SocketGuard, port: int, way: Callable[[int], object]) -> None:
    with pytest.raises(ReplayError, match=r"'the_name' is being replayed, and a (connection|packet) to .* was refused"):
        way(port)


@pytest.mark.parametrize("look_up", ["getaddrinfo", "gethostbyname", "gethostbyname_ex"])
@pytest.mark.parametrize("host", ["tenant.replay.invalid", "example.invalid"])
def test_no_name_is_looked_up(guard: SocketGuard, look_up: str, host: str) -> None:
    with pytest.raises(ReplayError, match=f"a look-up of '{host}' was refused"):
        getattr(socket, look_up)(host, *([443] if look_up == "getaddrinfo" else []))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", None])
def test_what_needs_no_asking_is_looked_up(guard: SocketGuard, host: str | None) -> None:
    assert socket.getaddrinfo(host, 0)


def test_names_may_be_bytes(guard: SocketGuard) -> None:
    with pytest.raises(ReplayError, match="a look-up"):
        socket.getaddrinfo(b"example.invalid", 443)


@pytest.mark.parametrize(
    ("allowed", "host", "is_beside"),
    [
        ((), "127.0.0.1", False),
        (("127.0.0.1",), "127.0.0.1", True),
        (("localhost",), "127.0.0.1", True),
        (("localhost",), "::1", True),
        (("localhost",), "10.0.0.1", False),
        (("db.example",), "db.example", True),
        (("db.example",), "other.example", False),
        (("db.example:443",), "db.example", True),
        (("db.example:444", "other.example"), "db.example", False),
        (("localhost:443",), "127.0.0.1", True),
        (("::1",), "::1", True),
        (("[::1]:443",), "::1", True),
        (("[::1]:444",), "::1", False),
    ],
)
def test_hosts_are_allowed_by_name_and_port(allowed: tuple[str, ...], host: str, is_beside: bool) -> None:
    beside = Beside.of(allowed)
    assert beside.holds(host, 443) is is_beside
    assert beside.holds_url(f"https://[{host}]/x" if ":" in host else f"https://{host}/x") is is_beside


def test_a_connection_to_an_allowed_port_is_let_through(port: int) -> None:
    guard = SocketGuard(lambda: Ban("x", Beside.of([f"127.0.0.1:{port}"])))
    guard.install()
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ReplayError, match="was refused"):
            socket.create_connection(("127.0.0.1", port + 1 if port < 65535 else 1))
    finally:
        guard.remove()


def test_listening_and_pairs_stay_free(guard: SocketGuard) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        one, other = socket.socketpair()
    one.sendall(b"x")
    assert other.recv(1) == b"x"
    one.close()
    other.close()
    asyncio.run(asyncio.sleep(0))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="a system without Unix sockets")
def test_unix_sockets_stay_free(guard: SocketGuard, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)


def test_a_pair_that_is_made_by_connecting_is_free(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """As on Windows, where Python makes a pair by connecting to itself; event loops begin with one."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", lambda: tcp(port))
        guard = SocketGuard(lambda: Ban("x"))
        guard.install()
        try:
            socket.socketpair().close()
            with pytest.raises(ReplayError):
                tcp(port)
        finally:
            guard.remove()


def test_it_lets_pass_while_nothing_is_replayed(port: int) -> None:
    guard = SocketGuard(lambda: None)
    guard.install()
    try:
        with socket.create_connection(("127.0.0.1", port)):
            assert socket.getaddrinfo("localhost", 0)
    finally:
        guard.remove()


def test_everything_is_put_back(port: int) -> None:
    names = ("connect", "connect_ex", "sendto")
    before = [getattr(socket.socket, name) for name in names]
    guard = SocketGuard(lambda: Ban("x"))
    guard.install()
    guard.remove()
    assert [getattr(socket.socket, name) for name in names] == before
    assert not set(names) & set(vars(socket.socket))
    with socket.create_connection(("127.0.0.1", port)):
        pass
