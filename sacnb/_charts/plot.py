"""Draw a result as lines over time, bars or a heat map: with Altair, without a browser and without the network."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final, get_args

import polars as pl
import pyarrow as pa

from sacnb._charts.chart import Chart, chart_of
from sacnb._charts.members import (
    MEASURE,
    Labels,
    cut,
    listed,
    named,
    outstanding,
    plain,
    texts_of,
    with_texts,
)
from sacnb._charts.spec import Kind, Parts, describe, drawing, period_text
from sacnb._charts.style import COLOURS, PAPERS, Theme, config, theme_of_notebook
from sacnb._frames.periods import how_to_fetch, unfetched
from sacnb._frames.tidy import Aggregation, long_frame, tidy
from sacnb._odata.schema import Grain, Schema, is_account, is_version
from sacnb.errors import ContractError, UnknownNameError

__all__ = ["Chart", "Kind", "Labels", "Theme", "plot", "plot_frame"]

_MOST: Final[dict[Kind, int]] = {"line": 40, "bar": 40, "heatmap": 40}
# More lines hide each other; they become a heat map, unless lines are asked for.
_MOST_LINES: Final = 12
_MOST_DASHES: Final = 4
_LINE_CHARS: Final = 110
_MOST_COLUMNS: Final = 60
_MOST_DIMENSIONS: Final = 2


def plot(
    table: pa.Table,
    schema: Schema,
    grain: Grain | None = None,
    *,
    by: str | Sequence[str] | None = None,
    measure: str | None = None,
    agg: Aggregation = "sum",
    kind: Kind | None = None,
    labels: Labels | None = None,
    other: bool = False,
    title: str | None = None,
    unit: str | None = None,
    theme: Theme | None = None,
    note: str | None = None,
) -> Chart:
    """Draw a table; see ``Result.plot``."""
    _check(kind, theme)
    if measure is not None:
        table = _with_one_measure(table, schema, measure)
    frame, grain, note_of_dates = _frame(table, schema, grain, agg)
    return plot_frame(
        frame,
        grain,
        schema,
        by=by,
        measure=None,
        agg=agg,
        kind=kind,
        labels=labels,
        other=other,
        title=title,
        unit=unit,
        theme=theme,
        notes=[note or "", note_of_dates],
        table=table,
        measures=[column.name for column in schema.measures if column.name in table.column_names],
    )


def plot_frame(
    frame: pl.DataFrame,
    grain: Grain | None,
    schema: Schema,
    *,
    by: str | Sequence[str] | None,
    measure: str | None,
    agg: Aggregation,
    kind: Kind | None,
    labels: Labels | None,
    other: bool,
    title: str | None,
    unit: str | None,
    theme: Theme | None,
    notes: Sequence[str],
    table: pa.Table,
    measures: Sequence[str],
) -> Chart:
    """Draw a frame of ``tidy`` or ``long_frame`` with these measures; *table* is what it was made from."""
    _check(kind, theme)
    theme = theme or theme_of_notebook()
    texts = texts_of(labels, [column.name for column in schema.dimensions])
    notes = [note for note in notes if note]
    if measure is not None:
        if measure not in measures:
            raise UnknownNameError("measure", measure, measures, where="the result")
        frame = frame.filter(pl.col(MEASURE) == measure).drop(MEASURE) if MEASURE in frame.columns else frame
        measures = [measure]
    split = _split(frame, [by] if isinstance(by, str) else by, table, schema)
    # A line needs two periods; draw one as bars.
    if grain is not None and kind is None and split and frame["date"].n_unique() == 1:
        notes.append(f"{period_text(frame['date'][0], grain)}.")
        frame, grain = frame.drop("date"), None
    drawn = kind or _kind(frame, grain, split)
    _check_fit(drawn, grain, split, how_to_fetch(table, schema, schema.date_columns[:1]))
    if other:
        _check_sums(split, agg)
    frame, cuts = _cut(drawn, frame, grain, split, other=other)

    what = plain(schema.column(measures[0]).label or measures[0]) if len(measures) == 1 else "Value"
    heading = title or f"{schema.provider_id}: {what if len(measures) == 1 else listed(measures)}"
    shown = frame.select(*(["date"] if grain else []), *split, "value")
    parts = Parts(
        frame=with_texts(shown, split, texts),
        grain=grain,
        split=split,
        names=named(schema),
        value_title=plain(f"{what} ({unit})" if unit else what),
        theme=theme,
    )
    lines = [plain(one) for one in (*notes, *cuts)]
    return chart_of(
        {**titled(heading, lines), **config(theme), **drawing(drawn, parts)},
        parts.frame,
        heading,
        describe(drawn, parts, plain(heading), lines),
    )


def titled(heading: str, notes: Sequence[str]) -> dict[str, Any]:
    """Return the title of a chart with the notes below it."""
    return {
        "title": {
            "text": plain(heading),
            "subtitle": [line for note in notes for line in textwrap.wrap(note, _LINE_CHARS)],
            "anchor": "start",
        }
    }


def _check(kind: Kind | None, theme: Theme | None) -> None:
    for name, value, known in (("kind", kind, get_args(Kind)), ("theme", theme, tuple(PAPERS))):
        if value is not None and value not in known:
            raise UnknownNameError(f"{name} of chart" if name == "kind" else name, str(value), known)


def _frame(
    table: pa.Table, schema: Schema, grain: Grain | None, agg: Aggregation
) -> tuple[pl.DataFrame, Grain | None, str]:
    if not any(column.name in table.column_names for column in schema.date_columns):
        if grain is not None:
            hint = how_to_fetch(table, schema, schema.date_columns[:1]) or "Leave out grain."
            raise ContractError(f"grain={grain!r} needs dates, and the result has none.", hint=hint)
        return long_frame(table, schema), None, ""
    made = tidy(table, schema, grain, agg=agg)
    return made.frame, made.grain, made.note


def _kind(frame: pl.DataFrame, grain: Grain | None, split: Sequence[str]) -> Kind:
    """Choose lines over dates, bars of a dimension; a heat map of two, or of too many lines."""
    if grain is not None:
        return "heatmap" if len(split) == 1 and frame[split[0]].n_unique() > _MOST_LINES else "line"
    if len(split) < _MOST_DIMENSIONS:
        return "bar"
    grouped = any(is_version(name) for name in split) and frame[split[1]].n_unique() <= _MOST_DASHES
    return "bar" if grouped else "heatmap"


def _check_fit(kind: Kind, grain: Grain | None, split: Sequence[str], undated: str | None) -> None:
    if kind == "line" and grain is None:
        raise ContractError(
            "A line chart needs dates, and the result has none.", hint=undated or 'Use plot(kind="bar").'
        )
    if kind == "heatmap" and len(split) + (grain is not None) != _MOST_DIMENSIONS:
        axes = ["the date"] * (grain is not None) + [repr(name.removeprefix("dim_")) for name in split]
        raise ContractError(
            f"A heat map needs two axes; the result varies in {listed(axes) if axes else 'nothing'}.",
            hint="Name the dimensions with by=, filter with where=, or choose another kind.",
        )
    if kind == "bar" and grain is not None and len(split) > 1:
        raise ContractError("Bars over dates can be split by one dimension only.", hint='Use plot(kind="line").')


def _check_sums(split: Sequence[str], agg: Aggregation) -> None:
    """Refuse ``other=True`` where the sum is known to be wrong; only the caller knows whether it is right otherwise."""
    if agg != "sum":
        raise ContractError(f"other=True adds up members, but agg is {agg!r}.", hint="Leave out other=True.")
    for name in split[:1]:
        if name == MEASURE or is_account(name) or is_version(name):
            raise ContractError(
                f"other=True cannot add up members of {name.removeprefix('dim_')!r}: they are of different kinds.",
                hint="Leave out other=True, or choose one with measure=."
                if name == MEASURE
                else "Leave out other=True.",
            )


def _cut(
    kind: Kind, frame: pl.DataFrame, grain: Grain | None, split: Sequence[str], *, other: bool
) -> tuple[pl.DataFrame, list[str]]:
    """Limit the members to those that can be drawn; return notes about the others."""
    limits = [_MOST[kind], _MOST_COLUMNS if kind == "heatmap" else _MOST_DASHES]
    if kind == "bar" and grain is not None:
        limits = [_MOST_DASHES]
    if kind == "line" and other:
        limits[0] = len(COLOURS)  # the sum is compared with the lines that it does not hold, so draw none in grey
    notes = []
    for place, (name, most) in enumerate(zip(split, limits, strict=False)):
        frame, said = cut(frame, name, most, other=other and place == 0)
        notes += [said] if said else []
    if kind == "line" and split:
        coloured, count = len(outstanding(frame, split[0])), frame[split[0]].drop_nulls().n_unique()
        if coloured < count:
            which = "first" if is_version(split[0]) else "largest"
            what = split[0].removeprefix("dim_")
            notes.append(f"The {coloured} {which} of {count} lines of {what} are coloured; the others are grey.")
    return frame, notes


def _with_one_measure(table: pa.Table, schema: Schema, measure: str) -> pa.Table:
    names = [column.name for column in schema.measures if column.name in table.column_names]
    if measure not in names:
        raise unfetched("measure", measure, table, schema)
    return table.drop_columns([name for name in names if name != measure])


def _split(frame: pl.DataFrame, by: Sequence[str] | None, table: pa.Table, schema: Schema) -> list[str]:
    """Return the columns that distinguish lines or bars: most members first, versions last."""
    members = {name: frame[name].n_unique() for name in frame.columns if name.startswith("dim_")}
    varying = [name for name, count in members.items() if count > 1]
    chosen = sorted(varying, key=lambda name: (is_version(name), -members[name]))
    if by is not None:
        chosen = [f"dim_{name}" for name in by]
        for name, column in zip(by, chosen, strict=True):
            if column not in members and schema.grain_of(name) is None and name in schema.names:
                raise unfetched("dimension", name, table, schema)
            if column not in members:
                raise UnknownNameError("dimension", name, [one.removeprefix("dim_") for one in members])
    chosen = list(dict.fromkeys(chosen))[:_MOST_DIMENSIONS]
    hidden = [f"{name.removeprefix('dim_')!r} ({members[name]:,} members)" for name in varying if name not in chosen]
    if hidden:
        hint = "Filter to one member with where=, or fetch fewer dimensions with dims=[...]."
        if MEASURE in varying and MEASURE not in chosen:
            hint = f"Choose one measure: measure={frame[MEASURE][0]!r}."
        raise ContractError(
            f"The result also varies in {listed(hidden)}; the chart would draw several values as one.", hint=hint
        )
    return chosen
