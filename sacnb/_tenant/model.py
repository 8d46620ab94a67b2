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
)
from sacnb._fork import renew_after_fork
from sacnb._frontend import frontend
from sacnb._odata.expression import Expression
from sacnb._odata.metadata import Metadata
from sacnb._odata.query import Query
from sacnb._odata.schema import Grain, Schema
from sacnb._odata.where import When, both, from_where
from sacnb._pull.collect import is_outage
from sacnb._pull.partition import checked_partitions
from sacnb._pull.plan import Repeated
from sacnb._pull.progress import progress_listener
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._tenant.connection import Connection, ModelEntry, list_models, read_metadata, schema_of_last_result
from sacnb._tenant.facts import Facts
from sacnb._tenant.members import (
    check_names,
    chosen_columns,
    dimension_members,
    place_of,
    version_dimension,
    with_members_below,
    with_version,
    write_workbook,
)
from sacnb._tenant.question import period_filter
from sacnb._track.subscriptions import delete_subscription, list_subscriptions
from sacnb.errors import QueryError, SacError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sacnb._frames.tidy import Aggregation
    from sacnb._frontend import Panel, WritePanel
    from sacnb._pull.progress import ProgressOption
    from sacnb._results.files import Target
    from sacnb._results.result import Result
    from sacnb._tenant.scan import Explanation, Scan
    from sacnb._track.track import Track
    from sacnb._wire.session import SacSession
    from sacnb._write.report import WriteReport
    from sacnb._write.slice import Place

_log = logging.getLogger("sacnb.tenant")

Where = Mapping[str, Any] | Expression | None


class Model(Previewed):
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

    def track(
        self,
        *,
        where: Where = None,
        since: When | None = None,
        until: When | None = None,
        date: str | None = None,
        measures: Sequence[str] | None = None,
        page_size: int | None = None,
        check_count: bool = True,
        repeated: Repeated = "sum",
        check_every: int = 20,
    ) -> Track:
        """Opt into change tracking; short for ``facts(...).track(check_every=...)``."""
        facts = self.facts(
            where=where,
            since=since,
            until=until,
            date=date,
            measures=measures,
            page_size=page_size,
            check_count=check_count,
            repeated=repeated,
        )
        return facts.track(check_every=check_every)

    def subscriptions(self) -> pl.DataFrame:
        """Return what SAC keeps to track changes of this model: ``id``, ``entity_set``, ``chain`` and more, as texts.

        Those of other programs may be among them. Raises AuthError and RequestError.
        """
        return list_subscriptions(*self._provider)

    def delete_subscription(self, subscription_id: str) -> None:
        """Delete a subscription and those before it in its chain: whoever uses its link reads all rows once more.

        Raises UnknownNameError if SAC lists no such subscription; AuthError and RequestError.
        """
        delete_subscription(*self._provider, required_text("subscription_id", subscription_id))

    @property
    def _provider(self) -> tuple[SacSession, str, str, str]:
        return self._connection.context.session, self._connection.tenant_url, self._id, self._namespace

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

    def write_panel(self, frame: object, **options: Any) -> WritePanel:
        """Return a notebook widget that shows problems and changes before *Write* can be pressed; see ``WritePanel``.

        The options are those of ``write``. Raises QueryError for them; MissingExtraError without the extra
        ``notebook``.
        """
        return frontend().WritePanel(self, frame, **options)

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


def _repeated(repeated: object) -> Repeated:
    return cast("Repeated", one_of("repeated", repeated, get_args(Repeated)))
