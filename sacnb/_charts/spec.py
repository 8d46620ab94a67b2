"""Vega-Lite for lines, bars and heat maps, and a chart in words for screen readers and plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import polars as pl

from sacnb._charts.members import in_order, is_version, listed
from sacnb._charts.style import HEAT, looks
from sacnb._odata.schema import Grain

__all__ = ["Kind", "Parts", "describe", "drawing", "number", "period_text"]

Kind = Literal["line", "bar", "heatmap"]

WIDTH: Final = 640  # in pixels
HEIGHT: Final = 320
_MOST_TICKS: Final = 12
_MOST_UPRIGHT_TICKS: Final = 40
_DATE_FORMATS: Final = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m", "quarter": "%Y Q%q", "year": "%Y"}


@dataclass(frozen=True, slots=True)
class Parts:
    """The data of a chart.

    ``frame`` has ``date`` if there is a ``grain``, the dimensions in ``split``, and ``value``; ``names`` are the titles
    of its columns, ``value_title`` that of the values with their unit.
    """

    frame: pl.DataFrame
    grain: Grain | None
    split: Sequence[str]
    names: Mapping[str, str]
    value_title: str


def period_text(day: date, grain: Grain) -> str:
    """Write a period by its first day: ``2024-05-31``, ``2024-05``, ``2024 Q2``, ``2024``."""
    if grain == "quarter":
        return f"{day.year:04} Q{(day.month + 2) // 3}"
    return day.isoformat()[: {"year": 4, "month": 7}.get(grain, 10)]


def drawing(kind: Kind, parts: Parts) -> dict[str, Any]:
    """Return the data, the mark and its encoding."""
    made = {"line": _lines, "bar": _bars, "heatmap": _heat_map}[kind](parts)
    frame = parts.frame
    if parts.grain is not None:
        dates = frame["date"]
        texts = [period_text(day, parts.grain) for day in dates] if kind != "line" else dates.cast(pl.String)
        frame = frame.with_columns(pl.Series("date", texts, dtype=pl.String))
    # Inline values instead of a frame: no limit on rows, and no other library in between.
    return {"data": {"values": frame.to_dicts()}, "width": WIDTH, **made}


def _field(parts: Parts, name: str, **more: Any) -> dict[str, Any]:
    return {"field": name, "type": "nominal", "title": parts.names[name], **more}


def _value(parts: Parts) -> dict[str, Any]:
    return {"field": "value", "type": "quantitative", "title": parts.value_title}


def _tooltip(parts: Parts, period: dict[str, Any] | None) -> list[dict[str, Any]]:
    shown = [_field(parts, name) for name in parts.split]
    when = {"field": "date", "title": "Date", "type": "nominal"}
    if period is not None and period["type"] == "temporal":
        when = {"field": "date", "title": "Date", "timeUnit": "utcyearmonthdate", "type": "temporal"}
    return [*([when] if period is not None else []), *shown, {**_value(parts), "format": ",.15~g"}]


def _coloured(parts: Parts, name: str, *, with_dashes: bool = False) -> dict[str, Any]:
    """Return the channels that distinguish the members of a dimension: colour, repeated by shape."""
    members = in_order(parts.frame, name)
    styles = looks(members, versions=is_version(name))

    def channel(values: list[Any]) -> dict[str, Any]:
        return _field(parts, name, scale={"domain": members, "range": values})

    channels = {
        "color": channel([style.colour for style in styles]),
        "shape": channel([style.shape for style in styles]),
    }
    if with_dashes:
        channels["strokeDash"] = channel([list(style.dash) for style in styles])
    return channels


def _dashed(parts: Parts, name: str) -> dict[str, Any]:
    members = in_order(parts.frame, name)
    dashes = [list(style.dash) for style in looks(members, versions=is_version(name))]
    scale = {"domain": members, "range": dashes}
    return {"strokeDash": _field(parts, name, scale=scale, legend={"symbolType": "stroke"})}


def _period(parts: Parts, grain: Grain) -> dict[str, Any]:
    """Return an axis of dates as ordered texts, each at its own place."""
    # Vega compares every label with every other, which takes minutes for hundreds.
    values = [period_text(day, grain) for day in _ticks(parts.frame["date"], _MOST_UPRIGHT_TICKS)]
    return {"field": "date", "type": "ordinal", "title": None, "axis": {"values": values}}


def _ticks(dates: pl.Series, most: int) -> pl.Series:
    """Return at most *most* of the dates, evenly spaced."""
    known = dates.unique().sort()
    return known.gather_every(max(1, -(-len(known) // most)))


def _lines(parts: Parts) -> dict[str, Any]:
    assert parts.grain is not None  # noqa: S101 - lines need dates
    ticks = [int(one) for one in _ticks(parts.frame["date"], _MOST_TICKS).dt.epoch("ms")]
    period = {
        "field": "date",
        "type": "temporal",
        "title": None,
        # In UTC, because a date has no time zone; west of Greenwich local time would show the day before.
        "scale": {"type": "utc"},
        # At existing dates only: Vega would label 2010 twice, at its middle too.
        "axis": {"format": _DATE_FORMATS[parts.grain], "values": ticks},
    }
    # Lines show change and need no zero; bars show size and start at zero.
    value = {**_value(parts), "scale": {"zero": False}}
    encoding: dict[str, Any] = {"x": period, "y": value, "tooltip": _tooltip(parts, period)}
    if parts.split:
        encoding |= _coloured(parts, parts.split[0], with_dashes=len(parts.split) == 1 and is_version(parts.split[0]))
    if len(parts.split) > 1:
        encoding |= _dashed(parts, parts.split[1])
    colour = {} if parts.split else {"color": looks([""], versions=False)[0].colour}
    mark = {"type": "line", **colour, "point": {"size": 24, "filled": True, **colour}}
    return {"mark": mark, "encoding": encoding, "height": HEIGHT}


def _bars(parts: Parts) -> dict[str, Any]:
    period = _period(parts, parts.grain) if parts.grain is not None else None
    groups = list(parts.split)
    encoding: dict[str, Any] = {"x": _value(parts)}
    offset = "yOffset"
    if period is not None:
        encoding = {"x": period, "y": _value(parts)}
        offset = "xOffset"
    elif groups:
        encoding["y"] = _field(parts, groups.pop(0), sort="-x")
    encoding["tooltip"] = _tooltip(parts, period)
    colour = {"color": looks([""], versions=False)[0].colour}
    if groups:
        colour = {}
        channels = _coloured(parts, groups[0])
        encoding["color"] = channels["color"]
        encoding[offset] = _field(parts, groups[0], scale={"domain": channels["color"]["scale"]["domain"]})
    height = {"height": HEIGHT} if period is not None else {}
    return {"mark": {"type": "bar", **colour}, "encoding": encoding, **height}


def _heat_map(parts: Parts) -> dict[str, Any]:
    values = parts.frame["value"]
    both_signs = bool((values < 0).any() and (values > 0).any())
    scale = {"scheme": HEAT["both"], "domainMid": 0} if both_signs else {"scheme": HEAT["one"]}
    period = _period(parts, parts.grain) if parts.grain is not None else None
    rows = parts.split[0]
    size = parts.frame.group_by(rows).agg(pl.col("value").abs().sum()).sort(["value", rows], descending=[True, False])
    encoding = {
        "x": period or _field(parts, parts.split[1], sort=in_order(parts.frame, parts.split[1])),
        "y": _field(parts, rows, sort=size[rows].to_list()),
        "color": {**_value(parts), "scale": scale},
        "tooltip": _tooltip(parts, period),
    }
    # A screen reader would read thousands of cells one by one; the description replaces them.
    return {"mark": {"type": "rect", "aria": False}, "encoding": encoding}


_MOST_NAMES: Final = 6
_KINDS: Final[dict[Kind, str]] = {"line": "Line chart", "bar": "Bar chart", "heatmap": "Heat map"}


def describe(kind: Kind, parts: Parts, title: str, notes: Sequence[str]) -> str:
    """Describe a chart in a few sentences: kind, split, dates, range of values, notes."""
    frame = parts.frame
    said = [f"{_KINDS[kind]}. {title}."]
    if frame.is_empty():
        return " ".join([*said, "There are no values.", *notes])
    for name in parts.split:
        members = in_order(frame, name)
        shown = (
            members if len(members) <= _MOST_NAMES else [*members[:_MOST_NAMES], f"{len(members) - _MOST_NAMES:,} more"]
        )
        said.append(f"By {parts.names[name]}: {listed(shown)}.")
    if parts.grain is not None:
        first, last = (period_text(day, parts.grain) for day in (frame["date"].min(), frame["date"].max()))  # type: ignore[arg-type]
        said.append(f"{first} to {last}, by {parts.grain}." if first != last else f"{first}.")
    low, high = frame["value"].min(), frame["value"].max()
    said.append(
        f"{parts.value_title} from {number(low)} to {number(high)}."
        if low != high
        else f"{parts.value_title}: {number(low)}."
    )
    for when, value in zip(("The largest", "The smallest"), (high, low), strict=True):
        if low != high and (parts.split or parts.grain):
            said.append(f"{when} is {_where(parts, frame.filter(pl.col('value') == value).head(1))}.")
    return " ".join([*said, *notes])


def _where(parts: Parts, row: pl.DataFrame) -> str:
    at = [str(row[name][0]) for name in parts.split]
    if parts.grain is not None:
        at.append(period_text(row["date"][0], parts.grain))
    return ", ".join(at)


def number(value: object) -> str:
    """Format a number for reading: thousands separators and few digits."""
    return f"{value:,.6g}" if isinstance(value, float) and abs(value) < 1 else f"{value:,.2f}".rstrip("0").rstrip(".")
