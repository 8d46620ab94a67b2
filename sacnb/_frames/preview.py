"""The first rows of a table, to look at."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from sacnb._frames.convert import column_of
from sacnb._frames.digits import as_shown
from sacnb._rendering import Preview

__all__ = ["preview"]

_ROWS: Final = 10
_COLUMNS: Final = 30
_CELL_CHARS: Final = 60


def preview(table: pa.Table, *, title: str, notes: tuple[str, ...] = ()) -> Preview:
    """The first ten rows and the first thirty columns of a table; long texts are cut.

    Quantities are shown by ``as_shown``. A whole number that no schema calls a measure may be a year or an id, and is
    left as it is.
    """
    head = table.slice(0, _ROWS).select(range(min(table.num_columns, _COLUMNS)))
    numeric = tuple(_is_number(field.type) for field in head.schema)
    cells = [_cells(field, head.column(number).to_pylist()) for number, field in enumerate(head.schema)]
    rows = tuple(zip(*cells, strict=True))
    left = [
        f"{count:,} more {word}{'' if count == 1 else 's'}"
        for count, word in ((table.num_rows - _ROWS, "row"), (table.num_columns - _COLUMNS, "column"))
        if count > 0
    ]
    names = tuple(map(_cell, head.column_names))
    return Preview(title, notes, names, numeric, rows, f"… {' and '.join(left)}" if left else "")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cells(field: pa.Field, values: list[Any]) -> list[str]:
    return as_shown(values) if _is_quantity(field) else list(map(_cell, values))


def _is_quantity(field: pa.Field) -> bool:
    if not pa.types.is_integer(field.type):
        return _is_number(field.type)
    column = column_of(field)
    return column is not None and column.role == "measure"


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    # What cannot be printed (line ends, marks that turn the writing direction) is shown by its escape.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"
