"""``sacnb cache``: the results that are kept on this machine."""

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
    "key, path, size_bytes, problem (null where it can be used), model, entity_set, tenant, source, query, row_count, "
    "min_date, max_date, last_refresh_time (UTC)"
)
_PULL_KEYS: Final = (
    "id, model, entity_set, query, target (the folder it was to end up in, null for the cache), rows, size_bytes, "
    "started_at (UTC), is_running, problem (null where it can be gone on with)"
)
# A key ends in 64 hex digits; eight of them are enough to tell entries apart, and to name one.
_SHORT_KEY_END: Final = 8 - 64
_key_argument = click.argument("key", shell_complete=complete_key)


_AGE: Final = re.compile(r"(\d{1,6})([dhms])")
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def _age(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:  # noqa: ARG001
    """``30d``, ``12h``, ``45m`` or ``90s`` as a span of time."""
    if value is None:
        return None
    found = _AGE.fullmatch(value.strip().lower())
    if found is None:
        raise click.BadParameter(f"{value!r} is no age; expected a number with d, h, m or s, such as 30d or 12h.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group("cache", short_help="The results kept on this machine.")
def command() -> None:
    """Look after the results that are kept on this machine.

    A KEY may be shortened to its beginning, as long as one entry begins like that.
    """


@command.command("list")
@click.option("--staging", is_flag=True, help="The pulls that are on their way, or ended early, and not the results.")
@json_option(f"directory, entries (a list of {_ENTRY_KEYS}); with --staging directory, pulls (a list of {_PULL_KEYS})")
@click.pass_obj
def list_entries(invocation: Invocation, staging: bool, as_json: bool) -> None:
    """List what is kept: model, rows, dates, age, size."""
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
        click.echo(f"In {cache.directory}.")
    else:
        click.echo(f"Nothing is kept in {cache.directory}. Refresh a model first: sacnb refresh MODEL")
    broken = sum(entry.problem is not None for entry in entries)
    if broken:
        say(f"{broken} of them cannot be used. Run: sacnb cache repair")
    ended_early = sum(not pull.is_running for pull in cache.staging())
    if ended_early:
        say(f"{ended_early} {'pull' if ended_early == 1 else 'pulls'} ended early. Run: sacnb cache list --staging")


def _list_pulls(cache: Cache, *, as_json: bool) -> None:
    pulls = cache.staging()
    if as_json:
        print_json({"directory": cache.directory, "pulls": [_described_pull(pull) for pull in pulls]})
        return
    if not pulls:
        click.echo(f"No pull is on its way in {cache.directory}, and none ended early.")
        return
    columns = ("pull", "model", "for", "rows", "size", "begun", "state")
    print_table(columns, [_pull_row(pull) for pull in pulls], right=("rows", "size"))
    if any(not pull.is_running for pull in pulls):
        click.echo("The same question goes on where its pull ended. To remove what ended: sacnb cache clear --staging")


@command.command("show")
@_key_argument
@json_option(_ENTRY_KEYS)
@click.pass_obj
def show(invocation: Invocation, key: str, as_json: bool) -> None:
    """Show everything that is known of one kept result. Exit code 4 where it cannot be used."""
    entry = invocation.cache().show(key)
    described = _described(entry)
    if as_json:
        print_json(described)
    else:
        refreshed = described["last_refresh_time"]
        print_facts({**described, "last_refresh_time": str(local_time(refreshed)) if refreshed else None})
    if entry.problem is not None:
        raise CacheError(entry.problem, repair_command=f"sacnb cache repair --key {entry.key}")


@command.command("clear")
@click.argument("key", required=False, shell_complete=complete_key)
@click.option("--all", "everything", is_flag=True, help="All of them, also those that repair moved aside.")
@click.option(
    "--older-than", callback=_age, metavar="AGE", help="Those refreshed longer ago than this: 30d, 12h, 45m, 90s."
)
@click.option(
    "--staging", is_flag=True, help="Not results, but pulls that ended early: all, one by its id as KEY, or old ones."
)
@json_option("removed (a list of keys, or of ids of pulls)")
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
    """Forget one kept result, the old ones, or all; say which.

    What a process is pulling at the moment is let alone.
    """
    said = sum((key is not None, everything, older_than is not None))
    if said > 1 or not (said or staging):
        raise click.UsageError("Say what to forget: a KEY, --older-than AGE, --all, or --staging.")
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
        click.echo("There was nothing to remove.")


def _pull_id(cache: Cache, begin: str) -> str:
    ids = [pull.id for pull in cache.staging()]
    found = [one for one in ids if one.startswith(begin)]
    if len(found) != 1:
        raise UnknownNameError("pull", begin, found or ids, where=f"{cache.directory}")
    return found[0]


@command.command("repair", short_help="Move aside what cannot be used.")
@click.option("--key", shell_complete=complete_key, help="Only this one.")
@json_option("repaired (a list of key, action: moved aside or removed, reason)")
@click.pass_obj
def repair(invocation: Invocation, key: str | None, as_json: bool) -> None:
    """Read every kept result to its end, and move aside what cannot be used.

    The next refresh of that model pulls it anew.
    """
    done = invocation.cache().repair(key)
    if as_json:
        print_json({"repaired": [dataclasses.asdict(one) for one in done]})
        return
    for one in done:
        click.echo(f"{one.key}: {one.action}. {one.reason}")
    if not done:
        click.echo("Every kept result can be used.")


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
    from sacnb._pull.collect import age_in_words

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
    from sacnb._pull.collect import age_in_words

    begun = f"{age_in_words(datetime.now(UTC) - pull.started_at)} ago" if pull.started_at else ""
    state = "running" if pull.is_running else (pull.problem or "ended early")
    size = f"{max(1, pull.size_bytes // 1024):,} KB"
    model = f"{pull.provider_id}/{pull.entity_set}" if pull.provider_id else ""
    return (pull.id[:8], model, pull.target or "the cache", pull.rows, size, begun, state)
