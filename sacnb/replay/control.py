"""Start and stop cassettes: for a block of code, or for the rest of the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sacnb._auth.token import utc_now
from sacnb._settings import ReplayChoice
from sacnb.errors import ReplayError
from sacnb.replay import document
from sacnb.replay.session import STOP_FIRST, ReplaySession, ReplaySummary, active

if TYPE_CHECKING:
    from sacnb._settings import Settings

Name = str | os.PathLike[str]


@contextlib.contextmanager
def cassette(
    name: Name | None = None,
    mode: str | None = None,
    *,
    allow_hosts: Iterable[str] = (),
    hide: Iterable[str] | None = None,
    secrets: Iterable[str] = (),
    now: Callable[[], datetime] = utc_now,
) -> Iterator[ReplaySession | None]:
    """Within the block, answer every request of this process from a cassette, or record the answers in one.

    During a replay nothing connects anywhere, in any thread: a request that was not recorded raises ReplayError, which
    names the nearest recorded ones. ``connect()`` then needs no settings. A recording sends one request at a time, and
    is saved without secrets at the end of the block, unless the block raised.

    Args:
        name: The cassette's name, looked for in the working folder and in ``cassettes`` there and above; or a path. By
            default the variable ``SAC_REPLAY_CASSETTE``.
        mode: ``"replay"``, ``"record"`` or ``"off"``, which does nothing and yields ``None``. By default the variable
            ``SAC_REPLAY``, or ``"replay"`` if that is not set.
        allow_hosts: Hosts that the cassette has nothing to do with, such as ``example.org`` or ``localhost:8080``:
            requests to them are neither recorded nor replayed, and a replay lets connections to them pass.
        hide: While recording, words to replace in the answers besides the tenant's hosts; by default the tenant's name,
            which is the first part of its host.
        secrets: While recording, more values that must not be saved. The secrets of the settings, and those in requests
            and answers, are known.
        now: While recording, the clock.

    Raises:
        ReplayError: There is no such cassette, or it cannot be read or saved.
        SettingsError: The mode or a variable is malformed.
        MissingExtraError: vcrpy is not installed (the extra ``replay``).
    """
    session = _session(name, mode, allow_hosts=allow_hosts, hide=hide, secrets=secrets, now=now)
    if session is None:
        yield None
        return
    with session:
        yield session


def start(name: Name | None = None, mode: str | None = None, **options: Any) -> ReplaySession | None:
    """Start a cassette as ``cassette()`` does, until ``stop()`` or the end of the process; an earlier one is stopped.

    For notebooks, whose cells are no block: ``%sac_replay NAME`` calls it. Returns ``None`` if the mode is off.
    """
    stop()
    session = _session(name, mode, **options)
    if session is not None:
        _STARTED.put(session.__enter__())
    return session


def stop() -> ReplaySummary | None:
    """Stop the cassette of ``start()`` and save a recording; ``None`` if there is none. Raises ReplayError."""
    session = _STARTED.take()
    return None if session is None else session.close()


def start_for(settings: Settings) -> ReplaySession:
    """Return the cassette in use for ``connect()``; start the one that *settings* name if there is none.

    Raises ReplayError if the one in use has another mode than the settings say.
    """
    with _STARTED.starting:
        session = active()
        if session is None:
            session = start(settings.replay_cassette, settings.replay)
            assert session is not None  # noqa: S101 - the caller has looked at the mode
            return session
    if session.mode != settings.replay:
        raise ReplayError(
            f"SAC_REPLAY is {settings.replay}, but the cassette {session.name!r} is in use for {session.mode}.",
            hint=STOP_FIRST,
        )
    return session


def _session(name: Name | None, mode: str | None, **options: Any) -> ReplaySession | None:
    choice = ReplayChoice.resolve(replay=mode, replay_cassette=name)
    if choice.mode == "off":
        return None
    named = name if name is not None else choice.cassette
    if named is None:
        raise ReplayError(
            "No cassette is named.",
            hint="Name it: SAC_REPLAY_CASSETTE=first_read, or sacnb.replay.start('first_read').",
        )
    if choice.mode == "record":
        return ReplaySession(document.place_for(named), "record", **options)
    return ReplaySession(document.find(named), "replay", **options)


@dataclass
class _Started:
    """The session of ``start()``, if any."""

    session: ReplaySession | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    starting: threading.Lock = field(default_factory=threading.Lock)
    is_registered: bool = False

    def put(self, session: ReplaySession) -> None:
        with self.lock:
            self.session = session
            if not self.is_registered:
                # A kernel that is shut down still saves its recording.
                atexit.register(stop)
                self.is_registered = True

    def take(self) -> ReplaySession | None:
        with self.lock:
            session, self.session = self.session, None
            return session


_STARTED = _Started()
