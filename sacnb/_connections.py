"""Connections that end at a deadline, when the user stops them, and with their process.

The token endpoint and SAC are asked through the same connections. A request outside of ``SacSession``::

    with open_session() as session, watch(40.0) as watched:  # 40 seconds for all of it, body included
        try:
            response = session.post(url, data=form, stream=True)  # never redirected, no cookie kept
            body = b"".join(iter(lambda: response.raw.read1(65_536), b""))
        except (requests.RequestException, urllib3.exceptions.HTTPError):
            if watched.ended is None:
                raise  # a failure of the network
        watched.ended  # None, "deadline", or "stopped"; then body may be cut short without an error

Nested watches end with the outer one: a token that is awaited for a pull ends when the pull is cancelled.

``cancelled`` of ``SacSession.fetch`` is called between packets, and a thread that waits for a slow page waits in
``recv``. An ``Interrupt`` is a ``cancelled`` that also ends that wait.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Literal

import requests
from requests.adapters import HTTPAdapter
from requests.utils import default_user_agent

from sacnb._fork import renew_after_fork
from sacnb._http import HeaderLines
from sacnb.errors import SettingsError

__all__ = [
    "Interrupt",
    "NoRedirects",
    "Watch",
    "current_watch",
    "open_session",
    "prepare_session",
    "watch",
]

# More than any proxy sends before its answer. A server that sends them without end meets the deadline.
_MAX_INTERIM_ANSWERS: Final = 100
_IDLE_S: Final = 10.0


# -- the watchdog -----------------------------------------------------------------------------------------------------


class Watch:
    """The socket of a request under way, and the means to end the request from another thread.

    Shutting the socket down wakes a thread that waits in ``recv``, which nothing else does. ``ended`` says why that was
    done: ``"deadline"``, ``"stopped"``, or ``None`` as long as nobody did.
    """

    __slots__ = ("__weakref__", "_inner", "_lock", "_pid", "_socket", "ended", "ends_at")

    def __init__(self, ends_at: float | None) -> None:
        self.ends_at = ends_at
        self.ended: Literal["deadline", "stopped"] | None = None
        # Reentrant: the garbage collector may stop a dropped pull here.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._socket: socket.socket | None = None
        self._inner: Watch | None = None

    def end(self, why: Literal["deadline", "stopped"]) -> None:
        """Shut down the socket, now or as soon as there is one."""
        if os.getpid() != self._pid:  # a forked child: the connection is the parent's
            return
        with self._lock:
            self.ended = self.ended or why
            if self._inner is not None:
                self._inner.end(why)
            if self._socket is not None:
                _shut_down(self._socket)

    def hold(self, connected: Any) -> None:
        """Watch over ``connected``, the socket that the request goes over now."""
        with self._lock:
            # TLS within TLS to a proxy is no socket: such a connection ends with its timeouts.
            self._socket = connected if isinstance(connected, socket.socket) else None
            if self.ended is not None and self._socket is not None:
                _shut_down(self._socket)

    def let_go(self) -> None:
        """Leave the socket alone: its connection goes back to the pool, for the next request."""
        with self._lock:
            self._socket = None

    def nest(self, inner: Watch | None) -> None:
        """End ``inner`` together with this one."""
        with self._lock:
            self._inner = inner
            if inner is not None and self.ended is not None:
                inner.end(self.ended)


def _shut_down(connected: socket.socket) -> None:
    """Shut ``connected`` down, so that its reader sees the end; the reader owns and closes it."""
    with contextlib.suppress(OSError):  # it ended by itself
        # Not connected.shutdown: that of a TLS socket takes the state away from under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _Watchdog:
    """One thread that ends every watch at its deadline; it starts with the first and ends when there are none."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self._condition = threading.Condition(threading.RLock())
        self._watches: set[Watch] = set()
        self._wakes_at = 0.0
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch, ends_at: float) -> None:
        with self._condition:
            self._watches.add(watch)
            if self._thread is None:
                self._wakes_at = ends_at
                self._thread = threading.Thread(target=self._run, name="http-watchdog", daemon=True)
                self._thread.start()
            elif ends_at < self._wakes_at:
                self._condition.notify()

    def discard(self, watch: Watch) -> None:
        with self._condition:
            self._watches.discard(watch)

    def _run(self) -> None:
        idle_since = time.monotonic()
        with self._condition:
            while True:
                now = time.monotonic()
                for late in [each for each in self._watches if (each.ends_at or now) <= now]:
                    self._watches.discard(late)
                    late.end("deadline")
                if self._watches:
                    idle_since = now
                elif now - idle_since >= _IDLE_S:
                    self._thread = None
                    return
                self._wakes_at = min([each.ends_at or now for each in self._watches], default=now + _IDLE_S)
                self._condition.wait(max(self._wakes_at - now, 0.0))


