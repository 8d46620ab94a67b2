"""Three kinds of threads and one order: bounded, stopped in one place, and every error raised once."""

from __future__ import annotations

import contextvars
import gc
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sacnb._pull.pipeline import Arrived, Ended, Failed, Pipeline
from sacnb.errors import BadAnswer, Cancelled

PATIENCE_S = 10.0


def line(work: Callable[[Any], Any] = lambda page: page, **options: Any) -> Pipeline[Any, Any]:
    return Pipeline(work, **{"streams": 1, "workers": 2, "ahead": 5, **options})


def segment(*pages: Any) -> Callable[[], Iterator[Any]]:
    return lambda: iter(pages)


def threads_of_ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("sacnb-stream", "sacnb-decode"))]


class Gate:
    """Something that is held up until the test opens it; ``reached`` is set when somebody stands before it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def pass_through(self) -> None:
        self.reached.set()
        assert self._opened.wait(PATIENCE_S), "nobody opened the gate"

    def open(self) -> None:
        self._opened.set()


# -- order -----------------------------------------------------------------------------------------------------------


def test_pages_come_out_in_the_order_they_were_fetched_in_whichever_is_decoded_first() -> None:
    first_is_slow = Gate()

    def work(page: int) -> int:
        if page == 0:
            first_is_slow.pass_through()
        else:
            first_is_slow.open()  # the second page is done before the first
        return page * 10

    with line(work) as pipeline:
        pipeline.add(0, segment(0, 1, 2))
        assert list(pipeline) == [Arrived(0, 0), Arrived(0, 10), Arrived(0, 20), Ended(0)]


@pytest.mark.parametrize("seed", range(20))
def test_every_segment_keeps_its_order_and_ends_once_whatever_the_timing(seed: int) -> None:
    chance = random.Random(seed)
    turns = [threading.Event() for _ in range(60)]
    order = list(range(60))
    chance.shuffle(order)

    def release() -> None:
        for number in order:
            turns[number].set()

    def work(page: tuple[int, int]) -> tuple[int, int]:
        assert turns[page[0] * 10 + page[1]].wait(PATIENCE_S)
        return page

    releaser = threading.Thread(target=release)
    with line(work, streams=chance.randint(1, 4), workers=chance.randint(1, 4), ahead=chance.randint(1, 8)) as pipeline:
        for number in range(6):
            pipeline.add(number, segment(*((number, page) for page in range(10))))
        releaser.start()
        events = list(pipeline)
    releaser.join()
    for number in range(6):
        ours = [event for event in events if event.segment == number]
        assert ours == [*(Arrived(number, (number, page)) for page in range(10)), Ended(number)]


def test_a_segment_without_pages_just_ends() -> None:
    with line() as pipeline:
        pipeline.add(3, segment())
        assert list(pipeline) == [Ended(3)]


def test_without_segments_there_is_nothing_to_wait_for() -> None:
    with line() as pipeline:
        assert list(pipeline) == []


def test_a_segment_can_be_added_while_others_are_followed() -> None:
    with line(streams=2) as pipeline:
        pipeline.add(0, segment("a"))
        seen = []
        for event in pipeline:
            seen.append(event)
            if event == Ended(0):
                pipeline.add(1, segment("b"))
    assert seen == [Arrived(0, "a"), Ended(0), Arrived(1, "b"), Ended(1)]


# -- overlap and bounds ----------------------------------------------------------------------------------------------


def test_the_next_page_is_fetched_while_the_last_one_is_decoded_and_used() -> None:
    fetched_second, decoding_first = threading.Event(), Gate()

    def pages() -> Iterator[int]:
        yield 0
        assert decoding_first.reached.wait(PATIENCE_S)
        fetched_second.set()
        yield 1

    def work(page: int) -> int:
        if page == 0:
            decoding_first.pass_through()
        return page

    with line(work) as pipeline:
        pipeline.add(0, pages)
        assert fetched_second.wait(PATIENCE_S), "page 1 has to be fetched while page 0 is still decoded"
        decoding_first.open()
        assert len(list(pipeline)) == 3


@pytest.mark.parametrize(("streams", "ahead"), [(1, 1), (1, 4), (3, 5)])
def test_no_more_pages_are_fetched_than_there_is_room_for(streams: int, ahead: int) -> None:
    lock, alive, most = threading.Lock(), 0, 0
    used_up = threading.Semaphore(0)

    def pages() -> Iterator[int]:
        nonlocal alive, most
        for page in range(20):
            with lock:
                alive += 1
                most = max(most, alive)
                if alive == ahead:
                    used_up.release()
            yield page

    with line(streams=streams, ahead=ahead) as pipeline:
        for number in range(streams):
            pipeline.add(number, pages)
        # Nobody takes anything: the streams go on until there is no more room, and then wait.
        assert used_up.acquire(timeout=PATIENCE_S)
        for event in pipeline:
            if isinstance(event, Arrived):
                with lock:
                    alive -= 1  # before its room is free again, which is when the next one is asked for
    assert most == ahead
    assert threads_of_ours() == []


def test_the_page_given_out_last_takes_its_room_until_the_next_is_asked_for() -> None:
    fetched = []

    def pages() -> Iterator[int]:
        for page in range(3):
            fetched.append(page)
            yield page

    with line(ahead=1) as pipeline:
        pipeline.add(0, pages)
        events = iter(pipeline)
        assert next(events) == Arrived(0, 0)
        assert fetched == [0]
        assert next(events) == Arrived(0, 1)
        assert fetched == [0, 1]


def test_a_page_that_was_used_is_not_kept() -> None:
    class Body:
        """Something that can be referred to weakly."""

    bodies: list[weakref.ref[Body]] = []
    waiting = Gate()

    def pages() -> Iterator[Body]:
        body = Body()
        bodies.append(weakref.ref(body))
        yield body
        del body
        waiting.pass_through()

    with line(lambda _: "decoded") as pipeline:
        pipeline.add(0, pages)
        events = iter(pipeline)
        assert next(events) == Arrived(0, "decoded")
        assert waiting.reached.wait(PATIENCE_S)
        gc.collect()
        assert bodies[0]() is None, "the body of a decoded page has to be let go of"
        waiting.open()
        assert next(events) == Ended(0)


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_fetch_that_fails_is_given_out_after_the_pages_before_it() -> None:
    error = BadAnswer("cut short")

    def pages() -> Iterator[int]:
        yield 0
        yield 1
        raise error

    with line() as pipeline:
        pipeline.add(0, pages)
        assert list(pipeline) == [Arrived(0, 0), Arrived(0, 1), Failed(0, error)]


def test_a_segment_that_cannot_begin_fails() -> None:
    error = OSError("no network")

    def pages() -> Iterator[int]:
        raise error

    with line() as pipeline:
        pipeline.add(0, pages)
        assert list(pipeline) == [Failed(0, error)]


def test_a_failed_segment_leaves_its_room_to_the_others_and_may_restart() -> None:
    def broken() -> Iterator[int]:
        raise OSError("gone")

    with line(ahead=1) as pipeline:
        for number in range(5):
            pipeline.add(number, broken)
        seen = []
        for event in pipeline:
            seen.append(type(event))
            if isinstance(event, Failed):
                pipeline.add(event.segment, segment("again"))
    assert (seen.count(Failed), seen.count(Arrived), seen.count(Ended)) == (5, 5, 5)


def test_work_that_fails_is_raised_once_in_its_turn_and_ends_all_threads() -> None:
    def work(page: int) -> int:
        if page == 2:
            raise BadAnswer("page 2 is no page", row=7)
        return page

    given: list[Any] = []

    def run() -> None:
        with line(work) as pipeline:
            pipeline.add(0, segment(0, 1, 2, 3, 4))
            given.extend(pipeline)

    with pytest.raises(BadAnswer, match="page 2") as caught:
        run()
    assert caught.value.row == 7
    assert given == [Arrived(0, 0), Arrived(0, 1)]
    assert threads_of_ours() == []


def test_an_error_of_the_caller_ends_all_threads() -> None:
    def endless() -> Iterator[int]:
        yield from iter(int, 1)

    def run() -> None:
        with line(streams=4, workers=3) as pipeline:
            for number in range(8):
                pipeline.add(number, endless)
            for _ in pipeline:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert threads_of_ours() == []


# -- the end ---------------------------------------------------------------------------------------------------------


def test_leaving_early_stops_a_fetch_that_is_under_way() -> None:
    stopped, fetching = threading.Event(), threading.Event()

    def pages() -> Iterator[int]:
        yield 0
        fetching.set()
        assert stopped.wait(PATIENCE_S), "nobody stopped the fetch"
        raise Cancelled("The request was stopped.")

    with line(stop=stopped.set) as pipeline:
        pipeline.add(0, pages)
        assert next(iter(pipeline)) == Arrived(0, 0)
        assert fetching.wait(PATIENCE_S)
    assert threads_of_ours() == []


def test_a_thread_that_cannot_be_stopped_does_not_hold_up_the_end() -> None:
    deaf = Gate()
    seconds = iter(float(second) for second in range(1000))

    def pages() -> Iterator[int]:
        deaf.pass_through()
        yield 0

    with line(clock=lambda: next(seconds)) as pipeline:
        pipeline.add(0, pages)
        assert deaf.reached.wait(PATIENCE_S)
    deaf.open()
    for thread in threading.enumerate():
        if thread.name.startswith(("sacnb-stream", "sacnb-decode")):
            thread.join(PATIENCE_S)
    assert threads_of_ours() == []


def test_a_stop_by_the_user_is_seen_while_nothing_comes() -> None:
    waiting, stopped = Gate(), threading.Event()

    def pages() -> Iterator[int]:
        waiting.pass_through()
        yield 0

    def run() -> None:
        with line(cancelled=stopped.is_set, stop=waiting.open) as pipeline:
            pipeline.add(0, pages)
            assert waiting.reached.wait(PATIENCE_S)
            stopped.set()
            list(pipeline)

    with pytest.raises(Cancelled, match="Download cancelled"):
        run()
    assert threads_of_ours() == []


def test_ctrl_c_between_the_starts_of_the_threads_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def start_and_interrupt(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "sacnb-stream-0":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt), line():
        pass
    assert threads_of_ours() == []


def test_ctrl_c_at_the_beginning_of_the_end_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def run() -> None:
        with line() as pipeline:
            monkeypatch.setattr(type(pipeline), "close", interrupted)  # before it has done anything
            pipeline.add(0, lambda: iter(range(3)))
            list(pipeline)

    with pytest.raises(KeyboardInterrupt):
        run()
    for thread in threading.enumerate():
        if thread.name.startswith(("sacnb-stream", "sacnb-decode")):
            thread.join(PATIENCE_S)
    assert threads_of_ours() == []


def test_the_threads_belong_to_the_operation_they_were_started_in() -> None:
    operation: contextvars.ContextVar[str] = contextvars.ContextVar("operation", default="none")
    token = operation.set("pull")
    with line(lambda page: (page, operation.get())) as pipeline:
        operation.reset(token)
        pipeline.add(0, lambda: iter([operation.get()]))
        assert next(iter(pipeline)) == Arrived(0, ("pull", "pull"))


@pytest.mark.parametrize("kind", ["stream", "decode"])
def test_it_can_be_ended_by_one_of_its_own_threads(kind: str) -> None:
    """Garbage is collected by whichever thread is running: a pull that was let go of may be ended by a thread of it."""
    errors: list[RuntimeError] = []
    ended = threading.Event()
    pipeline = line(lambda page: end_in("decode") or page)

    def end_in(this: str) -> None:
        if this == kind and not ended.is_set():
            try:
                pipeline.__exit__(None, None, None)
            except RuntimeError as error:
                errors.append(error)
            ended.set()

    def pages() -> Iterator[int]:
        yield 1
        end_in("stream")
        yield 2

    pipeline.__enter__()
    pipeline.add(0, pages)
    assert ended.wait(PATIENCE_S)
    assert errors == []
    for thread in threading.enumerate():
        if thread.name in threads_of_ours():
            thread.join(PATIENCE_S)
    assert threads_of_ours() == []
