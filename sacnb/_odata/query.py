"""Describe one question to SAC as a frozen value with a URL and a canonical text, split where it is too long.

The text of a filter is either exactly as asked, for the URL, or in one canonical form, for cache keys. Only a list that
every row must satisfy (alone, or joined by ``and``) can be split: a row has one value in that column, so it is in
exactly one of the pieces. A list under ``or`` or ``not`` cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import quote

from sacnb._endpoints import (
    COUNT,
    DEFAULT_NAMESPACE,
    FACT_DATA,
    FACT_DATA_AGGREGATION,
    FILTER,
    ORDER_BY,
    PAGE_SIZE_PARAMETER,
    SELECT,
    TOP,
    entity_set_path,
)
from sacnb._odata.expression import And, Comparison, Expression, Membership, Not, Or, TextMatch
from sacnb._odata.literal import SAFE_IN_QUERY, Value, check_text, encode_query, literal
from sacnb._odata.schema import EDM_PRIMITIVES, INTEGER_TYPES, Column, Schema
from sacnb.errors import QueryError

__all__ = ["MAX_URL_CHARS", "Query", "canonical_filter", "is_never", "to_odata"]

# SAC documents no limit on the length of a URL (unconfirmed). Servers and proxies commonly take 8 KB for the request
# line; this leaves room for what a nextLink adds to the filter.
MAX_URL_CHARS: Final = 6000
# More requests than this are slower than asking for everything.
_MAX_PIECES: Final = 1000
_JOIN_CHARS: Final = len("%20or%20")
_EXACT_TYPES: Final = INTEGER_TYPES | {"Edm.String", "Edm.Guid", "Edm.Date", "Edm.Boolean"}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one entity set.

    ``select`` empty means every column. ``order_by`` holds pairs of column and whether it is descending. ``top`` is a
    number of rows over all pages; ``page_size`` is the number of rows per page (SAC's own parameter), and changes
    nothing about the rows. ``count`` asks for the number of rows with every page.

    Two things are never sent: ``$apply``, which SAC ignores without a word (seen on live tenants), and ``$skip``, with
    which pages can repeat or miss rows (SAP KBA 3517434).
    """

    provider_id: str
    namespace: str = DEFAULT_NAMESPACE
    entity_set: str = FACT_DATA
    select: tuple[str, ...] = ()
    where: Expression | None = None
    order_by: tuple[tuple[str, bool], ...] = ()
    top: int | None = None
    page_size: int | None = None
    count: bool = True

    def __post_init__(self) -> None:
        for what, name in (("provider_id", self.provider_id), ("namespace", self.namespace)):
            if not name:
                raise QueryError(f"{what} is empty.")
            check_text(name, what)
        for what, number, least in (("top", self.top, 0), ("page_size", self.page_size, 1)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
                raise QueryError(f"{what}={number!r}: a whole number of rows, at least {least}, was expected.")

    def columns(self, schema: Schema) -> tuple[Column, ...]:
        """Return the columns that will come back, in the order asked for.

        Raises:
            UnknownNameError: a column is not in ``schema``.
            QueryError: a column is asked for twice, or a key column is missing: SAC refuses that with error 1402 on
                every set but ``FactDataAggregation``.
        """
        columns = tuple(schema.column(name) for name in self.select) or schema.columns
        twice = [name for name, times in Counter(self.select).items() if times > 1]
        if twice:
            raise QueryError(f"select names {_listed(twice)} more than once.")
        missing = [one.name for one in schema.dimensions if one not in columns]
        if missing and not self._aggregates:
            raise QueryError(
                f"{self.entity_set} needs every dimension in select, and {_listed(missing)} is missing.",
                hint=f"Add it, or ask {FACT_DATA_AGGREGATION} for fewer dimensions: SAC then adds up the measures.",
            )
        return columns

    def is_never(self, schema: Schema) -> bool:
        """Return whether no row can match, because a list of members is empty."""
        return self.where is not None and is_never(self.where, schema)

    def options(self, schema: Schema) -> tuple[tuple[str, str], ...]:
        """Return the query options, names and values, not yet percent-encoded. Checks the whole query.

        Raises:
            UnknownNameError: a column is not in ``schema``.
            QueryError: the query cannot be asked, or would be answered wrongly.
        """
        options = (
            (SELECT, self._selected(schema)),
            (FILTER, to_odata(self.where, schema) if self.where is not None else ""),
            (ORDER_BY, self._ordered(schema)),
            (TOP, "" if self.top is None else str(self.top)),
            (COUNT, "true" if self.count else ""),
            (PAGE_SIZE_PARAMETER, "" if self.page_size is None else str(self.page_size)),
        )
        return tuple((name, value) for name, value in options if value)

    def url(self, tenant_url: str, schema: Schema) -> str:
        """Return the URL of the first page. ``tenant_url`` has no slash at its end. Raises as ``options`` does."""
        query = encode_query(self.options(schema))
        return f"{tenant_url}{self._path}" + (f"?{query}" if query else "")

    def canonical(self, schema: Schema) -> str:
        """Return a stable text of the question, for cache keys.

        It does not depend on the page size, on ``count``, or on the order and repetition of conditions and members; it
        does depend on the order of ``select``, because the frame does. Raises as ``options`` does.
        """
        lines = [
            self._path,
            f"{SELECT}={','.join(column.name for column in self.columns(schema))}",
            f"{FILTER}={canonical_filter(self.where, schema) if self.where is not None else 'true'}",
            f"{ORDER_BY}={self._ordered(schema)}",
            f"{TOP}={'all' if self.top is None else self.top}",
        ]
        return "\n".join(lines)

    def split(self, schema: Schema, tenant_url: str, max_url_chars: int = MAX_URL_CHARS) -> tuple[Query, ...]:
        """Split this query into pieces with short enough URLs: every row is in exactly one of them.

        Usually that is the query itself, and none at all if no row can match. A long list of members is shared out over
        several queries; their rows together, piece by piece, are the answer. Each piece keeps ``top``: a pull stops
        at that many rows in all.

        Raises:
            UnknownNameError: a column is not in ``schema``.
            QueryError: the URL is too long, and splitting it would change the answer or take too many requests.
        """
        if self.is_never(schema):
            return ()
        excess = len(self.url(tenant_url, schema)) - max_url_chars
        if excess <= 0:
            return (self,)
        too_long = f"The query needs a URL {excess} characters longer than the {max_url_chars} that SAC is asked with"
        found = _longest_list(self.where, schema, self._splittable(schema)) if self.where is not None else None
        if found is None:
            columns = " on a dimension in select" if self._aggregates else ""
            raise QueryError(
                f"{too_long}, and has no list of members{columns} that could be split over several requests.",
                hint="Only top-level is_in() lists can be split, not lists under | or ~. Shorten the filter and filter "
                "the rest in the frame.",
            )
        if self.order_by:
            raise QueryError(
                f"{too_long}, and rows that come in several answers have no common order.",
                hint="Leave the order out, and sort the frame.",
            )
        pieces: list[Query] = []
        for where in found.shared_out(excess, max_url_chars):
            pieces.extend(replace(self, where=where).split(schema, tenant_url, max_url_chars))
            if len(pieces) > _MAX_PIECES:
                raise QueryError(
                    f"The filter would take more than {_MAX_PIECES} requests.",
                    hint="Filter by fewer members, and filter the rest in the frame: that is faster.",
                )
        return tuple(pieces)

    @property
    def _aggregates(self) -> bool:
        return self.entity_set == FACT_DATA_AGGREGATION

    @property
    def _path(self) -> str:
        return entity_set_path(self.provider_id, self.entity_set, self.namespace)

    def _selected(self, schema: Schema) -> str:
        columns = self.columns(schema)
        # Without $select SAC sends every column; an aggregation has to be told what it groups by.
        return ",".join(column.name for column in columns) if self.select or self._aggregates else ""

    def _ordered(self, schema: Schema) -> str:
        columns = self.columns(schema)
        parts = []
        for name, descending in self.order_by:
            if schema.column(name) not in columns and self._aggregates:
                raise QueryError(f"order_by names {name!r}, which is not in select: an aggregation no longer has it.")
            parts.append(f"{name} desc" if descending else name)
        return ",".join(parts)

    def _splittable(self, schema: Schema) -> frozenset[str]:
        """Return the columns whose lists may be split: those whose values are equal only if written the same.

        Not numbers with a fraction: what a server rounds could match twice. And for an aggregation only what it groups
        by, because over pieces of any other column it would give each sum in pieces.
        """
        columns = schema.columns
        if self._aggregates:
            columns = tuple(one for one in self.columns(schema) if one.role != "measure")
        return frozenset(one.name for one in columns if one.edm_type in _EXACT_TYPES)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


# -- filters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Terms:
    """Conditions joined by one word; a single condition binds tighter than any word."""

    joined_by: Literal["and", "or"]
    parts: tuple[str, ...]

    def text(self) -> str:
        return f" {self.joined_by} ".join(self.parts)


def to_odata(expression: Expression, schema: Schema) -> str:
    """Write ``expression`` as the value of ``$filter``, not yet percent-encoded.

    One that keeps every row is empty text, one that keeps none (an empty ``is_in``) is ``false``: right by the OData
    standard, but not a question that SAC has to be asked.

    Raises:
        UnknownNameError: a column is not in ``schema``.
        QueryError: a value does not fit its column, or text is looked for in a column that holds none.
    """
    found = _render(expression, schema, canonical=False)
    if isinstance(found, bool):
        return "" if found else "false"
    return found.text()


def canonical_filter(expression: Expression, schema: Schema) -> str:
    """Write ``expression`` in one canonical form: the order and repetition of operands and members do not count.

    ``"true"`` if it keeps every row, ``"false"`` if none. Raises as ``to_odata`` does.
    """
    found = _render(expression, schema, canonical=True)
    return str(found).lower() if isinstance(found, bool) else found.text()


def is_never(expression: Expression, schema: Schema) -> bool:
    """Return whether no row can match, because an ``is_in`` is empty. Raises what ``to_odata`` raises."""
    return _render(expression, schema, canonical=False) is False


def _render(expression: Expression, schema: Schema, *, canonical: bool) -> _Terms | bool:
    match expression:
        case Comparison(column, operator, value):
            return _Terms("or", (f"{column} {operator} {literal(value, schema.column(column))}",))
        case Membership(column, values):
            of = schema.column(column)
            return _terms("or", [f"{column} eq {literal(value, of)}" for value in values], canonical=canonical)
        case TextMatch():
            return _Terms("or", (_text_match(expression, schema),))
        case Not(operand):
            inner = _render(operand, schema, canonical=canonical)
            return not inner if isinstance(inner, bool) else _Terms("or", (f"not ({inner.text()})",))
        case And(operands):
            return _join("and", operands, schema, canonical=canonical)
        case Or(operands):
            return _join("or", operands, schema, canonical=canonical)
    raise QueryError(f"{expression!r} is not a condition that sacnb knows.")


def _join(
    word: Literal["and", "or"], operands: tuple[Expression, ...], schema: Schema, *, canonical: bool
) -> _Terms | bool:
    settles = word == "or"  # one true operand settles an or, one false operand an and
    parts: list[str] = []
    settled = False
    for operand in operands:
        inner = _render(operand, schema, canonical=canonical)
        if isinstance(inner, bool):
            settled = settled or inner is settles
        elif len(inner.parts) == 1 or inner.joined_by == word:
            parts.extend(inner.parts)
        else:
            parts.append(f"({inner.text()})")
    if settled:
        return settles
    return _terms(word, parts, canonical=canonical) if parts else not settles


def _terms(word: Literal["and", "or"], parts: list[str], *, canonical: bool) -> _Terms | bool:
    """Join parts without repetition, sorted if canonical; no parts are false for ``or`` and true for ``and``."""
    distinct = dict.fromkeys(parts)
    if not distinct:
        return word == "and"
    return _Terms(word, tuple(sorted(distinct) if canonical else distinct))


def _text_match(expression: TextMatch, schema: Schema) -> str:
    column = schema.column(expression.column)
    if column.edm_type in EDM_PRIMITIVES - {"Edm.String"}:
        raise QueryError(
            f"{expression!r}: {column.name!r} holds {column.edm_type}, not text.",
            hint="Compare it with ==, <, <=, >, >= or between.",
        )
    return f"{expression.function}({column.name},{literal(expression.text, column)})"


@dataclass(frozen=True, slots=True)
class _MemberList:
    """A list of members that every row has to be in, and its place among the conditions.

    ``costs`` are the characters that each member takes in the URL, with the word that joins it to the next.
    """

    conditions: tuple[Expression, ...]
    place: int
    column: str
    members: tuple[Value, ...]
    costs: tuple[int, ...]

    def shared_out(self, excess_chars: int, max_chars: int) -> Iterator[Expression]:
        """Yield as few filters as make each shorter than the whole by ``excess_chars``.

        Where this list alone cannot make that much room, each filter gets half of ``max_chars`` of it, or half of the
        list if that is less: then it is another list's turn.
        """
        room = sum(self.costs) - excess_chars
        if room < max(self.costs):
            room = max(*self.costs, min(max_chars, sum(self.costs)) // 2)
        taken: list[Value] = []
        left = room
        for member, cost in zip(self.members, self.costs, strict=True):
            if cost > left:
                yield self._with(tuple(taken))
                taken, left = [], room
            taken.append(member)
            left -= cost
        yield self._with(tuple(taken))

    def _with(self, members: tuple[Value, ...]) -> Expression:
        chosen = Membership(self.column, members)
        rest = (*self.conditions[: self.place], chosen, *self.conditions[self.place + 1 :])
        return rest[0] if len(rest) == 1 else And(rest)


def _longest_list(where: Expression, schema: Schema, splittable: frozenset[str]) -> _MemberList | None:
    """Return the list on a ``splittable`` column that takes most of the URL; ``None`` if there is none to split.

    Raises:
        UnknownNameError: a column is not in ``schema``.
        QueryError: a member does not fit its column.
    """
    conditions = where.operands if isinstance(where, And) else (where,)
    longest: _MemberList | None = None
    for place, condition in enumerate(conditions):
        found = _as_membership(condition)
        if found is None or found.column not in splittable:
            continue
        column = schema.column(found.column)
        # Members that are written the same are one member, and go into one piece only.
        distinct = {literal(value, column): value for value in found.values}
        if len(distinct) < 2:
            continue
        costs = tuple(_cost(column, text) for text in distinct)
        if longest is None or sum(costs) > sum(longest.costs):
            longest = _MemberList(conditions, place, column.name, tuple(distinct.values()), costs)
    return longest


def _as_membership(condition: Expression) -> Membership | None:
    """Return a condition as a list of members, ``(x == 1) | (x == 2)`` too; ``None`` if it is something else."""
    match condition:
        case Membership():
            return condition
        case Comparison(column, "eq", value):
            return Membership(column, (value,))
        case Or(operands):
            lists = [found for one in operands if (found := _as_membership(one)) is not None]
            if len(lists) == len(operands) and len({one.column for one in lists}) == 1:
                return Membership(lists[0].column, tuple(value for one in lists for value in one.values))
    return None


def _cost(column: Column, text: str) -> int:
    return len(quote(f"{column.name} eq {text}", safe=SAFE_IN_QUERY)) + _JOIN_CHARS
