"""A chart that shows itself: a picture for those who only read, the live chart for those who can draw it, and words."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

__all__ = ["Chart", "chart_of"]

# Above this the live chart would make the notebook heavy; the picture stays.
_MAX_LIVE_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Chart:
    """A chart that shows itself in a notebook and can be saved.

    ``altair`` is the Altair chart, to be changed at will; ``data`` is what it draws; ``description`` says in words what
    there is to see, for readers who cannot.
    """

    altair: alt.Chart | alt.LayerChart
    data: pl.DataFrame
    title: str
    description: str

    def __repr__(self) -> str:
        return self.description

    def save_png(self, path: str | os.PathLike[str], *, scale: float = 2.0) -> None:
        """Write a PNG; ``scale`` is in pixels of the file per pixel of the chart.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        Path(path).write_bytes(self.png(scale=scale))

    def save_svg(self, path: str | os.PathLike[str]) -> None:
        """Write an SVG, which is sharp at every size.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        picture: str = _converter().vegalite_to_svg(self._json())
        Path(path).write_text(picture, encoding="utf-8", newline="\n")

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML file with everything in it: it opens offline, and asks no other host for anything.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        _converter()
        Path(path).write_text(self.altair.to_html(inline=True), encoding="utf-8", newline="\n")

    def png(self, *, scale: float = 1.0) -> bytes:
        """The chart as a PNG, drawn without a browser; ``scale`` is in pixels per pixel of the chart.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        picture: bytes = _converter().vegalite_to_png(self._json(), scale=scale)
        return picture

    def _json(self) -> str:
        return str(self.altair.to_json(indent=None))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002 - IPython's signature
        """A picture for notebooks that are only read, the chart itself for those that can draw it, and words."""
        spec = self.altair.to_dict()
        bundle: dict[str, Any] = {
            "text/plain": repr(self),
            "image/png": base64.b64encode(self.png()).decode(),
        }
        if len(json.dumps(spec).encode()) <= _MAX_LIVE_BYTES:
            version = str(spec["$schema"]).rsplit("/", 1)[-1].split(".", 1)[0]
            bundle[f"application/vnd.vegalite.{version}+json"] = spec
        else:
            bundle["text/plain"] += "\nThe notebook holds the picture only: the live chart would be too large for it."
        return bundle


def chart_of(spec: dict[str, Any], data: pl.DataFrame, title: str, description: str) -> Chart:
    """The chart of a Vega-Lite specification.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    try:
        import altair as alt
    except ImportError as e:
        raise MissingExtraError("plot", "A chart") from e
    # Vega gives the description to screen readers as the name of the picture. The values come last: Altair would hold
    # each against its schema, which takes minutes for ten thousand.
    chart = alt.Chart.from_dict({**spec, "data": {"values": []}, "description": description})
    chart.data = alt.InlineData(**spec["data"])
    return Chart(chart, data, title, description)


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError as e:
        raise MissingExtraError("plot", "Drawing a chart") from e
    return vl_convert
