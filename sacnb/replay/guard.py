"""Refuse every connection during a replay."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from sacnb.errors import ReplayError

_LOOPBACK_NAMES: Final = frozenset({"", "localhost", "0.0.0.0", "::"})  # noqa: S104 - names that are looked up, not bound
_UNSET: Final = object()


@dataclass(frozen=True, slots=True)
class Beside:
    """The hosts that a cassette has nothing to do with, each with its port or with any.

    Requests to them are neither recorded nor replayed, and a replay lets connections to them pass.
    """

    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Beside:
        """Read names such as ``example.org``, ``localhost:8080`` and ``[::1]:8080``."""
        return cls(frozenset(map(_host_and_port, names)))

    def holds(self, host: str, port: int | None) -> bool:
        """Return whether *host* is one of them; without a *port*, whether any port of it is."""
        names = {host, "localhost"} if _is_loopback(host) else {host}
        return any(name in names and (port is None or at in {None, port}) for name, at in self.hosts)

    def holds_url(self, url: str) -> bool:
        """Return whether a request to *url* goes to one of them."""
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        return bool(self.hosts) and self.holds(parts.hostname or "", port)


@dataclass(frozen=True, slots=True)
class Ban:
    """The rule of a replay: connect to hosts ``beside`` it only. ``cassette`` is its name, for the message."""

    cassette: str
    beside: Beside = field(default_factory=Beside)

    def refusal(self, what: str) -> ReplayError:
        """Return the error for a refused connection."""
        return ReplayError(
            f"The cassette {self.cassette!r} is being replayed, and {what} was refused.",
            hint="Only calls through requests can be recorded and replayed. To allow this one, name its host: "
            f"sacnb.replay.start({self.cassette!r}, allow_hosts=['HOST']).",
        )


class SocketGuard:
    """Checks every connection that Python's ``socket`` makes against the ban of the moment, while it is installed.

    Unix sockets, pipes and listening stay allowed; so do the sockets of libraries that do not use Python's, such as
    those between a kernel and its notebook. (On Windows asyncio also connects without Python's ``socket``.)
    """

    def __init__(self, ban: Callable[[], Ban | None]) -> None:
        self._ban = ban
        self._saved: list[tuple[Any, str, Any]] = []
        self._exempt = threading.local()

    def install(self) -> None:
        """Replace the functions of ``socket`` that connect, send or look names up."""
        for name in ("connect", "connect_ex"):
            self._replace(socket.socket, name, self._connecting(getattr(socket.socket, name)))
        self._replace(socket.socket, "sendto", self._sending(socket.socket.sendto))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            self._replace(socket, name, self._looking_up(getattr(socket, name)))
        self._replace(socket, "socketpair", self._pairing(socket.socketpair))

    def remove(self) -> None:
        """Restore the functions of ``socket``."""
        while self._saved:
            owner, name, before = self._saved.pop()
            if before is _UNSET:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    def _replace(self, owner: Any, name: str, new: Any) -> None:
        self._saved.append((owner, name, vars(owner).get(name, _UNSET)))
        setattr(owner, name, new)

    def _check(self, family: int, address: Any, what: str) -> None:
        if family not in {socket.AF_INET, socket.AF_INET6} or getattr(self._exempt, "on", False):
            return
        ban = self._ban()
        if ban is not None and not ban.beside.holds(str(address[0]), address[1]):
            raise ban.refusal(f"{what} {address[0]}:{address[1]}")

    def _connecting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(sock: socket.socket, address: Any) -> Any:
            try:
                self._check(sock.family, address, "a connection to")
            except ReplayError:
                sock.close()  # callers only close it after an OSError
                raise
            return real(sock, address)

        return connect

    def _sending(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def sendto(sock: socket.socket, data: Any, *flags_and_address: Any) -> Any:
            self._check(sock.family, flags_and_address[-1], "a packet to")
            return real(sock, data, *flags_and_address)

        return sendto

    def _looking_up(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
            ban = self._ban()
            if ban is not None and name is not None and not _is_address(name) and not ban.beside.holds(name, None):
                raise ban.refusal(f"a look-up of {name!r}")
            return real(host, *args, **kwargs)

        return look_up

    def _pairing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Allow ``socketpair``: on Windows Python makes a pair by connecting to itself."""

        def socketpair(*args: Any, **kwargs: Any) -> Any:
            with self._exempted():
                return real(*args, **kwargs)

        return socketpair

    @contextlib.contextmanager
    def _exempted(self) -> Iterator[None]:
        self._exempt.on = True
        try:
            yield
        finally:
            self._exempt.on = False


def _host_and_port(name: str) -> tuple[str, int | None]:
    host, colon, port = name.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    return name.strip("[]"), None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(name: str) -> bool:
    """Return whether *name* can be looked up without asking a server."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name.lower() in _LOOPBACK_NAMES
    return True
