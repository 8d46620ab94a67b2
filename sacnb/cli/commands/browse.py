"""``sacnb describe``: what one model holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sacnb.cli.invocation import Invocation
from sacnb.cli.output import json_option, print_facts, print_json, print_table
from sacnb.cli.question import model_argument

if TYPE_CHECKING:
    from sacnb._odata.schema import Column
    from sacnb._tenant import Model

__all__ = ["command"]


@click.command("describe", short_help="A model's columns, types and dates.")
@model_argument
@json_option(
    "model, namespace, entity_sets, dimensions, measures and attributes (each a list of name, label, type, nullable, "
    "max_length, precision, scale), date_columns (name, grain)"
)
@click.pass_obj
def command(invocation: Invocation, model_id: str, as_json: bool) -> None:
    """Show a model's dimensions, measures, attributes, types and the grain of its dates."""
    with invocation.connect() as tenant:
        model = tenant.model(model_id)
        described = _described(model)
    if as_json:
        print_json(described)
        return
    dates = {date["name"]: date["grain"] or "date" for date in described["date_columns"]}
    rows = [
        (role.removesuffix("s"), column["name"], column["label"], _type(column), dates.get(column["name"], ""))
        for role in ("dimensions", "measures", "attributes")
        for column in described[role]
    ]
    print_table(("role", "name", "label", "type", "grain"), rows)
    print_facts({"entity sets": ", ".join(described["entity_sets"])})


def _described(model: Model) -> dict[str, Any]:
    schema = model.schema
    return {
        "model": schema.provider_id,
        "namespace": schema.namespace,
        "entity_sets": list(model.metadata.entity_sets),
        "dimensions": [_column(column) for column in schema.dimensions],
        "measures": [_column(column) for column in schema.measures],
        "attributes": [_column(column) for column in schema.attributes],
        "date_columns": [{"name": date.name, "grain": date.grain} for date in schema.date_columns],
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "label": column.label,
        "type": column.edm_type,
        "nullable": column.nullable,
        "max_length": column.max_length,
        "precision": column.precision,
        "scale": column.scale,
    }


def _type(column: dict[str, Any]) -> str:
    """``Decimal(31,7)``, ``String(256)``, ``Date``: the Edm type as people write it."""
    sizes = [column["max_length"]] if column["max_length"] else [column["precision"], column["scale"]]
    known = ",".join(str(size) for size in sizes if size is not None)
    return str(column["type"]).removeprefix("Edm.") + (f"({known})" if known else "")
