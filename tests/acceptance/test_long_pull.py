"""Many rows with tokens that live eight seconds, and one that is refused in the middle."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

import sacnb.sandbox
from sacnb._pull.progress import Progress
from sacnb._tenant import Tenant
from sacnb.sandbox import Sandbox
from sacnb.sandbox.models.scale import scale

PAGES, LIFETIME_S = 20, 8
KEYS = ["Version", "Date", "Region", "Channel", "Product", "Customer"]


@pytest.fixture
def short_lived(time: Any, rows: int) -> Iterator[Sandbox]:
    with sacnb.sandbox.start(scale_rows=rows, token_lifetime_s=LIFETIME_S, clock=time.clock, now=time.now) as started:
        yield started


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("partitions", "rows"),
    [
        pytest.param(None, 1_000_000, marks=pytest.mark.long),
        pytest.param(4, 1_000_000, marks=pytest.mark.long),
        (4, 200_000),
    ],
)
def test_every_row_comes_once_and_the_log_shows_renewals_with_reasons_and_no_secret(  # noqa: PLR0917 - fixtures
    short_lived: Sandbox,
    connect_to: Callable[..., Tenant],
    time: Any,
    caplog: pytest.LogCaptureFixture,
    partitions: int | None,
    rows: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    tenant = connect_to(short_lived, log="debug")
    facts = tenant.model("SCALE").facts(page_size=rows // PAGES, partitions=partitions)
    short_lived.misbehave("unauthorized", on="facts", after=10, times=1)
    short_lived.misbehave("revoke_tokens", on="facts", after=15, times=1)

    def progress(now: Progress) -> None:
        # A page takes three seconds, so a token lives for hardly three of them. Downloads run ahead of this clock: as
        # many steps within one request would kill the token that was renewed for it.
        since_token = itertools.takewhile(lambda seen: seen.kind != "token", reversed(short_lived.log))
        if any(seen.kind == "facts" and seen.status == 200 for seen in since_token):
            time.advance(3)

    result = facts.fetch(progress=progress)

    frame = result.polars(decimals=True)
    assert len(frame) == rows
    assert frame.select(KEYS).n_unique() == rows
    made = scale(rows).facts.rows(pl.int_range(rows, dtype=pl.Int64, eager=True), [*KEYS, "Amount"])
    assert frame.select(*KEYS, "Amount").sort(KEYS).equals(made.sort(KEYS))

    summary = tenant.telemetry.summary()
    assert set(summary.refreshes) >= {"absent", "rejected"}
    # How many, depends on how far the streams run ahead of the clock that the pages move: a token that dies on its way
    # to the server counts as rejected, and one renewal may serve for a leap of several pages.
    by_age = summary.refreshes.get("expired", 0) + summary.refreshes.get("aging", 0)
    assert by_age >= 2
    assert by_age + summary.refreshes["rejected"] >= 4
    assert summary.retries["401"] >= 2
    assert summary.rows == rows
    renewals = [record.getMessage() for record in caplog.records if "Token refreshed" in record.getMessage()]
    assert len(renewals) == sum(summary.refreshes.values())
    assert any("(rejected)" in line for line in renewals)

    everything = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "SAC answered 401" in everything
    token = tenant._connection.context.guard.peek()
    assert token is not None
    for secret in (short_lived.client_secret, token.value.reveal()):
        assert secret not in everything
