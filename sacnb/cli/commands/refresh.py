"""``sacnb refresh``: download a model's facts into the cache."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import click

from sacnb._rendering import local_time
from sacnb.cli.application import Invocation, Source
from sacnb.cli.output import announce, json_option, print_facts, print_json, print_table, progress_bar
from sacnb.cli.question import AGGREGATIONS, GRAINS, model_argument, question_options, source_option

if TYPE_CHECKING:
    from sacnb._frames.tidy import Aggregation
    from sacnb._odata.schema import Grain
    from sacnb._results.result import Result, TidyFrame

__all__ = ["command"]

_TIDY_ROWS_SHOWN: Final = 10
_EXAMPLES: Final = """\b
Examples:
  sacnb refresh US_EMPLOYMENT --where Version=public.Actual --since 2010
  sacnb refresh US_EMPLOYMENT --where Sector=31 --where Sector=32 --grain year
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
@click.option("--grain", type=click.Choice(GRAINS), help="Also show the last rows of the tidy frame at this grain.")
@click.option("--agg", type=click.Choice(AGGREGATIONS), default="sum", help="How a coarser grain aggregates values.")
@json_option(
    "model, entity_set, source, served_from (sac or cache), stale, warning, row_count, min_date, max_date, "
    "last_refresh_time (UTC), elapsed_s, cache_key; with --grain also tidy (grain, row_count, rows_without_date, "
    "rows_without_value, note)"
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
    grain: Grain | None,
    agg: Aggregation,
    as_json: bool,
) -> None:
    """Download a model's facts and cache them.

    If SAC fails, the last good result is returned, with a warning that tells its age and the reason. A refusal (no
    permission, no such model) is an error in any case.
    """
    from sacnb._tenant.question import Question

    began, began_at = time.monotonic(), datetime.now(UTC)
    with invocation.connect(source) as tenant:
        facts = Question(**question).facts(tenant.model(model_id))
        with progress_bar(f"Refreshing {model_id}") as listener:
            result = facts.refresh(strict=strict, max_age_s=max_age_s, progress=listener, announce=announce)
        key = facts.cache_key.name
    summary = _summary(result, began_at, time.monotonic() - began, key)
    tidy = result.tidy(grain, date=question["date"], agg=agg) if grain else None
    if as_json:
        print_json(summary if tidy is None else {**summary, "tidy": _tidy_summary(tidy)})
        return
    _print(summary)
    if tidy is not None:
        _print_tidy(tidy)


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
            "warning": summary["warning"],
            "key": summary["cache_key"],
        }
    )


def _print_tidy(tidy: TidyFrame) -> None:
    shown = tidy.frame.tail(_TIDY_ROWS_SHOWN)
    print_table(shown.columns, shown.rows(), right=("value",))
    earlier = len(tidy) - len(shown)
    if earlier:
        click.echo(f"The last {len(shown)} of {len(tidy):,} rows, one per {tidy.grain}.")
    if tidy.note:
        click.echo(tidy.note)
