"""Many threads and one token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sacnb._auth import EnsureResult, RefreshEvent, TokenGuard
from sacnb.errors import RefreshError

InThreads = Callable[[int, Callable[[int], Any]], list[Any]]


def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "what was waited for did not happen"
        time.sleep(0.001)


@pytest.mark.parametrize("state", ["absent", "expired", "rejected"])
@pytest.mark.parametrize("count", [20, 64])
def test_however_many_wait_one_fetches_and_all_get_its_token(
    count: int, state: str, clock: Any, make_source: Any, in_threads: InThreads
) -> None:
    everybody_waits = lambda _: until(lambda: guard.waiting == count - 1) or 3600.0  # noqa: E731
    source = make_source(*([] if state == "absent" else [3600.0]), everybody_waits)
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, listener=events.append, now=clock)
    if state != "absent":
        token = guard.ensure().token
        if state == "expired":
            clock.seconds = 3600
        else:
            guard.reject(token)
    before = source.calls
    results: list[EnsureResult] = in_threads(count, lambda _: guard.ensure())
    assert source.calls - before == 1
    assert len({id(result.token) for result in results}) == 1
    assert all(result.refresh_applied and result.attempts == 1 for result in results)
    assert (events[-1].reason, events[-1].coalesced) == (state, count - 1)
    assert guard.waiting == 0


@pytest.mark.parametrize("count", [20, 64])
def test_one_revocation_under_many_threads_is_one_refresh(
    count: int, clock: Any, make_source: Any, in_threads: InThreads
) -> None:
    """All were refused with the same token, and each says so before it asks for another."""
    source = make_source()
    guard = TokenGuard(source, now=clock)
    refused = guard.ensure().token

    def go(_: int) -> str:
        guard.reject(refused)
        return guard.ensure().token.value.reveal()

    assert set(in_threads(count, go)) == {"token-2"}
    assert source.calls == 2


def test_only_one_refreshes_an_aging_token_while_the_others_go_on_with_it(
    clock: Any, make_source: Any, in_threads: InThreads
) -> None:
    """The refresh does not end before the others have been served: they cannot have waited for it."""
    served = threading.Semaphore(0)

    def slow(_: int) -> float:
        for _ in range(19):
            assert served.acquire(timeout=30)
        return 3600.0

    source = make_source(3600.0, slow)
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, listener=events.append, now=clock)
    guard.ensure()
    clock.seconds = 3500

    def go(_: int) -> EnsureResult:
        result = guard.ensure()
        served.release()
        return result

    results: list[EnsureResult] = in_threads(20, go)
    values = sorted(result.token.value.reveal() for result in results)
    assert values == ["token-1"] * 19 + ["token-2"]
    assert sum(result.refresh_applied for result in results) == 1
    assert source.calls == 2
    assert events[-1].coalesced == 0


def test_a_failure_is_raised_to_all_who_waited_each_with_an_error_of_its_own(
    clock: Any, make_source: Any, in_threads: InThreads, failing: Callable[..., RefreshError]
) -> None:
    def fail(_: int) -> RefreshError:
        until(lambda: guard.waiting == 19)
        return failing()

    source = make_source(fail)
    guard = TokenGuard(source, now=clock)
    results = in_threads(20, lambda _: guard.ensure())
    assert all(isinstance(result, RefreshError) and "No luck" in str(result) for result in results)
    assert len({id(result) for result in results}) == 20
    assert source.calls == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError, ZeroDivisionError])
def test_an_interrupted_fetch_leaves_the_next_caller_free(
    interruption: type[BaseException], clock: Any, make_source: Any, in_threads: InThreads
) -> None:
    """Ctrl-C in the thread that fetches is not the failure of those who wait: one of them takes over."""

    def interrupted(_: int) -> BaseException:
        until(lambda: guard.waiting == 19)
        return interruption()

    source = make_source(interrupted)
    guard = TokenGuard(source, now=clock)
    results = in_threads(20, lambda _: guard.ensure())
    assert sum(isinstance(result, interruption) for result in results) == 1
    assert {r.token.value.reveal() for r in results if isinstance(r, EnsureResult)} == {"token-2"}
    assert source.calls == 2
    assert guard.waiting == 0


def test_an_interrupted_early_refresh_leaves_the_next_caller_free(clock: Any, make_source: Any) -> None:
    source = make_source(3600.0, KeyboardInterrupt())
    guard = TokenGuard(source, now=clock)
    guard.ensure()
    clock.seconds = 3500
    with pytest.raises(KeyboardInterrupt):
        guard.ensure()
    assert guard.ensure().token.value.reveal() == "token-3"


def test_forcing_at_the_same_time_is_one_refresh(clock: Any, make_source: Any, in_threads: InThreads) -> None:
    source = make_source(3600.0, lambda _: until(lambda: guard.waiting == 19) or 3600.0)
    guard = TokenGuard(source, now=clock)
    guard.ensure()
    results: list[EnsureResult] = in_threads(20, lambda _: guard.force())
    assert {result.token.value.reveal() for result in results} == {"token-2"}
    assert source.calls == 2


def test_a_valid_token_is_given_out_while_somebody_forces(clock: Any, make_source: Any, in_threads: InThreads) -> None:
    asked = threading.Event()
    done = threading.Event()

    def slow(_: int) -> float:
        asked.set()
        assert done.wait(30)
        return 3600.0

    source = make_source(3600.0, slow)
    guard = TokenGuard(source, now=clock)
    guard.ensure()

    def go(index: int) -> str:
        if index == 0:
            return guard.force().token.value.reveal()
        assert asked.wait(30)
        value = guard.ensure().token.value.reveal()
        done.set()
        return value

    assert in_threads(2, go) == ["token-2", "token-1"]


def test_callers_that_wait_for_a_failed_early_refresh_refresh_with_retries(
    clock: Any, make_source: Any, in_threads: InThreads, failing: Callable[..., RefreshError]
) -> None:
    """The token died while one caller refreshed it early, without success: that is not the failure of the others."""
    runs: list[str] = []
    asked = threading.Event()

    def dies(_: int) -> RefreshError:
        clock.seconds = 3700
        asked.set()
        until(lambda: guard.waiting == 5)
        return failing()

    def run(fetch: Callable[[], Any], on_retry: Callable[[RefreshError, float], None]) -> Any:
        runs.append("patient")
        return fetch()

    source = make_source(3600.0, dies)
    guard = TokenGuard(source, run=run, now=clock)
    guard.ensure()
    clock.seconds = 3590

    def go(index: int) -> str:
        if index > 0:
            assert asked.wait(30)
        return guard.ensure().token.value.reveal()

    assert set(in_threads(6, go)) == {"token-3"}
    assert runs == ["patient", "patient"]  # the first token, and the one after the early refresh
