"""Whether, and how, a pull is split into partitions that several streams pull at the same time."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._odata.schema import Column
from sacnb._odata.where import both
from sacnb._pull.count import count_rows, counting, together
from sacnb._pull.plan import Chain, Job, Plan, chains_of
from sacnb._pull.slices import Slices, slices_of
from sacnb.errors import QueryError

__all__ = ["Members", "Partitions", "checked_partitions", "make_plan"]

_log = logging.getLogger("sacnb.export")

# A number of partitions, a dimension to split by, or one of the words; None is one stream.
Partitions = int | Literal["auto", "package"] | tuple[str] | None
# The ids of a dimension's members; None where SAC has no list of them.
Members = Callable[[str], Sequence[str] | None]

_MOST: Final = 256
# A stream that gets fewer pages than this is not worth the counting.
_PAGES_PER_STREAM: Final = 2
# Counting costs requests: first as many slices as there are to be partitions, and only if their sizes differ much more
# of them, which are put together to partitions of about the same size.
_SLICES_PER_PARTITION: Final = (1, 4)
_DEFAULT_PAGE_SIZE: Final = 50_000
# Each dimension that is tried costs a list of members and some counts.
_MOST_TRIED: Final = 3
_EVEN_ENOUGH: Final = 1.5


def checked_partitions(partitions: object) -> Partitions:
    """``partitions`` as it was typed, in one of its forms.

    Raises:
        QueryError: It is none of them.
    """
    match partitions:
        case None | "auto" | "package":
            return partitions
        case bool():
            pass
        case int() if 1 <= partitions <= _MOST:
            return partitions
        case [str(dimension)]:
            return (dimension,)
    raise QueryError(
        f"partitions={partitions!r} is not understood.",
        hint=f"Give 'auto', a number from 1 to {_MOST}, a list of one dimension such as ['Date'], or 'package'.",
    )


def make_plan(job: Job, partitions: Partitions, members: Members) -> Plan:
    """The plan of a pull. Where it cannot be shown that partitions are complete, it is one stream, and the log says so.

    Raises:
        QueryError: It was asked for what cannot be: a limit or an order over several streams, or a dimension that is
            not part of the answer.
        SacError: What asking for counts and members raises.
    """
    single = Plan(chains_of(job.query, job.schema, job.tenant_url))
    if partitions is None or partitions == 1 or not single.chains or not _may_split(job, partitions):
        return single
    if partitions == "package":
        (total,) = count_rows(job, [job.query.where])
        return _packages(job, total, single)
    candidates = _candidates(job, partitions)
    if not candidates:
        return single
    # The members of the first dimension to try are most likely needed, and asking for both takes no longer.
    total, first = together(job, [counting(job, job.query.where), lambda _: members(candidates[0].name)])
    known = {candidates[0].name: first}
    wanted = partitions if isinstance(partitions, int) else _worth_it(job, total or 0)
    found = _partitioned(job, candidates, wanted, total, lambda name: known[name] if name in known else members(name))
    if isinstance(found, Plan):
        return found
    if found:
        _log.warning("%s is pulled in one stream, since %s.", job.what, found)
    return single


def _may_split(job: Job, partitions: Partitions) -> bool:
    """Whether the rows have no order and no limit, which several streams could not keep."""
    asked = ["limit"] if job.query.top is not None else ["order_by"] if job.query.order_by else []
    if asked and partitions != "auto":
        raise QueryError(
            f"{asked[0]} and partitions={partitions!r} do not go together: rows of several streams have no order.",
            hint="Leave out one of them; partitions='auto' knows when not to split.",
        )
    return not asked


def _partitioned(
    job: Job, candidates: Sequence[Column], wanted: int, total: int | None, members: Members
) -> Plan | str:
    """The plan with several partitions, or why there is none: empty where one stream is as good."""
    if total is None:
        return "SAC does not count the rows"
    if wanted < 2:
        return ""
    best: _Split | None = None
    reasons = []
    for column in candidates[:_MOST_TRIED]:
        found = _split(job, column, wanted, total, members)
        if isinstance(found, str):
            reasons.append(f"{column.name!r}: {found}")
        elif best is None or found.largest < best.largest:
            best = found
        if best is not None and best.is_even(wanted, total):
            break
    return best.plan if best is not None else f"no dimension was found to split it by ({'; '.join(reasons)})"


def _worth_it(job: Job, total: int) -> int:
    """As many partitions as there are streams, but no more than the pages are worth."""
    pages = -(-total // (job.query.page_size or _DEFAULT_PAGE_SIZE))
    return min(job.streams, pages // _PAGES_PER_STREAM)


def _candidates(job: Job, partitions: Partitions) -> list[Column]:
    """The dimensions to try, dates first: they have few members, and nearly all models are spread over them."""
    # The pieces of a dimension that an aggregation does not keep would each have their own sums.
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
class _Piece:
    """Neighbouring slices, from ``first`` up to and without ``end``, with so many rows."""

    first: int
    end: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Split:
    """A plan, and the rows of its largest partition, which decides how long it takes."""

    plan: Plan
    largest: int

    def is_even(self, wanted: int, total: int) -> bool:
        """Whether a finer division would hardly be faster."""
        return self.largest * wanted <= total * _EVEN_ENOUGH


def _split(job: Job, column: Column, wanted: int, total: int, members: Members) -> _Split | str:
    """The plan with the rows split by a dimension, or why that cannot be done."""
    known = members(column.name)
    if known is None:
        return "SAC has no list of its members"
    best: _Split | None = None
    reason = "its members cannot be told apart in a filter"
    for slices_per_partition in _SLICES_PER_PARTITION:
        slices = slices_of(column, known, wanted * slices_per_partition)
        if slices is None:
            break
        found = _counted(job, slices, wanted, total)
        if isinstance(found, str):
            reason = found
        elif best is None or found.largest < best.largest:
            best = found
        if best is not None and best.is_even(wanted, total):
            break
    return best or reason


def _counted(job: Job, slices: Slices, wanted: int, total: int) -> _Split | str:
    """The plan with the slices put together by the number of their rows, or why they are no use."""
    wheres = [both(job.query.where, slices.where(i, i + 1)) for i in range(slices.count)]
    rest = both(job.query.where, slices.rest)
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
    if len(counted) < slices.count or sum(counted) + (rest_count or 0) != total:
        # Counted one after the other in a model that is being written to, or SAC compares in a way of its own.
        return f"its {slices.count} slices do not add up to the {total:,} rows that SAC counts"
    pieces = _pieces(counted, wanted)
    if len(pieces) < 2:
        return "all rows are in one of its slices"
    chains = [chain for piece in pieces for chain in _chains(job, slices, piece)]
    # In a model that is being written to rows may come to be there that are not there now.
    if rest_count or (rest_count is not None and not job.check_count):
        chains += chains_of(replace(job.query, where=rest), job.schema, job.tenant_url, expected_rows=rest_count)
    return _Split(Plan(tuple(chains), expected_rows=total), max(rest_count or 0, *(piece.rows for piece in pieces)))


def _chains(job: Job, slices: Slices, piece: _Piece) -> tuple[Chain, ...]:
    where = both(job.query.where, slices.where(piece.first, piece.end))
    return chains_of(replace(job.query, where=where), job.schema, job.tenant_url, expected_rows=piece.rows)


def _pieces(counts: Sequence[int], wanted: int) -> list[_Piece]:
    """Neighbouring slices put together to at most ``wanted`` pieces of about the same number of rows."""
    total = max(sum(counts), 1)
    pieces: list[_Piece] = []
    before, last = 0, -1
    for place, rows in enumerate(counts):
        # The piece in whose share of the rows the middle of the slice lies.
        number = min((2 * before + rows) * wanted // (2 * total), wanted - 1)
        if number == last:
            pieces[-1] = _Piece(pieces[-1].first, place + 1, pieces[-1].rows + rows)
        else:
            pieces.append(_Piece(place, place + 1, rows))
        before, last = before + rows, number
    return pieces


def _packages(job: Job, total: int | None, single: Plan) -> Plan:
    """Pages by their numbers, an equal share of them for each stream.

    That any page can be asked for by its number, and that these pages are those that links lead to, is unconfirmed: so
    the rows are held to SAC's count whatever ``check_count`` says.
    """
    if total is None:
        raise QueryError(
            "SAC does not count the rows, so pages asked for by their numbers could not be checked.",
            hint="Leave partitions out.",
        )
    page_size = job.query.page_size or _DEFAULT_PAGE_SIZE
    pages = -(-total // page_size)
    streams = min(job.streams, pages)
    if streams < 2 or len(single.chains) > 1:
        return single
    edges = [pages * stream // streams for stream in range(streams + 1)]
    chains = [
        Chain(single.chains[0].path, packages=(first + 1, end), is_open=end == pages)
        for first, end in itertools.pairwise(edges)
    ]
    return Plan(tuple(chains), expected_rows=total, page_size=page_size)
