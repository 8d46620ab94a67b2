"""Cooldowns, refusals, Retry-After, consecutive failures and caching sources: the memory of the guard."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from sacnb._auth import RefreshEvent, RefreshPolicy, StaticToken, TokenEnvelope, TokenGuard
from sacnb._auth.sources import MIGRATE_HINT
from sacnb._settings import Secret
from sacnb.errors import DeprecatedTokenWarning, RefreshError

Failing = Callable[..., RefreshError]


def low() -> float:
    return 0.0


def high() -> float:
    return 0.999999


# -- the cooldown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("random", "cooldown_s"), [(low, 60.0), (high, 75.0)])
def test_a_failed_early_refresh_is_not_repeated_before_a_jittered_cooldown(
    random: Callable[[], float], cooldown_s: float, clock: Any, make_source: Any, failing: Failing
) -> None:
    source = make_source(3600, failing(), 3600)
    policy = RefreshPolicy(margin_s=1000, min_cooldown_s=60)
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, policy, listener=events.append, now=clock, random=random)
    guard.ensure()
    clock.seconds = 2700
    guard.ensure()
    assert events[-1].delay_s == pytest.approx(cooldown_s, abs=0.01)
    clock.advance(cooldown_s - 0.1)
    guard.ensure()
    assert source.calls == 2
    clock.advance(0.2)
    guard.ensure()
    assert source.calls == 3


@pytest.mark.parametrize("act", ["expired", "rejected", "forced"])
def test_the_cooldown_never_delays_a_required_refresh(act: str, clock: Any, make_source: Any, failing: Failing) -> None:
    source = make_source(3600, failing(), 3600)
    guard = TokenGuard(source, now=clock)
    token = guard.ensure().token
    clock.seconds = 3590
    guard.ensure()
    assert source.calls == 2
    if act == "expired":
        clock.advance(20)
    elif act == "rejected":
        guard.reject(token)
    result = guard.force() if act == "forced" else guard.ensure()
    assert result.token.value.reveal() == "token-3"


def test_a_token_that_expires_during_its_early_refresh_is_refreshed_with_retries(
    clock: Any, make_source: Any, failing: Failing
) -> None:
    def dies(_: int) -> RefreshError:
        clock.advance(60)
        return failing()

    source = make_source(100, dies, 3600)
    guard = TokenGuard(source, now=clock)
    guard.ensure()
    clock.seconds = 90
    result = guard.ensure()
    assert result.token.value.reveal() == "token-3"
    assert result.refresh_applied


# -- what will not change by itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("random", "memory_s"), [(low, 10.0), (high, 20.0)])
def test_a_refusal_is_remembered_for_a_short_jittered_time(
    random: Callable[[], float], memory_s: float, clock: Any, make_source: Any, failing: Failing
) -> None:
    source = make_source(failing(final=True))
    guard = TokenGuard(source, now=clock, random=random)
    with pytest.raises(RefreshError):
        guard.ensure()
    clock.seconds = memory_s - 0.1
    for call in (guard.ensure, guard.force):
        with pytest.raises(RefreshError, match="Remembered: the token endpoint is not asked again for") as caught:
            call()
        assert caught.value.error_code == "non_retriable"
        assert "Hint." in str(caught.value)
        assert caught.value.last_attempt_at == clock.at(0)
    assert source.calls == 1
    clock.seconds = memory_s + 0.1
    assert guard.ensure().token.value.reveal() == "token-2"


def test_a_refusal_is_forgotten_when_the_clock_is_set_back(clock: Any, make_source: Any, failing: Failing) -> None:
    source = make_source(failing(final=True))
    guard = TokenGuard(source, now=clock)
    with pytest.raises(RefreshError):
        guard.ensure()
    clock.seconds = -3600
    assert guard.ensure().token.value.reveal() == "token-2"


def test_a_remembered_refusal_also_stops_early_refreshes(clock: Any, make_source: Any, failing: Failing) -> None:
    source = make_source(3600, failing(final=True))
    guard = TokenGuard(source, RefreshPolicy(min_cooldown_s=0), now=clock)
    guard.ensure()
    clock.seconds = 3500
    guard.ensure()
    guard.ensure()
    assert source.calls == 2


def test_remembered_refusals_do_not_count_as_failures(clock: Any, make_source: Any, failing: Failing) -> None:
    source = make_source(failing(final=True))
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, listener=events.append, now=clock)
    for _ in range(10):
        with pytest.raises(RefreshError) as caught:
            guard.ensure()
        assert "in a row" not in str(caught.value)
    assert len(events) == 1


# -- Retry-After -----------------------------------------------------------------------------------------------------


def test_the_token_endpoints_retry_after_is_honoured_without_a_runner(
    clock: Any, make_source: Any, failing: Failing
) -> None:
    source = make_source(failing(retry_after_s=8.0))
    guard = TokenGuard(source, now=clock)
    with pytest.raises(RefreshError):
        guard.ensure()
    clock.seconds = 3
    with pytest.raises(RefreshError) as caught:
        guard.ensure()
    assert caught.value.retry_after_s == 5.0
    assert caught.value.error_code == "refresh_failed"
    assert source.calls == 1
    clock.seconds = 8
    guard.ensure()
    assert source.calls == 2


def test_a_retry_after_of_hours_is_capped(clock: Any, make_source: Any, failing: Failing) -> None:
    source = make_source(failing(retry_after_s=36000.0))
    guard = TokenGuard(source, now=clock)
    with pytest.raises(RefreshError):
        guard.ensure()
    clock.seconds = 60.1
    guard.ensure()


def test_a_runner_waits_for_the_rest_of_a_retry_after_instead_of_asking(
    clock: Any, make_source: Any, failing: Failing
) -> None:
    """An early refresh was told to wait; then the token expired. The caller waits for what is left, and asks once."""
    source = make_source(3600, failing(retry_after_s=30.0), 3600)
    events: list[RefreshEvent] = []

    def run(fetch: Callable[[], TokenEnvelope], on_retry: Callable[[RefreshError, float], None]) -> TokenEnvelope:
        while True:
            try:
                return fetch()
            except RefreshError as error:
                wait_s = error.retry_after_s or 0.0
                on_retry(error, wait_s)
                clock.advance(wait_s)

    guard = TokenGuard(source, run=run, listener=events.append, now=clock)
    guard.ensure()
    clock.seconds = 3590
    guard.ensure()
    clock.seconds = 3610
    events.clear()
    result = guard.ensure()
    assert clock.seconds == 3620
    assert (result.token.value.reveal(), result.attempts, source.calls) == ("token-3", 1, 3)
    assert [(event.outcome, event.delay_s) for event in events] == [("retrying", 10.0), ("success", 0.0)]
    assert len({event.attempt_id for event in events}) == 1
    uuid.UUID(events[0].attempt_id)


# -- three in a row --------------------------------------------------------------------------------------------------


def test_three_failures_in_a_row_escalate_once(
    clock: Any, make_source: Any, failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_source(*[failing() for _ in range(4)], 3600, failing())
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, listener=events.append, now=clock)
    messages = []
    for _ in range(4):
        with pytest.raises(RefreshError) as caught:
            guard.ensure()
        messages.append(str(caught.value))
    assert ["in a row" in message for message in messages] == [False, False, True, True]
    assert "failure 3 in a row (refresh_escalated)" in messages[2]
    assert [event.escalated for event in events] == [False, False, True, False]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "refresh_escalated" in errors[0].getMessage()
    # A success ends the row.
    guard.ensure()
    with pytest.raises(RefreshError) as caught:
        guard.force()
    assert "in a row" not in str(caught.value)


def test_early_and_late_failures_count_together(clock: Any, make_source: Any, failing: Failing) -> None:
    source = make_source(3600, failing(), failing(), failing())
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, listener=events.append, now=clock)
    guard.ensure()
    clock.seconds = 3590
    guard.ensure()
    clock.seconds = 3600
    for _ in range(2):
        with pytest.raises(RefreshError):
            guard.ensure()
    assert [event.escalated for event in events] == [False, False, False, True]


# -- sources that hand the same token out again ----------------------------------------------------------------------


def test_a_source_that_caches_does_not_cause_a_loop(
    clock: Any, make_source: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An identity provider that gives the same token until it ends: accepted, warned about once, left alone."""

    def same(_: int) -> TokenEnvelope:
        return TokenEnvelope(Secret("same"), issued_at=clock(), expires_at=clock.at(3600))

    source = make_source(*[same] * 10)
    guard = TokenGuard(source, now=clock, random=low)
    guard.ensure()
    clock.seconds = 3500
    for _ in range(50):
        assert guard.ensure().token.value.reveal() == "same"
    assert source.calls == 2
    assert sum("no newer" in record.getMessage() for record in caplog.records) == 1
    # Forcing is never held back, and says nothing new.
    guard.force()
    assert source.calls == 3
    assert sum("no newer" in record.getMessage() for record in caplog.records) == 1


