"""Await what would block: run a call in a thread of its own, and stop it when its task is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sacnb._connections import Interrupt, watch

__all__ = ["in_thread"]

_T = TypeVar("_T")

# Longer than a call needs to end after it was stopped, unless it is connecting; it ends by itself then.
_END_S = 2.0


async def in_thread(call: Callable[[Interrupt], _T], *, ends_requests: bool = True) -> _T:
    """Return what *call* returns, or raise what it raises; the event loop goes on meanwhile.

    *call* gets a switch that is set when the awaiting task is cancelled, for its argument ``cancelled``. Setting it
    also stops every request that the thread is sending, the one for a token included, unless *ends_requests* is false.
    The task ends when the thread has ended, within a second as a rule, and after two seconds at most.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()
    ended = asyncio.Event()
    interrupt = Interrupt()

    def settle(settled: Callable[[Any], None], outcome: Any) -> None:
        if not done.done():  # it is where the task was cancelled
            settled(outcome)
        thread.join(_END_S)  # what it does after its last line here takes no time, but it is still counted until then
        ended.set()

    def work() -> None:
        settled: Callable[[Any], None]
        outcome: Any
        try:
            with watch(None) as watched, interrupt.over(watched) if ends_requests else contextlib.nullcontext():
                settled, outcome = done.set_result, call(interrupt)
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            settled, outcome = done.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, settled, outcome)

    # With the caller's context, so that output and log records belong to the caller. A daemon, because a call that
    # hangs in connect() must not keep the interpreter from ending.
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(work,), name="sacnb-await", daemon=True)
    thread.start()
    try:
        return await done
    except asyncio.CancelledError:
        interrupt.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _END_S)
        raise
