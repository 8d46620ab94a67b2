"""Decode the rows of a page into columns: natively, and with the strict decoder where the native one is in doubt.

``pyarrow.json`` with the schema from ``$metadata`` reads a page with one native call, without the interpreter's lock,
and keeps every digit of a decimal. It reads lines and not arrays, so the commas between the rows become line ends
first. A column with a value of another kind or with more digits than declared is read again, as texts or wider. What
``pyarrow.json`` would still misread (see ``_made_up``) goes to the strict decoder.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from sacnb._frames.convert import arrow_field, arrow_schema
from sacnb._frames.strict import MAX_LEVELS, decode_by_pieces, decode_strictly, refuse_deep, values_of
from sacnb._frames.types import (
    DECIMAL,
    MAX_DECIMAL_DIGITS,
    TEXT_TYPES,
    arrow_type,
    breaks_decimals,
    decimal_type,
    fitted,
    longest_fraction,
    wider_decimal,
    wire_type,
)
from sacnb._odata.schema import Column
from sacnb.errors import BadAnswer

__all__ = ["Lines", "compact_lines", "decode_natively", "decode_rows", "spaced_lines"]

_log = logging.getLogger("sacnb.frames")

Lines = npt.NDArray[np.uint8] | bytes

_OPEN, _CLOSE, _COMMA, _QUOTE, _NEWLINE = (np.uint8(ord(c)) for c in '{},"\n')
_BRACKET: Final = np.uint8(ord("["))
# What follows a quote that closes a string. After ``},{"`` any other byte proves that the quote opens one.
_AFTER_STRING: Final = np.isin(np.arange(256, dtype=np.uint8), np.frombuffer(b',:}]" \t\r\n', dtype=np.uint8))

_SPACED_ARRAY: Final = re.compile(rb"\s*\[\s*(\{.*\})\s*\]\s*", re.DOTALL)
_SPACED_COMMA: Final = re.compile(rb'\}\s*,\s*(\{\s*"(?![,:}\]"\s]))')
_BARE_VALUE: Final = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false"
# Smaller blocks gain nothing.
_BLOCK_BYTES: Final = 2 << 20


def compact_lines(rows: bytes | bytearray | memoryview) -> tuple[Lines, int]:
    """Replace the commas between rows by line ends; return the lines and the number of rows, 0 in doubt.

    ``},{"x`` cannot stand inside a JSON string: its quote would close that string, and after a closed string comes a
    comma, a colon, a bracket, a brace or a blank, and never ``x``. So where another byte follows, the comma stands
    between two rows (or between two objects in a row's value, and then the decoder will refuse the broken row).
    """
    # Check the first byte: ``null`` in place of the first row makes pyarrow 26 crash the process.
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
    """Do the same as ``compact_lines``, as safely, for a page with blanks around those commas; half as fast."""
    match = _SPACED_ARRAY.fullmatch(rows)
    if match is None:
        return b"", 0
    text, commas = _SPACED_COMMA.subn(rb"}\n\1", match[1])
    return text, commas + 1


def decode_rows(
    rows: bytes | bytearray | memoryview, columns: Sequence[Column], *, by_all_cores: bool = False
) -> pa.Table:
    """Return the rows of one page as an Arrow table with these columns, in their order and with their types.

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
    if bytes(view[:3]) == BOM_UTF8:
        view = view[3:]
    if len(view) == 2 and bytes(view) == b"[]":
        return pa.Table.from_batches([], arrow_schema(columns))  # empty_table() would load pandas
    table, lines = _decode_natively(view, columns, _BLOCK_BYTES if by_all_cores else None)
    if table is None and lines is not None:
        _log.debug("a page of %d bytes has rows that only the strict decoder reads", len(view))
        table = decode_by_pieces(
            bytes(lines.text), columns, lambda piece, count: _decode(_Lines(piece, count, None), columns)
        )
    if table is None:
        _log.debug("a page of %d bytes is read by the strict decoder", len(view))
        table = decode_strictly(view, columns)
    return table


def decode_natively(
    rows: bytes | bytearray | memoryview, columns: Sequence[Column], *, block_bytes: int | None = None
) -> pa.Table | None:
    """Return the rows as a table; ``None`` where the native decoder refuses or may misread them.

    With ``block_bytes`` several threads read them, in blocks of this size.
    """
    return _decode_natively(rows, columns, block_bytes)[0]


def _decode_natively(
    rows: bytes | bytearray | memoryview, columns: Sequence[Column], block_bytes: int | None
) -> tuple[pa.Table | None, _Lines | None]:
    """Return the table; where there is none, lines that may be read in pieces, if there are such."""
    parted: _Lines | None = None
    for text, count in _cuts(rows):
        if _may_hold_nested(text, count):
            refuse_deep(rows)
        lines = _Lines(text, count, block_bytes)
        table = _decode(lines, columns)
        if table is not None:
            return table, None
        if parted is None and _may_be_torn(text, count):
            parted = lines
    return None, parted


def _cuts(rows: bytes | bytearray | memoryview) -> Iterator[tuple[Lines, int]]:
    """Yield the lines of a page, those that are more probably its rows first."""
    text, count = compact_lines(rows)
    # A page with blanks around its commas has few compact ones, in texts; reading it as those lines would fail.
    is_spaced = 2 * count < int(np.count_nonzero(np.frombuffer(rows, dtype=np.uint8) == _OPEN))
    if count and not is_spaced:
        yield text, count
    spaced, spaced_count = spaced_lines(rows)
    if spaced_count and spaced_count != count:
        yield spaced, spaced_count
    if count and is_spaced:
        yield text, count


@dataclass(frozen=True, slots=True)
class _Lines:
    """The rows of a page, a line each."""

    text: Lines
    count: int
    block_bytes: int | None

    def read(self, wire: pa.Schema) -> pa.Table | str:
        """Return all rows as a table, or why pyarrow refuses them."""
        table: pa.Table | str = ""
        if self.block_bytes is not None and self.block_bytes <= len(self.text) and _may_be_torn(self.text, self.count):
            table = _read(self.text, wire, self.block_bytes)
        if isinstance(table, str):
            table = _read(self.text, wire, len(self.text) + 1)  # in one block, so that no row straddles two
        return "" if not isinstance(table, str) and table.num_rows != self.count else table


# pyarrow's words for a value of another kind than its column's, and for one that does not fit its type.
_OTHER_KIND: Final = re.compile(r"Column\(/(.*)\) changed from \w+ to (?:number|string|boolean)\b")
_NO_FIT: Final = re.compile(r"Failed to convert JSON|cannot be converted|is not a valid")
_TWO_DIGIT_EXPONENT: Final = re.compile(rb"[0-9.][eE]\+?[0-9]{2}")


def _decode(lines: _Lines, columns: Sequence[Column]) -> pa.Table | None:
    """Read lines: plainly first, then only the columns that need it again, wider or from the text of their values."""
    decimals = {column.name: arrow_type(column) for column in columns if column.edm_type == DECIMAL}
    wide: dict[str, pa.DataType] = {}
    written: set[str] = set()  # the columns that are read as texts
    fraction = longest_fraction(lines.text) if decimals else 0
    if decimals and breaks_decimals(lines.text, fraction):
        written = set(decimals)
    else:
        wide = _widened(decimals, fraction)
    quoted = _quoted(lines, written)
    is_widest = False
    while True:
        kinds = {column.name: wire_type(column) for column in columns} | wide | dict.fromkeys(written, pa.string())
        table = quoted.read(pa.schema(list(kinds.items())))
        if not isinstance(table, str):
            return None if _made_up(lines, table, columns) else _typed(table, columns, wide, written)
        other, before = _OTHER_KIND.search(table), (is_widest, len(written))
        if other is not None and not written and _reads_texts(columns, other[1]):
            written = {other[1]}
        elif other is None and _NO_FIT.search(table) and decimals and not is_widest:
            wide, is_widest = _widest(decimals, lines.text), True
            written |= decimals.keys() - wide.keys()
        elif other is not None or _NO_FIT.search(table):
            written |= {column.name for column in columns if _reads_texts(columns, column.name)}
        if before == (is_widest, len(written)):
            return None
        quoted = _quoted(lines, written)


def _reads_texts(columns: Sequence[Column], name: str) -> bool:
    """Return whether a column means the same by a text as by a bare number: not so for truth values and dates."""
    return any(
        column.name == name and column.edm_type not in TEXT_TYPES and column.edm_type != "Edm.Boolean"
        for column in columns
    )


def _widened(decimals: Mapping[str, pa.DataType], fraction: int) -> dict[str, pa.DataType]:
    """Return the types with room for a *fraction* of so many digits, for the columns that have less."""
    wholes = {name: kind.precision - kind.scale for name, kind in decimals.items() if kind.scale < fraction}
    return {
        name: decimal_type(whole + fraction, fraction)
        for name, whole in wholes.items()
        if whole + fraction <= MAX_DECIMAL_DIGITS
    }


def _widest(decimals: Mapping[str, pa.DataType], text: Lines) -> dict[str, pa.DataType]:
    """Return a decimal of 76 digits for each column; none where an exponent could exceed even those."""
    if _TWO_DIGIT_EXPONENT.search(bytes(text)):
        return {}
    wide = {}
    for name, kind in decimals.items():
        scale = max(kind.scale, min(_WIDE_SCALE, MAX_DECIMAL_DIGITS - (kind.precision - kind.scale)))
        wide[name] = pa.decimal256(MAX_DECIMAL_DIGITS, scale)
    return wide


def _quoted(lines: _Lines, written: Collection[str]) -> _Lines:
    """Put the bare values of the columns *written* into quotes.

    A name with its quotes and a colon stands nowhere else than at a value: within a text, its quotes are escaped.
    """
    if not written:
        return lines
    names = b"|".join(re.escape(json.dumps(name, ensure_ascii=False)[1:-1].encode()) for name in written)
    text = re.sub(rb'("(?:' + names + rb')"\s*:\s*)(' + _BARE_VALUE + rb")(?=\s*[,}])", rb'\1"\2"', bytes(lines.text))
    return _Lines(text, lines.count, lines.block_bytes)


def _may_hold_nested(text: Lines, rows: int) -> bool:
    """Return whether a row may hold values more than ``MAX_LEVELS`` deep, by its number of brackets and braces."""
    data = np.frombuffer(text, dtype=np.uint8)
    opens = (data == _OPEN) | (data == _BRACKET)
    if int(np.count_nonzero(opens)) - rows <= MAX_LEVELS:
        return False
    if not _may_be_torn(text, rows):
        return True
    per_row = np.diff(np.searchsorted(np.flatnonzero(opens), np.flatnonzero(data == _NEWLINE)), prepend=0)
    last = int(np.count_nonzero(opens)) - int(per_row.sum())
    return max(int(per_row.max(initial=0)), last) > MAX_LEVELS


def _may_be_torn(text: Lines, count: int) -> bool:
    """Return whether each line end stands between two rows, where blocks may end.

    So no row is torn apart, and each block begins with the brace of a row; pyarrow 26 crashes the process where one
    begins with ``null``.
    """
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _NEWLINE)) == count - 1


