"""Map OData (Edm) types to Arrow types, and parse those that JSON writes as text exactly.

Dates, times, time stamps, durations and binaries have the forms of the OData ABNF. Fractions finer than a microsecond
are not cut off: the column gets nanoseconds, or the value is refused. An unknown type becomes a string that holds the
value as SAC sent it, so that a new type never stops a download.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from sacnb._odata.schema import Column

__all__ = [
    "DECIMAL",
    "INTEGERS",
    "MAX_DECIMAL_DIGITS",
    "PLAIN_TEXT",
    "TEXT_TYPES",
    "TextType",
    "Unfit",
    "arrow_type",
    "breaks_decimals",
    "decimal_type",
    "duration_text",
    "fitted",
    "longest_fraction",
    "wider_decimal",
    "wire_type",
]

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_SECOND: Final = 1_000_000_000  # in nanoseconds
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_INT64: Final = 2**63

_CLOCK: Final = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?"
_DATE_FORM: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_TIME_FORM: Final = re.compile(_CLOCK, re.ASCII)
_STAMP_FORM: Final = re.compile(rf"(\d{{4}}-\d\d-\d\d)[Tt]({_CLOCK})([Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
_DURATION_FORM: Final = re.compile(
    r"([+-]?)P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,12}))?S)?)?", re.ASCII
)


class Unfit(ValueError):
    """A value that its type cannot hold, the one at ``index``."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


@dataclass(frozen=True, slots=True)
class TextType:
    """Parser and builder for a type that JSON writes as text.

    ``parse`` turns one text into a number or bytes and raises ``ValueError`` for a foreign form; ``build`` makes the
    Arrow array and raises ``Unfit``; ``expected`` is an example of the form for messages.
    """

    parse: Callable[[str], Any]
    build: Callable[[Sequence[Any]], pa.Array]
    expected: str


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError("it has another form")
    return match


def _fraction(digits: str | None) -> int:
    """Return the digits after the point of a second, in nanoseconds."""
    if not digits:
        return 0
    if digits[9:].strip("0"):
        raise ValueError("it has more than nine digits after the second")
    return int(digits[:9].ljust(9, "0"))


def _date(text: str) -> int:
    """Return Days since 1970-01-01."""
    year, month, day = (int(part) for part in _match(_DATE_FORM, text).groups())
    return date(year, month, day).toordinal() - _EPOCH_DAY


def _time(text: str) -> int:
    """Return Nanoseconds since midnight."""
    hour, minute, second, fraction = _match(_TIME_FORM, text).groups()
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError("there is no such time of day")
    return hours * _HOUR + minutes * _MINUTE + seconds * _SECOND + _fraction(fraction)


def _stamp(text: str) -> int:
    """Return Nanoseconds since 1970-01-01T00:00:00Z; the zone is needed, and is not kept."""
    match = _match(_STAMP_FORM, text)
    day, clock, sign, hours, minutes = match[1], match[2], match[8], match[9], match[10]
    moment = _date(day) * _DAY + _time(clock)
    if sign is None:
        return moment
    if int(hours) > 14 or int(minutes) > 59:
        raise ValueError("there is no such time zone")
    offset = int(hours) * _HOUR + int(minutes) * _MINUTE
    return moment - offset if sign == "+" else moment + offset


def _duration(text: str) -> int:
    """Return nanoseconds; days are the largest unit of OData's durations, because months differ in length."""
    sign, days, hours, minutes, seconds, fraction = _match(_DURATION_FORM, text).groups()
    total = (
        int(days or 0) * _DAY
        + int(hours or 0) * _HOUR
        + int(minutes or 0) * _MINUTE
        + int(seconds or 0) * _SECOND
        + _fraction(fraction)
    )
    return -total if sign == "-" else total


