"""Split a pull into partitions that several streams pull at the same time.

A dimension's members are divided into groups that share no row and leave none out, in one of two ways, each sound by
itself. *Ranges*: ``x < b1``, ``b1 <= x < b2``, ..., ``bn <= x``. For any total order each value is in exactly one of
them, ``#`` and unknown members included, as long as the server orders the bounds as we do. So only bounds whose order
is the same in every collation are taken: texts that differ in digits alone, at the same places (``201501``,
``P-017``), dates and integers. *Lists*: ``x`` is one of these members, or of those, and the rest is
``not (x is one of all of them)``.

A row without a value is in no range, and SAC decides whether it is in "not one of them" (unconfirmed), so both ways
have a rest that asks for such rows outright.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from sacnb._arguments import elements, plain
from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._odata.expression import Comparison, Expression, Membership, col
from sacnb._odata.literal import Value, literal
from sacnb._odata.schema import INTEGER_TYPES, Column
from sacnb._odata.where import both
from sacnb._pull.count import count_rows, counter, run_concurrently
from sacnb._pull.plan import DEFAULT_PAGE_SIZE, Job, Plan, Segment, packages, segments_of
from sacnb.errors import QueryError

__all__ = [
    "Lists", "Members", "Part", "Partitions", "Ranges", "checked_partitions", "make_parts", "make_plan",
    "member_groups",
]  # fmt: skip

_log = logging.getLogger("sacnb.pull")

# A number of partitions, a dimension to split by, or one of the words; None is one stream.
Partitions = int | Literal["auto", "package"] | tuple[str] | None
# The ids of a dimension's members; None where SAC has no list of them.
Members = Callable[[str], Sequence[str] | None]

_MAX_PARTITIONS: Final = 256
# A stream that gets fewer pages than this is not worth the counting.
_PAGES_PER_STREAM: Final = 2
# Counting costs requests: count as many groups as there are to be partitions first. Only if their sizes differ much,
# count more of them, and join neighbours into partitions of about the same size.
_GROUPS_PER_PARTITION: Final = (1, 4)
# Each dimension that is tried costs a list of members and some counts.
_MAX_TRIED: Final = 3
_EVEN_ENOUGH: Final = 1.5
_DIGIT: Final = re.compile(r"[0-9]")


def checked_partitions(partitions: object) -> Partitions:
    """Return ``partitions`` as the user gave it, in one of its forms.

    Raises:
        QueryError: It has none of them.
    """
    several = elements("partitions", partitions)
    partitions = plain(partitions) if several is None else several
    match partitions:
        case None:
            return None
        case str("auto" | "package"):  # a type first: other values may not compare with text
            return partitions
        case bool():
            pass
        case int() if 1 <= partitions <= _MAX_PARTITIONS:
            return partitions
        case [str(dimension)]:
            return (dimension,)
    raise QueryError(
        f"partitions={partitions!r} is not understood.",
        hint=f"Use 'auto', a number from 1 to {_MAX_PARTITIONS}, a list of one dimension such as ['Date'], or "
        "'package'.",
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A filter, and SAC's number of the rows that it lets through; ``None`` where SAC was not asked."""

    where: Expression | None
    rows: int | None = None


def make_plan(job: Job, partitions: Partitions, members: Members) -> Plan:
    """Plan a pull. Where partitions cannot be shown to be complete, plan one stream and log the reason.

    Raises:
        QueryError: A limit or an order was asked for, which several streams cannot keep, or a dimension that is not
            part of the answer.
        SacError: Errors of the requests for counts and members.
    """
    if partitions == "package":
        single = Plan(segments_of(job.query, job.schema, job.tenant_url))
        if not single.segments or not _may_split(job, partitions):
            return single
        (total,) = count_rows(job, [job.query.where])
        return packages(job, total, single)
    segments: list[Segment] = []
    total = None
    for part in make_parts(job, partitions, members):
        query = replace(job.query, where=part.where)
        segments += segments_of(query, job.schema, job.tenant_url, expected_rows=part.rows)
        total = part.rows if total is None else total + (part.rows or 0)
    return Plan(tuple(segments), expected_rows=total)


def make_parts(job: Job, partitions: Partitions, members: Members) -> tuple[Part, ...]:
    """Divide the rows of a job into filters that share no row and leave none out. Raises what ``make_plan`` raises."""
    single = (Part(job.query.where),)
    is_one = partitions is None or partitions == 1
    if is_one or not job.query.split(job.schema, job.tenant_url) or not _may_split(job, partitions):
        return single
    candidates = _candidates(job, partitions)
    if not candidates:
        return single
    # The members of the first dimension to try are most likely needed, and asking for both takes no longer.
    total, first = run_concurrently(job, [counter(job, job.query.where), lambda _: members(candidates[0].name)])
    known = {candidates[0].name: first}
    wanted = partitions if isinstance(partitions, int) else _worth_it(job, total or 0)
    found = _partitioned(job, candidates, wanted, total, lambda name: known[name] if name in known else members(name))
    if not isinstance(found, str):
        return found
    if found:
        _log.warning("%s: downloading in one stream, because %s.", job.label, found)
    return single


