"""What a refresh panel says, in words: how far it is, what is shown, how long the token lasts, what went wrong.

What went wrong, as the few lines that a notebook shows.

Lines and small tables of text as the output of a cell.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sacnb._pull.collect import age_in_words
from sacnb._redact import redact_text
from sacnb._rendering import Preview, Previewed, fact_table, local_time
from sacnb.errors import ErrorText, SacError

if TYPE_CHECKING:
    from sacnb._auth.token import TokenEnvelope
    from sacnb._pull import Progress
    from sacnb._results.result import Result
    from sacnb._wire.telemetry import RetryEvent

__all__ = [
    "NOT_YET",
    "Said",
    "Told",
    "as_html",
    "cancelled",
    "failed",
    "failure_lines",
    "how_far",
    "how_far_it_got",
    "retrying",
    "shown",
    "token_state",
]

NOT_YET: Final = "not refreshed yet"
# A rate over less time than this is a guess.
_RATE_AFTER_S: Final = 0.5


def shown(result: Result, began: datetime, now: datetime) -> str:
    """``fresh, 2,880 rows, 14:02``; for data from before this refresh ``began``, how old they are."""
    info = result.info
    if result.stale:
        return f"SAC did not answer; {_showing(result, now)}"
    rows = _count(info.row_count, "row")
    if info.last_refresh_time < began:  # the pull went on where an earlier one had stopped
        return f"resumed, {rows}; {_showing(result, now)}"
    return f"fresh, {rows}, {_clock(info.last_refresh_time, now)}"


def cancelled(result: Result | None, now: datetime) -> str:
    """Somebody stopped it."""
    return f"stopped; {_showing(result, now)}"


def failed(result: Result | None, now: datetime) -> str:
    """It did not work, and no kept result could be served."""
    return f"failed; {_showing(result, now)}"


def _showing(result: Result | None, now: datetime) -> str:
    if result is None:
        return "there is no data yet"
    refreshed = result.info.last_refresh_time
    # The age grows while the sentence stands, so it says when it was true.
    age = f"{age_in_words(now - refreshed)} old at {local_time(now):%H:%M}"
    return f"showing data from {_clock(refreshed, now)}, {age}"


def how_far(progress: Progress) -> str:
    """``12,000 of 34,200 rows, 12 pages, 4,000 rows a second, about 6 s left``, as far as it is known."""
    of_all = f" of {progress.expected_rows:,}" if progress.expected_rows is not None else ""
    said = [f"{progress.rows:,}{of_all} rows", _count(progress.pages, "page")]
    if progress.elapsed_s >= _RATE_AFTER_S and progress.rows > progress.resumed_rows:
        rate = (progress.rows - progress.resumed_rows) / progress.elapsed_s
        said.append(f"{rate:,.0f} rows a second")
        left = (progress.expected_rows or 0) - progress.rows
        if left > 0:
            said.append(f"about {_duration(left / rate)} left")
    return ", ".join(said)


def how_far_it_got(progress: Progress) -> str:
    """``34,200 rows, 35 pages, in 12 s``, or how many of them there are where it ended early."""
    is_short = progress.expected_rows is not None and progress.rows < progress.expected_rows
    of_all = f" of {progress.expected_rows:,}" if is_short else ""
    return f"{progress.rows:,}{of_all} rows, {_count(progress.pages, 'page')}, in {_duration(progress.elapsed_s)}"


def retrying(event: RetryEvent) -> str:
    """``SAC answered 429; trying again in 7 s (2 of 4)``: why it takes longer than it should."""
    why = (
        f"SAC answered {event.cause}" if event.cause.isdigit() else f"no good answer ({event.cause.replace('_', ' ')})"
    )
    return f"{why}; trying again in {event.delay_s:.0f} s ({event.attempt + 1} of {event.max_attempts})"


def token_state(token: TokenEnvelope | None, now: datetime) -> str:
    """Until when the token lasts. A time, and not what remains: that would be wrong a minute later."""
    if token is None:
        return "Token: none yet; the first question gets one."
    if not token.end_is_known:
        return "Token: pasted; it does not say when it ends."
    ends = _clock(token.expires_at_local, now)
    if token.is_expired(now):
        return f"Token: ended at {ends}; the next question gets a new one."
    return f"Token: valid until {ends}."


def as_html(lines: Sequence[str], *, role: str | None = None) -> str:
    """Lines of text as HTML, each escaped: much of it comes from the server."""
    attribute = f' role="{role}"' if role else ""
    return f"<div{attribute}>{'<br>'.join(html.escape(line) for line in lines)}</div>" if lines else ""


def _clock(moment: datetime, now: datetime) -> str:
    """A moment as the wall clock here shows it; with its date, if that is not today."""
    here, today = local_time(moment), local_time(now).date()
    return f"{here:%H:%M}" if here.date() == today else f"{here:%Y-%m-%d %H:%M}"


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def failure_lines(error: BaseException) -> list[str]:
    """An error in words: what it is and what happened, then what to do now, and what else is known. No secrets.

    An error that is not ours is a mistake somewhere; of it there is one line, with secrets taken out.
    """
    if not isinstance(error, SacError):
        return [redact_text(f"{type(error).__name__}: {error}")]
    first, *rest = ErrorText.of(error).lines() or [""]
    return [f"{type(error).__name__}: {first}", *rest]


class Said:
    """Lines to read; they show themselves as they are."""

    __slots__ = ("_text",)

    def __init__(self, *lines: str) -> None:
        self._text = "\n".join(lines)

    def __repr__(self) -> str:
        return self._text


class Told(Previewed):
    """Names and values to read."""

    __slots__ = ("_table",)

    def __init__(self, title: str, facts: Mapping[str, str]) -> None:
        self._table = fact_table(title, facts)

    def __repr__(self) -> str:
        return self._table.text()

    def _preview(self) -> Preview:
        return self._table