def test_a_later_token_ends_the_hold_off(clock: Any, make_source: Any) -> None:
    def same(_: int) -> TokenEnvelope:
        return TokenEnvelope(Secret("same"), issued_at=clock(), expires_at=clock.at(3600))

    source = make_source(same, same, 200, 3600)
    guard = TokenGuard(source, RefreshPolicy(min_cooldown_s=300), now=clock)
    guard.ensure()
    clock.seconds = 3500
    guard.ensure()  # no later: held off
    clock.seconds = 3600
    guard.ensure()  # expired: refreshed, for 200 s
    clock.seconds = 3790
    guard.ensure()  # aging again, and not held off any more
    assert source.calls == 4


def test_twenty_rejections_of_a_token_that_keeps_coming_back_ask_once(clock: Any, make_source: Any) -> None:
    one = TokenEnvelope(Secret("dead"), issued_at=clock(), expires_at=clock.at(3600))
    source = make_source(*[one] * 30)
    guard = TokenGuard(source, now=clock, random=low)
    guard.ensure()
    for _ in range(20):
        guard.reject(one)
        assert guard.ensure().token is one
    assert source.calls == 2
    clock.advance(10.1)  # a while later it may have become another
    guard.reject(one)
    guard.ensure()
    assert source.calls == 3


