"""The methods of a model that are built on its facts: LazyFrames, panels and writes."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from sacnb._arguments import callback, flag, required_text, text
from sacnb._endpoints import hierarchy_set, master_set
from sacnb._frontend import frontend
from sacnb._odata.expression import Expression
from sacnb._pull.progress import progress_listener
from sacnb._rendering import Previewed
from sacnb._tenant.awaiting import in_thread
from sacnb._tenant.members import read_members
from sacnb._track.subscriptions import delete_subscription, list_subscriptions
from sacnb._write.slice import Place

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from sacnb._frames.tidy import Aggregation
    from sacnb._frontend import Panel, WritePanel
    from sacnb._odata.schema import Grain
    from sacnb._odata.where import When
    from sacnb._pull.plan import Repeated
    from sacnb._pull.progress import ProgressOption
    from sacnb._tenant.connection import Connection
    from sacnb._tenant.facts import Facts
    from sacnb._tenant.scan import Explanation, Scan
    from sacnb._track.track import Track
    from sacnb._wire.session import SacSession
    from sacnb._write.report import WriteReport

__all__ = ["ModelBase", "Where", "place_of"]

Where = Mapping[str, Any] | Expression | None


class ModelBase(Previewed):
    """Base class of ``Model``."""

    __slots__ = ()

    @abstractmethod
    def facts(self, *args: Any, **question: Any) -> Facts:
        """Prepare a query of the model's facts."""

    @abstractmethod
    def _place(self) -> Place:
        """Return how a write reaches and reads the model."""

    @property
    @abstractmethod
    def _provider(self) -> tuple[SacSession, str, str, str]:
        """Session, tenant URL, id and namespace."""

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

    async def write_async(self, frame: object, **options: Any) -> WriteReport:
        """Write as ``write`` does, with its options, in a thread of its own, so that an event loop goes on.

        Cancelling the task that awaits it ends the write as long as its run has not begun, as ``cancelled`` does.
        Raises what ``write`` raises.
        """
        # A request is not cut off: where one has begun the run, its answer says which job it was.
        return await in_thread(lambda stop: self.write(frame, **options, cancelled=stop), ends_requests=False)

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


def place_of(
    connection: Connection,
    model_id: str,
    namespace: str,
    entity_sets: Collection[str],
    read_facts: Callable[[Mapping[str, list[str]]], pa.Table],
) -> Place:
    """Return how a write reaches and reads a model that has these entity sets."""

    def members(dimension: str) -> list[dict[str, Any]] | None:
        wanted = [name for name in (hierarchy_set(dimension), master_set(dimension)) if name in entity_sets]
        for entity_set in wanted:
            rows = read_members(connection, model_id, namespace, entity_set)
            if rows is not None:
                return rows
        return None

    return Place(connection.destination(model_id), read_members=members, read_facts=read_facts)
