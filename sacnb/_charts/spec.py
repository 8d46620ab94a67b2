"""Vega-Lite for lines, bars and heat maps, and a chart in words for screen readers and plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

import polars as pl

from sacnb._charts.members import drawable, in_order, listed, outstanding, shortened
from sacnb._charts.style import COLOURS, PAPERS, Theme, looks
from sacnb._odata.schema import Grain, is_version

__all__ = [
    "NOTHING",
    "Kind",
    "Parts",
    "calendar_ticks",
    "describe",
    "drawing",
    "number",
    "period_text",
    "scaled",
    "short",
]

Kind = Literal["line", "bar", "heatmap"]

WIDTH: Final = 640  # in pixels
HEIGHT: Final = 320
# As many labels as fit side by side.
_MOST_TICKS: Final[Mapping[Grain, int]] = {"day": 8, "week": 8, "month": 12, "quarter": 12, "year": 12}
# Steps of ticks on calendar places: days, or months.
_MOST_NUMBERS: Final = 8
_DAY_STEPS: Final = (1, 2, 7, 14)
_MONTH_STEPS: Final = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12000)
_WEEK: Final = 7  # in days
_YEAR: Final = 12  # in months
_MOST_POINTS: Final = 40  # of a line; more hide it
_LABEL_PIXELS: Final = 16  # from one label at a line's end to the next
_SIZES: Final = ((1e9, "bn"), (1e6, "M"), (1e3, "k"))
_SMALLEST_SCALED: Final = 1e5  # smaller numbers are short enough
# "140k" of "Employees (thousands)" would be read as 140 thousand.
_IN_UNITS: Final = re.compile(r"\b(thousands?|millions?|billions?|mn|bn|tsd|mio|mrd|k|0{3}s?)\b", re.IGNORECASE)
_DATE_FORMATS: Final = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m", "quarter": "%Y Q%q", "year": "%Y"}


# Drawn where there are no values: a text needs a row.
NOTHING: Final[Mapping[str, Any]] = {
    "data": {"values": [{}]},
    "mark": {"type": "text", "text": "There are no values.", "fontSize": 14},
    "width": WIDTH,
    "height": HEIGHT // 2,
}


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
    theme: Theme = "light"


def period_text(day: date, grain: Grain) -> str:
    """Write a period by its first day: ``2024-05-31``, ``2024-05``, ``2024 Q2``, ``2024``."""
    if grain == "quarter":
        return f"{day.year:04} Q{(day.month + 2) // 3}"
    return day.isoformat()[: {"year": 4, "month": 7}.get(grain, 10)]


def drawing(kind: Kind, parts: Parts) -> Mapping[str, Any]:
    """Return the data, the marks and their encoding."""
    if parts.frame["value"].drop_nulls().is_empty():
        return NOTHING
    made = {"line": _lines, "bar": _bars, "heatmap": _heat_map}[kind](parts)
    frame = parts.frame
    if parts.grain is not None:
        dates = frame["date"]
        texts = [period_text(day, parts.grain) for day in dates] if kind != "line" else dates.cast(pl.String)
        frame = frame.with_columns(pl.Series("date", texts, dtype=pl.String))
    if kind == "line" and parts.split:
        # Vega draws lines in the order of their rows: grey ones below.
        main = pl.col(parts.split[0]).is_in(outstanding(frame, parts.split[0]))
        frame = frame.sort(main, maintain_order=True)
    # Inline values instead of a frame: no limit on rows, and no other library in between.
    return {"data": {"values": frame.to_dicts()}, "width": WIDTH, **made}


def _field(parts: Parts, name: str, **more: Any) -> dict[str, Any]:
    return {"field": name, "type": "nominal", "title": parts.names[name], **more}


def _value(parts: Parts) -> dict[str, Any]:
    return {"field": "value", "type": "quantitative", "title": parts.value_title}


def _value_axis(parts: Parts, *, zero: bool) -> dict[str, Any]:
    """Return the axis of the values: from zero or not, scaled, with a line at zero if the values have both signs."""
    values = parts.frame["value"].drop_nulls()
    paper = PAPERS[parts.theme]
    axis = scaled([*values.to_list(), *([0.0] if zero else [])], parts.value_title)
    if _both_signs(values):
        test = {"test": "datum.value === 0", "value": paper.zero}
        axis["gridColor"] = {"condition": test, "value": paper.line}
    return {**_value(parts), **({} if zero else {"scale": {"zero": False}}), **({"axis": axis} if axis else {})}


def _both_signs(values: pl.Series) -> bool:
    return bool((values < 0).any() and (values > 0).any())


def is_in_units(title: str) -> bool:
    """Return whether the values of this title are thousands or millions already."""
    return bool(_IN_UNITS.search(title))


def scaled(values: Sequence[float], title: str) -> dict[str, Any]:
    """Return the labels of large numbers in thousands, millions or billions, if three decimals tell ticks apart."""
    if is_in_units(title):
        return {}
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    for size, unit in _SIZES:
        if largest >= max(size, _SMALLEST_SCALED) and high - low >= size / 20:
            return {"labelExpr": f"datum.value === 0 ? '0' : format(datum.value / {size:.0f}, ',.3~f') + '{unit}'"}
    return {}


def short(members: Sequence[str], member: str = "datum.value", **more: str) -> dict[str, Any]:
    """Return the labels of members if any is too long; *more* are labels of single members."""
    # An expression holds them as JSON: what cannot be drawn would be escaped there, and not be seen later.
    changed = {drawable(one): drawable(label) for one, label in {**shortened(members), **more}.items()}
    if not changed:
        return {}
    place = f"indexof({json.dumps(list(changed))}, {member})"
    return {"labelExpr": f"{place} < 0 ? {member} : {json.dumps(list(changed.values()))}[{place}]"}


def _tooltip(parts: Parts, period: dict[str, Any] | None) -> list[dict[str, Any]]:
    shown = [_field(parts, name) for name in parts.split]
    when = {"field": "date", "title": "Date", "type": "nominal"}
    if period is not None and period["type"] == "temporal":
        when = {"field": "date", "title": "Date", "timeUnit": "utcyearmonthdate", "type": "temporal"}
    return [*([when] if period is not None else []), *shown, {**_value(parts), "format": ",.15~g"}]


def _coloured(parts: Parts, name: str, *, with_dashes: bool = False) -> dict[str, Any]:
    """Return the channels that distinguish the members of a dimension: colour, repeated by shape or dashes.

    The largest members have colours if there are too many for all; the others are grey, and one in the legend.
    """
    main = outstanding(parts.frame, name)
    others = [member for member in in_order(parts.frame, name) if member not in main]
    styles = looks(main, versions=is_version(name))
    legend: dict[str, Any] = short(main)
    if others:
        legend = {"values": [*main, others[0]], **short(main, **{others[0]: f"{len(others)} others"})}
    if with_dashes:
        legend |= _LINES_IN_LEGEND

    def channel(values: list[Any], rest: Any) -> dict[str, Any]:
        scale = {"domain": [*main, *others], "range": [*values, *[rest] * len(others)]}
        return _field(parts, name, scale=scale, **({"legend": legend} if legend else {}))

    channels = {"color": channel([style.colour for style in styles], PAPERS[parts.theme].behind)}
    if with_dashes:
        return channels | {"strokeDash": channel([list(style.dash) for style in styles], [1, 0])}
    return channels | {"shape": channel([style.shape for style in styles], "circle")}


# Long enough for two dashes.
_LINES_IN_LEGEND: Final = {"symbolType": "stroke", "symbolSize": 500, "symbolStrokeWidth": 2}


def _dashed(parts: Parts, name: str) -> dict[str, Any]:
    members = in_order(parts.frame, name)
    dashes = [list(style.dash) for style in looks(members, versions=is_version(name))]
    legend = {**_LINES_IN_LEGEND, "symbolStrokeColor": PAPERS[parts.theme].text, **short(members)}
    return {"strokeDash": _field(parts, name, scale={"domain": members, "range": dashes}, legend=legend)}


def _period(parts: Parts, grain: Grain) -> dict[str, Any]:
    """Return an axis of dates as ordered texts, each at its own place."""
    known = parts.frame["date"].drop_nulls().unique().sort()
    days, labelled = calendar_ticks(known, grain)
    # Each text has its own place, so only dates that exist can have one.
    shown = days.filter(days.is_in(known.implode()))
    if shown.is_empty():
        labelled = grain
        shown = known.gather_every(-(-len(known) // _MOST_TICKS[grain]))
    # Vega compares every label with every other, which takes minutes for hundreds.
    axis: dict[str, Any] = {"values": [period_text(day, grain) for day in shown], "labelAngle": 0}
    if labelled != grain:
        axis["labelExpr"] = "slice(datum.label, 0, 4)"
    return {"field": "date", "type": "ordinal", "title": None, "axis": axis}


def calendar_ticks(dates: pl.Series, grain: Grain) -> tuple[pl.Series, Grain]:
    """Return the places for ticks in the range of *dates*, and the grain of their labels.

    They are days, Mondays, or the first days of months, quarters, or round years: the closest that fit.
    """
    first, last = dates.min(), dates.max()
    assert isinstance(first, date)  # noqa: S101 - there are dates
    assert isinstance(last, date)  # noqa: S101 - there are dates
    steps = [(days, 0) for days in _DAY_STEPS if grain == "day" or (grain == "week" and days >= _WEEK)]
    smallest = {"quarter": 3, "year": 12}.get(grain, 1)
    steps += [(0, months) for months in _MONTH_STEPS if months >= smallest]
    for days, months in steps:
        if days:
            # 1970-01-05 was a Monday.
            epoch = date(1970, 1, 5).toordinal()
            begin = first.toordinal() if days < _WEEK else epoch - (epoch - first.toordinal()) // days * days
            places = [date.fromordinal(one) for one in range(begin, last.toordinal() + 1, days)]
        else:
            there = range(12 * first.year + first.month - 1, 12 * last.year + last.month)
            places = [date(one // 12, one % 12 + 1, 1) for one in there if one % months == 0]
        places = [one for one in places if first <= one <= last]
        if len(places) <= _MOST_TICKS[grain]:
            break
    if not places:
        return pl.Series([first], dtype=pl.Date), grain
    return pl.Series(places, dtype=pl.Date), "year" if months >= _YEAR else grain


def _lines(parts: Parts) -> dict[str, Any]:
    assert parts.grain is not None  # noqa: S101 - lines need dates
    days, labelled = calendar_ticks(parts.frame["date"], parts.grain)
    ticks = [int(one) for one in days.dt.epoch("ms")]
    period = {
        "field": "date",
        "type": "temporal",
        "title": None,
        # In UTC, because a date has no time zone; west of Greenwich local time would show the day before.
        "scale": {"type": "utc"},
        "axis": {"format": _DATE_FORMATS[labelled], "values": ticks},
    }
    # Lines show change and need no zero; bars show size and start at zero.
    encoding: dict[str, Any] = {"x": period, "y": _value_axis(parts, zero=False), "tooltip": _tooltip(parts, period)}
    line: dict[str, Any] = {"mark": {"type": "line"}}
    # A point of no opacity still has a tooltip.
    shown = [f"indexof({ticks}, +datum.date) >= 0"] if parts.frame["date"].n_unique() > _MOST_POINTS else []
    size = 24 if parts.frame["date"].n_unique() > 1 else 80  # a point alone is all there is to see
    points: dict[str, Any] = {"mark": {"type": "point", "size": size, "filled": True}}
    labels: list[dict[str, Any]] = []
    if not parts.split:
        encoding["color"] = {"value": looks([""], versions=False)[0].colour}
    else:
        name = parts.split[0]
        channels = _coloured(parts, name, with_dashes=len(parts.split) == 1 and is_version(name))
        if _room_for_labels(parts):
            channels = {channel: {**value, "legend": None} for channel, value in channels.items()}
            labels = [_labels_at_ends(parts, name)]
        encoding["color"] = channels["color"]
        line["encoding"] = {key: channels[key] for key in channels if key == "strokeDash"}
        points["encoding"] = {key: channels[key] for key in channels if key == "shape"}
        main = outstanding(parts.frame, name)
        if len(main) < len(channels["color"]["scale"]["domain"]):
            shown.append(f"indexof({json.dumps([drawable(one) for one in main])}, datum[{json.dumps(name)}]) >= 0")
    for name in parts.split[1:]:
        line["encoding"] = _dashed(parts, name)
    if shown:
        points["mark"]["opacity"] = {"expr": f"{' && '.join(shown)} ? 1 : 0"}
    return {"layer": [line, points, *labels], "encoding": encoding, "height": HEIGHT}


def _room_for_labels(parts: Parts) -> bool:
    """Tell whether the lines end at one date and far enough from each other to be labelled there."""
    frame = parts.frame.filter(pl.col("value").is_not_null())
    ends = frame.filter(pl.col("date") == frame["date"].max())
    if len(parts.split) != 1 or len(ends) != frame[parts.split[0]].n_unique() or len(ends) > len(COLOURS):
        return False
    values = frame["value"].to_numpy()
    pixels = ends["value"].sort().diff().drop_nulls() * HEIGHT / ((values.max() - values.min()) or 1.0)
    return frame["date"].n_unique() > 1 and bool((pixels >= _LABEL_PIXELS).all())


def _labels_at_ends(parts: Parts, name: str) -> dict[str, Any]:
    last = int(parts.frame["date"].dt.epoch("ms").max())  # type: ignore[arg-type]
    member = f"datum[{json.dumps(name)}]"
    text = short(in_order(parts.frame, name), member).get("labelExpr", member)
    # Screen readers have read the points.
    mark = {"type": "text", "align": "left", "baseline": "middle", "dx": 8, "text": {"expr": text}, "aria": False}
    return {
        "transform": [{"filter": f"+toDate(datum.date) === {last}"}],
        "mark": mark,
        "encoding": {"color": {"value": PAPERS[parts.theme].text}},
    }


def _bars(parts: Parts) -> dict[str, Any]:
    period = _period(parts, parts.grain) if parts.grain is not None else None
    groups = list(parts.split)
    value = _value_axis(parts, zero=True)
    encoding: dict[str, Any] = {"x": {**value, "axis": {**value.get("axis", {}), "tickCount": _MOST_NUMBERS}}}
    # The line at zero, not an edge of the chart, is where bars begin.
    edge = {"domain": False} if _both_signs(parts.frame["value"]) else {}
    offset = "yOffset"
    if period is not None:
        encoding = {"x": {**period, "axis": {**period["axis"], **edge}}, "y": value}
        offset = "xOffset"
    elif groups:
        name = groups.pop(0)
        axis = {**short(in_order(parts.frame, name)), **edge}
        encoding["y"] = _field(parts, name, sort="-x", **({"axis": axis} if axis else {}))
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
    values = parts.frame["value"].drop_nulls()
    paper = PAPERS[parts.theme]
    scale = {**paper.both, "domainMid": 0} if _both_signs(values) else paper.one
    period = _period(parts, parts.grain) if parts.grain is not None else None
    rows = parts.split[0]
    size = parts.frame.group_by(rows).agg(pl.col("value").abs().sum()).sort(["value", rows], descending=[True, False])
    legend = scaled(values.to_list(), parts.value_title)
    encoding = {
        "x": period or _members(parts, parts.split[1], in_order(parts.frame, parts.split[1])),
        "y": _members(parts, rows, size[rows].to_list()),
        "color": {**_value(parts), "scale": scale, **({"legend": legend} if legend else {})},
        "tooltip": _tooltip(parts, period),
    }
    # A screen reader would read thousands of cells one by one; the description replaces them.
    # Cells of whole pixels have no gaps between them.
    columns = parts.frame["date" if period else parts.split[1]].n_unique()
    width = columns * max(1, round(WIDTH / columns))
    return {"mark": {"type": "rect", "aria": False}, "encoding": encoding, "width": width}


def _members(parts: Parts, name: str, members: list[str]) -> dict[str, Any]:
    axis = short([one for one in members if one is not None])
    return _field(parts, name, sort=members, **({"axis": axis} if axis else {}))


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
