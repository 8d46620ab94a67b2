"""Take rows through an import job, and report what became of them: what a write of facts, members and tables share."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import polars as pl

from sacnb._write.check import ROW, Problems, describe
from sacnb._write.encode import chunks
from sacnb._write.job import ImportJob
from sacnb._write.order import Order
from sacnb._write.report import WriteProgress, WriteReport, append_audit
from sacnb._write.service import Deletion, JobSettings, others_of
from sacnb._write.target import Destination
from sacnb._write.turns import Turn, turn
from sacnb.errors import RequestError, RowsError

__all__ = ["Carrier"]

_log = logging.getLogger("sacnb.write")

_NO_PROBLEMS: Final = Problems().frame()
_TOO_LARGE: Final = 413
_BODY_TOO_LARGE: Final = 1201


class Carrier:
    """One job of one model or table, and the report of it. ``keys`` are the columns that tell rows apart."""

    def __init__(self, destination: Destination, order: Order, keys: Sequence[str]) -> None:
        self._to = destination
        self._order = order
        self._keys = keys
        self._session = destination.session
        self._began = destination.session.clock()
        self._started_at = destination.session.now()
        self.notes: list[str] = []
        self._uploads = self._total = 0
        self._mine = Turn(0)

    @contextmanager
    def turn(self, rows: int) -> Iterator[None]:
        """Keep other writes of this program waiting, from what is read before the write to what is read after it."""
        with turn(
            self._to,
            timeout_s=self._order.timeout_s,
            cancelled=self._order.cancelled,
            on_wait=lambda: self.tell("queue", 0, 0, rows),
        ) as self._mine:
            yield

    def carry_out(
        self,
        rows: pl.DataFrame,
        settings: JobSettings,
        *,
        versions: tuple[str, ...] = (),
        problems: pl.DataFrame = _NO_PROBLEMS,
        confirmed: Callable[[ImportJob, Deletion], int | None] = lambda *_: None,
    ) -> WriteReport:
        """Take the rows through a job: create, upload, validate, run, wait; a dry run ends before the run."""
        job = ImportJob(self._session, self._to.id, settings, self._order.cancelled, service=self._to.service)
        with self._attended(job, versions) as about:
            job.create()
            self._mine.job_id = job.id
            self._note("staged", job)
            self._tell_of_others(job)
            digest = about["sha256"] = self._upload(job, rows)
            self.tell("validate", rows.height, 0, rows.height)
            deletion = job.validate()
            problems = self._after_validation(job, rows, problems)
            deleted = confirmed(job, deletion)
            if not self._order.dry_run:
                self.tell("run", rows.height, 0, rows.height)
                self._note("run", job)
                job.run()
                job.wait(self._order.timeout_s)
            about["rows"], about["deleted"] = rows.height - job.rejected_count, deleted
        return WriteReport(
            model_id=self._to.id,
            method=self._order.method,
            versions=versions,
            job_id=job.id or "",
            state=job.state or "",
            is_dry_run=self._order.dry_run,
            rows=rows.height - job.rejected_count,
            deleted=deleted,
            rejected=problems,
            changes=None,
            verified=None,
            rounded={},
            notes=(*self.notes, *job.notes),
            started_at=self._started_at,
            elapsed_s=self._session.clock() - self._began,
            digest=digest,
            written=rows.drop(ROW),
        )

    @contextmanager
    def _attended(self, job: ImportJob, versions: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Delete the job unless it has run, and write the audit file, however the block ends."""
        about: dict[str, Any] = {"rows": 0, "deleted": None, "sha256": None}
        outcome = "failed"
        try:
            yield about
            outcome = "dry run" if self._order.dry_run else "written"
        except BaseException as error:
            if job.may_have_run:
                outcome = "unknown" if job.state != "COMPLETED" else "written"
                if job.id and job.id not in str(error):
                    error.add_note(f"The import job {job.id} may have run: sacnb import --job {job.id}")
            raise
        finally:
            if job.state != "COMPLETED" and job.id is not None and not job.may_have_run and not job.delete():
                self.notes.append(f"The job {job.id} could not be deleted.")
            if self._order.audit is not None:
                fixed = {
                    "at": self._started_at.isoformat(timespec="seconds"),
                    "tenant": self._to.tenant_host,
                    "model": self._to.id,
                    "method": self._order.method,
                    "versions": list(versions),
                    "job": job.id,
                    "outcome": outcome,
                    "rows_sent": job.sent,
                    "rows_rejected": job.rejected_count,
                }
                append_audit(self._order.audit, {**fixed, **about}, principal=self._to.principal)

    def _note(self, phase: str, job: ImportJob) -> None:
        if self._order.on_phase is not None and job.id is not None:
            self._order.on_phase(phase, job.id)

    def _tell_of_others(self, job: ImportJob) -> None:
        """Note the other jobs of the model that are running: those of other programs are not waited for."""
        others = others_of(job.jobs_before, self._to.id)
        if others:
            self.notes.append(f"SAC lists other running jobs of {self._to.id!r}: {', '.join(others)}.")
            _log.info("Other import jobs of %s are running: %s", self._to.id, ", ".join(others))

    def _upload(self, job: ImportJob, rows: pl.DataFrame) -> str:
        """Upload all rows, and return the hash of what was sent."""
        digest = hashlib.sha256()
        self._total = rows.height
        self._send(job, rows.drop(ROW), self._order.rows_per_upload, digest.update)
        return digest.hexdigest()

    def _send(self, job: ImportJob, rows: pl.DataFrame, max_rows: int, note: Callable[[bytes], None]) -> None:
        """Upload the rows in chunks; one that SAC finds too large (413, 1201) is halved."""
        for chunk in chunks(rows, max_rows=max_rows, max_bytes=self._order.bytes_per_upload):
            try:
                job.upload(chunk)
            except RequestError as error:
                is_too_large = error.status == _TOO_LARGE or error.sac_number == _BODY_TOO_LARGE
                if not is_too_large or chunk.rows == 1:
                    raise
                self._send(job, rows.slice(chunk.start, chunk.rows), chunk.rows // 2, note)
                continue
            self._uploads += 1
            note(chunk.body)
            self.tell("upload", job.sent, self._uploads, self._total)

    def _after_validation(self, job: ImportJob, rows: pl.DataFrame, problems: pl.DataFrame) -> pl.DataFrame:
        """Return all problems; raise RowsError for rejected rows, unless the others may be written without them."""
        if not job.rejected_count:
            return problems
        found = pl.concat([problems, self._rejections(job, rows)])
        if self._order.allow_partial and job.rejected_count < rows.height:
            return found
        told = f"{describe(found)}" if found.height else "SAC does not say which."
        raise RowsError(
            f"SAC rejected {job.rejected_count:,} of {rows.height:,} rows for {self._to.id!r}: {told}\n"
            "Nothing was written, and the import job was deleted.",
            problems=found,
            job_id=job.id,
            state=job.state,
            hint="error.problems is a frame of those that SAC names; allow_partial=True writes the others.",
        )

    def _rejections(self, job: ImportJob, rows: pl.DataFrame) -> pl.DataFrame:
        """Return SAC's rejections as problems, with the rows of the frame found by their keys."""
        keys = [name for name in self._keys if name in rows.columns]
        numbers = {key: row for row, *key_parts in rows.select(ROW, *keys).iter_rows() if (key := tuple(key_parts))}
        problems = Problems()
        for rejected in job.rejected:
            found = tuple(str(rejected.row.get(name)) for name in keys)
            row = numbers.get(found)
            problems.add("rejected by SAC", f"{rejected.reason} ({', '.join(found)})", row=row)
        return problems.frame()

    def tell(self, step: str, rows: int, uploads: int, expected: int) -> None:
        """Report progress to the listener, if there is one."""
        if self._order.listener is not None:
            elapsed_s = self._session.clock() - self._began
            self._order.listener(WriteProgress(step, rows, uploads, expected, elapsed_s))
