"""Pull a question into memory, keep the result, and serve the last good one when SAC does not answer."""

from __future__ import annotations

import itertools
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from sacnb._cache.staging import StagingArea
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._frames.convert import arrow_schema, concat
from sacnb._odata.schema import Column
from sacnb._pull.checkpoints import Checkpoints, Staging, can_be_resumed, plan_of
from sacnb._pull.count import count_quietly
from sacnb._pull.duplicates import Hashes, KeyWatch, copied_run, repeated_rows, row_hashes, sum_per_key
from sacnb._pull.plan import CutKeys, Job, Plan, Records
from sacnb._pull.progress import Progress, ProgressListener, age_in_words
from sacnb._pull.pull import Pull
from sacnb._pull.stream import BatchStream, Spool
from sacnb._pull.totals import Tally, check_records, count_keys
from sacnb._results.info import REASON
from sacnb.errors import (
    AuthError,
    BadAnswer,
    CacheError,
    ErrorText,
    InconsistentAnswer,
    NoAnswerError,
    RepeatedKeysWarning,
    RequestError,
    SacError,
    ServerError,
    ThrottledError,
    UnknownNameError,
    warn_user,
)

if TYPE_CHECKING:
    from sacnb._cache.folder import CacheKey
    from sacnb._cache.store import Cache
    from sacnb._results.result import Result

__all__ = ["Progress", "ProgressListener", "is_outage", "pull", "pull_resumable", "refresh", "sum_tables", "summed"]

_log = logging.getLogger("sacnb.pull")

_QUERY: Final = re.compile(r"\?[$\w]+=\S*")
# Rows that are added up at a time; of a larger answer only as many are in memory.
_ROWS_PER_SHARE: Final = 500_000
# Rows that wait for the end of a stream, because another record of their key may come, are in memory up to here.
_HELD_BYTES: Final = 64 * 2**20
_HELD_PAGES: Final = 8
_NO_REFUSAL: Final = frozenset({408, 425, 429})


def is_outage(error: SacError) -> bool:
    """Return whether the last good result may stand in for *error*.

    ============================================================  =======
    error                                                         outage
    ============================================================  =======
    no token, no answer, an answer that cannot be trusted         yes
    5xx, 408, 425, 429 after all retries                          yes
    any other failure without a status, or a redirect             yes
    a refusal: any other 4xx, such as 403, 404 or 412             no
    a mistake in the question, a cancelled pull, anything else    no
    ============================================================  =======
    """
    if isinstance(error, AuthError | BadAnswer | NoAnswerError | ServerError | ThrottledError):
        return True
    return isinstance(error, RequestError) and (
        error.status is None or not 400 <= error.status < 500 or error.status in _NO_REFUSAL
    )


def refresh(
    pull: Callable[[], Result],
    cache: Cache,
    key: CacheKey,
    *,
    strict: bool = False,
    max_age_s: float = 0.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    announce: Callable[[str], None] = print,
    saved: Callable[[], None] = lambda: None,
) -> Result:
    """Return the result of *pull* and keep it in *cache* under *key*; serve the last good result during an outage.

    A kept result younger than ``max_age_s`` seconds is served without asking SAC. One from the future is never young:
    it was kept while the clock was wrong. A result served because of an outage has ``stale`` set, and its ``warning``
    (also passed to *announce*) says how old it is and why; ``strict`` raises instead. *saved* is called once a new
    result is kept.

    Raises:
        SacError: The error of *pull*, where there is nothing to serve or SAC clearly refused.
    """
    if max_age_s > 0:
        kept = _load(cache, key)
        if isinstance(kept, CacheError):
            _log.warning("Cannot use the cached result, asking SAC instead: %s", kept)
        elif kept is not None and 0 <= (now() - kept.info.last_refresh_time).total_seconds() < max_age_s:
            age = age_in_words(now() - kept.info.last_refresh_time)
            _log.info("%s: the cached result is %s old and young enough.", kept.info.provider_id, age)
            return kept
    try:
        result = pull()
    except SacError as error:
        if strict or not is_outage(error):
            raise
        return _last_good(cache, key, error, now(), announce)
    try:
        cache.save(key, result)
    except CacheError as error:
        if strict:
            raise
        warning = f"The data is fresh, but could not be cached: {error}"
        _warn(warning, announce)
        return replace(result, warning=warning)
    saved()
    return result


def _load(cache: Cache, key: CacheKey) -> Result | CacheError | None:
    """Return the kept result, ``None`` where there is none, or the error that says why it cannot be used."""
    try:
        return cache.load(key) if cache.has(key) else None
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
    age = (
        f"{age_in_words(now - refreshed)} old"
        if refreshed <= now
        else "of unknown age, since that is in the future: the clock of this machine was changed"
    )
    warning = (
        f"SAC did not deliver; showing the data of {refreshed.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {age}."
        f"{REASON}{_briefly(error)}"
    )
    _log.info("The error in full: %s", error)
    _warn(warning, announce)
    return replace(kept, stale=True, warning=warning)


