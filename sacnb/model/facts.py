"""A question about a model's facts, and the ways to have it answered."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sacnb.cache.keys import CacheKey
from sacnb.endpoints import FACT_DATA_AGGREGATION
from sacnb.errors import MixedAccountsWarning, UnknownNameError
from sacnb.export.chains import Plan
from sacnb.export.job import Job
from sacnb.export.pull import ProgressListener, pull
from sacnb.export.refresh import refresh
from sacnb.frames.result import Result, ResultInfo
from sacnb.model.members import read_members
from sacnb.odata.tree import And, Comparison, Expression, Membership, Not, Or, TextMatch

if TYPE_CHECKING:
    from sacnb.model.connection import Connection
    from sacnb.odata.query import Query
    from sacnb.odata.schema import Schema

# The account dimension of a classic account model, whose one measure mixes revenue, costs and headcount (seen on live
# tenants; that it bears this name is a convention of SAC's own models, so it is a warning and no error).
_ACCOUNT_DIMENSION = "account"


@dataclass(frozen=True, slots=True)
class Facts:
    """A question about a model's facts, not yet asked: ``fetch()`` asks it, ``refresh()`` also keeps the answer.

    ``query`` is what will be asked, ``url`` the address that says it to SAC.
    """

    connection: Connection = dataclasses.field(repr=False)
    schema: Schema = dataclasses.field(repr=False)
    query: Query
    check_count: bool = True

    @property
    def url(self) -> str:
        """The address of the first page; long lists of members are split over several such requests."""
        return self.query.url(self.connection.tenant_url, self.schema)

    def fetch(self, *, progress: ProgressListener | None = None, cancelled: Callable[[], bool] | None = None) -> Result:
        """Every row of the answer, from SAC, all in memory.

        ``progress`` is told after each page; ``cancelled`` is asked before each one.

        Raises UnknownNameError for a filter that names a member the dimension does not have; BadAnswer, Cancelled,
        AuthError and RequestError as they happen.
        """
        _warn_of_mixed_accounts(self.query, self.schema)
        connection = self.connection
        with connection.context.telemetry.operation(f"pull {self.query.provider_id}/{self.query.entity_set}"):
            job = Job(
                context=connection.context,
                tenant_url=connection.tenant_url,
                schema=self.schema,
                query=self.query,
                streams=connection.settings.streams,
                check_count=self.check_count,
                progress=progress,
                cancelled=cancelled,
            )
            table = pull(job, Plan.of(self.query, self.schema, connection.tenant_url))
            self._refuse_unknown_members(table)
        info = ResultInfo.describe(
            table,
            self.schema,
            provider_id=self.query.provider_id,
            namespace=self.query.namespace,
            entity_set=self.query.entity_set,
            query=self.query.canonical(self.schema),
            tenant_host=connection.tenant_host,
            principal=connection.principal,
            source=connection.source,
            last_refresh_time=connection.context.session.now(),
        )
        return Result(table, self.schema, info)

    def refresh(
        self,
        *,
        strict: bool = False,
        max_age_s: float | None = None,
        progress: ProgressListener | None = None,
        cancelled: Callable[[], bool] | None = None,
        announce: Callable[[str], None] = print,
    ) -> Result:
        """Fetch and keep the answer; if SAC fails, the last good answer with a warning that says how old it is and why.

        ``strict`` raises instead of serving an old answer. ``max_age_s`` (seconds; by default the setting
        ``SAC_CACHE_MAX_AGE_S``) serves a younger kept answer without asking SAC. ``announce`` is handed the warning.

        Raises what ``fetch`` raises where nothing was kept, or SAC's answer was a clear refusal (403, 404, 412).
        """
        return refresh(
            lambda: self.fetch(progress=progress, cancelled=cancelled),
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

    def _refuse_unknown_members(self, table: object) -> None:
        """A member that was asked for by name and brought no row may be a slip: look it up, and only then."""
        import pyarrow as pa
        import pyarrow.compute as pc

        assert isinstance(table, pa.Table)  # noqa: S101 - pull gives nothing else
        for name, wanted in _members_by_name(self.query.where).items():
            if name not in table.column_names or self.schema.column(name).role != "dimension":
                continue
            absent = sorted(wanted - set(pc.unique(table[name]).to_pylist()))
            if not absent:
                continue
            known = _known_members(self.connection, self.query, name)
            unknown = [member for member in absent if known is not None and member not in known]
            if unknown and known is not None:
                raise UnknownNameError("member", unknown[0], sorted(known), where=f"the dimension {name!r}")


def _known_members(connection: Connection, query: Query, dimension: str) -> set[str] | None:
    """The ids of a dimension's members, or ``None`` where SAC has no list of them."""
    from sacnb.endpoints import master_set

    rows = read_members(connection, query.provider_id, query.namespace, master_set(dimension))
    if rows is None or not all("ID" in row for row in rows):
        return None
    return {str(row["ID"]) for row in rows}


def _members_by_name(where: Expression | None) -> dict[str, set[str]]:
    """The texts that every row has to be one of, by column: of each ``==`` and ``is_in`` that is joined by ``and``."""
    found: dict[str, set[str]] = {}
    parts: Iterable[Expression] = where.operands if isinstance(where, And) else () if where is None else (where,)
    for part in parts:
        if isinstance(part, Comparison) and part.operator == "eq" and isinstance(part.value, str):
            found.setdefault(part.column, set()).add(part.value)
        elif isinstance(part, Membership):
            found.setdefault(part.column, set()).update(value for value in part.values if isinstance(value, str))
    return found


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
            warnings.warn(
                f"The model {query.provider_id!r} keeps its accounts in {column.name!r}, and this question sums over "
                f"all of them, revenue and costs alike. Filter {column.name!r}, or add it to dims.",
                MixedAccountsWarning,
                stacklevel=4,
            )
