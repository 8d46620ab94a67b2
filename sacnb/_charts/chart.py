"""A chart for notebooks and files: as a picture, as a live chart, and in words."""

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

# A larger live chart would bloat the notebook; it then holds the picture only.
_MAX_LIVE_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Chart:
    """A chart that shows itself in a notebook and can be saved.

    ``altair`` is the Altair chart, free to change; ``data`` is what it draws; ``description`` says in words what it
    shows, for screen readers.
    """

    __module__ = "sacnb"

    altair: alt.Chart | alt.LayerChart
    data: pl.DataFrame
    title: str
    description: str

    def __repr__(self) -> str:
        return self.description

    def save_png(self, path: str | os.PathLike[str], *, scale: float = 2.0) -> None:
        """Write a PNG with *scale* pixels per pixel of the chart.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        Path(path).write_bytes(self.png(scale=scale))

    def save_svg(self, path: str | os.PathLike[str]) -> None:
        """Write an SVG.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        Path(path).write_text(self.svg(), encoding="utf-8", newline="\n")

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained HTML file, which opens offline.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        _converter()
        page = self.altair.to_html(inline=True, json_kwds={"cls": _ScriptEncoder})
        Path(path).write_text(page, encoding="utf-8", newline="\n")

    def png(self, *, scale: float = 1.0, ground: str | None = None) -> bytes:
        """Return a PNG with *scale* pixels per pixel of the chart, drawn without a browser.

        *ground* is a colour instead of that of the theme.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        spec = self._json() if ground is None else json.dumps({**json.loads(self._json()), "background": ground})
        picture: bytes = _converter().vegalite_to_png(spec, scale=scale)
        return picture

    def svg(self) -> str:
        """Return an SVG.

        Raises:
            MissingExtraError: vl-convert is not installed.
        """
        picture: str = _converter().vegalite_to_svg(self._json())
        return picture

    def _json(self) -> str:
        return str(self.altair.to_json(indent=None))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002 - IPython's signature
        """Return the chart as a picture, as a live chart if it is small enough, and in words."""
        spec = self.altair.to_dict()
        bundle: dict[str, Any] = {
            "text/plain": repr(self),
            "image/png": base64.b64encode(self.png()).decode(),
        }
        if len(json.dumps(spec).encode()) <= _MAX_LIVE_BYTES:
            version = str(spec["$schema"]).rsplit("/", 1)[-1].split(".", 1)[0]
            bundle[f"application/vnd.vegalite.{version}+json"] = spec
        else:
            bundle["text/plain"] += "\nThis notebook holds a picture only: the live chart is too large."
        return bundle


class _ScriptEncoder(json.JSONEncoder):
    """JSON for a ``<script>`` element, which a member named ``</script>`` must not close."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


def chart_of(spec: dict[str, Any], data: pl.DataFrame, title: str, description: str) -> Chart:
    """Make the chart of a Vega-Lite specification.

    Raises:
        MissingExtraError: Altair is not installed.
    """
    try:
        import altair as alt
    except ImportError as e:
        raise MissingExtraError("plot", "A chart") from e
    # Screen readers read the description. Set the values last, and as a dict: Altair checks each of them against its
    # schema otherwise, a second for three thousand with InlineData and minutes for ten thousand with from_dict.
    chart = alt.Chart.from_dict({**spec, "data": {"values": []}, "description": description})
    chart.data = spec["data"]
    return Chart(chart, data, title, description)


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError as e:
        raise MissingExtraError("plot", "Drawing a chart") from e
    return vl_convert
