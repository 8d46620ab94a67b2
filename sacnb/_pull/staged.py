"""Where unfinished pulls are kept, and which of them a pull may go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sacnb._cache.staging import StagingArea, has_area, staging_id
from sacnb._pull.job import Job
from sacnb._pull.plan import Plan

__all__ = ["Staging", "can_be_resumed", "plan_of"]


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
