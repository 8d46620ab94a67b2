"""Refreshes that the panel starts: each in a thread of its own, with progress, and stopped by a click."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Literal

from sacnb._connections import Interrupt, watch
from sacnb.errors import Cancelled, QueryError, SacError
from sacnb.lab.answers import error_json
from sacnb.lab.browse import cached_json

if TYPE_CHECKING:
    from sacnb._pull import Progress
    from sacnb.lab.tenants import Held

__all__ = ["Job", "Jobs"]

_log = logging.getLogger("sacnb.lab")

State = Literal["running", "done", "failed", "cancelled"]

# A result is in the server's memory while it is put into the cache; a kernel can write more than that to files.
_MOST_ROWS: Final = 2_000_000
_MOST_JOBS: Final = 50
_MOST_RUNNING: Final = 4


class Job:
    """One refresh of a model's facts into the cache. Its thread writes the state, and routes read it."""

    def __init__(self, held: Held, model_id: str) -> None:
        self.id = uuid.uuid4().hex
        self.held = held
        self.model_id = model_id
        self.state: State = "running"
        self.is_cancelling = False
        self._interrupt = Interrupt()
        self._progress: Progress | None = None
        self._result: dict[str, Any] | None = None
        self._warning: str | None = None
        self._error: SacError | None = None
        self._too_many: int | None = None
        self._thread = threading.Thread(target=self._run, name="sacnb-lab-refresh", daemon=True)

    def start(self) -> None:
        """Begin in the background."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop it, even in the middle of a page; what is cached stays as it was."""
        if self.state == "running":
            self.is_cancelling = True
            self._interrupt.set()

    def wait(self, seconds: float) -> None:
        """Wait for the end, at most *seconds*."""
        self._thread.join(seconds)

    def json(self) -> dict[str, Any]:
        """Return its state."""
        progress = self._progress
        return {
            "id": self.id,
            "profile": self.held.profile,
            "model": self.model_id,
            "state": self.state,
            "is_cancelling": self.is_cancelling,
            "rows": 0 if progress is None else progress.rows,
            "expected_rows": None if progress is None else progress.expected_rows,
            "pages": 0 if progress is None else progress.pages,
            "elapsed_s": 0.0 if progress is None else round(progress.elapsed_s, 3),
            "cached": self._result,
            "warning": self._warning,
            "error": None if self._error is None else error_json(self._error),
        }

    def _run(self) -> None:
        state: State = "failed"
        try:
            with watch(None) as watched, self._interrupt.over(watched):
                self._refresh()
            state = "done"
        except Cancelled:
            state = "cancelled"
        except SacError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - logged, and shown without its text
            _log.exception("The refresh of %r failed.", self.model_id)
            self._error = SacError(f"A program error: {type(error).__name__}.", hint="The server's log has more.")
        finally:
            self.state = state

    def _refresh(self) -> None:
        facts = self.held.model(self.model_id).facts()
        try:
            result = facts.refresh(progress=self._on_progress, cancelled=self._interrupt, announce=_ignore)
        except Cancelled:
            if self._too_many is None:
                raise
            raise QueryError(
                f"{self.model_id!r} has {self._too_many:,} rows; the panel caches at most {_MOST_ROWS:,}.",
                hint="In a notebook, take a part of it (where=..., since=...), or write it to files: to_parquet().",
            ) from None
        self._warning = result.warning
        self._result = cached_json(result.info, self.held.now() - result.info.last_refresh_time)

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        rows = max(progress.rows, progress.expected_rows or 0)
        if rows > _MOST_ROWS and self._too_many is None:
            self._too_many = rows
            self._interrupt.set()


def _ignore(_: str) -> None:
    """Announce nothing: the warning is part of the job."""


class Jobs:
    """The jobs of a server, by id; of those that have ended, the newest are remembered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def start(self, held: Held, model_id: str) -> Job:
        """Start a refresh, or return the one of this model that is running.

        Raises QueryError where too many are running.
        """
        with self._lock:
            running = [job for job in self._jobs.values() if job.state == "running"]
            for job in running:
                if (job.held, job.model_id) == (held, model_id):
                    return job
            if len(running) >= _MOST_RUNNING:
                raise QueryError(f"{len(running)} refreshes are running.", hint="Wait for one, or cancel one.")
            job = Job(held, model_id)
            self._jobs[job.id] = job
            ended = [one.id for one in self._jobs.values() if one.state != "running"]
            for old in ended[: max(0, len(self._jobs) - _MOST_JOBS)]:
                del self._jobs[old]
        job.start()
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id."""
        return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        """Return the jobs, the oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def close(self) -> None:
        """Cancel what is running."""
        for job in self.all():
            job.cancel()
