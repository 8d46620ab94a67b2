"""Values for the ``:name`` parameters of SQL, written so that they can only ever be values.

polars has no parameters of its own, so a value becomes a literal in the text: never by formatting, but where a scanner
has found a parameter outside of texts, names, comments and casts. polars' SQL knows no backslash escapes: within
quotes a doubled quote is the only sign that means something (a test tries any text).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isinf
from typing import Final
from uuid import UUID

from sacnb._odata.expression import col
from sacnb._odata.literal import Value
from sacnb.errors import QueryError, UnknownNameError

__all__ = ["bind", "parameter_names"]

# What may hold a colon that begins no parameter. A quote without its end swallows the rest: polars then says so.
_SKIPPED: Final = re.compile(
    r"""
    '(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z)
    | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)
    | --[^\n]*
    | ::
    """,
    re.VERBOSE | re.DOTALL,
)
_PARAMETER: Final = re.compile(r":(?P<name>[^\W\d]\w*)")
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


def parameter_names(query: str) -> tuple[str, ...]:
    """The names of the parameters in a query, each once, in the order of their first use."""
    return tuple(dict.fromkeys(name for name, _ in _pieces(query) if name))


def bind(query: str, values: Mapping[str, object]) -> str:
    """The query with a literal in the place of each ``:name``.

    A value is text, a number, a boolean, a date, a datetime, a time, a UUID, bytes or ``None`` (``NULL``); or, after
    ``IN``, a list of such. Scalars of numpy and pandas are understood.

    Raises:
        QueryError: a value is missing, not used, an empty list, or nothing SQL has a literal for.
    """
    names = parameter_names(query)
    missing = [f":{name}" for name in names if name not in values]
    if missing:
        raise QueryError(
            f"The query has the parameter {', '.join(missing)}, and no value for it was given.",
            hint=f"Give sql(query, {{{missing[0][1:]!r}: ...}}).",
        )
    unused = [name for name in values if name not in names]
    if unused:
        raise UnknownNameError("parameter", unused[0], names, where="the query")
    # Blanks around it: a literal never melts into the word or sign beside it.
    return "".join(f" {_literal(name, values[name])} " if name else text for name, text in _pieces(query))


def _pieces(query: str) -> Iterator[tuple[str, str]]:
    """The query in pieces: the name of a parameter and its text, or an empty name and any other text."""
    at = start = 0
    while at < len(query):
        found = _PARAMETER.match(query, at)
        if found:
            yield "", query[start:at]
            yield found["name"], found[0]
            at = start = found.end()
        elif query.startswith("/*", at):
            at = _end_of_comment(query, at)
        elif skipped := _SKIPPED.match(query, at):
            at = skipped.end()
        else:
            at += 1
    yield "", query[start:]


def _end_of_comment(query: str, at: int) -> int:
    """Where a comment ends; comments may hold comments."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(query, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(query)


def _literal(name: str, value: object) -> str:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return _scalar(name, (col(f":{name}") == value).value)
    members = col(f":{name}").is_in(value).values
    if not members:
        raise QueryError(
            f"The list for :{name} is empty, and SQL has no list without a member.",
            hint="No row is in an empty list, so leave the query out, or only the condition.",
        )
    return f"({', '.join(_scalar(name, member) for member in members)})"


def _scalar(name: str, value: Value) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case str():
            return _quoted(value)
        case int():
            return str(value)
        case float() | Decimal():
            return _number(name, value)
        case datetime():
            return _timestamp(value)
        case date():
            return f"DATE '{value.isoformat()}'"
        case time() if value.tzinfo is None:
            return f"TIME '{value.isoformat()}'"
        case UUID():
            return _quoted(str(value))
        case bytes():
            return f"x'{value.hex()}'"
    raise QueryError(
        f":{name} is {value!r}, a {type(value).__name__}, and SQL has no literal for that.",
        hint="Give text, a number, a date, or a list of them.",
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(name: str, value: float | Decimal) -> str:
    if value.is_infinite() if isinstance(value, Decimal) else isinf(value):
        raise QueryError(f":{name} is {value!r}; SQL has no literal for infinity.")
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value)  # the shortest text that is read as the same float


def _timestamp(value: datetime) -> str:
    if value.utcoffset() is None:
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    # TIMESTAMP with an offset in its text would lose it without a word.
    return f"'{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z'::TIMESTAMPTZ"
