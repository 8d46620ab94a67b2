"""Refresh a cached result by what changed, or by all rows where that is not certain to be right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn

import pyarrow as pa

from sacnb._arguments import callback, flag, seconds
from sacnb._cache.folder import CacheKey, Folder
from sacnb._cache.store import Cache
from sacnb._endpoints import FACT_DATA
from sacnb._frames.convert import concat, to_polars
from sacnb._odata.where import columns_of
from sacnb._pull.collect import refresh
from sacnb._pull.plan import Job
from sacnb._pull.progress import ProgressOption
from sacnb._results.result import Result
from sacnb._track.delta import Doubt, read_delta, usable_link
from sacnb._track.merge import Merged, check_with_totals, merge, rows_that_differ
from sacnb._track.state import TrackFile, TrackState, described, mark_of
from sacnb._track.subscriptions import delete_subscription, subscription_of
from sacnb.errors import BadAnswer, CacheError, QueryError, RequestError, SacError, TrackingWarning, warn_user

if TYPE_CHECKING:
    import polars as pl

    from sacnb._odata.query import Query
    from sacnb._odata.schema import Schema

__all__ = ["Source", "Track", "refuse_untrackable"]

_log = logging.getLogger("sacnb.track")

Cancel = Callable[[], bool] | None
# Somebody may write to the model between the changes and the totals that they are compared with.
_ROUNDS: Final = 3
_LOCK_TIMEOUT_S: Final = 60.0
_AGAIN: Final = "Each refresh reads all rows."


def refuse_untrackable(query: Query, schema: Schema, tenant_url: str) -> None:
    """Raise QueryError for a query whose changes could be missed, or cannot be merged by key."""
    problem = ""
    if query.entity_set != FACT_DATA:
        problem = "fewer dimensions than the model has: SAC then adds up, and changes are those of single facts"
    elif query.top is not None:
        problem = "a limit"
    elif query.order_by:
        problem = "an order: changed rows stay in their places, and new ones come at the end"
    elif any(column.role == "attribute" for column in query.columns(schema)):
        problem = "attributes: they change without a change of the facts"
    elif columns_of(query.where) - {column.name for column in schema.dimensions}:
        problem = "a filter on more than dimensions: SAC may not tell of a row that does not match any more"
    elif len(query.split(schema, tenant_url)) != 1:
        problem = "a filter that takes several requests, or that no row can match"
    if problem:
        raise QueryError(
            f"Change tracking of {query.provider_id!r} is not possible with {problem}.",
            hint="Track all that you need, and filter, sort or add up the frame.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The query that is tracked, and the ways to run it."""

    job: Callable[[Cancel], Job]
    pull: Callable[[ProgressOption, Cancel], Result]
    pull_tracked: Callable[[ProgressOption, Cancel, Callable[[str, str], None]], Result]
    describe: Callable[[pa.Table, datetime], Result]
    finish: Callable[[Result], Result]
    cache: Cache
    key: CacheKey
    max_age_s: float


class Track:
    """A query whose cached result is refreshed by what changed since; ``model.track()`` makes one.

    ``changed`` and ``deleted`` are frames of the rows that the last ``refresh`` of this object merged: whole rows, and
    keys; ``counts`` are their numbers. They are ``None`` where all rows were read, or none.
    """

    __module__ = "sacnb"

    def __init__(self, source: Source, check_every: int) -> None:
        self._source = source
        self._check_every = check_every
        self._merged: Merged | None = None

    def __repr__(self) -> str:
        key = self._source.key
        return f"Track({key.provider_id!r}, {key.entity_set!r}, check_every={self._check_every})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A track is not pickled. Send tenant.spec to the worker, connect, and call track() there.")

    @property
    def changed(self) -> pl.DataFrame | None:
        """The rows that were added or changed, with exact decimals."""
        return None if self._merged is None else to_polars(self._merged.changed, decimals=True)

    @property
    def deleted(self) -> pl.DataFrame | None:
        """The keys of the rows that were deleted."""
        return None if self._merged is None else to_polars(self._merged.deleted)

    @property
    def counts(self) -> tuple[int, int] | None:
        """The numbers of rows that were added or changed, and deleted."""
        return None if self._merged is None else (len(self._merged.changed), len(self._merged.deleted))

    def refresh(
        self,
        *,
        check: bool = False,
        strict: bool = False,
        max_age_s: float | None = None,
        progress: ProgressOption = "auto",
        cancelled: Cancel = None,
        announce: Callable[[str], None] = print,
    ) -> Result:
        """Merge what changed into the cached result, and return it; the first time, read all rows.

        The merged rows are compared with SAC's count and totals. With *check*, and after every ``check_every`` merges,
        they are also compared with a full read. All rows are read where anything is in doubt. While SAC fails, the last
        good result stays, with its link. The other arguments are those of ``facts.refresh``.

        Raises what ``facts.refresh`` raises; CacheError if the cache folder cannot be written to.

        Warns TrackingWarning where all rows had to be read, except for the first time.
        """
        check, strict, age_s = flag("check", check), flag("strict", strict), seconds("max_age_s", max_age_s)
        cancelled, source = callback("cancelled", cancelled), self._source
        progress = callback("progress", progress, allowed=("auto",))
        run = _Run(source, source.job(cancelled), progress, cancelled)
        with run.held():
            result = refresh(
                lambda: run.result(check=check, check_every=self._check_every),
                source.cache,
                source.key,
                strict=strict,
                max_age_s=source.max_age_s if age_s is None else age_s,
                now=run.session.now,
                announce=callback("announce", announce) or print,
                saved=run.keep,
            )
        self._merged = run.merged
        return source.finish(result)

    def stop(self) -> bool:
        """Delete the subscription in SAC and forget its link; return whether SAC had one. The cached result stays.

        Raises RequestError where SAC does not delete it; the link is then kept.
        """
        run = _Run(self._source, self._source.job(None), None, None)
        with run.held():
            return run.stop()


