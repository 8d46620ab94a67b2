"""A query of facts as people type it at a prompt, and the parameters of SQL.

Values for the ``:name`` parameters of SQL, as literals that cannot break out of their place.

polars' SQL has no parameters, so each value becomes a literal in the text. A scanner finds the parameters outside of
strings, names, comments and casts. polars' SQL has no backslash escapes: in a string only a doubled quote is special
(a property test tries any text).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isinf
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from sacnb._arguments import required_text
from sacnb._endpoints import FACT_DATA
from sacnb._odata.expression import Expression, col
from sacnb._odata.literal import Value
from sacnb._odata.schema import NUMERIC_TYPES
from sacnb._odata.where import When, both, bounds, from_where, under
from sacnb._tenant.facts import Facts
from sacnb.errors import QueryError, UnknownNameError

if TYPE_CHECKING:
    from sacnb._odata.query import Query
    from sacnb._odata.schema import Column, Grain, Schema
    from sacnb._pull.plan import Repeated
    from sacnb._tenant.connection import Connection

__all__ = ["Question", "bind", "parameter_names", "period_filter", "read_condition", "read_names", "typed_where"]

_TRUTH: Final = {"true": True, "false": False}


class HasFacts(Protocol):
    """A model, as far as a question needs it."""

    @property
    def facts(self) -> Callable[..., Facts]:
        """Make a query."""


@dataclass(frozen=True, slots=True)
class Question:
    """The options that select facts, as typed; ``where`` and ``under`` hold pairs of a column and a text."""

    where: tuple[tuple[str, str], ...] = ()
    under: tuple[tuple[str, str], ...] = ()
    since: str | None = None
    until: str | None = None
    date: str | None = None
    dims: tuple[str, ...] | None = None
    measures: tuple[str, ...] | None = None
    limit: int | None = None
    check_count: bool = True
    repeated: Repeated = "sum"

    def facts(self, model: HasFacts) -> Facts:
        """Return the query of *model*, with each text of ``where`` read as its column's type.

        Uses the query's schema (the cached one while SAC is unreachable), so that the cache key matches.

        Raises UnknownNameError for an unknown column, QueryError for a text that the column cannot hold.
        """
        below: dict[str, list[object]] = {}
        for name, member in self.under:
            below.setdefault(name, []).append(under(member))
        facts = model.facts(
            where=below or None,
            since=self.since,
            until=self.until,
            date=self.date,
            dims=self.dims,
            measures=self.measures,
            limit=self.limit,
            check_count=self.check_count,
            repeated=self.repeated,
        )
        where = both(from_where(typed_where(self.where, facts.schema) or None), facts.query.where)
        filtered = replace(facts, query=replace(facts.query, where=where))
        filtered.query.options(facts.schema)  # refuse an impossible query now, and not when it is fetched
        return filtered


def read_condition(text: str) -> tuple[str, str]:
    """Return the column and the value of ``COLUMN=VALUE``, split at the first equals sign. Raises QueryError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise QueryError(f"{text!r} is not COLUMN=VALUE.", hint="For example: --where Version=public.Actual")
    return name, value


def read_names(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B``; empty text is no name at all."""
    return tuple(name for name in text.split(",") if name)


def typed_where(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, object]:
    """Return pairs of column and text as a mapping for ``facts(where=...)``; repeated columns become lists.

    Raises UnknownNameError for an unknown column, QueryError for a text that the column cannot hold.
    """
    found: dict[str, list[object]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(_value(text, schema.column(name)))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _value(text: str, column: Column) -> object:
    """Return *text* as a number or a boolean if the column holds those, else as typed."""
    if column.edm_type in NUMERIC_TYPES:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise QueryError(f"{column.name!r} holds {column.edm_type}, and {text!r} is not a number.") from None
    if column.edm_type == "Edm.Boolean":
        if text.lower() not in _TRUTH:
            raise QueryError(f"{column.name!r} holds {column.edm_type}; expected true or false, got {text!r}.")
        return _TRUTH[text.lower()]
    return text


def period_filter(
    connection: Connection, schema: Schema, query: Query, *, date: str | None, since: When | None, until: When | None
) -> Expression:
    """Return the filter for ``since`` and ``until``, at least one of which is given. Raises QueryError."""
    column = _date_column(schema, date)
    grain = schema.grain_of(column.name)
    if grain is None and column.edm_type == "Edm.String":
        grain = _grain_as_written(connection, schema, query, column)
    period = bounds(column, since, until, grain)
    assert period is not None  # noqa: S101 - one of the two bounds is given
    return period


def _date_column(schema: Schema, date: str | None) -> Column:
    if date is not None:
        return schema.column(date)
    if not schema.date_columns:
        raise QueryError(
            f"since and until need a date column, and the $metadata of {schema.provider_id!r} does not show one.",
            hint="Name it: facts(since=..., date='...').",
        )
    return schema.column(schema.date_columns[0].name)


def _grain_as_written(connection: Connection, schema: Schema, query: Query, column: Column) -> Grain | None:
    """Read the grain of a date column from one row with a date; ``$metadata`` does not tell it.

    ``202405`` may be a week. Months are certain only where no row near it is in a week above 16, the last period.
    """
    from sacnb._frames.periods import grain_as_written

    date = col(column.name)
    written = _first_date(connection, schema, query, column, date >= "0")
    grain = grain_as_written(written)
    if grain == "month":
        years = range(int(str(written)[:4]) - 1, int(str(written)[:4]) + 2)
        weeks = [(date >= f"{year:04d}17") & (date <= f"{year:04d}53") for year in years]
        if _first_date(connection, schema, query, column, weeks[0] | weeks[1] | weeks[2]) is not None:
            return None
    return grain


def _first_date(connection: Connection, schema: Schema, query: Query, column: Column, where: Expression) -> Any:
    """Return the date of one row that *where* lets through; ``None`` if there is none."""
    sample = replace(query, entity_set=FACT_DATA, select=(), where=where, order_by=(), top=1, page_size=1, count=False)
    table = Facts(connection, schema, sample, repeated="keep").fetch().arrow()
    return table[column.name][0].as_py() if table.num_rows else None


# -- parameters of SQL ----------------------------------------------------------------------------------------------

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
                    f"{written} is inside quotes or a comment of the query, or in braces, so it is not a parameter.",
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
