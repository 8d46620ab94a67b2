"""Write a frame into a model: from the checks to the comparison of what SAC returns afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from sacnb._write.carry import Carrier
from sacnb._write.check import ROW, Problems, check_keys, check_members, describe
from sacnb._write.frame import Layout, Prepared, prepare, read_frame
from sacnb._write.job import ImportJob
from sacnb._write.order import Order, layout_of
from sacnb._write.report import WriteReport
from sacnb._write.service import Deletion, JobSettings, explained, import_table
from sacnb._write.slice import Place, Slice, changes, differences, expected_after
from sacnb._write.target import PRIVATE, VERSION, Dates, ImportTable, Members, dates_as_written
from sacnb._write.undo import undo
from sacnb.errors import ConfirmationError, QueryError, RowsError, SacError, WriteError

__all__ = ["Writer", "write"]


def write(place: Place, frame: object, order: Order) -> WriteReport:
    """Check *frame*, and write it through an import job. Raises what ``Model.write`` says."""
    given = read_frame(frame)
    if not given.height:
        raise QueryError("The frame has no rows; there is nothing to write.")
    with explained():
        table = import_table(place.destination, "factData")
        layout = layout_of(given, table, order)
        return Writer(place, order, table).write(given, layout)


class Writer:
    """One write, step by step."""

    def __init__(self, place: Place, order: Order, table: ImportTable) -> None:
        self._place = place
        self._order = order
        self._table = table
        self._carrier = Carrier(place.destination, order, table.keys)

    def write(self, given: pl.DataFrame, layout: Layout) -> WriteReport:
        with self._carrier.turn(given.height):
            return self._write(given, layout)

    def _write(self, given: pl.DataFrame, layout: Layout) -> WriteReport:
        self._carrier.tell("check", 0, 0, given.height)
        prepared, problems = self._checked(given, layout)
        rows = prepared.rows
        scope = self._scope()
        before = self._before(rows, scope)
        expected = None if before is None else expected_after(before, rows, self._order.method)
        versions = tuple(rows.get_column(VERSION).unique().sort()) if VERSION in rows.columns else ()
        report = self._carrier.carry_out(
            rows,
            self._settings(rows, versions, scope),
            versions=versions,
            problems=problems,
            confirmed=lambda job, deletion: self._confirmed(job, deletion, before, rows, scope) if scope else None,
        )
        report = replace(
            report,
            changes=changes(before, expected, rows, scope),
            rounded=prepared.rounded,
            _undo=self._undoing(before, rows, scope),
        )
        if self._order.verify and not self._order.dry_run and before is not None and expected is not None:
            report = self._verified(report, before, expected, rows, scope)
        return report

    # -- before anything is sent -------------------------------------------------------------------------------------

    def _checked(self, given: pl.DataFrame, layout: Layout) -> tuple[Prepared, pl.DataFrame]:
        """Return the rows to send, and the problems of those that ``allow_partial`` leaves out."""
        problems = Problems()
        dates, members = self._dimensions()
        prepared = prepare(given, self._table, layout, dates, problems)
        check_keys(prepared.rows, self._table, problems)
        check_members(prepared.rows, members, dates, problems)
        found = problems.frame()
        bad_rows = found.get_column("row").drop_nulls().unique()
        left = prepared.rows.filter(~pl.col(ROW).is_in(bad_rows.implode()))
        if found.height and (not self._order.allow_partial or found.get_column("row").null_count() or not left.height):
            raise RowsError(
                f"The frame cannot be written into {self._place.model_id!r} as it is: {describe(found)}\n"
                "Nothing was sent.",
                problems=found,
                hint="error.problems is a frame of all of them.",
            )
        return replace(prepared, rows=left), found

    def _dimensions(self) -> tuple[dict[str, Dates], dict[str, Members]]:
        """Read the members of all dimensions. One without master data is not checked."""
        dates: dict[str, Dates] = {}
        members: dict[str, Members] = {}
        for column in self._table.columns:
            if not column.is_key:
                continue
            rows = self._place.read_members(column.name)
            if column.is_date:
                dates[column.name] = dates_as_written(str(row["ID"]) for row in rows or () if "ID" in row)
            elif rows is not None and any("ID" in row for row in rows):
                members[column.name] = Members.of(rows)
        return dates, members

    def _scope(self) -> tuple[str, ...]:
        """Return the dimensions whose combinations CleanAndReplace clears; by default the version and the dates."""
        if self._order.method != "CleanAndReplace":
            if self._order.scope is not None:
                raise QueryError(f"scope belongs to CleanAndReplace; {self._order.method} deletes nothing.")
            return ()
        keys = self._table.keys
        default = tuple(c.name for c in self._table.columns if c.is_key and (c.is_date or c.name == VERSION))
        scope = self._order.scope or default
        unknown = [name for name in scope if name not in keys]
        if unknown or not scope:
            raise QueryError(f"scope={scope!r} must name dimensions of the model: {', '.join(keys)}.")
        if VERSION in keys and VERSION not in scope:
            raise QueryError(
                f"scope={scope!r} has no {VERSION!r}, so rows of other versions would be deleted.",
                hint=f"Add it: scope=({VERSION!r}, {', '.join(map(repr, scope))}).",
            )
        return scope

    def _before(self, rows: pl.DataFrame, scope: tuple[str, ...]) -> Slice | None:
        """Read the facts that the write touches, unless nobody needs them."""
        needed = self._order.undo or self._order.verify or scope
        scales = {
            c.name: 7 if c.scale is None else c.scale
            for c in self._table.columns
            if c.kind == "number" and not c.is_key
        }
        if any(v.startswith(PRIVATE) for v in rows.get_column(VERSION)) if VERSION in rows.columns else False:
            self._carrier.notes.append(
                "Private versions cannot be read back (unconfirmed), so this write cannot be undone."
            )
            return None
        if not needed:
            return None
        self._carrier.tell("read", 0, 0, rows.height)
        return Slice.around(self._place, rows, scope or self._table.keys, self._table.keys, scales)

    def _settings(self, rows: pl.DataFrame, versions: tuple[str, ...], scope: tuple[str, ...]) -> JobSettings:
        private = [version for version in versions if version.startswith(PRIVATE)]
        if private and len(private) < len(versions):
            raise QueryError("Private and public versions cannot be written together.", hint="Write them one by one.")
        return JobSettings(
            import_type="privateFactData" if private else "factData",
            method=self._order.method,
            columns=tuple(name for name in rows.columns if name != ROW),
            scope=scope,
            runs_with_failed_rows=self._order.allow_partial,
        )

    def _confirmed(
        self, job: ImportJob, deletion: Deletion, before: Slice | None, rows: pl.DataFrame, scope: tuple[str, ...]
    ) -> int:
        """Return how many rows CleanAndReplace deletes, if ``confirm`` is that number. A dry run needs none."""
        read = None if before is None else before.matching(rows, scope)
        told = deletion.rows if deletion.rows is not None else None if read is None else read.height
        if told is None:
            raise WriteError(
                "The number of rows that CleanAndReplace would delete is unknown: neither SAC nor the Data Export "
                "Service returned one.",
                job_id=job.id,
                state=job.state,
                hint="Nothing was written.",
            )
        if self._order.dry_run or told in {0, self._order.confirm}:
            return told
        counts = (
            rows.select(scope).unique(maintain_order=True)
            if read is None
            else rows.select(scope)
            .unique(maintain_order=True)
            .join(read.group_by(scope).len("rows"), on=list(scope), how="left", maintain_order="left")
            .with_columns(pl.col("rows").fill_null(0))
        )
        said = (
            [
                ", ".join(f"{name}={value}" for name, value in zip(scope, line, strict=False)) + f": {line[-1]:,} rows"
                for line in counts.head(8).iter_rows()
            ]
            if read is not None
            else []
        )
        more = counts.height - len(said)
        shown = "; ".join([*said, *([f"and {more:,} more"] if said and more > 0 else [])])
        also = f" (the Data Export Service shows {read.height:,})" if read is not None and read.height != told else ""
        raise ConfirmationError(
            f"CleanAndReplace would delete {told:,} rows{also} of {self._place.model_id!r} before it writes "
            f"{rows.height:,}, in {counts.height:,} combinations of {', '.join(scope)}: {shown}. Nothing was written.",
            rows=told,
            affected=counts,
            job_id=job.id,
            state=job.state,
            hint=f"If that is what you want: confirm={told}. error.affected is a frame of the combinations.",
        )

    # -- afterwards --------------------------------------------------------------------------------------------------

    def _verified(
        self, report: WriteReport, before: Slice, expected: pl.DataFrame, rows: pl.DataFrame, scope: tuple[str, ...]
    ) -> WriteReport:
        """Read the slice back and compare it; rows that SAC rejected are not expected."""
        self._carrier.tell("verify", rows.height, 0, rows.height)
        rejected = report.rejected.get_column("row").drop_nulls()
        keys = rows.filter(~pl.col(ROW).is_in(rejected.implode())).select(before.keys)
        expected = expected.join(keys, on=list(before.keys), how="semi")
        try:
            after = Slice.around(self._place, rows, scope or before.keys, before.keys, before.scales)
        except SacError as error:
            raise WriteError(
                f"The rows were written (import job {report.job_id}, {report.state}), but cannot be read back: {error}",
                job_id=report.job_id,
                state=report.state,
                report=report,
                hint="error.report.undo() takes the write back.",
            ) from error
        found = after.matching(rows, scope) if scope else after.at(keys)
        different = differences(found, expected, before.keys)
        if different.height:
            raise WriteError(
                f"Import job {report.job_id} of {report.model_id!r} says {report.state}, but {different.height:,} of "
                f"{expected.height:,} rows read back are not as written.",
                job_id=report.job_id,
                state=report.state,
                report=replace(report, verified=False),
                differences=different,
                hint="error.differences is a frame of them. Somebody else may have written meanwhile; "
                "error.report.undo() takes the write back.",
            )
        return replace(report, verified=True)

    def _undoing(
        self, before: Slice | None, rows: pl.DataFrame, scope: tuple[str, ...]
    ) -> Callable[[bool], WriteReport] | None:
        if before is None or not self._order.undo or self._order.dry_run:
            return None
        place, table, method, audit = self._place, self._table, self._order.method, self._order.audit
        written = rows.drop(ROW)

        def again(frame: pl.DataFrame, method: str, scope: tuple[str, ...], confirm: int | None) -> WriteReport:
            order = Order(method=method, scope=scope or None, confirm=confirm, audit=audit)
            return Writer(place, order, table).write(frame, Layout({}, {}))

        return lambda force: undo(place, before, written, method=method, scope=scope, again=again, force=force)
