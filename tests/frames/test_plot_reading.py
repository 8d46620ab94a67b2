"""Charts that can be read: legends, labels, colours, ticks and numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import altair as alt
import polars as pl
import pytest
from charts import encoding

from sacnb._charts.members import shortened
from sacnb._charts.plot import Chart
from sacnb._charts.spec import calendar_ticks, scaled

MONTHS = ("202401", "202402", "202403", "202404")


def test_the_legend_tells_a_plan_by_its_dashes(plot: Callable[..., Chart], pixels: Callable[[bytes], Any]) -> None:
    rows = [[v, m, one, i] for v in ("public.Actual", "public.Plan") for m in MONTHS for i, one in enumerate("AB")]
    for theme, ink in (("light", (0x33, 0x33, 0x33)), ("dark", (0xDD, 0xDD, 0xDD))):
        chart = plot(["Version", "Date", "Sector", "Amount"], rows, theme=theme)
        legend = encoding(chart)["strokeDash"]["legend"]
        assert legend["symbolType"] == "stroke"
        lines = (pixels(chart.png())[:, 640:, :3] == ink).all(axis=2)
        # Neighbours in a row: the solid line of Actual has more than any letter, and that of Plan is there in pieces.
        assert max(run(row) for row in lines) >= 18
        assert any(3 <= run(row) <= 8 and row.sum() >= 10 for row in lines)


def run(row: Any) -> int:
    """Return the length of the longest run of true values."""
    return max((sum(1 for _ in group) for value, group in itertools.groupby(row.tolist()) if value), default=0)


@pytest.mark.parametrize(("members", "coloured"), [(8, 8), (9, 7), (12, 7)])
def test_no_colour_is_used_twice(plot: Callable[..., Chart], members: int, coloured: int) -> None:
    rows = [[month, f"M{i:02}", i] for month in MONTHS for i in range(members)]
    chart = plot(["Date", "Region", "Amount"], rows)
    colour = encoding(chart)["color"]
    main = colour["scale"]["range"][:coloured]
    assert len(set(main)) == coloured
    assert not set(main) & set(colour["scale"]["range"][coloured:])
    grey = colour["scale"]["domain"][coloured:]
    assert grey == [f"M{i:02}" for i in range(members - coloured)]  # the smallest
    assert chart.data["dim_Region"].n_unique() == members
    if grey:
        assert colour["legend"]["values"][-1] == "M00"
        assert f'["{len(grey)} others"]' in colour["legend"]["labelExpr"]
        assert f"The 7 largest of {members} lines of Region are coloured; the others are grey." in chart.description
        (values,) = chart.altair.to_dict()["datasets"].values()
        assert {one["dim_Region"] for one in values[: 4 * len(grey)]} == set(grey)  # below the others


def test_an_actual_is_never_grey(plot: Callable[..., Chart]) -> None:
    versions = ["public.Actual", *(f"public.What{i}" for i in range(11))]
    rows = [[month, one, i] for month in MONTHS for i, one in enumerate(versions)]
    colour = encoding(plot(["Date", "Version", "Amount"], rows))["color"]["scale"]
    assert (colour["domain"][0], colour["range"][0]) == ("Actual", "#0072b2")
    assert len(set(colour["range"])) == 8


@pytest.mark.parametrize(
    ("ends", "labelled"),
    [((1, 5, 9), True), ((1, 1.2, 9), False), ((4, 4), False), (tuple(range(8)), True), (tuple(range(9)), False)],
)
def test_lines_are_labelled_at_their_ends_where_there_is_room(
    plot: Callable[..., Chart], ends: tuple[float, ...], *, labelled: bool
) -> None:
    rows = [[month, f"M{i}", value] for month in MONTHS for i, value in enumerate(ends)]
    spec = plot(["Date", "Region", "Amount"], rows).altair.to_dict()
    texts = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    assert len(texts) == labelled
    assert (spec["encoding"]["color"].get("legend", {}) is None) == labelled
    early = plot(["Date", "Region", "Amount"], [*rows[:-1]]).altair.to_dict()  # one line ends before the others
    assert [layer["mark"]["type"] for layer in early["layer"]] == ["line", "point"]


@pytest.mark.parametrize(
    ("first", "last", "grain", "places", "shown_as"),
    [
        (date(2006, 1, 1), date(2015, 12, 1), "month", [date(year, 1, 1) for year in range(2006, 2016)], "year"),
        (date(2006, 3, 1), date(2029, 2, 1), "month", [date(year, 1, 1) for year in range(2008, 2029, 2)], "year"),
        (date(2024, 2, 1), date(2025, 8, 1), "month", [date(2024, m, 1) for m in (4, 7, 10)], "month"),
        (date(2024, 1, 1), date(2024, 4, 1), "quarter", [date(2024, 1, 1), date(2024, 4, 1)], "quarter"),
        (date(1990, 1, 1), date(2024, 1, 1), "year", [date(year, 1, 1) for year in range(1990, 2021, 5)], "year"),
        (date(2024, 1, 3), date(2024, 2, 12), "day", [date(2024, 1, day) for day in (8, 15, 22, 29)], "day"),
        (date(2024, 5, 17), date(2024, 5, 17), "day", [date(2024, 5, 17)], "day"),
        (date(9999, 12, 1), date(9999, 12, 1), "month", [date(9999, 12, 1)], "month"),
        (date(1, 1, 1), date(9999, 12, 1), "month", [date(1000, 1, 1), date(2000, 1, 1)], "year"),
    ],
)
def test_ticks_stand_on_calendar_places(first: date, last: date, grain: Any, places: list[date], shown_as: str) -> None:
    made, label = calendar_ticks(pl.Series([first, last]), grain)
    assert (made.to_list()[: len(places)], label) == (places, shown_as)
    assert len(made) <= 12


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([0, 99_999], None),
        ([0, 250_000], "k"),
        ([-2_000_000, 1], "M"),
        ([0, 3e9], "bn"),
        ([1e9, 1e9 + 30], None),  # thousands with three decimals could not tell the ticks apart
        ([1e9, 1e9 + 300_000], "M"),
        ([5e6], None),
    ],
)
def test_large_numbers_have_a_unit(values: list[float], unit: str | None) -> None:
    axis = scaled(values, "Sales (EUR)")
    assert (axis["labelExpr"].rsplit("'", 2)[1] if axis else None) == unit


@pytest.mark.parametrize("title", ["Employees (thousands)", "Sales (EUR mn)", "Umsatz (Tsd. EUR)", "Sales in 000s"])
def test_values_that_are_thousands_already_get_no_unit(title: str) -> None:
    assert scaled([0, 250_000], title) == {}


def test_bars_of_both_signs_have_a_line_at_zero(plot: Callable[..., Chart]) -> None:
    drawn = encoding(plot(["Region", "Amount"], [["A", 1], ["B", -1]]))
    assert drawn["x"]["axis"]["gridColor"]["condition"]["test"] == "datum.value === 0"
    assert drawn["y"]["axis"] == {"domain": False}
    assert "gridColor" not in encoding(plot(["Region", "Amount"], [["A", 1], ["B", 2]]))["x"]["axis"]


def test_long_labels_stay_different(plot: Callable[..., Chart]) -> None:
    same = "Manufacturing of computers and peripheral equipment, {} semiconductors"
    texts = [same.format("excluding"), same.format("including"), "Retail", "x" * 50 + "a" + "x" * 50, "x" * 101]
    made = shortened(texts)
    assert made[texts[0]].endswith("excluding semiconductors")
    assert made[texts[0]].startswith("Manufacturing")
    assert "Retail" not in made
    assert texts[3] not in made  # no cut at one place tells them apart
    shown = [made.get(text, text) for text in texts]
    assert len(set(shown)) == len(texts)
    assert all("…" in short and len(short) <= 40 for short in made.values())
    assert shortened([]) == {}
    drawn = encoding(plot(["Region", "Amount"], [[texts[0], 1], [texts[1], 2]]))
    assert json.dumps(made[texts[0]]) in drawn["y"]["axis"]["labelExpr"]
    assert "labelExpr" not in json.dumps(drawn["tooltip"])


def test_the_theme_is_the_one_of_altair(plot: Callable[..., Chart]) -> None:
    with alt.theme.enable("dark"):
        assert plot(["Date", "Amount"], [["202401", 1]]).altair.to_dict()["background"] == "#1e1e1e"
        assert plot(["Date", "Amount"], [["202401", 1]], theme="light").altair.to_dict()["background"] == "#ffffff"
    assert plot(["Date", "Amount"], [["202401", 1]]).altair.to_dict()["background"] == "#ffffff"
