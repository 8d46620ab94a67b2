"""Fetch the pages of a chain, one after the other, each link before its page is decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sacnb._odata.page import Page, cut_page, next_url
from sacnb._pull.failures import DataChanged
from sacnb._pull.pace import Pace
from sacnb._pull.plan import Chain, mark_of
from sacnb._wire.budget import RetryBudget
from sacnb._wire.interrupt import Interrupt
from sacnb.errors import Cancelled, SacError

if TYPE_CHECKING:
    from sacnb._wire.answer import Answer
    from sacnb._wire.context import DispatchContext

__all__ = ["Fetched", "PageSource", "Start"]

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