def _may_split(job: Job, partitions: Partitions) -> bool:
    """Return whether the rows have no order and no limit, which several streams could not keep."""
    asked = ["limit"] if job.query.top is not None else ["order_by"] if job.query.order_by else []
    if asked and partitions != "auto":
        raise QueryError(
            f"{asked[0]} and partitions={partitions!r} cannot be combined: rows of several streams have no order.",
            hint="Leave out one of them; partitions='auto' knows when not to split.",
        )
    return not asked


def _partitioned(
    job: Job, candidates: Sequence[Column], wanted: int, total: int | None, members: Members
) -> tuple[Part, ...] | str:
    """Return several parts, or why there are none: empty where one stream is as good."""
    if total is None:
        return "SAC does not count the rows"
    if wanted < 2:
        return ""
    best: _Split | None = None
    reasons = []
    for column in candidates[:_MAX_TRIED]:
        found = _split(job, column, wanted, total, members)
        if isinstance(found, str):
            reasons.append(f"{column.name!r}: {found}")
        elif best is None or found.largest < best.largest:
            best = found
        if best is not None and best.is_even(wanted, total):
            break
    return best.parts if best is not None else f"no dimension was found to split it by ({'; '.join(reasons)})"


def _worth_it(job: Job, total: int) -> int:
    """Return one partition per stream, but fewer if each would have few pages."""
    pages = -(-total // (job.query.page_size or DEFAULT_PAGE_SIZE))
    return min(job.streams, pages // _PAGES_PER_STREAM)


def _candidates(job: Job, partitions: Partitions) -> list[Column]:
    """Return the dimensions to try, dates first: they have few members, and nearly all models spread over them."""
    # Partitions by a dimension that an aggregation does not keep would each have their own sums.
    kept = job.columns if job.query.entity_set == FACT_DATA_AGGREGATION else job.schema.columns
    dimensions = [column for column in kept if column.role == "dimension"]
    if isinstance(partitions, tuple):
        column = job.schema.column(partitions[0])
        if column not in dimensions:
            raise QueryError(
                f"{column.name!r} is not a dimension of the answer, so it cannot be split by it.",
                hint=f"It has: {', '.join(one.name for one in dimensions)}.",
            )
        return [column]
    dates = {date.name for date in job.schema.date_columns}
    return sorted(dimensions, key=lambda column: column.name not in dates)


@dataclass(frozen=True, slots=True)
class _Partition:
    """Neighbouring groups, from ``first`` up to and without ``end``, and their rows."""

    first: int
    end: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Split:
    """Parts, and the rows of the largest, which decides how long they take."""

    parts: tuple[Part, ...]
    largest: int

    def is_even(self, wanted: int, total: int) -> bool:
        """Return whether a finer division would hardly be faster."""
        return self.largest * wanted <= total * _EVEN_ENOUGH


def _split(job: Job, column: Column, wanted: int, total: int, members: Members) -> _Split | str:
    """Return the rows split by a dimension, or why that cannot be done."""
    known = members(column.name)
    if known is None:
        return "SAC has no list of its members"
    best: _Split | None = None
    reason = "its members cannot be told apart in a filter"
    for groups_per_partition in _GROUPS_PER_PARTITION:
        groups = member_groups(column, known, wanted * groups_per_partition)
        if groups is None:
            break
        found = _counted(job, groups, wanted, total)
        if isinstance(found, str):
            reason = found
        elif best is None or found.largest < best.largest:
            best = found
        if best is not None and best.is_even(wanted, total):
            break
    return best or reason


def _counted(job: Job, groups: MemberGroups, wanted: int, total: int) -> _Split | str:
    """Return the groups joined by the number of their rows, or why they cannot be used."""
    wheres = [both(job.query.where, groups.where(i, i + 1)) for i in range(groups.count)]
    rest = both(job.query.where, groups.rest)
    try:
        if job.check_count:
            counts, rest_count = count_rows(job, wheres), None
            if None not in counts and sum(filter(None, counts)) < total:  # else nothing is left for the rest
                (rest_count,) = count_rows(job, [rest])
        else:
            *counts, rest_count = count_rows(job, [*wheres, rest])
    except QueryError as error:
        return f"not all of its members can be named in one filter ({error.message})"
    counted = [count for count in counts if count is not None]
    if len(counted) < groups.count or sum(counted) + (rest_count or 0) != total:
        # The model is being written to while it is counted, or SAC compares in a way of its own.
        return f"its {groups.count} groups do not add up to the {total:,} rows that SAC counts"
    partitions = _partitions(counted, wanted)
    if len(partitions) < 2:
        return "all rows are in one of its groups"
    parts = [Part(both(job.query.where, groups.where(one.first, one.end)), one.rows) for one in partitions]
    # In a model that is being written to, such rows may appear after the count.
    if rest_count or (rest_count is not None and not job.check_count):
        parts.append(Part(rest, rest_count))
    largest = max(rest_count or 0, *(partition.rows for partition in partitions))
    return _Split(tuple(parts), largest)


def _partitions(counts: Sequence[int], wanted: int) -> list[_Partition]:
    """Join neighbouring groups into at most *wanted* partitions of about the same number of rows."""
    total = max(sum(counts), 1)
    partitions: list[_Partition] = []
    before, last = 0, -1
    for place, rows in enumerate(counts):
        # The partition in whose share of the rows the middle of the group lies.
        number = min((2 * before + rows) * wanted // (2 * total), wanted - 1)
        if number == last:
            partitions[-1] = _Partition(partitions[-1].first, place + 1, partitions[-1].rows + rows)
        else:
            partitions.append(_Partition(place, place + 1, rows))
        before, last = before + rows, number
    return partitions


# -- groups of members -----------------------------------------------------------------------------------------------


class MemberGroups(Protocol):
    """The members of a dimension in ``count`` groups, in order, and a rest."""

    @property
    def count(self) -> int:
        """The number of groups, without the rest."""
        ...

    def where(self, first: int, end: int) -> Expression:
        """Select the rows of the groups from ``first`` up to, and without, ``end``."""
        ...

    @property
    def rest(self) -> Expression:
        """The filter for the rows that are in no group."""
        ...


@dataclass(frozen=True, slots=True)
class Ranges:
    """Groups between ``bounds``, which are sorted."""

    column: str
    bounds: tuple[Value, ...]

    @property
    def count(self) -> int:
        """The number of groups: one more than there are bounds."""
        return len(self.bounds) + 1

    def where(self, first: int, end: int) -> Expression:
        """Select ``bounds[first - 1] <= x < bounds[end - 1]``, with open ends."""
        conditions: list[Expression] = []
        if first > 0:
            conditions.append(Comparison(self.column, "ge", self.bounds[first - 1]))
        if end < self.count:
            conditions.append(Comparison(self.column, "lt", self.bounds[end - 1]))
        return conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]

    @property
    def rest(self) -> Expression:
        """The filter for rows without a value."""
        return Comparison(self.column, "eq", None)


@dataclass(frozen=True, slots=True)
class Lists:
    """Groups that name their members, each member once."""

    column: str
    members: tuple[tuple[str, ...], ...]

    @property
    def count(self) -> int:
        """The number of lists."""
        return len(self.members)

    def where(self, first: int, end: int) -> Expression:
        """Select the members of these groups."""
        return Membership(self.column, _flat(self.members[first:end]))

    @property
    def rest(self) -> Expression:
        """The filter for all other members, and for rows without a value."""
        return ~col(self.column).is_in(_flat(self.members)) | Comparison(self.column, "eq", None)


def member_groups(column: Column, members: Iterable[str], most: int) -> MemberGroups | None:
    """Divide a column into at most *most* groups of about as many members; ``None`` where that makes no two.

    *members* only help to find good bounds: rows with other members are in one of the groups, or in the rest.
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
    """Return whether a member can stand in a filter; one with a line end cannot, and is among the rest."""
    try:
        literal(member, column)
    except QueryError:
        return False
    return True


def _places(count: int, most: int) -> list[int]:
    """Return the places that divide *count* members into at most *most* groups of about the same size."""
    groups = min(count, most)
    return [count * group // groups for group in range(1, groups)]


def _comparable(column: Column, members: Sequence[str]) -> list[Value] | None:
    """Return the members that can be bounds, sorted as every server sorts them; ``None`` where they are too few."""
    if column.edm_type in INTEGER_TYPES:
        numbers = sorted({int(member) for member in members if re.fullmatch(r"-?[0-9]{1,18}", member, re.ASCII)})
        return list(numbers) if len(numbers) > 1 else None
    if column.edm_type not in {"Edm.String", "Edm.Date"}:
        return None
    shapes = Counter(_DIGIT.sub("0", member) for member in members if _DIGIT.search(member))
    if not shapes:
        return None
    shape, times = min(shapes.items(), key=lambda one: (-one[1], one[0]))
    # With fewer than half of the members in this shape, most members would end up in one group.
    if times < 2 or times * 2 < len(members):
        return None
    return [member for member in members if _DIGIT.sub("0", member) == shape]


def _flat(members: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(member for one in members for member in one)
