"""Share a long list of members out over several filters, so that none of their URLs is too long.

Only a list that every row has to satisfy (alone, or joined by ``and``) can be shared out: a row has one value in that
column, so it is in exactly one of the pieces. A list under ``or`` or ``not`` cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from sacnb._odata.expression import And, Comparison, Expression, Membership, Or
from sacnb._odata.literal import SAFE_IN_QUERY, Value, literal
from sacnb._odata.schema import Column, Schema

__all__ = ["MemberList", "longest_list"]

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
        """Filters that are shorter than the whole by ``excess_chars``, as few as that takes.

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
    """The list on one of the ``splittable`` columns that takes most of the URL; ``None`` if there is none to share out.

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
        # Two members that are written the same are the same: each may go into one piece only.
        distinct = {literal(value, column): value for value in found.values}
        if len(distinct) < 2:
            continue
        costs = tuple(_cost(column, text) for text in distinct)
        if longest is None or sum(costs) > sum(longest.costs):
            longest = MemberList(conditions, place, column.name, tuple(distinct.values()), costs)
    return longest


def _as_membership(condition: Expression) -> Membership | None:
    """A condition as a list of members, if that is what it is: also ``(x == 1) | (x == 2)``."""
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
