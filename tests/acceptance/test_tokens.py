"""Tokens are renewed once for all threads, and in time; counted by the sandbox that gives them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import sacnb.sandbox
from sacnb._settings import Settings
from sacnb._wire import Answer, DispatchContext, build_context
from sacnb.sandbox import Sandbox

FACTS = "/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData?pagesize=50"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sacnb.sandbox.start() as started:
        yield started


def opened(sandbox: Sandbox, **options: Any) -> DispatchContext:
    settings = Settings.resolve(
        environ={},
        tenant_url=sandbox.tenant_url,
        token_url=sandbox.token_url,
        client_id=sandbox.client_id,
        client_secret=sandbox.client_secret,
        connect_timeout_s=10,
        read_timeout_s=20,
    )
    return build_context(settings, **options)


def get(context: DispatchContext) -> Answer:
    return context.session.fetch("GET", FACTS, operation="facts")


@pytest.fixture
def aged() -> Callable[..., Any]:
    """A sandbox and a client on the same clock, which a test moves."""

    @contextmanager
    def start(**options: Any) -> Iterator[tuple[Sandbox, DispatchContext, Callable[[float], None]]]:
        started = datetime.now(UTC)
        passed = 0.0

        def now() -> datetime:
            return started + timedelta(seconds=passed)

        def pass_time(seconds: float) -> None:
            nonlocal passed
            passed += seconds

        with (
            sacnb.sandbox.start(clock=lambda: passed, now=now, **options) as sandbox,
            opened(sandbox, now=now) as context,
        ):
            yield sandbox, context, pass_time

    return start


def test_64_threads_on_an_expired_token_are_one_token_request(
    aged: Callable[..., Any], in_threads: Callable[..., list[Any]]
) -> None:
    with aged(token_lifetime_s=600) as (sandbox, context, pass_time):
        get(context)
        pass_time(700)
        before = sandbox.counts["token_requests"]
        answers = in_threads(64, lambda _: get(context))
        assert all(isinstance(answer, Answer) for answer in answers), answers
        assert sandbox.counts["token_requests"] - before == 1
        assert sandbox.counts["status_401"] == 0
        assert context.telemetry.summary().refreshes == {"absent": 1, "expired": 1}


def test_one_revocation_under_64_threads_is_one_renewal(sandbox: Sandbox, in_threads: Callable[..., list[Any]]) -> None:
    with opened(sandbox) as context:
        get(context)
        sandbox.revoke_tokens()
        before = sandbox.counts["token_requests"]
        answers = in_threads(64, lambda _: get(context))
        assert all(isinstance(answer, Answer) for answer in answers), answers
        assert sandbox.counts["token_requests"] - before == 1


@pytest.mark.parametrize(("step_s", "reason"), [(0.3, "aging"), (0.7, "expired")])
def test_tokens_that_live_two_seconds_are_renewed_along_the_way(
    step_s: float, reason: str, aged: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Early where a request falls into the last fifth of a token's life, else when it has expired: never by a 401."""
    caplog.set_level(logging.DEBUG)
    with aged(token_lifetime_s=2) as (sandbox, context, pass_time):
        for _ in range(40):
            get(context)
            pass_time(step_s)
        renewals = context.telemetry.summary().refreshes
        assert set(renewals) == {"absent", reason}
        assert renewals[reason] == sandbox.counts["token_requests"] - 1 == pytest.approx(40 * step_s / 2, abs=3)
        assert sandbox.counts["status_401"] == 0
        assert f"Token refreshed ({reason})" in caplog.text
        assert sandbox.client_secret not in caplog.text
        assert "sandbox-token" not in caplog.text  # how its tokens begin
