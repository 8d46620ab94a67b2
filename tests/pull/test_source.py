"""Pages one after the other, by links or by numbers, at a pace and within a budget that all streams share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from sacnb._connections import Interrupt
from sacnb._endpoints import entity_set_path
from sacnb._pull.plan import Segment
from sacnb._pull.source import PageSource, Start
from sacnb._tenant import Tenant
from sacnb._wire.retry import RetryBudget
from sacnb.errors import BadAnswer, Cancelled, InconsistentAnswer, ServerError
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.scale import scale

ConnectTo = Callable[..., Tenant]


@pytest.fixture
def facts(sandbox: Sandbox, connect_to: ConnectTo) -> Any:
    return connect_to(sandbox).model("US_EMPLOYMENT").facts()


@pytest.fixture
def source_of(facts: Any) -> Callable[..., PageSource]:
    def make(**options: Any) -> PageSource:
        connection = facts.connection
        return PageSource(connection.context, connection.tenant_url, **{"stop": Interrupt(), **options})

    return make


@pytest.fixture
def segment() -> Segment:
    return Segment(entity_set_path("US_EMPLOYMENT", "FactData") + "?$count=true")


def test_each_page_comes_with_its_link_and_the_next_one(source_of: Callable[..., PageSource], segment: Segment) -> None:
    pages = list(source_of().pages(segment, Start(page_size=1000)))
    assert [page.index for page in pages] == [0, 1, 2, 3]
    assert pages[0].link.endswith("&pagesize=1000")
    assert [page.next_link for page in pages] == [*(page.link for page in pages[1:]), None]
    assert all(page.link.startswith("/api/v1/dataexport/") for page in pages), "no tenant in them"


def test_it_can_begin_anywhere(source_of: Callable[..., PageSource], segment: Segment) -> None:
    whole = list(source_of().pages(segment, Start(1000)))
    rest = list(source_of().pages(segment, Start(1000, index=2, link=whole[2].link, announced=3420)))
    assert [(page.index, page.link, page.next_link) for page in rest] == [
        (page.index, page.link, page.next_link) for page in whole[2:]
    ]
    assert [page.page.view for page in rest] == [page.page.view for page in whole[2:]]


def test_a_changed_row_count_is_an_error_at_once(source_of: Callable[..., PageSource], segment: Segment) -> None:
    with pytest.raises(InconsistentAnswer, match="3,419 at the start, 3,420 now"):
        next(source_of().pages(segment, Start(1000, announced=3419)))


def test_all_requests_pay_their_retries_from_one_budget(
    sandbox: Sandbox, source_of: Callable[..., PageSource], segment: Segment
) -> None:
    sandbox.misbehave("error_503", on="facts")
    budget = RetryBudget(10)
    source = source_of(budget=budget)
    for expected in (3, 1, 1):
        before = sandbox.counts["facts_requests"]
        with pytest.raises(ServerError):
            next(source.pages(segment, Start(1000)))
        assert sandbox.counts["facts_requests"] - before == expected
    assert budget.left == 0


def test_a_stop_ends_the_wait_for_a_turn(source_of: Callable[..., PageSource], segment: Segment, time: Any) -> None:
    stop = Interrupt()
    source = source_of(stop=stop)
    pages = source.pages(segment, Start(1000))
    next(pages)
    source.pace.throttled(1000.0)
    stop.set()
    with pytest.raises(Cancelled):
        next(pages)
    assert time.passed_s == 0


def test_one_with_a_share_of_the_time_rests_for_the_others(facts: Any, segment: Segment, time: Any) -> None:
    context = facts.connection.context

    class Slow:
        clock, sleep = time.clock, time.sleep

        def fetch(self, *request: Any, **options: Any) -> Any:
            time.advance(2.0)
            return context.session.fetch(*request, **options)

    slow: Any = SimpleNamespace(session=Slow(), retry_plan=context.retry_plan)
    for share, rests_s in ((1.0, 0.0), (0.25, 6.0)):
        before = time.passed_s
        source = PageSource(slow, facts.connection.tenant_url, stop=Interrupt(), share=share)
        assert len(list(source.pages(segment, Start(1000)))) == 4
        assert time.passed_s - before == pytest.approx(4 * 2.0 + 3 * rests_s)


def test_a_429_to_one_stream_holds_back_all_of_them(sandbox: Sandbox, connect_to: ConnectTo, time: Any) -> None:
    sandbox.add_model(scale(20_000))
    facts = connect_to(sandbox, streams=4).model("SCALE").facts(page_size=400, partitions=4)
    sandbox.misbehave("throttle_seconds", on="facts", after=40, times=1, retry_after_s=20)
    assert len(facts.fetch()) == 20_000
    (throttled,) = (entry for entry in sandbox.log if entry.status == 429)
    later = sandbox.log[sandbox.log.index(throttled) + 1 :]
    hasty = [entry for entry in later if entry.at < throttled.at + timedelta(seconds=20)]
    assert len(hasty) <= 3, "those of the other three streams that were under way"
    assert len(later) > 10
    assert later[-1].at > throttled.at + timedelta(seconds=20)


@pytest.mark.parametrize("where", ["inside", "after"])
def test_a_failure_that_sac_puts_into_a_large_page_is_found_and_the_page_asked_for_again(
    sandbox: Sandbox, connect_to: ConnectTo, where: str
) -> None:
    sandbox.add_model(scale(12_000))
    facts = connect_to(sandbox).model("SCALE").facts(page_size=4_000)
    whole = facts.fetch()
    sandbox.misbehave("stream_error", where=where, times=1, after=2)
    assert facts.fetch().arrow().equals(whole.arrow())
    assert sandbox.counts["misbehaved_stream_error"] == 1
    sandbox.misbehave("stream_error", where=where)
    with pytest.raises(BadAnswer, match="The extraction failed"):
        facts.fetch()
