"""Variances, and their charts: bars or a waterfall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import polars as pl

from sacnb._arguments import required_text, text
from sacnb._charts.chart import Chart, chart_of
from sacnb._charts.members import Labels, listed, plain, texts_of, with_texts
from sacnb._charts.plot import titled
from sacnb._charts.spec import HEIGHT, NOTHING, WIDTH, is_in_units, number, period_text, scaled, short
from sacnb._charts.style import OUTCOMES, PAPERS, Paper, Theme, config, theme_of_notebook, version_text
from sacnb._frames.preview import preview_of
from sacnb._odata.schema import Grain
from sacnb._rendering import Paged, Preview
from sacnb.errors import ContractError, UnknownNameError

__all__ = ["Variance"]

_MOST: Final = {"bar": 25, "waterfall": 15}
_TOTAL: Final = "total"
# An axis from zero would hide steps smaller than this share of the totals.
_SMALL: Final = 0.2
_MARGIN: Final = 0.25


@dataclass(frozen=True, slots=True)
class Variance(Paged):
    """The differences between two versions.

    ``frame`` has the columns compared by (``date``, ``dim_*``; Date and String), ``base`` and ``against`` (Float64;
    null where that version has no row), ``variance`` (``against`` minus ``base``; a missing row counts as 0),
    ``relative`` (of the size of ``base``; null where that is 0 or missing) and ``outcome`` (``"favourable"``,
    ``"unfavourable"`` or ``"neutral"``, also if unknown). ``note`` says what was added up and assumed.
    """

    __module__ = "sacnb"

    frame: pl.DataFrame
    base: str
    against: str
    measure: str
    title: str
    grain: Grain | None = None
    note: str = ""

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return self._preview().text()

    def _preview(self, rows: int = 0) -> Preview:
        notes = (self.note,) if self.note else ()
        return preview_of(self.frame, title=self.title, notes=notes, whole=self.frame.columns, more_rows=rows)

    def plot(
        self,
        kind: Literal["bar", "waterfall"] = "bar",
        *,
        labels: Labels | None = None,
        title: str | None = None,
        unit: str | None = None,
        theme: Theme | None = None,
    ) -> Chart:
        """Draw bars, the largest first or by date, or a waterfall from total to total.

        Raises:
            MissingExtraError: The extra ``plot`` is not installed.
            ContractError: The variances are by more than one column, or by none.
            UnknownNameError: ``kind``, ``labels`` or ``theme`` is unknown.
        """
        return _chart(
            self,
            required_text("kind", kind),  # type: ignore[arg-type]  # _chart names those there are
            labels=labels,
            title=text("title", title),
            unit=text("unit", unit),
            theme=text("theme", theme),  # type: ignore[arg-type]
        )


def _chart(
    variance: Variance,
    kind: Literal["bar", "waterfall"],
    *,
    labels: Labels | None,
    title: str | None,
    unit: str | None,
    theme: Theme | None,
) -> Chart:
    """Draw variances; see ``Variance.plot``."""
    for name, value, known in (("kind of chart", kind, _MOST), ("theme", theme, PAPERS)):
        if value is not None and value not in known:
            raise UnknownNameError(name, str(value), known)
    theme = theme or theme_of_notebook()
    paper = PAPERS[theme]
    key = _key(variance)
    names = (version_text(variance.base), version_text(variance.against))
    steps, note = _steps(variance, key, labels, _MOST[kind], with_rest=kind == "waterfall")
    notes = [plain(one) for one in (variance.note, note) if one]
    heading = title or f"{variance.title.partition(',')[0]}, {names[1]} against {names[0]}"
    value_title = plain(f"{variance.measure} ({unit})" if unit else variance.measure)
    if kind == "bar":
        drawn = _bars(steps, key, f"{names[1]} minus {names[0]}: {value_title}", paper)
    else:
        steps, domain, cut = _waterfall(steps, names)
        notes += [cut] if cut else []
        drawn = _falling(steps, domain, value_title, paper)
    spec = {
        **titled(heading, notes),
        **config(theme),
        "data": {"values": steps.to_dicts()},
        "width": WIDTH,
        **(NOTHING if variance.frame.is_empty() else drawn),
    }
    return chart_of(spec, steps, heading, _describe(variance, kind, steps, heading, notes))


def _key(variance: Variance) -> str:
    keys = [name for name in variance.frame.columns if name == "date" or name.startswith("dim_")]
    if len(keys) != 1:
        given = listed([name.removeprefix("dim_") for name in keys]) if keys else "nothing"
        raise ContractError(
            f"The variances are by {given}; a chart shows one dimension.", hint="Choose it with variance(by=...)."
        )
    return keys[0]


def _steps(
    variance: Variance, key: str, labels: Labels | None, most: int, *, with_rest: bool
) -> tuple[pl.DataFrame, str]:
    """Return ``name``, ``base``, ``against``, ``variance``, ``outcome``: by date, or the largest variances first."""
    frame = variance.frame
    if key == "date":
        assert variance.grain is not None  # noqa: S101 - there are dates
        grain = variance.grain
        named = pl.Series(
            "name", ["#" if day is None else period_text(day, grain) for day in frame[key]], dtype=pl.String
        )
        frame = frame.sort(key, nulls_last=True)
    else:
        texts = texts_of(labels, [key.removeprefix("dim_")])
        named = with_texts(frame.select(key), [key], texts)[key].alias("name")
    made = frame.select(named, "base", "against", "variance", "outcome")
    ranked = made.sort([pl.col("variance").abs(), "name"], descending=[True, False])
    if len(made) <= most:
        return (made if key == "date" else ranked), ""
    what = "dates" if key == "date" else f"members of {key.removeprefix('dim_')}"
    said = f"The {most} largest of {len(made):,} {what} are shown"
    kept = ranked.head(most)
    if key == "date":
        kept = made.filter(pl.col("name").is_in(kept["name"].implode()))
    if not with_rest:
        return kept, f"{said}."
    rest = ranked.slice(most).select(
        pl.lit(f"Other ({len(made) - most:,})").alias("name"),
        *(pl.col(name).sum() for name in ("base", "against", "variance")),
        pl.lit("neutral").alias("outcome"),
    )
    return pl.concat([kept, rest.head(1)]), f"{said}, and the sum of the others."


def _colour(steps: pl.DataFrame, paper: Paper) -> dict[str, Any]:
    """Return the colours of the outcomes that occur, with a legend if there are several."""
    colours = {**OUTCOMES, _TOTAL: paper.total}
    there = [one for one in colours if one in set(steps["outcome"])]
    scale = {"domain": there, "range": [colours[one] for one in there]}
    legend = {} if len(there) > 1 else {"legend": None}
    return {"field": "outcome", "type": "nominal", "title": None, "scale": scale, **legend}


def _bars(steps: pl.DataFrame, key: str, value_title: str, paper: Paper) -> dict[str, Any]:
    names = steps["name"].to_list()
    axis = {**scaled([0.0, *steps["variance"]], value_title), "tickCount": 8}
    value = {"field": "variance", "type": "quantitative", "title": value_title, "axis": axis}
    name = {"field": "name", "type": "nominal", "title": None, "sort": names, "axis": short(names)}
    along, across = ("y", "x") if key == "date" else ("x", "y")
    tooltip = [
        {"field": one, "type": "nominal" if one in {"name", "outcome"} else "quantitative"} for one in steps.columns
    ]
    height = {"height": HEIGHT} if key == "date" else {}
    encoding = {along: value, across: name, "color": _colour(steps, paper), "tooltip": tooltip}
    return {"mark": {"type": "bar"}, "encoding": encoding, **height}


def _waterfall(steps: pl.DataFrame, names: tuple[str, str]) -> tuple[pl.DataFrame, tuple[float, float], str]:
    """Return the ends of each bar, the range of the axis, and a note if it does not start at zero."""
    first, last = float(steps["base"].sum()), float(steps["against"].sum())
    ends = [first + value for value in steps["variance"].cum_sum()]
    begins = [first, *ends[:-1]] if ends else []
    levels = [first, last, *ends]
    low, high = min(0.0, *levels), max(0.0, *levels)
    span = max(levels) - min(levels)
    cut = ""
    if span and span < _SMALL * max(abs(first), abs(last)) and min(levels) * max(levels) > 0:
        room = _MARGIN * span
        low, high = (min(levels) - room, max(levels)) if first > 0 else (min(levels), max(levels) + room)
        cut = "The axis does not start at zero."
    floor = 0.0 if not cut else low if first > 0 else high
    rows = [
        (names[0], floor, first, first, _TOTAL),
        *zip(steps["name"], begins, ends, steps["variance"], steps["outcome"], strict=True),
        (names[1], floor, last, last, _TOTAL),
    ]
    frame = pl.DataFrame(rows, schema=["name", "begin", "end", "value", "outcome"], orient="row")
    return frame, (low, high), cut


def _falling(steps: pl.DataFrame, domain: tuple[float, float], value_title: str, paper: Paper) -> dict[str, Any]:
    name = {
        "field": "name",
        "type": "nominal",
        "title": None,
        "sort": steps["name"].to_list(),
        "axis": {"labelAngle": -40, **short(steps["name"].to_list())},
    }
    scale = {"domain": list(domain), "nice": False}
    begin = {
        "field": "begin",
        "type": "quantitative",
        "title": value_title,
        "scale": scale,
        "axis": scaled(domain, value_title),
    }
    tooltip = [
        {"field": "name", "type": "nominal", "title": "Step"},
        {"field": "value", "type": "quantitative", "title": value_title, "format": ",.15~g"},
        {"field": "outcome", "type": "nominal", "title": "Outcome"},
    ]
    bars = {
        "mark": {"type": "bar", "clip": True},
        "encoding": {"x": name, "y": begin, "y2": {"field": "end"}, "color": _colour(steps, paper), "tooltip": tooltip},
    }
    shown = "replace(format(datum.value, datum.outcome == 'total' ? '.4~s' : '+.3~s'), 'G', 'bn')"
    if is_in_units(value_title):  # whole thousands, and digits behind only where they are needed
        sign = "(datum.outcome == 'total' ? '' : '+')"
        shown = f"format(datum.value, {sign} + (abs(datum.value) < 100 ? ',.3~r' : ',.0f'))"
    text = {
        "mark": {"type": "text", "dy": -8, "fontSize": 10, "color": paper.text, "aria": False},
        "encoding": {
            "x": name,
            "y": {"field": "top", "type": "quantitative", "scale": scale},
            "text": {"field": "text", "type": "nominal"},
        },
        "transform": [
            {"calculate": "max(datum.begin, datum.end)", "as": "top"},
            {"calculate": shown, "as": "text"},
        ],
    }
    return {"layer": [bars, text], "height": HEIGHT}


def _describe(variance: Variance, kind: str, steps: pl.DataFrame, heading: str, notes: list[str]) -> str:
    what = {"bar": "Bar chart of variances", "waterfall": "Waterfall chart"}[kind]
    said = [f"{what}. {plain(heading)}."]
    if kind == "waterfall":
        base, against = (number(float(variance.frame[side].sum())) for side in ("base", "against"))
        said.append(f"From {base} to {against}.")
    column = "variance" if kind == "bar" else "value"
    drawn = steps.filter(pl.col("outcome") != _TOTAL)
    largest = drawn.sort(pl.col(column).abs(), descending=True, maintain_order=True).head(3)
    if not largest.is_empty():
        steps_said = [f"{name} {value:+,.6g}" for name, value in largest.select("name", column).rows()]
        said.append(f"The largest {'variance is' if len(largest) == 1 else 'variances are'} {listed(steps_said)}.")
    return " ".join([*said, *notes])
