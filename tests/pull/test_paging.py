"""Page size, pace, and the remedy for a page that cannot be fetched: each rule is a table."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sacnb._pull.plan import Plan, Segment, link_of, remedy_for
from sacnb._pull.source import Pace, PageSize
from sacnb.errors import (
    Attempt,
    AuthError,
    BadAnswer,
    ForbiddenError,
    InconsistentAnswer,
    NoAnswerError,
    NotFoundError,
    RequestError,
    RetryOutcome,
    ServerError,
    ThrottledError,
)

# -- size ------------------------------------------------------------------------------------------------------------


def test_the_size_halves_down_to_what_is_small_and_grows_back_to_the_setting() -> None:
    size = PageSize(50_000)
    seen = [size.current]
    while size.shrink(size.current):
        seen.append(size.current)
    assert seen == [50_000, 25_000, 12_500, 6_250, 5_000]
    grown = []
    for _ in range(5):
        size.grow(size.current)
        grown.append(size.current)
    assert grown == [10_000, 20_000, 40_000, 50_000, 50_000]


def test_streams_that_fail_with_the_same_size_halve_it_once() -> None:
    size = PageSize(40_000)
    assert [size.shrink(40_000), size.shrink(40_000), size.shrink(40_000)] == [True, True, True]
    assert size.current == 20_000


def test_a_segment_of_another_size_does_not_grow_it() -> None:
    size = PageSize(40_000)
    size.shrink(40_000)
    size.grow(40_000)  # it was begun before the size was halved
    assert size.current == 20_000


@pytest.mark.parametrize("setting", [None, 1, 5_000])
def test_no_size_and_small_sizes_stay(setting: int | None) -> None:
    size = PageSize(setting)
    assert size.shrink(setting) is False
    size.grow(setting)
    assert size.current == setting


# -- pace ------------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_there_is_no_limit_before_sac_throttles() -> None:
    pace = Pace(clock=Clock())
    assert [pace.turn() for _ in range(1000)] == [0.0] * 1000
    assert pace.per_s is None


def test_a_429_holds_every_stream_back_and_halves_the_pace() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    for _ in range(10):  # two a second
        pace.turn()
        clock.now += 0.5
    pace.throttled(3.0)
    assert pace.per_s == pytest.approx(1.0)
    assert [round(pace.turn(), 3) for _ in range(3)] == [3.0, 4.0, 5.0]


def test_good_answers_raise_the_pace_again() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    pace.turn()
    clock.now += 1
    pace.throttled(0.0)
    slow = pace.per_s
    assert slow is not None
    for _ in range(15):
        pace.answered()
    assert pace.per_s == pytest.approx(slow * 1.05**15)


def test_only_one_of_several_concurrent_requests_cuts_the_pace() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    begun, throttle = threading.Barrier(4), threading.Barrier(4)

    def stream() -> None:
        pace.turn()
        begun.wait(10)
        throttle.wait(10)
        pace.throttled(1.0)

    threads = [threading.Thread(target=stream) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    clock.now += 1.0
    throttle.wait(10)
    for thread in threads:
        thread.join(10)
    assert pace.per_s == pytest.approx(1.5)  # three in a second, halved once


def test_a_request_sent_after_the_cut_cuts_again_but_never_to_a_stop() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    for _ in range(20):
        pace.turn()
        clock.now += 1
        pace.throttled(0.0)
    assert pace.per_s == 0.1


# -- what to do about a failure --------------------------------------------------------------------------------------


def no_answer(kind: str) -> NoAnswerError:
    outcome = RetryOutcome("pull facts", (Attempt(None, kind, 0.0, None),), None, 1.0)
    return NoAnswerError("no answer", outcome=outcome)


@pytest.mark.parametrize(
    ("error", "beginning", "link", "resumed", "failed_before"),
    [
        (RequestError("", status=413), "smaller pages", "smaller pages", "smaller pages", "smaller pages"),
        (ServerError("", status=504), "smaller pages", "give up", "give up", "smaller pages"),
        (ServerError("", status=408), "smaller pages", "give up", "give up", "smaller pages"),
        (no_answer("read_timeout"), "smaller pages", "give up", "give up", "smaller pages"),
        (no_answer("deadline"), "smaller pages", "give up", "give up", "smaller pages"),
        (no_answer("no_connection"), "give up", "give up", "give up", "give up"),
        (NoAnswerError(""), "give up", "give up", "give up", "give up"),
        (RequestError("", status=400), "give up", "restart", "restart", "restart"),
        (NotFoundError("", status=404), "give up", "restart", "restart", "restart"),
        (RequestError("", status=410), "give up", "restart", "restart", "restart"),
        (ForbiddenError("", status=403), "give up", "give up", "give up", "give up"),
        (ThrottledError("", status=429), "give up", "give up", "give up", "give up"),
        (InconsistentAnswer("", changed=True), "restart", "restart", "restart", "restart"),
        (BadAnswer(""), "give up", "give up", "give up", "give up"),
        (AuthError(""), "give up", "give up", "give up", "give up"),
        (KeyboardInterrupt(), "give up", "give up", "give up", "give up"),
    ],
    ids=lambda value: (
        f"{type(value).__name__}-{getattr(value, 'status', '')}" if isinstance(value, Exception) else None
    ),
)
def test_the_remedy_depends_on_the_error_and_its_position(
    error: BaseException, beginning: str, link: str, resumed: str, failed_before: str
) -> None:
    assert remedy_for(error, "beginning") == beginning
    assert remedy_for(error, "link") == link
    assert remedy_for(error, "resumed link") == resumed
    assert remedy_for(error, "link that failed before") == failed_before


# -- segments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "page_size", "links"),
    [
        (Segment("/F?$count=true"), 7, ["/F?$count=true&pagesize=7", None]),
        (Segment("/F"), 7, ["/F?pagesize=7", None]),
        (Segment("/F?$count=true"), None, ["/F?$count=true", None]),
        (
            Segment("/F?a=1", packages=(3, 5)),
            7,
            ["/F?a=1&pagesize=7&package=3", "/F?a=1&pagesize=7&package=4", "/F?a=1&pagesize=7&package=5", None],
        ),
    ],
)
def test_a_segment_gives_its_first_link_and_those_of_pages_asked_for_by_number(
    segment: Segment, page_size: int | None, links: list[Any]
) -> None:
    found = [segment.first_link(page_size), *(segment.link_after(index, page_size) for index in range(len(links) - 1))]
    assert found == links


def test_a_plan_round_trips_through_json() -> None:
    plan = Plan((Segment("/F?a=1", 12), Segment("/F?a=1", packages=(1, 2), is_open=False)), 99, 50_000)
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://acme.example:8443/api/F?$skiptoken=a%3D", "/api/F?$skiptoken=a%3D"),
        ("http://127.0.0.1:1/api/F", "/api/F"),
    ],
)
def test_a_link_is_a_url_without_its_tenant(url: str, link: str) -> None:
    assert link_of(url) == link
