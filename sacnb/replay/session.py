"""A cassette in use, and the one place where requests are led to it."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from sacnb._arguments import names
from sacnb._auth.token import utc_now
from sacnb._rendering import same_everywhere
from sacnb.errors import ReplayError
from sacnb.replay import document
from sacnb.replay.document import About, Interaction, Source
from sacnb.replay.guard import Ban, Beside, SocketGuard
from sacnb.replay.library import Request, Response, not_found, open_cassette
from sacnb.replay.playing import Player, Recorder
from sacnb.replay.scrub import Known, Scrubber

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

    from sacnb._settings import Settings

_log = logging.getLogger("sacnb.replay")

Mode = Literal["replay", "record"]
STOP_FIRST: Final = "Stop it first: sacnb.replay.stop(), or leave the block of sacnb.replay.cassette()."


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """The outcome of a recording or a replay.

    ``requests`` counts the requests, ``interactions`` the answers in the cassette. ``used`` are the positions of the
    answers that a replay used; ``changed`` tells whether a recording changed the file.
    """

    __module__ = "sacnb.replay"

    path: Path
    mode: Mode
    requests: int
    interactions: int
    used: tuple[int, ...] = ()
    changed: bool = False

    def __str__(self) -> str:
        if self.mode == "record":
            what = "recorded" if self.changed else "recorded, with the same answers as before"
            return f"{self.path}: {self.requests} requests {what}, {self.interactions} answers kept."
        # Only the file's name: a replay shows the same on every machine.
        used = f"{len(self.used)} of {self.interactions} answers used"
        return f"{self.path.name}: {self.requests} requests replayed, {used}."


class ReplaySession:
    """A cassette in use, for the whole process; made by ``cassette()`` and ``start()``.

    ``now`` is the clock of a recording. A replay runs at the time of its recording, ``recorded_at``.
    """

    __module__ = "sacnb.replay"

    def __init__(
        self,
        path: Path,
        mode: Mode,
        *,
        allow_hosts: Iterable[str] = (),
        hide: Iterable[str] | None = None,
        secrets: Iterable[str] = (),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.path = path
        self.name = document.name_of(path)
        self.mode = mode
        self.beside = Beside.of(names("allow_hosts", allow_hosts) or ())
        self.ban = Ban(self.name, self.beside) if mode == "replay" else None
        self.known = Known(names("hide", hide), names("secrets", secrets) or ())
        self._file = _File(path) if mode == "replay" else _File(None)
        self._about = self._file.about or About("sac", now().replace(microsecond=0))
        self._cache_dir: Path | None = None
        self._stack = contextlib.ExitStack()
        self._handler: Player | Recorder | None = None
        self._summary: ReplaySummary | None = None

    def __repr__(self) -> str:
        return f"<cassette {self.name!r}, {self.mode}>"

    @property
    def source(self) -> Source:
        """The kind of tenant that the answers come from."""
        if self.mode == "record":
            return "sandbox" if self.known.is_sandbox else "sac"
        return self._about.source

    @property
    def recorded_at(self) -> datetime:
        """The time of the recording, at which a replay runs."""
        return self._about.recorded_at

    @property
    def cache_dir(self) -> Path:
        """An empty folder for cached results: what this machine has cached must not change the requests."""
        assert self._cache_dir is not None  # noqa: S101 - connect() comes after __enter__
        return self._cache_dir

    def engine(self) -> Mapping[str, Callable[..., Any]]:
        """Return clocks, sleep and randomness for ``build_context``: the real ones for a recording.

        A replay runs at one moment and no wait takes any time. Waits only advance its clock, so that deadlines pass as
        in the recording.
        """
        if self.mode == "record":
            return {}
        time = _PretendTime()
        return {"now": lambda: self.recorded_at, "clock": time.clock, "sleep": time.sleep, "random": lambda: 0.0}

    def must_be(self, name: str | os.PathLike[str]) -> None:
        """Raise ReplayError if *name* is another cassette than this one."""
        path = document.find(name) if self.mode == "replay" else document.place_for(name)
        if path.resolve() != self.path.resolve():
            raise ReplayError(
                f"The cassette {os.fspath(name)!r} is named, but {self.name!r} is in use.",
                hint=STOP_FIRST,
            )

    def learn_settings(self, settings: Settings) -> None:
        """While recording, note the secrets and the hosts of a tenant before it is asked."""
        if self.mode == "record":
            self.known.learn_settings(settings)

    def answer(
        self, adapter: HTTPAdapter, prepared: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        """Return the answer to a request, from the tenant or from the cassette."""
        if isinstance(self._handler, Player):
            return self._handler.answer(adapter, prepared)
        assert self._handler is not None  # noqa: S101 - requests come after __enter__
        return self._handler.answer(adapter, prepared, send)

    def __enter__(self) -> Self:
        scrubber = Scrubber(self.known)
        recording = self.mode == "record"
        context = open_cassette(self.path, self._file, before_save=scrubber if recording else None)
        self._cache_dir = self._stack.enter_context(_temporary_folder())
        if not recording:
            self._stack.enter_context(same_everywhere(self._cache_dir))
        self._stack.callback(self._finish, scrubber)
        self._stack.enter_context(_silence())
        held = self._stack.enter_context(context)
        self._handler = (
            Recorder(held, self.known) if recording else Player(held, name=self.name, recorded_at=self.recorded_at)
        )
        self._stack.callback(_SWITCH.remove, self)
        _SWITCH.push(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.mode == "record":
            _log.warning("The recording of %r ended with an error and is not kept.", self.name)
        self._stack.__exit__(kind, error, trace)

    def close(self) -> ReplaySummary:
        """Stop, and save a recording. Raises ReplayError if it cannot be saved, or holds a secret."""
        self._stack.close()
        return self.summary()

    def summary(self) -> ReplaySummary:
        """Return the outcome so far."""
        if self._summary is not None:
            return self._summary
        handler = self._handler
        return ReplaySummary(
            self.path,
            self.mode,
            requests=0 if handler is None else handler.requests,
            interactions=len(self._file.loaded),
            used=handler.used if isinstance(handler, Player) else (),
        )

    def _finish(self, scrubber: Scrubber) -> None:
        """Write the file, after vcrpy has finished."""
        self._summary = self.summary()
        try:
            self._save(scrubber, self._summary)
        finally:
            _FINISHED.append(self._summary)

    def _save(self, scrubber: Scrubber, summary: ReplaySummary) -> None:
        if self._file.saved is None:
            return
        text = document.to_text(About(self.source, self._about.recorded_at), self._file.saved)
        scrubber.check(text)
        changed = document.write(self.path, text)
        kept = len(document.from_text(text, self.path)[1])
        self._summary = replace(summary, interactions=kept, changed=changed)


def finished() -> tuple[ReplaySummary, ...]:
    """Return the outcome of each cassette that was used in this process, in the order in which they were stopped."""
    return tuple(_FINISHED)


_FINISHED: Final[list[ReplaySummary]] = []


class _PretendTime:
    """A clock that only ``sleep`` advances."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        self._lock = threading.Lock()

    def clock(self) -> float:
        with self._lock:
            return self._passed_s

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._passed_s += seconds


