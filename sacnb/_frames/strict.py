"""Decode a page that the native decoder doubted, value by value.

Unusual but unmistakable values are read (a number written as a string, a number where a string is declared, more digits
than the scale); anything else raises ``BadAnswer`` with the row and the column. No null is made that SAC did not send.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeVar, cast

import numpy as np
import pyarrow as pa

from sacnb._frames.convert import arrow_field, concat
from sacnb._frames.types import (
    DECIMAL,
    INTEGERS,
    MAX_DECIMAL_DIGITS,
    PLAIN_TEXT,
    TEXT_TYPES,
    Unfit,
    arrow_type,
    decimal_type,
)
from sacnb._http import is_web_page
from sacnb._odata.schema import Column
from sacnb.errors import BadAnswer

__all__ = ["MAX_LEVELS", "decode_by_pieces", "decode_strictly", "refuse_deep", "values_of"]

# The strict decoder takes ten times as long as the native one: one odd piece of 32 costs a third of a page.
_PIECES: Final = 32
_SMALLEST_PIECE: Final = 100

# Rows are flat. Python's parser gives up at about 1,000 levels, pyarrow's never.
MAX_LEVELS: Final = 100
_STRUCTURE: Final = np.isin(np.arange(256, dtype=np.uint8), np.frombuffer(b'[]{}"', dtype=np.uint8))
_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)

_SHOWN_CHARS: Final = 80
_NUMBER_FORM: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?)0*(\d+))?", re.ASCII)
_NOT_FINITE: Final = {"NaN": math.nan, "INF": math.inf, "-INF": -math.inf}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

T = TypeVar("T")


class _Number(str):
    """A JSON number, as it was written: no digit is lost before its type is known."""

    __slots__ = ()


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys it had twice."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: frozenset[str] = frozenset()
        if len(self) != len(pairs):
            self.twice = frozenset(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)


class _UnreadableError(ValueError):
    """A value that is not what its column declares."""


class _MisfitError(ValueError):
    """The value at ``index`` does not fit its column; the text says why."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index


def decode_strictly(rows: bytes | bytearray | memoryview, columns: Sequence[Column], *, first_row: int = 0) -> pa.Table:
    """Return the rows of a page as a table of these columns, in their order; errors count from *first_row*.

    The types are those of ``arrow_schema(columns)``, but for decimals and times with more digits than was declared,
    whose columns are as wide as their values need.

    Raises:
        BadAnswer: The page is no JSON array of row objects, or a value does not fit its column; ``row`` (the first one
            is 0) and ``column`` say where, as far as it is known.
    """
    refuse_deep(rows)
    objects = _objects(bytes(rows))
    names = [column.name for column in columns]
    dimensions = [column.name for column in columns if column.role == "dimension"]
    for index, row in enumerate(objects, first_row):
        _check_row(row, index, names, dimensions)
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []
    for column in columns:
        try:
            array = values_of([row.get(column.name) for row in objects], column)
        except _MisfitError as e:
            index = first_row + e.index
            raise BadAnswer(f"Row {index}, {e}", row=index, column=column.name) from e.__cause__
        arrays.append(array)
        fields.append(arrow_field(column).with_type(array.type))
    return pa.table(arrays, schema=pa.schema(fields))


