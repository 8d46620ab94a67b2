"""Remember which steps of a chain have ended, so that a rerun goes on after them and commits nothing twice."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from sacnb._arguments import callback, flag, required_text
from sacnb._files import dump_with_digest, make_private_folder, read_with_digest, write_file
from sacnb._pull.progress import progress_listener
from sacnb._results.info import principal_digest
from sacnb._write.encode import chunks
from sacnb._write.finish import GONE, discard, finish
from sacnb._write.frame import read_frame
from sacnb._write.order import make_order
from sacnb._write.write import write
from sacnb.errors import ActionError, BadAnswer, Cancelled, NotFoundError, QueryError, SacError, StepError, WriteError

if TYPE_CHECKING:
    from sacnb._actions.multi_action import MultiAction
    from sacnb._pull.progress import ProgressOption
    from sacnb._tenant import Model, Tenant
    from sacnb._write.order import Order

__all__ = ["Steps", "checkpoint"]

_log = logging.getLogger("sacnb.planning")

_FOLDER: Final = ".steps"
_SLUG_CHARS: Final = 48
_COMPLETED: Final = "COMPLETED"
_APPEND: Final = "Append"


@contextmanager
def checkpoint(tenant: Tenant, name: str) -> Iterator[Steps]:
    """Keep a record of the steps of a chain in the cache folder; a rerun returns what the ended ones returned.

        with planning.checkpoint(sac, "close 2026-11") as steps:
            steps.step("refresh", lambda: model.refresh().info.row_count, repeatable=True)
            steps.write("append", model, frame, method="Append", version="public.Plan")
            steps.run("grow", sac.multi_action("t.TEST:CEEF..."), {"Growth": 5})

    The chain stays a plain function: the order of its calls is the order of its steps. The record belongs to the name,
    the tenant and the user, so give each period a name of its own. It stays when the chain has ended, so that another
    run of it does nothing; ``steps.forget()`` begins anew.

    Args:
        tenant: The connected tenant.
        name: The name of the chain and its period.

    Raises StepError where another process runs the same chain, and where the record is damaged.
    """
    name = required_text("name", name)
    path = _path(tenant, name)
    lock = FileLock(path.with_suffix(".lock"), timeout=0, mode=0o600)
    try:
        with _recording(name):
            make_private_folder(path.parent, may_be_link=False)
            lock.acquire()
    except Timeout:
        raise StepError(
            f"The chain {name!r} is running in another process or thread.",
            hint="Let it end, or stop it; then run again.",
        ) from None
    try:
        yield Steps(tenant, name, path)
    finally:
        lock.release()


class Steps:
    """The steps of one chain; ``planning.checkpoint`` makes it."""

    __module__ = "sacnb.planning"

    def __init__(self, tenant: Tenant, name: str, path: Path) -> None:
        self._session = tenant._connection.context.session
        self._name = name
        self._path = path
        self._called: set[str] = set()
        self._steps: dict[str, dict[str, Any]] = self._read()

    def __repr__(self) -> str:
        words = [f"{step}: {about['state']}" for step, about in self._steps.items()]
        return f"Steps({self._name!r}): {', '.join(words) or 'none has begun'}"

    @property
    def ended(self) -> dict[str, Any]:
        """The values of the steps that have ended, by name."""
        return {step: about["value"] for step, about in self._steps.items() if about["state"] == "ended"}

    # -- the steps ---------------------------------------------------------------------------------------------------

    def step(self, name: str, work: Callable[[], Any], *, repeatable: bool = False) -> Any:
        """Call *work* unless the step has ended, and return its value: JSON values only, such as a count.

        Args:
            name: The name of the step in this chain.
            work: The function to call.
            repeatable: Calling it again does no harm, as for a refresh or a comparison. Otherwise it is not called
                again where it began in an earlier run and did not end.

        Raises StepError where it may have run; QueryError for a value that JSON has not; what *work* raises.
        """
        repeatable = flag("repeatable", repeatable)
        if callback("work", work) is None:
            raise QueryError("work must be a function, got None.")
        begun = self._begin(name, "step", None)
        if begun["state"] == "ended":
            return begun["value"]
        if begun["state"] == "begun" and not repeatable:
            raise self._unknown(name, f"The step began at {begun['at']}, and whether it ended is not known.")
        self._put(name, begun, state="begun")
        return self._end(name, work())

    def write(
        self, name: str, model: Model, frame: object, *, progress: ProgressOption = "auto", **options: Any
    ) -> dict[str, Any]:
        """Write a frame as ``model.write`` does, once; return ``job``, ``state``, ``rows`` and ``verified``.

        The import job is recorded before it runs. A rerun asks the job: it waits for one that runs, runs one that was
        about to, and takes a completed one as done (``verified`` is then ``None``: its rows were not read back).

        Args:
            name: The name of the step in this chain.
            model: The model.
            frame: As for ``model.write``; in a rerun it must be the same.
            progress: As for ``model.write``.
            options: The other arguments of ``model.write``, less ``dry_run``.

        Raises StepError where the job cannot tell whether an ``Append`` was written, where rows were written and read
        back otherwise, and for another frame than in the earlier run; what ``model.write`` raises.
        """
        order = make_order(**options)
        if order.dry_run:
            raise QueryError("dry_run writes nothing, so it is no step to remember.", hint="Call model.write for it.")
        given = read_frame(frame)
        begun = self._begin(name, "write", _digest(model.id, (chunk.body for chunk in chunks(given)), order))
        if begun["state"] == "ended":
            return dict(begun["value"])
        if begun["state"] == "begun":
            ended = self._end_of_write(name, begun, model, order)
            if ended is not None:
                return ended

        def note(phase: str, job_id: str) -> None:
            self._put(name, begun, state="begun", phase=phase, job=job_id)

        with progress_listener(callback("progress", progress, allowed=("auto",))) as listener:
            try:
                report = write(model._place(), given, replace(order, listener=listener, on_phase=note))
            except WriteError as error:
                if error.report is not None:
                    self._put(name, self._steps[name], phase="written")
                raise
        told = {"job": report.job_id, "state": report.state, "rows": report.rows, "verified": report.verified}
        return dict(self._end(name, told))

    def run(
        self, name: str, action: MultiAction, parameters: Mapping[str, Any] | None = None, *, timeout_s: float = 3600.0
    ) -> dict[str, Any]:
        """Start a multi-action, once, wait for its end, and return ``run`` and ``status``.

        The run is recorded as soon as SAC names it, and a rerun waits for it.

        Args:
            name: The name of the step in this chain.
            action: The multi-action.
            parameters: As for ``action.run``; in a rerun they must be the same.
            timeout_s: The seconds to wait.

        Raises StepError where a start got no answer, since SAC has no list of runs, and for a run of an earlier time
        that failed: its first steps have written. Raises what ``action.run`` and ``run.wait`` raise.
        """
        begun = self._begin(name, "run", _digest(action.id, [repr(parameters).encode()]))
        if begun["state"] == "ended":
            return dict(begun["value"])
        if begun["state"] == "begun":
            return self._end_of_run(name, begun, action, timeout_s)
        self._put(name, begun, state="begun")
        try:
            run = action.run(parameters)
        except SacError as error:
            if not isinstance(error, ActionError | BadAnswer | Cancelled):
                self._drop(name)  # refused: nothing was started
            raise
        self._put(name, self._steps[name], run=run.id)
        run = run.wait(timeout_s=timeout_s)
        return dict(self._end(name, {"run": run.id, "status": run.status}))

    # -- by hand -----------------------------------------------------------------------------------------------------

    def settle(self, name: str, value: Any = None) -> None:
        """Count a step as ended, with this value: you looked, and it has been done.

        Raises QueryError for a value that JSON has not.
        """
        name = required_text("name", name)
        self._put(name, self._steps.get(name, {"input": None, "kind": None}), state="ended", value=_plain(name, value))

    def forget(self, name: str | None = None) -> None:
        """Forget a step, or without a name all of them, so that the next run of the chain runs it again."""
        if name is None:
            self._called.clear()
            self._steps.clear()
            self._save()
        else:
            name = required_text("name", name)
            self._called.discard(name)
            self._drop(name)

    # -- what became of a step that began in an earlier run ------------------------------------------------------------

    def _end_of_write(self, name: str, begun: dict[str, Any], model: Model, order: Order) -> dict[str, Any] | None:
        """Return the value of a write that another run began, or ``None`` where it has to be begun anew."""
        to, job_id = model._place().destination, begun["job"]
        if begun["phase"] == "staged":
            discard(to, job_id)
            return None
        if begun["phase"] == "written":
            raise self._unknown(
                name, f"Its rows were written (import job {job_id}), but did not read back as they were written."
            )
        state, rows = finish(to, job_id, timeout_s=order.timeout_s, cancelled=order.cancelled)
        if state == _COMPLETED:
            _log.info("Step %s of %s: import job %s was completed.", name, self._name, job_id)
            return dict(self._end(name, {"job": job_id, "state": state, "rows": rows, "verified": None}))
        if order.method != _APPEND:  # the same rows give the same values
            return None
        why = "is gone" if state == GONE else f"is {state}"
        raise self._unknown(
            name, f"Its import job {job_id} {why}, so whether the rows were added to {model.id!r} is not known."
        )

    def _end_of_run(self, name: str, begun: dict[str, Any], action: MultiAction, timeout_s: float) -> dict[str, Any]:
        run_id = begun.get("run")
        if run_id is None:
            raise self._unknown(
                name, f"The start of {action.id!r} at {begun['at']} got no answer, and SAC has no list of runs."
            )
        try:
            run = action.find(run_id).wait(timeout_s=timeout_s)
        except NotFoundError as error:
            raise self._unknown(name, f"SAC does not know the run {run_id} any more.") from error
        except ActionError as error:
            if error.run is None or not error.run.is_over:
                raise
            raise self._unknown(name, f"{error.message} Steps before the failed one have written.") from error
        return dict(self._end(name, {"run": run.id, "status": run.status}))

    def _unknown(self, name: str, why: str) -> StepError:
        return StepError(
            f"The step {name!r} of {self._name!r} is not run again. {why}",
            step=name,
            hint=f"Look at its effect in SAC. If it has been done: steps.settle({name!r}). If not, to run it again: "
            f"steps.forget({name!r}).",
        )

    # -- the record --------------------------------------------------------------------------------------------------

    def _begin(self, name: str, kind: str, digest: str | None) -> dict[str, Any]:
        """Return what is recorded of a step; ``state`` is "new" where that is nothing."""
        name = required_text("name", name)
        if name in self._called:
            raise QueryError(f"Two steps of {self._name!r} are called {name!r}; each needs a name of its own.")
        self._called.add(name)
        found = self._steps.get(name)
        if found is None:
            return {"state": "new", "kind": kind, "input": digest}
        if found["kind"] not in {kind, None} or (found["input"] not in {digest, None}):
            raise StepError(
                f"The step {name!r} of {self._name!r} {found['state']} at {found['at']} with other input than now.",
                step=name,
                hint="For another period, take a checkpoint of another name. To run the step again: "
                f"steps.forget({name!r}).",
            )
        if found["state"] == "ended":
            _log.info("Step %s of %s ended at %s; it is not run again.", name, self._name, found["at"])
        return found

    def _end(self, name: str, value: Any) -> Any:
        found = _plain(name, value)
        self._put(name, self._steps[name], state="ended", value=found)
        return found

    def _put(self, name: str, about: Mapping[str, Any], **changes: Any) -> None:
        self._steps[name] = {**about, **changes, "at": self._session.now().isoformat(timespec="seconds")}
        self._save()

    def _drop(self, name: str) -> None:
        self._steps.pop(name, None)
        self._save()

    def _save(self) -> None:
        with _recording(self._name):
            write_file(self._path, dump_with_digest({"name": self._name, "steps": self._steps}), durable=True)

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self._path.exists():
            return {}
        found = read_with_digest(self._path)
        if found is None:
            raise StepError(
                f"The record of the chain {self._name!r} is damaged, so which steps have ended is not known.",
                hint=f"Look at what they did in SAC, then delete {self._path}.",
            )
        return dict(found["steps"])


@contextmanager
def _recording(name: str) -> Iterator[None]:
    """Turn a refusal of the system into StepError; a timeout of a lock stays, although it is an OSError."""
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise StepError(
            f"The record of the chain {name!r} cannot be written ({error.strerror or error}: {error.filename}).",
            hint="The steps of this run that have ended may run again. Choose another folder with SAC_CACHE_DIR, or "
            "make room, before you run the chain again.",
        ) from error


def _path(tenant: Tenant, name: str) -> Path:
    connection = tenant._connection
    parts = [connection.tenant_host.casefold(), principal_digest(connection.principal), name]
    words = re.sub(r"[^a-z0-9]+", "-", name.casefold())[:_SLUG_CHARS].strip("-")
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return tenant.cache.directory / _FOLDER / f"{words or 'chain'}-{digest}.json"


def _digest(target: str, content: Iterable[bytes], order: Order | None = None) -> str:
    """Return a hash of what a step works on, so that a rerun with something else is noticed."""
    found = hashlib.sha256(target.encode())
    for part in content:
        found.update(part)
    if order is not None:
        about = (order.method, order.version, order.pivot, order.scope, order.allow_partial)
        found.update(repr((*about, sorted(order.mapping.items()), sorted(order.defaults.items()))).encode())
    return found.hexdigest()


def _plain(name: str, value: Any) -> Any:
    """Return *value* as JSON gives it back, which a rerun gets, too."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise QueryError(
            f"The step {name!r} returned a {type(value).__name__}, which JSON has not ({error}). It has been run.",
            hint="Return a count, a text or None; keep frames in the cache or in files.",
        ) from None
