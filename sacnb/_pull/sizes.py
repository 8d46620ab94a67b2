"""How many rows to ask for in a page: less where SAC cannot make such pages, and more again when it can."""

from __future__ import annotations

import threading
from typing import Final

__all__ = ["PageSize"]

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
