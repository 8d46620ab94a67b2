"""A model of a tenant: its schema, members and facts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

from sacnb._arguments import flag, names, one_of, required_text, text, whole_number
from sacnb._endpoints import DEFAULT_NAMESPACE, FACT_DATA, FACT_DATA_AGGREGATION
from sacnb._fork import renew_after_fork
from sacnb._odata.metadata import Metadata
from sacnb._odata.query import Query
from sacnb._odata.schema import Schema
from sacnb._odata.where import When, both, from_where
from sacnb._pull.collect import is_outage
from sacnb._pull.partition import checked_partitions
from sacnb._pull.plan import Repeated
from sacnb._rendering import Preview, fact_table
from sacnb._tenant.connection import Connection, ModelEntry, list_models, read_metadata, schema_of_last_result
from sacnb._tenant.facts import Facts
from sacnb._tenant.members import (
    check_names,
    chosen_columns,
    dimension_members,
    version_dimension,
    with_members_below,
    with_version,
    write_workbook,
)
from sacnb._tenant.model_base import ModelBase, Where, place_of
from sacnb._tenant.question import period_filter
from sacnb.errors import QueryError, SacError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sacnb._pull.progress import ProgressOption
    from sacnb._results.files import Target
    from sacnb._results.result import Result
    from sacnb._wire.session import SacSession
    from sacnb._write.slice import Place


class Model(ModelBase):
    """A model of a tenant (SAC also says provider). Nothing is requested until something of it is used."""

    __module__ = "sacnb"

    def __init__(
        self,
        connection: Connection,
        model_id: str,
        namespace: str = DEFAULT_NAMESPACE,
        *,
        version: str | None = None,
    ) -> None:
        model_id = text("model_id", model_id) or ""
        if model_id.strip() in {"", ".", ".."}:  # dots would walk up the URL's path
            raise UnknownNameError("model", model_id, where="this tenant")
        self._connection = connection
        self._id = model_id
        self._namespace = text("namespace", namespace) or DEFAULT_NAMESPACE
        self._version = None if version is None else required_text("version", version)
        self._lock = threading.Lock()
        self._metadata: Metadata | None = None
        self._schema: Schema | None = None
        self._entry: ModelEntry | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Take a new lock: another thread may have held the old one at the fork, and is not in the child."""
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """The model's id: SAC's ``ProviderID``."""
        return self._id

    def __repr__(self) -> str:
        version = f", version={self._version!r}" if self._version is not None else ""
        return f"Model({self._id!r}{version})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's signature
        """Print the preview in IPython; ``repr`` sends no request."""
        printer.text("Model(...)" if cycle else self._preview().text())

    def _preview(self) -> Preview:
        try:
            schema = self.schema
        except SacError as error:  # a cell that shows a model must not fail
            return fact_table(repr(self), {"model": self._id, "problem": error.message})
        facts = {
            "version": self._version,
            "dimensions": ", ".join(self.dimensions),
            "measures": ", ".join(self.measures),
            "dates": ", ".join(f"{date.name} ({date.grain or 'unknown grain'})" for date in schema.date_columns),
            "next": "facts().fetch(), members(dimension), versions(), schema, scan()",
        }
        return fact_table(f"Model {self._id}", {name: fact for name, fact in facts.items() if fact})

    @property
    def name(self) -> str:
        """The model's name in the list of models; empty if it is not listed. Raises AuthError and RequestError."""
        return self._listed().name

    @property
    def description(self) -> str:
        """The model's description in the list of models; empty if it is not listed, or has none."""
        return self._listed().description

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions. Raises what ``schema`` raises."""
        return tuple(column.name for column in self.schema.dimensions)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures. Raises what ``schema`` raises."""
        return tuple(column.name for column in self.schema.measures)

    def versions(self) -> pl.DataFrame:
        """Return the members of the version dimension, as ``members`` does. Raises QueryError if there is none."""
        return self.members(version_dimension(self.schema))

    def to_excel(self, target: Target, *, members: Sequence[str] | str | None = None) -> None:
        """Write the columns of the model, and the members of these dimensions, as the sheets of an Excel workbook.

        Raises what ``members`` raises; ContractError for more members than Excel has rows; MissingExtraError if the
        extra ``excel`` is not installed.
        """
        wanted = {name: self.members(name) for name in names("members", members) or ()}
        write_workbook(self._connection, self.schema, wanted, target)

    def _listed(self) -> ModelEntry:
        if self._entry is None:
            entries = {entry.id: entry for entry in list_models(self._connection, self._namespace)}
            self._entry = entries.get(self._id, ModelEntry(self._id, "", "", self._namespace))
        return self._entry

    @property
    def metadata(self) -> Metadata:
        """The model's ``$metadata``, read once and kept with this object.

        Raises UnknownNameError, with the nearest ids, for an unknown model; LiveConnectionError for one that SAC does
        not export.
        """
        with self._lock:
            if self._metadata is None:
                self._metadata = read_metadata(self._connection, self._id, self._namespace)
            return self._metadata

    @property
    def schema(self) -> Schema:
        """The dimensions, measures and attributes of the model's facts, with their types and the grain of its dates.

        Raises what ``metadata`` raises; QueryError for a provider without facts.
        """
        if self._schema is None:
            metadata = self.metadata
            if FACT_DATA not in metadata.entity_sets:
                raise QueryError(
                    f"The model {self._id!r} has no facts.", hint=f"It has: {', '.join(metadata.entity_sets)}."
                )
            self._schema = metadata.schema(self._id, FACT_DATA, self._namespace)
        return self._schema

    def members(self, dimension: str) -> pl.DataFrame:
        """Return a dimension's members: ``id``, ``description``, with a hierarchy ``parent`` and ``level``, attributes.

        All columns are String except ``level`` (Int32; 0 is a root). A root's ``parent`` is null. The hierarchy is
        SAC's ``<Dim>MasterWithHierarchy`` if ``$metadata`` has it; otherwise ``<Dim>Master`` is read.

        Raises UnknownNameError for an unknown dimension; QueryError for one without master data.
        """
        dimension = text("dimension", dimension) or ""
        check_names("dimension", [dimension], self.schema.dimensions, self._id)
        frame = dimension_members(self._connection, self.metadata, self._id, self._namespace, dimension)
        if frame is None:
            raise QueryError(
                f"SAC has no master data for the dimension {dimension!r} of {self._id!r}.",
                hint=f"List the members that occur in the facts: model.facts(dims=[{dimension!r}]).fetch().polars()",
            )
        return frame

    def facts(
        self,
        *,
        where: Where = None,
        since: When | None = None,
        until: When | None = None,
        date: str | None = None,
        dims: Sequence[str] | None = None,
        measures: Sequence[str] | None = None,
        select: Sequence[str] | None = None,
        order_by: Sequence[str] | str | None = None,
        limit: int | None = None,
        page_size: int | None = None,
        check_count: bool = True,
        partitions: int | str | Sequence[str] | None = None,
        repeated: Repeated = "sum",
    ) -> Facts:
        """Prepare a query of the model's facts; only the schema is read before ``fetch()`` or ``refresh()``.

        Args:
            where: A mapping of columns to a value or a list of values, all of which must match; or an expression of
                ``sacnb.col``. ``sacnb.under("30")`` as a value stands for a member and all below it.
            since: The first period, as "2010", "2010-Q1", "2010-01", "2010-01-31" or a date; inclusive.
            until: The last period, inclusive.
            date: The date column for ``since`` and ``until``, if there are several.
            dims: The dimensions to keep, by default all. With fewer SAC adds up (``FactDataAggregation``), each
                measure by its own aggregation.
            measures: The measures to keep, by default all.
            select: Dimensions, measures and attributes in one list, instead of ``dims`` and ``measures``.
            order_by: Columns to sort by; a leading ``-`` sorts in descending order.
            limit: The maximum number of rows.
            page_size: Rows per page, instead of the setting ``SAC_PAGE_SIZE``.
            check_count: Raise if the number of rows differs from SAC's count; ``False`` only warns.
            partitions: How to split the download into up to ``SAC_STREAMS`` concurrent requests: a number, "auto" (by
                the number of rows), or a list of the dimension to split by, such as ["Date"]. The rows are the same,
                in another order. "package" requests pages by number, which is unconfirmed on real tenants. By default
                one stream; ``docs/pulling.md`` says when more of them help.
            repeated: The answer to several records for one key: "sum" adds up their measures, "keep" returns them all,
                "error" raises. ``stream()`` and ``to_parquet()`` keep them unless told otherwise. ``where`` selects
                records, before they are added up.

        Raises UnknownNameError with the nearest names; QueryError for a query that SAC cannot answer correctly.
        """
        schema = self._schema_for_questions()
        columns = chosen_columns(schema, names("dims", dims), names("measures", measures), names("select", select))
        missing = [column for column in schema.dimensions if column not in columns]
        rows_a_page = whole_number("page_size", page_size, least=1)
        query = Query(
            provider_id=self._id,
            namespace=self._namespace,
            entity_set=FACT_DATA_AGGREGATION if missing else FACT_DATA,
            select=tuple(column.name for column in columns),
            where=with_version(schema, self._version, from_where(with_members_below(where, self.members))),
            order_by=tuple(
                (name.removeprefix("-"), name.startswith("-")) for name in names("order_by", order_by) or ()
            ),
            top=whole_number("limit", limit),
            page_size=self._connection.settings.page_size if rows_a_page is None else rows_a_page,
        )
        date = text("date", date)
        if date is not None:
            schema.column(date)  # refuse an unknown name, needed or not
        if since is not None or until is not None:
            period = period_filter(self._connection, schema, query, date=date, since=since, until=until)
            query = replace(query, where=both(query.where, period))
        query.options(schema)  # refuse an impossible query now, and not when it is fetched
        return Facts(
            self._connection,
            schema,
            query,
            flag("check_count", check_count),
            None if partitions is None else checked_partitions(partitions),
            repeated=cast("Repeated", one_of("repeated", repeated, get_args(Repeated))),
        )

    def refresh(
        self,
        *,
        where: Where = None,
        since: When | None = None,
        until: When | None = None,
        dims: Sequence[str] | None = None,
        measures: Sequence[str] | None = None,
        partitions: int | str | Sequence[str] | None = None,
        repeated: Repeated = "sum",
        strict: bool = False,
        max_age_s: float | None = None,
        resume: bool = True,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Fetch and cache facts, or return the last good result; short for ``facts(...).refresh(...)``."""
        facts = self.facts(
            where=where,
            since=since,
            until=until,
            dims=dims,
            measures=measures,
            partitions=partitions,
            repeated=repeated,
        )
        return facts.refresh(strict=strict, max_age_s=max_age_s, resume=resume, progress=progress, cancelled=cancelled)

    @property
    def _provider(self) -> tuple[SacSession, str, str, str]:
        return self._connection.context.session, self._connection.tenant_url, self._id, self._namespace

    def _place(self) -> Place:
        def read_facts(where: Mapping[str, list[str]]) -> pa.Table:
            # The members were checked before, and a version may have no row yet.
            return replace(self.facts(where=where or None), check_members=False).fetch(progress=None).arrow()

        return place_of(self._connection, self._id, self._namespace, self.metadata.entity_sets, read_facts)

    def _schema_for_questions(self) -> Schema:
        """Return the schema, or that of the last cached result while SAC is unreachable, so that it can be found."""
        try:
            return self.schema
        except SacError as error:
            if is_outage(error):
                kept = schema_of_last_result(self._connection, self._id, self._namespace, error)
                if kept is not None:
                    return kept
            raise
