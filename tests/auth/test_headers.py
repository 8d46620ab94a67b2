"""Dates and Retry-After, as servers write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._http import read_http_date, read_retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 01 Mar 2026 12:00:00 GMT", NOW),
        ("Sun, 01 Mar 2026 13:00:00 +0100", NOW),
        ("Sun, 01 Mar 2026 12:00:00 -0000", NOW),
        ("Sunday, 01-Mar-26 12:00:00 GMT", NOW),
        ("yesterday", None),
        ("", None),
        (None, None),
        ("Sun, 99 Mar 2026 12:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
    ],
)
def test_http_dates(text: str | None, moment: datetime | None) -> None:
    assert read_http_date(text) == moment


@pytest.mark.parametrize(
    ("documentation", "text", "server_s", "expected_s"),
    [
        ("seconds", "7", 0, 7.0),
        ("a fraction, as some gateways send it", "1.5", 0, 1.5),
        ("blanks around", " 3 ", 0, 3.0),
        ("at once names no wait", "0", 0, None),
        ("less than a second names no wait", "1e-9", 0, None),
        ("a date, by the server's clock", "Sun, 01 Mar 2026 12:00:20 GMT", 5, 15.0),
        ("a date, the server's clock being a day ahead of ours", "Mon, 02 Mar 2026 12:00:20 GMT", 86400, 20.0),
        ("a date without the server's clock", "Sun, 01 Mar 2026 12:00:20 GMT", None, 20.0),
        ("a date that has passed names no wait", "Sun, 01 Mar 2026 11:00:00 GMT", 0, None),
        ("negative seconds say nothing", "-5", 0, None),
        ("infinity says nothing", "inf", 0, None),
        ("not a number says nothing", "nan", 0, None),
        ("prose says nothing", "in a while", 0, None),
        ("nothing says nothing", "", 0, None),
        ("no header", None, 0, None),
    ],
)
def test_retry_after(documentation: str, text: str | None, server_s: float | None, expected_s: float | None) -> None:
    server_date = None if server_s is None else NOW + timedelta(seconds=server_s)
    assert read_retry_after_s(text, server_date=server_date, now=NOW) == expected_s, documentation


@given(st.text())
def test_any_text_is_a_wait_or_nothing(text: str) -> None:
    seconds = read_retry_after_s(text, server_date=None, now=NOW)
    assert seconds is None or seconds >= 1


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_a_date_is_measured_against_the_date_of_its_reply(wait_s: int, skew_s: int) -> None:
    server = NOW + timedelta(seconds=skew_s)
    text = format_datetime(server + timedelta(seconds=wait_s), usegmt=True)
    assert read_retry_after_s(text, server_date=server, now=NOW) == (wait_s if wait_s > 0 else None)
