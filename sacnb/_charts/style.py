"""Colours, shapes, dashes and themes of charts, chosen for colour-blind readers too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = [
    "COLOURS",
    "DASHES",
    "HEAT",
    "OUTCOMES",
    "PAPERS",
    "SHAPES",
    "TOTAL",
    "Look",
    "Theme",
    "config",
    "looks",
    "version_order",
    "version_text",
]

Theme = Literal["light", "dark"]

# Any two differ by at least 16 (CIE76) in normal, red-, green- and blue-blind vision, and each has a contrast of 3:1 to
# both backgrounds (WCAG 1.4.11). Shapes repeat the colours for readers and printers without them.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e5004d", "#8955f2")
SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
DASHES: Final = ((1, 0), (6, 3), (2, 3), (10, 3, 2, 3))
OUTCOMES: Final = {"favourable": "#0072b2", "unfavourable": "#d55e00", "neutral": "#767676"}
TOTAL: Final = "#767676"
# Blue over white to orange for values of both signs, else light to dark blue.
HEAT: Final = {"both": "blueorange", "one": "blues"}


@dataclass(frozen=True, slots=True)
class Paper:
    """The colours of a chart's background, text and lines."""

    ground: str
    text: str
    line: str


# No grey is readable (4.5:1) on both the white of a light notebook and the #1e1e1e of a dark one, so a chart has its
# own background.
PAPERS: Final[dict[Theme, Paper]] = {
    "light": Paper("#ffffff", "#333333", "#dddddd"),
    "dark": Paper("#1e1e1e", "#dddddd", "#444444"),
}

# SAC's categories of versions, in the order of reports.
_ACTUAL, _PLAN, _FORECAST = range(3)
_WORDS: Final = {
    "actual": _ACTUAL,
    "actuals": _ACTUAL,
    "plan": _PLAN,
    "planning": _PLAN,
    "budget": _PLAN,
    "forecast": _FORECAST,
}


@dataclass(frozen=True, slots=True)
class Look:
    """The colour, shape and dash of a member."""

    colour: str
    shape: str
    dash: tuple[int, ...]


def looks(members: Sequence[str], *, versions: bool) -> list[Look]:
    """Return the look of each member.

    The first actual, plan and forecast version look the same in every chart, whatever the others: blue and solid,
    orange and dashed, green and dotted.
    """
    places: list[int] = []
    free = iter(range(3 if versions else 0, len(members) + 3))
    for member in members:
        category = _category(member) if versions else None
        places.append(category if category is not None and category not in places else next(free))
    return [
        Look(
            COLOURS[place % len(COLOURS)],
            SHAPES[(place + place // len(COLOURS)) % len(SHAPES)],
            DASHES[place % len(DASHES)],
        )
        for place in places
    ]


def version_order(member: str) -> tuple[int, str]:
    """Return a sort key for versions: actuals, plans, forecasts, then others, each by name."""
    category = _category(member)
    return len(_WORDS) if category is None else category, member


def version_text(member: str) -> str:
    """Return the short name of a version: ``Actual`` for ``public.Actual``."""
    return member.removeprefix("public.") or member


def _category(member: str) -> int | None:
    # Match whole words: "Explanation" is not a plan. "ForecastV2" and "plan_2026" are two words each.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", member)
    return next((_WORDS[word.casefold()] for word in words if word.casefold() in _WORDS), None)


def config(theme: Theme) -> dict[str, Any]:
    """Return the background and Vega-Lite's settings for text and lines."""
    paper = PAPERS[theme]
    text = {"labelColor": paper.text, "titleColor": paper.text}
    return {
        "background": paper.ground,
        "config": {
            "axis": {**text, "gridColor": paper.line, "domainColor": paper.text, "tickColor": paper.text},
            "legend": {**text, "symbolStrokeWidth": 2, "symbolStrokeColor": paper.text},
            "title": {"color": paper.text, "subtitleColor": paper.text},
            "view": {"stroke": None},
        },
    }
