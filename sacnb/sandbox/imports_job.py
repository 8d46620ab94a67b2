"""An import job, the bodies of its requests, and the form of its answers."""

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
from sacnb.sandbox.model import Model

__all__ = ["ImportJob", "fact_mapping", "json_answer", "read_json", "rejections", "rows_of"]

_MOST_REJECTED: Final = 2000


@dataclass(slots=True)
class ImportJob:
    """An import job, from its creation to its run."""

    id: str
    model_id: str
    import_type: str
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
    polls_left: int = 0

    @property
    def is_active(self) -> bool:
        """Return whether the job has not ended."""
        return self.state not in {"COMPLETED", "FAILED"}

    @property
    def staged(self) -> int:
        """The number of staged rows."""
        return len(self.table.rows) if self.is_fact else len(self.rows)

    @property
    def is_fact(self) -> bool:
        """Return whether the job imports facts."""
        return self.import_type in {"factData", "privateFactData", "masterFactData"}


def fact_mapping(model: Model, mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping with ``Date`` for ``Date___CALMONTH``, as ``masterFactData`` names its columns."""
    ids = {f"{name}___{found.id_attribute}": name for name, found in model.dimensions.items()}
    return {ids.get(target, target): source for target, source in mapping.items()}


def rejections(exchange: Exchange, rejected: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    """Return rejected rows in the documented form or, with a misbehaviour, in the flat one; at most about 2,000."""
    is_flat = bool(rejected) and exchange.strikes("rejected_rows_flat")
    if is_flat:
        return [{**_plain(row), "_REJECTION_REASON": reason} for row, reason in rejected[:_MOST_REJECTED]]
    return [{"row": _plain(row), "reason": reason} for row, reason in rejected[:_MOST_REJECTED]]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def rows_of(exchange: Exchange, body: bytes, job: ImportJob) -> list[dict[str, Any]]:
    """Return the rows of an upload, in CSV or JSON."""
    if exchange.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/csv":
        return list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    document = read_json(body)
    rows = document.get("Data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refusal(400, "Request body is incorrect or missing.", 1006)
    # An upload may replace both.
    if document.get("Mapping"):
        job.mapping = document["Mapping"]
        job.table.mapping = fact_mapping(job.table.model, job.mapping)
    job.table.defaults = document.get("DefaultValues") or job.table.defaults
    return rows


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


def json_answer(status: int, document: Mapping[str, Any]) -> Answer:
    """Return an answer with a JSON document."""
    return Answer(status, json.dumps(document, ensure_ascii=False).encode())