def _warn(warning: str, announce: Callable[[str], None]) -> None:
    _log.warning("%s", warning, extra={"printed": True} if announce is print else None)
    try:
        announce(warning)
    except (OSError, ValueError):
        # A job without a console has no stdout, or a closed one. That is no reason to lose the data.
        if announce is not print:
            raise


def _briefly(error: SacError) -> str:
    """Return the error's message without the queries of URLs: a warning is one line, and the log has the rest."""
    return _QUERY.sub("", ErrorText.of(error).headline)


def pull(job: Job, plan: Plan, checkpoints: Checkpoints | None = None) -> pa.Table:
    """Pull every row of a plan into one Arrow table, typed by the schema, in the order of the query's columns.

    The rows are in the order of the segments, and in each in that of its pages, whatever came first. Where records are
    to be added up and the limit of the query may have cut some off, SAC adds them up instead.

    Raises:
        BadAnswer: Rows came twice, or are not as many as SAC announced. With ``check_count=False``, for a model that
            is written to while it is read, the latter is a RowCountWarning.
        ContractError: Records of a key were to be added up, and differ in what cannot be.
        Cancelled: ``cancelled()`` returned true.
        SacError: The session's errors.
    """
    try:
        return _pull(Pull(job, plan, checkpoints), job)
    except CutKeys:
        return _whole_keys(job)


def pull_resumable(
    job: Job, make_plan: Callable[[Job], Plan], staging: Staging, *, finish: Callable[[], None] = lambda: None
) -> tuple[pa.Table, datetime | None]:
    """Pull as ``pull`` does, resuming an earlier run, and keeping the pages for the next run if this one ends early.

    Also return the time at which the first rows were pulled, if an earlier run did that. A pull of one page keeps
    nothing. *finish* is called when all rows are there; the pages are removed after it.

    Raises:
        SacError: Errors of ``pull`` and *finish*.
    """
    had_area = staging.has_area()
    checkpoints = Checkpoints(_open(staging) if had_area else None)
    try:
        plan = plan_of(checkpoints.area, job, make_plan) if checkpoints.area is not None else make_plan(job)
        if not had_area and can_be_resumed(plan, job):  # with an area, another process holds it
            checkpoints.open_when_needed(lambda: _begin(staging, plan))
        running = Pull(job, plan, checkpoints)
        table = _pull(running, job)
        finish()
    except CutKeys:
        checkpoints.discard()
        table = _whole_keys(job)
        finish()
        return table, None
    except (InconsistentAnswer, UnknownNameError):
        checkpoints.discard()
        raise
    except BaseException:
        checkpoints.close()
        raise
    began = checkpoints.area.started_at if checkpoints.area is not None and running.meter.resumed_rows else None
    checkpoints.discard()
    return table, began


class _Tables:
    """A sink that keeps all tables in memory."""

    def __init__(self) -> None:
        self._of_segment: defaultdict[int, list[pa.Table]] = defaultdict(list)

    def add(self, segment: int, table: pa.Table) -> None:
        self._of_segment[segment].append(table)

    def finish(self, segment: int) -> None:
        pass

    def restart(self, segment: int) -> None:
        self._of_segment.pop(segment, None)

    def in_order(self) -> list[pa.Table]:
        """Return the tables in the order of their segments."""
        return [table for segment in sorted(self._of_segment) for table in self._of_segment[segment]]


def _pull(running: Pull, job: Job) -> pa.Table:
    sink = _Tables()
    with job.context.telemetry.operation(f"pull {job.label}"):
        running.run(sink)
        tables = sink.in_order()
        whole = concat(tables) if tables else pa.Table.from_batches([], arrow_schema(job.columns))
        return _settled(running, job, whole, [0, *itertools.accumulate(len(table) for table in tables)])


def _settled(running: Pull, job: Job, whole: pa.Table, edges: list[int]) -> pa.Table:
    """Return the rows as the job wants several records for one key; *edges* are the places where pages begin and end.

    An aggregation has one row for each key, so that rows which share theirs came twice.
    """
    _refuse_cut_keys(job, len(whole), running.counted)
    watch = running.watch
    suspects = watch.suspects_in(whole)
    repeats = watch.exact_repeats([whole], suspects)
    if repeats is None:
        return whole
    if job.repeated == "error" or job.query.entity_set == FACT_DATA_AGGREGATION:
        raise repeated_rows(job.label, repeats.rows, repeats.first)
    tally = Tally(job.columns)
    tally.add(whole)
    job.note_records(check_records(job, tally, repeats, copied_run(row_hashes(whole), edges)))
    return sum_per_key(whole, job.columns, suspects, watch) if job.repeated == "sum" else whole


