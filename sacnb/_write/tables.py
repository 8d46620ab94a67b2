"""Write a table that models share: a public dimension, a currency or a unit table.

Services, import types, methods and the form of the metadata are those of SAP's guide to the Data Import Service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from sacnb._write.carry import Carrier
from sacnb._write.check import ROW, Problems, check_keys, describe
from sacnb._write.frame import Layout, prepare, read_frame, with_full_names
from sacnb._write.job import ImportJob
from sacnb._write.report import differs, verified
from sacnb._write.service import JobSettings, explained, import_id, table_of
from sacnb._write.target import ImportTable
from sacnb.errors import ConfirmationError, QueryError, RowsError, WriteError

if TYPE_CHECKING:
    from sacnb._write.order import Order
    from sacnb._write.report import WriteReport
    from sacnb._write.target import Destination

__all__ = ["write_table"]

Rows = Sequence[Mapping[str, Any]]
_METHODS: Final = {"dimension": "Update", "currency": "DeleteAndUpsert", "unit": "DeleteAndUpsert"}
_REPLACE: Final = "DropAndInsert"
# Of ``sac.table()``; an import has no hierarchies.
_OF_HIERARCHIES: Final = frozenset({"parent", "level"})


def write_table(
    to: Destination, kind: str, frame: object, order: Order, *, replaces: bool, read_rows: Callable[[], Rows | None]
) -> WriteReport:
    """Check a frame of rows, write it into the table, and read it back. Raises what ``Tenant.write_table`` says.

    ``read_rows`` returns the rows of the table, or ``None`` where SAC does not export it.
    """
    given = read_frame(frame)
    if not given.height:
        raise QueryError("The frame has no rows; there is nothing to write.")
    if replaces and kind != "currency":
        raise QueryError("replace=True is for currency tables; SAC has no such import for the others.")
    with explained():
        to = replace(to, id=import_id(to, kind))
        import_type, table = table_of(to)
        carrier = Carrier(to, replace(order, method=_REPLACE if replaces else _METHODS[kind]), table.keys)
        with carrier.turn(given.height):
            before = read_rows()
            rows = _checked(to, given, table, order, kind)
            if kind == "dimension":
                rows = _completed(to, rows, table, before)
            settings = JobSettings(
                import_type=import_type,
                method=_REPLACE if replaces else _METHODS[kind],
                columns=tuple(name for name in rows.columns if name != ROW),
                # SAP's guide says that currencies take no JobSettings, and shows them with the method.
                runs_with_failed_rows=None if kind == "currency" else False,
            )
            report = carrier.carry_out(
                rows, settings, confirmed=lambda job, _: _confirmed(to, job, before, order) if replaces else None
            )
            if order.dry_run:
                return report
            if report.rows < rows.height:
                raise WriteError(
                    f"Import job {report.job_id} says {report.state}, and that {rows.height - report.rows:,} of "
                    f"{rows.height:,} rows of {to.id!r} failed.",
                    job_id=report.job_id,
                    state=report.state,
                    report=report,
                )
            return _verified(to, report, rows, table, read_rows()) if order.verify else report


def _checked(to: Destination, given: pl.DataFrame, table: ImportTable, order: Order, kind: str) -> pl.DataFrame:
    """Return the rows to send; all problems of the frame come at once."""
    problems = Problems()
    # Its texts are texts: numbers and dates of a key column keep their form.
    columns = tuple(replace(column, is_date=False) for column in table.columns)
    layout = Layout(order.mapping, order.defaults)
    prepared = prepare(_renamed(given, table), ImportTable(columns), layout, {}, problems)
    check_keys(prepared.rows, table, problems, may_be_empty=kind != "dimension")
    found = problems.frame()
    if found.height:
        raise RowsError(
            f"The rows cannot be written into {to.id!r} as they are: {describe(found)}\nNothing was sent.",
            problems=found,
            hint="error.problems is a frame of all of them.",
        )
    return prepared.rows


def _renamed(frame: pl.DataFrame, table: ImportTable) -> pl.DataFrame:
    """Return the frame with the table's own names for those that ``sac.table()`` gives: ``ID`` for ``id``."""
    known = {name.casefold(): name for name in table.names}
    kept = [name for name in frame.columns if name.casefold() in known or name not in _OF_HIERARCHIES]
    full = {name: known[name.casefold()] for name in kept if name.casefold() in known}
    return with_full_names(frame.select(kept), full)


def _completed(to: Destination, rows: pl.DataFrame, table: ImportTable, before: Rows | None) -> pl.DataFrame:
    """Return the rows with the attributes that they leave out, as they are: SAC deletes what an upload leaves out."""
    missing = [name for name in table.measures if name not in rows.columns]
    if not missing:
        return rows
    have = {_key(row, table): row for row in before or ()}
    there = [have.get(_key(row, table)) for row in rows.iter_rows(named=True)]
    unknown = [name for name in missing if any(row is not None and name not in row for row in there)]
    if before is None or unknown:
        raise QueryError(
            f"SAC deletes the attributes of members that an upload leaves out, and those of {to.id!r} are not known "
            f"here: {', '.join(unknown or missing)}.",
            hint="Add these columns to the frame.",
        )
    kept = []
    for name in missing:
        texts = [None if row is None or row[name] is None else str(row[name]) for row in there]
        series = pl.Series(name, texts, dtype=pl.String)
        if _is_number(table, name):  # through the text, because a cast of a float is inexact
            scale = table.column(name).scale
            series = series.str.to_decimal(scale=7 if scale is None else scale)
        kept.append(series)
    return rows.with_columns(kept)


def _is_number(table: ImportTable, name: str) -> bool:
    return table.column(name).kind == "number"


def _confirmed(to: Destination, job: ImportJob, before: Rows | None, order: Order) -> int:
    """Return how many rows are dropped, if ``confirm`` is that number."""
    if before is None:
        raise WriteError(
            f"How many rows of {to.id!r} replace=True deletes is not known: SAC does not export the table.",
            job_id=job.id,
            hint="Nothing was written.",
        )
    if order.dry_run or len(before) in {0, order.confirm}:
        return len(before)
    raise ConfirmationError(
        f"replace=True would delete all {len(before):,} rows of {to.id!r} first. Nothing was written.",
        rows=len(before),
        affected=pl.DataFrame([dict(row) for row in before]),
        job_id=job.id,
        state=job.state,
        hint=f"If that is what you want: confirm={len(before)}. error.affected is a frame of them.",
    )


def _verified(
    to: Destination, report: WriteReport, rows: pl.DataFrame, table: ImportTable, after: Rows | None
) -> WriteReport:
    """Compare the rows that SAC returns with those that were written."""
    columns = [name for name in rows.columns if name != ROW]
    if not after or not all(name in after[0] for name in columns):
        return replace(report, notes=(*report.notes, "The table does not read back in the columns that were written."))
    have = {_key(row, table): row for row in after}
    wrong: list[tuple[str, str, str | None, str | None]] = []
    for row in rows.iter_rows(named=True):
        found = have.get(_key(row, table), {})
        for name in columns:
            if differs(row[name], found.get(name), is_number=_is_number(table, name)):
                told = [None if one is None else str(one) for one in (row[name], found.get(name))]
                wrong.append((", ".join(_key(row, table)), name, told[0], told[1]))
    return verified(report, to.id, ("row", "column"), wrong)


def _key(row: Mapping[str, Any], table: ImportTable) -> tuple[str, ...]:
    return tuple(str(row.get(name) or "") for name in table.keys)
