"""The first rows of a table, to look at.

Numbers as a planner reads them: thousands apart, points below each other, and no more digits than say something.

For looking only: the data stay as they are. The numbers of a column have equally many digits behind the point. One that
would look whole without being so, or like next to nothing, gets more of its own: what is rounded can be seen to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

import pyarrow as pa

from sacnb._frames.convert import column_of
from sacnb._rendering import Preview

__all__ = ["as_shown", "preview"]

# What a column's largest number has in all; behind the point always so many that cents are seen.
_DIGITS: Final = 6
_CENTS: Final = 2
# What the smallest number keeps, so that a rate among amounts is still a rate.
_LEAST_DIGITS: Final = 3
# Beyond these, zeros would be all there is to see.
_LARGEST: Final = Decimal(10) ** 21
_MOST_BEHIND: Final = 9
# The widest decimal of Arrow has 76 digits; a float written out has more, and is far beyond _LARGEST then.
_EXACT: Final = Context(prec=800, rounding=ROUND_HALF_UP)

Number = int | float | Decimal


def as_shown(values: Sequence[Number | None]) -> list[str]:
    """The numbers of one column as texts to put below each other; ``None`` is ``null``.

    A float stands for the shortest number that is read as the same float, as everywhere in Python.
    """
    numbers = [None if value is None else _EXACT.plus(Decimal(str(value))) for value in values]  # and -0.0 is 0
    written_out = [abs(number) for number in numbers if number is not None and _is_written_out(number)]
    largest = max(written_out, default=Decimal(0))
    most = max(_DIGITS - _digits_before(largest), _CENTS)
    behind = max((_digits_behind(_rounded(number, most)) for number in written_out), default=0)
    return ["null" if number is None else _text(number, behind) for number in numbers]


def _text(number: Decimal, behind: int) -> str:
    if not number.is_finite():
        return {"Infinity": "inf", "-Infinity": "-inf"}.get(str(number), "NaN")
    if not _is_written_out(number):
        return f"{number:.{_DIGITS - 1}e}"
    return f"{_rounded(number, max(behind, _needed_behind(number, behind))):,f}"


def _needed_behind(number: Decimal, behind: int) -> int:
    """Return the decimals needed to see that a number is not whole, and its rough value."""
    if _rounded(number, behind) == number:
        return behind
    from_whole = abs(number - number.to_integral_value(context=_EXACT))
    needed = -from_whole.adjusted()
    if abs(number) < 1:
        needed = max(needed, _LEAST_DIGITS - 1 - number.adjusted())
    return _digits_behind(_rounded(number, needed)) if needed > behind else behind


def _is_written_out(number: Decimal) -> bool:
    """Return whether a number is shown in full, without a power of ten."""
    return number.is_finite() and abs(number) < _LARGEST and (not number or number.adjusted() >= -_MOST_BEHIND)


def _rounded(number: Decimal, behind: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-behind), context=_EXACT)


def _digits_before(number: Decimal) -> int:
    return max(number.adjusted() + 1, 1)


def _digits_behind(number: Decimal) -> int:
    exponent = number.normalize(_EXACT).as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101 - only NaN and infinity have none
    return max(-exponent, 0)


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
