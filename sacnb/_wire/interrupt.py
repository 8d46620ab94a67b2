"""Stop requests that wait for their answer: by closing their connections, since nobody else can wake their threads.

``cancelled`` of ``SacSession.fetch`` is looked at between packets. A server that takes a minute to make a page sends
none, and the thread stands in ``recv`` all the while. An ``Interrupt`` is such a ``cancelled`` that also knows the
connection of every request it was handed to, and shuts them down when it is set.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection

__all__ = ["Interrupt", "InterruptibleAdapter"]

_current: Final[ContextVar[Interrupt | None]] = ContextVar("sacnb_interrupt", default=None)


class Interrupt:
    """A switch that stops the requests it was handed to as ``cancelled``; safe for threads, set once and for all."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        # Reentrant: a pull that was let go of is ended wherever garbage is collected, perhaps in here.
        self._lock = threading.RLock()
        self._connections: dict[int, HTTPConnection] = {}

    def __call__(self) -> bool:
        """Whether it is set."""
        return self._is_set.is_set()

    def set(self) -> None:
        """Stop what is under way, and what would follow. Setting it again reaches connections made in between."""
        self._is_set.set()
        with self._lock:
            for connection in self._connections.values():
                _shut_down(connection)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over the connection that this thread uses within the block."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)
            self._let_go()

    def _hold(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._connections[threading.get_ident()] = connection

    def _let_go(self) -> None:
        with self._lock:
            self._connections.pop(threading.get_ident(), None)


def _shut_down(connection: HTTPConnection) -> None:
    """Have whoever reads from ``connection`` see its end; closing it is left to them, who own it."""
    raw = getattr(connection, "sock", None)
    if not isinstance(raw, socket.socket):  # not connected yet, or TLS within TLS to a proxy
        return
    with contextlib.suppress(OSError):  # it ended by itself
        # Not raw.shutdown: that of a TLS socket takes the state away from under the thread that reads.
        socket.socket.shutdown(raw, socket.SHUT_RDWR)


class _Watched:
    """A pool that tells the current Interrupt which connection is in use; one in the pool is nobody's any more."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        interrupt = _current.get()
        if interrupt is not None:
            interrupt._hold(connection)
        return connection

    def _put_conn(self, conn: Any) -> None:
        interrupt = _current.get()
        if interrupt is not None:
            interrupt._let_go()
        super()._put_conn(conn)  # type: ignore[misc]


class _HttpPool(_Watched, HTTPConnectionPool):
    pass


class _HttpsPool(_Watched, HTTPSConnectionPool):
    pass


class InterruptibleAdapter(HTTPAdapter):
    """The adapter of requests, whose connections an ``Interrupt`` can shut down (not those through a SOCKS proxy)."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools; called by requests."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """The pools through a proxy; called by requests."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager
