"""State of each segment of a staged pull, its form on the disk, its age, and its removal."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sacnb._files import TEMPORARY_NAME, remove

__all__ = [
    "MAX_AGE",
    "ROWS_FORM",
    "PageFile",
    "PartFile",
    "SegmentState",
    "is_recent",
    "remove_area",
    "remove_rows",
    "segment_state",
    "time_of",
]

MAX_AGE: Final = timedelta(hours=12)
_CLOCK_SKEW: Final = timedelta(minutes=5)
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
    ``next_row`` and ``next_link`` say where to resume: the number of the next page, the number of its first row, and
    its link; no link and not ``is_complete`` means from the beginning. Where a damaged page is fetched again,
    ``next_row`` may lie before the end of the parts. ``announced`` is SAC's count of the rows. ``failed_link`` is a
    link that could not be fetched.
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
        """Return the state with the first *count* of its pages only, to resume with the one after them."""
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


def remove_area(directory: Path, rows: Path) -> None:
    """Remove an area, and its rows, also where they lie outside of it. Links are removed, never followed."""
    if directory.is_symlink():
        directory.unlink()
    remove_rows(rows)
    remove(directory)


def remove_rows(rows: Path) -> None:
    """Remove the files with rows in a folder, and the folder itself if nothing else is in it."""
    if rows.is_symlink():
        rows.unlink()
    if not rows.is_dir():
        return
    for path in rows.iterdir():
        ours = ROWS_FORM.fullmatch(path.name) or TEMPORARY_NAME.fullmatch(path.name)
        if ours and (path.is_symlink() or not path.is_dir()):
            path.unlink()
    with contextlib.suppress(OSError):  # something else is in there
        rows.rmdir()


def time_of(text: object) -> datetime | None:
    """Return a time with its zone from its text; ``None`` for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def is_recent(text: object, now: datetime, max_age: timedelta = MAX_AGE) -> bool:
    """Return whether a time was at most *max_age* ago.

    A time in the future is not recent: it was noted while the clock was wrong, and its age is unknown. A few minutes
    are forgiven, since the clocks of two machines that share a folder differ.
    """
    time = time_of(text)
    return time is not None and -_CLOCK_SKEW <= now - time <= max_age
