"""The plots of the document, each for light and for dark paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from benchmarks.results import Results
from sacnb._charts.style import COLOURS, DASHES, PAPERS, Theme, config

__all__ = ["GROWTH", "MEMORY", "RATIO", "THEMES", "write_pictures"]

RATIO, GROWTH, MEMORY = "performance_ratio", "performance_growth", "performance_memory"
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
_BARS: Final = {
    "limits:gunzip": ("network and gunzip", "limit"),
    "ours:pandas": ("sacnb fetch().pandas()", "sacnb"),
    "ours:parquet": ("sacnb to_parquet()", "sacnb"),
    "peers:loop": ("requests + pandas", "others"),
    "peers:sacapi_frame": ("sacapi + pandas", "others"),
    "peers:dlt": ("dlt to Parquet", "others"),
}
_WAYS: Final = {"ours:stream": "stream()", "ours:parquet": "to_parquet()"}
_GROUPS: Final = {"sacnb": COLOURS[0], "others": COLOURS[1], "limit": "#767676"}


def write_pictures(results: Results, folder: Path) -> None:
    """Write every picture into ``folder``."""
    import vl_convert

    for name, draw in {RATIO: _ratio, GROWTH: _growth, MEMORY: _memory}.items():
        spec = draw(results).to_dict()
        for theme in THEMES:
            look = config(theme)
            look["config"]["text"] = {"color": PAPERS[theme].text}
            look["config"]["header"] = {"labelColor": PAPERS[theme].text, "labelFontSize": 12}
            picture = vl_convert.vegalite_to_png(json.dumps({**spec, **look}), scale=1.5)
            (folder / f"{name}_{theme}.png").write_bytes(picture)


def _ratio(results: Results) -> Any:
    import altair as alt

    latencies = [f"{latency} ms a page" for latency in (0, 50, 500)]
    rows = [
        {"latency": label, "who": who, "group": group, "seconds": results.seconds(candidate, latency)}
        for latency, label in zip((0, 50, 500), latencies, strict=True)
        for candidate, (who, group) in _BARS.items()
    ]
    base = alt.Chart().encode(
        x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(tickCount=4)),
        y=alt.Y("who:N", title=None, sort=[who for who, _ in _BARS.values()]),
    )
    bars = base.mark_bar().encode(
        color=alt.Color("group:N", legend=None, scale=alt.Scale(domain=list(_GROUPS), range=list(_GROUPS.values())))
    )
    words = base.mark_text(align="left", dx=4).encode(text=alt.Text("seconds:Q", format=".1f"))
    return (
        alt.layer(bars, words, data=alt.Data(values=rows))
        .properties(width=200, height=150)
        .facet(column=alt.Column("latency:N", title=None, sort=latencies))
    )


def _growth(results: Results) -> Any:
    import altair as alt

    rows = [
        {"way": way, "rows": run["rows"], "seconds": run["seconds"], "MB above idle": max(run["above_idle_mb"], 1)}
        for candidate, way in _WAYS.items()
        for run in results.growth(candidate)
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("rows:Q", title="rows", scale=alt.Scale(type="log"), axis=_powers(alt, 3, 8)),
        color=_by_way(alt),
        strokeDash=_dashes(alt),
    )
    seconds = base.mark_line(point=True).encode(
        y=alt.Y("seconds:Q", title="seconds", scale=alt.Scale(type="log"), axis=_powers(alt, -2, 3))
    )
    memory = base.mark_line(point=True).encode(
        y=alt.Y("MB above idle:Q", title="peak memory above idle, MB", scale=alt.Scale(domainMin=0))
    )
    return alt.hconcat(seconds.properties(width=300, height=220), memory.properties(width=300, height=220))


def _memory(results: Results) -> Any:
    import altair as alt

    rows = [
        {"way": way, "seconds": second, "MB": mb}
        for candidate, way in _WAYS.items()
        for second, mb in results.largest(candidate)["runs"][0]["samples"]
    ]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line()
        .encode(
            x=alt.X("seconds:Q", title="seconds since the pull began"),
            y=alt.Y("MB:Q", title="memory of the process, MB", scale=alt.Scale(domainMin=0)),
            color=_by_way(alt),
            strokeDash=_dashes(alt),
        )
        .properties(width=640, height=220)
    )


def _powers(alt: Any, first: int, end: int) -> Any:
    """An axis with the powers of ten alone: all the other lines of a logarithmic one would hide what is drawn."""
    return alt.Axis(format="~s" if first > 0 else "~g", values=[10.0**power for power in range(first, end)])


def _by_way(alt: Any) -> Any:
    ways = list(_WAYS.values())
    return alt.Color("way:N", title=None, scale=alt.Scale(domain=ways, range=list(COLOURS[: len(ways)])))


def _dashes(alt: Any) -> Any:
    ways = list(_WAYS.values())
    return alt.StrokeDash("way:N", title=None, scale=alt.Scale(domain=ways, range=[list(dash) for dash in DASHES[:2]]))
