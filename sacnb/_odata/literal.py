"""Write a Python value as an OData literal of a column's type, and query options as the text of a URL.

Numbers are never passed through a float of our own: a ``Decimal`` or ``int`` is written digit by digit, a ``float`` by
the shortest text that reads back as itself. A value that does not fit its column is refused here, where the column's
name can be said.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isinf
from typing import Final, TypeVar
from urllib.parse import quote
from uuid import UUID

from sacnb._odata.schema import Column
from sacnb.errors import QueryError

__all__ = ["SAFE_IN_QUERY", "Value", "check_text", "encode_query", "literal"]

_T = TypeVar("_T")

Value = str | int | float | Decimal | bool | date | datetime | time | timedelta | UUID | bytes | None

# Sent as they are: the characters that OData's own syntax uses and that its grammar also allows inside of a text. That
# leaves out "/" (rule pchar-no-SQUOTE of the OASIS ABNF), which is percent-encoded like everything else that RFC 3986
# does not call unreserved. requests and urllib3 leave the result alone (a test proves it).
SAFE_IN_QUERY: Final = "'(),:"
_INTEGER_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "Edm.Byte": (0, 2**8 - 1),
    "Edm.SByte": (-(2**7), 2**7 - 1),
    "Edm.Int16": (-(2**15), 2**15 - 1),
    "Edm.Int32": (-(2**31), 2**31 - 1),
    "Edm.Int64": (-(2**63), 2**63 - 1),
}
# Beyond this many digits a number is a mistake, and its text would fill the URL.
_MAX_DIGITS: Final = 400
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ISO_DURATION: Final = re.compile(
    r"(-)?P(?=.)(?:(\d{1,7})D)?(?:T(?=.)(?:(\d{1,8})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,6}))?S)?)?", re.ASCII
)
_UNSENDABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_COLLECTION: Final = "Collection("
_EXPECTED: Final[Mapping[str, str]] = {
    "Edm.String": "text in quotes",
    "Edm.Decimal": "a finite number",
    "Edm.Double": "a number",
    "Edm.Single": "a number",
    **{name: f"a whole number from {low} to {high}" for name, (low, high) in _INTEGER_RANGES.items()},
    "Edm.Boolean": "True or False",
    "Edm.Date": "a date, or text like '2010-01-31'",
    "Edm.DateTimeOffset": "a datetime with a time zone, or text like '2010-01-31T08:00:00Z'",
    "Edm.TimeOfDay": "a time, or text like '08:00:00'",
    "Edm.Duration": "a timedelta, or text like 'P1DT8H'",
    "Edm.Guid": "a UUID, or its text",
    "Edm.Binary": "bytes",
}


def literal(value: Value, column: Column) -> str:
    """``value`` as an OData literal of ``column``'s type, not yet percent-encoded; ``None`` is ``null``.

    Strings are quoted, and numbers are not (SAP's documentation of ``$filter``). Equal values give equal text:
    ``Decimal("1.50")`` and ``1.5`` do, and so does one instant in two time zones. Dates, times, durations and GUIDs may
    also be given as their ISO text. A type that is no Edm type (an enumeration) is written ``sac.Color'Red'``.

    Raises:
        QueryError: the value does not fit the column, or its text holds characters that no URL should carry.
    """
    if value is None:
        return "null"
    writer = _WRITERS.get(column.edm_type)
    if writer is not None:
        text = writer(value, column)
        if text is None:
            raise _misfit(value, column)
        return text
    if column.edm_type.startswith(_COLLECTION):
        raise QueryError(
            f"{column.name!r} holds collections ({column.edm_type}), which cannot be compared with a value."
        )
    if not isinstance(value, str):
        raise _misfit(value, column)
    prefix = "" if column.edm_type.startswith("Edm.") else column.edm_type
    return prefix + _quoted(value, column)


def encode_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Query options as they stand in a URL: blanks as ``%20`` and never ``+``, ``$`` literal in names.

    SAC reads ``+`` as a plus sign, and a bare ``#`` would end the query, so neither is ever left as it is.

    Raises:
        QueryError: a control character or half of a surrogate pair is in the text.
    """
    parts = []
    for name, value in pairs:
        check_text(value, f"The query option {name}")
        parts.append(f"{quote(name, safe='$')}={quote(value, safe=SAFE_IN_QUERY)}")
    return "&".join(parts)


def check_text(text: str, what: str) -> None:
    """Refuse text that cannot be sent: control characters (NUL, line ends, tabs) and halves of surrogate pairs.

    Raises:
        QueryError: there is one; the message says where.
    """
    found = _UNSENDABLE.search(text)
    if found is not None:
        kind = "half of a surrogate pair" if found[0] >= "\ud800" else "a control character"
        raise QueryError(
            f"{what} has {kind} ({found[0]!r}, position {found.start()}), which cannot be sent to SAC.",
            hint="Take it out of the value.",
        )


def _misfit(value: Value, column: Column) -> QueryError:
    hint = None
    if column.edm_type == "Edm.String":
        if isinstance(value, date):
            hint = "SAC writes its dates as text, such as '201001': use since= and until=, or give the text."
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            hint = f"Write it as SAC does, for example {str(value)!r}: leading zeros count."
    expected = _EXPECTED.get(column.edm_type, "text")
    return QueryError(
        f"{value!r} does not fit {column.name!r}, which holds {column.edm_type}: expected {expected}.", hint=hint
    )


def _quoted(text: str, column: Column) -> str:
    check_text(text, f"The value for {column.name!r}")
    return "'" + text.replace("'", "''") + "'"


def _string(value: Value, column: Column) -> str | None:
    return _quoted(value, column) if isinstance(value, str) else None


def _exact(value: Value) -> Decimal | None:
    """A finite number, exactly; a float by the shortest text that reads back as itself, which is what was typed."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    return exact if exact.is_finite() else None


def _decimal(value: Value, column: Column) -> str | None:
    exact = _exact(value)
    if exact is None:
        return None
    if max(abs(exact.adjusted()), len(exact.as_tuple().digits)) > _MAX_DIGITS:
        raise QueryError(f"The number for {column.name!r} has more than {_MAX_DIGITS} digits.")
    text = format(exact, "f") if exact else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


# SAP CAP's parser refuses a double of 309 digits, which also fills the URL.
_MOST_PLAIN_CHARS: Final = 40


def _double(value: Value, column: Column) -> str | None:
    if isinstance(value, float) and isinf(value):
        return "INF" if value > 0 else "-INF"
    text = _decimal(value, column)
    if text is None or len(text) <= _MOST_PLAIN_CHARS:
        return text
    mantissa, _, exponent = f"{Decimal(text).normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent)}"  # without "+", which would have to be percent-encoded


def _integer(value: Value, column: Column) -> str | None:
    exact = _exact(value)
    low, high = _INTEGER_RANGES[column.edm_type]
    if exact is None or not low <= exact <= high or exact != exact.to_integral_value():
        return None
    return str(int(exact))


def _boolean(value: Value, column: Column) -> str | None:  # noqa: ARG001
    return str(value).lower() if isinstance(value, bool) else None


def _date(value: Value, column: Column) -> str | None:  # noqa: ARG001
    if isinstance(value, str) and _ISO_DATE.fullmatch(value):
        value = _read(date.fromisoformat, value)
    if isinstance(value, datetime):
        value = value.date() if value.time() == time() else None
    return value.isoformat() if isinstance(value, date) else None


def _timestamp(value: Value, column: Column) -> str | None:
    if isinstance(value, str):
        value = _read(datetime.fromisoformat, value)
    if not isinstance(value, datetime):
        return None
    if value.utcoffset() is None:
        raise QueryError(
            f"{column.name!r} holds instants, and {value.isoformat()} does not say its time zone.",
            hint="Give the datetime a tzinfo, for example datetime.timezone.utc.",
        )
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _time_of_day(value: Value, column: Column) -> str | None:  # noqa: ARG001
    if isinstance(value, str):
        value = _read(time.fromisoformat, value)
    return value.isoformat() if isinstance(value, time) and value.tzinfo is None else None


def _duration(value: Value, column: Column) -> str | None:  # noqa: ARG001
    if isinstance(value, str):
        value = _read_duration(value)
    if not isinstance(value, timedelta):
        return None
    size = abs(value)
    fraction = f".{size.microseconds:06d}".rstrip("0") if size.microseconds else ""
    return f"duration'{'-' if value < timedelta() else ''}P{size.days}DT{size.seconds}{fraction}S'"


def _read_duration(text: str) -> timedelta | None:
    found = _ISO_DURATION.fullmatch(text)
    if found is None:
        return None
    sign, days, hours, minutes, seconds, fraction = found.groups()
    size = timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "").ljust(6, "0")),
    )
    return -size if sign else size


def _guid(value: Value, column: Column) -> str | None:  # noqa: ARG001
    if isinstance(value, str):
        value = _read(UUID, value)
    return str(value) if isinstance(value, UUID) else None


def _binary(value: Value, column: Column) -> str | None:  # noqa: ARG001
    return f"binary'{base64.urlsafe_b64encode(value).decode().rstrip('=')}'" if isinstance(value, bytes) else None


def _read(reader: Callable[[str], _T], text: str) -> _T | None:
    try:
        return reader(text)
    except ValueError:
        return None


_WRITERS: Final[Mapping[str, Callable[[Value, Column], str | None]]] = {
    "Edm.String": _string,
    "Edm.Decimal": _decimal,
    "Edm.Double": _double,
    "Edm.Single": _double,
    **dict.fromkeys(_INTEGER_RANGES, _integer),
    "Edm.Boolean": _boolean,
    "Edm.Date": _date,
    "Edm.DateTimeOffset": _timestamp,
    "Edm.TimeOfDay": _time_of_day,
    "Edm.Duration": _duration,
    "Edm.Guid": _guid,
    "Edm.Binary": _binary,
}
