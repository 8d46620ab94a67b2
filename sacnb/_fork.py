"""Know the process: threads, locks and connections do not survive a fork."""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path
from typing import Final, Protocol

from sacnb.errors import SacError

__all__ = ["PerProcess", "is_forked_since", "is_polars_lost", "refuse_polars_after_fork", "renew_after_fork"]

_TASKS: Final = Path("/proc/self/task")
# Threads of polars' pool are called polars-0, polars-1, ...; others it starts when it is imported do no harm.
_POOL_THREAD: Final = "polars-"


class _Polars:
    """State of polars' thread pool in this process: lost where the parent had started it before the fork."""

    was_started = False
    is_lost = False


class PerProcess(Protocol):
    """Holds sockets, locks or threads, none of which a forked child may share with its parent."""

    def after_fork(self) -> None:
        """Start afresh; called in the child. Drop what the parent held without closing or locking it."""


_per_process: Final[weakref.WeakSet[PerProcess]] = weakref.WeakSet()


def renew_after_fork(owner: PerProcess) -> None:
    """Call ``owner.after_fork()`` in every child that is forked while *owner* lives."""
    _per_process.add(owner)


def is_forked_since(pid: int) -> bool:
    """Return whether this process is a fork of the process *pid*, in which something was made."""
    return os.getpid() != pid


def is_polars_lost() -> bool:
    """Return whether this process is a fork in which polars would wait forever."""
    return _Polars.is_lost


def refuse_polars_after_fork() -> None:
    """Raise where polars would wait forever for threads that the fork left behind.

    Raises:
        SacError: polars was at work in the parent process before this process was forked from it.
    """
    if _Polars.is_lost:
        raise SacError(
            "This process was forked from one in which polars had started its threads. They do not survive a fork, and "
            "polars would wait for them forever.",
            hint='Start workers with multiprocessing.get_context("spawn") (or "forkserver") and connect in the worker.',
        )


def _before_fork() -> None:
    _Polars.was_started = "polars" in sys.modules and _has_pool()


def _after_fork_in_child() -> None:
    for owner in list(_per_process):
        owner.after_fork()
    _Polars.is_lost = _Polars.is_lost or _Polars.was_started


def _has_pool() -> bool:
    """Return whether polars has started its threads; where the system does not list threads, assume so."""
    if not _TASKS.is_dir():
        return True
    for task in _TASKS.iterdir():
        try:
            name = (task / "comm").read_text()
        except OSError:  # the thread ended meanwhile
            continue
        if name.startswith(_POOL_THREAD) and name.strip().removeprefix(_POOL_THREAD).isdigit():
            return True
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