def decode_by_pieces(
    lines: bytes, columns: Sequence[Column], native: Callable[[bytes, int], pa.Table | None]
) -> pa.Table | None:
    """Decode a line for each row in pieces, strictly those only that *native* refuses: the odd rows, and few others.

    Returns:
        The table; ``None`` where a line is no whole row, so that the page must be read as it came.

    Raises:
        BadAnswer: As ``decode_strictly``.
    """
    rows = lines.split(b"\n")
    size = max(-(-len(rows) // _PIECES), _SMALLEST_PIECE)
    tables: list[pa.Table] = []
    for first in range(0, len(rows), size):
        piece = rows[first : first + size]
        table = native(b"\n".join(piece), len(piece))
        if table is None:
            try:
                table = decode_strictly(b"[" + b",".join(piece) + b"]", columns, first_row=first)
            except BadAnswer as e:
                if e.row is None:
                    return None
                raise
            if table.num_rows != len(piece):
                return None
        tables.append(table)
    return concat(tables).combine_chunks()


def refuse_deep(rows: bytes | bytearray | memoryview) -> None:
    """Refuse values nested so deep that a parser which calls itself for each level could run out of stack.

    Such a value may stand in a column that nobody asked for, and is parsed nevertheless.

    Raises:
        BadAnswer: A value has more than ``MAX_LEVELS`` levels.
    """
    text = bytes(rows)
    if text.count(b"[") + text.count(b"{") <= MAX_LEVELS:
        return
    if b"\\" in text:
        text = _ESCAPED.sub(b"  ", text)
    data = np.frombuffer(text, dtype=np.uint8)
    data = data[_STRUCTURE[data]]
    outside = np.cumsum(data == ord('"'), dtype=np.int32) % 2 == 0
    opened = np.isin(data, (ord("["), ord("{"))) & outside
    closed = np.isin(data, (ord("]"), ord("}"))) & outside
    levels = np.cumsum(opened.astype(np.int8) - closed.astype(np.int8), dtype=np.int32)
    if int(levels.max(initial=0)) > MAX_LEVELS + 2:  # the array of rows and the row itself
        raise BadAnswer(f"A row holds a value nested more than {MAX_LEVELS} levels deep.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _objects(raw: bytes) -> list[Any]:
    text = raw.decode("utf-8-sig", "surrogateescape").strip()
    if is_web_page(raw):
        raise BadAnswer("A web page came instead of rows.", hint="Check the tenant URL and the login.")
    try:
        page = json.loads(
            text,
            object_pairs_hook=_Object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
    except RecursionError as e:
        raise BadAnswer("The rows are nested too deeply to be rows.") from e
    except ValueError as e:
        cut = not text.endswith("]") and "Extra data" not in str(e)
        what = "are cut short" if cut else "are not valid JSON"
        raise BadAnswer(f"The rows {what}: {e}.", truncated=cut, hint="Ask SAC again." if cut else None) from e
    if isinstance(page, dict) and "error" in page:
        raise BadAnswer(f"SAC answered with an error instead of rows: {_shown(page['error'])}.")
    if not isinstance(page, list):
        raise BadAnswer(f"A list of rows was expected, and SAC sent {_shown(page)}.")
    return page


def _check_row(row: object, index: int, names: list[str], dimensions: list[str]) -> None:
    if not isinstance(row, _Object):
        raise BadAnswer(f"Row {index} is not an object but {_shown(row)}.", row=index)
    for name in names:
        if name in row.twice:
            raise BadAnswer(f"Row {index} holds the column {name!r} twice.", row=index, column=name)
    if not any(name in row for name in names):
        # OData reports a failure in mid-answer by an error object where the next row would be.
        if "error" in row:
            message = f"SAC broke off at row {index} with an error: {_shown(row['error'])}."
            raise BadAnswer(message, row=index, truncated=True, hint="Ask SAC again.")
        raise BadAnswer(f"Row {index} has none of the columns {', '.join(map(repr, names))}: {_shown(row)}.", row=index)
    for name in dimensions:
        if name not in row:
            # A measure without a value may be left out; a key may not, and a null made up here would be wrong data.
            raise BadAnswer(f"Row {index} has no {name!r}, which is part of the key.", row=index, column=name)


def values_of(values: list[Any], column: Column) -> pa.Array:
    """Return the values of one column as an array of its type; raise a ``ValueError`` where one does not fit."""
    if column.edm_type == DECIMAL:
        return _decimals(values, column)
    if column.edm_type in TEXT_TYPES:
        return _texts(values, column)
    kind = arrow_type(column)
    if pa.types.is_integer(kind):
        return pa.array(_each(values, column, _integer, f"an integer of type {kind}"), kind)
    if pa.types.is_floating(kind):
        return _floats(values, column, kind)
    if pa.types.is_boolean(kind):
        return pa.array(_each(values, column, _boolean, "true or false"), kind)
    return _strings(values, column)


def _each(values: list[Any], column: Column, read: Callable[[Any, Column], T], expected: str) -> list[T | None]:
    found: list[T | None] = []
    for index, value in enumerate(values):
        try:
            found.append(None if value is None else read(value, column))
        except ValueError as e:
            raise _unfit(index, value, column, expected, e) from e
    return found


def _unfit(index: int, value: Any, column: Column, expected: str, reason: Exception) -> _MisfitError:
    place = f"column {column.name!r} ({column.edm_type})"
    return _MisfitError(index, f"{place}: {expected} was expected, and SAC sent {_shown(value)}; {reason}.")


def _number(value: Any) -> Decimal:
    """Read a JSON number, or a string that holds one, as IEEE754Compatible=true writes it."""
    if not isinstance(value, str):
        raise _UnreadableError("that is not a number")
    form = _NUMBER_FORM.fullmatch(value)
    if form is None:
        raise _UnreadableError("that is not a number")
    mantissa, sign, exponent = form.groups(default="")
    # Decimal refuses exponents of more than 18 digits. Past nine digits no column can hold the number, unless it is 0.
    return Decimal(f"{mantissa}e{sign}{exponent if len(exponent) < 10 else '9' * 9}" if exponent else mantissa)


def _integer(value: Any, column: Column) -> int:
    number = _number(value)
    kind = INTEGERS[column.edm_type]
    if not number:
        return 0  # also for 0e99, whose exponent says nothing about its size
    if number.adjusted() > 20:
        raise _UnreadableError("it is too large")
    if number != number.to_integral_value():
        raise _UnreadableError("it has digits after the point")
    whole = int(number)
    low, high = (0, 2**kind.bit_width) if pa.types.is_unsigned_integer(kind) else _signed_bounds(kind.bit_width)
    if not low <= whole < high:
        raise _UnreadableError("it is too large")
    return whole


def _signed_bounds(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1)


def _boolean(value: Any, _: Column) -> bool:
    if not isinstance(value, bool):
        raise _UnreadableError("that is not a truth value")
    return value


def _strings(values: list[Any], column: Column) -> pa.Array:
    ordinary = all(value is None or type(value) is str for value in values)
    if not ordinary or any(value is not None and _SURROGATE.search(value) for value in values):
        read = _plain_text if column.edm_type in PLAIN_TEXT else _any_text
        values = _each(values, column, read, "a string")
    return pa.array(values, pa.string())


def _plain_text(value: Any, _: Column) -> str:
    if isinstance(value, dict | list):
        raise _UnreadableError("that is not text")
    return _any_text(value, _)


def _any_text(value: Any, _: Column) -> str:
    """Return a string as it is, a number exactly as written, and true, false and nested values as JSON."""
    text = str(value) if isinstance(value, str) else _json(value)
    if _SURROGATE.search(text):
        raise _UnreadableError("it holds half a character or bytes that are not UTF-8")
    return text


def _floats(values: list[Any], column: Column, kind: pa.DataType) -> pa.Array:
    texts = _each(values, column, _float_text, "a number")
    # Arrow's own parser rounds a text correctly to 64 and to 32 bits; by way of a Python float, 32 bits would be
    # rounded twice.
    array = pa.array(texts, pa.string()).cast(kind)
    for index, (text, number) in enumerate(zip(texts, array.to_pylist(), strict=True)):
        if number is not None and not math.isfinite(number) and text not in {"nan", "inf", "-inf"}:
            raise _unfit(index, text, column, "a number", _UnreadableError(f"it does not fit into {kind}"))
    return array


def _float_text(value: Any, _: Column) -> str:
    if isinstance(value, str) and not isinstance(value, _Number) and value in _NOT_FINITE:
        return str(_NOT_FINITE[value])
    _number(value)
    return str(value)


def _decimals(values: list[Any], column: Column) -> pa.Array:
    """Read decimals in the column's type, or in a wider one where a value has more digits; nothing is rounded."""
    declared = arrow_type(column)
    whole, scale = declared.precision - declared.scale, declared.scale
    numbers = _each(values, column, lambda value, _: _bare(_number(value)), "a decimal number")
    for index, number in enumerate(numbers):
        if number is None or not number:
            continue
        exponent = cast("int", number.as_tuple().exponent)  # the form of a number leaves no room for NaN
        whole, scale = max(whole, number.adjusted() + 1), max(scale, -exponent)
        if whole + scale > MAX_DECIMAL_DIGITS:
            reason = _UnreadableError(f"more than {MAX_DECIMAL_DIGITS} digits would be needed")
            raise _unfit(index, values[index], column, "a decimal number", reason)
    return pa.array(numbers, decimal_type(whole + scale, scale))


def _bare(number: Decimal) -> Decimal:
    """Return the number without zeros at its end, whatever the context's precision is."""
    sign, digits, exponent = number.as_tuple()
    kept = len(digits)
    while kept > 1 and digits[kept - 1] == 0:
        kept -= 1
    if digits[0] == 0:
        return Decimal(0)
    return Decimal((sign, digits[:kept], cast("int", exponent) + len(digits) - kept))


def _texts(values: list[Any], column: Column) -> pa.Array:
    """Read dates, times, time stamps, durations and binaries."""
    text_type = TEXT_TYPES[column.edm_type]
    expected = f"a text like {text_type.expected!r}"

    def read(value: Any, _: Column) -> Any:
        if not isinstance(value, str) or isinstance(value, _Number):
            raise _UnreadableError("that is not text")
        return text_type.parse(value)

    parsed = _each(values, column, read, expected)
    try:
        return text_type.build(parsed)
    except Unfit as e:
        raise _unfit(e.index, values[e.index], column, expected, e) from e


def _json(value: Any) -> str:
    """Write a value as compact JSON, with its numbers as SAC wrote them."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    """Write a value for a message, as JSON of at most 80 characters."""
    text = _json(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