class _Run:
    """One refresh, by one process at a time."""

    def __init__(self, source: Source, job: Job, progress: ProgressOption, cancelled: Cancel) -> None:
        self._source = source
        self._job = job
        self._progress = progress
        self._cancelled = cancelled
        self._file = TrackFile(source.cache.directory, source.key, job.context.session.sleep)
        self._folder = Folder(source.cache.directory, lock_timeout_s=_LOCK_TIMEOUT_S)
        self._next: TrackState | None = None
        self.session = job.context.session
        self.merged: Merged | None = None

    @property
    def _label(self) -> str:
        return self._job.label

    def held(self) -> AbstractContextManager[None]:
        """Hold the state, as ``TrackFile.held`` does. Raises CacheError where the folder cannot be written to."""

        def waiting() -> None:
            _log.info("%s: waiting for another refresh of the same query.", self._label)

        with self._folder.refusals("written"):
            self._file.make()
        return self._file.held(self._cancelled, waiting)

    def result(self, *, check: bool, check_every: int) -> Result:
        """Return the new result, from changes or from all rows; ``keep`` keeps its link once it is saved."""
        state = self._file.read()
        if state is None or not self._source.cache.has(self._source.key):
            return self._from_all_rows(state, "")
        if not state.link:
            return self._from_all_rows(state, "its keys had several records")
        try:
            with self._job.context.telemetry.operation(f"track {self._label}"):
                return self._from_changes(state, self._base(state), check=check, check_every=check_every)
        except Doubt as doubt:
            return self._from_all_rows(state, str(doubt))

    def keep(self) -> None:
        """Keep the link of the result that was saved."""
        try:
            if self._next is None:
                self._file.remove()
            else:
                self._file.write(self._next)
        except OSError as error:  # the result is right without it
            _log.warning("%s: the link to the next changes could not be kept (%s).", self._label, error)

    def stop(self) -> bool:
        """Delete the subscription, and then its link."""
        state = self._file.read()
        found = state is not None and bool(state.link) and self._delete(state.link)
        with self._folder.refusals("written"):
            self._file.remove()
        return found

    def _base(self, state: TrackState) -> Result:
        """Return the cached result that the changes belong to. Raises Doubt where it is another one."""
        try:
            kept = self._source.cache.load(self._source.key)
        except CacheError as error:
            raise Doubt(f"the cached result cannot be used ({error.message})") from error
        if mark_of(kept.info) not in state.bases:
            raise Doubt("the cached result was replaced by another refresh, which tracked no changes")
        if not state.fits(self._job.columns):
            raise Doubt("the model has other columns now")
        return kept

    def _from_changes(self, state: TrackState, base: Result, *, check: bool, check_every: int) -> Result:
        columns, rows, link = self._job.columns, base.table, state.link
        merges: list[Merged] = []
        problem = ""
        for turn in range(_ROUNDS):
            at = self.session.now()
            delta = read_delta(self._job, link)
            if turn and delta.is_empty:
                break  # nobody writes, so that the difference stays
            merges.append(merge(rows, delta, columns))
            rows, link = merges[-1].table, delta.link
            checked = check_with_totals(self._job, rows, without_sum=state.without_sum)
            problem = checked.problem
            if not problem:
                break
        if problem:
            raise Doubt(problem)
        if not checked.proves_something:
            _log.warning(
                "%s: SAC gave neither a row count nor a total, so that the merged rows were not checked.", self._label
            )
        is_due = check or state.merges + 1 >= check_every
        if is_due:
            rows, link = self._compared(rows, link, merges)
        result = self._source.describe(rows, at)
        self.merged = _together(merges)
        _log.info(
            "%s: merged %d changed and %d deleted rows%s.",
            self._label,
            len(self.merged.changed),
            len(self.merged.deleted),
            ", and compared the result with a full read" if is_due else "",
        )
        try:
            self._file.write(state.before(result.info))
        except OSError as error:  # the next refresh takes the result for that of another one, and reads all rows
            _log.warning("%s: the link to the next changes could not be kept (%s).", self._label, error)
        merged_since = 0 if is_due else state.merges + 1
        self._next = replace(state, link=link, bases=(mark_of(result.info),), merges=merged_since)
        return result

    def _compared(self, rows: pa.Table, link: str, merges: list[Merged]) -> tuple[pa.Table, str]:
        """Return rows and link if the rows are those of a full read. Raises Doubt where they are not.

        Where they differ, changes are read once more: the full read may be older or newer than a row of these, and so
        proves nothing for them.
        """
        fresh = self._source.pull(self._progress, self._cancelled).table
        if not rows_that_differ(rows, fresh):
            return rows, link
        delta = read_delta(self._job, link)
        merges.append(merge(rows, delta, self._job.columns))
        differing = rows_that_differ(merges[-1].table, fresh, but_for=(merges[-1].changed, merges[-1].deleted))
        if differing:
            raise Doubt(f"{differing:,} rows differ between the merged result and a full read")
        return merges[-1].table, delta.link

    # -- all rows ------------------------------------------------------------------------------------------------------

    def _from_all_rows(self, state: TrackState | None, why: str) -> Result:
        """Return all rows, with a link to the changes after them unless keys have several records."""
        links: list[tuple[str, str]] = []
        tracks = state is None or bool(state.link) or not why
        if tracks:
            result = self._source.pull_tracked(
                self._progress, self._cancelled, lambda link, url: links.append((link, url))
            )
        else:
            result = self._source.pull(self._progress, self._cancelled)
        self.merged = None
        link, problem = self._usable(links) if tracks else ("", "")
        columns = described(self._job.columns)
        if result.info.repeated_keys:
            if link:
                self._delete_quietly(link)
            problem = f"Keys of {self._label} have several records, so that changes cannot be merged by key. {_AGAIN}"
            self._next = TrackState("", (mark_of(result.info),), columns)
        elif link:
            result, link, without_sum = self._caught_up(result, link)
            self._next = TrackState(link, (mark_of(result.info),), columns, without_sum=without_sum)
        if problem or (why and tracks):
            self._warn(problem or f"All rows of {self._label} were read, because {why}.")
        if state is not None and state.link:
            self._delete_quietly(state.link)
        return result

    def _usable(self, links: list[tuple[str, str]]) -> tuple[str, str]:
        """Return the link of a full read, or why there is none that can be followed."""
        if not links:
            return "", f"SAC sent no link to the changes of {self._label}. {_AGAIN}"
        try:
            return usable_link(*links[-1], self._job.tenant_url), ""
        except BadAnswer as error:
            return "", f"The changes of {self._label} cannot be followed: {error.message} {_AGAIN}"

    def _caught_up(self, result: Result, link: str) -> tuple[Result, str, tuple[str, ...]]:
        """Return a full read with the changes during it, its link, and the measures whose total is no sum of its rows.

        A measure that is compared from now on must not be left out because somebody wrote during the read.
        """
        checked = check_with_totals(self._job, result.table)
        if not checked.problem:
            return result, link, checked.without_sum
        try:
            at = self.session.now()
            delta = read_delta(self._job, link)
            if not delta.is_empty:
                result = self._source.describe(merge(result.table, delta, self._job.columns).table, at)
                checked = check_with_totals(self._job, result.table)
        except (Doubt, BadAnswer, RequestError) as error:  # all rows are there
            _log.info("%s: changes during the read are left to the next refresh: %s", self._label, error)
            return result, link, checked.without_sum
        return result, delta.link, checked.without_sum

    def _warn(self, message: str) -> None:
        _log.info("%s", message)
        warn_user(message, TrackingWarning)

    def _delete(self, link: str) -> bool:
        query, url = self._job.query, self._job.tenant_url
        name = subscription_of(self.session, url, query.provider_id, query.namespace, link)
        if name is not None:
            delete_subscription(self.session, url, query.provider_id, query.namespace, name, known=True)
        return name is not None

    def _delete_quietly(self, link: str) -> None:
        """Delete a subscription that is of no more use; the rows do not depend on it."""
        try:
            self._delete(link)
        except SacError as error:
            _log.warning("%s: a subscription that is not used any more could not be deleted: %s", self._label, error)


def _together(merges: list[Merged]) -> Merged:
    """Return the changes of several merges as one."""
    return Merged(
        merges[-1].table,
        concat([one.changed for one in merges]),
        concat([one.deleted for one in merges]),
    )