class _File:
    """The persister of vcrpy: hands over what was read, and takes what is to be written."""

    def __init__(self, path: Path | None) -> None:
        self.about: About | None = None
        self.loaded: list[Interaction] = []
        self.saved: list[Interaction] | None = None
        if path is not None:
            self.about, self.loaded = document.read(path)

    def load_cassette(self, _path: object, serializer: object) -> tuple[list[Request], list[Response]]:  # noqa: ARG002
        if not self.loaded:
            raise not_found()
        return [request for request, _ in self.loaded], [response for _, response in self.loaded]

    def save_cassette(self, _path: object, interactions: dict[str, Any], serializer: object) -> None:  # noqa: ARG002
        self.saved = list(zip(interactions["requests"], interactions["responses"], strict=True))


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="sacnb-replay-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ReplayError(
            f"A cassette needs a temporary folder, and none can be made: {error.strerror or error}.",
            hint="Free some space, or set the environment variable TMPDIR to a folder that you can write to.",
        ) from None
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep vcrpy from logging each answer in full, tokens included."""
    logger = logging.getLogger("vcr.cassette")
    logger.addFilter(_refuse)
    try:
        yield
    finally:
        logger.removeFilter(_refuse)


def _refuse(_: logging.LogRecord) -> bool:
    return False


class _Switch:
    """The cassettes in use, the innermost last, for all threads of the process.

    While there is one, ``HTTPAdapter.send`` of requests is replaced, and the socket guard is installed. The
    replacement calls the real ``send``, so nothing is restored while a request is under way.
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
        if session is None or session.beside.holds_url(request.url or ""):
            return real_send(self, request, stream, *args, **kwargs)
        streamed = True  # the recorder reads the body to its end
        return session.answer(self, request, lambda: real_send(self, request, streamed, *args, **kwargs))

    return send


_SWITCH: Final = _Switch()


def active() -> ReplaySession | None:
    """Return the innermost cassette in use; ``None`` if requests go to the network."""
    return _SWITCH.top()
