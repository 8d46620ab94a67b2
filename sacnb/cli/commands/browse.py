"""``sacnb models``, ``describe``, ``members`` and ``sql``: look at models, their master data and their rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from sacnb.cli.application import Invocation
from sacnb.cli.output import json_option, print_facts, print_json, print_table, say
from sacnb.cli.question import model_argument

if TYPE_CHECKING:
    from sacnb._odata.schema import Column
    from sacnb._tenant import Model

__all__ = ["describe", "members", "models", "sql"]

# More rows are for a file: a terminal scrolls them away.
_ROWS_IN_A_TABLE: Final = 100


@click.command("describe", short_help="Show a model's columns, types and dates.")
@model_argument
@json_option(
    "model, namespace, entity_sets, dimensions, measures and attributes (each a list of name, label, type, nullable, "
    "max_length, precision, scale), date_columns (name, grain)"
)
@click.pass_obj
def describe(invocation: Invocation, model_id: str, as_json: bool) -> None:
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
    print_table(("role", "name", "label", "type", "grain"), rows, whole=("name",))
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
    """Return the type as people write it: ``Decimal(31,7)``, ``String(256)``, ``Date``."""
    sizes = [column["max_length"]] if column["max_length"] else [column["precision"], column["scale"]]
    known = ",".join(str(size) for size in sizes if size is not None)
    return str(column["type"]).removeprefix("Edm.") + (f"({known})" if known else "")


@click.command("members", short_help="List a dimension's members and hierarchy.")
@model_argument
@click.argument("dimension")
@json_option("a list of id, description, with a hierarchy parent and level (0 is a root), and SAC's attributes")
@click.pass_obj
def members(invocation: Invocation, model_id: str, dimension: str, as_json: bool) -> None:
    """List the members of a dimension, with their place in its hierarchy."""
    with invocation.connect() as tenant:
        frame = tenant.model(model_id).members(dimension)
    if as_json:
        print_json(frame.to_dicts())
    else:
        right = ("level",) if "level" in frame.columns else ()
        print_table(frame.columns, frame.rows(), right=right, whole=("id",))


@click.command("models", short_help="List the models.")
@click.argument("search", metavar="[TEXT]", default="")
@json_option("a list of id, name, description")
@click.pass_obj
def models(invocation: Invocation, search: str, as_json: bool) -> None:
    """List the models that SAC offers to this client: all, or those with TEXT in their id, name or description."""
    with invocation.connect() as tenant:
        frame = tenant.models(search)
    if as_json:
        print_json(frame.to_dicts())
    else:
        print_table(frame.columns, frame.rows(), whole=("id",))


@click.command("sql", short_help="Run an SQL query on models.")
@click.argument("query")
@click.option("--limit", type=click.IntRange(0), help="The maximum number of rows.")
@click.option("-o", "--output", metavar="FILE", help="Write a file instead: .parquet, .csv, .xlsx or .arrow.")
@click.option("--decimals", is_flag=True, help="Measures as exact decimals instead of float64; as text in JSON.")
@json_option("a list of rows, each with the names of the columns")
@click.pass_obj
def sql(
    invocation: Invocation, *, query: str, limit: int | None, output: str | None, decimals: bool, as_json: bool
) -> None:
    """Run an SQL query whose tables are models, by id or name: sacnb sql "select * from US_EMPLOYMENT limit 5".

    Filters, columns and limits are sent to SAC; sums and joins are done here. A table shows the first 100 rows.
    """
    from sacnb._frames.preview import as_shown
    from sacnb.cli.commands.export import format_of, write_table

    if output is not None and as_json:
        raise click.UsageError("Choose --json or --output.")
    form = None if output is None else format_of(output)
    with invocation.connect() as tenant:
        frame = tenant.sql(query, limit=limit, decimals=decimals)
    if form is not None and output is not None:
        write_table(frame.to_arrow(), form, output, about={"query": query})
        say(f"Wrote {len(frame):,} rows to {output}.")
    elif as_json:
        print_json(json.loads(frame.write_json()))
    else:
        shown = frame.head(_ROWS_IN_A_TABLE)
        right = tuple(name for name, dtype in frame.schema.items() if dtype.is_float() or dtype.is_decimal())
        cells = [as_shown(column.to_list()) if column.name in right else column.to_list() for column in shown]
        whole = tuple(name for name, dtype in frame.schema.items() if dtype.is_integer())
        print_table(frame.columns, list(zip(*cells, strict=True)), right=(*right, *whole))
        if len(frame) > _ROWS_IN_A_TABLE:
            say(f"{_ROWS_IN_A_TABLE} of {len(frame):,} rows are shown; --json and --output FILE give all.")
