"""A model of a tenant: its schema, members and facts."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from sacnb._arguments import callback, flag, names, one_of, required_text, text, whole_number
from sacnb._endpoints import (
    DEFAULT_NAMESPACE,
    FACT_DATA,
    FACT_DATA_AGGREGATION,
    hierarchy_set,
    master_set,
    metadata_path,
)
from sacnb._fork import renew_after_fork
from sacnb._frontend import frontend
from sacnb._odata.expression import Expression, col
from sacnb._odata.metadata import Metadata, parse_metadata
from sacnb._odata.query import Query
from sacnb._odata.schema import Column, Grain, Schema, is_version
from sacnb._odata.where import When, both, columns_of, from_where
from sacnb._pull.collect import is_outage
from sacnb._pull.partition import checked_partitions
from sacnb._pull.plan import Repeated
from sacnb._pull.progress import progress_listener
from sacnb._tenant.connection import Connection, list_models, schema_of_last_result
from sacnb._tenant.facts import Facts
from sacnb._tenant.members import members_frame, read_members
from sacnb._tenant.question import period_filter
from sacnb.errors import NotFoundError, QueryError, SacError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sacnb._frames.tidy import Aggregation
    from sacnb._frontend import Panel
    from sacnb._pull.progress import ProgressOption
    from sacnb._results.result import Result
    from sacnb._tenant.scan import Explanation, Scan
    from sacnb._write.report import WriteReport
    from sacnb._write.slice import Place

_log = logging.getLogger("sacnb.model")

Where = Mapping[str, Any] | Expression | None


class Model:
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
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Take a new lock: another thread may have held the old one at the fork, and is not in the child."""
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """The model's id: SAC's ``ProviderID``."""
        return self._id

    def __repr__(self) -> str:
        return f"Model({self._id!r})"

    @property
    def metadata(self) -> Metadata:
        """The model's ``$metadata``, read once and kept with this object.

        Raises UnknownNameError, with the nearest ids, for an unknown model; LiveConnectionError for one that SAC does
        not export.
        """
        with self._lock:
            if self._metadata is None:
                self._metadata = self._read_metadata()
            return self._metadata

    @property
    def schema(self) -> Schema:
        """The dimensions, measures and attributes of the model's facts, with their types and the grain of its dates.

        Raises what ``metadata`` raises; QueryError for a provider without facts.
        """
        metadata = self.metadata
        if FACT_DATA not in metadata.entity_sets:
            raise QueryError(
                f"The model {self._id!r} has no facts.", hint=f"It has: {', '.join(metadata.entity_sets)}."
            )
        return metadata.schema(self._id, FACT_DATA, self._namespace)

    def members(self, dimension: str) -> pl.DataFrame:
        """Return a dimension's members: ``id``, ``description``, with a hierarchy ``parent`` and ``level``, attributes.

        All columns are String except ``level`` (Int32; 0 is a root). A root's ``parent`` is null. The hierarchy is
        SAC's ``<Dim>MasterWithHierarchy`` if ``$metadata`` has it; otherwise ``<Dim>Master`` is read.

        Raises UnknownNameError for an unknown dimension; QueryError for one without master data.
        """
        dimension = text("dimension", dimension) or ""
        self._check_names("dimension", [dimension], self.schema.dimensions)
        declared = self.metadata.entity_sets
        wanted = [name for name in (hierarchy_set(dimension), master_set(dimension)) if name in declared]
        for entity_set in wanted or [master_set(dimension)]:
            rows = read_members(self._connection, self._id, self._namespace, entity_set)
            if rows is not None:
                return members_frame(rows)
        raise QueryError(
            f"SAC has no master data for the dimension {dimension!r} of {self._id!r}.",
            hint=f"List the members that occur in the facts: model.facts(dims=[{dimension!r}]).fetch().polars()",
        )

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
                ``sacnb.col``.
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
        columns = _columns(self, schema, names("dims", dims), names("measures", measures), names("select", select))
        missing = [column for column in schema.dimensions if column not in columns]
        rows_a_page = whole_number("page_size", page_size, least=1)
        query = Query(
            provider_id=self._id,
            namespace=self._namespace,
            entity_set=FACT_DATA_AGGREGATION if missing else FACT_DATA,
            select=tuple(column.name for column in columns),
            where=self._filter(schema, from_where(where)),
            order_by=tuple(
                (name.removeprefix("-"), name.startswith("-")) for name in names("order_by", order_by) or ()
            ),
            top=whole_number("limit", limit),
            page_size=self._connection.settings.page_size if rows_a_page is None else rows_a_page,
        )
        if since is not None or until is not None:
            period = period_filter(self._connection, schema, query, date=text("date", date), since=since, until=until)
            query = replace(query, where=both(query.where, period))
        query.options(schema)  # refuse an impossible query now, and not when it is fetched
        return Facts(
            self._connection,
            schema,
            query,
            flag("check_count", check_count),
            checked_partitions(partitions),
            repeated=_repeated(repeated),
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

    def scan(
        self,
        *,
        where: Where = None,
        since: When | None = None,
        until: When | None = None,
        date: str | None = None,
        dims: Sequence[str] | None = None,
        measures: Sequence[str] | None = None,
        decimals: bool = False,
        page_size: int | None = None,
        check_count: bool = True,
        partitions: int | str | Sequence[str] | None = None,
        repeated: Repeated = "sum",
    ) -> pl.LazyFrame:
        """Return the facts as a polars LazyFrame; only the schema is read before it is collected.

        Columns, filters and limits are pushed down to SAC where that loses no row. polars does the rest, by its own
        rules for nulls, case and order; ``explain`` shows the plan. Measures are Float64, or exact Decimals with
        ``decimals``. An unknown member is not an error but matches no rows. The other arguments are those of
        ``facts``: ``where``, ``since`` and ``until`` are always sent to SAC, and with ``dims`` SAC adds up. Several
        records for one key are added up before any step sees them; with ``repeated="keep"`` each is a row.

        Raises what ``facts`` raises; QueryError with polars before version 2. Collecting raises what ``fetch`` raises.
        """
        return self._scan(
            decimals=decimals,
            where=where,
            since=since,
            until=until,
            date=date,
            dims=dims,
            measures=measures,
            page_size=page_size,
            check_count=check_count,
            partitions=partitions,
            repeated=repeated,
        ).frame()

    def explain(
        self,
        steps: pl.Expr | Callable[[pl.LazyFrame], pl.LazyFrame] | None = None,
        *,
        count: bool = False,
        decimals: bool = False,
        **question: Any,
    ) -> Explanation:
        """Return the plan of a ``scan`` and some steps on it: the requests to SAC, and what polars does.

            model.explain(lambda rows: rows.filter(pl.col("Sector") == "31").select("Date", "Employees"))

        Args:
            steps: A function that takes the scan and returns another LazyFrame; or a condition to filter by. A
                LazyFrame itself does not tell how it was made.
            count: Ask SAC for the number of rows.
            decimals: As for ``scan``.
            question: The other arguments of ``scan``.

        Raises what ``scan`` raises; QueryError for other steps.
        """
        from sacnb._tenant.scan import explain

        return explain(self._scan(decimals=decimals, **question), steps, count=flag("count", count))

    def _scan(self, *, decimals: bool, **question: Any) -> Scan:
        from sacnb._tenant.scan import Scan

        return Scan(self.facts(**question), decimals=flag("decimals", decimals))

    def refresh_panel(
        self,
        *,
        grain: Grain | None = None,
        agg: Aggregation = "sum",
        plot: bool | Mapping[str, Any] = False,
        every_minutes: float | None = None,
        **question: Any,
    ) -> Panel:
        """Return a notebook widget with a button that refreshes ``facts(**question)``; see ``RefreshPanel``.

        ``plot=True`` draws the result beside its table; a dictionary holds arguments for ``Result.plot``.

        Raises what ``facts`` raises; MissingExtraError if the extra ``notebook`` is not installed.
        """
        facts = self.facts(**question)
        return frontend().RefreshPanel(facts, grain=grain, agg=agg, plot=plot, every_minutes=every_minutes)

    def _filter(self, schema: Schema, where: Expression | None) -> Expression | None:
        """Return a filter with the version of this model, unless the filter names versions itself."""
        if self._version is None:
            return where
        versions = [column.name for column in schema.dimensions if is_version(column.name)]
        if not versions:
            raise QueryError(
                f"The model {self._id!r} has no dimension Version, and was asked for {self._version!r}.",
                hint=f"Leave version out: sac.model({self._id!r}).",
            )
        return where if columns_of(where).intersection(versions) else both(col(versions[0]) == self._version, where)

    def write(
        self,
        frame: object,
        *,
        method: Literal["Update", "Append", "CleanAndReplace"] = "Update",
        version: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        mapping: Mapping[str, str] | None = None,
        pivot: Sequence[str] | str | None = None,
        scope: Sequence[str] | None = None,
        dry_run: bool = False,
        allow_partial: bool = False,
        confirm: int | None = None,
        verify: bool = True,
        undo: bool = True,
        audit: str | os.PathLike[str] | None = None,
        rows_per_upload: int | None = None,
        timeout_s: float | None = None,
        progress: ProgressOption = "auto",
        cancelled: Callable[[], bool] | None = None,
    ) -> WriteReport:
        """Write a frame into the model's facts through the Data Import Service, all rows or none.

        Everything is checked before anything is sent: columns, types, lengths, digits, empty and repeated keys, dates,
        and members that do not exist, are parents or have formulas. SAC then checks the rows again; where it drops a
        row, nothing is written. Afterwards the rows are read back and compared.

        Args:
            frame: Any frame that speaks Arrow (polars, pandas, pyarrow, DuckDB, a ``Result``), or a dict of columns.
            method: "Update" replaces values, "Append" adds to them, "CleanAndReplace" deletes the slice first.
            version: The version to write into, unless the frame has a column "Version".
            defaults: Values of columns that the frame does not have, and for its empty cells.
            mapping: The frame's column for each column of the model that is called otherwise there.
            pivot: For months (or other members) as columns: the dimension and the measure, such as ("Date", "Amount").
            scope: For CleanAndReplace, the dimensions of the slice: each combination of members that the frame has is
                cleared. By default the version and the dates.
            dry_run: Go as far as SAC's validation, and delete the job.
            allow_partial: Write the good rows, and return the others in ``report.rejected``.
            confirm: For CleanAndReplace, the number of rows that it deletes; a dry run and the refusal tell it.
            verify: Read the slice back and compare it.
            undo: Keep the rows as they were, for ``report.undo()``.
            audit: A file to append a line to: who wrote what and when, counts and a hash, no values.
            rows_per_upload: The maximum number of rows in one upload; 50,000 by default.
            timeout_s: The seconds to wait for the end of the run; an hour by default.
            progress: Called after each step; "auto" shows a bar in a notebook.
            cancelled: Returning true ends the write, as long as its run has not begun.

        Raises RowsError with all problems as a frame; ConfirmationError where ``confirm`` is missing or wrong;
        WriteError for a failed run, a lost answer that the job cannot explain, and rows that read back otherwise;
        QueryError for arguments; AuthError, RequestError and BadAnswer.
        """
        from sacnb._write.order import make_order
        from sacnb._write.write import write

        order = make_order(
            method=method,
            version=version,
            defaults=defaults,
            mapping=mapping,
            pivot=pivot,
            scope=scope,
            dry_run=dry_run,
            allow_partial=allow_partial,
            confirm=confirm,
            verify=verify,
            undo=undo,
            audit=audit,
            rows_per_upload=rows_per_upload,
            timeout_s=timeout_s,
            cancelled=cancelled,
        )
        with progress_listener(callback("progress", progress, allowed=("auto",))) as listener:
            return write(self._place(), frame, replace(order, listener=listener))

    def write_members(
        self,
        dimension: str,
        frame: object,
        *,
        mapping: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        verify: bool = True,
        audit: str | os.PathLike[str] | None = None,
        progress: ProgressOption = "auto",
    ) -> WriteReport:
        """Add or change members of a dimension, all or none; write them before the facts that use them.

        Columns are ``ID`` and attributes such as ``Description``, as ``members()`` returns them. Hierarchies are not
        written: the import service has none. The other arguments are those of ``write``.

        Raises UnknownNameError for an unknown dimension, and what ``write`` raises. There is no undo: the import
        service deletes no single member.
        """
        from sacnb._write.members import write_members
        from sacnb._write.order import make_order

        order = make_order(mapping=mapping, defaults=defaults, dry_run=dry_run, verify=verify, audit=audit)
        name = text("dimension", dimension) or ""
        with progress_listener(callback("progress", progress, allowed=("auto",))) as listener:
            return write_members(self._place(), name, frame, replace(order, listener=listener))

    def _place(self) -> Place:
        """Return how a write reaches and reads the model."""
        from sacnb._tenant.members import place_of

        def read_facts(where: Mapping[str, list[str]]) -> pa.Table:
            # The members were checked before, and a version may have no row yet.
            return replace(self.facts(where=where or None), check_members=False).fetch(progress=None).arrow()

        return place_of(self._connection, self._id, self._namespace, self.metadata.entity_sets, read_facts)

    def _schema_for_questions(self) -> Schema:
        """Return the schema, or that of the last cached result while SAC is unreachable, so that it can be found."""
        try:
            return self.schema
        except SacError as error:
            if not is_outage(error):
                raise
            kept = schema_of_last_result(self._connection, self._id, self._namespace, error)
            if kept is None:
                raise
            return kept

    def _check_names(
        self, kind: Literal["dimension", "measure"], names: Sequence[str], known: Sequence[Column]
    ) -> None:
        known_names = [column.name for column in known]
        for name in names:
            if name not in known_names:
                raise UnknownNameError(kind, name, known_names, where=f"the model {self._id!r}")

    def _read_metadata(self) -> Metadata:
        path = metadata_path(self._id, self._namespace)
        try:
            answer = self._connection.context.session.fetch(
                "GET",
                self._connection.url(path),
                operation="read $metadata",
                accept="application/xml",
                expect="xml",
                check=lambda a: _parse_check(a.body),
            )
        except NotFoundError as error:
            raise self._unknown(error) from error
        metadata = parse_metadata(answer.body, content_type=answer.headers.get("Content-Type"))
        if metadata.document.hierarchies:
            _log.info("$metadata of %r annotates hierarchies (unused): %s", self._id, metadata.document.hierarchies)
        return metadata

    def _unknown(self, error: NotFoundError) -> SacError:
        """Return the error for a model that SAC does not have, with the nearest ids from the list of models."""
        try:
            entries = list_models(self._connection, self._namespace)
        except SacError as catalogue_error:
            error.add_note(f"The list of models could not be read either: {catalogue_error}")
            return error
        if any(entry.id == self._id for entry in entries):
            error.add_note(
                f"SAC lists {self._id!r}, so the 404 came from a gateway on the way, or SAP Datasphere stores the "
                "model's data (a seamless planning model), which SAC does not export."
            )
            return error
        unknown = UnknownNameError("model", self._id, [entry.id for entry in entries], where="this tenant")
        for entry in entries:
            if entry.name.casefold() == self._id.casefold():
                unknown.add_note(f"{entry.name!r} is the name of the model {entry.id!r}: use sac.model({entry.id!r}).")
        return unknown


def _repeated(repeated: object) -> Repeated:
    return cast("Repeated", one_of("repeated", repeated, get_args(Repeated)))


def _parse_check(body: bytes) -> None:
    parse_metadata(body)


def _columns(
    model: Model,
    schema: Schema,
    dims: Sequence[str] | None,
    measures: Sequence[str] | None,
    select: Sequence[str] | None,
) -> tuple[Column, ...]:
    """Return the columns to request: dimensions first, each group in the order given."""
    if select is not None:
        if dims is not None or measures is not None:
            raise QueryError(
                "select cannot be combined with dims or measures.", hint="Use select alone, or dims and measures."
            )
        return tuple(schema.column(name) for name in select)
    model._check_names("dimension", dims or (), schema.dimensions)
    model._check_names("measure", measures or (), schema.measures)
    if dims is None and measures is None:
        return schema.columns
    kept_dims = [schema.column(name) for name in dims] if dims is not None else list(schema.dimensions)
    kept_measures = [schema.column(name) for name in measures] if measures is not None else list(schema.measures)
    return (*kept_dims, *kept_measures)
