"""A chart that says what it shows, refuses to draw several values as one, and needs neither browser nor network."""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from charts import encoding

from sacnb._charts.chart import chart_of
from sacnb._charts.plot import Chart
from sacnb._charts.spec import Parts, drawing
from sacnb._odata.schema import Column, Schema
from sacnb._results.result import Result
from sacnb.errors import ContractError, MissingExtraError, UnknownNameError

Facts = Callable[..., tuple[pa.Table, Schema]]
MakeResult = Callable[..., Result]
MONTHS = ("202401", "202402", "202403", "202404")


def test_lines_over_dates(plot: Callable[..., Chart]) -> None:
    sector = Column("Sector", "Edm.String", "dimension", label="Sector of the economy")
    rows = [["public.Actual", month, one, i] for i, month in enumerate(MONTHS) for one in ("31", "32", "#")]
    chart = plot(["Version", "Date", sector, "Amount"], rows, unit="thousands")
    drawn = encoding(chart)
    assert mark(chart) == "line"
    assert (drawn["x"]["field"], drawn["x"]["scale"], drawn["x"]["axis"]) == (
        "date",
        {"type": "utc"},
        {"format": "%Y-%m", "values": [1704067200000, 1706745600000, 1709251200000, 1711929600000]},
    )
    assert drawn["y"]["title"] == "Amount (thousands)"
    assert (drawn["color"]["field"], drawn["color"]["title"]) == ("dim_Sector", "Sector of the economy")
    assert "strokeDash" not in drawn  # the version has one member
    assert chart.title == "SALES: Amount"
    assert chart.data.columns == ["date", "dim_Sector", "value"]
    (values,) = chart.altair.to_dict()["datasets"].values()
    assert len(values) == 12
    assert values[0] == {"date": "2024-01-01", "dim_Sector": "#", "value": 0.0}


def test_two_dimensions_are_colours_and_dashes(plot: Callable[..., Chart]) -> None:
    rows = [
        [version, month, one, 1] for version in ("public.Actual", "public.Plan") for month in MONTHS for one in "AB"
    ]
    drawn = encoding(plot(["Version", "Date", "Sector", "Amount"], rows))
    assert (drawn["color"]["field"], drawn["strokeDash"]["field"]) == ("dim_Sector", "dim_Version")
    drawn = encoding(plot(["Version", "Date", "Sector", "Amount"], rows, by=["Version", "Sector"]))
    assert (drawn["color"]["field"], drawn["strokeDash"]["field"]) == ("dim_Version", "dim_Sector")
    assert drawn["shape"] == {**drawn["color"], "scale": drawn["shape"]["scale"]}  # what colours say is said twice
    assert drawn["color"]["scale"]["domain"] == ["Actual", "Plan"]


def test_several_values_are_not_drawn_as_one(plot: Callable[..., Chart]) -> None:
    rows = [[version, "202401", one, two, 1] for version in "ab" for one in "ABC" for two in "XYZW"]
    with pytest.raises(ContractError, match=r"also varies in 'Version' \(2 members\).*where=.*dims="):
        plot(["Version", "Date", "One", "Two", "Amount"], rows)
    with pytest.raises(ContractError, match="'Two'"):
        plot(["Version", "Date", "One", "Two", "Amount"], rows, by="One")
    with pytest.raises(UnknownNameError, match="Did you mean 'One'"):
        plot(["Version", "Date", "One", "Two", "Amount"], rows, by="Onee")


def test_a_coarser_grain_says_how_it_was_made(plot: Callable[..., Chart]) -> None:
    chart = plot(["Date", "Amount"], [[month, 1] for month in MONTHS] + [["#", 5]], "quarter", agg="mean", title="Jobs")
    spec = chart.altair.to_dict()
    assert spec["title"]["text"] == "Jobs"
    assert spec["title"]["subtitle"] == [
        "1 of 5 rows has no date that can be read (such as '#'): left out. Each quarter is the mean of its months."
    ]
    assert encoding(chart)["x"]["axis"] == {"format": "%Y Q%q", "values": [1704067200000, 1711929600000]}
    assert chart.data["value"].to_list() == [1.0, 1.0]


def test_bars_without_a_date(plot: Callable[..., Chart]) -> None:
    chart = plot(["Region", "Kind", "Amount"], [["North", "a", 1], ["South", "a", -3], ["#", "a", 2]])
    assert chart.altair.to_dict()["mark"] == {"type": "bar", "color": "#0072b2"}
    drawn = encoding(chart)
    assert (drawn["x"]["field"], drawn["y"]["field"], drawn["y"]["sort"]) == ("value", "dim_Region", "-x")
    assert chart.data.columns == ["dim_Region", "value"]
    assert "y" not in encoding(plot(["Region", "Amount"], [["North", 1]]))


