"""A forked child keeps the token, and no lock, waiter or refresh of its parent."""

from __future__ import annotations

import os
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from sacnb._auth import TokenGuard

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_child(work: Callable[[], Any]) -> Any:
    """Run *work* in a forked child and return its result."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer warn that threads are running
        pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(result)


def value(guard: TokenGuard) -> str:
    return guard.ensure().token.value.reveal()


def test_a_child_goes_on_with_the_token_of_its_parent(clock: Any, make_source: Any) -> None:
    source = make_source()
    guard = TokenGuard(source, now=clock)
    guard.ensure()
    assert in_child(lambda: (value(guard), source.calls)) == ("token-1", 1)


def test_a_child_does_not_wait_for_a_refresh_of_its_parent(clock: Any, make_source: Any) -> None:
    asked, may_end = threading.Event(), threading.Event()

    def slow(_: int) -> float:
        asked.set()
        assert may_end.wait(30)
        return 3600.0

    guard = TokenGuard(make_source(slow), now=clock)
    threads = [threading.Thread(target=guard.ensure) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert asked.wait(10)
    try:
        assert in_child(lambda: (guard.waiting, value(guard))) == (0, "token-2")
    finally:
        may_end.set()
        for thread in threads:
            thread.join(10)
    assert value(guard) == "token-1"


def test_a_lock_that_a_thread_of_the_parent_holds_is_free_in_the_child(clock: Any, make_source: Any) -> None:
    guard = TokenGuard(make_source(), now=clock)
    held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with guard._changed:
            held.set()
            assert may_end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        assert in_child(lambda: value(guard)) == "token-1"
    finally:
        may_end.set()
        thread.join(10)


def test_a_grandchild_is_forked_as_well(clock: Any, make_source: Any) -> None:
    guard = TokenGuard(make_source(), now=clock)
    assert in_child(lambda: in_child(lambda: value(guard))) == "token-1"
