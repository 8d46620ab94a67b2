"""Charts as tests read them."""

from __future__ import annotations

from typing import Any

from sacnb._charts.plot import Chart


def encoding(chart: Chart) -> dict[str, Any]:
    """Return all channels of a chart: the shared ones and those of its lines and points, not of labels."""
    spec = chart.altair.to_dict()
    found: dict[str, Any] = dict(spec["encoding"])
    for layer in spec.get("layer", [])[:2]:
        found |= layer.get("encoding", {})
    return found