def mark(chart: Chart) -> str:
    spec = chart.altair.to_dict()
    drawn = spec["layer"][0]["mark"] if "layer" in spec else spec["mark"]
    return str(drawn["type"] if isinstance(drawn, dict) else drawn)


def months(count: int) -> list[str]:
    return [f"2024{month:02}" for month in range(1, count + 1)]


@pytest.mark.parametrize(
    ("members", "dated", "kind"),
    [
        ({}, 3, "line"),
        ({"Region": 12}, 3, "line"),
        ({"Region": 13}, 3, "rect"),
        ({"Region": 13, "Version": 2}, 3, "line"),  # a heat map could not show both
        ({"Region": 13}, 1, "bar"),  # one month is no line
        ({"Region": 13}, 0, "bar"),
        ({"Region": 3, "Version": 2}, 0, "bar"),
        ({"Region": 3, "Kind": 3}, 0, "rect"),
        ({}, 0, "bar"),
    ],
)
def test_the_kind_follows_from_the_rows(
    plot: Callable[..., Chart], members: dict[str, int], dated: int, kind: str
) -> None:
    axes = [[f"M{i:02}" for i in range(count)] for count in members.values()] + ([months(dated)] if dated else [])
    rows = [[*row, 1] for row in itertools.product(*axes)]
    assert mark(plot([*members, *(["Date"] if dated else []), "Amount"], rows)) == kind


def test_a_kind_that_does_not_fit_is_refused_with_the_way_out(plot: Callable[..., Chart]) -> None:
    rows = [[one, two, month, 1] for one in "AB" for two in "XY" for month in MONTHS]
    everything = (["One", "Two", "Date", "Amount"], rows)
    with pytest.raises(UnknownNameError, match="Did you mean 'heatmap'"):
        plot(*everything, kind="heat-map")
    with pytest.raises(UnknownNameError, match="'dark'"):
        plot(*everything, theme="darkness")
    with pytest.raises(ContractError, match=r"varies in the date, 'One' and 'Two'.*by="):
        plot(*everything, kind="heatmap")
    with pytest.raises(ContractError, match='kind="line"'):
        plot(*everything, kind="bar")
    with pytest.raises(ContractError, match='kind="bar"'):
        plot(["One", "Amount"], [["A", 1]], kind="line")


def test_a_heat_map_has_the_largest_on_top_and_two_colours_for_two_signs(plot: Callable[..., Chart]) -> None:
    rows = [[one, two, value] for one, value in (("A", 1), ("B", 5), ("C", 3)) for two in "XY"]
    drawn = encoding(plot(["One", "Two", "Amount"], rows))
    assert (drawn["y"]["sort"], drawn["x"]["sort"]) == (["B", "C", "A"], ["X", "Y"])
    assert drawn["color"]["scale"] == {"scheme": "blues"}
    rows[0][2] = -1
    drawn = encoding(plot(["One", "Two", "Amount"], rows))
    assert drawn["color"]["scale"] == {"scheme": "blueorange", "domainMid": 0}


def test_bars_over_dates_stand_beside_each_other(plot: Callable[..., Chart]) -> None:
    rows = [[version, month, 1] for version in ("public.Plan", "public.Actual") for month in MONTHS]
    chart = plot(["Version", "Date", "Amount"], rows, "quarter", kind="bar")
    drawn = encoding(chart)
    assert (drawn["x"]["field"], drawn["xOffset"]["field"]) == ("date", "dim_Version")
    assert drawn["xOffset"]["scale"]["domain"] == ["Actual", "Plan"]
    assert chart.altair.to_dict()["data"]["name"] in chart.altair.to_dict()["datasets"]
    (values,) = chart.altair.to_dict()["datasets"].values()
    assert {value["date"] for value in values} == {"2024 Q1", "2024 Q2"}


def test_members_are_called_what_sac_calls_them(plot: Callable[..., Chart]) -> None:
    rows = [["31", 1], ["32", 2], ["33", 3], ["34", 4]]
    names = {"31": "Goods", "32": "Goods", "33": "Line\nbreak"}
    chart = plot(["Sector", "Amount"], rows, labels={"Sector": names})
    assert chart.data["dim_Sector"].to_list() == ["Goods (31)", "Goods (32)", "Line break", "34"]
    frame = pl.DataFrame({"id": list(names), "description": list(names.values()), "parent": None})
    assert plot(["Sector", "Amount"], rows, labels={"Sector": frame}).data.equals(chart.data)
    with pytest.raises(UnknownNameError, match="Did you mean 'Sector'"):
        plot(["Sector", "Amount"], rows, labels={"Sectr": names})
    with pytest.raises(ContractError, match="columns id"):
        plot(["Sector", "Amount"], rows, labels={"Sector": frame.select("id")})