_watchdog: Final = _Watchdog()
_current: Final[ContextVar[Watch | None]] = ContextVar("sacnb_watch", default=None)


@contextmanager
def watch(seconds: float | None) -> Iterator[Watch]:
    """Watch over what this thread sends within the block, and end it after ``seconds``; ``None`` is without an end."""
    watched = Watch(None if seconds is None else time.monotonic() + seconds)
    outer = _current.get()
    reset = _current.set(watched)
    try:
        if outer is not None:
            outer.nest(watched)
        if watched.ends_at is not None:
            _watchdog.add(watched, watched.ends_at)
        yield watched
    finally:
        _current.reset(reset)
        if watched.ends_at is not None:
            _watchdog.discard(watched)
        watched.let_go()
        if outer is not None:
            outer.nest(None)


def current_watch() -> Watch | None:
    """Return the watch around this call, for those who wait for something else than bytes."""
    return _current.get()


# -- connections ------------------------------------------------------------------------------------------------------


class _Response(http.client.HTTPResponse):
    """A response whose interim answers are read over, and after which no byte can be taken for the next one's."""

    def begin(self) -> None:
        """Read the status and the headers of the final answer; http.client itself takes a 102 or 103 for one."""
        self._begin()
        for _ in range(_MAX_INTERIM_ANSWERS):
            if not 100 <= self.status < 200 or self.status == 101:
                break
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first answer
            self._begin()
        else:
            raise http.client.HTTPException(f"more than {_MAX_INTERIM_ANSWERS} interim answers")
        self.will_close = self.will_close or self._is_ambiguous()

    def _begin(self) -> None:
        lines, head = self.fp, HeaderLines(self.fp)
        self.fp = head  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            self.fp = lines
        self.will_close = self.will_close or head.dropped > 0

    def _is_ambiguous(self) -> bool:
        """Return whether somebody else may see another end of the body: then the connection ends with it."""
        coding = self.headers.get("Transfer-Encoding")
        lengths = self.headers.get_all("Content-Length", [])
        if self.status in {101, 204, 304} or self._method == "HEAD":  # type: ignore[attr-defined]
            # Bodies are sent nevertheless. No request of ours is a HEAD, and none asks for a 304.
            return self.status != 204 or coding is not None or any(length.strip() != "0" for length in lengths)
        if coding is not None:
            return coding.lower() != "chunked" or bool(lengths) or self.version < 11
        return any(not (length.isascii() and length.isdigit()) for length in lengths)


