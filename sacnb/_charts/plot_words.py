"""What a chart shows, in words: for screen readers, for plain text, and for whoever greps a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from sacnb._charts.members import in_order, listed
from sacnb._charts.spec import Kind, Parts, period_text

__all__ = ["describe", "number"]

_MOST_NAMES: Final = 6
_KINDS: Final[dict[Kind, str]] = {"line": "Line chart", "bar": "Bar chart", "heatmap": "Heat map"}


def describe(kind: Kind, parts: Parts, title: str, notes: Sequence[str]) -> str:
    """A few sentences: what is drawn, how it is split, over which dates, how large the values are, and the notes."""
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
    """A number for people: with separators, and no more digits than they can read."""
    return f"{value:,.6g}" if isinstance(value, float) and abs(value) < 1 else f"{value:,.2f}".rstrip("0").rstrip(".")
