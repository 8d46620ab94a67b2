"""Decode the rows of a page into columns: natively, and with the strict decoder where the native one is in doubt.

``pyarrow.json`` with the schema from ``$metadata`` reads a page with one native call, without the interpreter's lock,
and keeps every digit of a decimal. It reads lines and not arrays, so the commas between the rows become line ends
first. A page that holds something ``pyarrow.json`` would misread (see ``_suspicious`` and ``breaks_decimals``) goes to
the strict decoder.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from sacnb._frames.convert import arrow_field, arrow_schema
from sacnb._frames.strict import MAX_LEVELS, decode_strictly, refuse_deep
from sacnb._frames.types import TEXT_TYPES, wire_type
from sacnb._odata.schema import Column

__all__ = ["Lines", "breaks_decimals", "compact_lines", "decode_natively", "decode_rows", "spaced_lines"]

Lines = npt.NDArray[np.uint8] | bytes


def _bytes_of(characters: bytes) -> npt.NDArray[np.bool_]:
    """A table that says of each byte whether it is one of these."""
    return np.isin(np.arange(256, dtype=np.uint8), np.frombuffer(characters, dtype=np.uint8))


_DIGITS: Final = b"0123456789"
_OPEN, _CLOSE, _COMMA, _QUOTE, _NEWLINE, _DOT, _MINUS = (np.uint8(ord(c)) for c in '{},"\n.-')
_BRACKET: Final = np.uint8(ord("["))
# What follows a quote that closes a string. After ``},{"`` any other byte proves that the quote opens one.
_AFTER_STRING: Final = _bytes_of(b',:}]" \t\r\n')
_DIGIT: Final = _bytes_of(_DIGITS)
_EXPONENT: Final = _bytes_of(b"eE")

_SPACED_ARRAY: Final = re.compile(rb"\s*\[\s*(\{.*\})\s*\]\s*", re.DOTALL)
_SPACED_COMMA: Final = re.compile(rb'\}\s*,\s*(\{\s*"(?![,:}\]"\s]))')

# Digits after the point that are safe even together with the one digit of an exponent: 28 + 9 < 38.
_SAFE_FRACTION: Final = 28
_AFTER_NUMBER: Final = (b"", b",", b"}", b'"', b" ", b"\t", b"\r", b"\n")  # or no end in sight
_START_OF_NUMBER: Final = re.compile(rb'[:"\s][+-]?[0-9.]*\Z')
_LONGEST_NUMBER: Final = 1000


def compact_lines(rows: bytes | bytearray | memoryview) -> tuple[Lines, int]:
    """The array's rows with line ends instead of the commas between them, and how many rows that makes; 0 in doubt.

    ``},{"x`` cannot stand inside a JSON string: its quote would close that string, and after a closed string comes a
    comma, a colon, a bracket, a brace or a blank, and never ``x``. So where another byte follows, the comma stands
    between two rows (or between two objects in a row's value, and then the decoder will refuse the broken row).
    """
    # The first byte matters: ``null`` in the place of the first row makes pyarrow 26 crash the process.
    if bytes(rows[:2]) != b"[{" or bytes(rows[-2:]) != b"}]":
        return b"", 0
    text = np.frombuffer(rows, dtype=np.uint8)[1:-1].copy()
    ends = np.flatnonzero(text[:-5] == _CLOSE)
    between = (
        (text[ends + 1] == _COMMA)
        & (text[ends + 2] == _OPEN)
        & (text[ends + 3] == _QUOTE)
        & ~_AFTER_STRING[text[ends + 4]]
    )
    commas = ends[between] + 1
    text[commas] = _NEWLINE
    return text, len(commas) + 1


def spaced_lines(rows: bytes | bytearray | memoryview) -> tuple[Lines, int]:
    """As ``compact_lines``, and as safe, for a page with blanks or line ends around those commas; half as quick."""
    match = _SPACED_ARRAY.fullmatch(rows)
    if match is None:
        return b"", 0
    text, commas = _SPACED_COMMA.subn(rb"}\n\1", match[1])
    return text, commas + 1


def breaks_decimals(text: Lines) -> bool:
    """Return whether the rows contain a number that ``pyarrow.json`` does not read safely as a decimal.

    To bring a number to a column's scale, pyarrow 26 looks up a power of ten in a table of 39, without a look at the
    table's end: ``1e-46`` becomes 0 without a word, and ``1e-9999999`` ends the process. Both need 39 or more digits
    after the point, written out or by an exponent below -9. Text of that shape is taken for a number as well, which
    costs time and nothing else; GUIDs, which are full of ``e-12``, are not.
    """
    data = np.frombuffer(text, dtype=np.uint8)
    points = np.flatnonzero(data[: -_SAFE_FRACTION - 1] == _DOT)
    for ahead in range(1, _SAFE_FRACTION + 2):
        points = points[_DIGIT[data[points + ahead]]]
        if not len(points):
            break
    else:
        return True
    signs = np.flatnonzero(data[:-2] == _MINUS)
    signs = signs[signs > 0]
    signs = signs[_EXPONENT[data[signs - 1]] & _DIGIT[data[signs + 1]] & _DIGIT[data[signs + 2]]]
    return any(_is_exponent(data, int(sign)) for sign in signs)


def _is_exponent(data: npt.NDArray[np.uint8], sign: int) -> bool:
    """Return whether the minus at ``sign`` belongs to an exponent below -9, judging by the bytes around it."""
    after = data[sign + 1 : sign + _LONGEST_NUMBER].tobytes()
    digits = after[: len(after) - len(after.lstrip(_DIGITS))]
    if len(digits.lstrip(b"0")) < 2 or after[len(digits) :][:1] not in _AFTER_NUMBER:
        return False
    before = data[max(sign - 1 - _LONGEST_NUMBER, 0) : sign - 1].tobytes()
    return _START_OF_NUMBER.search(before) is not None or not before.strip(_DIGITS + b".")


_log = logging.getLogger("sacnb.frames")


_BOM: Final = b"\xef\xbb\xbf"
# Smaller blocks gain nothing.
_BLOCK_BYTES: Final = 2 << 20


def decode_rows(
    rows: bytes | bytearray | memoryview, columns: Sequence[Column], *, by_all_cores: bool = False
) -> pa.Table:
    """The rows of one page as an Arrow table with these columns, in their order and with the types of their schema.

    Args:
        rows: The JSON text of the array of rows, such as ``cut_page`` gives it.
        columns: The columns to read, at least one; other keys of a row, annotations among them, are passed over. A
            key that a row leaves out is null, but for a dimension, where it is an error.
        by_all_cores: Whether nothing else is to be done meanwhile. It is done earlier then, with a little more work.

    Returns:
        A table with the schema ``arrow_schema(columns)``. Where values have more digits than their column declares, the
        type of that column is wider in this table; ``concat`` joins such pages.

    Raises:
        BadAnswer: The text is no array of rows, or a value does not fit its column; ``row`` (the first one is 0) and
            ``column`` say where, as far as it is known, and ``truncated`` whether asking again may help.
    """
    view = memoryview(rows)
    if bytes(view[:3]) == _BOM:
        view = view[3:]
    if len(view) == 2 and bytes(view) == b"[]":
        return pa.Table.from_batches([], arrow_schema(columns))  # empty_table() would load pandas
    table = decode_natively(view, columns, block_bytes=_BLOCK_BYTES if by_all_cores else None)
    if table is None:
        _log.debug("a page of %d bytes is read by the strict decoder", len(view))
        table = decode_strictly(view, columns)
    return table


def decode_natively(
    rows: bytes | bytearray | memoryview, columns: Sequence[Column], *, block_bytes: int | None = None
) -> pa.Table | None:
    """The rows as a table, or ``None`` where the native decoder refuses them or cannot be trusted with them.

    With ``block_bytes`` several threads read them, in blocks of this size.
    """
    wire = pa.schema([(column.name, wire_type(column)) for column in columns])
    exact = any(pa.types.is_decimal(kind) for kind in wire.types)
    tried = 0
    for cut in (compact_lines, spaced_lines):
        text, count = cut(rows)
        if count == tried:
            continue
        if exact and breaks_decimals(text):
            return None
        if count and _holds_nested(text, count):
            refuse_deep(rows)
        tried = count
        table = None
        if block_bytes is not None and block_bytes <= len(text) and _may_be_torn(text, count):
            table = _read(text, wire, block_bytes)
        # In one block no row can straddle two of them.
        table = _read(text, wire, len(text) + 1) if table is None else table
        if table is not None and table.num_rows == count:
            return None if _suspicious(table, columns) else _typed(table, columns)
    return None


def _holds_nested(text: Lines, rows: int) -> bool:
    """Return whether there are more brackets and braces than rows: in a plain page each row has one brace."""
    data = np.frombuffer(text, dtype=np.uint8)
    return int(np.count_nonzero(data == _OPEN)) + int(np.count_nonzero(data == _BRACKET)) - rows > MAX_LEVELS


def _may_be_torn(text: Lines, count: int) -> bool:
    """Return whether each line end is between two rows: blocks end at line ends.

    So no row is torn apart, and each block begins with the brace of a row; pyarrow 26 crashes the process where one
    begins with ``null``.
    """
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _NEWLINE)) == count - 1


def _read(text: Lines, wire: pa.Schema, block_bytes: int) -> pa.Table | None:
    try:
        table = pa_json.read_json(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=pa_json.ReadOptions(use_threads=block_bytes <= len(text), block_size=block_bytes),
            parse_options=pa_json.ParseOptions(explicit_schema=wire, unexpected_field_behavior="ignore"),
        ).combine_chunks()
        table.validate(full=True)  # the decoder itself does not look at UTF-8
    except pa.ArrowException:
        return None
    return table


def _suspicious(table: pa.Table, columns: Sequence[Column]) -> bool:
    """Return whether the table contains values that the native decoder may have made up or silently changed.

    An error object that SAC appends in mid-answer becomes a row of nulls, as does a row that lacks its key; ``NaN``
    and ``Infinity``, which are not JSON, become floats, and so does a number too large for 32 bits.
    """
    names = [column.name for column in columns if column.role == "dimension"]
    if any(table.column(name).null_count for name in names):
        return True
    if not names and all(column.null_count for column in table.columns):
        empty = functools.reduce(pc.and_, [column.is_null() for column in table.columns])
        if pc.any(empty).as_py():
            return True
    return any(
        pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False for column in table.columns
    )


def _typed(table: pa.Table, columns: Sequence[Column]) -> pa.Table | None:
    """The table in the types of its schema; ``None`` if a text is no date, time or binary after all."""
    arrays: list[pa.ChunkedArray] = []
    fields: list[pa.Field] = []
    for column in columns:
        array = table.column(column.name)
        if column.edm_type in TEXT_TYPES:
            try:
                array = _parsed(array, column)
            except ValueError:
                return None
        arrays.append(array)
        fields.append(arrow_field(column).with_type(array.type))
    return pa.table(arrays, schema=pa.schema(fields))


def _parsed(texts: pa.ChunkedArray, column: Column) -> pa.Array:
    """Texts as values, each different text parsed once."""
    text_type = TEXT_TYPES[column.edm_type]
    encoded = texts.combine_chunks().dictionary_encode()
    return text_type.build([text_type.parse(text) for text in encoded.dictionary.to_pylist()]).take(encoded.indices)