def duration_text(nanos: int) -> str:
    """Write a duration in nanoseconds as OData does, in ISO 8601: ``P1DT2H0M3.5S``."""
    sign = "-" if nanos < 0 else ""
    days, rest = divmod(abs(nanos), _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    seconds, rest = divmod(rest, _SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{sign}P{days}DT{hours}H{minutes}M{seconds}{fraction}S"


def _binary(text: str) -> bytes:
    """Decode base64url, OData's form, or plain base64; padding is optional."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error as e:
        raise ValueError("it is not base64") from e


def _plain(kind: pa.DataType) -> Callable[[Sequence[Any]], pa.Array]:
    return lambda values: pa.array(values, kind)


def _clocked(micro: pa.DataType, nano: pa.DataType) -> Callable[[Sequence[int | None]], pa.Array]:
    """Return a builder of arrays from nanoseconds: in microseconds where that loses nothing, else in nanoseconds."""

    def build(values: Sequence[int | None]) -> pa.Array:
        if all(value is None or value % 1000 == 0 for value in values):
            kind, numbers = micro, [None if value is None else value // 1000 for value in values]
        else:
            kind, numbers = nano, list(values)
        for index, number in enumerate(numbers):
            if number is not None and not -_INT64 <= number < _INT64:
                raise Unfit(index, f"it does not fit into {kind}")
        return pa.array(numbers, kind)

    return build


TEXT_TYPES: Final[dict[str, TextType]] = {
    "Edm.Date": TextType(_date, _plain(pa.date32()), "2024-01-31"),
    "Edm.TimeOfDay": TextType(_time, _clocked(pa.time64("us"), pa.time64("ns")), "23:59:59.5"),
    "Edm.DateTimeOffset": TextType(
        _stamp, _clocked(pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")), "2024-01-31T23:59:59.5Z"
    ),
    "Edm.Duration": TextType(_duration, _clocked(pa.duration("us"), pa.duration("ns")), "P1DT2H3M4.5S"),
    "Edm.Binary": TextType(_binary, _plain(pa.binary()), "c2FjbmI="),
}


DECIMAL: Final = "Edm.Decimal"

INTEGERS: Final = {
    "Edm.Byte": pa.uint8(),
    "Edm.SByte": pa.int8(),
    "Edm.Int16": pa.int16(),
    "Edm.Int32": pa.int32(),
    "Edm.Int64": pa.int64(),
}

# Strings that must come as text: a JSON object in their place is an error and not a value.
PLAIN_TEXT: Final = ("Edm.String", "Edm.Guid")

_TYPES: Final = {
    **INTEGERS,
    "Edm.Single": pa.float32(),
    "Edm.Double": pa.float64(),
    "Edm.Boolean": pa.bool_(),
    "Edm.String": pa.string(),
    "Edm.Guid": pa.string(),
    "Edm.Date": pa.date32(),
    "Edm.TimeOfDay": pa.time64("us"),
    "Edm.DateTimeOffset": pa.timestamp("us", tz="UTC"),
    "Edm.Duration": pa.duration("us"),
    "Edm.Binary": pa.binary(),
}

# The limit of decimal256; Arrow has no type for longer decimals.
MAX_DECIMAL_DIGITS: Final = 76
_DECIMAL128_DIGITS: Final = 38
# Where $metadata names no scale (or a variable one): room for 28 digits before and 10 after the point. A page that
# needs more gets more from the strict decoder; SAC's own measures name theirs, Decimal(31,7).
_VARIABLE_SCALE: Final = 10


def decimal_type(precision: int | None, scale: int | None) -> pa.DataType:
    """Return the Arrow decimal for a precision and scale: 128 bits wide up to 38 digits, 256 above.

    ``None`` for the scale stands for a missing or variable one. Digits beyond 76 have no Arrow type; values that need
    them are refused when they are read.
    """
    if scale is None:
        scale = _VARIABLE_SCALE
        precision = max(_DECIMAL128_DIGITS, (precision or 0) + scale)
    scale = min(scale, MAX_DECIMAL_DIGITS)
    digits = min(max(precision or _DECIMAL128_DIGITS, scale, 1), MAX_DECIMAL_DIGITS)
    return pa.decimal128(digits, scale) if digits <= _DECIMAL128_DIGITS else pa.decimal256(digits, scale)


def wider_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the decimal that holds the values of both. Raises ValueError where none has so many digits."""
    scale = max(one.scale, other.scale)
    return _decimal_of(max(one.precision - one.scale, other.precision - other.scale), scale)


def fitted(numbers: pa.Array, declared: pa.DataType) -> pa.Array:
    """Bring decimals into their declared type, or into the narrowest wider one that keeps every digit.

    Raises ValueError where no decimal has so many digits.
    """
    low, high = declared.scale, numbers.type.scale
    while low < high:  # the fewest digits behind the point that lose nothing
        middle = (low + high) // 2
        try:
            numbers.cast(decimal_type(numbers.type.precision, middle))
        except pa.ArrowInvalid:
            low = middle + 1
        else:
            high = middle
    # abs() would round to the 28 digits of Python's decimal context.
    largest = max((one.copy_abs() for one in pc.min_max(numbers).as_py().values() if one), default=None)
    whole = max(declared.precision - declared.scale, 0 if largest is None else largest.adjusted() + 1)
    return numbers.cast(_decimal_of(whole, low))


def _decimal_of(whole: int, scale: int) -> pa.DataType:
    if whole + scale > MAX_DECIMAL_DIGITS:
        raise ValueError(f"more than {MAX_DECIMAL_DIGITS} digits would be needed")
    return decimal_type(whole + scale, scale)


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column in a frame; ``string`` for a type that is no OData primitive."""
    if column.edm_type == DECIMAL:
        return decimal_type(column.precision, column.scale)
    return _TYPES.get(column.edm_type, pa.string())


def wire_type(column: Column) -> pa.DataType:
    """Return the Arrow type as which a column's JSON values are first read.

    Dates, times, durations and binaries are JSON strings. ``pyarrow.json`` would take a number for a date, and bytes
    as they stand for a base64 text, so these columns are read as strings and then parsed by our own rules.
    """
    kind = arrow_type(column)
    if pa.types.is_temporal(kind) or pa.types.is_binary(kind):
        return pa.string()
    return kind


# -- numbers that pyarrow.json misreads as decimals -----------------------------------------------------------------

_DIGITS: Final = b"0123456789"
_DIGIT: Final = np.isin(np.arange(256, dtype=np.uint8), np.frombuffer(_DIGITS, dtype=np.uint8))
_EXPONENT: Final = np.isin(np.arange(256, dtype=np.uint8), np.frombuffer(b"eE", dtype=np.uint8))
# Digits after the point that are safe even together with the one digit of an exponent: 28 + 9 < 38.
_SAFE_FRACTION: Final = 28
_AFTER_NUMBER: Final = (b"", b",", b"}", b'"', b" ", b"\t", b"\r", b"\n")  # or nothing within _LONGEST_NUMBER
_START_OF_NUMBER: Final = re.compile(rb'[:"\s][+-]?[0-9.]*\Z')
_LONGEST_NUMBER: Final = 1000


def breaks_decimals(text: npt.NDArray[np.uint8] | bytes, fraction: int) -> bool:
    """Return whether the rows hold a number that ``pyarrow.json`` may misread as a decimal.

    To bring a number to a column's scale, pyarrow 26 looks up a power of ten in a table of 39, without a look at the
    table's end: ``1e-46`` becomes 0 without a word, and ``1e-9999999`` ends the process. Both need 39 or more digits
    after the point, written out or by an exponent below -9. Text of that shape is taken for a number as well, which
    costs time and nothing else; GUIDs, which are full of ``e-12``, are not. *fraction* is the longest of the rows.
    """
    if fraction > _SAFE_FRACTION:
        return True
    data = np.frombuffer(text, dtype=np.uint8)
    signs = np.flatnonzero(data[:-2] == ord("-"))
    signs = signs[signs > 0]
    signs = signs[_EXPONENT[data[signs - 1]] & _DIGIT[data[signs + 1]] & _DIGIT[data[signs + 2]]]
    return any(_is_exponent(data, int(sign)) for sign in signs)


def longest_fraction(text: npt.NDArray[np.uint8] | bytes) -> int:
    """Return the most digits behind a point, in numbers and in texts alike; counting ends above _SAFE_FRACTION."""
    data = np.frombuffer(text, dtype=np.uint8)
    points, last = np.flatnonzero(data == ord(".")), len(data) - 1  # the last byte closes a row, and is no digit
    for ahead in range(1, _SAFE_FRACTION + 2):
        points = points[_DIGIT[data[np.minimum(points + ahead, last)]]]
        if not len(points):
            return ahead - 1
    return _SAFE_FRACTION + 1


def _is_exponent(data: npt.NDArray[np.uint8], sign: int) -> bool:
    """Return whether the minus at ``sign`` belongs to the exponent of a number, below -9."""
    after = data[sign + 1 : sign + _LONGEST_NUMBER].tobytes()
    digits = after[: len(after) - len(after.lstrip(_DIGITS))]
    if len(digits.lstrip(b"0")) < 2 or after[len(digits) :][:1] not in _AFTER_NUMBER:
        return False
    before = data[max(sign - 1 - _LONGEST_NUMBER, 0) : sign - 1].tobytes()
    return _START_OF_NUMBER.search(before) is not None or not before.strip(_DIGITS + b".")
