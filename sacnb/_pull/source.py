"""Fetch the pages of a segment one after the other, each before the one before it is decoded.

All streams of a pull share one pace and one page size. SAC publishes no limit, so the pace is free at first. A 429 sets
a limit, at half the pace of the last requests, and holds every stream back for as long as SAC asked one of them to
wait; good answers raise the limit again, little by little. It is a token bucket with one token: requests are spread
evenly, since a burst is what SAC refused. Pages get smaller where SAC cannot make them, and larger again when it can.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sacnb._connections import Interrupt
from sacnb._endpoints import TRACK_CHANGES
from sacnb._http import SeenLinks
from sacnb._odata.page import Page, cut_page, next_page
from sacnb._pull.plan import SMALL_PAGE_ROWS, Segment, is_by_skip, link_of, next_by_skip
from sacnb._wire.retry import RetryBudget
from sacnb._wire.telemetry import Event, RetryEvent, Telemetry, current_trace_id
from sacnb.errors import BadAnswer, Cancelled, InconsistentAnswer, SacError

if TYPE_CHECKING:
    from sacnb._wire.context import DispatchContext
    from sacnb._wire.message import Answer

__all__ = ["Fetched", "Pace", "PageSize", "PageSource", "Start"]

_log = logging.getLogger("sacnb.pull")

_WINDOW: Final = 20
_CUT: Final = 0.5
_GROWTH: Final = 1.05
_SLOWEST_PER_S: Final = 0.1


class Pace:
    """Gives each request its turn. Shared by all streams, safe for threads; ``clock`` is monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: deque[float] = deque(maxlen=_WINDOW)
        self._turns: dict[int, float] = {}
        self._per_s: float | None = None
        self._next_at = float("-inf")
        self._cut_at = float("-inf")

    @property
    def per_s(self) -> float | None:
        """The limit in requests per second; ``None`` as long as there is none."""
        return self._per_s

    def turn(self) -> float:
        """Take the next turn; return the seconds to wait before sending."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next_at)
            if self._per_s is not None:
                self._next_at = at + 1 / self._per_s
            self._sent.append(at)
            self._turns[threading.get_ident()] = at
            return at - now

    def throttled(self, wait_s: float) -> None:
        """Slow down: this thread's request was answered with 429 and will be repeated after *wait_s* seconds.

        Of several requests that ran at once, the first one cuts the pace; the others could not know of it.
        """
        with self._lock:
            now = self._clock()
            self._next_at = max(self._next_at, now + wait_s)
            if self._turns.get(threading.get_ident(), now) < self._cut_at:
                return
            self._cut_at = now
            self._per_s = max(self._pace_so_far(now) * _CUT, _SLOWEST_PER_S)

    def answered(self) -> None:
        """Speed up a little: a request was answered well."""
        with self._lock:
            if self._per_s is not None:
                self._per_s *= _GROWTH

    def _pace_so_far(self, now: float) -> float:
        if self._per_s is not None:
            return self._per_s
        lasted = now - self._sent[0] if self._sent else 0.0
        return len(self._sent) / lasted if lasted > 0 else float(len(self._sent))


_OPERATION: Final = "pull facts"
_STEP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Start:
    """The place in a segment to begin at: before its page number ``index`` (from 0), which is at ``link``.

    Without a ``link`` it is the beginning, asked for with ``page_size`` rows a page. ``announced`` is SAC's row count
    from when the pages before were pulled; it must still be the same.
    """

    page_size: int | None
    index: int = 0
    link: str | None = None
    announced: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page, not yet decoded: ``link`` is its own, ``next_link`` that of the next one, if there is one."""

    index: int
    page: Page
    link: str
    next_link: str | None


