"""The pages of a pull on the disk, where somebody wants them there.

Where unfinished pulls are kept, and which of them a pull may go on from.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sacnb._cache.staging import StagingArea, has_area, staging_id
from sacnb._cache.state import LaneState, PageFile
from sacnb._pull.plan import Job, Plan

__all__ = ["Checkpoints", "Copy", "Staging", "can_be_resumed", "plan_of"]

_log = logging.getLogger("sacnb.export")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Copy:
    """A page's rows on the disk: the name of the file and its hash."""

    file: str
    sha256: str


class Checkpoints:
    """Keeps pages in a staging area; without one, nothing.

    Args:
        area: The area, with what an earlier run left in it.
        is_needed: Whether what the system refuses is raised, as OSError. Otherwise the area is a convenience: a full
            disk costs what a dead process would have left to the next one, and not this pull.
    """

    def __init__(self, area: StagingArea | None = None, *, is_needed: bool = False) -> None:
        self._area = area
        self._is_needed = is_needed
        self._open_area: Callable[[], StagingArea | None] | None = None
        self._keeps = True
        self._lock = threading.Lock()

    def open_when_needed(self, open_area: Callable[[], StagingArea | None]) -> None:
        """Open an area when the first page is to be kept; many pulls have none that is: all of them is one page."""
        self._open_area = open_area

    def close(self) -> None:
        """Let go of the area; what is in it stays for the next process."""
        if self._area is not None:
            self._area.close()

    def discard(self) -> None:
        """Remove the area: nothing is left to go on from."""
        if self._area is None:
            return
        try:
            self._area.discard()
        except OSError as error:
            _log.warning("%s could not be removed: %s.", self._area, error)

    @property
    def area(self) -> StagingArea | None:
        """The area, if there is one by now."""
        return self._area

    def lane(self, number: int) -> LaneState:
        """What an earlier run left of a lane."""
        return self._area.lane(number) if self._area is not None else LaneState()

    def read(self, page: PageFile) -> pa.Table:
        """The rows of a page of ``lane``."""
        assert self._area is not None  # noqa: S101 - without one there are no pages
        return self._area.read_page(page)

    def read_part(self, file: str, columns: list[str]) -> pa.Table:
        """Some columns of a part of ``lane``."""
        assert self._area is not None  # noqa: S101 - without one there are no parts
        with pq.ParquetFile(self._area.rows / file) as parquet:
            return parquet.read(columns=columns)

    def write(self, lane: int, index: int, table: pa.Table, *, is_all: bool) -> Copy | None:
        """Copy a page to the disk, unless it ``is_all`` of the pull; called by several threads."""
        if self._area is None and is_all:
            return None
        found = self._do(lambda area: area.write_page(lane, index, table))
        return None if found is None else Copy(*found)

    def add(self, lane: int, page: PageFile, *, announced: int | None) -> None:
        """Count a copy as the next page of its lane."""
        self._do(lambda area: area.add_page(lane, page, announced=announced))

    def note_failure(self, lane: int, mark: str) -> None:
        """Note that a link could not be had."""
        if self._area is not None:
            self._do(lambda area: area.note_failure(lane, mark))

    def restart(self, lane: int) -> None:
        """Forget the pages of a lane."""
        if self._area is not None:
            self._do(lambda area: area.restart(lane))

    def _do(self, action: Callable[[StagingArea], _T]) -> _T | None:
        try:
            area = self._opened()
            return action(area) if area is not None else None
        except OSError as error:
            if self._is_needed:
                raise
            # From here on nothing is kept: a lane with a page missing in its middle would be worse than none.
            self._keeps = False
            _log.warning("The pull goes on, but could not be resumed, since its pages cannot be kept: %s.", error)
            return None

    def _opened(self) -> StagingArea | None:
        with self._lock:
            if self._area is None and self._open_area is not None and self._keeps:
                opener, self._open_area = self._open_area, None
                self._area = opener()
            return self._area if self._keeps else None


@dataclass(frozen=True, slots=True)
class Staging:
    """Where unfinished pulls are kept, and what makes two of them the same; ``now`` is the clock, in UTC.

    ``identity`` is plain text and holds no secret: it is written to the disk.
    """

    root: Path
    identity: Mapping[str, str]
    now: Callable[[], datetime]
    resume: bool = True

    def id(self, **more: str) -> str:
        """What the area of this pull is called."""
        return staging_id({**self.identity, **more})

    def has_area(self) -> bool:
        """Whether an earlier run left anything."""
        return has_area(self.root, self.identity)

    def open(self, rows: Path | None = None, **more: str) -> StagingArea | None:
        """The area of this pull, or ``None`` if another process is at it. Raises OSError."""
        identity = {**self.identity, **more}
        return StagingArea.open(self.root, identity, rows=rows, resume=self.resume, now=self.now)


def can_be_resumed(plan: Plan, job: Job) -> bool:
    """Whether half of a pull is anything to go on from: not of chains that a limit cuts short together."""
    return job.query.top is None or len(plan.chains) == 1


def plan_of(area: StagingArea, job: Job, make_plan: Callable[[Job], Plan]) -> Plan:
    """The plan that the pull was begun with, or a new one; what was pulled by one that cannot be used is no use."""
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
