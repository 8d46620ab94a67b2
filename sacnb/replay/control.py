"""Switch a cassette on and off: for a block of code, or for the rest of the process."""

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
from sacnb.replay.session import ReplaySession, ReplaySummary, active

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
    """Within the block, answer every call that goes through requests from a cassette, or record it into one.

    Whole process, all threads. While a cassette is replayed nothing connects anywhere: a request that was not recorded
    raises ReplayError, which says what comes close. ``connect()`` then needs no settings. While one is recorded,
    requests go out one at a time; it is saved at the end of the block, scrubbed, unless the block raised.

    Args:
        name: The cassette's name, looked for in the working directory and in ``cassettes`` there and above; or a
            path. By default the variable ``SAC_REPLAY_CASSETTE``.
        mode: ``"replay"``, ``"record"`` or ``"off"``, which does nothing and gives ``None``. By default the variable
            ``SAC_REPLAY``, and where that is not set ``"replay"``.
        allow_hosts: Hosts that may be connected to during a replay by something else than requests.
        hide: While recording, words to replace in the answers beside the tenant's hosts; by default the tenant's name,
            which is the first part of its host.
        secrets: While recording, more values that must not be kept. Those of the settings, and those that pass on
            their way, are known.
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
    """As ``cassette()``, from now until ``stop()`` or the end of the process, in place of an earlier ``start()``.

    For notebooks, whose cells are no block: this is what ``%sac_replay NAME`` calls. ``None`` where the mode is off.
    """
    stop()
    session = _session(name, mode, **options)
    if session is not None:
        _STARTED.put(session.__enter__())
    return session


def stop() -> ReplaySummary | None:
    """End what ``start()`` began, and save a recording; ``None`` where nothing was begun. Raises ReplayError."""
    session = _STARTED.take()
    return None if session is None else session.close()


def start_for(settings: Settings) -> ReplaySession:
    """The cassette in use, or else the one that ``settings`` name, from now on: for ``connect()``.

    Raises ReplayError where the one in use does something else than the settings say.
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
            hint="End it first: sacnb.replay.stop(), or the block of sacnb.replay.cassette().",
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
            hint="Name it: SAC_REPLAY_CASSETTE=first_read, or sacnb.replay.cassette('first_read').",
        )
    if choice.mode == "record":
        return ReplaySession(document.place_for(named), "record", **options)
    return ReplaySession(document.find(named), "replay", **options)


@dataclass
class _Started:
    """What ``start()`` began, if anything."""

    session: ReplaySession | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    starting: threading.Lock = field(default_factory=threading.Lock)
    is_registered: bool = False

    def put(self, session: ReplaySession) -> None:
        with self.lock:
            self.session = session
            if not self.is_registered:
                # A kernel that is shut down still saves what it recorded.
                atexit.register(stop)
                self.is_registered = True

    def take(self) -> ReplaySession | None:
        with self.lock:
            session, self.session = self.session, None
            return session


_STARTED = _Started()
