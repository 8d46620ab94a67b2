"""The subcommands of ``%sac``: what each takes, and what it gives.

What a refresh would ask of SAC, and how much would come back.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from IPython.core.error import UsageError

from sacnb._rendering import shown_path
from sacnb.notebook.arguments import argument, frame_options, manual, names, pair, parser_of, row_count, variable
from sacnb.notebook.words import Said, Told

if TYPE_CHECKING:
    import polars as pl

    from sacnb._tenant import Facts
    from sacnb.notebook.session import Session

__all__ = ["COMMANDS", "Call", "Command", "dry_run"]


def dry_run(facts: Facts) -> Said:
    """The first page of each request that ``facts`` needs, readable, and the rows that SAC counts for them.

    Counting asks SAC, but for no rows. Raises what ``count`` raises.
    """
    rows, most = facts.count(), facts.query.top
    if rows is not None and most is not None:
        rows = min(rows, most)
    tenant_url = facts.connection.tenant_url
    urls = [piece.url(tenant_url, facts.schema) for piece in facts.query.split(facts.schema, tenant_url)]
    return Said(
        *(f"GET {unquote(url.removeprefix(tenant_url))}" for url in urls),
        "SAC does not say how many rows there are." if rows is None else f"{rows:,} rows",
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a magic: what was typed, for which tenant, among which variables.

    ``frame`` is the library of frames, ``limit`` the most rows: as typed, or as configured.
    """

    session: Session
    arguments: argparse.Namespace
    namespace: Mapping[str, Any]
    frame: str
    limit: int | None

    def framed(self, frame: pl.DataFrame) -> object:
        """A frame of the library that was asked for."""
        return frame.to_pandas() if self.frame == "pandas" else frame


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, what it does in a line, its parser, and the function that does it."""

    name: str
    summary: str
    parser: argparse.ArgumentParser
    run: Callable[[Call], object]


COMMANDS: Final[dict[str, Command]] = {}
_Run = Callable[[Call], object]


def _command(run: _Run) -> _Run:
    """Enter a function, with the arguments that decorate it, into ``COMMANDS``, under its own name."""
    name = run.__name__
    summary = (run.__doc__ or "").partition("\n")[0]
    run = manual(f"sac {name}")(run)
    COMMANDS[name] = Command(name, summary, parser_of(run), run)
    return run


@_command
@argument("tenant", nargs="?", help="'sandbox', an address, or a variable that holds a connected tenant.")
@argument("--dotenv", metavar="FILE", help="The file with the settings, instead of .env.")
def connect(call: Call) -> object:
    """Connect to a tenant: one that is connected already, or by the environment and .env.

    Secrets are never typed here: a notebook keeps what is typed into it.
    """
    from sacnb._tenant import Tenant

    wanted: str | None = call.arguments.tenant
    found = call.namespace.get(wanted) if wanted else None
    if isinstance(found, Tenant):
        call.session.use(found)
        found.authenticate()
    elif wanted and wanted.isidentifier() and wanted != "sandbox":
        raise UsageError(f"%sac connect {wanted}: there is no connected tenant of that name, and it is no address.")
    else:
        dotenv = call.arguments.dotenv
        call.session.connect(wanted, dotenv_path=Path(dotenv) if dotenv else None)
    return Said(f"Connected to {_host(call)}.")


@_command
@argument("text", nargs="?", default="", help="Only models that have this in their id, name or description.")
@frame_options
def models(call: Call) -> object:
    """List the models that SAC offers: id, name, description."""
    import polars as pl

    frame = call.session.tenant.models()
    if call.session.catalogue is not None:
        call.session.catalogue.learn_models(frame)
    text = call.arguments.text.casefold()
    found = [any(text in (cell or "").casefold() for cell in row) for row in frame.rows()]
    return call.framed(frame.filter(pl.Series(found, dtype=pl.Boolean)))


@_command
@argument("model", help="The id of the model.")
def describe(call: Call) -> object:
    """Show a model's dimensions, measures, attributes, types and the grain of its dates."""
    schema = call.session.tenant.model(call.arguments.model).schema
    if call.session.catalogue is not None:
        call.session.catalogue.learn_schema(call.arguments.model, schema)
    return schema


@_command
@argument("model", help="The id of the model.")
@argument("dimension", help="The dimension.")
@frame_options
def members(call: Call) -> object:
    """List the members of a dimension, with its hierarchy where there is one."""
    model, dimension = call.arguments.model, call.arguments.dimension
    frame = call.session.tenant.model(model).members(dimension)
    if call.session.catalogue is not None:
        call.session.catalogue.learn_members(model, dimension, frame)
    return call.framed(frame)


