"""Ask SAC how many rows there are, without asking for the rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sacnb.errors import RequestError
from sacnb.export.job import Job
from sacnb.export.pipeline import Arrived, Failed, Pipeline
from sacnb.odata.pages import cut_page
from sacnb.odata.tree import Expression
from sacnb.wire.interrupt import Interrupt

__all__ = ["count_rows"]

_log = logging.getLogger("sacnb.export")

# What a service may say to a count, or to a filter, that it does not know.
_NOT_UNDERSTOOD: Final = frozenset({400, 404, 405, 501})


@dataclass(frozen=True, slots=True)
class _Count:
    rows: int | None


def count_rows(job: Job, wheres: Sequence[Expression | None]) -> list[int | None]:
    """How many rows of the job's entity set each filter leaves, in their order; ``None`` where SAC does not say.

    ``$top=0&$count=true`` was seen to give the count alone (unconfirmed), so a page of one row is asked for in case it
    is not understood. As many counts are asked for at the same time as the job has streams.

    Raises what the session raises, but for an answer that means "not understood".
    """
    stop = Interrupt()
    totals: list[int | None] = [0] * len(wheres)

    def counts(where: Expression | None) -> Callable[[], Iterator[_Count]]:
        query = replace(job.query, where=where, top=0, order_by=(), page_size=1, count=True)

        def count() -> Iterator[_Count]:
            for piece in query.split(job.schema, job.tenant_url):
                yield _Count(_count(job, piece.url(job.tenant_url, job.schema), stop))

        return count

    with Pipeline[_Count, _Count](
        lambda count: count,
        streams=max(1, min(job.streams, len(wheres))),
        workers=1,
        ahead=job.streams + 1,
        stop=stop.set,
        cancelled=job.cancelled,
    ) as pipeline:
        for number, where in enumerate(wheres):
            pipeline.add(number, counts(where))
        for event in pipeline:
            match event:
                case Arrived(number, _Count(rows)):
                    total = totals[number]
                    totals[number] = None if rows is None or total is None else total + rows
                case Failed(_, error):
                    raise error
    return totals


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
