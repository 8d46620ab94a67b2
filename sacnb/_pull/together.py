"""Ask several things at the same time, where a pull needs to know them before it can begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sacnb._pull.job import Job
from sacnb._pull.pipeline import Arrived, Failed, Pipeline
from sacnb._wire.interrupt import Interrupt

__all__ = ["together"]


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
