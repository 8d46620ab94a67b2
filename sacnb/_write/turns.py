"""One import job of a model at a time: the writes of this program into a model wait for each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sacnb.errors import BusyError, Cancelled

if TYPE_CHECKING:
    from sacnb._write.target import Destination

__all__ = ["Turn", "turn"]

_POLLS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True, eq=False)
class Turn:
    """A write that has the model to itself; ``job_id`` is known once its job is created."""

    thread: int
    job_id: str | None = None


# The process is part of the key, since the writes of a parent do not run in its fork.
_taken: Final[dict[tuple[int, str, str, str], Turn]] = {}


@contextmanager
def turn(
    destination: Destination,
    *,
    timeout_s: float,
    cancelled: Callable[[], bool] | None,
    on_wait: Callable[[], None],
) -> Iterator[Turn]:
    """Wait until no other write of this program has a job of the model, and keep others waiting meanwhile.

    Raises:
        BusyError: The other write has not ended in time, or began in this very thread and would wait for itself.
        Cancelled: ``cancelled`` returned true.
    """
    key = (os.getpid(), destination.tenant_url, destination.service, destination.id)
    mine, session = Turn(threading.get_ident()), destination.session
    end, pauses = session.clock() + timeout_s, iter(_POLLS_S)
    while (other := _taken.setdefault(key, mine)) is not mine:
        if other.thread == mine.thread or session.clock() >= end:
            raise _busy(destination.id, other, None if other.thread == mine.thread else timeout_s)
        if cancelled is not None and cancelled():
            raise Cancelled("The write was cancelled before it began; another one was under way.")
        on_wait()
        session.sleep(next(pauses, _POLLS_S[-1]))
    try:
        yield mine
    finally:
        del _taken[key]


def _busy(model_id: str, other: Turn, waited_s: float | None) -> BusyError:
    job = f"import job {other.job_id}" if other.job_id else "its job is not created yet"
    when = "was begun by this thread" if waited_s is None else f"has not ended after {waited_s:g} s"
    return BusyError(
        f"Another write into {model_id!r} {when} ({job}). Nothing was written.",
        job_id=other.job_id,
        hint="sacnb sends one import job a model at a time: let the other write end first.",
    )