def test_several_measures_are_told_apart_or_chosen(plot: Callable[..., Chart]) -> None:
    rows = [[month, 1, 20] for month in MONTHS]
    chart = plot(["Date", "Amount", "Price"], rows, measures=("Amount", "Price"))
    assert encoding(chart)["color"]["field"] == "dim_measure"
    assert (chart.title, encoding(chart)["y"]["title"]) == ("SALES: Amount and Price", "Value")
    chart = plot(["Date", "Amount", "Price"], rows, measures=("Amount", "Price"), measure="Price")
    assert chart.data["value"].to_list() == [20.0] * 4
    with pytest.raises(UnknownNameError, match="Did you mean 'Price'"):
        plot(["Date", "Amount", "Price"], rows, measures=("Amount", "Price"), measure="Prize")


@pytest.mark.parametrize(("dated", "kind", "most"), [(2, "line", 40), (2, None, 40), (1, None, 40), (0, None, 40)])
def test_the_largest_are_drawn_and_the_rest_is_said(
    plot: Callable[..., Chart], dated: int, kind: str | None, most: int
) -> None:
    members = [(f"M{i:03}", i - 20) for i in range(100)]
    rows = [[*when, name, value] for when in ([[m] for m in months(dated)] or [[]]) for name, value in members]
    columns = [*(["Date"] if dated else []), "Region", "Amount"]
    chart = plot(columns, rows, kind=kind)
    assert chart.data["dim_Region"].n_unique() == most
    assert "M099" in chart.data["dim_Region"].to_list()
    said = (
        f"The {most} largest of 100 members of Region are shown. The rest is left out, because it may not be additive."
    )
    assert said in " ".join(chart.altair.to_dict()["title"]["subtitle"])
    assert said in chart.description

    most = 8 if kind == "line" else most  # as many as there are colours: the rest is a line, not many grey ones
    with_rest = plot(columns, rows, kind=kind, other=True)
    assert with_rest.data["dim_Region"].n_unique() == most
    rest = with_rest.data.filter(pl.col("dim_Region") == f"Other ({101 - most} members)")["value"].to_list()
    total = sum(value for _, value in members)
    shown = with_rest.data.filter(~pl.col("dim_Region").str.starts_with("Other"))["value"].sum()
    assert rest == [total - shown / max(dated, 1)] * max(dated, 1)


def test_what_cannot_be_added_up_is_not_added_up(plot: Callable[..., Chart]) -> None:
    for name in ("Version", "Account"):
        with pytest.raises(ContractError, match="different kinds"):
            plot([name, "Amount"], [["A", 1], ["B", 2]], other=True)
    with pytest.raises(ContractError, match="agg is 'mean'"):
        plot(["Region", "Date", "Amount"], [["A", "202401", 1], ["B", "202401", 2]], agg="mean", other=True)
    with pytest.raises(ContractError, match="different kinds"):
        plot(["Date", "Amount", "Price"], [[m, 1, 2] for m in MONTHS], measures=("Amount", "Price"), other=True)


def test_a_chart_says_in_words_what_it_shows(plot: Callable[..., Chart]) -> None:
    rows = [[version, month, i] for version in ("public.Plan", "public.Actual") for i, month in enumerate(MONTHS)]
    chart = plot(["Version", "Date", "Amount"], [*rows[:-1], [*rows[-1][:2], 1234.5]], unit="EUR")
    assert chart.description == (
        "Line chart. SALES: Amount. By Version: Actual and Plan. 2024-01 to 2024-04, by month. "
        "Amount (EUR) from 0 to 1,234.5. The largest is Actual, 2024-04. The smallest is Actual, 2024-01."
    )
    assert chart.altair.to_dict()["description"] == chart.description  # what Vega tells screen readers
    assert repr(chart) == chart.description
    empty = plot(["Date", "Amount"], [])
    assert empty.altair.to_dict()["mark"]["text"] == "There are no values."  # the picture says it too
    assert empty.description == "Line chart. SALES: Amount. There are no values."
    assert (
        plot(["Region", "Amount"], [["a", 0.00012345678]]).description
        == "Bar chart. SALES: Amount. Amount: 0.000123457."
    )
    many = [[f"M{i}", 1] for i in range(9)]
    assert "By Region: M0, M1, M2, M3, M4, M5 and 3 more." in plot(["Region", "Amount"], many).description


def test_a_stale_result_says_so_in_its_chart(facts: Facts, result_of: MakeResult) -> None:
    table, schema = facts(["Date", "Amount"], [["202401", 1]])
    chart = result_of(table, schema, stale=True, warning="Data of\nyesterday.").plot()
    assert chart.altair.to_dict()["title"]["subtitle"] == ["Data of yesterday."]


