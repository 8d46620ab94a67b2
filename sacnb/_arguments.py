"""Bring the arguments of public functions into one form, once: Python's own types, every iterable read a single time.

Callers pass lists, generators, sets, arrays of numpy and columns of pandas, polars and pyarrow. One text is one name,
never a list of letters. What cannot be meant raises ``QueryError`` with the argument's name and value.
"""

from __future__ import annotations

import math
import os
import re
import reprlib
import sys
from collections.abc import Mapping, MappingView
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any, Final

from sacnb.errors import QueryError

__all__ = [
    "callback",
    "duration",
    "elements",
    "flag",
    "folder",
    "folders",
    "mapping",
    "moment",
    "names",
    "one_of",
    "plain",
    "required_text",
    "seconds",
    "text",
    "texts_by_id",
    "whole_number",
]

# Reading stops here, so that an endless iterator is an error and not a hang.
_MAX_NAMES: Final = 10_000
_MAX_ELEMENTS: Final = 1_000_000
# The largest whole number that OData's types have.
_MOST_ROWS: Final = 2**63 - 1
# Iterated they give letters and numbers, which nobody means.
_WHOLE: Final = (str, bytes, bytearray, memoryview)
_SHOWN_CHARS: Final = 80
# Halves of a pair: no text that Unicode has, and no encoding can send them.
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def names(argument: str, value: object) -> tuple[str, ...] | None:
    """Return the names in *value*: one text is one name, anything that can be iterated is a list of them.

    Sets are sorted, because their order differs from process to process and the order of names is part of a question.

    Raises:
        QueryError: *value* is no text and cannot be iterated, is a mapping or a table, or holds something but names.
    """
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, str):
        return (_checked(argument, value),)
    found = elements(argument, value, most=_MAX_NAMES)
    if found is None:
        raise _unexpected(argument, value, "a name or a list of names")
    for position, name in enumerate(found):
        if not isinstance(name, str):
            raise _unexpected(f"{argument}[{position}]", name, "a name (str)")
        _checked(f"{argument}[{position}]", name)
    return tuple(found)


def elements(argument: str, value: object, *, most: int = _MAX_ELEMENTS) -> list[Any] | None:
    """Return what *value* holds, each as ``plain`` gives it; ``None`` where *value* is one value and not several.

    Raises:
        QueryError: *value* is a mapping or a data frame, or holds more than *most* elements.
    """
    value = plain(value)
    if isinstance(value, _WHOLE):
        return None
    if isinstance(value, Mapping) or hasattr(type(value), "columns"):
        raise _unexpected(argument, value, "a list of values")
    try:
        iterator = iter(value)  # type: ignore[call-overload]
    except TypeError:
        return None
    found = [plain(one) for one in islice(iterator, most + 1)]
    if len(found) > most:
        raise QueryError(f"{argument} holds more than {most:,} elements.", hint="Is it an iterator without an end?")
    if isinstance(value, AbstractSet) and not isinstance(value, MappingView):
        found.sort(key=lambda one: (type(one).__name__, repr(one)))
    return found


def text(argument: str, value: object) -> str | None:
    """Return *value* as a plain ``str``; ``None`` stays.

    Raises:
        QueryError: *value* is something else.
    """
    found = plain(value)
    if found is None:
        return None
    if isinstance(found, str):
        return _checked(argument, found)
    raise _unexpected(argument, value, "a name (str)")


def required_text(argument: str, value: object) -> str:
    """Return *value* as a plain ``str`` that is not blank.

    Raises:
        QueryError: *value* is something else.
    """
    found = plain(value)
    if isinstance(found, str) and found.strip():
        return _checked(argument, found)
    raise _unexpected(argument, value, "text (str)")


def folders(argument: str, value: object) -> tuple[Path, ...]:
    """Return the paths in *value*: one path, or anything that can be iterated and holds paths.

    Raises:
        QueryError: *value* is something else.
    """
    several = None if isinstance(plain(value), str | os.PathLike) else elements(argument, value)
    if several is None:
        return (folder(argument, value),)
    return tuple(folder(f"{argument}[{position}]", one) for position, one in enumerate(several))


def _checked(argument: str, value: str) -> str:
    if _SURROGATES.search(value):
        raise _unexpected(argument, value, "text without halves of surrogate pairs")
    return value


def mapping(argument: str, value: object) -> Mapping[Any, Any]:
    """Return *value*, a mapping; ``None`` is an empty one.

    Raises:
        QueryError: *value* is something else.
    """
    if value is None or isinstance(value, Mapping):
        return value or {}
    raise _unexpected(argument, value, "a mapping, such as a dict")


def texts_by_id(argument: str, value: object) -> dict[str, str]:
    """Return *value*, a mapping of ids to texts, without the ids that have none.

    Raises:
        QueryError: *value* is something else.
    """
    found = {str(one): text(f"{argument}[{one!r}]", words) for one, words in mapping(argument, value).items()}
    return {one: words for one, words in found.items() if words}


def callback(argument: str, value: object, *, allowed: tuple[str, ...] = ()) -> Any:
    """Return *value*, a function or one of the texts that are *allowed*; ``None`` stays.

    Raises:
        QueryError: *value* is something else.
    """
    if value is None or callable(value):
        return value
    found = plain(value)
    if isinstance(found, str) and found in allowed:
        return found
    raise _unexpected(argument, value, " or ".join(("a function", *map(repr, allowed))))


