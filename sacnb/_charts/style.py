"""How charts look: colours that colour-blind readers can tell apart, those of the versions, light and dark paper."""

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

# Chosen so that any two differ by at least 16 (CIE76) as they are and as red-, green- and blue-blind eyes see them, and
# each stands out from both papers by 3:1 (WCAG 1.4.11). Shapes repeat what colours say, for eyes and printers without.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e5004d", "#8955f2")
SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
DASHES: Final = ((1, 0), (6, 3), (2, 3), (10, 3, 2, 3))
OUTCOMES: Final = {"favourable": "#0072b2", "unfavourable": "#d55e00", "neutral": "#767676"}
TOTAL: Final = "#767676"
# From blue by white to orange where values have both signs, else from light to dark blue.
HEAT: Final = {"both": "blueorange", "one": "blues"}


@dataclass(frozen=True, slots=True)
class Paper:
    """The ground of a chart, its text, and its lines."""

    ground: str
    text: str
    line: str


# No grey can be read (4.5:1) on the white of a light notebook and on the #1e1e1e of a dark one, so that a chart brings
# its own ground with it.
PAPERS: Final[dict[Theme, Paper]] = {
    "light": Paper("#ffffff", "#333333", "#dddddd"),
    "dark": Paper("#1e1e1e", "#dddddd", "#444444"),
}

# The categories of versions that SAC has, in the order in which reports show them.
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
    """How one member is drawn."""

    colour: str
    shape: str
    dash: tuple[int, ...]


def looks(members: Sequence[str], *, versions: bool) -> list[Look]:
    """How each of these members is drawn.

    Of versions, the first actual, plan and forecast look the same in every chart, whichever others there are: blue and
    solid, orange and dashed, green and dotted.
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
    """Sorts versions: actuals, plans, forecasts, then the others, each by name."""
    category = _category(member)
    return len(_WORDS) if category is None else category, member


def version_text(member: str) -> str:
    """A version as people call it: ``Actual`` for ``public.Actual``."""
    return member.removeprefix("public.") or member


def _category(member: str) -> int | None:
    # By whole words: "Explanation" is no plan. "ForecastV2" and "plan_2026" are two words each.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", member)
    return next((_WORDS[word.casefold()] for word in words if word.casefold() in _WORDS), None)


def config(theme: Theme) -> dict[str, Any]:
    """The ground, and Vega-Lite's settings for text and lines on it."""
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