def test_a_png_and_an_html_file_that_need_nothing_else(plot: Callable[..., Chart], tmp_path: Path) -> None:
    chart = plot(["Date", "Region", "Amount"], [[month, "<b>&'\"", 1] for month in MONTHS])
    chart.save_png(tmp_path / "a.png", scale=1)
    chart.save_png(tmp_path / "b.png", scale=2)
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    (width,), (twice,) = (struct.unpack(">I", (tmp_path / f"{n}.png").read_bytes()[16:20]) for n in "ab")
    assert abs(twice - 2 * width) <= 2
    chart.save_html(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*\bsrc\b", page) == []
    assert re.findall(r"\b(?:src|href)\s*=", re.sub(r"(?s)<script.*?</script>", "", page)) == []
    assert "cdn." not in page
    assert "vega" in page
    chart.save_html(tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text(encoding="utf-8") == page


def test_a_notebook_gets_a_picture_and_the_chart(plot: Callable[..., Chart]) -> None:
    chart = plot(["Date", "Amount"], [["202401", 1]])
    bundle = chart._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/plain"] == chart.description
    (vega,) = (kind for kind in bundle if "vegalite" in kind)
    assert bundle[vega] == chart.altair.to_dict()
    assert chart._repr_mimebundle_() == bundle
    again = plot(["Date", "Amount"], [["202401", 1]])
    assert json.dumps(again._repr_mimebundle_()) == json.dumps(bundle)  # no ids, no order of a set


def test_a_chart_of_very_many_values_is_kept_as_a_picture_only(plot: Callable[..., Chart]) -> None:
    rows = [
        [f"{year}{month:02}", f"M{i:02}", i] for year in range(1990, 2020) for month in range(1, 13) for i in range(30)
    ]
    bundle = plot(["Date", "Region", "Amount"], rows)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png"}
    assert bundle["text/plain"].endswith("the live chart is too large.")


def test_a_picture_shows_the_lines_on_its_own_ground(
    plot: Callable[..., Chart], pixels: Callable[[bytes], Any], tmp_path: Path
) -> None:
    rows = [[version, month, i] for version in ("public.Plan", "public.Actual") for i, month in enumerate(MONTHS)]
    for theme, ground in (("light", (255, 255, 255)), ("dark", (0x1E, 0x1E, 0x1E))):
        chart = plot(["Version", "Date", "Amount"], rows, theme=theme)
        picture = pixels(chart.png())
        assert tuple(picture[0, 0]) == (*ground, 255)
        assert picture.shape[0] > 320  # rows: the chart, and its title and axis
        assert picture.shape[1] > 640
        for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
            assert (picture[:, :, :3] == colour).all(axis=2).sum() > 100
    chart.save_svg(tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "SALES: Amount" in drawn


def test_without_the_extra_the_message_says_how_to_get_it(
    plot: Callable[..., Chart], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chart = plot(["Date", "Amount"], [["202401", 1]])
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r"sacnb\[plot\]"):
        chart.save_png(tmp_path / "a.png")
    with pytest.raises(MissingExtraError, match=r"sacnb\[plot\]"):
        chart.save_html(tmp_path / "a.html")
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingExtraError, match=r"sacnb\[plot\]"):
        plot(["Date", "Amount"], [["202401", 1]])


def test_a_member_cannot_close_the_script_of_a_saved_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda *_, **__: "")  # seconds, and no member in it
    page = tmp_path / "chart.html"
    member = "</script><script>document.title='x'</script><!--"
    frame = pl.DataFrame({"dim_Item": [member, "B"], "value": [1.0, 2.0]})
    parts = Parts(frame=frame, grain=None, split=["dim_Item"], names={"dim_Item": "Item"}, value_title="Amount")
    chart_of({**drawing("bar", parts)}, frame, "Items", "Two items.").save_html(page)
    text = page.read_text(encoding="utf-8")
    assert "\\u003c/script>\\u003cscript>document.title" in text
    assert member not in text


@pytest.mark.parametrize("odd", ["\x1b", "\x00", "\ufffe"])
def test_a_character_that_no_picture_can_hold_does_not_end_the_process(odd: str) -> None:
    member = f"{odd}[31m" + "a long text that is shortened " * 4
    frame = pl.DataFrame({"dim_Item": [member, "B"], "value": [1.0, 2.0]})
    parts = Parts(frame=frame, grain=None, split=["dim_Item"], names={"dim_Item": "Item"}, value_title="Amount")
    chart = chart_of({**drawing("bar", parts), "title": odd}, frame, "Items", f"Two items, {odd}.")
    # vl-convert aborts where it draws such a character, so look at what it gets first.
    for ground in (None, "#111111"):
        assert not re.search(r"(?<!\\)\\u(?:001b|0000|fffe)", chart._json(ground))
    assert chart.svg().startswith("<svg")
    assert chart.png().startswith(b"\x89PNG")
    assert "\x1b" not in repr(chart)
    assert "\x00" not in repr(chart)
