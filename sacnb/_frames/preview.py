"""Show the first rows of a table, with numbers as planners read them; the data stay as they are.

Thousands are grouped, and decimal points align because all numbers of a column have the same number of decimal places.
A number that would look whole without being so, or look like zero, gets more places.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

import polars as pl
import pyarrow as pa

from sacnb._frames.convert import column_of
from sacnb._odata.schema import Column
from sacnb._rendering import PAGED_ROWS, Preview

__all__ = ["AT_TOP", "as_shown", "preview", "preview_of", "shown_frame"]

# Digits of a column's largest number; decimal places are never fewer than the cents need.
_DIGITS: Final = 6
_CENTS: Final = 2
# Digits that a number below 1 keeps, so that a rate among amounts does not become 0.00.
_LEAST_DIGITS: Final = 3
# Numbers beyond these are shown with an exponent, because written out they are mostly zeros.
_LARGEST: Final = Decimal(10) ** 21
_MOST_BEHIND: Final = 9
# The widest decimal of Arrow has 76 digits; a float written out has more, and is far beyond _LARGEST then.
_EXACT: Final = Context(prec=800, rounding=ROUND_HALF_UP)

Number = int | float | Decimal


def as_shown(values: Sequence[Number | None]) -> list[str]:
    """Format the numbers of one column so that they align below each other; ``None`` becomes ``null``.

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
    """Return the number of decimal places that show the number's size, and that it is not whole."""
    if _rounded(number, behind) == number:
        return behind
    from_whole = abs(number - number.to_integral_value(context=_EXACT))
    needed = -from_whole.adjusted()
    if abs(number) < 1:
        needed = max(needed, _LEAST_DIGITS - 1 - number.adjusted())
    return _digits_behind(_rounded(number, needed)) if needed > behind else behind


def _is_written_out(number: Decimal) -> bool:
    """Return whether the number is written out, and not as a power of ten."""
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
# A few more rows are shown rather than announced.
AT_TOP: Final = 20
_CELL_CHARS: Final = 240
_ID_CHARS: Final = 256
# A whole number with such a name, or one that may be a period, is no quantity.
_NO_QUANTITY: Final = re.compile(
    r"(?:^|_|\b)(?:id|key|code|no|nr|number|year|period|month|week|day|date)$", re.IGNORECASE
)


def preview(
    table: pa.Table,
    *,
    title: str,
    notes: tuple[str, ...] = (),
    kept: Collection[str] = (),
    whole: Collection[str] = (),
    more_rows: int = 0,
    total: int | None = None,
) -> Preview:
    """Return the first rows of a table, with numbers formatted by ``as_shown``.

    A table that is too wide loses columns from its middle: dimensions and texts first; dates, numbers and the columns
    *kept* last. Ids, which are those of dimensions and of the columns *whole*, are never shortened. *more_rows* are the
    rows beyond those at the top to hold for paging; *total* is the number of rows if *table* is only their beginning.
    """
    total = table.num_rows if total is None else total
    at_top = _ROWS if total > AT_TOP else total
    head = table.slice(0, at_top + more_rows)
    columns = [column_of(field) for field in head.schema]
    ids = {
        field.name
        for field, column in zip(head.schema, columns, strict=True)
        if field.name in whole or (column is not None and column.role == "dimension")
    }
    numeric = tuple(_is_number(field.type) for field in head.schema)
    cells = [
        _cells(field, column, head.column(number).to_pylist(), is_id=field.name in ids)
        for number, (field, column) in enumerate(zip(head.schema, columns, strict=True))
    ]
    rows = tuple(zip(*cells, strict=True))
    left = total - at_top
    matters = [
        is_number or field.name in kept or pa.types.is_temporal(field.type)
        for field, is_number in zip(head.schema, numeric, strict=True)
    ]
    return Preview(
        title,
        notes,
        tuple(_cell(name, _CELL_CHARS) for name in head.column_names),
        numeric,
        rows[:at_top],
        f"… {left:,} more row{'' if left == 1 else 's'}" if left > 0 else "",
        cut=tuple(place for place, field in enumerate(head.schema) if not numeric[place] and field.name not in ids),
        drop=_order_of_dropping(matters, numeric),
        rest=rows[at_top:],
        total=total,
    )


def _order_of_dropping(matters: Sequence[bool], numeric: Sequence[bool]) -> tuple[int, ...]:
    """Return the places of all columns but the first and the last that matter: from the middle outwards.

    Numbers without a date or a kept column beside them would say nothing: then the first of the others matters too.
    """

    def outwards(places: list[int]) -> list[int]:
        middle = (len(places) - 1) / 2
        return [places[at] for at in sorted(range(len(places)), key=lambda at: abs(at - middle))]

    others = [place for place, matter in enumerate(matters) if not matter]
    main = [place for place, matter in enumerate(matters) if matter]
    if others and len(main) == sum(numeric):
        main.insert(0, others.pop(0))
    return (*outwards(others), *outwards(main[1:-1]))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cells(field: pa.Field, column: Column | None, values: list[Any], *, is_id: bool) -> list[str]:
    if _is_number(field.type) and _is_quantity(field, column, values):
        return as_shown(values)
    return [_cell(value, _ID_CHARS if is_id else _CELL_CHARS) for value in values]


def _is_quantity(field: pa.Field, column: Column | None, values: list[Any]) -> bool:
    """Return whether numbers are amounts, and not years, periods or ids, which are shown without thousands."""
    if not pa.types.is_integer(field.type):
        return True
    if column is not None:
        return bool(column.role == "measure")
    return not _NO_QUANTITY.search(field.name) and not all(_may_be_period(value) for value in values)


def _may_be_period(value: int | None) -> bool:
    """Return whether a whole number may be a year, ``yyyymm`` or ``yyyymmdd``; a small one looks the same anyway."""
    if value is None or abs(value) < 10_000:
        return True
    month = value if value < 10**6 else value // 100
    return 190_000 <= month <= 299_916 and month % 100 <= 16


def _cell(value: Any, most: int) -> str:
    if value is None:
        return "null"
    # Show characters that cannot be printed (line ends, marks that turn the writing direction) as escapes.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def preview_of(frame: pl.DataFrame, *, title: str, more_rows: int = 0, **options: Any) -> Preview:
    """Return the preview of a polars frame; see ``preview``."""
    head = frame.head(AT_TOP + more_rows).to_arrow()
    return preview(head, title=title, more_rows=more_rows, total=frame.height, **options)


class ShownFrame(pl.DataFrame):
    """A polars frame that looks like every table of sacnb; what is made of it is an ordinary frame.

    ``whole`` names the columns with ids, which are never shortened.
    """

    _word = "row"
    _whole: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return (pl.DataFrame, (self.get_columns(),))  # to be read without sacnb

    def _preview(self, more_rows: int = 0) -> Preview:
        title = f"{self.height:,} {self._word}{'' if self.height == 1 else 's'}"
        return preview_of(self, title=title, whole=self._whole, more_rows=more_rows)

    def __repr__(self) -> str:
        return self._preview().text()

    __str__ = __repr__

    def _repr_html_(self, *, _from_series: bool = False) -> str:
        return self._preview().html()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/html": self._preview(PAGED_ROWS).paged_html()}


def shown_frame(frame: pl.DataFrame, word: str = "row", *, whole: tuple[str, ...] = ()) -> pl.DataFrame:
    """Return *frame*, without a copy, to be shown in the look of sacnb; *word* is that for one row."""
    shown = ShownFrame(frame)
    shown._word, shown._whole = word, whole
    return shown
