"""Colours, shapes, dashes and themes of charts, chosen for colour-blind readers too."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = [
    "COLOURS",
    "DASHES",
    "OUTCOMES",
    "PAPERS",
    "SHAPES",
    "Look",
    "Paper",
    "Theme",
    "config",
    "looks",
    "theme_of_notebook",
    "version_order",
    "version_text",
]

Theme = Literal["light", "dark"]

# Any two differ by at least 16 (CIE76) in normal, red-, green- and blue-blind vision, and each has a contrast of 3:1 to
# both backgrounds (WCAG 1.4.11). Shapes repeat the colours for readers and printers without them.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e5004d", "#8955f2", "#ea47da", "#9900ff")
SHAPES: Final = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
DASHES: Final = ((1, 0), (6, 3), (2, 3), (10, 3, 2, 3))
OUTCOMES: Final = {"favourable": "#0072b2", "unfavourable": "#d55e00", "neutral": "#767676"}


@dataclass(frozen=True, slots=True)
class Paper:
    """The colours of a chart: background, text, grid, line at zero, lines behind others, totals, cells of heat maps.

    ``one`` and ``both`` colour values of one sign and of both. Zero has nearly the colour of the background.
    """

    ground: str
    text: str
    line: str
    zero: str
    behind: str
    total: str
    one: dict[str, Any]
    both: dict[str, Any]


# No grey is readable (4.5:1) on both the white of a light notebook and the #1e1e1e of a dark one, so a chart has its
# own background.
PAPERS: Final[dict[Theme, Paper]] = {
    "light": Paper(
        "#ffffff", "#333333", "#e5e5e5", "#767676", "#b8b8b8", "#404040", {"scheme": "blues"}, {"scheme": "blueorange"}
    ),
    "dark": Paper(
        "#1e1e1e",
        "#dddddd",
        "#3a3a3a",
        "#8c8c8c",
        "#5c5c5c",
        "#d0d0d0",
        {"range": ["#22303c", "#1f5f8f", "#4aa3df", "#c6e5fa"]},
        {"range": ["#8cc8f2", "#2f7fb8", "#2b2b2b", "#c06a1e", "#ffb573"]},
    ),
}

# Altair's own.
_DARK_THEMES: Final = ("dark", "carbong90", "carbong100")

# Longer than a shortened label of wide letters; Vega would cut labels at their end, where they differ.
_MOST_LABEL_PIXELS: Final = 420

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
    orange and dashed, green and dotted. There are as many looks as ``COLOURS``.
    """
    categories = [_category(member) if versions else None for member in members]
    kept = set(categories)
    # A place that no category takes is free for others, after those that never stand for one.
    order = (*range(3, len(COLOURS)), *range(3)) if versions else range(len(COLOURS))
    free = iter([place for place in order if place not in kept])
    places: list[int] = []
    for category in categories:
        places.append(category if category is not None and category not in places else next(free))
    return [Look(COLOURS[place], SHAPES[place], DASHES[place % len(DASHES)]) for place in places]


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


def theme_of_notebook() -> Theme:
    """Return the theme that Altair was told to use; a kernel cannot see the colours of the page."""
    # No chart of Altair's is themed before it is imported.
    altair = sys.modules.get("altair")
    return "dark" if altair is not None and altair.theme.active in _DARK_THEMES else "light"


def config(theme: Theme) -> dict[str, Any]:
    """Return the background and Vega-Lite's settings for text and lines."""
    paper = PAPERS[theme]
    text = {"labelColor": paper.text, "titleColor": paper.text}
    return {
        "background": paper.ground,
        "config": {
            "axis": {
                **text,
                "gridColor": paper.line,
                "domainColor": paper.zero,
                "tickColor": paper.zero,
                "labelFlush": False,
                "labelLimit": _MOST_LABEL_PIXELS,
            },
            "legend": {**text, "symbolOpacity": 1, "labelLimit": _MOST_LABEL_PIXELS},
            "text": {"color": paper.text},
            "title": {"color": paper.text, "subtitleColor": paper.text},
            "view": {"stroke": None},
        },
    }
