"""The words of the notebook: status lines of the panel, progress, errors, and small outputs of the magics."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sacnb._pull.collect import age_in_words
from sacnb._redact import redact_text
from sacnb._rendering import Preview, Previewed, fact_table, printable
from sacnb.errors import ErrorText, SacError
from sacnb.replay import active

if TYPE_CHECKING:
    from sacnb._auth.token import TokenEnvelope
    from sacnb._pull import Progress
    from sacnb._results.result import Result
    from sacnb._wire.telemetry import RetryEvent

__all__ = [
    "NOT_YET",
    "FactTable",
    "Lines",
    "as_html",
    "cancelled_status",
    "error_lines",
    "failed_status",
    "progress_text",
    "result_status",
    "retry_text",
    "summary_text",
    "token_text",
]

NOT_YET: Final = "not refreshed yet"
# A rate measured over less time is a guess.
_RATE_AFTER_S: Final = 0.5


def result_status(result: Result, began: datetime, now: datetime) -> str:
    """Return ``fresh, 2,880 rows, 14:02 UTC+1``; for data from before this refresh *began*, how old it is."""
    info = result.info
    if result.stale:
        return f"SAC did not answer; {_shown_data(result, now)}"
    rows = _count(info.row_count, "row")
    if info.last_refresh_time < began:  # the download resumed an earlier one
        return f"resumed, {rows}; {_shown_data(result, now)}"
    return f"fresh, {rows}, {_clock(info.last_refresh_time, now)}"


def cancelled_status(result: Result | None, now: datetime) -> str:
    """Return the status after a cancelled refresh."""
    return f"cancelled; {_shown_data(result, now)}"


def failed_status(result: Result | None, now: datetime) -> str:
    """Return the status after a failed refresh without a cached result."""
    return f"failed; {_shown_data(result, now)}"


def _shown_data(result: Result | None, now: datetime) -> str:
    if result is None:
        return "no data yet"
    refreshed = result.info.last_refresh_time
    # The age grows while the text stays, so the text says when it was true.
    age = f"{age_in_words(now - refreshed)} old at {_clock(now, now).partition(' UTC')[0]}"
    return f"showing data from {_clock(refreshed, now)}, {age}"


def progress_text(progress: Progress) -> str:
    """Return ``12,000 of 34,200 rows, 12 pages, 4,000 rows/s, about 6 s left``, as far as it is known."""
    of_all = f" of {progress.expected_rows:,}" if progress.expected_rows is not None else ""
    parts = [f"{progress.rows:,}{of_all} rows", _count(progress.pages, "page")]
    if progress.elapsed_s >= _RATE_AFTER_S and progress.rows > progress.resumed_rows:
        rate = (progress.rows - progress.resumed_rows) / progress.elapsed_s
        parts.append(f"{rate:,.0f} rows/s")
        left = (progress.expected_rows or 0) - progress.rows
        if left > 0:
            parts.append(f"about {_duration(left / rate)} left")
    return ", ".join(parts)


def summary_text(progress: Progress) -> str:
    """Return ``34,200 rows, 35 pages, in 12 s``; ``1,000 of 34,200 rows`` for a download that ended early."""
    is_short = progress.expected_rows is not None and progress.rows < progress.expected_rows
    of_all = f" of {progress.expected_rows:,}" if is_short else ""
    return f"{progress.rows:,}{of_all} rows, {_count(progress.pages, 'page')}, in {_duration(progress.elapsed_s)}"


def retry_text(event: RetryEvent) -> str:
    """Return ``SAC answered 429; retrying in 7 s (2 of 4)``."""
    why = f"SAC answered {event.cause}" if event.cause.isdigit() else f"no valid answer ({event.cause})"
    wait = f"retrying in {event.delay_s:.0f} s ({event.attempt + 1} of {event.max_attempts})"
    return f"{why.replace('_', ' ')}; {wait}"


def token_text(token: TokenEnvelope | None, now: datetime) -> str:
    """Return the time at which the token expires; the time left would be wrong a minute later."""
    if token is None:
        return "Token: none yet; the next request gets one."
    if not token.end_is_known:
        return "Token: pasted; it does not say when it expires."
    expires = _clock(token.expires_at_local, now)
    if token.is_expired(now):
        return f"Token: expired at {expires}; the next request gets a new one."
    return f"Token: valid until {expires}."


def as_html(lines: Sequence[str], *, role: str | None = None) -> str:
    """Return lines of text as HTML, escaped, because much of it comes from the server."""
    attribute = f' role="{role}"' if role else ""
    return f"<div{attribute}>{'<br>'.join(html.escape(printable(line)) for line in lines)}</div>" if lines else ""


def _clock(moment: datetime, now: datetime) -> str:
    """Return a time with its zone, and with its date if that is not today.

    A replay shows UTC, so that a recorded notebook has the same outputs on every machine.
    """
    zone = UTC if active() is not None else None
    here, today = moment.astimezone(zone), now.astimezone(zone).date()
    minutes = round((here.utcoffset() or timedelta()).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    name = f"UTC{'-' if minutes < 0 else '+'}{hours}{f':{rest:02}' if rest else ''}" if minutes else "UTC"
    return f"{here:%H:%M} {name}" if here.date() == today else f"{here:%Y-%m-%d %H:%M} {name}"


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def error_lines(error: BaseException) -> list[str]:
    """Return an error in words: its name and message, the remedy, the details; without secrets.

    An error that is not sacnb's is a bug somewhere; it gets one line.
    """
    if not isinstance(error, SacError):
        return [redact_text(f"{type(error).__name__}: {error}")]
    first, *rest = ErrorText.of(error).lines() or [""]
    return [f"{type(error).__name__}: {first}", *rest]


class Lines:
    """Lines of text as the output of a cell."""

    __module__ = "sacnb.notebook"
    __slots__ = ("_text",)

    def __init__(self, *lines: str) -> None:
        self._text = printable("\n".join(lines))

    def __repr__(self) -> str:
        return self._text


class FactTable(Previewed):
    """Names and values as the output of a cell."""

    __module__ = "sacnb.notebook"
    __slots__ = ("_table",)

    def __init__(self, title: str, facts: Mapping[str, str]) -> None:
        self._table = fact_table(title, facts)

    def __repr__(self) -> str:
        return self._table.text()

    def _preview(self) -> Preview:
        return self._table
