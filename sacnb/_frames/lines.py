"""A JSON array of rows as the lines that ``pyarrow.json`` reads, and what must not be handed to it."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Lines", "breaks_decimals", "compact_lines", "spaced_lines"]

Lines = npt.NDArray[np.uint8] | bytes


def _bytes_of(characters: bytes) -> npt.NDArray[np.bool_]:
    """A table that says of each byte whether it is one of these."""
    return np.isin(np.arange(256, dtype=np.uint8), np.frombuffer(characters, dtype=np.uint8))


_DIGITS: Final = b"0123456789"
_OPEN, _CLOSE, _COMMA, _QUOTE, _NEWLINE, _DOT, _MINUS = (np.uint8(ord(c)) for c in '{},"\n.-')
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
    """Whether the rows hold a number that is not safe to read as a decimal with ``pyarrow.json``.

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
    """Whether the minus at ``sign`` makes an exponent below -9 of a number, by what stands around it."""
    after = data[sign + 1 : sign + _LONGEST_NUMBER].tobytes()
    digits = after[: len(after) - len(after.lstrip(_DIGITS))]
    if len(digits.lstrip(b"0")) < 2 or after[len(digits) :][:1] not in _AFTER_NUMBER:
        return False
    before = data[max(sign - 1 - _LONGEST_NUMBER, 0) : sign - 1].tobytes()
    return _START_OF_NUMBER.search(before) is not None or not before.strip(_DIGITS + b".")
