"""``sacnb cache``: manage the results cached on this machine."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from sacnb._rendering import local_time
from sacnb.cli.application import Invocation
from sacnb.cli.completion import complete_key
from sacnb.cli.output import json_option, print_facts, print_json, print_table, say
from sacnb.errors import CacheError, UnknownNameError

if TYPE_CHECKING:
    from sacnb._cache.staging import StagedPull
    from sacnb._cache.store import Cache, CacheEntry

__all__ = ["command"]

_ENTRY_KEYS = (
    "key, path, size_bytes, problem (null if it can be used), model, entity_set, tenant, source, query, row_count, "
    "min_date, max_date, last_refresh_time (UTC)"
)
_PULL_KEYS: Final = (
    "id, model, entity_set, query, target (the folder it writes to, null for the cache), rows, size_bytes, "
    "started_at (UTC), is_running, problem (null if it can be resumed)"
)
# A key ends in 64 hex digits; eight of them identify an entry.
_SHORT_KEY_END: Final = 8 - 64
_key_argument = click.argument("key", shell_complete=complete_key)


_AGE: Final = re.compile(r"(\d{1,6})([dhms])")
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def _age(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:  # noqa: ARG001
    """Read ``30d``, ``12h``, ``45m`` or ``90s``."""
    if value is None:
        return None
    found = _AGE.fullmatch(value.strip().lower())
    if found is None:
        raise click.BadParameter(f"{value!r} is not an age; expected a number with d, h, m or s, such as 30d or 12h.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group("cache", short_help="Manage the results cached on this machine.")
def command() -> None:
    """Manage the results cached on this machine.

    A KEY may be shortened, as long as only one entry begins with it.
    """


@command.command("list")
@click.option("--staging", is_flag=True, help="List downloads that are running or incomplete, instead of results.")
@json_option(f"directory, entries (a list of {_ENTRY_KEYS}); with --staging directory, pulls (a list of {_PULL_KEYS})")
@click.pass_obj
def list_entries(invocation: Invocation, staging: bool, as_json: bool) -> None:
    """List cached results: model, rows, dates, age, size."""
    cache = invocation.cache()
    if staging:
        _list_pulls(cache, as_json=as_json)
        return
    entries = cache.entries()
    if as_json:
        print_json({"directory": cache.directory, "entries": [_described(entry) for entry in entries]})
        return
    if entries:
        rows = [_row(entry) for entry in entries]
        print_table(("key", "model", "tenant", "rows", "dates", "age", "size"), rows, right=("rows", "size"))
        say(f"In {cache.directory}.")
    else:
        click.echo(f"The cache in {cache.directory} is empty. Refresh a model first: sacnb refresh MODEL")
    broken = sum(entry.problem is not None for entry in entries)
    if broken:
        say(f"{broken} of them cannot be used. Run: sacnb cache repair")
    incomplete = sum(not pull.is_running for pull in cache.staging())
    if incomplete:
        say(f"{incomplete} incomplete download{'' if incomplete == 1 else 's'}. Run: sacnb cache list --staging")


def _list_pulls(cache: Cache, *, as_json: bool) -> None:
    pulls = cache.staging()
    if as_json:
        print_json({"directory": cache.directory, "pulls": [_described_pull(pull) for pull in pulls]})
        return
    if not pulls:
        click.echo(f"There are no running or incomplete downloads in {cache.directory}.")
        return
    columns = ("download", "model", "target", "rows", "size", "started", "state")
    print_table(columns, [_pull_row(pull) for pull in pulls], right=("rows", "size"))
    if any(not pull.is_running for pull in pulls):
        click.echo("The same query resumes its download. To remove incomplete downloads: sacnb cache clear --staging")


@command.command("show")
@_key_argument
@json_option(_ENTRY_KEYS)
@click.pass_obj
def show(invocation: Invocation, key: str, as_json: bool) -> None:
    """Show all details of a cached result. Exit code 4 if it cannot be used."""
    entry = invocation.cache().show(key)
    described = _described(entry)
    if as_json:
        print_json(described)
    else:
        refreshed = described["last_refresh_time"]
        print_facts({**described, "last_refresh_time": str(local_time(refreshed)) if refreshed else None})
    if entry.problem is not None:
        raise CacheError(entry.problem, repair_command=f"sacnb cache repair --key {entry.key}")


@command.command("history", short_help="List the earlier results that are kept.")
@click.argument("key", required=False, shell_complete=complete_key)
@json_option(f"entries (a list of {_ENTRY_KEYS}), the oldest first")
@click.pass_obj
def history(invocation: Invocation, key: str | None, as_json: bool) -> None:
    """List the earlier results of a KEY, or of all, the oldest first; SAC_CACHE_HISTORY_MB limits their room."""
    cache = invocation.cache()
    entries = cache.history(key)
    if as_json:
        print_json({"entries": [_described(entry) for entry in entries]})
        return
    if not entries:
        click.echo(f"No earlier results are kept in {cache.directory}.")
        return
    rows = [(_when(entry), *_row(entry)) for entry in entries]
    print_table(("refreshed", "key", "model", "tenant", "rows", "dates", "age", "size"), rows, right=("rows", "size"))


def _when(entry: CacheEntry) -> str:
    return "" if entry.info is None else f"{local_time(entry.info.last_refresh_time):%Y-%m-%d %H:%M:%S %z}"


@command.command("as-of", short_help="Write or describe a result as it was at a time.")
@_key_argument
@click.argument("time")
@click.option("-o", "--output", metavar="FILE", help="Write it to this file: .parquet, .csv, .xlsx or .arrow.")
@json_option("model, query, row_count, min_date, max_date, last_refresh_time (UTC), output (null without --output)")
@click.pass_obj
def as_of(invocation: Invocation, key: str, time: str, output: str | None, as_json: bool) -> None:
    """Write or describe the result of KEY as it was at TIME, such as 2026-11-01 or "2026-11-01 12:00".

    Without a zone, TIME is one of this machine. Exit code 4 if nothing that old is kept.
    """
    from sacnb.cli.commands.export import format_of, write_result

    form = None if output is None else format_of(output)
    result = invocation.cache().as_of(time, key)
    if output is not None and form is not None:
        write_result(result, form, output)
    info = result.info
    told = {
        "model": info.provider_id,
        "query": info.query,
        "row_count": info.row_count,
        "min_date": info.min_date,
        "max_date": info.max_date,
        "last_refresh_time": info.last_refresh_time,
        "output": output,
    }
    if as_json:
        print_json(told)
    else:
        print_facts({**told, "last_refresh_time": str(local_time(info.last_refresh_time))})


@command.command("clear")
@click.argument("key", required=False, shell_complete=complete_key)
@click.option("--all", "everything", is_flag=True, help="All results, including those that repair moved aside.")
@click.option("--older-than", callback=_age, metavar="AGE", help="Results older than this: 30d, 12h, 45m, 90s.")
@click.option(
    "--staging",
    is_flag=True,
    help="Incomplete downloads instead of results: all, one by its id as KEY, or old ones.",
)
@json_option("removed (a list of keys, or of ids of downloads)")
@click.pass_obj
def clear(
    invocation: Invocation,
    *,
    key: str | None,
    everything: bool,
    older_than: timedelta | None,
    staging: bool,
    as_json: bool,
) -> None:
    """Remove one cached result, old ones, or all.

    Running downloads are not touched.
    """
    choices = sum((key is not None, everything, older_than is not None))
    if choices > 1 or not (choices or staging):
        raise click.UsageError("Choose what to remove: a KEY, --older-than AGE, --all, or --staging.")
    cache = invocation.cache()
    if staging:
        pull_id = None if key is None else _pull_id(cache, key)
        gone = [pull.id for pull in cache.clean_staging(pull_id, older_than=older_than)]
    else:
        gone = [entry.key for entry in cache.clear(key, older_than=older_than)]
    if as_json:
        print_json({"removed": gone})
        return
    for one in gone:
        click.echo(f"Removed {one}")
    if not gone:
        click.echo("Nothing to remove.")


def _pull_id(cache: Cache, begin: str) -> str:
    ids = [pull.id for pull in cache.staging()]
    found = [one for one in ids if one.startswith(begin)]
    if len(found) != 1:
        raise UnknownNameError("download", begin, found or ids, where=f"{cache.directory}")
    return found[0]


@command.command("repair", short_help="Move aside results that cannot be used.")
@click.option("--key", shell_complete=complete_key, help="Only this result.")
@json_option("repaired (a list of key, action: moved aside or removed, reason)")
@click.pass_obj
def repair(invocation: Invocation, key: str | None, as_json: bool) -> None:
    """Read every cached result to its end, and move aside those that cannot be used.

    The next refresh of the model downloads it again.
    """
    done = invocation.cache().repair(key)
    if as_json:
        print_json({"repaired": [dataclasses.asdict(one) for one in done]})
        return
    for one in done:
        click.echo(f"{one.key}: {one.action}. {one.reason}")
    if not done:
        click.echo("Every cached result can be used.")


def _described(entry: CacheEntry) -> dict[str, Any]:
    info = entry.info
    return {
        "key": entry.key,
        "path": entry.path,
        "size_bytes": entry.size_bytes,
        "problem": entry.problem,
        "model": info.provider_id if info else None,
        "entity_set": info.entity_set if info else None,
        "tenant": info.tenant_host if info else None,
        "source": info.source if info else None,
        "query": info.query if info else None,
        "row_count": info.row_count if info else None,
        "min_date": info.min_date if info else None,
        "max_date": info.max_date if info else None,
        "last_refresh_time": info.last_refresh_time if info else None,
    }


def _row(entry: CacheEntry) -> tuple[object, ...]:
    from sacnb._pull.progress import age_in_words

    info, size = entry.info, f"{max(1, entry.size_bytes // 1024):,} KB"
    key = entry.key[:_SHORT_KEY_END]
    if info is None:
        return (key, "", "", "", entry.problem, "", size)
    dates = f"{info.min_date} to {info.max_date}" if info.min_date else ""
    age = age_in_words(datetime.now(UTC) - info.last_refresh_time)
    return (key, f"{info.provider_id}/{info.entity_set}", info.tenant_host, info.row_count, dates, age, size)


def _described_pull(pull: StagedPull) -> dict[str, Any]:
    return {
        "id": pull.id,
        "model": pull.provider_id,
        "entity_set": pull.entity_set,
        "query": pull.query,
        "target": pull.target or None,
        "rows": pull.rows,
        "size_bytes": pull.size_bytes,
        "started_at": pull.started_at,
        "is_running": pull.is_running,
        "problem": pull.problem,
    }


def _pull_row(pull: StagedPull) -> tuple[object, ...]:
    from sacnb._pull.progress import age_in_words

    started = f"{age_in_words(datetime.now(UTC) - pull.started_at)} ago" if pull.started_at else ""
    state = "running" if pull.is_running else (pull.problem or "incomplete")
    size = f"{max(1, pull.size_bytes // 1024):,} KB"
    model = f"{pull.provider_id}/{pull.entity_set}" if pull.provider_id else ""
    return (pull.id[:8], model, pull.target or "the cache", pull.rows, size, started, state)
