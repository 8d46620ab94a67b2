"""Write a filter expression as OData, and split long lists of members over several filters.

The text is either exactly as asked, for the URL, or in one canonical form, for cache keys. Only a list that every row
must satisfy (alone, or joined by ``and``) can be split: a row has one value in that column, so it is in exactly one of
the pieces. A list under ``or`` or ``not`` cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from sacnb._odata.expression import And, Comparison, Expression, Membership, Not, Or, TextMatch
from sacnb._odata.literal import SAFE_IN_QUERY, Value, literal
from sacnb._odata.schema import EDM_PRIMITIVES, Column, Schema
from sacnb.errors import QueryError

__all__ = ["MemberList", "canonical_filter", "is_never", "longest_list", "to_odata"]


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


_JOIN_CHARS = len("%20or%20")


@dataclass(frozen=True, slots=True)
class MemberList:
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


def longest_list(where: Expression, schema: Schema, splittable: frozenset[str]) -> MemberList | None:
    """Return the list on a ``splittable`` column that takes most of the URL; ``None`` if there is none to split.

    Raises:
        UnknownNameError: a column is not in ``schema``.
        QueryError: a member does not fit its column.
    """
    conditions = where.operands if isinstance(where, And) else (where,)
    longest: MemberList | None = None
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
            longest = MemberList(conditions, place, column.name, tuple(distinct.values()), costs)
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
