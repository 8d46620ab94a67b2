"""The commands of ``%sac``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from IPython import display as _untyped

from sacnb._settings import is_profile_name
from sacnb._tenant.question import Question, read_names
from sacnb._write.order import hint_in_options
from sacnb.errors import ConfirmationError, QueryError, RowsError, UsageError
from sacnb.notebook.arguments import (
    argument,
    condition,
    frame_options,
    manual,
    parser_of,
    profile_named,
    row_count,
    variable,
)
from sacnb.notebook.words import FactTable, Lines, LoginLink, printable_frame
from sacnb.replay import active

if TYPE_CHECKING:
    import polars as pl

    from sacnb._tenant import Facts, Tenant
    from sacnb.notebook.session import Session

__all__ = ["COMMANDS", "Call", "Command"]


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a magic: its session, its arguments, and the variables it sees.

    ``frame`` is the library of frames and ``limit`` the maximum number of rows: as typed, or as configured.
    """

    session: Session
    arguments: argparse.Namespace
    namespace: Mapping[str, Any]
    frame: str
    limit: int | None

    def framed(self, frame: pl.DataFrame) -> object:
        """Return *frame* as a frame of the chosen library."""
        return frame.to_pandas() if self.frame == "pandas" else frame


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, its summary, its parser, and its function."""

    name: str
    summary: str
    parser: argparse.ArgumentParser
    run: Callable[[Call], object]


COMMANDS: Final[dict[str, Command]] = {}
_display: Final[Any] = _untyped.display


def _command(run: Callable[[Call], object]) -> Callable[[Call], object]:
    """Add a function, with the arguments that decorate it, to ``COMMANDS`` under its own name."""
    name = run.__name__
    summary = (run.__doc__ or "").partition("\n")[0]
    run = manual(f"sac {name}")(run)
    COMMANDS[name] = Command(name, summary, parser_of(run), run)
    return run


@_command
@argument("tenant", nargs="?", help="A variable that holds a connected tenant, a profile, 'sandbox', or a URL.")
@argument("--profile", metavar="NAME", help="The profile with tenant and client, instead of SAC_PROFILE.")
@argument("--dotenv", metavar="FILE", help="The settings file, instead of .env.")
def connect(call: Call) -> object:
    """Connect to a tenant: a connected one by its variable, a profile, or with the environment and .env.

    Do not type secrets here: a notebook keeps what you type.
    """
    from sacnb._tenant import Tenant

    wanted: str | None = call.arguments.tenant
    found = call.namespace.get(wanted) if wanted else None
    profile = call.arguments.profile
    if isinstance(found, Tenant):
        call.session.use(found)
        found.authenticate()
    else:
        if wanted and profile is None and is_profile_name(wanted):
            profile, wanted = profile_named(wanted), None
        dotenv = call.arguments.dotenv
        call.session.connect(wanted, profile=profile, dotenv_path=Path(dotenv) if dotenv else None)
    used = call.session.tenant.settings.profile
    return Lines(f"Connected to {_host(call)}{f', profile {used}' if used else ''}.")


@_command
@argument("text", nargs="?", default="", help="Only models with this text in their id, name or description.")
@frame_options
def models(call: Call) -> object:
    """List the models that SAC offers: id, name, description."""
    from sacnb._tenant.tenant import models_with

    frame = call.session.tenant.models()
    if call.session.catalogue is not None:
        call.session.catalogue.put_models(frame)
    return call.framed(printable_frame(models_with(call.arguments.text, frame), "model"))


@_command
@argument("model", help="The id of the model.")
def describe(call: Call) -> object:
    """Show a model's dimensions, measures, attributes, types and the grain of its dates."""
    schema = call.session.tenant.model(call.arguments.model).schema
    if call.session.catalogue is not None:
        call.session.catalogue.put_schema(call.arguments.model, schema)
    return schema


@_command
@argument("model", help="The id of the model.")
@argument("dimension", help="The dimension.")
@frame_options
def members(call: Call) -> object:
    """List the members of a dimension, with its hierarchy if it has one."""
    model, dimension = call.arguments.model, call.arguments.dimension
    frame = call.session.tenant.model(model).members(dimension)
    if call.session.catalogue is not None:
        call.session.catalogue.put_members(model, dimension, frame)
    return call.framed(printable_frame(frame, "member"))