def _refuse_cut_keys(job: Job, rows: int, counted: int) -> None:
    """Raise CutKeys where a limit was reached and SAC does not prove that each key has one record."""
    if job.repeated != "sum" or not rows or rows != job.query.top or job.query.entity_set == FACT_DATA_AGGREGATION:
        return
    if not counted:
        counted = count_quietly(replace(job, query=replace(job.query, top=None))) or 0
    if counted != rows and (counted == 0 or count_keys(job) != counted):
        raise CutKeys


def _whole_keys(job: Job) -> pa.Table:
    """Return the rows of a limited query whose limit cuts records of a key off: SAC adds up all of them.

    SAC's sums have no attributes. A query with some is pulled without its limit.
    """
    columns = job.columns
    if any(column.role == "attribute" for column in columns):
        whole = replace(job, query=replace(job.query, top=None))
        return pull(whole, Plan.of(whole.query, job.schema, job.tenant_url)).slice(0, job.query.top)
    select = tuple(column.name for column in columns)
    job = replace(job, query=replace(job.query, entity_set=FACT_DATA_AGGREGATION, select=select))
    warn_user(
        f"Some keys of {job.query.provider_id} have several records, or SAC does not say that none has; SAC added "
        "them up. Measures that do not add up, such as prices, rates and headcounts, need a look. To see the "
        "records: facts(..., repeated='keep').",
        RepeatedKeysWarning,
    )
    return pull(job, Plan.of(job.query, job.schema, job.tenant_url))


def _open(staging: Staging) -> StagingArea | None:
    try:
        return staging.open()
    except OSError as error:
        _log.warning("Cannot read the checkpoints of an earlier run (%s). Downloading from the beginning.", error)
        return None


def _begin(staging: Staging, plan: Plan) -> StagingArea | None:
    area = staging.open()
    if area is not None:
        area.keep_plan(plan.to_json())
    return area


# -- records of a stream, added up -----------------------------------------------------------------------------------


def summed(
    stream: BatchStream, columns: Sequence[Column], is_single: Callable[[], bool], note: Callable[[Records], None]
) -> Iterator[pa.RecordBatch]:
    """Give out the rows of a stream with the records of each key added up, in bounded memory.

    Another record of a key may come at the end, so rows are held back until then. Only where there are many,
    *is_single* is called once: where it returns true, each key is known to have one record, and rows pass. *note* is
    told of records before they are given out.

    Raises:
        BadAnswer: As the stream; or keys have several records although *is_single* returned true.
        ContractError: Records of a key differ in what cannot be added up.
    """
    with Spool() as spool:
        held: list[pa.Table] = []
        rows, size, pages, asked, passes, spools = 0, 0, 0, False, False, False
        for batch in stream:
            if passes:
                yield batch
                continue
            table = pa.Table.from_batches([batch])
            rows, size = rows + len(table), size + table.nbytes
            pages += 1
            if not spools and not asked and (size > _HELD_BYTES or pages > _HELD_PAGES):
                asked, passes = True, is_single()
            spools = not passes and size > _HELD_BYTES
            if passes:
                for waiting in held:
                    yield from waiting.to_batches()
                held.clear()
                yield batch
            elif spools:
                spool.put(0, table)
            else:
                held.append(table)
        if passes and stream.records.keys:
            raise BadAnswer(
                f"{stream.records.keys:,} keys have several records now; none had at the beginning.",
                hint="Read again, when nobody is writing to the model.",
            )
        tables: Iterable[pa.Table] = itertools.chain(held, spool.take(0))
        if stream.records.keys:
            note(stream.records)
            tables = sum_tables(tables, columns, None, KeyWatch(columns), shares=-(-rows // _ROWS_PER_SHARE))
        for table in tables:
            yield from table.to_batches()


def sum_tables(
    tables: Iterable[pa.Table], columns: Sequence[Column], suspects: Hashes | None, watch: KeyWatch, *, shares: int
) -> Iterator[pa.Table]:
    """Give out rows with the records of each key added up, of as much memory as a share of the rows needs.

    Rows whose key has none of the hashes of *suspects* come first, in their order; ``None`` stands for every hash. The
    others are shared out by their keys over files, and added up file by file. polars' streaming engine could group them
    too, but its decimals end at 38 digits, and its groups have no bound.
    """
    if shares < 2:
        yield sum_per_key(concat(list(tables)), columns, suspects, watch)
        return
    with Spool() as spool:
        for table in tables:
            touched = np.ones(len(table), np.bool_) if suspects is None else np.isin(watch.in_order(table), suspects)
            yield table.filter(pa.array(~touched))
            records = table.filter(pa.array(touched))
            share = row_hashes(records.select(watch.names)) % np.uint64(shares)
            for number in np.unique(share).tolist():
                spool.put(number, records.filter(pa.array(share == number)))
        for number in range(shares):
            parts = list(spool.take(number))
            if parts:
                yield sum_per_key(concat(parts), columns, None, watch)
