from __future__ import annotations

import threading
from collections.abc import Hashable

import pytest

from sacnb.sandbox.relation import Memory


def _sized(max_bytes: int) -> Memory[bytes]:
    return Memory(max_bytes, len)


def test_a_kept_result_is_computed_again_only_after_eviction() -> None:
    memory, computed = _sized(10), []

    def get(key: str) -> bytes:
        def compute() -> bytes:
            computed.append(key)
            return key.encode() * 4

        return memory.get(key, compute)

    assert [get(key) for key in "abab"] == [b"aaaa", b"bbbb", b"aaaa", b"bbbb"]
    assert computed == ["a", "b"]
    get("a")
    get("c")  # no room for three: b was used longest ago
    assert [get("a"), get("c")] == [b"aaaa", b"cccc"]
    assert computed == ["a", "b", "c"]
    get("b")
    assert computed == ["a", "b", "c", "b"]


def test_a_result_larger_than_the_memory_is_returned_and_not_kept() -> None:
    memory = _sized(3)
    assert memory.get("k", lambda: b"12345") == b"12345"
    assert memory.get("k", lambda: b"new") == b"new"
    assert memory.get("k", lambda: b"xyz") == b"new"


def test_an_error_is_raised_and_nothing_is_kept() -> None:
    memory = _sized(10)
    with pytest.raises(ZeroDivisionError):
        memory.get("k", lambda: b"%d" % (1 // 0))
    assert memory.get("k", lambda: b"good") == b"good"


def test_threads_that_want_the_same_result_compute_it_once() -> None:
    memory, started, release = _sized(100), threading.Event(), threading.Event()
    calls: list[Hashable] = []
    results: list[bytes] = []

    def compute() -> bytes:
        calls.append(1)
        started.set()
        release.wait(timeout=20)
        return b"once"

    threads = [threading.Thread(target=lambda: results.append(memory.get("k", compute))) for _ in range(16)]
    for thread in threads:
        thread.start()
    started.wait(timeout=20)
    assert memory.get("other", lambda: b"free") == b"free"  # other keys do not wait
    release.set()
    for thread in threads:
        thread.join()
    assert results == [b"once"] * 16
    assert len(calls) == 1
