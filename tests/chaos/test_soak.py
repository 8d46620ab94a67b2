"""A short part of ``make soak``, with a seed of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .soak import crowd, soak


@pytest.mark.timeout(300)
def test_two_hundred_threads_ask_for_no_token_without_need_and_leave_nothing_open() -> None:
    report = crowd(4, 2, requests=1)
    assert report.wrong == []
    assert report.requests == 2 * 200
    assert report.token_requests == report.needed
    assert report.left_over == []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell its memory that way")
def test_an_hour_of_pulling_takes_no_more_memory_and_no_more_descriptors_at_its_end() -> None:
    report = soak(4, 2)
    assert report.wrong == []
    assert (report.lifetimes, report.revocations, report.restarts, report.pulls) == (12, 3, 1, 24)
    # One for each lifetime, and one for each token that ended before its time.
    assert 12 <= report.token_requests <= 12 + 3 + 1 + 2
    assert report.growth_mb < 5
    assert max(report.descriptors[3:]) <= max(report.descriptors[:3])
    assert max(report.threads[3:]) <= max(report.threads[:3])
