"""Public dimensions, currency and unit tables of the import service, and the private versions of named users.

Services, import types, methods, ``DeletedData`` and the rule that a public dimension loses what an upload leaves out
are those of SAP's guide. That an import takes the ids of the export service, and that an unknown private version is
rejected as a member that does not exist, is unconfirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import polars as pl

from sacnb.sandbox.imports_job import Job
from sacnb.sandbox.imports_rows import FactTable, as_frame, described
from sacnb.sandbox.model import Model
from sacnb.sandbox.relation import FrameRelation

__all__ = [
    "SERVICES",
    "PrivateFacts",
    "import_type_of",
    "private_version",
    "table_details",
    "table_entry",
    "table_metadata",
    "with_rows",
]

# The namespace of the export service, the word for one table, and the methods.
SERVICES: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "publicDimensions": ("sac_public_dimensions", "publicDimension", ("Update",)),
    "currencyConversions": ("sac_currency_tables", "currencyConversion", ("DeleteAndUpsert", "DropAndInsert")),
    "unitConversions": ("sac_unit_conversion", "unitConversion", ("DeleteAndUpsert",)),
}


def import_type_of(service: str, model: Model) -> str:
    """Return the one import type that a table takes."""
    if service == "unitConversions":
        return "unitDescriptions" if model.table_set == "UnitDescriptions" else "conversionRates"
    return {"publicDimensions": "publicDimensionData", "currencyConversions": "currencyTable"}[service]


def table_entry(service: str, model: Model, url: str) -> dict[str, Any]:
    """Return a table as the list of its service has it."""
    word = SERVICES[service][1]
    names = {"ID": model.provider_id, "Name": model.name, "Description": model.description, "URL": url}
    return {f"{word}{name}": value for name, value in names.items()}


def table_details(service: str, model: Model, url: str) -> dict[str, Any]:
    """Return the import type of a table, and its settings."""
    kind = import_type_of(service, model)
    settings = {"importMethod": list(SERVICES[service][2]), "executeWithFailedRows": [True, False]}
    return {
        "importTypeUrls": {kind: f"{url}/{kind}"},
        "metadataUrl": f"{url}/metadata",
        "importTypes": [{"importType": kind, "availableJobSettings": settings}],
    }


def table_metadata(service: str, model: Model) -> dict[str, Any]:
    """Return the answer to ``/<service>/<id>/metadata``."""
    columns = [described(column, model) for column in model.facts.columns]
    keys = [column.name for column in model.facts.columns if column.key]
    return {import_type_of(service, model): {"keys": keys, "columns": columns}}


def with_rows(model: Model, job: Job) -> Model:
    """Return the table with the job's rows: first its ``DeletedData`` go, then its rows come, by key."""
    old, new, keys = as_frame(model.facts), job.table.frame(), job.table.keys
    if job.method == "DropAndInsert":
        old = old.clear()
    gone = FactTable(model, job.table.mapping, job.table.defaults)
    for row in job.deleted:
        gone.stage(row)
    if gone.rows:
        old = old.join(gone.frame().select(keys), on=keys, how="anti")
    kept = old.join(new.select(keys), on=keys, how="anti")
    return replace(model, facts=FrameRelation(model.facts.columns, pl.concat([kept, new]), model.facts.trims_decimals))


def private_version(user: str) -> str:
    """Return the private version that each named user has in each planning model."""
    return f"private.{user}.Trial"


class PrivateFacts:
    """The facts of private versions, by model and user. The export service does not show them (unconfirmed)."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, str], pl.DataFrame] = {}

    def of(self, model: Model, user: str) -> pl.DataFrame:
        """Return the rows of a user."""
        found = self._frames.get((model.provider_id, user))
        return as_frame(model.facts).clear() if found is None else found

    def model(self, model: Model, user: str) -> Model:
        """Return the model with the facts of a user's private versions in place of the public ones."""
        facts = FrameRelation(model.facts.columns, self.of(model, user), model.facts.trims_decimals)
        return replace(model, facts=facts)

    def keep(self, written: Model, user: str) -> None:
        """Keep the facts that a job of a user has written."""
        self._frames[written.provider_id, user] = as_frame(written.facts)
