"""A request that waits for its answer can be stopped, and nobody else's connection is touched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sacnb._connections import Interrupt
from sacnb.errors import Cancelled, SacError


class Silence:
    """A reply that is held back until the test is over; ``begun`` is set when the request has arrived."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.over.wait(20)


@pytest.fixture
def silence() -> Any:
    silence = Silence()
    yield silence
    silence.over.set()


def fetch_in_thread(context: Any, path: str, interrupt: Interrupt) -> tuple[threading.Thread, list[SacError]]:
    errors: list[SacError] = []

    def fetch() -> None:
        try:
            context.session.fetch("GET", path, operation="wait", cancelled=interrupt)
        except SacError as error:
            errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    return thread, errors


@pytest.mark.parametrize("part", ["before the status line", "in the middle of the body"])
def test_a_thread_that_waits_for_bytes_is_woken(
    tenant: Any, reply: Any, connect: Callable[..., Any], silence: Silence, part: str
) -> None:
    context = connect(tenant, read_timeout_s=60)
    if part == "before the status line":
        tenant.answers["/slow"] = [reply(first=silence)]
    else:
        tenant.answers["/slow"] = [reply(body=b'{"value":[' + b" " * 10, drip_s=20.0, first=silence.begun.set)]
    interrupt = Interrupt()
    thread, errors = fetch_in_thread(context, "/slow", interrupt)
    assert silence.begun.wait(10)
    for _ in range(100):
        interrupt.set()  # as a pull does: the thread may be on its way to the point where it waits
        thread.join(0.05)
        if not thread.is_alive():
            break
    assert not thread.is_alive(), "it waits for its read timeout of a minute"
    assert [type(error) for error in errors] == [Cancelled]
    assert context.telemetry.summary().retries == {}, "a stop is no failure to be repeated"


def test_it_stays_set(tenant: Any, connect: Callable[..., Any]) -> None:
    context = connect(tenant, read_timeout_s=60)
    interrupt = Interrupt()
    interrupt.set()
    with pytest.raises(Cancelled):
        context.session.fetch("GET", "/any", operation="too late", cancelled=interrupt)
    assert tenant.at("/any") == []


def test_a_connection_that_was_given_back_is_left_alone(tenant: Any, connect: Callable[..., Any]) -> None:
    context = connect(tenant, read_timeout_s=60)
    interrupt = Interrupt()
    context.session.fetch("GET", "/first", operation="first", cancelled=interrupt)
    assert interrupt._watches == set()
    interrupt.set()
    assert context.session.fetch("GET", "/second", operation="second").status == 200
    assert context.telemetry.summary().retries == {}
