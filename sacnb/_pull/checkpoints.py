"""Keep the pages of a pull on the disk, and find the unfinished pulls that it may resume."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from sacnb._cache.staging import StagingArea, has_area, staging_id
from sacnb._cache.state import PageFile, SegmentState
from sacnb._pull.plan import Job, Plan

__all__ = ["Checkpoints", "Copy", "Staging", "can_be_resumed", "plan_of"]

_log = logging.getLogger("sacnb.pull")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Copy:
    """A page's rows on the disk: the name of the file and its hash; both empty for a page without rows."""

    file: str
    sha256: str


class Checkpoints:
    """Keeps pages in a staging area; without one, nothing.

    Args:
        area: The area, with the files of an earlier run.
        is_needed: Whether errors of the file system are raised, as OSError. Otherwise the area is a convenience: a full
            disk costs the next run its head start, and not this run its rows.
    """

    def __init__(self, area: StagingArea | None = None, *, is_needed: bool = False) -> None:
        self._area = area
        self._is_needed = is_needed
        self._open_area: Callable[[], StagingArea | None] | None = None
        self._keeps = True
        self._lock = threading.Lock()

    def open_when_needed(self, open_area: Callable[[], StagingArea | None]) -> None:
        """Open an area when the first page is to be kept; the many pulls of a single page never need one."""
        self._open_area = open_area

    def close(self) -> None:
        """Release the area; its files stay for the next process."""
        if self._area is not None:
            self._area.close()

    def discard(self) -> None:
        """Remove the area, so that nothing is resumed."""
        if self._area is None:
            return
        try:
            self._area.discard()
        except OSError as error:
            _log.warning("Cannot remove %s (%s). Remove it with: sacnb cache clear --staging", self._area, error)

    @property
    def area(self) -> StagingArea | None:
        """The area, if there is one by now."""
        return self._area

    def segment(self, number: int) -> SegmentState:
        """Return the progress that an earlier run left of a segment."""
        return self._area.segment(number) if self._area is not None else SegmentState()

    def read(self, page: PageFile) -> pa.Table:
        """Return the rows of a page of an earlier run."""
        assert self._area is not None  # noqa: S101 - without one there are no pages
        return self._area.read_page(page)

    def read_part(self, file: str, columns: list[str] | None = None) -> pa.Table:
        """Return some columns of a part file of an earlier run, or all."""
        assert self._area is not None  # noqa: S101 - without one there are no parts
        import pyarrow.parquet as pq  # only where files are read: it takes a twentieth of a cold start

        with pq.ParquetFile(self._area.rows / file) as parquet:
            return parquet.read(columns=columns)

    def has_rows(self, segment: int, first_row: int, rows: pa.Table) -> bool:
        """Return whether the part files of a segment hold these rows from *first_row* on."""
        position = 0
        for part in self.segment(segment).parts:
            start, end = max(first_row, position), min(first_row + rows.num_rows, position + part.rows)
            if start < end:
                kept = self.read_part(part.file).slice(start - position, end - start)
                try:
                    again = rows.slice(start - first_row, end - start).cast(kept.schema)
                except pa.ArrowInvalid:  # more digits than before
                    return False
                if not bool(again.equals(kept)):
                    return False
            position += part.rows
        return position >= first_row + len(rows)

    def write(self, segment: int, index: int, table: pa.Table, *, is_all: bool) -> Copy | None:
        """Copy a page to the disk, unless it ``is_all`` of the pull; called by several threads."""
        if self._area is None and is_all:
            return None
        if not table.num_rows:
            return Copy("", "")
        found = self._do(lambda area: area.write_page(segment, index, table))
        return None if found is None else Copy(*found)

    def add(self, segment: int, page: PageFile, *, announced: int | None) -> None:
        """Count a copy as the next page of its segment."""
        self._do(lambda area: area.add_page(segment, page, announced=announced))

    def note_failure(self, segment: int, link: str) -> None:
        """Note for the next run that a link could not be fetched."""
        if self._area is not None:
            self._do(lambda area: area.note_failure(segment, link))

    def restart(self, segment: int) -> None:
        """Forget the pages of a segment."""
        if self._area is not None:
            self._do(lambda area: area.restart(segment))

    def _do(self, action: Callable[[StagingArea], _T]) -> _T | None:
        try:
            area = self._opened()
            return action(area) if area is not None else None
        except OSError as error:
            if self._is_needed:
                raise
            # Keep nothing from here on: a segment with a page missing in its middle would be worse than none.
            self._keeps = False
            _log.warning("Cannot write checkpoints (%s). The download continues but cannot be resumed.", error)
            return None

    def _opened(self) -> StagingArea | None:
        with self._lock:
            if self._area is None and self._open_area is not None and self._keeps:
                opener, self._open_area = self._open_area, None
                self._area = opener()
            return self._area if self._keeps else None


@dataclass(frozen=True, slots=True)
class Staging:
    """The folder of unfinished pulls and the identity of one; ``now`` is the clock, in UTC.

    ``identity`` is plain text and holds no secret: it is written to the disk.
    """

    root: Path
    identity: Mapping[str, str]
    now: Callable[[], datetime]
    resume: bool = True

    def id(self, **more: str) -> str:
        """Return the name of this pull's area."""
        return staging_id({**self.identity, **more})

    def has_area(self) -> bool:
        """Return whether an earlier run left an area."""
        return has_area(self.root, self.identity)

    def open(self, rows: Path | None = None, **more: str) -> StagingArea | None:
        """Open the area of this pull; ``None`` if another process holds it. Raises OSError."""
        identity = {**self.identity, **more}
        return StagingArea.open(self.root, identity, rows=rows, resume=self.resume, now=self.now)


def can_be_resumed(plan: Plan, job: Job) -> bool:
    """Return whether half of a pull can be resumed: not one of several segments that a limit cuts short together."""
    return job.query.top is None or len(plan.segments) == 1


def plan_of(area: StagingArea, job: Job, make_plan: Callable[[Job], Plan]) -> Plan:
    """Return the plan that the pull was begun with, or make one and discard rows pulled by an unusable plan."""
    if area.plan is not None:
        try:
            plan = Plan.from_json(area.plan)
        except (KeyError, TypeError, ValueError):
            plan = None
        if plan is not None and can_be_resumed(plan, job):
            return plan
        area.begin_anew()
    plan = make_plan(job)
    area.keep_plan(plan.to_json())
    return plan
