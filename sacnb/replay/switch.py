"""Which cassette is in use, and the one place where requests are led to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sacnb.replay.guard import Ban, SocketGuard

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

    from sacnb.replay.session import ReplaySession


class _Switch:
    """The cassettes in use, the innermost last, for all threads of the process.

    While there is one, ``HTTPAdapter.send`` of requests asks it, and the socket guard stands before everything else.
    The real ``send`` is called from within, so nothing is ever put back while somebody sends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack: tuple[ReplaySession, ...] = ()
        self._guard = SocketGuard(self._ban)
        self._real_send: Callable[..., requests.Response] | None = None

    def top(self) -> ReplaySession | None:
        stack = self._stack
        return stack[-1] if stack else None

    def push(self, session: ReplaySession) -> None:
        from requests.adapters import HTTPAdapter

        with self._lock:
            if not self._stack:
                self._real_send = HTTPAdapter.send
                HTTPAdapter.send = _sending(self, HTTPAdapter.send)  # type: ignore[method-assign]
                self._guard.install()
            self._stack = (*self._stack, session)

    def remove(self, session: ReplaySession) -> None:
        from requests.adapters import HTTPAdapter

        with self._lock:
            self._stack = tuple(other for other in self._stack if other is not session)
            if not self._stack and self._real_send is not None:
                HTTPAdapter.send = self._real_send  # type: ignore[method-assign]
                self._real_send = None
                self._guard.remove()

    def _ban(self) -> Ban | None:
        session = self.top()
        return None if session is None else session.ban


def _sending(switch: _Switch, real_send: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
    def send(
        self: HTTPAdapter,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - the signature of requests
        *args: Any,
        **kwargs: Any,
    ) -> requests.Response:
        session = switch.top()
        if session is None:
            return real_send(self, request, stream, *args, **kwargs)
        streamed = True  # what is recorded is read to its end here
        return session.answer(self, request, lambda: real_send(self, request, streamed, *args, **kwargs))

    return send


_SWITCH: Final = _Switch()


def active() -> ReplaySession | None:
    """The cassette in use, the innermost one; ``None`` where requests go to the network."""
    return _SWITCH.top()


def push(session: ReplaySession) -> None:
    """Lead all requests of the process to ``session``."""
    _SWITCH.push(session)


def remove(session: ReplaySession) -> None:
    """Lead no more requests to ``session``: to the one that was in use before, or to the network again."""
    _SWITCH.remove(session)
