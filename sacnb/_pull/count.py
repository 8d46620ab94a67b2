"""Ask SAC for the number of rows, compare it with those that came, and run such requests concurrently."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from sacnb._connections import Interrupt
from sacnb._endpoints import FACT_DATA_AGGREGATION, FILTER
from sacnb._odata.expression import Expression
from sacnb._odata.page import cut_page
from sacnb._pull.pipeline import Arrived, Failed, Pipeline
from sacnb._pull.plan import Job
from sacnb._pull.progress import Meter
from sacnb.errors import BadAnswer, RequestError, RowCountWarning, warn_user

if TYPE_CHECKING:
    from sacnb._wire.message import Answer

__all__ = [
    "check_page",
    "count_all",
    "count_quietly",
    "count_rows",
    "counter",
    "is_narrowed",
    "run_concurrently",
]

_log = logging.getLogger("sacnb.pull")

# Statuses with which a service refuses a count, or a filter, that it does not support.
_NOT_SUPPORTED: Final = frozenset({400, 404, 405, 406, 501})
# Some servers put a byte order mark before the number.
_NUMBER: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*([0-9]{1,18})\s*")


@dataclass(frozen=True, slots=True)
class _Returned:
    value: Any


def run_concurrently(job: Job, calls: Sequence[Callable[[Interrupt], Any]]) -> list[Any]:
    """Run a pull's preliminary requests, as many at the same time as the job has streams; return results in order.

    Each call receives the switch that stops it, to hand on to the session.

    Raises:
        Cancelled: The user stopped the job.
        SacError: The first error of a call.
    """
    stop = Interrupt()
    results: list[Any] = [None] * len(calls)

    def as_pages(call: Callable[[Interrupt], Any]) -> Callable[[], Iterator[_Returned]]:
        def run() -> Iterator[_Returned]:
            yield _Returned(call(stop))

        return run

    with Pipeline[_Returned, _Returned](
        lambda returned: returned,
        streams=max(1, min(job.streams, len(calls))),
        workers=1,
        ahead=job.streams + 1,
        stop=stop.set,
        cancelled=job.cancelled,
    ) as pipeline:
        for number, call in enumerate(calls):
            pipeline.add(number, as_pages(call))
        for event in pipeline:
            match event:
                case Arrived(number, returned):
                    results[number] = returned.value
                case Failed(_, error):
                    raise error
    return results


def count_rows(job: Job, wheres: Sequence[Expression | None]) -> list[int | None]:
    """Return the number of rows that each filter leaves of the job's entity set; ``None`` where SAC does not say.

    Raises:
        QueryError: A filter cannot be sent.
        SacError: The session's errors, except for refusals to count.
    """
    return run_concurrently(job, [counter(job, where) for where in wheres])


def counter(job: Job, where: Expression | None) -> Callable[[Interrupt], int | None]:
    """Return a call that counts the rows that a filter leaves.

    ``$top=0&$count=true`` is used in public code for the count alone (unconfirmed), so a page of one row is asked for
    in case ``$top=0`` is not understood. ``/$count``, which OData has for this, is the second try: SAC is said to
    refuse it with 406 (unconfirmed).
    """
    query = replace(job.query, where=where, top=0, order_by=(), page_size=1, count=True)

    def count(stop: Interrupt) -> int | None:
        total = 0
        for one in query.split(job.schema, job.tenant_url):
            url = one.url(job.tenant_url, job.schema)
            rows = _count_in_page(job, url, stop)
            if rows is None and one.select and job.query.entity_set != FACT_DATA_AGGREGATION:
                # SAC was seen to count only where $select leaves no column out.
                url = replace(one, select=()).url(job.tenant_url, job.schema)
                rows = _count_in_page(job, url, stop)
            if rows is None and job.query.entity_set != FACT_DATA_AGGREGATION:  # it would count what is aggregated
                rows = _count_alone(job, url, stop)
            if rows is None:
                return None
            total += rows
        return total

    return count


def _count_in_page(job: Job, url: str, stop: Interrupt) -> int | None:
    try:
        answer = job.context.session.fetch("GET", url, operation="count rows", check=check_page, cancelled=stop)
    except RequestError as error:
        _refuse_unless_unsupported(error)
        return None
    return cut_page(answer.body, status=answer.status).count


def _count_alone(job: Job, url: str, stop: Interrupt) -> int | None:
    parts = urlsplit(url)
    kept = [option for option in parts.query.split("&") if option.startswith(f"{FILTER}=")]
    address = urlunsplit((parts.scheme, parts.netloc, f"{parts.path}/$count", "&".join(kept), ""))
    try:
        answer = job.context.session.fetch(
            "GET", address, operation="count rows", accept="text/plain", expect="any", cancelled=stop
        )
    except RequestError as error:
        _refuse_unless_unsupported(error)
        return None
    found = _NUMBER.fullmatch(answer.body)
    return int(found[1]) if found else None


def _refuse_unless_unsupported(error: RequestError) -> None:
    if error.status not in _NOT_SUPPORTED:
        raise error
    _log.debug("SAC does not count: %s", error)


def check_page(answer: Answer) -> None:
    """Raise BadAnswer where an answer is no whole page."""
    cut_page(answer.body, status=answer.status)


# -- comparing -------------------------------------------------------------------------------------------------------


def is_narrowed(job: Job) -> bool:
    """Return whether ``$select`` leaves columns out, where SAC was seen to count nothing (live tenants)."""
    is_sum = job.query.entity_set == FACT_DATA_AGGREGATION
    return not is_sum and 0 < len(job.query.select) < len(job.schema.columns)


def count_quietly(job: Job) -> int | None:
    """Return the number of rows of a job, at most its limit; ``None`` where SAC does not say, or not now."""
    try:
        (count,) = count_rows(job, [job.query.where])
    except (BadAnswer, RequestError) as error:  # no reason to lose the rows, which are all that was asked for
        _log.info("%s: the rows could not be counted: %s", job.label, error)
        return None
    limit = job.query.top
    return count if limit is None or count is None else min(count, limit)


def count_all(job: Job, meter: Meter) -> int | None:
    """Return the number of rows that the pages did not say, and warn where SAC does not say it either."""
    count = count_quietly(job)
    if count is None:
        warn_user(
            f"SAC sent no row count for {job.label}, so sacnb cannot check that the {meter.rows:,} rows "
            f"of {meter.pages:,} pages are all. Compare them with a total in SAC.",
            RowCountWarning,
        )
    return count
