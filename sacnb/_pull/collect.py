"""Ask SAC, keep what it says, and serve the last good result, with a warning, when it does not answer.

Pull a query to the end, all of it into memory: every page of every chain, in order, each row once.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from sacnb._cache.staging import StagingArea
from sacnb._frames.convert import arrow_schema, concat
from sacnb._pull.checkpoints import Checkpoints, Staging, can_be_resumed, plan_of
from sacnb._pull.duplicates import repeated_rows
from sacnb._pull.failures import Inconsistent
from sacnb._pull.plan import Job, LaneRestarted, PageRows, Plan
from sacnb._pull.progress import Progress, ProgressListener
from sacnb._pull.pull import Pull
from sacnb.errors import (
    AuthError,
    BadAnswer,
    CacheError,
    NoAnswerError,
    SacError,
    ServerError,
    ThrottledError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from sacnb._cache.folder import CacheKey
    from sacnb._cache.store import Cache
    from sacnb._results.result import Result

__all__ = ["Progress", "ProgressListener", "pull", "pull_resumable"]

_log = logging.getLogger("sacnb.export")

_QUERY = re.compile(r"\?[$\w]+=\S*")

# SAC is away, overloaded, answers nonsense, or no token can be had: the last good result helps. A clear refusal (403,
# 404, 412) is an answer, and a mistake in the question stays the user's to mend: those are raised.
SAC_IS_AWAY = (AuthError, BadAnswer, NoAnswerError, ServerError, ThrottledError)


def refresh(
    pull: Callable[[], Result],
    cache: Cache,
    key: CacheKey,
    *,
    strict: bool = False,
    max_age_s: float = 0.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    announce: Callable[[str], None] = print,
) -> Result:
    """The result of ``pull``, kept in ``cache`` under ``key``; or the last good one if SAC fails.

    A kept result younger than ``max_age_s`` seconds is served without asking. A result served because SAC failed has
    ``stale`` set, and its ``warning`` (also handed to ``announce``) says how old it is and why; ``strict`` raises.

    Raises what ``pull`` raises where there is nothing to serve, or SAC's answer was a clear refusal.
    """
    if max_age_s > 0:
        kept = _load(cache, key)
        if isinstance(kept, CacheError):
            _log.warning("The kept result cannot be used and SAC is asked: %s", kept)
        elif kept is not None and now() - kept.info.last_refresh_time < timedelta(seconds=max_age_s):
            return kept
    try:
        result = pull()
    except SAC_IS_AWAY as error:
        if strict:
            raise
        return _last_good(cache, key, error, now(), announce)
    try:
        cache.save(key, result)
    except CacheError as error:
        if strict:
            raise
        warning = f"The data is fresh, but could not be kept: {error}"
        _log.warning("%s", warning)
        announce(warning)
        return replace(result, warning=warning)
    return result


def _load(cache: Cache, key: CacheKey) -> Result | CacheError | None:
    """The kept result, ``None`` where there is none, or the reason why it cannot be used."""
    if not cache.has(key):
        return None
    try:
        return cache.load(key)
    except CacheError as error:
        return error


def _last_good(cache: Cache, key: CacheKey, error: SacError, now: datetime, announce: Callable[[str], None]) -> Result:
    kept = _load(cache, key)
    if kept is None:
        error.add_note("There is no earlier result of this query to serve instead.")
        raise error
    if isinstance(kept, CacheError):
        error.add_note(f"The earlier result cannot be served instead: {kept}")
        raise error
    refreshed = kept.info.last_refresh_time
    warning = (
        f"SAC did not deliver; showing the data of {refreshed.astimezone(UTC):%Y-%m-%d %H:%M} UTC, "
        f"{age_in_words(now - refreshed)} old. Reason: {_briefly(error)}"
    )
    _log.warning("%s", warning)
    _log.info("What went wrong, in full: %s", error)
    announce(warning)
    return replace(kept, stale=True, warning=warning)


def _briefly(error: SacError) -> str:
    """The error's message without the queries of addresses: a warning is shown in a line, and the log has the rest."""
    return _QUERY.sub("", error.message)


def age_in_words(age: timedelta) -> str:
    """An age as people say it: ``52 minutes``, ``3 hours``, ``2 days``."""
    seconds = max(0, int(age.total_seconds()))
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {word}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


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
