"""An import job: create, upload, validate, run, wait, delete; and what to do when an answer is lost.

Nothing that is sent here may be sent twice blindly: a job could be created twice, rows staged twice, a write begun
twice. So where an answer does not come, the job is asked how far it is. Until it runs it has written nothing, and
deleting it undoes everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sacnb._endpoints import import_job_path, import_path
from sacnb._write.service import (
    LIMITS,
    Deletion,
    JobSettings,
    JobStatus,
    Rejected,
    ask_job,
    delete_job,
    limit_of_jobs,
    list_jobs,
    number_in,
    read_object,
    read_status,
    rejected_rows,
    text_in,
)
from sacnb._write.target import MODELS
from sacnb.errors import BadAnswer, Cancelled, NoAnswerError, RequestError, SacError, ServerError, WriteError

if TYPE_CHECKING:
    from sacnb._wire.session import SacSession
    from sacnb._write.encode import Chunk

__all__ = ["FAILED", "ImportJob"]

_log = logging.getLogger("sacnb.write")

_ACTION_NOT_ALLOWED: Final = frozenset({1001, 1003, 1010})
_NO_VALID_ROWS: Final = frozenset({1011, 1033})
_DONE: Final = frozenset({"COMPLETED"})
FAILED: Final = frozenset({"FAILED", "CANCELLED", "CANCELED", "ABORTED"})
_POLLS_S: Final = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0)
# The pauses between asking a job, until a request counts as lost: it may still be on its way.
_ASK_AGAIN_S: Final = (0.2, 0.5, 1.0)
_SEND_AGAIN: Final = 5


@dataclass(slots=True)
class ImportJob:
    """One job of one model: ``create``, ``upload`` for each chunk, ``validate``, ``run``, ``wait``, in this order."""

    session: SacSession
    model_id: str
    settings: JobSettings
    cancelled: Callable[[], bool] | None = None
    id: str | None = None
    state: str | None = None
    sent: int = 0
    rejected_count: int = 0
    may_have_run: bool = False
    service: str = MODELS
    known_before: frozenset[str] | None = None
    jobs_before: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # -- create ------------------------------------------------------------------------------------------------------

    def create(self) -> str:
        """Create the job and return its id.

        Raises WriteError for a limit of jobs, and where the answer is lost and the job cannot be found.
        """
        self.known_before = self._job_ids()
        for turn in range(_SEND_AGAIN):
            try:
                path = import_path(self.service, self.model_id, self.settings.import_type)
                found = self._post(path, "create import job", self.settings.body())
            except RequestError as error:
                if error.sac_number in LIMITS:
                    raise limit_of_jobs(self.session, self.model_id, error) from error
                if not _is_lost(error):
                    raise
                lost: SacError = error
            except BadAnswer as error:
                lost = error
            else:
                self.id = text_in(found.get("jobid"))
                if self.id is None:
                    raise BadAnswer(f"SAC created an import job and did not name it: {sorted(found)}.")
                self.state = "READY_FOR_DATA"
                return self.id
            if self._adopt(lost):
                assert self.id is not None  # noqa: S101 - adopted
                return self.id
            self._pause(_ASK_AGAIN_S[min(turn, len(_ASK_AGAIN_S) - 1)])
        raise self._error("No answer came to the request that creates the job, and there is no new job.", lost)

    def _job_ids(self) -> frozenset[str] | None:
        try:
            jobs = list_jobs(self.session)
        except (RequestError, BadAnswer) as error:
            _log.info("The import jobs cannot be listed: %s", error)
            return None
        if self.known_before is None:
            self.jobs_before = jobs
        return frozenset(text_in(job.get("jobid")) or "" for job in jobs)

    def _adopt(self, lost: SacError) -> bool:
        """Take over the job that a lost answer created, if one appeared; return false where there is none."""
        now = self._job_ids()
        if now is None or self.known_before is None:
            raise self._error(
                "No answer came to the request that creates the job, and SAC does not list the jobs. A job without "
                "rows may remain; it writes nothing, and SAC deletes it after 15 days.",
                lost,
            )
        new = []
        for job_id in sorted(now - self.known_before):
            status = ask_job(self.session, job_id)
            if status is not None and status.state == "READY_FOR_DATA" and not status.total:
                new.append(job_id)
        if len(new) > 1:
            raise self._error(
                f"No answer came to the request that creates the job, and {len(new)} new jobs without rows exist: "
                f"{', '.join(new)}.",
                lost,
            )
        if new:
            self.id, self.state = new[0], "READY_FOR_DATA"
            self.notes.append("The answer to the creation of the job was lost; the job was found in the list.")
        return bool(new)

    # -- upload ------------------------------------------------------------------------------------------------------

    def upload(self, chunk: Chunk) -> None:
        """Stage the rows of a chunk. Rows that SAC drops are added to ``rejected`` and ``rejected_count``.

        Raises WriteError where the answer is lost and the job cannot say whether the rows arrived, and where its counts
        do not add up.
        """
        before = self.sent
        for turn in range(_SEND_AGAIN):
            try:
                found = self._post(import_job_path(self._id()), "upload rows", chunk.body)
            except (RequestError, BadAnswer) as error:
                if not _is_lost(error):
                    raise
                lost: SacError = error
            else:
                self._take_counts(found, chunk)
                self.sent = before + chunk.rows
                return
            if self._rows_arrived(before, chunk.rows, lost):
                self.sent = before + chunk.rows
                self.notes.append(f"The answer to upload {chunk.number + 1} was lost; the job has its rows.")
                return
            _log.info("Upload %d did not arrive; sending it again (%d).", chunk.number + 1, turn + 1)
        raise self._error(f"Upload {chunk.number + 1} did not arrive.", lost)

    def _take_counts(self, found: Mapping[str, Any], chunk: Chunk) -> None:
        """Compare the counts of an upload: SAC drops invalid rows, and still answers 201."""
        failed = rejected_rows(found.get("failedrows"))
        said = number_in(found.get("failednumberrows"))
        count = max(len(failed), said or 0)
        request = number_in(found.get("totalnumberrowsincurrentrequest"))
        upserted = number_in(found.get("upsertednumberrows"))
        if upserted is not None:
            count = max(count, chunk.rows - upserted)
        if request is not None and request != chunk.rows:
            count = max(count, abs(chunk.rows - request))
        self.rejected += failed
        self.rejected_count += count

    def _rows_arrived(self, before: int, rows: int, lost: SacError) -> bool:
        """Ask the job whether the rows of a lost answer are in it."""
        for pause_s in (*_ASK_AGAIN_S, None):
            status = ask_job(self.session, self._id())
            if status is None:
                raise self._error("No answer came to an upload, and the job is gone. Nothing was written.", lost)
            if status.total is None:
                raise self._error(
                    "No answer came to an upload, and the job does not say how many rows it has. Nothing was written.",
                    lost,
                )
            # Whether the total counts the rejected rows is unconfirmed.
            failed = max(status.failed or 0, self.rejected_count)
            if before + rows in {status.total, status.total + failed}:
                self.rejected_count = failed
                return True
            if before not in {status.total, status.total + failed}:
                raise self._error(
                    f"No answer came to an upload, and the job has {status.total:,} rows; expected {before:,} or "
                    f"{before + rows:,}. Nothing was written.",
                    lost,
                )
            if pause_s is not None:
                self._pause(pause_s)
        return False

    # -- validate ----------------------------------------------------------------------------------------------------

    def validate(self) -> Deletion:
        """Validate the staged rows, and return what the run would delete. Rejected rows are collected.

        Raises WriteError where the counts do not add up.
        """
        for _ in range(_SEND_AGAIN):
            try:
                found = read_status(self._post(import_job_path(self._id(), "validate"), "validate import"))
            except (RequestError, BadAnswer) as error:
                if isinstance(error, RequestError) and error.sac_number in _NO_VALID_ROWS:
                    self._read_invalid_rows()
                    self.rejected_count = self.sent
                    return Deletion()
                if not _is_lost(error):
                    raise
                lost: SacError = error
                asked = ask_job(self.session, self._id())
                if asked is None:
                    raise self._error(
                        "No answer came to the validation, and the job is gone. Nothing was written.", lost
                    ) from None
                if asked.state != "READY_FOR_WRITE":
                    continue  # validating again changes nothing
                found = asked
                self.notes.append("The answer to the validation was lost; the job says that it is validated.")
            self.state = found.state
            self._compare(found)
            return found.deletion
        raise self._error("The validation got no answer. Nothing was written.", lost)

    def _compare(self, found: JobStatus) -> None:
        failed = max(found.failed or 0, self.rejected_count)
        if found.total is not None and found.total + failed != self.sent and found.total != self.sent:
            failed = max(failed, self.sent - found.total)
            if found.total > self.sent:
                raise self._error(
                    f"The job has {found.total:,} rows, and {self.sent:,} were sent. Nothing was written.", None
                )
        self.rejected_count = failed
        if failed:
            self._read_invalid_rows()

    def _read_invalid_rows(self) -> None:
        """Read the rejected rows of the whole job; SAC returns about 2,000 of them at most."""
        try:
            answer = self.session.fetch(
                "GET", import_job_path(self._id(), "invalidRows"), operation="read invalid rows"
            )
            found = rejected_rows(read_object(answer.body).get("failedrows"))
        except (RequestError, BadAnswer) as error:
            self.notes.append(f"The rejected rows cannot be read: {error}")
            return
        if len(found) >= len(self.rejected):
            self.rejected = found

    # -- run ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Begin the write.

        Raises WriteError where the answer is lost and the job cannot be asked.
        """
        lost: SacError | None = None
        for _ in range(_SEND_AGAIN):
            self.may_have_run = True
            try:
                self._post(import_job_path(self._id(), "run"), "run import")
            except (RequestError, BadAnswer) as error:
                refused = isinstance(error, RequestError) and error.sac_number in _ACTION_NOT_ALLOWED
                if not _is_lost(error) and not (refused and lost is not None):
                    self.may_have_run = False
                    raise
                lost = error
            else:
                self.state = "PROCESSING"
                return
            # A job runs once: where it says that it has not begun, a request that is still on its way is refused later
            # (1001, 1010).
            if self._has_begun(lost):
                self.notes.append("The answer to the run was lost; the job says that it has begun.")
                return
        self.may_have_run = False
        raise self._error("The run did not arrive; the job is validated and has not begun.", lost)

    def _has_begun(self, lost: SacError) -> bool:
        for pause_s in (*_ASK_AGAIN_S, None):
            status = self._ask(lost)
            self.state = status.state
            if status.state not in {"READY_FOR_WRITE", "READY_FOR_DATA"}:
                return True
            if pause_s is not None:
                self._pause(pause_s)
        return False

    def wait(self, timeout_s: float) -> None:
        """Wait until the run has ended.

        Raises WriteError for a failed run, and after *timeout_s*, when it may still be running.
        """
        end = self.session.clock() + timeout_s
        turn = 0
        while True:
            status = self._ask(None)
            self.state = status.state
            if status.state in _DONE:
                self.rejected_count = max(self.rejected_count, status.failed or 0)
                return
            if status.state in FAILED:
                self.may_have_run = False
                self._read_invalid_rows()
                raise self._error(f"The run failed: {status.description or status.state}.", None)
            if self.session.clock() >= end:
                raise self._error(
                    f"The run has not ended after {timeout_s:g} s ({status.state}); it may still do so.", None
                )
            self._pause(_POLLS_S[min(turn, len(_POLLS_S) - 1)])
            turn += 1

    # -- delete ------------------------------------------------------------------------------------------------------

    def delete(self) -> bool:
        """Delete the job; return whether it is gone. One that may have run is left alone."""
        if self.id is None or self.may_have_run:
            return False
        try:
            delete_job(self.session, self.id)
        except SacError as error:
            _log.warning("The import job %s could not be deleted: %s", self.id, error)
            return False
        return True

    # -- requests ----------------------------------------------------------------------------------------------------

    def _id(self) -> str:
        assert self.id is not None  # noqa: S101 - create comes first
        return self.id

    def _post(self, path: str, operation: str, body: Any = None) -> dict[str, Any]:
        is_text = isinstance(body, bytes)
        answer = self.session.fetch(
            "POST",
            path,
            operation=operation,
            data=body if is_text else None,
            json=None if is_text else body if body is not None else {},
            headers={"Content-Type": "application/json"} if is_text else None,
            cancelled=self.cancelled,
        )
        return read_object(answer.body) if answer.body.strip() else {}

    def _ask(self, lost: SacError | None) -> JobStatus:
        try:
            status = ask_job(self.session, self._id())
        except (RequestError, BadAnswer) as error:
            raise self._error(f"The job cannot be asked whether it has run: {error}", lost or error) from error
        if status is None:
            raise self._error("The job is gone, and whether it has run is not known.", lost)
        return status

    def _pause(self, seconds: float) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The write was cancelled.")
        self.session.sleep(seconds)

    def _error(self, message: str, cause: SacError | None) -> WriteError:
        where = f"Import job {self.id} of {self.model_id!r}" if self.id else f"Import into {self.model_id!r}"
        if self.id and self.may_have_run:
            hint = f"Ask before you write again: sacnb import --job {self.id}"
        else:
            hint = "Nothing was written; write again."
        error = WriteError(
            f"{where}: {message}",
            job_id=self.id,
            state=self.state,
            hint=hint,
            outcome=cause.outcome if cause is not None else None,
        )
        if cause is not None:
            error.add_note(f"The request: {cause.message}")
        return error


def _is_lost(error: SacError) -> bool:
    """Return whether the request may have been carried out although no good answer came."""
    return isinstance(error, NoAnswerError | ServerError | BadAnswer)