@_command
@argument("model", help="The id of the model.")
@argument("variable", nargs="?", type=variable, help="Where to put the result, instead of showing it.")
@argument(
    "--where",
    action="append",
    type=pair,
    default=[],
    metavar="COLUMN=VALUE",
    help="Keep rows with this value; several for one column mean one of them, several columns all of them.",
)
@argument("--since", metavar="PERIOD", help="The first period, such as 2010, 2010-Q1, 2010-01 or 2010-01-31.")
@argument("--until", metavar="PERIOD", help="The last period, included.")
@argument("--date", metavar="COLUMN", help="The column that --since and --until mean, where there are several.")
@argument("--dims", type=names, metavar="A,B", help="The dimensions to keep; SAC sums over the others.")
@argument("--measures", type=names, metavar="A,B", help="The measures to keep.")
@argument("--limit", type=row_count, metavar="ROWS", help="The most rows to get.")
@argument("--no-cache", action="store_true", help="Get the rows from SAC or fail; keep nothing, serve nothing kept.")
@argument("--dry-run", action="store_true", help="Only say what would be asked, and how many rows SAC has for it.")
@frame_options
def refresh(call: Call) -> object:
    """Get a model's facts and keep them; if SAC fails, the last good ones, with a warning that says how old they are.

    The result has .polars(), .pandas(), .tidy() and .plot(); with --polars or --pandas it is a frame. A value with
    blanks stands in quotes: --where "Sector=Real Estate".
    """
    facts = _facts(call)
    if call.arguments.dry_run:
        return dry_run(facts)
    result = facts.fetch() if call.arguments.no_cache else facts.refresh()
    if call.arguments.frame is None:
        return result
    return result.pandas() if call.frame == "pandas" else result.polars()


def _facts(call: Call) -> Facts:
    from sacnb._tenant.facts import with_conditions

    given = call.arguments
    facts = call.session.tenant.model(given.model).facts(
        since=given.since,
        until=given.until,
        date=given.date,
        dims=given.dims,
        measures=given.measures,
        limit=given.limit,
    )
    return with_conditions(facts, given.where)


@_command
@argument("action", nargs="?", choices=["list", "clear", "repair"], default="list", help="What to do; 'list' shows it.")
@argument("key", nargs="?", help="One entry only, by the beginning of its key.")
@argument("--all", action="store_true", help="With 'clear': all entries.")
@frame_options
def cache(call: Call) -> object:
    """Look after the results that are kept on this machine: list them, clear one or all, repair."""
    kept = call.session.tenant.cache
    action, key = call.arguments.action, call.arguments.key
    if action == "list":
        return call.framed(_entries(call, key))
    if action == "repair":
        done = kept.repair(key)
        return Said(*[f"{one.key}: {one.action}. {one.reason}" for one in done] or ["Every kept result can be used."])
    if (key is None) != call.arguments.all:
        raise UsageError("%sac cache clear takes the beginning of a key, or --all.")
    gone = kept.clear(key)
    return Said(*[f"Removed {entry.key}" for entry in gone] or ["There was nothing to remove."])


def _entries(call: Call, key: str | None) -> pl.DataFrame:
    import polars as pl

    kept = call.session.tenant.cache
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "key": pl.String,
        "model": pl.String,
        "rows": pl.Int64,
        "from": pl.Date,
        "to": pl.Date,
        "refreshed": pl.Datetime("us", "UTC"),
        "bytes": pl.Int64,
        "problem": pl.String,
    }
    rows = []
    for entry in (kept.show(key),) if key else kept.entries():
        info = entry.info
        known = (info.row_count, info.min_date, info.max_date, info.last_refresh_time) if info else (None,) * 4
        rows.append((entry.key, entry.provider_id, *known, entry.size_bytes, entry.problem))
    return pl.DataFrame(rows, schema=schema, orient="row")


@_command
def status(call: Call) -> object:
    """Show the tenant, the token, what was sent so far, and what is kept."""
    tenant = call.session.tenant
    token = str(tenant.authenticate())
    entries = tenant.cache.entries()
    size = sum(entry.size_bytes for entry in entries)
    sent = tenant.telemetry.summary()
    facts = {
        "tenant": _host(call),
        "token": token,
        "requests": f"{sent.requests:,}, of which {sent.failures:,} failed for good",
        "retries": f"{sum(sent.retries.values()):,}, waiting {sent.seconds_waited:.1f} s",
        "received": f"{sent.rows:,} rows, {sent.bytes:,} bytes",
        "kept": f"{len(entries):,} results, {size:,} bytes, in {shown_path(tenant.cache.directory)}",
    }
    return Told("Status", facts)


@_command
def renew(call: Call) -> object:
    """Get a new token now, whatever the age of the present one."""
    return call.session.tenant.renew_token()


def _host(call: Call) -> str:
    tenant = call.session.tenant
    return "the sandbox" if tenant.settings.is_sandbox else tenant.settings.tenant_url