def folder(argument: str, value: object) -> Path:
    """Return *value*, text or a path, as a ``Path``.

    Raises:
        QueryError: *value* is something else, or no system can have such a path.
    """
    found = plain(value)
    if isinstance(found, str | os.PathLike):
        name = os.fspath(found)
        if isinstance(name, str) and name.strip() and "\0" not in name:
            with suppress(UnicodeEncodeError):
                os.fsencode(name)  # some surrogates stand for bytes in file names, and others for nothing
                return Path(name)
    raise _unexpected(argument, value, "a path")


def one_of(argument: str, value: object, allowed: tuple[str, ...]) -> str | None:
    """Return *value* as one of the texts that are *allowed*; ``None`` stays.

    Raises:
        QueryError: *value* is something else.
    """
    found = plain(value)
    if found is None or (isinstance(found, str) and found in allowed):
        return found
    raise _unexpected(argument, value, " or ".join(map(repr, allowed)))


def whole_number(argument: str, value: object, *, least: int = 0) -> int | None:
    """Return *value* as an ``int`` of at least *least*; ``None`` stays, and ``1e6`` is a million.

    Raises:
        QueryError: *value* is not a number, not whole, or smaller; truth values are not numbers.
    """
    found = plain(value)
    if found is None:
        return None
    number = _number(found)
    # Compared before it is made an int: Decimal("1e999999999") would fill the memory.
    if number is None or not least <= number <= _MOST_ROWS or number != int(number):
        raise _unexpected(argument, value, f"a whole number of at least {least}")
    return int(number)


def seconds(argument: str, value: object) -> float | None:
    """Return *value*, a number of seconds or a ``timedelta``, as a ``float`` of 0 or more; ``None`` stays.

    Raises:
        QueryError: *value* is something else, negative or not a number.
    """
    found = plain(value)
    if found is None:
        return None
    number = _number(found.total_seconds() if isinstance(found, timedelta) else found)
    if number is None or not number >= 0:
        raise _unexpected(argument, value, "a number of seconds of at least 0")
    return float(number) if number <= sys.float_info.max else math.inf


def duration(argument: str, value: object) -> timedelta | None:
    """Return *value*, a ``timedelta`` or a number of seconds, as a ``timedelta`` of 0 or more; ``None`` stays.

    Raises:
        QueryError: *value* is something else, negative, or longer than a ``timedelta`` can be.
    """
    found = seconds(argument, value)
    if found is not None and found > timedelta.max.total_seconds():
        raise _unexpected(argument, value, "a shorter time")
    return None if found is None else timedelta(seconds=found)


def moment(argument: str, value: object) -> datetime:
    """Return *value*, a datetime or one written as in ISO 8601, with a zone: without one it is a time of this machine.

    Raises:
        QueryError: *value* is something else.
    """
    found = plain(value)
    if isinstance(found, datetime) and hasattr(found, "to_pydatetime"):  # of pandas, whose astimezone is another one
        found = found.to_pydatetime(warn=False)
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)  # noqa: DTZ001 - in the zone of this machine, as below
    if isinstance(found, str):
        with suppress(ValueError):
            found = datetime.fromisoformat(found.strip())
    if isinstance(found, datetime):
        with suppress(OverflowError, ValueError, OSError):  # years that the system has no zone for
            return found.astimezone() if found.tzinfo is None else found
    raise _unexpected(argument, value, "a time, such as a datetime or '2026-11-01 12:00'")


def flag(argument: str, value: object) -> bool:
    """Return *value* as a ``bool``; 0 and 1 count, other values that Python takes for true or false do not.

    Raises:
        QueryError: *value* is something else.
    """
    found = plain(value)
    if isinstance(found, bool | Integral) and not hasattr(found, "dtype") and found in (0, 1):
        return bool(found)
    raise _unexpected(argument, value, "True or False")


def plain(value: object) -> Any:
    """Return a scalar of numpy or pyarrow, or a kind of ``str``, as Python's own; anything else as it is.

    Times finer than a microsecond, "not a time" and masked values stay as they are: Python has nothing to hold them.
    """
    library = type(value).__module__.partition(".")[0]
    if library == "numpy" and getattr(value, "ndim", None) == 0:
        return _from_numpy(value)
    if library == "pyarrow" and hasattr(value, "as_py"):
        return value.as_py()
    return str.__str__(value) if isinstance(value, str) else value


def _from_numpy(value: Any) -> Any:
    kind = value.dtype.kind
    if getattr(value, "mask", False) or (kind == "m" and value.dtype.str.endswith(("[Y]", "[M]", "m8"))):
        return value  # no value, or a duration without a length
    found = float(value) if kind == "f" else value.item()  # a longdouble stays one in item()
    if kind not in "mM" or isinstance(found, date | timedelta):
        return found
    micro = value.astype(f"{kind}8[us]")  # from nanoseconds, which are whole microseconds more often than not
    return micro.item() if micro == value else value


def _number(value: object) -> int | float | Decimal | None:
    """Return *value* where it is a number that can be compared: neither a truth value nor NaN."""
    # numpy registers its durations as integers.
    if isinstance(value, bool) or hasattr(value, "dtype") or not isinstance(value, Integral | float | Decimal):
        return None
    if isinstance(value, Integral):
        return int(value)
    return None if (value.is_nan() if isinstance(value, Decimal) else math.isnan(value)) else value


def _unexpected(argument: str, value: object, expected: str) -> QueryError:
    shown = reprlib.repr(value) if isinstance(value, str | list | tuple | dict) else repr(value)
    shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[: _SHOWN_CHARS - 1]}…"
    kind = "" if isinstance(value, str | int | float | None) else f", of type {type(value).__name__}"
    return QueryError(f"{argument} must be {expected}, got {shown}{kind}.")
