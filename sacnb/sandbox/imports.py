"""The Data Import Service: models and tables with their import metadata, and jobs from their creation to the write.

Paths, states, error numbers and the fields of the answers are those of SAP's guide and of public clients. The status of
an error, the rows that ``totalNumberRowsInJob`` counts and whether rows may follow a validation are unconfirmed.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.imports_job import TABLE_TYPES, Job, json_answer, read_json, read_rows, rejections
from sacnb.sandbox.imports_rows import FactTable, Members, metadata, write_members
from sacnb.sandbox.imports_tables import (
    SERVICES,
    PrivateFacts,
    import_type_of,
    private_version,
    table_details,
    table_entry,
    table_metadata,
    with_rows,
)
from sacnb.sandbox.model import Model
from sacnb.sandbox.query import decode

__all__ = ["IMPORT_ROOT", "ImportService", "import_kind"]

IMPORT_ROOT: Final = "/api/v1/dataimport"
_TYPES: Final = ("factData", "masterData", "masterFactData", "privateFactData")
_METHODS: Final = ("Update", "Append", "CleanAndReplace")
_MOST_ACTIVE_JOBS: Final = 100
_JOB_STEPS: Final = {
    ("POST", "validate"): "import_validate",
    ("POST", "run"): "import_run",
    ("GET", "status"): "import_status",
    ("GET", "invalidRows"): "import_rows",
}


def import_kind(method: str, raw_path: str) -> str:
    """Return the kind of a request below ``IMPORT_ROOT``: the word that counters and misbehaviours use."""
    parts = raw_path.removeprefix(IMPORT_ROOT).strip("/").split("/")
    match parts:
        case ["jobs"]:
            return "import_jobs"
        case ["jobs", _]:
            return {"POST": "import_upload", "DELETE": "import_delete"}.get(method, "import_status")
        case ["jobs", _, step]:
            return _JOB_STEPS.get((method, step), "import_models")
        case [service, _, *rest] if service in {"models", *SERVICES} and method == "POST" and rest != ["metadata"]:
            return "import_create"
        case ["import", *_]:
            return "import_create"
    return "import_models"


class ImportService:
    """The paths below ``/api/v1/dataimport``. Called from worker threads, one request at a time."""

    def __init__(
        self,
        *,
        models: Callable[[], list[Model]],
        replace_model: Callable[[Model], None],
        user_of: Callable[[str], str],
        now: Callable[[], datetime],
    ) -> None:
        self._models = models
        self._user_of = user_of
        self.private = PrivateFacts()
        self._replace_model = replace_model
        self._now = now
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def answer(self, exchange: Exchange, body: bytes) -> Answer:
        """Answer one request.

        Raises:
            Refusal: SAC would refuse the request.
        """
        parts = [decode(part) for part in exchange.path.removeprefix(IMPORT_ROOT).strip("/").split("/")]
        with self._lock:
            match exchange.method, parts:
                case method, ["models", *rest]:
                    return self._of_models(exchange, method, rest, body)
                case method, [service, *rest] if service in SERVICES:
                    return self._of_service(exchange, method, service, rest, body)
                case "GET", ["jobs"]:
                    return self._list()
                case _, ["jobs", job_id, *rest] if len(rest) <= 1:
                    return self._of_job(exchange, self._job(job_id), rest[0] if rest else "", body)
        raise Refusal(404, "The endpoint is not valid.", 1305)

    # -- models ------------------------------------------------------------------------------------------------------

    def _importable(self) -> list[Model]:
        """Return the models that take imports: acquired ones with texts and decimals only."""
        found = [model for model in self._models() if not model.is_refused and not model.table_set]
        return [model for model in found if _takes_imports(model)]

    def _model(self, model_id: str) -> Model:
        found = next((model for model in self._importable() if model.provider_id == model_id), None)
        if found is None:
            raise Refusal(404, f"The model {model_id!r} does not exist, or takes no imports.")
        return found

    def _entry(self, exchange: Exchange, model: Model) -> dict[str, Any]:
        return {
            "modelID": model.provider_id,
            "modelName": model.name,
            "modelDescription": model.description,
            "modelURL": f"{exchange.origin}{IMPORT_ROOT}/models/{model.provider_id}",
        }

    def _details(self, exchange: Exchange, model: Model) -> dict[str, Any]:
        versions = model.dimensions.get("Version")
        ids = sorted(Members.of(versions).leaves) if versions is not None else []
        user = self._user(exchange)
        found = [{"id": one, "description": one} for one in [*ids, *([private_version(user)] if user and ids else [])]]
        kinds: list[dict[str, Any]] = [{"importType": kind, "availableJobSettings": {}} for kind in _TYPES]
        return {**self._entry(exchange, model), "importTypes": kinds, "versions": found}

    def _of_models(self, exchange: Exchange, method: str, rest: list[str], body: bytes) -> Answer:
        match method, rest:
            case "GET", []:
                return json_answer(200, {"models": [self._entry(exchange, model) for model in self._importable()]})
            case "GET", [model_id]:
                return json_answer(200, self._details(exchange, self._model(model_id)))
            case "GET", [model_id, "metadata"]:
                return json_answer(200, metadata(self._model(model_id)))
            case "POST", [model_id, *kind] if len(kind) <= 1:
                return self._create(exchange, self._model(model_id), kind[0] if kind else None, body)
        raise Refusal(404, "The endpoint is not valid.", 1305)

    def _user(self, exchange: Exchange) -> str:
        return self._user_of(exchange.headers.get("Authorization", ""))

    def _of_service(self, exchange: Exchange, method: str, service: str, rest: list[str], body: bytes) -> Answer:
        """Answer a request for the tables of a service."""
        root = f"{exchange.origin}{IMPORT_ROOT}/{service}"
        tables = {one.provider_id: one for one in self._models() if one.namespace == SERVICES[service][0]}
        if not rest:
            entries = [table_entry(service, one, f"{root}/{name}") for name, one in tables.items()]
            return json_answer(200, {service: entries})
        table = tables.get(rest[0])
        if table is None:
            raise Refusal(404, f"The table {rest[0]!r} does not exist.", 1704)
        match method, rest[1:]:
            case "GET", []:
                return json_answer(200, table_details(service, table, f"{root}/{rest[0]}"))
            case "GET", ["metadata"]:
                return json_answer(200, table_metadata(service, table))
            case "POST", [] | [_]:
                kind = import_type_of(service, table)
                if rest[1:] not in ([], [kind]):
                    raise Refusal(400, "Invalid import type.", 1301)
                return self._create(exchange, table, kind, body, service=service)
        raise Refusal(404, "The endpoint is not valid.", 1305)

    # -- jobs --------------------------------------------------------------------------------------------------------

    def _create(
        self, exchange: Exchange, model: Model, import_type: str | None, body: bytes, *, service: str = "models"
    ) -> Answer:
        settings = read_json(body, lenient=True)
        mapping, wanted = settings.get("Mapping") or {}, settings.get("JobSettings") or {}
        if import_type is None:
            if not mapping:
                raise Refusal(400, "Unable to infer import type.", 1005)
            import_type = "masterFactData" if any("___" in target for target in mapping) else "factData"
        if import_type not in {*_TYPES, *TABLE_TYPES}:
            raise Refusal(404, "The endpoint is not valid.", 1305)
        user = self._user(exchange)
        if import_type == "privateFactData" and not user:
            raise Refusal(403, "Private versions are supported using a 3-legged connection only")
        methods = SERVICES[service][2] if service in SERVICES else _METHODS
        method, scope = str(wanted.get("importMethod") or methods[0]), tuple(wanted.get("dimensionScope") or ())
        known = table_metadata(service, model) if service in SERVICES else metadata(model)
        self._check_settings(known["factData" if import_type == "privateFactData" else import_type], mapping, scope)
        if method not in methods or (method == "CleanAndReplace" and not scope and import_type == "factData"):
            raise Refusal(400, "Request body is incorrect or missing.", 1006)
        self._check_limits(exchange, model.provider_id)
        job = Job(
            id=str(uuid.uuid4()),
            model_id=model.provider_id,
            import_type=import_type,
            user=user,
            created=self._now(),
            method=method,
            scope=scope,
            # true by default in a public client's schema, so that failed rows are left out without a word
            runs_with_failed_rows=bool(wanted.get("executeWithFailedRows", True)),
            ignores_columns=bool(wanted.get("ignoreAdditionalColumns", False)),
            mapping=mapping,
            table=FactTable(model, {}, settings.get("DefaultValues") or {}),
        )
        job.remap(mapping)
        self._jobs[job.id] = job
        return json_answer(201, {"jobID": job.id, "jobURL": self._url(exchange, job), "jobStatus": job.state})

    def _check_settings(self, described: Mapping[str, Any], mapping: Mapping[str, str], scope: tuple[str, ...]) -> None:
        if not isinstance(mapping, dict):
            raise Refusal(400, "Unable to serialize mapping hash map.", 1008)
        if not all(target and source for target, source in mapping.items()):
            raise Refusal(400, "A source or target column in the mapping is empty.", 1009)
        known = {column["columnName"] for column in described["columns"]}
        wrong = [target for target in mapping if target not in known]
        wrong += [name for name in scope if name not in described["keys"]]
        if wrong:
            names = ", ".join(wrong)
            raise Refusal(
                400, f"The following target fields are incorrect or do not exist on the model: {names}.", 1004
            )

    def _check_limits(self, exchange: Exchange, model_id: str) -> None:
        active = [job for job in self._jobs.values() if job.is_active and job.model_id == model_id]
        full = exchange.take("import_limit")
        number = int(full["number"]) if full else 1002
        if full or len(active) >= _MOST_ACTIVE_JOBS:
            who = "Current user" if number == 1002 else "Current modelID"
            raise Refusal(400, f"{who} reached limit of maximum number of active jobs.", number)

    def _list(self) -> Answer:
        return json_answer(200, [job.listed() for job in self._jobs.values()])

    def _url(self, exchange: Exchange, job: Job) -> str:
        return f"{exchange.origin}{IMPORT_ROOT}/jobs/{job.id}"

    def _job(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:  # seen in the field: those of other users are a 404, too
            raise Refusal(404, f"The job {job_id!r} does not exist.")
        return job

    def _of_job(self, exchange: Exchange, job: Job, step: str, body: bytes) -> Answer:
        match exchange.method, step:
            case "POST", "":
                return self._upload(exchange, job, body)
            case "DELETE", "":
                if job.state == "PROCESSING":
                    raise Refusal(400, "Request already in progress.", 1010)
                del self._jobs[job.id]
                return Answer(204)
            case "POST", "validate":
                return self._validate(exchange, job)
            case "POST", "run":
                return self._run(exchange, job)
            case "GET", "status" | "":
                return self._status(exchange, job)
            case "GET", "invalidRows":
                return json_answer(200, {"failedRows": rejections(exchange, job.rejected)})
        raise Refusal(404, "The endpoint is not valid.", 1305)

    def _upload(self, exchange: Exchange, job: Job, body: bytes) -> Answer:
        if job.state != "READY_FOR_DATA":
            raise Refusal(400, "Request job action is not supported.", 1001)
        limit = exchange.take("upload_limit")
        if limit and len(body) > int(limit["kib"]) << 10:
            raise Refusal(413, "Payload Too Large")
        rows = read_rows(exchange, body, job)
        if job.is_fact and not job.ignores_columns:
            unknown = job.table.unknown(dict.fromkeys(name for row in rows for name in row))
            if unknown and job.import_type != "masterFactData":
                names = ", ".join(unknown)
                raise Refusal(
                    400, f"The following target fields are incorrect or do not exist on the model: {names}.", 1004
                )
        lost = exchange.take("upload_drops_rows")
        dropped = rows[-int(lost["rows"]) :] if lost else []
        failed = [(row, "Invalid column value for: dropped by the sandbox") for row in dropped]
        for row in rows[: len(rows) - len(dropped)]:
            reason = job.table.stage(row) if job.is_fact else None
            if reason is not None:
                failed.append((row, reason))
            elif job.import_type in {"masterData", "masterFactData"}:
                job.rows.append(row)
        says = lost is None or lost["said"]
        if says:
            job.rejected += failed
        shown = failed if says else failed[len(dropped) :]
        return json_answer(
            201,
            {
                "jobID": job.id,
                "totalNumberRowsInCurrentRequest": len(rows),
                "upsertedNumberRows": len(rows) - len(failed),
                "failedNumberRows": len(shown),
                "failedRows": rejections(exchange, shown),
                "totalNumberRowsInJob": job.staged,
                "validateJobURL": f"{self._url(exchange, job)}/validate",
                "runJobURL": f"{self._url(exchange, job)}/run",
            },
        )

    def _validate(self, exchange: Exchange, job: Job) -> Answer:
        if job.state not in {"READY_FOR_DATA", "READY_FOR_WRITE"}:
            raise Refusal(400, "Request job action is not supported.", 1001)
        if job.is_fact:
            private = private_version(job.user) if job.import_type == "privateFactData" else None
            job.rejected += job.table.validate(self._with_members(job, self._target(job)), private=private)
        if not job.staged:
            raise Refusal(400, "Temporary storage does not contain valid records.", 1011)
        job.state = "READY_FOR_WRITE"
        return json_answer(201, self._counts(exchange, job))

    def _counts(self, exchange: Exchange, job: Job) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if job.state == "READY_FOR_WRITE" and job.method == "CleanAndReplace" and job.is_fact:
            job.table.model = self._target(job)
            wanted, count = job.table.affected(job.scope)
            as_count = exchange.strikes("affected_rows_counted")
            counted = {"dimensionScope": list(job.scope), "numberOfRowsToBeDeleted": count}
            more["cleanAndReplaceAffectedRows"] = counted if as_count else wanted.to_dicts()
        document = {
            "jobStatus": job.state,
            "totalNumberRowsInJob": job.staged,
            "failedNumberRows": len(job.rejected),
            "invalidRowsURL": f"{self._url(exchange, job)}/invalidRows",
            "jobStatusURL": f"{self._url(exchange, job)}/status",
        }
        return {**document, "additionalInformation": more} if more else document

    def _run(self, exchange: Exchange, job: Job) -> Answer:
        if job.state == "PROCESSING":
            raise Refusal(400, "Request already in progress.", 1010)
        if job.state != "READY_FOR_WRITE":
            raise Refusal(400, "Request job action is not supported.", 1001)
        slow = exchange.take("import_is_slow")
        job.polls_left = int(slow["polls"]) if slow else 0
        failure = exchange.take("run_fails")
        if failure or (job.rejected and not job.runs_with_failed_rows):
            job.state = "FAILED"
            job.description = failure["text"] if failure else f"{len(job.rejected)} rows failed"
        else:
            if not exchange.strikes("run_writes_nothing"):
                self._commit(job)
            job.state = "PROCESSING"
        return json_answer(
            201,
            {
                "jobStatus": "PROCESSING",
                "jobID": job.id,
                "totalNumberRowsInJob": job.staged,
                "failedNumberRows": len(job.rejected),
                "jobStatusURL": f"{self._url(exchange, job)}/status",
            },
        )

    def _commit(self, job: Job) -> None:
        # The model may have changed since the job was created.
        model = self._with_members(job, self._target(job))
        if job.import_type in TABLE_TYPES:
            self._replace_model(with_rows(model, job))
            return
        if job.is_fact:
            job.table.model = model
            model = job.table.written(job.method, job.scope)
        if job.import_type == "privateFactData":
            self.private.keep(model, job.user)
        else:
            self._replace_model(model)

    def _target(self, job: Job) -> Model:
        """Return what a job writes into, as it is now."""
        if job.import_type in TABLE_TYPES:
            return next(one for one in self._models() if one.provider_id == job.model_id)
        model = self._model(job.model_id)
        return self.private.model(model, job.user) if job.import_type == "privateFactData" else model

    def _with_members(self, job: Job, model: Model) -> Model:
        """Return the model with the members that the job brings: they are written before its facts."""
        return write_members(model, job.rows, job.mapping, job.method) if job.rows else model

    def _status(self, exchange: Exchange, job: Job) -> Answer:
        if job.state == "PROCESSING":
            if job.polls_left == 0:
                job.state = "COMPLETED"
            job.polls_left -= 1
        counts = {"totalNumberRowsInJob": job.staged, "failedNumberRows": len(job.rejected)}
        document = {
            "jobID": job.id,
            "jobStatus": job.state,
            "jobStatusDescription": job.description or job.state.replace("_", " ").capitalize(),
            "additionalInformation": counts,
            "invalidRowsURL": f"{self._url(exchange, job)}/invalidRows",
        }
        if job.state == "READY_FOR_WRITE":
            document["additionalInformation"] = counts | self._counts(exchange, job).get("additionalInformation", {})
        return json_answer(200, document)


def _takes_imports(model: Model) -> bool:
    """Return whether all columns are texts or decimals, as those of a planning model are."""
    return all(column.edm_type in {"Edm.String", "Edm.Decimal"} for column in model.facts.columns)