class _Watched:
    """Connection that registers its socket with the current watch."""

    response_class = _Response
    # http.client's switch for debugging prints what is sent, the Authorization header included. It is a class variable
    # of http.client's, which this one stands in front of.
    debuglevel = 0

    sock: Any

    def _new_conn(self) -> Any:
        connected = super()._new_conn()  # type: ignore[misc]
        _hold(connected)  # a proxy may take its time over the tunnel
        return connected

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _hold(self.sock)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # from the pool
            _hold(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _hold(connected: Any) -> None:
    watched = _current.get()
    if watched is not None:
        watched.hold(connected)


class _WatchedPool:
    """Pool that lets go of a connection when it comes back."""

    def _put_conn(self, conn: Any) -> None:
        watched = _current.get()
        if watched is not None:
            watched.let_go()
        super()._put_conn(conn)  # type: ignore[misc]


@cache
def _watched(pool_class: Any) -> Any:
    """``pool_class`` of urllib3 with watched connections; there is one for http, https, and each over SOCKS."""
    connection_class = type(f"Watched{pool_class.ConnectionCls.__name__}", (_Watched, pool_class.ConnectionCls), {})
    return type(f"Watched{pool_class.__name__}", (_WatchedPool, pool_class), {"ConnectionCls": connection_class})


# Pools that a forked child has inherited. To collect them would be to take their locks and close their connections.
_left_behind: Final[list[Any]] = []


class WatchedAdapter(HTTPAdapter):
    """The adapter of requests with watched connections, and pools of its own in each process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent: the first to read would get the other's answer."""
        _left_behind.append((self.poolmanager, self.proxy_manager))
        self.init_poolmanager(self._pool_connections, self._pool_maxsize, block=self._pool_block)  # type: ignore[attr-defined]
        self.proxy_manager = {}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools; called by requests."""
        super().init_poolmanager(*args, **kwargs)
        self._watch_over(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Return the pools through a proxy; called by requests. Raises SettingsError for SOCKS without PySocks."""
        is_new = proxy not in self.proxy_manager
        try:
            manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        except requests.exceptions.InvalidSchema:
            raise SettingsError(
                "The proxy variables of the environment (all_proxy, https_proxy) name a SOCKS proxy, which needs the "
                "package PySocks. Run: pip install pysocks"
            ) from None
        if is_new:
            self._watch_over(manager)
        return manager

    @staticmethod
    def _watch_over(manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            scheme: _watched(pool_class) for scheme, pool_class in manager.pool_classes_by_scheme.items()
        }


class _NoCookies(DefaultCookiePolicy):
    """Keeps no cookie that a server sends; those that a program puts into the jar are sent."""

    def set_ok(self, *_: Any) -> bool:
        return False


class NoRedirects:
    """Mixin for a session of requests that ignores redirects.

    Also with ``allow_redirects=False`` requests reads the body of a redirect to its end, however long, and trips over
    an address that is none.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return ``None``: called by requests, which then leaves the redirect alone."""


def prepare_session(session: requests.Session, *, pool_size: int = 10) -> None:
    """Give ``session`` watched connections and our name; it keeps no cookies, and reads no .netrc, no environment."""
    session.trust_env = False
    session.headers["User-Agent"] = f"sacnb {default_user_agent()}"
    session.cookies.set_policy(_NoCookies())
    for scheme in ("https://", "http://"):
        session.mount(scheme, WatchedAdapter(pool_connections=4, pool_maxsize=pool_size))


class _Session(NoRedirects, requests.Session):
    pass


def open_session() -> requests.Session:
    """Return a session for a few requests, to be closed after them: see the top of this file."""
    session = _Session()
    prepare_session(session, pool_size=1)
    return session


class Interrupt:
    """A switch that stops the requests it was handed to as ``cancelled``; safe for threads, set once and for all."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the requests of the parent process."""
        # Reentrant: the garbage collector may end a dropped pull here.
        self._lock = threading.RLock()
        self._watches: set[Watch] = set()

    def __call__(self) -> bool:
        """Return whether it is set."""
        return self._is_set.is_set()

    def set(self) -> None:
        """Stop the requests under way, and those that would follow."""
        self._is_set.set()
        with self._lock:
            for watched in self._watches:
                watched.end("stopped")

    @contextmanager
    def over(self, watched: Watch) -> Iterator[None]:
        """End *watched* when this is set within the block."""
        with self._lock:
            self._watches.add(watched)
        try:
            if self():
                watched.end("stopped")
            yield
        finally:
            with self._lock:
                self._watches.discard(watched)
