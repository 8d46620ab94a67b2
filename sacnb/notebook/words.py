"""The words of the notebook: status lines of the widgets, progress, problems, and small outputs of the magics."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, Self, get_args

from sacnb._charts.style import Theme, theme_of_notebook
from sacnb._pull.progress import age_in_words
from sacnb._redact import redact_text
from sacnb._rendering import Preview, Previewed, fact_table, printable
from sacnb.errors import (
    AuthError,
    ErrorText,
    ForbiddenError,
    LiveConnectionError,
    NoAnswerError,
    NotFoundError,
    RequestError,
    SacError,
    ServerError,
    ThrottledError,
)
from sacnb.replay import active

if TYPE_CHECKING:
    import polars as pl

    from sacnb._auth.token import TokenEnvelope
    from sacnb._charts.chart import Chart
    from sacnb._pull import Progress
    from sacnb._results.result import Result
    from sacnb._wire.telemetry import RetryEvent

__all__ = [
    "NOT_YET",
    "FactTable",
    "Lines",
    "LoginLink",
    "Problem",
    "State",
    "as_html",
    "cancelled_status",
    "clock_text",
    "draw_for_page",
    "error_lines",
    "failed_status",
    "printable_frame",
    "progress_text",
    "result_status",
    "retry_text",
    "status_html",
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
        return "No token yet; the next request gets one."
    if not token.end_is_known:
        return "Pasted token; it does not say when it expires."
    expires = _clock(token.expires_at_local, now)
    if token.is_expired(now):
        return f"Token expired at {expires}; the next request gets a new one."
    return f"Token valid until {expires}"


def as_html(lines: Sequence[str], *, role: str | None = None) -> str:
    """Return lines of text as HTML, escaped, because much of it comes from the server."""
    attribute = f' role="{role}"' if role else ""
    return f"<div{attribute}>{'<br>'.join(html.escape(printable(line)) for line in lines)}</div>" if lines else ""


State = Literal["idle", "busy", "good", "old", "stopped", "failed"]
# Drawn in a square of 16 pixels. The words beside a sign say the same, so screen readers skip it.
_SIGNS: Final[dict[State, str]] = {
    "idle": '<circle cx="8" cy="8" r="6" fill="none" stroke="#767676" stroke-width="2"/>',
    "busy": '<path d="M8 2a6 6 0 1 1-6 6" fill="none" stroke="#0072b2" stroke-width="2.5" stroke-linecap="round"/>',
    "good": '<circle cx="8" cy="8" r="8" fill="#00825f"/><path d="M4.3 8.3l2.6 2.6 4.9-5.4" fill="none" stroke="#fff" '
    'stroke-width="2"/>',
    "old": '<path d="M8 0.8L16 15H0z" fill="#d55e00"/><path d="M8 5.5v4.6M8 11.6v2" stroke="#fff" stroke-width="2"/>',
    "stopped": '<circle cx="8" cy="8" r="8" fill="#767676"/><path d="M5 5h6v6H5z" fill="#fff"/>',
    "failed": '<circle cx="8" cy="8" r="8" fill="#d4004a"/><path d="M5 5l6 6M11 5l-6 6" stroke="#fff" '
    'stroke-width="2"/>',
}


def status_html(state: State, text: str, *, subject: str = "") -> str:
    """Return a sign with the status in words, after the *subject* it is about."""
    before = f"<strong>{html.escape(printable(subject))}</strong>: " if subject else ""
    sign = f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SIGNS[state]}</svg>'
    words = f"<span>{before}{html.escape(printable(text))}</span>"
    return f'<div role="status" class="sacnb-status sacnb-{state}">{sign}{words}</div>'


# Sharp on screens with more pixels than their page has, and a whole number, or every grid line would be blurred.
_PICTURE_SCALE: Final = 2
# The style sheet blends these grounds with the page. vl-convert's PNGs without a ground have dark edges at every line.
_GROUNDS: Final[dict[Theme, str]] = {"light": "#ffffff", "dark": "#000000"}


def draw_for_page(plot: Callable[..., Chart]) -> tuple[Chart, str]:
    """Draw for light and for dark pages; return the chart for Altair's theme, and HTML that shows what fits the page.

    *plot* takes a ``theme``. Raises what it raises.
    """
    charts: dict[Theme, Chart] = {theme: plot(theme=theme) for theme in get_args(Theme)}
    shown = "".join(_picture(chart, theme) for theme, chart in charts.items())
    return charts[theme_of_notebook()], shown


def _picture(chart: Chart, theme: Theme) -> str:
    # No SVG: the browser's fonts are wider than those it was laid out for, and labels at the edge would be cut.
    png = chart.png(scale=_PICTURE_SCALE, ground=_GROUNDS[theme])
    width = int.from_bytes(png[16:20], "big") / _PICTURE_SCALE
    alt = html.escape(chart.description, quote=True)
    data = base64.b64encode(png).decode()
    look = f'class="sacnb-{theme}" style="max-width: {width:.0f}px"'
    return f'<img {look} alt="{alt}" src="data:image/png;base64,{data}">'


# A remedy in Python: a call, an argument, or an option of the command line.
_CODE: Final = re.compile(r"\w\(|\w=|--\w|\[\.\.\.")
_ARGUMENT: Final = re.compile(r"\b(since|until|grain|agg|measures|dims)=")
_CONTROLS: Final = {"agg": "Made by ", "dims": "Dimensions "}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in the words of a widget: what happened, what to do in it, and the error in full, folded away."""

    headline: str
    advice: str = ""
    details: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException, *, again: str, advice: str = "") -> Self:
        """Return the words for *error*.

        *again* names the button that repeats the request. *advice* replaces a remedy that is Python.
        """
        found = cls(*_said_of(error, again))
        if not isinstance(error, SacError):
            return replace(found, details=tuple(error_lines(error)))
        if not found.headline:
            remedy = error.hint or ""
            found = cls(_ARGUMENT.sub(_control, error.message), advice if _CODE.search(remedy) else remedy)
        lines = tuple(error_lines(error))
        is_all = " ".join(lines) == f"{type(error).__name__}: {found.headline} {found.advice}".strip()
        return found if is_all else replace(found, details=lines)

    def html(self) -> str:
        """Return the problem as HTML; the details unfold at a click."""
        shown = [f"<p><strong>{_html(self.headline)}</strong></p>"]
        shown += [f"<p>{_html(self.advice)}</p>"] if self.advice else []
        if self.details:
            shown.append(
                f"<details><summary>Details</summary><div>{'<br>'.join(map(_html, self.details))}</div></details>"
            )
        return f'<div role="alert" class="sacnb-problem">{"".join(shown)}</div>'


