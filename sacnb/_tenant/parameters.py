"""Values for the ``:name`` parameters of SQL, as literals that cannot break out of their place.

polars' SQL has no parameters, so each value becomes a literal in the text. A scanner finds the parameters outside of
strings, names, comments and casts. polars' SQL has no backslash escapes: in a string only a doubled quote is special
(a property test tries any text).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isinf
from typing import Final
from uuid import UUID

from sacnb._arguments import required_text
from sacnb._odata.expression import col
from sacnb._odata.literal import Value
from sacnb.errors import QueryError, UnknownNameError

__all__ = ["bind", "parameter_names"]

# Tokens that may contain a colon without a parameter. An unclosed quote extends to the end; polars reports it.
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
_MAX_DIGITS: Final = 400
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


def parameter_names(query: str) -> tuple[str, ...]:
    """Return the names of the parameters in a query, each once, in the order of their first use."""
    return tuple(dict.fromkeys(name for name, _ in _pieces(query) if name))


def bind(query: str, values: Mapping[str, object]) -> str:
    """Return the query with a literal in place of each ``:name``.

    A value is text, a number, a boolean, a date, a datetime, a time, a UUID, bytes or ``None`` (``NULL``); or, after
    ``IN``, a list of these. Scalars of numpy and pandas are accepted.

    Raises:
        QueryError: a value is missing, unused, an empty list, or of a type without a literal in SQL.
    """
    names = parameter_names(query)
    missing = [f":{name}" for name in names if name not in values]
    if missing:
        raise QueryError(
            f"No value for {', '.join(missing)} in the query.",
            hint=f"Pass it: sac.sql(query, {{{missing[0][1:]!r}: ...}})",
        )
    unused = [name for name in values if name not in names]
    for name in unused:
        for written in (f":{name}", f"{{{name}}}"):
            if re.search(rf"{re.escape(written)}(?!\w)", query):
                raise QueryError(
                    f"{written} stands inside quotes or a comment of the query, or in braces, so it is no parameter.",
                    hint=f"Write :{name} without quotes and braces; sac.sql() adds the quotes that the value needs.",
                )
    if unused:
        raise UnknownNameError("parameter", unused[0], names, where="the query")
    # Blanks around a literal keep it apart from the tokens beside it.
    return "".join(f" {_literal(name, values[name])} " if name else text for name, text in _pieces(query))


def _pieces(query: str) -> Iterator[tuple[str, str]]:
    """Split the query into pairs: a parameter's name and its text, or an empty name and other text."""
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
    """Return the end of a comment; comments nest."""
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
            f"The list for :{name} is empty, and SQL has no empty list.",
            hint="No row is in an empty list: skip the query, or leave out the condition.",
        )
    return f"({', '.join(_scalar(name, member) for member in members)})"


def _scalar(name: str, value: Value) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case str():
            return _quoted(required_text(f":{name}", value) if value.strip() else value)
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
        f":{name} is {value!r}, a {type(value).__name__}; SQL has no literal for that type.",
        hint="Pass text, a number, a date, or a list of them.",
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(name: str, value: float | Decimal) -> str:
    if value.is_infinite() if isinstance(value, Decimal) else isinf(value):
        raise QueryError(f":{name} is {value!r}; SQL has no literal for infinity.")
    if isinstance(value, Decimal):
        if abs(value.adjusted()) > _MAX_DIGITS:  # written out, 1e999999999 would fill the memory
            raise QueryError(f":{name} is {value!r}, a number of more than {_MAX_DIGITS} digits.")
        return format(value, "f")
    return repr(value)  # the shortest text that reads as the same float


def _timestamp(value: datetime) -> str:
    if value.utcoffset() is None:
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    # TIMESTAMP silently drops an offset in its text.
    return f"'{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z'::TIMESTAMPTZ"
