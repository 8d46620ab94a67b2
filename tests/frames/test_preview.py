"""What a result looks like: static, escaped, the same every time, and never large."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from sacnb._frames.convert import arrow_field
from sacnb._frames.preview import preview
from sacnb._odata.schema import Column
from sacnb._rendering import MAX_BYTES


def table(**columns: list[object]) -> pa.Table:
    return pa.table(columns)


def test_the_three_forms() -> None:
    shown = preview(
        pa.table({"Region": ["North", "#", None], "Amount": pa.array([Decimal("1.50"), Decimal(20000), None])}),
        title="SALES: 3 rows",
        notes=("SAC did not deliver; showing the data of yesterday.",),
    )
    assert shown.text() == (
        "SALES: 3 rows\n"
        "SAC did not deliver; showing the data of yesterday.\n"
        "Region    Amount\n"
        "North        1.5\n"
        "#       20,000.0\n"
        "null        null"
    )
    assert shown.markdown() == (
        "**SALES: 3 rows**\n\n"
        "SAC did not deliver; showing the data of yesterday.\n\n"
        "| Region | Amount |\n"
        "| --- | ---: |\n"
        "| North | 1.5 |\n"
        "| \\# | 20,000.0 |\n"
        "| null | null |"
    )
    page = shown.html()
    assert re.findall(r">([^<>\n]+)<", page) == [
        *("SALES: 3 rows", "SAC did not deliver; showing the data of yesterday.", "Region", "Amount"),
        *("North", "1.5", "#", "20,000.0", "null", "null"),
    ]
    assert page.count('align="right"') == 4  # the numbers and their header
    assert page.count('<th scope="col"') == 2


def test_a_whole_number_is_grouped_where_it_is_a_measure_and_left_alone_where_it_may_be_a_year_or_an_id() -> None:
    measure = arrow_field(Column("Heads", "Edm.Int64", "measure"))
    year = arrow_field(Column("Year", "Edm.Int32", "attribute"))
    made = pa.table(
        [pa.array([120000], pa.int64()), pa.array([2015], pa.int32()), pa.array([400000])],
        schema=pa.schema([measure, year, pa.field("id", pa.int64())]),
    )
    assert preview(made, title="t").rows == (("120,000", "2015", "400000"),)


EVIL = "\u202etxt\n<script>alert(1)</script>|`$x$`[a](js:b)&amp;*_"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert {name for name, _ in attrs} <= {"style", "align", "scope"}


def test_everything_from_the_server_is_escaped() -> None:
    shown = preview(table(**{EVIL: [EVIL]}), title=EVIL, notes=(EVIL,))
    tags = Tags()
    tags.feed(shown.html())
    assert tags.found == {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    cells = shown.html().split("<table")[1]
    assert "\u202e" not in cells
    assert "\\u202e" in cells
    markdown = shown.markdown().split("| ", 1)[1]
    assert not re.search(r"(?<!\\)[`$<\[*_]", markdown.replace("| ---", ""))
    assert "&amp;amp;" in markdown


def test_what_is_not_shown_is_said() -> None:
    wide = table(**{f"c{i}": list(range(25)) for i in range(33)})
    shown = preview(wide, title="t")
    assert (len(shown.rows), len(shown.columns)) == (10, 30)
    for text in (shown.text(), shown.html(), shown.markdown()):
        assert "… 15 more rows and 3 more columns" in text.replace("\\", "")
    assert preview(table(a=list(range(11))), title="t").more == "… 1 more row"
    assert preview(table(a=list(range(10))), title="t").more == ""


def test_long_texts_are_cut() -> None:
    shown = preview(table(a=["x" * 61, "x" * 60]), title="t")
    assert shown.rows == (("x" * 59 + "…",), ("x" * 60,))


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_a_notebook_never_gets_large(form: str) -> None:
    """Thirty columns of sixty characters, each of which needs six to be escaped."""
    many = table(**{f"{'&' * 55}{i:02}": ["&" * 60] * 10 for i in range(30)})
    text = getattr(preview(many, title="t"), form)()
    assert len(text.encode()) <= MAX_BYTES
    if form == "html":
        assert "rows are shown, to keep the notebook small." in text


def test_no_rows() -> None:
    assert preview(table(a=[]), title="t").text() == "t\na"
    assert "<tbody>\n</tbody>" in preview(table(a=[]), title="t").html()
