"""``sacnb refresh``: download a model's facts into the cache, or what changed. ``sacnb subscriptions``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import click

from sacnb._rendering import local_time
from sacnb.cli.application import Invocation, Source
from sacnb.cli.output import announce, json_option, print_facts, print_json, print_table, progress_bar, say
from sacnb.cli.question import AGGREGATIONS, GRAINS, model_argument, question_options, source_option

if TYPE_CHECKING:
    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result, TidyFrame

__all__ = ["command", "subscriptions"]

_TIDY_ROWS_SHOWN: Final = 10
_EXAMPLES: Final = """\b
Examples:
  sacnb refresh US_EMPLOYMENT --where Version=public.Actual --since 2010
  sacnb refresh US_EMPLOYMENT --where Sector=31 --where Sector=32 --grain year
  sacnb refresh US_EMPLOYMENT --track
"""


@click.command("refresh", short_help="Download a model's facts into the cache.", epilog=_EXAMPLES)
@model_argument
@source_option
@question_options
@click.option("--strict", is_flag=True, help="Fail if SAC fails, instead of returning the last good result.")
@click.option(
    "--max-age-s",
    type=click.FloatRange(0),
    help="Use a cached result younger than this many seconds instead of downloading again.",
)
@click.option("--track", is_flag=True, help="Read only what changed since the last run with --track, and merge it.")
@click.option("--check", is_flag=True, help="With --track: compare the merged result with a full download.")
@click.option("--stop", is_flag=True, help="With --track: delete the subscription in SAC, and end; the result stays.")
@click.option("--grain", type=click.Choice(GRAINS), help="Also show the last rows of the tidy frame at this grain.")
@click.option("--agg", type=click.Choice(AGGREGATIONS), default="sum", help="How a coarser grain aggregates values.")
@json_option(
    "model, entity_set, source, served_from (sac or cache), stale, warning, row_count, min_date, max_date, "
    "last_refresh_time (UTC), elapsed_s, cache_key; with --grain also tidy (grain, row_count, rows_without_date, "
    "rows_without_value, note); with --track also changed and deleted (numbers of rows; null where all rows were "
    "read); with --stop only stopped (false where SAC had no subscription)"
)
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    model_id: str,
    question: dict[str, Any],
    source: Source | None,
    strict: bool,
    max_age_s: float | None,
    track: bool,
    check: bool,
    stop: bool,
    grain: Grain | None,
    agg: Aggregation,
    as_json: bool,
) -> None:
    """Download a model's facts and cache them.

    If SAC fails, the last good result is returned, with a warning that tells its age and the reason. A refusal (no
    permission, no such model) is an error in any case.

    With --track SAC keeps a subscription, and the next run downloads what changed. All rows are downloaded where that
    is not certain to be right, with a warning.
    """
    if (check or stop) and not track:
        raise click.UsageError("--check and --stop need --track.")
    from sacnb._tenant.question import Question

    began, began_at = time.monotonic(), datetime.now(UTC)
    with invocation.connect(source) as tenant:
        facts = Question(**question).facts(tenant.model(model_id))
        tracked = facts.track() if track else None
        if tracked is not None and stop:
            _print_stopped(stopped=tracked.stop(), as_json=as_json)
            return
        with progress_bar(f"Refreshing {model_id}") as listener:
            if tracked is None:
                result = facts.refresh(strict=strict, max_age_s=max_age_s, progress=listener, announce=announce)
            else:
                result = tracked.refresh(
                    check=check, strict=strict, max_age_s=max_age_s, progress=listener, announce=announce
                )
        key = facts.cache_key.name
    summary = _summary(result, began_at, time.monotonic() - began, key)
    if tracked is not None:
        changed, deleted = tracked.counts or (None, None)
        summary |= {"changed": changed, "deleted": deleted}
    tidy = result.tidy(grain, date=question["date"], agg=agg) if grain else None
    if as_json:
        print_json(summary if tidy is None else {**summary, "tidy": _tidy_summary(tidy)})
        return
    _print(summary)
    if tidy is not None:
        _print_tidy(tidy)


def _print_stopped(*, stopped: bool, as_json: bool) -> None:
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo("The subscription is deleted." if stopped else "SAC had no subscription for this query.")


@click.command("subscriptions", short_help="List or delete what SAC keeps to track changes.")
@model_argument
@click.option("--delete", "delete", metavar="ID", help="Delete this one, and those before it in its chain.")
@source_option
@json_option(
    "a list of id, entity_set, external_id, chain, previous, started, ended, last_accessed, delta_link; with --delete "
    "only deleted (an id)"
)
@click.pass_obj
def subscriptions(
    invocation: Invocation, model_id: str, *, delete: str | None, source: Source | None, as_json: bool
) -> None:
    """List what SAC keeps to track the changes of a model, or delete one of them.

    Whoever uses the link of a deleted one downloads all rows once more.
    """
    with invocation.connect(source) as tenant:
        model = tenant.model(model_id)
        if delete is not None:
            model.delete_subscription(delete)
            if as_json:
                print_json({"deleted": delete})
            else:
                say(f"Deleted the subscription {delete} to {model_id}.")
            return
        frame = model.subscriptions()
    if as_json:
        print_json(frame.to_dicts())
        return
    shown = frame.select("id", "entity_set", "started", "last_accessed")
    print_table(shown.columns, shown.rows(), whole=("id",))


def _summary(result: Result, began_at: datetime, elapsed_s: float, key: str) -> dict[str, Any]:
    info = result.info
    return {
        "model": info.provider_id,
        "entity_set": info.entity_set,
        "source": info.source,
        "served_from": "sac" if info.last_refresh_time >= began_at else "cache",
        "stale": result.stale,
        "warning": result.warning,
        "row_count": info.row_count,
        "min_date": info.min_date,
        "max_date": info.max_date,
        "last_refresh_time": info.last_refresh_time,
        "elapsed_s": round(elapsed_s, 3),
        "cache_key": key,
    }


def _tidy_summary(tidy: TidyFrame) -> dict[str, Any]:
    return {
        "grain": tidy.grain,
        "row_count": len(tidy),
        "rows_without_date": tidy.rows_without_date,
        "rows_without_value": tidy.rows_without_value,
        "note": tidy.note,
    }


def _print(summary: dict[str, Any]) -> None:
    refreshed = local_time(cast("datetime", summary["last_refresh_time"]))
    cached = summary["served_from"] == "cache"
    print_facts(
        {
            "model": f"{summary['model']}/{summary['entity_set']}",
            "rows": summary["row_count"],
            "dates": f"{summary['min_date']} to {summary['max_date']}" if summary["min_date"] else None,
            "source": f"{summary['source']}, from the cache" if cached else summary["source"],
            "refreshed": f"{refreshed:%Y-%m-%d %H:%M:%S %z}",
            "took": f"{summary['elapsed_s']:.1f} s",
            "changes": _changes(summary),
            "warning": summary["warning"],
            "key": summary["cache_key"],
        }
    )


def _changes(summary: dict[str, Any]) -> str | None:
    if summary.get("changed") is None:
        return None
    return f"{summary['changed']:,} rows changed, {summary['deleted']:,} deleted"


def _print_tidy(tidy: TidyFrame) -> None:
    from sacnb._frames.preview import as_shown

    shown = tidy.frame.tail(_TIDY_ROWS_SHOWN)
    cells = [as_shown(column.to_list()) if column.name == "value" else column.to_list() for column in shown]
    print_table(shown.columns, list(zip(*cells, strict=True)), right=("value",))
    earlier = len(tidy) - len(shown)
    if earlier:
        click.echo(f"The last {len(shown)} of {len(tidy):,} rows, one per {tidy.grain}.")
    if tidy.note:
        click.echo(tidy.note)