@_command
@argument("model", help="The id of the model.")
@argument("variable", nargs="?", type=variable, help="Store the result in this variable instead of showing it.")
@argument(
    "--where",
    action="append",
    type=condition,
    default=[],
    metavar="COLUMN=VALUE",
    help="Keep rows with this value. Repeat it: for one column any of the values, for several columns all of them.",
)
@argument(
    "--under",
    action="append",
    type=condition,
    default=[],
    metavar="DIMENSION=MEMBER",
    help="Keep the rows of this member and of all below it in its hierarchy. Repeatable like --where.",
)
@argument("--since", metavar="PERIOD", help="The first period, such as 2010, 2010-Q1, 2010-01 or 2010-01-31.")
@argument("--until", metavar="PERIOD", help="The last period, inclusive.")
@argument("--date", metavar="COLUMN", help="The date column for --since and --until, if there are several.")
@argument("--dims", type=read_names, metavar="A,B", help="The dimensions to keep, by default all; SAC adds up others.")
@argument("--measures", type=read_names, metavar="A,B", help="The measures to keep, by default all.")
@argument("--limit", type=row_count, metavar="ROWS", help="The maximum number of rows.")
@argument(
    "--repeated",
    choices=["sum", "keep", "error"],
    default="sum",
    help="Several records for one key: add up their measures (the default), keep each as a row, or fail.",
)
@argument("--no-cache", action="store_true", help="Read from SAC or fail; neither read nor write the cache.")
@argument("--track", action="store_true", help="Read only what changed since the last time with --track.")
@argument("--dry-run", action="store_true", help="Only show the requests and SAC's row count.")
@frame_options
def refresh(call: Call) -> object:
    """Download and cache a model's facts; if SAC fails, return the last good result with a warning.

    The warning tells how old the result is and why. The result has .polars(), .pandas(), .tidy() and .plot(); with
    --polars or --pandas it is a frame. Put a value with blanks into quotes: --where "Sector=Real Estate".
    """
    given = call.arguments
    question = Question(
        where=tuple(given.where),
        under=tuple(given.under),
        since=given.since,
        until=given.until,
        date=given.date,
        dims=given.dims,
        measures=given.measures,
        limit=given.limit,
        repeated=given.repeated,
    )
    facts = question.facts(call.session.tenant.model(given.model))
    if given.dry_run:
        return _plan(facts)
    if given.track and given.no_cache:
        raise UsageError("--track keeps what it merges in the cache, so that it excludes --no-cache.")
    result = facts.track().refresh() if given.track else facts.fetch() if given.no_cache else facts.refresh()
    return result if given.frame is None else result.pandas() if call.frame == "pandas" else result.polars()


def _plan(facts: Facts) -> Lines:
    """Return the first page of each request, readable, and SAC's row count. Raises what ``count`` raises."""
    rows, limit = facts.count(), facts.query.top
    if rows is not None and limit is not None:
        rows = min(rows, limit)
    tenant_url = facts.connection.tenant_url
    urls = [part.url(tenant_url, facts.schema) for part in facts.query.split(facts.schema, tenant_url)]
    return Lines(
        *(f"GET {unquote(url.removeprefix(tenant_url))}" for url in urls),
        "SAC returned no row count." if rows is None else f"{rows:,} rows",
    )


@_command
@argument("model", help="The id of the model.")
@argument("rows", metavar="FRAME", type=variable, help="The variable that holds the frame.")
@argument("--version", metavar="ID", help="The version to write into, unless the frame has a column Version.")
@argument(
    "--method",
    choices=["Update", "Append", "CleanAndReplace"],
    default="Update",
    help="Replace values (the default), add to them, or delete the slice first.",
)
@argument("--map", action="append", type=condition, default=[], metavar="MODEL=FRAME", help="A column's other name.")
@argument("--default", action="append", type=condition, default=[], metavar="COLUMN=VALUE", help="A missing column.")
@argument(
    "--pivot", type=read_names, metavar="A,B", help="The dimension and measure of a frame with members as columns."
)
@argument("--scope", type=read_names, metavar="A,B", help="The dimensions of the slice that CleanAndReplace clears.")
@argument("--confirm", type=row_count, metavar="ROWS", help="The number of rows that CleanAndReplace deletes.")
@argument("--allow-partial", action="store_true", help="Write the good rows, and report the others.")
@argument("--dry-run", action="store_true", help="Check everything, in SAC too, and write nothing.")
@argument(
    "--panel", action="store_true", help="Show problems and changes in a panel, and write at the push of a button."
)
def write(call: Call) -> object:
    """Write a frame into a model: all rows or none, checked before and read back after.

    The report says what was written; report.undo() takes it back. Try it with --dry-run first.
    """
    given = call.arguments
    if given.rows not in call.namespace:
        raise UsageError(f"%sac write: there is no variable {given.rows!r}.", hint="Name the variable of a frame.")
    if given.panel and (given.dry_run or given.confirm is not None):
        raise UsageError("%sac write --panel checks and asks by itself.", hint="Leave out --dry-run and --confirm.")
    model, rows = call.session.tenant.model(given.model), call.namespace[given.rows]
    options = {
        "version": given.version,
        "method": given.method,
        "mapping": dict(given.map),
        "defaults": dict(given.default),
        "pivot": given.pivot,
        "scope": given.scope,
        "allow_partial": given.allow_partial,
    }
    if given.panel:
        return model.write_panel(rows, **options)
    try:
        return model.write(rows, confirm=given.confirm, dry_run=given.dry_run, **options)
    except (ConfirmationError, QueryError, RowsError) as error:
        error.hint = hint_in_options(error)
        if isinstance(error, RowsError):
            error.hint = f"{error.hint} --panel shows all of them as a table."
        raise