def _read(text: Lines, wire: pa.Schema, block_bytes: int) -> pa.Table | str:
    try:
        table = pa_json.read_json(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=pa_json.ReadOptions(use_threads=block_bytes <= len(text), block_size=block_bytes),
            parse_options=pa_json.ParseOptions(explicit_schema=wire, unexpected_field_behavior="ignore"),
        ).combine_chunks()
        table.validate(full=True)  # the decoder does not check UTF-8, nor how many digits a decimal has
    except pa.ArrowException as error:
        return str(error) or "refused"
    return table


# Looking at single rows pays while they are few.
_FEW: Final = 0.05


def _made_up(lines: _Lines, table: pa.Table, columns: Sequence[Column]) -> bool:
    """Return whether the table may hold values that the decoder made up, or took although they are not JSON.

    An error object that SAC appends in mid-answer becomes a row of nulls, as does a row that lacks its key; ``NaN``
    and ``Infinity``, which are not JSON, become floats, and so does a number too large for 32 bits.
    """
    if any(
        pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False for column in table.columns
    ):
        return True
    names = [column.name for column in columns if column.role == "dimension"]
    doubted = [name for name in names if table.column(name).null_count and not _sent_as_nulls(lines, table, name)]
    if doubted:
        doubts = functools.reduce(pc.or_, [table.column(name).is_null() for name in doubted])
    elif not names and all(column.null_count for column in table.columns):
        doubts = functools.reduce(pc.and_, [column.is_null() for column in table.columns])
    else:
        return False
    return bool(pc.any(doubts).as_py()) and not _are_rows(lines, doubts, columns)


