"""The answers of the import service: its jobs, their status and the rows they rejected, read tolerantly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sacnb._endpoints import IMPORT_JOBS_PATH, IMPORT_ROOT, IMPORT_TABLES, import_job_path, import_path
from sacnb._odata.envelope import refuse_half_characters
from sacnb._write.target import Destination, ImportTable, lower_keys, read_import_metadata
from sacnb.errors import BadAnswer, ForbiddenError, NotFoundError, RequestError, UnknownNameError, WriteError

if TYPE_CHECKING:
    from sacnb._wire.session import SacSession

__all__ = [
    "LIMITS",
    "Deletion",
    "JobSettings",
    "JobStatus",
    "Rejected",
    "ask_job",
    "delete_job",
    "explained",
    "import_id",
    "import_table",
    "is_gone",
    "limit_of_jobs",
    "list_jobs",
    "number_in",
    "others_of",
    "read_job",
    "read_object",
    "read_status",
    "rejected_rows",
    "table_of",
    "text_in",
    "versions_of",
]

# SAC's numbers for a limit of active jobs, and whose limit it is.
LIMITS: Final = {1002: "this user", 1007: "this model"}
_NOT_GRANTED: Final = 3401
_RESTRICTED: Final = 1802
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_NO_SUCH_JOB: Final = 1603


@dataclass(frozen=True, slots=True)
class JobSettings:
    """The settings of a job.

    ``runs_with_failed_rows`` is sent unless it is ``None``: by default SAC leaves failed rows out and says COMPLETED.
    """

    import_type: str
    method: str
    columns: tuple[str, ...]
    scope: tuple[str, ...] = ()
    runs_with_failed_rows: bool | None = False

    def body(self) -> dict[str, Any]:
        """Return the body that creates the job. A mapping goes from the model's column to the source's."""
        settings: dict[str, Any] = {"importMethod": self.method}
        if self.runs_with_failed_rows is not None:
            settings["executeWithFailedRows"] = self.runs_with_failed_rows
        if self.scope:
            settings["dimensionScope"] = list(self.scope)
        return {"Mapping": {name: name for name in self.columns}, "JobSettings": settings}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that SAC rejected, and its reason."""

    row: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """Count what SAC says a CleanAndReplace deletes: combinations of members or rows; both forms are documented.

    Both are ``None`` where it says nothing.
    """

    combinations: tuple[Mapping[str, Any], ...] | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a job, and its counts; ``None`` where SAC does not tell one."""

    state: str
    description: str
    total: int | None
    failed: int | None
    deletion: Deletion


def import_table(to: Destination, part: str) -> ImportTable:
    """Return the columns that an import of *part* takes. Raises NotFoundError, RequestError and BadAnswer."""
    path = import_path(to.service, to.id, "metadata")
    answer = to.session.fetch("GET", path, operation="read import metadata")
    return read_import_metadata(answer.body, part)


def table_of(to: Destination) -> tuple[str, ImportTable]:
    """Return the import type of a table, and its columns: a table has one type. Raises as ``import_table`` does."""
    body = to.session.fetch("GET", import_path(to.service, to.id, "metadata"), operation="read import metadata").body
    found = read_answer(body)
    if not isinstance(found, Mapping) or len(found) != 1:
        raise BadAnswer(f"The import metadata of {to.id!r} name no single import type: {found!r:.200}.")
    (part,) = found
    return str(part), read_import_metadata(body, str(part))


def import_id(to: Destination, kind: str) -> str:
    """Return the id by which the import service knows a table: the same, or one that ends with it after a colon.

    Raises UnknownNameError, RequestError and BadAnswer.
    """
    service, word = IMPORT_TABLES[kind]
    path = f"{IMPORT_ROOT}/{service}"
    found = read_object(to.session.fetch("GET", path, operation=f"list {kind} tables").body).get(service.lower())
    if not isinstance(found, list):
        raise BadAnswer(f"The list of {kind} tables has none where they are expected.")
    known = [str(lower_keys(one).get(f"{word}id".lower())) for one in found if isinstance(one, Mapping)]
    alike = [one for one in known if one == to.id] or [one for one in known if one.rpartition(":")[2] == to.id]
    if len(alike) != 1:
        raise UnknownNameError(f"{kind} table", to.id, known, where="the import service")
    return alike[0]


def versions_of(to: Destination) -> list[str] | None:
    """Return the versions that SAC lets this user import into, private ones included; ``None`` where it lists none.

    Raises RequestError and BadAnswer.
    """
    answer = to.session.fetch("GET", import_path(to.service, to.id), operation="read model")
    versions = read_object(answer.body).get("versions")
    if not isinstance(versions, list):
        return None
    return [str(lower_keys(one).get("id")) if isinstance(one, Mapping) else str(one) for one in versions]


def list_jobs(session: SacSession) -> list[dict[str, Any]]:
    """Return the jobs that SAC lists, with keys in lower case: ``jobid``, ``jobstatus``, ``createdtime``.

    SAP's guide shows a bare list whose entries have ``status`` and ``creationTime``; public clients read an object and
    ``jobStatus``. Whether jobs of other users are among them is unconfirmed; each has an ``owner``.

    Raises RequestError and BadAnswer.
    """
    body = session.fetch("GET", IMPORT_JOBS_PATH, operation="list import jobs").body
    rows = read_answer(body)
    if not isinstance(rows, list):
        found = read_object(body)
        rows = found.get("jobs", found.get("value"))
    if not isinstance(rows, list):
        raise BadAnswer("The list of import jobs has no jobs where they are expected.")
    jobs = [lower_keys(row) for row in rows if isinstance(row, Mapping)]
    other_names = {"jobstatus": "status", "createdtime": "creationtime"}
    return [{**job, **{name: job.get(name, job.get(other)) for name, other in other_names.items()}} for job in jobs]


def others_of(jobs: Sequence[Mapping[str, Any]], model_id: str) -> list[str]:
    """Return the jobs of a model that are running, in words: id, and owner where SAC names one."""
    running = [job for job in jobs if job.get("modelid") == model_id and job.get("jobstatus") == "PROCESSING"]
    owners = [text_in(job.get("owner")) for job in running]
    return [
        f"{job.get('jobid')}" + (f" of {owner}" if owner else "") for job, owner in zip(running, owners, strict=True)
    ]


def read_job(session: SacSession, job_id: str) -> dict[str, Any]:
    """Return what SAC says about a job, flat, with keys in lower case. Raises NotFoundError and RequestError."""
    try:
        answer = session.fetch("GET", import_job_path(job_id, "status"), operation="ask import job")
    except NotFoundError as error:
        error.hint = "SAC deletes jobs after 15 days (SAP Note 3491183). sacnb import --jobs lists those that are left."
        raise
    found = read_object(answer.body)
    more = found.pop("additionalinformation", None)
    return {**found, **(lower_keys(more) if isinstance(more, Mapping) else {})}


def ask_job(session: SacSession, job_id: str) -> JobStatus | None:
    """Return the status of a job, or ``None`` if there is none of that id. Raises RequestError and BadAnswer."""
    try:
        answer = session.fetch("GET", import_job_path(job_id, "status"), operation="ask import job")
    except RequestError as error:
        if not is_gone(error):
            raise
        return None
    return read_status(read_object(answer.body))


def limit_of_jobs(session: SacSession, model_id: str, error: RequestError) -> WriteError:
    """Return the error for a limit of active jobs, with those that this user has."""
    whose = LIMITS[error.sac_number or 0]
    try:
        mine = [job for job in list_jobs(session) if text_in(job.get("modelid")) in {model_id, None}]
    except (RequestError, BadAnswer):
        mine = []
    shown = "; ".join(f"{job.get('jobid')} ({job.get('jobstatus')})" for job in mine[:10])
    return WriteError(
        f"SAC takes no further import job: {whose} has the maximum of active ones (error {error.sac_number}; 100 a "
        "user and model, unconfirmed)." + (f" Yours: {shown}." if shown else ""),
        hint="Delete abandoned ones: sacnb import --delete-job ID. SAC deletes jobs after 15 days (SAP Note 3491183).",
        outcome=error.outcome,
    )


def delete_job(session: SacSession, job_id: str) -> None:
    """Delete a job; a job that is already gone is not an error. Raises RequestError."""
    try:
        session.fetch("DELETE", import_job_path(job_id), operation="delete import job", expect="any")
    except RequestError as error:
        if not is_gone(error):
            raise


def is_gone(error: RequestError) -> bool:
    """Return whether SAC says that there is no such job: by the status, or by its number."""
    return isinstance(error, NotFoundError) or error.sac_number == _NO_SUCH_JOB


@contextmanager
def explained() -> Iterator[None]:
    """Tell the usual causes where SAC forbids an import."""
    try:
        yield
    except RequestError as error:
        if f"{IMPORT_ROOT}/" not in error.url or not (
            isinstance(error, ForbiddenError) or error.sac_number == _RESTRICTED
        ):
            raise
        if error.sac_number == _NOT_GRANTED or error.method == "GET":
            error.hint = (
                "Tick Data Import Service under 'Access' of the OAuth client (System > Administration > App "
                "Integration); it is granted apart from the Data Export Service. It needs a planning license."
            )
        elif error.url.endswith("privateFactData"):
            error.hint = (
                "Private versions belong to a named user: set SAC_AUTH=authorization_code, and log in (sacnb login)."
            )
        else:
            error.hint = (
                "The import service answers, and forbids this model: look at the model's setting for imports by the "
                "Data Import API, and at the rights of the client or user on the model."
            )
        raise


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer, with keys in lower case. Raises BadAnswer."""
    found = read_answer(body)
    if not isinstance(found, Mapping):
        raise BadAnswer(f"The answer of the import service is {found!r:.80} where an object was expected.")
    return lower_keys(found)