@_command
@argument("action", help="The id of the multi-action, from its Starter API URL.")
@argument("--member", action="append", type=condition, default=[], metavar="NAME=ID", help="A member; repeatable.")
@argument(
    "--path",
    action="append",
    type=condition,
    default=[],
    metavar="NAME=HIERARCHY:A/B/C",
    help="A member within a hierarchy, with all levels from the top; repeatable.",
)
@argument("--number", action="append", type=condition, default=[], metavar="NAME=NUMBER", help="A number.")
@argument("--no-wait", action="store_true", help="Return the run when it has been started.")
@argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="How long to wait for its end.")
def run(call: Call) -> object:
    """Start a multi-action as a named user (%sac login), and wait until its run is over.

    Steps commit one by one: if one fails, those before it have written, and stay.
    """
    from sacnb._actions.multi_action import read_parameters

    given = call.arguments
    parameters = read_parameters(given.member, given.path, given.number)
    started = call.session.tenant.multi_action(given.action).run(parameters)
    return started if given.no_wait else started.wait(timeout_s=given.timeout)


@_command
@argument("action", nargs="?", choices=["list", "clear", "repair"], default="list", help="The action; default: list.")
@argument("key", nargs="?", help="Only the entry whose key begins with this.")
@argument("--all", action="store_true", help="With 'clear': all entries.")
@frame_options
def cache(call: Call) -> object:
    """List, clear or repair the results cached on this machine."""
    store = call.session.tenant.cache
    action, key = call.arguments.action, call.arguments.key
    if action == "list":
        return call.framed(_entries(call, key))
    if action == "repair":
        done = [f"{one.key}: {one.action}. {one.reason}" for one in store.repair(key)]
        return Lines(*done or ["Every cached result can be used."])
    if (key is None) != call.arguments.all:
        raise UsageError("%sac cache clear needs the beginning of a key, or --all.")
    return Lines(*[f"Removed {entry.key}" for entry in store.clear(key)] or ["Nothing to remove."])


def _entries(call: Call, key: str | None) -> pl.DataFrame:
    import polars as pl

    store = call.session.tenant.cache
    schema: Any = {"key": pl.String, "model": pl.String, "rows": pl.Int64, "from": pl.Date, "to": pl.Date}
    schema |= {"refreshed": pl.Datetime("us", "UTC"), "bytes": pl.Int64, "problem": pl.String}
    rows = []
    for entry in (store.show(key),) if key else store.entries():
        info = entry.info
        known = (info.row_count, info.min_date, info.max_date, info.last_refresh_time) if info else (None,) * 4
        rows.append((entry.key, entry.provider_id, *known, entry.size_bytes, entry.problem))
    return pl.DataFrame(rows, schema=schema, orient="row")


@_command
def status(call: Call) -> object:
    """Show the tenant, the token, the requests so far, and the cache."""
    tenant = call.session.tenant
    token = str(tenant.authenticate())
    entries = tenant.cache.entries()
    size = sum(entry.size_bytes for entry in entries)
    sent = tenant.telemetry.summary()
    # The folder of a replay is a random one, and a recorded notebook has the same outputs each time.
    folder = f", in {tenant.cache.directory}" if active() is None else ""
    facts = {
        "tenant": _host(call),
        "token": token,
        "requests": f"{sent.requests:,}, of which {sent.failures:,} failed after all retries",
        "retries": f"{sum(sent.retries.values()):,}, waiting {sent.seconds_waited:.1f} s",
        "received": f"{sent.rows:,} rows, {sent.bytes:,} bytes",
        "cache": f"{len(entries):,} results, {size:,} bytes{folder}",
    }
    return FactTable("Status", facts)


@_command
@argument("--profile", metavar="NAME", help="The profile with tenant and client, instead of SAC_PROFILE.")
@argument("--keep", action="store_true", help="Keep the login in the system's keyring, for later sessions.")
@argument("--paste", action="store_true", help="Paste the address that the browser ends at, even if it shows an error.")
@argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="How long to wait for the browser.")
def login(call: Call) -> object:
    """Log in as a named user with the browser, and use this tenant from now on.

    Where the browser is on another machine than the kernel, as with JupyterHub, you are asked to paste.
    """
    given = call.arguments
    shown: list[Any] = []

    def log_in(tenant: Tenant) -> None:
        def show(link: str) -> None:
            handle = _display(LoginLink(link), display_id=True)
            shown.extend([handle] if handle is not None else [])

        try:
            tenant._login(keep=given.keep, paste=given.paste or None, timeout_s=given.timeout, show=show)
        finally:
            for handle in shown:  # a saved notebook needs no link that has been used
                handle.update(Lines("The login is over."))

    return call.session.log_in(log_in, given.profile).whoami()


@_command
def logout(call: Call) -> object:
    """Forget the login of the named user, here and in the system's keyring."""
    return Lines("Logged out." if call.session.tenant.logout() else "Nobody was logged in.")


@_command
def whoami(call: Call) -> object:
    """Show the user or the client that this session acts as."""
    return call.session.tenant.whoami()


@_command
def renew(call: Call) -> object:
    """Get a new token now, whatever the age of the present one."""
    return call.session.tenant.renew_token()


def _host(call: Call) -> str:
    tenant = call.session.tenant
    return "the sandbox" if tenant.settings.is_sandbox else tenant.settings.tenant_url
