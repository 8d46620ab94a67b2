"""A query of a model's facts, and the ways to run it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from sacnb._arguments import callback, flag, one_of, seconds, whole_number
from sacnb._arguments import folder as path_of
from sacnb._cache.folder import CacheKey
from sacnb._cache.staging import staging_root
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._frames.convert import column_to_dict
from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._pull.checkpoints import Staging
from sacnb._pull.collect import pull, pull_resumable, refresh
from sacnb._pull.count import count_rows
from sacnb._pull.partition import Partitions, make_plan
from sacnb._pull.plan import Job, Plan, Records, Repeated
from sacnb._pull.progress import ProgressListener, ProgressOption, progress_listener
from sacnb._pull.stream import BatchStream
from sacnb._results.info import KnownMembers, principal_digest, warn_of_mixed
from sacnb._results.result import Result, ResultInfo
from sacnb._slices.slice import Slice, cut
from sacnb._tenant.facts_base import FactsBase
from sacnb._tenant.members import NamedMembers, dimension_members, member_ids, mixed_dimensions
from sacnb.errors import QueryError, RepeatedKeysWarning, warn_user

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sacnb._odata.query import Query
    from sacnb._odata.schema import Schema
    from sacnb._pull.publish import ParquetFolder
    from sacnb._tenant.connection import Connection
    from sacnb._track.track import Track

__all__ = ["Facts", "warn_of_records"]


@dataclass(frozen=True, slots=True, repr=False)
class Facts(FactsBase):
    """A query of a model's facts that has not been sent yet.

    ``fetch()`` returns the rows, ``stream()`` iterates over them, ``to_parquet()`` writes them to a folder, and
    ``refresh()`` also caches them. ``query`` is the query in canonical form, ``url`` its address. With
    ``check_members`` a filter on a member that the dimension does not have is an error. ``repeated`` says how to
    treat several records for one key.
    """

    __module__ = "sacnb"

    connection: Connection = dataclasses.field(repr=False)
    schema: Schema = dataclasses.field(repr=False)
    query: Query
    check_count: bool = True
    split: Partitions = None
    check_members: bool = True
    repeated: Repeated = "sum"

    @property
    def url(self) -> str:
        """The URL of the first page. Long lists of members are split over several requests."""
        return self.query.url(self.connection.tenant_url, self.schema)

    def count(self) -> int | None:
        """Return the number of rows without fetching them, or ``None`` if SAC does not say.

        Several records for one key are several rows here.

        Raises AuthError and RequestError.
        """
        return count_rows(self._job(self._named_members()), [self.query.where])[0]

    def fetch(
        self,
        *,
        labels: bool = False,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Fetch all rows from SAC into memory; with *labels* also descriptions, which stand beside the ids.

        ``progress`` is called after each page; by default a notebook shows a bar when the download takes longer than a
        second, and ``None`` shows nothing. ``cancelled`` is polled several times a second, also while waiting for a
        page; returning true ends the download within a second.

        Several records for one key are added up, unless ``repeated`` says otherwise.

        Raises UnknownNameError for a filter on a member that the dimension does not have; BadAnswer, Cancelled,
        AuthError and RequestError; ContractError for records of a key that differ in what cannot be added up.

        Warns RepeatedKeysWarning where records were added up.
        """
        labels, progress, cancelled = flag("labels", labels), _progress(progress), callback("cancelled", cancelled)
        result = self._fetch(progress, cancelled)
        return self._labelled(result) if labels else result

    def _fetch(self, progress: ProgressOption, cancelled: Callable[[], bool] | None) -> Result:
        self._warn_of_mixed()
        named = self._named_members()
        found: list[Records] = []
        with progress_listener(progress) as listener:
            job = self._job(named, listener, cancelled, note_records=found.append)
            with job.context.telemetry.operation(f"pull {job.label}"):
                table = pull(job, self._plan(job))
                named.refuse_unknown()
        return self._result(table, self.connection.context.session.now(), found)

    def stream(
        self,
        *,
        repeated: Literal["keep", "error"] | None = None,
        progress: ProgressListener | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BatchStream:
        """Iterate over the rows as Arrow record batches, one page at a time, in bounded memory.

        Anything that reads Arrow streams accepts it: ``polars.DataFrame(facts.stream())``, DuckDB, pyarrow. The first
        request is sent when the first batch is read. Several records for one key are several rows, unless ``repeated``
        (of this call or of ``facts``) is ``"error"``; at the end ``records.keys`` of the stream is the number of such
        keys.

        Iterating raises what ``fetch`` raises, some of it after the last batch; also BadAnswer if a page has more
        digits than ``$metadata`` declares, because batches already handed out cannot be widened.
        """
        progress, cancelled = callback("progress", progress), callback("cancelled", cancelled)
        self._warn_of_mixed()
        named = self._named_members()
        job = self._job(named, progress, cancelled, repeated=self._handed_over(repeated, "keep", "error"))
        return BatchStream(job, self._plan, finish=named.refuse_unknown)

    def to_parquet(
        self,
        folder: str | os.PathLike[str],
        *,
        repeated: Repeated | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> ParquetFolder:
        """Write the rows to a folder of Parquet files, in bounded memory, with exact decimals.

        The folder is replaced once all rows have arrived, and a manifest ``<folder>.manifest.json`` is written beside
        it. A download that ended early, even by ``kill -9`` or a power cut, resumes where it stopped for up to 12
        hours; ``resume=False`` starts over.

        Several records for one key are several rows, and the manifest's ``repeated_keys`` is the number of such keys.
        ``repeated="sum"`` adds them up, in bounded memory; ``"error"`` raises.

        Raises ExportError if the folder holds other files or cannot be written; and what ``fetch`` raises.
        """
        mode = self._handed_over(repeated, "sum", "keep", "error")
        if mode == "sum" and self.query.top is not None and self.query.entity_set != FACT_DATA_AGGREGATION:
            raise QueryError(
                "limit and to_parquet(repeated='sum') cannot be combined: the limit would cut records of a key off.",
                hint="Leave one of them out, or use fetch().",
            )
        target, resume = path_of("folder", folder), flag("resume", resume)
        progress, cancelled = _progress(progress), callback("cancelled", cancelled)
        self._warn_of_mixed()
        named = self._named_members()
        with progress_listener(progress) as listener:
            job = self._job(named, listener, cancelled, repeated=mode)
            about = {**self._about(), "repeated": mode}
            with job.context.telemetry.operation(f"export {job.label}"):
                from sacnb._pull.parquet import to_parquet  # a twentieth of a cold start

                staging = self._staging(about, resume=resume)
                return to_parquet(job, self._plan, target, staging, about=about, finish=named.refuse_unknown)

    def partitions(self, partitions: int | str | Sequence[str], *, at_once: int | None = None) -> list[Slice]:
        """Divide the rows into slices, which worker processes read with ``sacnb.read_slice``: all rows, each once.

        ``partitions`` is a number from 1 to 256, "auto" or the dimension to divide by. SAC counts each slice now, and
        its worker compares. *at_once* of them, by default all, run at the same time and share ``SAC_STREAMS``.

        Raises QueryError for a limit, or an order that slices would lose; and what ``count`` and ``fetch`` raise.
        """
        self._warn_of_mixed()
        members, named = partial(member_ids, self.connection, self.query), self._named_members()
        return cut(self._job(named), partitions, members, named, self.connection.settings, at_once=at_once)

    def refresh(
        self,
        *,
        labels: bool = False,
        strict: bool = False,
        max_age_s: float | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
        announce: Callable[[str], None] = print,
    ) -> Result:
        """Fetch and cache the rows; if SAC fails, return the last good result with a warning.

        The warning says how old the result is and why; it is in ``result.warning`` and passed to ``announce``.
        ``strict`` raises instead of returning an old result. ``max_age_s`` (seconds; by default the setting
        ``SAC_CACHE_MAX_AGE_S``) returns a younger cached result without asking SAC. A refresh that ended early resumes
        where it stopped for up to 12 hours, unless ``resume`` is false; the result is then as old as its first page.
        ``labels`` also reads descriptions, as ``fetch`` does; they are not cached.

        Raises what ``fetch`` raises if nothing is cached, or if SAC refused the query (403, 404, 412).
        """
        labels, resume, age_s = flag("labels", labels), flag("resume", resume), seconds("max_age_s", max_age_s)
        progress, cancelled = _progress(progress), callback("cancelled", cancelled)

        self._warn_of_mixed()

        result = refresh(
            lambda: self._pull_resumable(progress, cancelled, resume=resume),
            self.connection.cache,
            self.cache_key,
            strict=flag("strict", strict),
            max_age_s=self.connection.settings.cache_max_age_s if age_s is None else age_s,
            now=self.connection.context.session.now,
            announce=callback("announce", announce) or print,
        )
        result = replace(result, members=KnownMembers(self._members))
        return self._labelled(result) if labels else result

    def _pull_resumable(
        self,
        progress: ProgressOption,
        cancelled: Callable[[], bool] | None,
        *,
        resume: bool = True,
        note_delta_link: Callable[[str, str], None] | None = None,
    ) -> Result:
        named = self._named_members()
        found: list[Records] = []
        about = self._about() if note_delta_link is None else {**self._about(), "tracks": "changes"}
        with progress_listener(progress) as listener:
            job = self._job(named, listener, cancelled, note_records=found.append)
            job = replace(job, note_delta_link=note_delta_link)
            with job.context.telemetry.operation(f"refresh {job.label}"):
                staging = self._staging(about, resume=resume)
                table, began = pull_resumable(job, self._plan, staging, finish=named.refuse_unknown)
        return self._result(table, began or self.connection.context.session.now(), found)

    def track(self, *, check_every: int = 20) -> Track:
        """Opt into change tracking: the ``refresh()`` of the Track merges what changed into the cached result.

        The first one reads all rows, and SAC keeps a subscription from then on: ``stop()`` of the Track deletes it.
        After ``check_every`` merges the result is compared with a full read. Reads are one stream, whatever
        ``partitions`` says.

        Raises QueryError for a query whose changes could be missed: with fewer dimensions, attributes, a limit or an
        order, or a filter on measures.
        """
        from sacnb._track.track import Source, Track, refuse_untrackable

        every = whole_number("check_every", check_every, least=1) or 1
        tracked = replace(self, split=None)
        refuse_untrackable(self.query, self.schema, self.connection.tenant_url)
        source = Source(
            job=lambda cancelled: tracked._job(tracked._named_members(), cancelled=cancelled),
            pull=tracked._fetch,
            pull_tracked=lambda progress, cancelled, note: tracked._pull_resumable(
                progress, cancelled, note_delta_link=note
            ),
            describe=lambda table, at: tracked._result(table, at, ()),
            finish=lambda result: replace(result, members=KnownMembers(tracked._members)),
            cache=self.connection.cache,
            key=self.cache_key,
            max_age_s=self.connection.settings.cache_max_age_s,
        )
        return Track(source, every)

    def _members(self, dimension: str) -> pl.DataFrame | None:
        return dimension_members(self.connection, None, self.query.provider_id, self.query.namespace, dimension)

    def _labelled(self, result: Result) -> Result:
        """Return the result with the descriptions of its dimensions, but dates; those without any are left out."""
        dates = {date.name for date in self.schema.date_columns}
        named = [one.name for one in result.info.columns if one.role == "dimension" and one.name not in dates]
        return replace(result, labelled=tuple(name for name in named if result.members.texts(name, read=True)))

    @property
    def cache_key(self) -> CacheKey:
        """The cache entry of this query: tenant, principal, model, entity set, canonical query and ``repeated``."""
        return CacheKey.build(
            tenant_host=self.connection.tenant_host,
            principal=self.connection.principal,
            provider_id=self.query.provider_id,
            entity_set=self.query.entity_set,
            query=self._question,
        )

    @property
    def _question(self) -> str:
        """The canonical query, with ``repeated``: kept records are another answer than their sums."""
        query = self.query.canonical(self.schema)
        return query if self.repeated == "sum" else f"{query}\nrepeated={self.repeated}"

    @property
    def mixed(self) -> tuple[str, ...]:
        """The dimensions of accounts and versions whose members SAC adds up in this query."""
        kept = (column.name for column in self.query.columns(self.schema))
        return mixed_dimensions(self.query, self.schema, kept)

    def _warn_of_mixed(self) -> None:
        warn_of_mixed(self.mixed, self.query.provider_id, what="This query adds up", cure="add it to dims")

    def _named_members(self) -> NamedMembers:
        query = self.query if self.check_members else dataclasses.replace(self.query, where=None)
        return NamedMembers(self.connection, query, self.schema)

    def _job(
        self,
        named: NamedMembers,
        progress: ProgressListener | None = None,
        cancelled: Callable[[], bool] | None = None,
        *,
        repeated: Repeated | None = None,
        note_records: Callable[[Records], None] = lambda _: None,
    ) -> Job:
        return Job(
            context=self.connection.context,
            tenant_url=self.connection.tenant_url,
            schema=self.schema,
            query=self.query,
            streams=self.connection.settings.streams,
            check_count=self.check_count,
            progress=progress,
            cancelled=cancelled,
            clock=self.connection.context.session.clock,
            observe=named.observe,
            repeated=repeated or self.repeated,
            note_records=note_records,
        )

    def _handed_over(self, repeated: str | None, *choices: Repeated) -> Repeated:
        """Return ``repeated`` for rows that are handed over as they arrive, unless the caller chose."""
        if repeated is None:
            return "error" if self.repeated == "error" else "keep"
        return cast("Repeated", one_of("repeated", repeated, choices))

    def _plan(self, job: Job) -> Plan:
        if self.split is None:
            return Plan.of(job.query, job.schema, job.tenant_url)
        return make_plan(job, self.split, partial(member_ids, self.connection, self.query))

    def _result(self, table: pa.Table, pulled_at: datetime, records: Sequence[Records]) -> Result:
        if self.repeated == "sum":
            warn_of_records(self.query, records)
        info = ResultInfo.describe(
            table,
            self.schema,
            provider_id=self.query.provider_id,
            namespace=self.query.namespace,
            entity_set=self.query.entity_set,
            query=self._question,
            tenant_host=self.connection.tenant_host,
            principal=self.connection.principal,
            source=self.connection.source,
            last_refresh_time=pulled_at,
            repeated=self.repeated,
            repeated_keys=sum(found.keys for found in records),
            mixed=self.mixed,
        )
        return Result(table, self.schema, info, members=KnownMembers(self._members))

    def _about(self) -> dict[str, Any]:
        """Describe the query for manifests, as plain values; the principal as a digest."""
        return {
            "tenant_host": self.connection.tenant_host,
            "principal": principal_digest(self.connection.principal),
            "provider_id": self.query.provider_id,
            "namespace": self.query.namespace,
            "entity_set": self.query.entity_set,
            "query": self.query.canonical(self.schema),
            "contract_version": CONTRACT_VERSION,
            "source": self.connection.source,
            "columns": [column_to_dict(column) for column in self.query.columns(self.schema)],
        }

    def _staging(self, about: Mapping[str, Any], *, resume: bool) -> Staging:
        """Return the staging of this query. Another schema or contract version counts as another query."""
        identity = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
        root = staging_root(self.connection.settings.cache_dir)
        return Staging(root, identity, self.connection.context.session.now, resume)


def warn_of_records(query: Query, records: Sequence[Records]) -> None:
    """Warn with RepeatedKeysWarning where records were added up."""
    for found in records:
        warn_user(found.notice(f"{query.provider_id}/{query.entity_set}", "sum"), RepeatedKeysWarning)


def _progress(progress: ProgressOption) -> ProgressOption:
    listener: ProgressOption = callback("progress", progress, allowed=("auto",))
    return listener
