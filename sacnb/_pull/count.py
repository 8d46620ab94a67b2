"""Ask SAC how many rows there are, without asking for the rows.

Ask several things at the same time, where a pull needs to know them before it can begin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sacnb._odata.expression import Expression
from sacnb._odata.page import cut_page
from sacnb._pull.pipeline import Arrived, Failed, Pipeline
from sacnb._pull.plan import Job
from sacnb._wire.interrupt import Interrupt
from sacnb.errors import RequestError

__all__ = ["count_rows", "counting", "together"]


@dataclass(frozen=True, slots=True)
class _Found:
    value: Any


def together(job: Job, calls: Sequence[Callable[[Interrupt], Any]]) -> list[Any]:
    """The results of ``calls``, in their order; as many run at the same time as the job has streams.

    Each is given the switch that stops it, to hand on to the session. Raises Cancelled, and the first error of a call.
    """
    stop = Interrupt()
    results: list[Any] = [None] * len(calls)

    def lane(call: Callable[[Interrupt], Any]) -> Callable[[], Iterator[_Found]]:
        def run() -> Iterator[_Found]:
            yield _Found(call(stop))

        return run

    with Pipeline[_Found, _Found](
        lambda found: found,
        streams=max(1, min(job.streams, len(calls))),
        workers=1,
        ahead=job.streams + 1,
        stop=stop.set,
        cancelled=job.cancelled,
    ) as pipeline:
        for number, call in enumerate(calls):
            pipeline.add(number, lane(call))
        for event in pipeline:
            match event:
                case Arrived(number, found):
                    results[number] = found.value
                case Failed(_, error):
                    raise error
    return results


_log = logging.getLogger("sacnb.export")

# What a service may say to a count, or to a filter, that it does not know.
_NOT_UNDERSTOOD: Final = frozenset({400, 404, 405, 501})


def count_rows(job: Job, wheres: Sequence[Expression | None]) -> list[int | None]:
    """How many rows of the job's entity set each filter leaves, in their order; ``None`` where SAC does not say.

    As many are counted at the same time as the job has streams. Raises what the session raises, but for an answer that
    means "not understood"; QueryError for a filter that cannot be asked.
    """
    return together(job, [counting(job, where) for where in wheres])


def counting(job: Job, where: Expression | None) -> Callable[[Interrupt], int | None]:
    """A call that counts the rows that a filter leaves.

    ``$top=0&$count=true`` is used in public code for the count alone (unconfirmed), so a page of one row is asked for
    in case it is not understood.
    """
    query = replace(job.query, where=where, top=0, order_by=(), page_size=1, count=True)

    def count(stop: Interrupt) -> int | None:
        total = 0
        for piece in query.split(job.schema, job.tenant_url):
            rows = _count(job, piece.url(job.tenant_url, job.schema), stop)
            if rows is None:
                return None
            total += rows
        return total

    return count


def _count(job: Job, url: str, stop: Interrupt) -> int | None:
    try:
        answer = job.context.session.fetch(
            "GET", url, operation="count rows", check=lambda found: _check(found.body), cancelled=stop
        )
    except RequestError as error:
        if error.status not in _NOT_UNDERSTOOD:
            raise
        _log.debug("SAC does not count: %s", error)
        return None
    return cut_page(answer.body).count


def _check(body: bytes) -> None:
    cut_page(body)
