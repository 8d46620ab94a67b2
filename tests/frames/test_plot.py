"""A chart that says what it shows, refuses to draw several values as one, and needs neither browser nor network."""

from __future__ import annotations

import base64
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sacnb.errors import ContractError, MissingExtraError, UnknownNameError
from sacnb.frames.plot import Chart
from sacnb.frames.result import Result
from sacnb.odata.schema import Column, Schema

Facts = Callable[..., tuple[pa.Table, Schema]]
MakeResult = Callable[..., Result]
MONTHS = ("202401", "202402", "202403", "202404")


@pytest.fixture
def plot(facts: Facts, result_of: MakeResult) -> Callable[..., Chart]:
    def make(
        columns: list[Any], rows: list[list[Any]], *args: Any, measures: Any = ("Amount",), **options: Any
    ) -> Chart:
        return result_of(*facts(columns, rows, measures=measures)).plot(*args, **options)

    return make


def encoding(chart: Chart) -> dict[str, Any]:
    found: dict[str, Any] = chart.altair.to_dict()["encoding"]
    return found


def test_lines_over_dates(plot: Callable[..., Chart]) -> None:
    sector = Column("Sector", "Edm.String", "dimension", label="Sector of the economy")
    rows = [["public.Actual", month, one, i] for i, month in enumerate(MONTHS) for one in ("31", "32", "#")]
    chart = plot(["Version", "Date", sector, "Amount"], rows, unit="thousands")
    drawn = encoding(chart)
    assert chart.altair.to_dict()["mark"]["type"] == "line"
    assert (drawn["x"]["field"], drawn["x"]["scale"], drawn["x"]["axis"]) == (
        "date",
        {"type": "utc"},
        {"format": "%Y-%m"},
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
    rows = [[version, month, one, 1] for version in ("Actual", "Plan") for month in MONTHS for one in "ABC"]
    drawn = encoding(plot(["Version", "Date", "Sector", "Amount"], rows))
    assert (drawn["color"]["field"], drawn["strokeDash"]["field"]) == ("dim_Sector", "dim_Version")
    drawn = encoding(plot(["Version", "Date", "Sector", "Amount"], rows, by=["Version", "Sector"]))
    assert (drawn["color"]["field"], drawn["strokeDash"]["field"]) == ("dim_Version", "dim_Sector")


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
    assert encoding(chart)["x"]["axis"] == {"format": "%Y Q%q"}
    assert chart.data["value"].to_list() == [1.0, 1.0]


def test_bars_without_a_date(plot: Callable[..., Chart]) -> None:
    chart = plot(["Region", "Kind", "Amount"], [["North", "a", 1], ["South", "a", -3], ["#", "a", 2]])
    assert (
        chart.altair.to_dict()["mark"]["type" if isinstance(chart.altair.to_dict()["mark"], dict) else slice(None)]
        == "bar"
    )
    drawn = encoding(chart)
    assert (drawn["x"]["field"], drawn["y"]["field"], drawn["y"]["sort"]) == ("value", "dim_Region", "-x")
    assert chart.data.columns == ["dim_Region", "value"]
    assert "y" not in encoding(plot(["Region", "Amount"], [["North", 1]]))


def test_several_measures_are_told_apart_or_chosen(plot: Callable[..., Chart]) -> None:
    rows = [[month, 1, 20] for month in MONTHS]
    chart = plot(["Date", "Amount", "Price"], rows, measures=("Amount", "Price"))
    assert encoding(chart)["color"]["field"] == "dim_measure"
    assert (chart.title, encoding(chart)["y"]["title"]) == ("SALES: Amount and Price", "Value")
    chart = plot(["Date", "Amount", "Price"], rows, measures=("Amount", "Price"), measure="Price")
    assert chart.data["value"].to_list() == [20.0] * 4
    with pytest.raises(UnknownNameError, match="Did you mean 'Price'"):
        plot(["Date", "Amount", "Price"], rows, measures=("Amount", "Price"), measure="Prize")


@pytest.mark.parametrize(("dated", "most"), [(True, 20), (False, 40)])
def test_the_largest_are_drawn_and_the_rest_is_said(plot: Callable[..., Chart], dated: bool, most: int) -> None:
    members = [(f"M{i:03}", i - 20) for i in range(100)]
    rows = [["202401", name, value] if dated else [name, value] for name, value in members]
    chart = plot([*(["Date"] if dated else []), "Region", "Amount"], rows)
    assert chart.data["dim_Region"].n_unique() == most
    assert "M099" in chart.data["dim_Region"].to_list()
    assert chart.altair.to_dict()["title"]["subtitle"] == [f"The {most} largest of 100 members of Region are shown."]


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
    assert bundle["text/plain"] == "Chart(title='SALES: Amount')"
    (vega,) = (kind for kind in bundle if "vegalite" in kind)
    assert bundle[vega]["encoding"] == encoding(chart)
    assert chart._repr_mimebundle_() == bundle


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
