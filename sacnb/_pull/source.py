"""Fetch the pages of a chain, one after the other, each link before its page is decoded.

How fast all streams of a pull may ask together: as fast as they can, until SAC says otherwise.

SAC publishes no limit. So there is none at first; a 429 sets one, at half the pace at which the last requests were
sent, and holds every stream back for as long as SAC asked the one to wait. Good answers raise it again, little by
little. It is a token bucket that holds one token: requests are spread evenly, since a burst is what got refused.

How many rows to ask for in a page: less where SAC cannot make such pages, and more again when it can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sacnb._odata.page import Page, cut_page, next_url
from sacnb._pull.failures import DataChanged
from sacnb._pull.plan import Chain, mark_of
from sacnb._wire.interrupt import Interrupt
from sacnb._wire.retry import RetryBudget
from sacnb.errors import Cancelled, SacError

if TYPE_CHECKING:
    from sacnb._wire.context import DispatchContext
    from sacnb._wire.message import Answer

__all__ = ["Fetched", "Pace", "PageSize", "PageSource", "Start"]

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
        """Take the next turn: the seconds to wait before sending."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next_at)
            if self._per_s is not None:
                self._next_at = at + 1 / self._per_s
            self._sent.append(at)
            self._turns[threading.get_ident()] = at
            return at - now

    def throttled(self, wait_s: float) -> None:
        """This thread's request was answered with 429, and will be repeated after ``wait_s`` seconds.

        Of several that were under way at once, the first cuts the pace; the others had no chance to know of it.
        """
        with self._lock:
            now = self._clock()
            self._next_at = max(self._next_at, now + wait_s)
            if self._turns.get(threading.get_ident(), now) < self._cut_at:
                return
            self._cut_at = now
            self._per_s = max(self._pace_so_far(now) * _CUT, _SLOWEST_PER_S)

    def answered(self) -> None:
        """A request was answered well."""
        with self._lock:
            if self._per_s is not None:
                self._per_s *= _GROWTH

    def _pace_so_far(self, now: float) -> float:
        if self._per_s is not None:
            return self._per_s
        lasted = now - self._sent[0] if self._sent else 0.0
        return len(self._sent) / lasted if lasted > 0 else float(len(self._sent))


_log = logging.getLogger("sacnb.export")

_OPERATION: Final = "pull facts"
_SLICE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin in a chain: before its page number ``index`` (from 0), which is at ``mark``.

    Without a ``mark`` it is the beginning, asked for with ``page_size`` rows a page. ``announced`` is the number of
    rows that SAC counted when the pages before were pulled, which has to be the same still.
    """

    page_size: int | None
    index: int = 0
    mark: str | None = None
    announced: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page, not yet decoded. ``mark`` is where it was, ``next_mark`` where the next one is, if there is one."""

    index: int
    page: Page
    mark: str
    next_mark: str | None


class PageSource:
    """Asks one tenant for pages; shared by all streams of a pull, which it gives their turns.

    ``stop`` ends requests that are under way; ``budget`` is what all of them may spend on retries.
    """

    def __init__(
        self,
        context: DispatchContext,
        tenant_url: str,
        *,
        stop: Interrupt,
        budget: RetryBudget | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._session = context.session
        self._tenant_url = tenant_url
        self._stop = stop
        self._budget = budget or RetryBudget()
        self._pace = pace or Pace(clock=context.session.clock)

    @property
    def pace(self) -> Pace:
        """How fast it asks."""
        return self._pace

    def pages(self, chain: Chain, start: Start) -> Iterator[Fetched]:
        """The pages of a chain: a loop, since a model may have thousands of them.

        Raises DataChanged where SAC counts other rows than the start says, BadAnswer for a link that leads elsewhere or
        back, and what the session raises.
        """
        mark: str | None = start.mark or chain.first_mark(start.page_size)
        index = start.index
        seen: set[str] = set()
        while mark is not None:
            url = self._tenant_url + mark
            seen.add(url)
            page, answered_from = self._get(url)
            if None not in {start.announced, page.count} and page.count != start.announced:
                raise DataChanged(
                    f"SAC announced {start.announced:,} rows when the pull was begun, and {page.count:,} now."
                )
            following = chain.mark_after(index, start.page_size)
            if following is None and chain.is_open and page.next_link is not None:
                following = mark_of(next_url(answered_from, page.next_link, origin=self._tenant_url, seen=seen))
            fetched = Fetched(index, page, mark, following)
            mark, index = following, index + 1
            yield fetched
            del page, fetched  # or it would be kept for as long as it takes to fetch the next one

    def again(self, fetched: Fetched) -> Page:
        """The same page once more, because it could not be decoded to its end."""
        return self._get(self._tenant_url + fetched.mark)[0]

    def answers(self, chain: Chain) -> bool:
        """Whether SAC answers the question of a chain, in a page of one row."""
        try:
            self._get(self._tenant_url + chain.first_mark(1))
        except SacError as error:
            _log.debug("SAC does not answer: %s", error)
            return False
        return True

    def _get(self, url: str) -> tuple[Page, str]:
        self._wait(self._pace.turn())
        cut: list[Page] = []

        def check(answer: Answer) -> None:
            # Inside the retry loop: a page that was cut short on its way is asked for again. The rows are looked at by
            # the thread that decodes them, while this one asks for the next page.
            cut[:] = [cut_page(answer.body, look_inside=False)]

        answer = self._session.fetch(
            "GET", url, operation=_OPERATION, check=check, cancelled=self._stop, budget=self._budget
        )
        self._pace.answered()
        # Taken out: the session's objects refer to each other and to check, and would keep the page until they are
        # collected.
        return cut.pop(), answer.url

    def _wait(self, seconds: float) -> None:
        while seconds > 0:
            if self._stop():
                raise Cancelled("The pull was stopped.")
            slice_s = min(seconds, _SLICE_S)
            self._session.sleep(slice_s)
            seconds -= slice_s


# SAP's own samples ask for pages of 5,000 rows. Where a page of that size fails, its size is not to blame.
SMALL_PAGE_ROWS: Final = 5_000


class PageSize:
    """The size that the next fresh request asks for; shared by all streams of a pull, safe for threads.

    A link is requested as SAC gave it, so only the first page of a chain has a size to choose. ``None`` asks for none
    and never changes.
    """

    def __init__(self, setting: int | None) -> None:
        self._setting = setting
        self._current = setting
        self._lock = threading.Lock()

    @property
    def current(self) -> int | None:
        """Rows to ask for."""
        return self._current

    def shrink(self, failed: int | None) -> bool:
        """Pages of ``failed`` rows do not work: halve; false where they were small already.

        Several streams may fail with the same size at the same time; it is halved once.
        """
        if failed is None or failed <= SMALL_PAGE_ROWS:
            return False
        with self._lock:
            if self._current is not None and self._current >= failed:
                self._current = max(failed // 2, SMALL_PAGE_ROWS)
        return True

    def grow(self, worked: int | None) -> None:
        """A whole chain came in pages of ``worked`` rows: double, up to the setting."""
        with self._lock:
            if self._setting is not None and worked is not None and worked == self._current:
                self._current = min(worked * 2, self._setting)
