"""Write members of dimensions, with their attributes: master data, which must be there before the facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import polars as pl

from sacnb._write.carry import Carrier
from sacnb._write.check import Problems, check_keys, describe
from sacnb._write.frame import Layout, prepare, read_frame, with_full_names
from sacnb._write.report import differs, verified
from sacnb._write.service import JobSettings, explained, import_table
from sacnb._write.target import ImportColumn, ImportTable
from sacnb.errors import QueryError, RowsError, UnknownNameError

if TYPE_CHECKING:
    from sacnb._write.order import Order
    from sacnb._write.report import WriteReport
    from sacnb._write.slice import Place

__all__ = ["write_members"]

_PART: Final = "masterData"
_SEPARATOR: Final = "___"


def write_members(place: Place, dimension: str, frame: object, order: Order) -> WriteReport:
    """Check a frame of members, write it, and read it back. Raises what ``Model.write_members`` says.

    The names of the columns, ``<Dimension>___<Attribute>``, are those of the import mappings of live models; that an
    import of one dimension needs no column of the others is unconfirmed.
    """
    given = read_frame(frame)
    if not given.height:
        raise QueryError("The frame has no rows; there is nothing to write.")
    with explained():
        whole = import_table(place.destination, _PART)
        table = _of_dimension(whole, dimension, place.model_id)
        layout = Layout(_mapping(given, table, order.mapping), order.defaults)
        problems = Problems()
        prepared = prepare(_renamed(given, table), table, layout, {}, problems)
        check_keys(prepared.rows, table, problems)
        found = problems.frame()
        if found.height:
            raise RowsError(
                f"The members of {dimension!r} cannot be written as they are: {describe(found)}\nNothing was sent.",
                problems=found,
                hint="error.problems is a frame of all of them.",
            )
        columns = tuple(name for name in prepared.rows.columns if name in table.names)
        settings = JobSettings(import_type=_PART, method=order.method, columns=columns)
        carrier = Carrier(place.destination, order, table.keys)
        with carrier.turn(given.height):
            report = carrier.carry_out(prepared.rows, settings)
            if order.dry_run or not order.verify:
                return report
            return _verified(place, dimension, report, prepared.rows, table)


def _of_dimension(table: ImportTable, dimension: str, model_id: str) -> ImportTable:
    """Return the columns of one dimension; the key is the column that SAC marks, or ``ID``."""
    prefix = dimension + _SEPARATOR
    columns = [column for column in table.columns if column.name.startswith(prefix)]
    if not columns:
        known = dict.fromkeys(column.name.partition(_SEPARATOR)[0] for column in table.columns)
        raise UnknownNameError("dimension", dimension, known, where=f"the master data of {model_id!r}")
    if not any(column.is_key for column in columns):
        columns = [replace(column, is_key=column.name == f"{prefix}ID") for column in columns]
    # A member's texts are texts: numbers and dates of the key column keep their form.
    return ImportTable(tuple(_as_text(column) for column in columns))


def _as_text(column: ImportColumn) -> ImportColumn:
    return replace(column, is_date=False)


def _renamed(frame: pl.DataFrame, table: ImportTable) -> pl.DataFrame:
    """Return the frame with ``<Dimension>___ID`` for a column ``ID`` or ``id``, as ``model.members()`` names them.

    ``parent`` and ``level`` of ``model.members()`` are left out: the import service has no hierarchies.
    """
    short = {name.partition(_SEPARATOR)[2].casefold(): name for name in table.names}
    known = {name: short[name.casefold()] for name in frame.columns if name.casefold() in short}
    kept = [name for name in frame.columns if name not in {"parent", "level"} or name in known]
    return with_full_names(frame.select(kept), known)


def _mapping(frame: pl.DataFrame, table: ImportTable, mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping with full names for attributes: ``{"Description": "text"}`` is enough."""
    short = {name.partition(_SEPARATOR)[2]: name for name in table.names}
    renamed = dict(zip(frame.columns, _renamed(frame, table).columns, strict=False))
    return {short.get(target, target): renamed.get(source, source) for target, source in mapping.items()}


def _verified(place: Place, dimension: str, report: WriteReport, rows: pl.DataFrame, table: ImportTable) -> WriteReport:
    """Compare the attributes that SAC returns with those that were written."""
    (key,) = table.keys
    have = {str(row.get("ID")): row for row in place.read_members(dimension) or ()}
    wrong: list[tuple[str, str, str | None, str | None]] = []
    for row in rows.iter_rows(named=True):
        found = have.get(row[key])
        for name in table.names:
            attribute = name.partition(_SEPARATOR)[2]
            value = None if found is None else found.get("ID" if name == key else attribute)
            is_number = table.column(name).kind == "number" and name != key
            if name in rows.columns and (found is None or differs(row[name], value, is_number=is_number)):
                told = [None if one is None else str(one) for one in (row[name], value)]
                wrong.append((row[key], attribute, told[0], told[1]))
    return verified(report, dimension, ("member", "attribute"), wrong)