def _sent_as_nulls(lines: _Lines, table: pa.Table, name: str) -> bool:
    """Return whether SAC wrote each null of a column; nested values could hold the same name, so there are none."""
    data = np.frombuffer(lines.text, dtype=np.uint8)
    if int(np.count_nonzero(data == _OPEN)) + int(np.count_nonzero(data == _BRACKET)) != lines.count:
        return False
    written = re.escape(json.dumps(name, ensure_ascii=False).encode())
    nulls: int = table.column(name).null_count
    return len(re.findall(written + rb"\s*:\s*null(?=\s*[,}])", bytes(lines.text))) == nulls


def _are_rows(lines: _Lines, doubts: pa.ChunkedArray, columns: Sequence[Column]) -> bool:
    """Return whether the strict decoder takes these rows too, if they are few."""
    places = np.flatnonzero(doubts.combine_chunks().to_numpy(zero_copy_only=False))
    if len(places) > max(_FEW * lines.count, 1) or not _may_be_torn(lines.text, lines.count):
        return False
    rows = bytes(lines.text).split(b"\n")
    try:
        decode_strictly(b"[" + b",".join(rows[place] for place in places) + b"]", columns)
    except BadAnswer:
        return False
    return True


def _typed(
    table: pa.Table, columns: Sequence[Column], wide: Collection[str], written: Collection[str]
) -> pa.Table | None:
    """Return the table in the types of its schema; ``None`` where a value is none of its column's after all."""
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []
    for column in columns:
        array = table.column(column.name).combine_chunks()
        try:
            if column.edm_type in TEXT_TYPES:
                array = _parsed(array, column)
            elif column.name in written and not pa.types.is_string(arrow_type(column)):
                array = _from_texts(array, column)
            elif column.name in wide:
                array = fitted(array, arrow_type(column))
        except ValueError:  # ArrowInvalid is one too
            return None
        arrays.append(array)
        fields.append(arrow_field(column).with_type(array.type))
    return pa.table(arrays, schema=pa.schema(fields))


