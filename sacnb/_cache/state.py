"""State of each segment of a staged pull, and its form on the disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["ROWS_FORM", "PageFile", "PartFile", "SegmentState", "segment_state"]

# The names of the files with rows that an export or a staged pull writes; no other file is ever removed. A published
# part file carries a digest of the whole export.
ROWS_FORM: Final = re.compile(r"(part-[0-9]{4}-[0-9]{5,}(-[0-9a-f]{8})?\.parquet|page-[0-9]{4}-[0-9]{5,}\.arrow)")


@dataclass(frozen=True, slots=True)
class PageFile:
    """The rows of one page on the disk: ``first_row`` is the number (from 0) of its first row in its segment.

    ``link`` is the page's own link, ``next_link`` that of the next page: paths of the tenant.
    """

    index: int
    file: str
    first_row: int
    rows: int
    sha256: str
    link: str
    next_link: str | None


@dataclass(frozen=True, slots=True)
class PartFile:
    """A finished Parquet file."""

    file: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentState:
    """Progress of a segment on the disk.

    The rows of ``parts`` come first; ``pages`` are those whose rows are not all in a part yet. ``next_index``,
    ``next_row`` and ``next_link`` say where to go on: the number of the next page, the number of its first row, and its
    link; no link and not ``is_complete`` means from the beginning. Where a damaged page is fetched again, ``next_row``
    may lie before the end of the parts. ``announced`` is SAC's count of the rows. ``failed_link`` is a link that could
    not be fetched.
    """

    announced: int | None = None
    parts: tuple[PartFile, ...] = ()
    pages: tuple[PageFile, ...] = ()
    next_index: int = 0
    next_row: int = 0
    next_link: str | None = None
    is_complete: bool = False
    failed_link: str | None = None

    @property
    def part_rows(self) -> int:
        """Rows in finished parts."""
        return sum(part.rows for part in self.parts)

    @property
    def rows(self) -> int:
        """All rows."""
        return max(self.next_row, self.part_rows)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all its files with rows."""
        return (*(part.file for part in self.parts), *(page.file for page in self.pages))

    def up_to(self, count: int) -> SegmentState:
        """Return the state with the first *count* of its pages only, to go on with the one after them."""
        lost = self.pages[count]
        return replace(
            self,
            pages=self.pages[:count],
            next_index=lost.index,
            next_row=lost.first_row,
            next_link=lost.link,
            is_complete=False,
        )


def segment_state(values: Mapping[str, Any]) -> SegmentState:
    """Return the state that was written down; an empty one where the values are something else."""
    try:
        plain = {**values}
        parts = tuple(PartFile(**one) for one in plain.pop("parts"))
        pages = tuple(PageFile(**one) for one in plain.pop("pages"))
        state = SegmentState(parts=parts, pages=pages, **plain)
        return state if _is_sound(state) else SegmentState()
    except (AttributeError, KeyError, TypeError, ValueError):
        return SegmentState()


def _is_sound(state: SegmentState) -> bool:
    """Return whether every file has one of our names, every link is a path, and the rows join without a gap."""
    links = [state.next_link, *(page.link for page in state.pages)]
    if not all(map(ROWS_FORM.fullmatch, state.files)) or not all(
        link is None or link.startswith("/") for link in links
    ):
        return False
    ends = [page.first_row + page.rows for page in state.pages]
    starts = [*(page.first_row for page in state.pages), state.next_row]
    return starts[0] <= state.part_rows and starts[1:] == ends
