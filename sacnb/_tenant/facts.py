"""A question about a model's facts, and the ways to have it answered.

Conditions as people type them, ``Sector=31``, with each value read as its column's type.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sacnb._cache.folder import CacheKey
from sacnb._cache.staging import staging_root
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._frames.convert import column_to_dict
from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._odata.expression import And, Comparison, Expression, Membership, Not, Or, TextMatch
from sacnb._odata.schema import NUMERIC_TYPES
from sacnb._odata.where import both, from_where
from sacnb._pull.checkpoints import Staging
from sacnb._pull.collect import pull, pull_resumable, refresh
from sacnb._pull.count import count_rows
from sacnb._pull.parquet import ParquetFolder, to_parquet
from sacnb._pull.partition import Partitions, make_plan
from sacnb._pull.plan import Job, Plan
from sacnb._pull.progress import ProgressListener, ProgressOption, progress_listener
from sacnb._pull.stream import BatchStream
from sacnb._results.info import principal_digest
from sacnb._results.result import Result, ResultInfo
from sacnb._tenant.members import AskedMembers, member_ids
from sacnb.errors import MixedAccountsWarning, QueryError, warn_user

if TYPE_CHECKING:
    import pyarrow as pa

    from sacnb._odata.query import Query
    from sacnb._odata.schema import Column, Schema
    from sacnb._tenant.connection import Connection

__all__ = ["typed_where", "with_conditions"]

# The account dimension of a classic account model, whose one measure mixes revenue, costs and headcount (seen on live
# tenants; that it bears this name is a convention of SAC's own models, so it is a warning and no error).
_ACCOUNT_DIMENSION = "account"


@dataclass(frozen=True, slots=True)
class Facts:
    """A question about a model's facts, not yet asked.

    ``fetch()`` asks it, ``stream()`` gives the answer as it comes, ``to_parquet()`` writes it into a folder, and
    ``refresh()`` also keeps it. ``query`` is what will be asked, ``url`` the address that says it to SAC.
    ``check_members`` makes a member that the filter names and the dimension does not have an error.
    """

    connection: Connection = dataclasses.field(repr=False)
    schema: Schema = dataclasses.field(repr=False)
    query: Query
    check_count: bool = True
    partitions: Partitions = None
    check_members: bool = True

    @property
    def url(self) -> str:
        """The address of the first page; long lists of members are split over several such requests."""
        return self.query.url(self.connection.tenant_url, self.schema)

    def count(self) -> int | None:
        """How many rows the answer has, without asking for them; ``None`` where SAC does not say.

        Raises AuthError and RequestError as they happen.
        """
        return count_rows(self._job(self._asked()), [self.query.where])[0]

    def fetch(self, *, progress: ProgressOption = "auto", cancelled: Callable[[], bool] | None = None) -> Result:
        """Every row of the answer, from SAC, all in memory.

        ``progress`` is told after each page; by itself a notebook shows a bar for what takes longer than a second, and
        with ``None`` it does not. ``cancelled`` is asked several times a second, also while a page is
        awaited, and true ends the pull within a second.

        Raises UnknownNameError for a filter that names a member the dimension does not have; BadAnswer, Cancelled,
        AuthError and RequestError as they happen.
        """
        _warn_of_mixed_accounts(self.query, self.schema)
        asked = self._asked()
        with progress_listener(progress) as listener:
            job = self._job(asked, listener, cancelled)
            with job.context.telemetry.operation(f"pull {job.label}"):
                table = pull(job, self._plan(job))
                asked.refuse_unknown()
        return self._result(table, self.connection.context.session.now())

    def stream(
        self, *, progress: ProgressListener | None = None, cancelled: Callable[[], bool] | None = None
    ) -> BatchStream:
        """The rows of the answer as Arrow record batches, a page at a time, in bounded memory.

        Anything that reads Arrow streams takes it as it is: ``polars.DataFrame(facts.stream())``, DuckDB, pyarrow.
        Nothing is asked before the first batch is.

        The iteration raises what ``fetch`` raises, some of it after the last batch; and BadAnswer where a page has more
        digits than ``$metadata`` declares, since a stream cannot widen what it has given out.
        """
        _warn_of_mixed_accounts(self.query, self.schema)
        asked = self._asked()
        return BatchStream(self._job(asked, progress, cancelled), self._plan, finish=asked.refuse_unknown)

    def to_parquet(
        self,
        folder: str | os.PathLike[str],
        *,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> ParquetFolder:
        """Write the answer into a folder of Parquet files, in bounded memory, with exact decimals.

        The folder is replaced when everything is there, and a manifest ``<folder>.manifest.json`` is written beside it.
        A pull that ended early, even by ``kill -9`` or a power cut, goes on where it stopped, within 12 hours, unless
        ``resume`` is false.

        Raises ExportError where the folder holds something else or cannot be written; and what ``fetch`` raises.
        """
        _warn_of_mixed_accounts(self.query, self.schema)
        asked = self._asked()
        with progress_listener(progress) as listener:
            job = self._job(asked, listener, cancelled)
            with job.context.telemetry.operation(f"export {job.label}"):
                return to_parquet(
                    job,
                    self._plan,
                    Path(folder),
                    self._staging(resume=resume),
                    about=self._about(),
                    finish=asked.refuse_unknown,
                )

    def refresh(
        self,
        *,
        strict: bool = False,
        max_age_s: float | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
        announce: Callable[[str], None] = print,
    ) -> Result:
        """Fetch and keep the answer; if SAC fails, the last good answer with a warning that says how old it is and why.

        ``strict`` raises instead of serving an old answer. ``max_age_s`` (seconds; by default the setting
        ``SAC_CACHE_MAX_AGE_S``) serves a younger kept answer without asking SAC. ``announce`` is handed the warning.
        A refresh that ended early goes on where it stopped, within 12 hours, unless ``resume`` is false; the answer is
        then as old as its first page.

        Raises what ``fetch`` raises where nothing was kept, or SAC's answer was a clear refusal (403, 404, 412).
        """

        def pull_anew() -> Result:
            _warn_of_mixed_accounts(self.query, self.schema)
            asked = self._asked()
            with progress_listener(progress) as listener:
                job = self._job(asked, listener, cancelled)
                with job.context.telemetry.operation(f"refresh {job.label}"):
                    table, began = pull_resumable(
                        job, self._plan, self._staging(resume=resume), finish=asked.refuse_unknown
                    )
            return self._result(table, began or self.connection.context.session.now())

        return refresh(
            pull_anew,
            self.connection.cache,
            self.cache_key,
            strict=strict,
            max_age_s=self.connection.settings.cache_max_age_s if max_age_s is None else max_age_s,
            now=self.connection.context.session.now,
            announce=announce,
        )

    @property
    def cache_key(self) -> CacheKey:
        """Where the answer is kept: tenant, who asks, model, entity set and the question in canonical form."""
        return CacheKey.build(
            tenant_host=self.connection.tenant_host,
            principal=self.connection.principal,
            provider_id=self.query.provider_id,
            entity_set=self.query.entity_set,
            query=self.query.canonical(self.schema),
        )

    def _asked(self) -> AskedMembers:
        query = self.query if self.check_members else dataclasses.replace(self.query, where=None)
        return AskedMembers(self.connection, query, self.schema)

    def _job(
        self,
        asked: AskedMembers,
        progress: ProgressListener | None = None,
        cancelled: Callable[[], bool] | None = None,
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
            observe=asked.observe,
        )

    def _plan(self, job: Job) -> Plan:
        def members(dimension: str) -> list[str] | None:
            found = member_ids(self.connection, self.query, dimension)
            return None if found is None else sorted(found)

        return make_plan(job, self.partitions, members)

    def _result(self, table: pa.Table, pulled_at: datetime) -> Result:
        info = ResultInfo.describe(
            table,
            self.schema,
            provider_id=self.query.provider_id,
            namespace=self.query.namespace,
            entity_set=self.query.entity_set,
            query=self.query.canonical(self.schema),
            tenant_host=self.connection.tenant_host,
            principal=self.connection.principal,
            source=self.connection.source,
            last_refresh_time=pulled_at,
        )
        return Result(table, self.schema, info)

    def _about(self) -> dict[str, Any]:
        """What an answer is about, as plain values; who asked as a digest."""
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

    def _staging(self, *, resume: bool) -> Staging:
        """Where this question is kept while it is pulled: another query, schema or contract is another question."""
        identity = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in self._about().items()
        }
        root = staging_root(self.connection.settings.cache_dir)
        return Staging(root, identity, self.connection.context.session.now, resume)


def _columns_of(expression: Expression | None) -> set[str]:
    match expression:
        case Comparison(column=column) | Membership(column=column) | TextMatch(column=column):
            return {column}
        case Not(operand=operand):
            return _columns_of(operand)
        case And(operands=operands) | Or(operands=operands):
            return set().union(*(_columns_of(operand) for operand in operands))
    return set()


def _warn_of_mixed_accounts(query: Query, schema: Schema) -> None:
    if query.entity_set != FACT_DATA_AGGREGATION:
        return
    filtered = _columns_of(query.where)
    for column in schema.dimensions:
        if column.name.casefold() == _ACCOUNT_DIMENSION and column.name not in {*query.select, *filtered}:
            warn_user(
                f"The model {query.provider_id!r} keeps its accounts in {column.name!r}, and this question sums over "
                f"all of them, revenue and costs alike. Filter {column.name!r}, or add it to dims.",
                MixedAccountsWarning,
            )


_TRUTH: Final = {"true": True, "false": False}


def with_conditions(facts: Facts, pairs: Iterable[tuple[str, str]]) -> Facts:
    """The same question, of only the rows that fit all conditions; each is a column and a text.

    The schema is the one that the question has: while SAC is away that of the last kept result, so that it is found.

    Raises UnknownNameError for a column that is not there, QueryError for a text that its column cannot hold.
    """
    where = both(from_where(typed_where(pairs, facts.schema) or None), facts.query.where)
    filtered = replace(facts, query=replace(facts.query, where=where))
    filtered.query.options(facts.schema)  # what cannot be asked is said here, and not when the answer is awaited
    return filtered


def typed_where(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, object]:
    """Columns and texts as ``facts(where=...)`` takes them; a column that comes several times gets a list.

    Raises UnknownNameError for a column that is not there, QueryError for a text that its column cannot hold.
    """
    found: dict[str, list[object]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(_value(text, schema.column(name)))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _value(text: str, column: Column) -> object:
    """A number or a truth value where the column holds such; everything else is asked as it was typed."""
    if column.edm_type in NUMERIC_TYPES:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise QueryError(f"{text!r} is no number, and {column.name!r} holds {column.edm_type}.") from None
    if column.edm_type == "Edm.Boolean":
        if text.lower() not in _TRUTH:
            raise QueryError(f"{text!r} is neither true nor false, and {column.name!r} holds {column.edm_type}.")
        return _TRUTH[text.lower()]
    return text
