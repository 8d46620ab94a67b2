"""The guard's decisions as one table: at what time, with which token, what the source replies, what comes of it.

Times are seconds since the start. The cached token was issued at 0 and lives as long as the row says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sacnb._auth import RefreshEvent, RefreshPolicy, TokenGuard
from sacnb.errors import RefreshError

NEW = "token-2"
OLD = "token-1"


@dataclass(frozen=True)
class Case:
    documentation: str
    now: float
    cached: float | None  # the lifetime of the cached token, None for no token
    reply: float | str  # the lifetime of the new token; "down" may pass, "refused" will not
    expected: str | None  # the token given out, None for an error
    reason: str | None = None  # of the event, None for no refresh
    act: str = "ensure"
    policy: dict[str, Any] = field(default_factory=dict)
    error_code: str | None = None


CASES = [
    Case("a first token is fetched", 0, None, 3600, OLD, "absent"),
    Case("a first token that cannot be had is an error", 0, None, "down", None, "absent", error_code="refresh_failed"),
    Case("a first token refused is final", 0, None, "refused", None, "absent", error_code="non_retriable"),
    Case("a young token is reused", 10, 3600, 3600, OLD),
    Case("one second before it is aging it is reused", 3479, 3600, 3600, OLD),
    Case("two minutes before its end it is aging", 3480, 3600, 3600, NEW, "aging"),
    Case("an aging token survives a failure", 3500, 3600, "down", OLD, "aging"),
    Case("an aging token survives a refusal", 3500, 3600, "refused", OLD, "aging"),
    Case("a short token is not aging for most of its life", 7, 10, 3600, OLD),
    Case("a fifth of a short token's life is its threshold", 8, 10, 3600, NEW, "aging"),
    Case("at its end it is expired", 3600, 3600, 3600, NEW, "expired"),
    Case("long after its end, say after a night's sleep, it is expired", 50_000, 3600, 3600, NEW, "expired"),
    Case("an expired token is not given out when refreshing fails", 3600, 3600, "down", None, "expired",
         error_code="refresh_failed"),
    Case("an expired token is not given out when refreshing is refused", 3600, 3600, "refused", None, "expired",
         error_code="non_retriable"),
    Case("a clock that was set back makes a token young", -500, 3600, 3600, OLD),
    Case("a rejected token is refreshed, however young", 1, 3600, 3600, NEW, "rejected", act="reject"),
    Case("a rejected token does not come back when refreshing fails", 1, 3600, "down", None, "rejected", act="reject",
         error_code="refresh_failed"),
    Case("a forced refresh refreshes a young token", 1, 3600, 3600, NEW, "forced", act="force"),
    Case("a forced refresh that fails is an error", 1, 3600, "down", None, "forced", act="force",
         error_code="refresh_failed"),
    Case("a forced refresh without a token fetches one", 0, None, 3600, OLD, "forced", act="force"),
    Case("a margin replaces the threshold", 3301, 3600, 3600, NEW, "aging", policy={"margin_s": 300}),
    Case("before the margin it is reused", 3299, 3600, 3600, OLD, policy={"margin_s": 300}),
    Case("a margin shorter than the threshold refreshes later", 3560, 3600, 3600, OLD, policy={"margin_s": 30}),
    Case("a margin longer than the life is ignored", 10, 20, 3600, OLD, policy={"margin_s": 30}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.documentation)
def test_the_guard(case: Case, clock: Any, make_source: Any, failing: Callable[..., RefreshError]) -> None:
    replies = {"down": failing(), "refused": failing(final=True)}
    step = replies.get(case.reply, case.reply) if isinstance(case.reply, str) else case.reply
    source = make_source(*([] if case.cached is None else [case.cached]), step)
    events: list[RefreshEvent] = []
    guard = TokenGuard(source, RefreshPolicy(**case.policy), listener=events.append, now=clock)
    if case.cached is not None:
        first = guard.ensure().token
        if case.act == "reject":
            guard.reject(first)
    events.clear()
    source.calls = 0 if case.cached is None else 1
    before = source.calls

    clock.seconds = case.now
    call = guard.force if case.act == "force" else guard.ensure
    if case.expected is None:
        with pytest.raises(RefreshError, match=r"No luck\. Hint\.") as caught:
            call()
        assert caught.value.error_code == case.error_code
        assert caught.value.last_attempt_at == clock()
    else:
        result = call()
        assert result.token.value.reveal() == case.expected
        assert not result.token.is_expired(clock())
        assert result.refresh_applied is (source.calls > before and isinstance(case.reply, float | int))
        assert result.attempts == source.calls - before

    assert source.calls - before == (case.reason is not None)
    assert [event.reason for event in events] == ([case.reason] if case.reason else [])
    for event in events:
        assert event.outcome == ("failed" if isinstance(case.reply, str) else "success")
        assert event.error_kind == {"down": "refresh_failed", "refused": "non_retriable"}.get(str(case.reply))
        token = guard.peek()
        if event.outcome == "success":
            assert token is not None
            assert (event.issued_at, event.expires_at) == (token.issued_at, token.expires_at)


@pytest.mark.parametrize(
    ("documentation", "cached", "now", "reply", "level", "words"),
    [
        ("reuse is for the curious", 3600, 10, 3600, logging.DEBUG, ("reused", "3590 s remain")),
        ("a refresh says why, and for how long", 3600, 3600, 1800, logging.INFO, ("refreshed", "expired", "1800 s")),
        ("a failed early refresh warns", 3600, 3590, "down", logging.WARNING, ("early", "kept", "No luck")),
    ],
)
def test_the_log(  # noqa: PLR0917 - the columns of the table
    documentation: str,
    cached: float,
    now: float,
    reply: float | str,
    level: int,
    words: tuple[str, ...],
    clock: Any,
    make_source: Any,
    failing: Callable[..., RefreshError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = TokenGuard(make_source(cached, failing() if reply == "down" else reply), now=clock)
    guard.ensure()
    clock.seconds = now
    caplog.set_level(logging.DEBUG, "sacnb.auth")
    caplog.clear()
    guard.ensure()
    record = max(caplog.records, key=lambda record: record.levelno)
    assert record.levelno == level, documentation
    assert all(word in record.getMessage() for word in words), record.getMessage()