def _parsed(texts: pa.Array, column: Column) -> pa.Array:
    """Parse texts into values, each distinct text once."""
    text_type = TEXT_TYPES[column.edm_type]
    encoded = texts.dictionary_encode()
    return text_type.build([text_type.parse(text) for text in encoded.dictionary.to_pylist()]).take(encoded.indices)


# Numbers that Arrow reads exactly into a decimal of 38 digits behind the point.
_EASY_NUMBER: Final = r"^[+-]?\d{1,36}(\.\d{0,28})?([eE][+-]?0*\d)?$"
_WIDE_SCALE: Final = 38


def _from_texts(texts: pa.Array, column: Column) -> pa.Array:
    """Read numbers from their texts: decimals by Arrow as far as it is exact, the rest by the strict rules."""
    if column.edm_type != DECIMAL:
        return _strictly(texts, column)
    easy = pc.fill_null(pc.match_substring_regex(texts, _EASY_NUMBER), fill_value=True)
    numbers = pc.if_else(easy, texts, None).cast(pa.decimal256(MAX_DECIMAL_DIGITS, _WIDE_SCALE))
    read = fitted(numbers, arrow_type(column))
    if pc.all(easy).as_py():
        return read
    hard = _strictly(texts.filter(pc.invert(easy)), column)
    kind = wider_decimal(hard.type, read.type)
    return pc.replace_with_mask(read.cast(kind), pc.invert(easy), hard.cast(kind))


def _strictly(texts: pa.Array, column: Column) -> pa.Array:
    """Read numbers by the strict rules, each distinct text once."""
    encoded = texts.dictionary_encode()
    return values_of(encoded.dictionary.to_pylist(), column).take(encoded.indices)