class PageSource:
    """Fetches pages from one tenant, for all streams of a pull.

    ``stop`` ends requests that are under way; ``budget`` limits the retries of all streams together. With
    ``note_delta_link`` changes are tracked. Where other processes pull from the same tenant, ``share`` is the part of
    the time in which a request may be under way here: after each one the source rests as long as the others need.
    """

    def __init__(
        self,
        context: DispatchContext,
        tenant_url: str,
        *,
        stop: Interrupt,
        budget: RetryBudget | None = None,
        pace: Pace | None = None,
        share: float = 1.0,
        note_delta_link: Callable[[str, str], None] | None = None,
    ) -> None:
        self._session = context.session
        self._deadline_s = context.retry_plan.deadline_s
        self._tenant_url = tenant_url
        self._stop = stop
        self._budget = budget or RetryBudget()
        self._pace = pace or Pace(clock=context.session.clock)
        self._rest = 1 / share - 1  # seconds for each second of a request
        self._rests_until = float("-inf")
        self._note_delta_link = note_delta_link

    @property
    def pace(self) -> Pace:
        """The pace of all its requests."""
        return self._pace

    @contextmanager
    def slowed_down(self, telemetry: Telemetry) -> Iterator[None]:
        """Slow all streams of this pull down after each 429."""
        trace_id = current_trace_id()

        def hook(event: Event) -> None:
            if isinstance(event, RetryEvent) and event.cause == "429" and event.trace_id == trace_id:
                self._pace.throttled(event.delay_s)

        remove = telemetry.add_hook(hook)
        try:
            yield
        finally:
            remove()

    def pages(self, segment: Segment, start: Start) -> Iterator[Fetched]:
        """Fetch the pages of a segment, in a loop: a model may have thousands of them.

        Raises:
            InconsistentAnswer: SAC counts other rows than *start* says.
            BadAnswer: A link leads to another server or back, or one empty page follows the other without an end.
            SacError: The session's errors.
        """
        link: str | None = start.link or segment.first_link(start.page_size)
        index = start.index
        seen = SeenLinks()
        empty, waited_s = 0, 0.0
        while link is not None:
            url = self._tenant_url + link
            seen.add(url)
            asked_at = self._session.clock()
            # Links carry the preference on; with each of them SAC might start another subscription (unconfirmed).
            is_tracked = self._note_delta_link is not None and index == 0
            page, answered_from = self._get(url, TRACK_CHANGES if is_tracked else None)
            if None not in {start.announced, page.count} and page.count != start.announced:
                raise InconsistentAnswer(
                    f"The row count changed during the download: {start.announced:,} at the start, {page.count:,} now.",
                    changed=True,
                )
            following = segment.link_after(index, start.page_size)
            if is_by_skip(link):
                rows = len(json.loads(page.rows)) if page.rows_in_page is None else page.rows_in_page
                following = next_by_skip(link, rows, page.count)
            elif following is None and segment.is_open:
                linked = next_page(page, answered_from, origin=self._tenant_url, seen=seen)
                following = None if linked is None else link_of(linked)
            if following is None and page.delta_link is not None and self._note_delta_link is not None:
                self._note_delta_link(page.delta_link, answered_from)
            if not page.is_empty:
                empty, waited_s = 0, 0.0
            elif following is not None:
                # Only the time that SAC takes counts, not the time in which the caller uses the pages before.
                empty, waited_s = empty + 1, waited_s + self._session.clock() - asked_at
                self._refuse_endless(empty, waited_s)
            fetched = Fetched(index, page, link, following)
            link, index = following, index + 1
            yield fetched
            # Drop the references so that the page is freed before the next one is fetched.
            del page, fetched

    def again(self, fetched: Fetched) -> Page:
        """Fetch a page once more that could not be decoded to its end."""
        return self._get(self._tenant_url + fetched.link)[0]

    def answers(self, segment: Segment) -> bool:
        """Return whether SAC answers the question of a segment, in a page of one row."""
        try:
            self._get(self._tenant_url + segment.first_link(1))
        except SacError as error:
            _log.debug("SAC does not answer: %s", error)
            return False
        return True

    def _refuse_endless(self, pages: int, waited_s: float) -> None:
        most = self._session.limits.empty_pages
        if pages < most and waited_s <= self._deadline_s:
            return
        setting = "SAC_MAX_EMPTY_PAGES" if pages >= most else "SAC_DEADLINE_S"
        raise BadAnswer(
            f"SAC sent {pages:,} pages without a row one after the other in {waited_s:,.0f} seconds, each with a link "
            f"to another page ({setting}).",
            hint="No data was saved. Try again; if it happens again, report it to your SAC administrator. If the model "
            f"has such pages, raise {setting}.",
        )

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[Page, str]:
        self._wait(max(self._pace.turn(), self._rests_until - self._session.clock()))
        sent_at = self._session.clock()
        cut: list[Page] = []

        def check(answer: Answer) -> None:
            # Inside the retry loop: a page that was cut short on its way is asked for again. The thread that decodes
            # looks at the rows, while this one asks for the next page.
            cut[:] = [cut_page(answer.body, status=answer.status, look_inside=False)]

        answer = self._session.fetch(
            "GET",
            url,
            operation=_OPERATION,
            headers=headers,
            check=check,
            cancelled=self._stop,
            budget=self._budget,
            is_bulk=True,
        )
        self._pace.answered()
        if self._rest:
            now = self._session.clock()
            self._rests_until = now + (now - sent_at) * self._rest
        # Popped: the session's objects and check refer to each other, and would keep the page until the garbage
        # collector runs.
        return cut.pop(), answer.url

    def _wait(self, seconds: float) -> None:
        while seconds > 0:
            if self._stop():
                raise Cancelled("Download cancelled.")
            step_s = min(seconds, _STEP_S)
            self._session.sleep(step_s)
            seconds -= step_s


class PageSize:
    """Page size of the next segment; shared by all streams of a pull, safe for threads.

    A link is requested as SAC sent it, so only the first page of a segment has a size to choose. ``None`` asks for no
    size and never changes.
    """

    def __init__(self, setting: int | None) -> None:
        self._setting = setting
        self._current = setting
        self._lock = threading.Lock()

    @property
    def current(self) -> int | None:
        """Rows to ask for in a page."""
        return self._current

    def shrink(self, failed: int | None) -> bool:
        """Halve the size, because pages of *failed* rows do not work; return false where they were small already.

        Several streams may fail with the same size at the same time; it is halved once.
        """
        if failed is None or failed <= SMALL_PAGE_ROWS:
            return False
        with self._lock:
            if self._current is not None and self._current >= failed:
                self._current = max(failed // 2, SMALL_PAGE_ROWS)
        return True

    def limit(self, rows: int) -> None:
        """Ask for no more than *rows* from now on: SAC makes no larger pages."""
        with self._lock:
            self._setting = rows if self._setting is None else min(self._setting, rows)
            self._current = rows if self._current is None else min(self._current, rows)

    def grow(self, worked: int | None) -> None:
        """Double the size, up to the setting, because a whole segment came in pages of *worked* rows."""
        with self._lock:
            if self._setting is not None and worked is not None and worked == self._current:
                self._current = min(worked * 2, self._setting)
