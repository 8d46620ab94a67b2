"""A result as a chart: lines over time, bars otherwise. On Altair, drawn without a browser and without the network."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa

from sacnb.errors import ContractError, MissingExtraError, UnknownNameError
from sacnb.frames.contract import Aggregation, long_frame, tidy
from sacnb.odata.schema import Grain, Schema

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Chart", "plot"]

_WIDTH, _HEIGHT = 640, 320  # in pixels
_MOST_LINES: Final = 20  # as many as Vega's largest scheme has colours
_MOST_BARS: Final = 40
_MOST_DIMENSIONS: Final = 2
_DATE_FORMATS: Final = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m", "quarter": "%Y Q%q", "year": "%Y"}
_MEASURE: Final = "dim_measure"


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A chart that shows itself in a notebook and can be saved.

    ``altair`` is the Altair chart, to be changed at will; ``data`` is what it draws.
    """

    altair: alt.Chart = field(repr=False)
    data: pl.DataFrame = field(repr=False)
    title: str

    def save_png(self, path: str | os.PathLike[str], *, scale: float = 2.0) -> None:
        """Write a PNG; ``scale`` is in pixels of the file per pixel of the chart.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        Path(path).write_bytes(self._png(scale))

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML file with everything in it: it opens offline, and asks no other host for anything.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        _converter()
        Path(path).write_text(self.altair.to_html(inline=True), encoding="utf-8", newline="\n")

    def _png(self, scale: float) -> bytes:
        picture: bytes = _converter().vegalite_to_png(self.altair.to_json(indent=None), scale=scale)
        return picture

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002 - IPython's signature
        """A picture for notebooks that are only read, and the chart itself for those that can draw it."""
        spec = self.altair.to_dict()
        version = str(spec["$schema"]).rsplit("/", 1)[-1].split(".", 1)[0]
        return {
            "text/plain": repr(self),
            f"application/vnd.vegalite.{version}+json": spec,
            "image/png": base64.b64encode(self._png(1.0)).decode(),
        }


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError as e:
        raise MissingExtraError("plot", "Drawing a chart") from e
    return vl_convert


def plot(
    table: pa.Table,
    schema: Schema,
    grain: Grain | None = None,
    *,
    by: str | Sequence[str] | None = None,
    measure: str | None = None,
    agg: Aggregation = "sum",
    title: str | None = None,
    unit: str | None = None,
    note: str | None = None,
) -> Chart:
    """The chart of a table; see ``Result.plot`` for what it draws and what it refuses."""
    try:
        import altair as alt
    except ImportError as e:
        raise MissingExtraError("plot", "A chart") from e

    if measure is not None:
        table = _with_one_measure(table, schema, measure)
    dated = any(column.name in table.column_names for column in schema.date_columns)
    notes = [note] if note else []
    if dated:
        made = tidy(table, schema, grain, agg=agg)
        frame, grain = made.frame, made.grain
        notes += [made.note] if made.note else []
    else:
        frame, grain = long_frame(table, schema), None
    split = _split(frame, [by] if isinstance(by, str) else by)
    frame, left = _largest(frame, split, _MOST_LINES if dated else _MOST_BARS)
    notes += [left] if left else []

    measures = [column for column in schema.measures if column.name in table.column_names]
    what = (measures[0].label or measures[0].name) if len(measures) == 1 else "Value"
    heading = title or f"{schema.provider_id}: {what if len(measures) == 1 else _and([m.name for m in measures])}"
    names = {f"dim_{column.name}": column.label or column.name for column in schema.columns} | {_MEASURE: "Measure"}
    value_title = f"{what} ({unit})" if unit else what
    shown = frame.select(*(["date"] if dated else []), *split, "value")
    spec = {
        # Values in the chart itself and not by way of a frame: no limit on rows, and no other library in between.
        "data": {"values": shown.with_columns(pl.col(pl.Date).cast(pl.String)).to_dicts()},
        "title": {"text": _plain(heading), "subtitle": [_plain(one) for one in notes], "anchor": "start"},
        "width": _WIDTH,
        **_drawing(grain, split, names, value_title),
    }
    if grain is not None:
        spec["height"] = _HEIGHT
    return Chart(alt.Chart.from_dict(spec), shown, heading)


def _drawing(grain: Grain | None, split: Sequence[str], names: Mapping[str, str], value_title: str) -> dict[str, Any]:
    """The mark and its encoding: lines over dates of this grain, or bars where there is none."""
    parts: list[dict[str, Any]] = [{"field": name, "type": "nominal", "title": _plain(names[name])} for name in split]
    value = {"field": "value", "type": "quantitative", "title": _plain(value_title)}
    if grain is None:
        bars = [{**parts[0], "sort": "-x"}, *parts[1:]] if parts else []
        return {"mark": "bar", "encoding": {"x": value, **dict(zip(("y", "color"), bars, strict=False))}}
    date = {
        "field": "date",
        "type": "temporal",
        "title": None,
        # In UTC, for a date has no time zone; in local time it would be the day before, west of Greenwich.
        "scale": {"type": "utc"},
        "axis": {"format": _DATE_FORMATS[grain]},
    }
    colours = [{**parts[0], "scale": {"scheme": "tableau20"}}, *parts[1:]] if parts else []
    encoding = {"x": date, "y": value, **dict(zip(("color", "strokeDash"), colours, strict=False))}
    return {"mark": {"type": "line", "point": {"size": 12}}, "encoding": encoding}


def _with_one_measure(table: pa.Table, schema: Schema, measure: str) -> pa.Table:
    names = [column.name for column in schema.measures if column.name in table.column_names]
    if measure not in names:
        raise UnknownNameError("measure", measure, names, where="the result")
    return table.drop_columns([name for name in names if name != measure])


def _split(frame: pl.DataFrame, by: Sequence[str] | None) -> list[str]:
    """The columns that tell lines or bars apart, the one with the most members first."""
    members = {name: frame[name].n_unique() for name in frame.columns if name.startswith("dim_")}
    varying = sorted((name for name, count in members.items() if count > 1), key=lambda name: -members[name])
    chosen = varying
    if by is not None:
        chosen = [f"dim_{name}" for name in by]
        for name, column in zip(by, chosen, strict=True):
            if column not in members:
                raise UnknownNameError("dimension", name, [one.removeprefix("dim_") for one in members])
    chosen = chosen[:_MOST_DIMENSIONS]
    hidden = [name for name in varying if name not in chosen]
    if hidden:
        raise ContractError(
            f"The result also varies in {_and([_with_count(name, members[name]) for name in hidden])}; the chart would "
            "draw several values as one.",
            hint="Filter to one member with where=, or ask SAC for fewer dimensions with dims=.",
        )
    return chosen


def _with_count(name: str, members: int) -> str:
    return f"{name.removeprefix('dim_')!r} ({members:,} members)"


def _largest(frame: pl.DataFrame, split: Sequence[str], most: int) -> tuple[pl.DataFrame, str]:
    """The rows of the members with the largest values, and a line that says so if others are left out."""
    if not split or frame[split[0]].n_unique() <= most:
        return frame, ""
    name = split[0]
    size = pl.col("value").abs().sum()
    ranked = frame.group_by(name).agg(size).sort(["value", name], descending=[True, False])
    kept = ranked.head(most)[name]
    left = f"The {most} largest of {len(ranked):,} members of {name.removeprefix('dim_')} are shown."
    return frame.filter(pl.col(name).is_in(kept.implode())), left


def _plain(text: str) -> str:
    """One line of text: Vega would break it, or not draw it at all, at a line end."""
    return " ".join(text.split())


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