def read_answer(body: bytes) -> Any:
    """Return the JSON of an answer. Raises BadAnswer."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("The answer of the import service is not JSON.") from None
    refuse_half_characters(body, found)
    return found


def read_status(found: Mapping[str, Any]) -> JobStatus:
    """Return the status in an answer with keys in lower case."""
    more = found.get("additionalinformation")
    about = lower_keys(more) if isinstance(more, Mapping) else {}

    def number(name: str) -> int | None:
        return number_in(found.get(name)) if found.get(name) is not None else number_in(about.get(name))

    return JobStatus(
        state=(text_in(found.get("jobstatus")) or "").upper(),
        description=text_in(found.get("jobstatusdescription")) or "",
        total=number("totalnumberrowsinjob"),
        failed=number("failednumberrows"),
        deletion=_deletion(about.get("cleanandreplaceaffectedrows", found.get("cleanandreplaceaffectedrows"))),
    )


def _deletion(found: Any) -> Deletion:
    entries = found if isinstance(found, list) else [found] if isinstance(found, Mapping) else []
    known_form = [lower_keys(entry) for entry in entries if isinstance(entry, Mapping)]
    counts = [number_in(entry.get("numberofrowstobedeleted")) for entry in known_form]
    known = [count for count in counts if count is not None]
    if known:
        return Deletion(rows=sum(known))
    return Deletion(combinations=tuple(entries)) if isinstance(found, list) else Deletion()


def rejected_rows(found: Any) -> list[Rejected]:
    """Return rejected rows in both documented forms: ``{row, reason}``, and the row with ``_REJECTION_REASON``."""
    rows: list[Rejected] = []
    for entry in found if isinstance(found, list) else ():
        if not isinstance(entry, Mapping):
            continue
        keys = {str(name).lower(): name for name in entry}
        if "_rejection_reason" in keys:
            name = keys["_rejection_reason"]
            rows.append(Rejected({k: v for k, v in entry.items() if k != name}, str(entry[name])))
        else:
            row = entry.get(keys.get("row", ""))
            reason = str(entry.get(keys.get("reason", ""), "no reason given"))
            rows.append(Rejected(row if isinstance(row, Mapping) else {"row": row}, reason))
    return rows


def number_in(value: Any) -> int | None:
    """Return a whole number, also from its digits; ``None`` for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_in(value: Any) -> str | None:
    """Return a text that is not empty; ``None`` for anything else."""
    return value if isinstance(value, str) and value else None
