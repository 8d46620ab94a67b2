"""Pull a query to the end, all of it into memory: every page of every chain, in order, each row once."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from datetime import datetime

import pyarrow as pa

from sacnb._cache.staging import StagingArea
from sacnb._frames.convert import arrow_schema, concat
from sacnb._pull.checkpoints import Checkpoints
from sacnb._pull.duplicates import repeated_rows
from sacnb._pull.failures import Inconsistent
from sacnb._pull.job import Job, LaneRestarted, PageRows
from sacnb._pull.plan import Plan
from sacnb._pull.progress import Progress, ProgressListener
from sacnb._pull.pull import Pull
from sacnb._pull.staged import Staging, can_be_resumed, plan_of
from sacnb.errors import UnknownNameError

__all__ = ["Progress", "ProgressListener", "pull", "pull_resumable"]

_log = logging.getLogger("sacnb.export")


def pull(job: Job, plan: Plan, checkpoints: Checkpoints | None = None) -> pa.Table:
    """Every row of a plan as one Arrow table, columns typed by the schema in the order of the query's columns.

    The rows are in the order of the chains, and in each in that of its pages, whatever came first.

    Raises BadAnswer where rows are repeated, or where their number is not the one SAC announced (with
    ``check_count=False`` the latter is a RowCountWarning: for a model that others write to while it is read);
    Cancelled once ``cancelled()`` is true; and what the session raises.
    """
    return _pull(Pull(job, plan, checkpoints), job)


def pull_resumable(
    job: Job, make_plan: Callable[[Job], Plan], staging: Staging, *, finish: Callable[[], None] = lambda: None
) -> tuple[pa.Table, datetime | None]:
    """As ``pull``, going on where an earlier run stopped, and keeping what has come for the next one if this one stops.

    Also gives the time at which the first of the rows were pulled, if an earlier run did that. A pull of one page keeps
    nothing. ``finish`` is called when all rows are there; what was kept is removed after it.

    Raises what ``pull`` and ``finish`` raise.
    """
    had_area = staging.has_area()
    checkpoints = Checkpoints(_open(staging) if had_area else None)
    try:
        plan = plan_of(checkpoints.area, job, make_plan) if checkpoints.area is not None else make_plan(job)
        if not had_area and can_be_resumed(plan, job):  # else another process is at it
            checkpoints.open_when_needed(lambda: _begin(staging, plan))
        running = Pull(job, plan, checkpoints)
        table = _pull(running, job)
        finish()
    except (Inconsistent, UnknownNameError):
        checkpoints.discard()
        raise
    except BaseException:
        checkpoints.close()
        raise
    began = checkpoints.area.started_at if checkpoints.area is not None and running.meter.resumed_rows else None
    checkpoints.discard()
    return table, began


def _pull(running: Pull, job: Job) -> pa.Table:
    tables: defaultdict[int, list[pa.Table]] = defaultdict(list)
    with job.context.telemetry.operation(f"pull {job.what}"), closing(running.items()) as items:
        for item in items:
            match item:
                case PageRows(lane, table):
                    tables[lane].append(table)
                case LaneRestarted(lane):
                    tables[lane].clear()
    in_order = [table for lane in sorted(tables) for table in tables[lane]]
    whole = concat(in_order) if in_order else arrow_schema(job.columns).empty_table()
    repeats = running.watch.exact_repeats([whole], running.watch.suspects())
    if repeats is not None:
        raise repeated_rows(job.what, *repeats)
    return whole


def _open(staging: Staging) -> StagingArea | None:
    try:
        return staging.open()
    except OSError as error:
        _log.warning("What an earlier run pulled cannot be read, and is pulled again: %s.", error)
        return None


def _begin(staging: Staging, plan: Plan) -> StagingArea | None:
    area = staging.open()
    if area is not None:
        area.keep_plan(plan.to_json())
    return area