# Errors that are not about the query: what happened, and what to do. {0} is the status, {1} the button.
_SAID: Final[dict[type[SacError], tuple[str, str]]] = {
    NoAnswerError: ("SAC cannot be reached.", "Check the network or the VPN, then press {1}."),
    ThrottledError: ("SAC gets too many requests{0}.", "Wait a minute, then press {1}."),
    ServerError: ("SAC has a problem{0}.", "Press {1} in a moment."),
    LiveConnectionError: (
        "This model has a live connection{0}.",
        "SAC exports acquired models only.",
    ),
    ForbiddenError: ("You may not read this model{0}.", "Ask your SAC administrator for the right."),
    NotFoundError: ("SAC does not have this model{0}.", "Check its id, and whether it was deleted."),
    AuthError: ("SAC does not accept the client or its token.", "The details say why."),
}


def _said_of(error: BaseException, again: str) -> tuple[str, str]:
    """Return what happened and what to do; two empty texts for errors that are about the query."""
    if not isinstance(error, SacError):
        return f"A program error: {type(error).__name__}.", ""
    status = f" ({error.status})" if isinstance(error, RequestError) and error.status else ""
    happened, remedy = next((said for kind, said in _SAID.items() if isinstance(error, kind)), ("", ""))
    return happened.format(status, again), remedy.format(status, again)


def _control(found: re.Match[str]) -> str:
    return _CONTROLS.get(found[1], f"{found[1].capitalize()} ")


def _html(text: str) -> str:
    return html.escape(printable(redact_text(text)))


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


def clock_text(moment: datetime) -> str:
    """Return a time of today with its zone: ``14:02 UTC+1``."""
    return _clock(moment, moment)


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


class LoginLink:
    """The link of a login as the output of a cell."""

    __module__ = "sacnb.notebook"
    __slots__ = ("_link",)

    def __init__(self, link: str) -> None:
        self._link = link

    def __repr__(self) -> str:
        return f"Log in: {self._link}"

    def _repr_html_(self) -> str:
        return (
            f'<a href="{html.escape(self._link)}" target="_blank" rel="noopener noreferrer">Log in with the browser</a>'
        )


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


def printable_frame(frame: pl.DataFrame, word: str) -> pl.DataFrame:
    """Return *frame* with characters that steer a terminal written out; pandas prints them as they are."""
    import polars as pl

    from sacnb._frames.preview import shown_frame

    frame = frame.with_columns(
        pl.Series(column.name, [None if text is None else printable(text) for text in column], pl.String)
        for column in frame
        if column.dtype == pl.String
    )
    return shown_frame(frame, word, whole=("id", "parent"))
