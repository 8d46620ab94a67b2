"""Pull a query to the end, all of it into memory: every page of every chain, in order, each row once."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from sacnb.export.chains import Plan
from sacnb.export.checkpoints import Checkpoints
from sacnb.export.job import Job, LaneRestarted, PageRows
from sacnb.export.keys import repeated_rows
from sacnb.export.progress import Progress, ProgressListener
from sacnb.export.pulling import Pull
from sacnb.frames.convert import arrow_schema, concat

__all__ = ["Progress", "ProgressListener", "pull"]


def pull(job: Job, plan: Plan, checkpoints: Checkpoints | None = None) -> pa.Table:
    """Every row of a plan as one Arrow table, columns typed by the schema in the order of the query's columns.

    The rows are in the order of the chains, and in each in that of its pages, whatever came first.

    Raises BadAnswer where rows are repeated, or where their number is not the one SAC announced (with
    ``check_count=False`` the latter is a RowCountWarning: for a model that others write to while it is read);
    Cancelled once ``cancelled()`` is true; and what the session raises.
    """
    tables: defaultdict[int, list[pa.Table]] = defaultdict(list)
    with job.context.telemetry.operation(f"pull {job.what}"):
        running = Pull(job, plan, checkpoints)
        for item in running.items():
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
    return whole if job.query.top is None else whole.slice(0, job.query.top)
