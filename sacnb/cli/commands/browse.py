"""``sacnb models``, ``describe``, ``members``, ``sql``: look at models. ``login``, ``logout``, ``whoami``: as whom."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sacnb.cli.application import Invocation
from sacnb.cli.output import is_terminal, json_option, print_facts, print_json, print_table, say
from sacnb.cli.question import model_argument

if TYPE_CHECKING:
    from sacnb._auth.named_user_flow import Identity
    from sacnb._odata.schema import Column
    from sacnb._tenant import Model, Tenant

__all__ = ["describe", "login", "logout", "members", "models", "sql", "whoami"]

_F = TypeVar("_F", bound=Callable[..., Any])

# More rows are for a file: a terminal scrolls them away.
_ROWS_IN_A_TABLE: Final = 100
_KEYS: Final = "kind, user, email, client_id, tenant_host, expires_at (UTC; null if the token does not say), is_kept"


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


def _profile_option(command: _F) -> _F:
    option = click.option(
        "--profile", metavar="NAME", help="The profile with tenant and client, as before the command."
    )
    return option(command)


def _connect(invocation: Invocation, profile: str | None, **arguments: Any) -> Tenant:
    return dataclasses.replace(invocation, profile=profile or invocation.profile).connect(**arguments)


@click.command("login", short_help="Log in as a named user, and keep the login in the system's keyring.")
@_profile_option
@click.option("--paste/--no-paste", default=None, help="Paste the address, instead of waiting for a browser here.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=300.0, show_default=True, metavar="SECONDS",
    help="How long to wait for the browser.",
)  # fmt: skip
@json_option(_KEYS)
@click.pass_obj
def login(invocation: Invocation, profile: str | None, paste: bool | None, timeout_s: float, as_json: bool) -> None:
    """Log in as a named user with the browser, and keep the login in the system's keyring (extra "keyring").

    Later commands with the same tenant and client find it if SAC_AUTH is authorization_code; sacnb logout deletes it.
    Where the browser is on another machine, paste the address of the page that it ends at, even if it shows an error.
    """

    def ask(prompt: str) -> str:
        if not is_terminal(sys.stdin):
            raise click.UsageError("The address can be pasted in a terminal only. Run sacnb login in one.")
        return str(click.prompt(prompt.removesuffix(": "), hide_input=True, err=True))

    with _connect(invocation, profile, auth="authorization_code") as tenant:
        who = tenant._login(
            keep=True,
            paste=paste,
            timeout_s=timeout_s,
            show=lambda link: say(f"Log in to {tenant.settings.tenant_url}: {link}"),
            ask=ask,
        )
        is_used = _uses_logins(invocation, profile)
    _print_who(who, as_json=as_json)
    if not is_used:
        where = f"auth = 'authorization_code' in the profile {profile or invocation.profile}"
        if not (profile or invocation.profile):
            where = "SAC_AUTH=authorization_code"
        say(f"Note: set {where}, so that other commands use this login.")


def _uses_logins(invocation: Invocation, profile: str | None) -> bool:
    """Return whether other commands with these settings act as the named user."""
    from sacnb._settings import Settings

    arguments = dataclasses.replace(invocation, profile=profile or invocation.profile).arguments
    return Settings.resolve(**arguments).auth == "authorization_code"


@click.command("logout", short_help="Delete the login of the named user from the system's keyring.")
@_profile_option
@click.pass_obj
def logout(invocation: Invocation, profile: str | None) -> None:
    """Delete the login of the named user from the system's keyring.

    SAC publishes no way to end a login early: an access token in use ends by itself within the hour.
    """
    with _connect(invocation, profile, auth="authorization_code") as tenant:
        click.echo("Logged out." if tenant.logout() else "Nobody was logged in.")


@click.command("whoami", short_help="Show the user or the client that commands act as.")
@_profile_option
@json_option(_KEYS)
@click.pass_obj
def whoami(invocation: Invocation, profile: str | None, as_json: bool) -> None:
    """Show the user or the client that commands act as, as the token says.

    Exit code 2 if there is no valid token, such as when nobody is logged in.
    """
    with _connect(invocation, profile) as tenant:
        _print_who(tenant.whoami(), as_json=as_json)


def _print_who(who: Identity, *, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(who))
        return
    is_user = who.kind == "named user"
    facts = {
        "user": (who.user or "the token does not say") if is_user else None,
        "e-mail": who.email or None,
        "kind": who.kind,
        "client": who.client_id or None,
        "tenant": who.tenant_host,
        "token valid until": f"{who.expires_at:%Y-%m-%d %H:%M:%S} UTC" if who.expires_at else "the token does not say",
        "login": ("kept in the system's keyring" if who.is_kept else "ends with this program") if is_user else None,
    }
    print_facts(facts)