def test_a_rejected_token_with_a_later_end_is_still_the_rejected_token(clock: Any, make_source: Any) -> None:
    """A source that caches the token but says "an hour from now" each time."""
    source = make_source(*[lambda _: TokenEnvelope(Secret("dead"), clock(), clock.at(clock.seconds + 3600))] * 30)
    guard = TokenGuard(source, now=clock, random=low)
    for _ in range(9):
        clock.advance(1)
        guard.reject(guard.ensure().token)
    assert source.calls == 2


def test_a_clock_that_jumps_is_not_taken_for_a_source_that_caches(
    clock: Any, make_source: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The second token was given by a server whose clock is a day behind; it ends later all the same."""
    day = timedelta(days=1)

    def behind(_: int) -> TokenEnvelope:
        issued: datetime = clock() - day
        return TokenEnvelope(Secret("x"), issued, issued + timedelta(hours=1), clock_offset=-day)

    guard = TokenGuard(make_source(3600, behind), now=clock)
    guard.ensure()
    clock.seconds = 3500
    assert guard.ensure().token.remaining_s(clock()) == 3600
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# -- rejecting -------------------------------------------------------------------------------------------------------


def test_rejecting_compares_before_it_drops(clock: Any, make_source: Any) -> None:
    source = make_source()
    guard = TokenGuard(source, now=clock)
    first = guard.ensure().token
    guard.reject(first)
    assert guard.peek() is None
    second = guard.ensure().token
    guard.reject(first)  # a straggler that was refused with the first
    assert guard.peek() is second
    assert guard.ensure().token is second
    assert source.calls == 2


def test_a_pasted_token_is_final_after_a_401(clock: Any) -> None:
    with pytest.warns(DeprecatedTokenWarning):
        guard = TokenGuard(StaticToken("pasted"), now=clock)
    token = guard.ensure().token
    guard.reject(token)
    for _ in range(2):
        with pytest.raises(RefreshError, match="rejected the pasted token") as caught:
            guard.ensure()
        assert caught.value.error_code == "non_retriable"
        assert MIGRATE_HINT in str(caught.value)


def test_a_pasted_token_cannot_be_refreshed_and_stays(clock: Any) -> None:
    with pytest.warns(DeprecatedTokenWarning):
        guard = TokenGuard(StaticToken("pasted"), now=clock)
    token = guard.ensure().token
    with pytest.raises(RefreshError, match="cannot be refreshed"):
        guard.force()
    assert guard.ensure().token is token


def test_a_token_that_cannot_be_refreshed_is_not_refreshed_early(clock: Any, make_source: Any) -> None:
    source = make_source(3600, renewable=False)
    guard = TokenGuard(source, now=clock)
    token = guard.ensure().token
    clock.seconds = 3590
    assert guard.ensure().token is token
    assert source.calls == 1


# -- listeners -------------------------------------------------------------------------------------------------------


def test_a_failing_listener_does_not_cost_a_token(
    clock: Any, make_source: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: RefreshEvent) -> None:
        raise ValueError("broken progress bar")

    guard = TokenGuard(make_source(), listener=broken, now=clock)
    assert guard.ensure().token.value.reveal() == "token-1"
    assert "broken progress bar" in caplog.text


def test_a_listener_may_use_the_guard(clock: Any, make_source: Any) -> None:
    seen: list[str] = []
    guard = TokenGuard(make_source(), listener=lambda _: seen.append(guard.ensure().token.value.reveal()), now=clock)
    guard.ensure()
    assert seen == ["token-1"]


def test_asking_for_a_token_while_fetching_it_is_an_error_and_not_a_deadlock(clock: Any, make_source: Any) -> None:
    source = make_source(lambda _: guard.ensure().token)
    guard = TokenGuard(source, now=clock)
    with pytest.raises(RuntimeError, match="by the very call"):
        guard.ensure()
    assert guard.ensure().token.value.reveal() == "token-2"


def test_the_principal_is_the_sources(clock: Any, make_source: Any) -> None:
    assert TokenGuard(make_source(), now=clock).principal == "tester"
