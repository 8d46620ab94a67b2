"""Cut the rows of a query along one dimension into slices that share no row and leave none out.

Two ways, each sound by itself. *Ranges*: ``x < b1``, ``b1 <= x < b2``, ..., ``bn <= x``. For any total order of the
values each value is in exactly one of them, whatever members there are, ``#`` and unknown ones included, as long as the
server puts the bounds in the same order as we do. So only bounds are taken whose order is the same in every collation:
texts that differ in digits alone, at the same places (``201501``, ``P-017``), dates and integers. *Lists*: ``x`` is one
of these members, or of those, and the rest is ``not (x is one of all of them)``.

A row without a value is in no range, and whether it is in "not one of them" is SAC's decision (unconfirmed), so both
ways have a rest that asks for it outright.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sacnb._odata.expression import Comparison, Expression, Membership, col
from sacnb._odata.literal import Value, literal
from sacnb._odata.schema import INTEGER_TYPES, Column
from sacnb.errors import QueryError

__all__ = ["Lists", "Ranges", "Slices", "slices_of"]

_DIGIT = re.compile(r"[0-9]")


class Slices(Protocol):
    """A dimension cut into ``count`` slices, in order, and a rest."""

    @property
    def count(self) -> int:
        """How many slices there are, without the rest."""
        ...

    def where(self, first: int, end: int) -> Expression:
        """The rows of the slices from ``first`` up to, and without, ``end``."""
        ...

    @property
    def rest(self) -> Expression:
        """The rows that no slice has."""
        ...


@dataclass(frozen=True, slots=True)
class Ranges:
    """Slices between ``bounds``, which are sorted; there is one more slice than bounds."""

    column: str
    bounds: tuple[Value, ...]

    @property
    def count(self) -> int:
        """One more than there are bounds."""
        return len(self.bounds) + 1

    def where(self, first: int, end: int) -> Expression:
        """``bounds[first - 1] <= x < bounds[end - 1]``, with open ends."""
        conditions: list[Expression] = []
        if first > 0:
            conditions.append(Comparison(self.column, "ge", self.bounds[first - 1]))
        if end < self.count:
            conditions.append(Comparison(self.column, "lt", self.bounds[end - 1]))
        return conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]

    @property
    def rest(self) -> Expression:
        """Rows without a value."""
        return Comparison(self.column, "eq", None)


@dataclass(frozen=True, slots=True)
class Lists:
    """Slices of members, which occur once each."""

    column: str
    members: tuple[tuple[str, ...], ...]

    @property
    def count(self) -> int:
        """The number of lists."""
        return len(self.members)

    def where(self, first: int, end: int) -> Expression:
        """One of the members of these slices."""
        return Membership(self.column, _flat(self.members[first:end]))

    @property
    def rest(self) -> Expression:
        """None of all members, and rows without a value."""
        return ~col(self.column).is_in(_flat(self.members)) | Comparison(self.column, "eq", None)


def slices_of(column: Column, members: Iterable[str], most: int) -> Slices | None:
    """The column cut into at most ``most`` slices with as many of ``members`` each; ``None`` if that makes no two.

    ``members`` only help to find good places to cut: rows with other members are in one of the slices, or in the rest.
    """
    distinct = sorted(set(members))
    bounds = _comparable(column, distinct)
    if bounds is not None:
        chosen = [bounds[place] for place in _places(len(bounds), most)]
        return Ranges(column.name, tuple(chosen)) if chosen else None
    named = [member for member in distinct if _can_be_named(column, member)]
    if column.edm_type != "Edm.String" or len(named) < 2:
        return None
    edges = [0, *_places(len(named), most), len(named)]
    return Lists(column.name, tuple(tuple(named[a:b]) for a, b in itertools.pairwise(edges)))


def _can_be_named(column: Column, member: str) -> bool:
    """Whether a member can stand in a filter; one with a line end cannot, and is among the rest."""
    try:
        literal(member, column)
    except QueryError:
        return False
    return True


def _places(count: int, most: int) -> list[int]:
    """Where to cut ``count`` things into at most ``most`` pieces of about the same size."""
    pieces = min(count, most)
    return [count * piece // pieces for piece in range(1, pieces)]


def _comparable(column: Column, members: Sequence[str]) -> list[Value] | None:
    """The members that can be bounds, sorted as every server sorts them; ``None`` where they are too few."""
    if column.edm_type in INTEGER_TYPES:
        numbers = sorted({int(member) for member in members if re.fullmatch(r"-?[0-9]{1,18}", member, re.ASCII)})
        return list(numbers) if len(numbers) > 1 else None
    if column.edm_type not in {"Edm.String", "Edm.Date"}:
        return None
    shapes = Counter(_DIGIT.sub("0", member) for member in members if _DIGIT.search(member))
    if not shapes:
        return None
    shape, times = min(shapes.items(), key=lambda one: (-one[1], one[0]))
    # Half of the members in one shape: cutting between those alone would leave the others in one piece.
    if times < 2 or times * 2 < len(members):
        return None
    return [member for member in members if _DIGIT.sub("0", member) == shape]


def _flat(members: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(member for one in members for member in one)
