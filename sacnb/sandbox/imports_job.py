"""Import jobs: what one holds, and the bodies that it takes and returns."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.imports_rows import FactTable

__all__ = ["TABLE_TYPES", "Job", "json_answer", "read_json", "read_rows", "rejections"]

_MOST_REJECTED: Final = 2000
TABLE_TYPES: Final = ("publicDimensionData", "currencyTable", "conversionRates", "unitDescriptions")


@dataclass(slots=True)
class Job:
    """An import job: its settings, its rows, and how far it is. ``user`` is empty for a technical user."""

    id: str
    model_id: str
    import_type: str
    user: str
    created: datetime
    method: str
    scope: tuple[str, ...]
    runs_with_failed_rows: bool
    ignores_columns: bool
    mapping: Mapping[str, str]
    table: FactTable
    rows: list[dict[str, Any]] = field(default_factory=list)
    state: str = "READY_FOR_DATA"
    description: str = ""
    rejected: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    polls_left: int = 0

    @property
    def is_active(self) -> bool:
        """Return whether the job counts against the limits."""
        return self.state not in {"COMPLETED", "FAILED"}

    @property
    def staged(self) -> int:
        """Return the number of rows that are staged."""
        return len(self.table.rows) if self.is_fact else len(self.rows)

    @property
    def is_fact(self) -> bool:
        """Return whether the rows have keys: facts, and rows of tables."""
        return self.import_type in {"factData", "privateFactData", "masterFactData", *TABLE_TYPES}

    def listed(self) -> dict[str, Any]:
        """Return the job as the list of jobs has it."""
        created = self.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "jobID": self.id,
            "modelID": self.model_id,
            "status": self.state,
            "owner": self.user or "technical",
            "importType": self.import_type,
            "creationTime": created,
            "lastUpdatedTime": created,
            "JobSettings": {"importMethod": self.method},
        }

    def remap(self, mapping: Mapping[str, str]) -> None:
        """Take another mapping from the columns of the target to those of the rows."""
        self.mapping = mapping
        ids = {f"{name}___{found.id_attribute}": name for name, found in self.table.model.dimensions.items()}
        self.table.mapping = {ids.get(target, target): source for target, source in mapping.items()}


def rejections(exchange: Exchange, rejected: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """Return rejected rows in the documented form or, with a misbehaviour, in the flat one; at most about 2,000."""
    is_flat = bool(rejected) and exchange.strikes("rejected_rows_flat")
    if is_flat:
        return [{**_plain(row), "_REJECTION_REASON": reason} for row, reason in rejected[:_MOST_REJECTED]]
    return [{"row": _plain(row), "reason": reason} for row, reason in rejected[:_MOST_REJECTED]]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def read_rows(exchange: Exchange, body: bytes, job: Job) -> list[dict[str, Any]]:
    """Return the rows of an upload; ``DeletedData`` of tables are kept in the job."""
    if exchange.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/csv":
        return list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    document = read_json(body)
    rows = document.get("Data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refusal(400, "Request body is incorrect or missing.", 1006)
    job.deleted += _deleted(document, job)
    # An upload may replace both.
    if document.get("Mapping"):
        job.remap(document["Mapping"])
    job.table.defaults = document.get("DefaultValues") or job.table.defaults
    return rows


def _deleted(document: Mapping[str, Any], job: Job) -> list[dict[str, Any]]:
    found = document.get("DeletedData") or []
    if found and (job.import_type not in TABLE_TYPES or job.import_type == "publicDimensionData"):
        raise Refusal(400, "Request body is incorrect or missing.", 1006)  # of currencies and units only
    return list(found)


def read_json(body: bytes, *, lenient: bool = False) -> dict[str, Any]:
    """Return the object in *body*; with ``lenient`` whatever follows it is ignored.

    ``sacapi`` creates its jobs with a body that goes on after the end of the object. SAP ships it, so SAC must read
    the object only, as Jackson does by default (unconfirmed).
    """
    try:
        text = body.decode().lstrip()
        decoder = json.JSONDecoder(parse_float=Decimal)
        document, end = decoder.raw_decode(text) if text or not lenient else ({}, 0)
    except ValueError as error:
        raise Refusal(400, "Request body is incorrect or missing.", 1006) from error
    if not isinstance(document, dict) or (not lenient and re.search(r"\S", text[end:])):
        raise Refusal(400, "Request body is incorrect or missing.", 1006)
    return document


def json_answer(status: int, document: Any) -> Answer:
    """Return *document* as an answer."""
    return Answer(status, json.dumps(document, ensure_ascii=False).encode())
