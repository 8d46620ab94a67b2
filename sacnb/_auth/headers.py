"""Read the two HTTP headers that speak of time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def read_http_date(text: str | None) -> datetime | None:
    """An HTTP date as an aware UTC datetime, or ``None`` where there is none that can be read."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # "-0000" leaves a date naive; HTTP dates are GMT whatever they say.
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None


def read_retry_after_s(text: str | None, *, server_date: datetime | None, now: datetime) -> float | None:
    """``Retry-After`` in seconds, never negative, or ``None`` where it says nothing that can be read.

    A date is measured against ``server_date``, the ``Date`` of the same reply, because this machine's clock may be
    wrong; only without one against ``now``.
    """
    if text is None:
        return None
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        moment = read_http_date(text)
        if moment is None:
            return None
        seconds = max((moment - (server_date or now)).total_seconds(), 0.0)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
