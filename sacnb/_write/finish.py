"""Bring a job to its end that another process, perhaps a killed one, was about to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sacnb._write.job import FAILED, ImportJob
from sacnb._write.service import JobSettings, is_gone, number_in, read_job, text_in
from sacnb._write.target import Destination
from sacnb.errors import RequestError, WriteError

__all__ = ["GONE", "discard", "finish"]

GONE: Final = "GONE"
_NOT_BEGUN: Final = "READY_FOR_WRITE"
# A request to run that is still on its way can arrive within this time. Later it is refused: a job runs once.
_ASK_AGAIN_S: Final = (0.2, 0.5, 1.0)


def finish(
    to: Destination, job_id: str, *, timeout_s: float, cancelled: Callable[[], bool] | None = None
) -> tuple[str, int | None]:
    """Run the job unless it has begun, wait for its end, and return its last state and the number of its rows.

    The state is ``GONE`` where SAC does not know the job any more, and one of ``FAILED`` where its run failed.

    Raises:
        WriteError: The run has not ended in time, or its state cannot be asked for.
        RequestError: SAC refuses.
    """
    job = _job(to, job_id, cancelled)
    state, _ = _ask(to, job_id)
    for pause_s in _ASK_AGAIN_S:
        if state != _NOT_BEGUN:
            break
        to.session.sleep(pause_s)
        state, _ = _ask(to, job_id)
    if state == GONE or state in FAILED:
        return state, None
    if state == _NOT_BEGUN:
        job.run()
    try:
        job.wait(timeout_s)
    except WriteError:
        if job.state not in FAILED:
            raise
        return job.state, None
    return _ask(to, job_id)


def discard(to: Destination, job_id: str) -> None:
    """Delete a job that was never run. One that cannot be deleted is logged: it writes nothing."""
    _job(to, job_id, None).delete()


def _job(to: Destination, job_id: str, cancelled: Callable[[], bool] | None) -> ImportJob:
    settings = JobSettings(import_type="factData", method="Update", columns=())  # used at its creation only
    return ImportJob(to.session, to.id, settings, cancelled, id=job_id, service=to.service)


def _ask(to: Destination, job_id: str) -> tuple[str, int | None]:
    try:
        found = read_job(to.session, job_id)
    except RequestError as error:
        if not is_gone(error):
            raise
        return GONE, None
    return (text_in(found.get("jobstatus")) or "").upper(), number_in(found.get("totalnumberrowsinjob"))
