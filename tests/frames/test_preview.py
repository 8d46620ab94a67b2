"""What a result looks like: static, escaped, the same every time, and never large."""

from __future__ import annotations

import json
import pickle
import re
from decimal import Decimal
from html.parser import HTMLParser

import polars as pl
import pyarrow as pa
import pytest

from sacnb._frames.convert import arrow_field
from sacnb._frames.preview import preview, shown_frame
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


def test_rows_left_out_are_counted_and_a_few_more_are_shown_instead() -> None:
    shown = preview(table(a=list(range(1025))), title="t")
    assert (len(shown.rows), shown.more) == (10, "… 1,015 more rows")
    few = preview(table(a=list(range(20))), title="t")
    assert (len(few.rows), few.more) == (20, "")


def wide_table() -> pa.Table:
    """A model of thirty dimensions, with its date among them, and two measures."""
    dims = {f"Dim{i:02}": [f"MEMBER_{i}"] for i in range(30)}
    return pa.table({"Version": ["public.Actual"], **dims, "Date": ["201001"], "Amount": [1234567.5], "Heads": [0.25]})


@pytest.mark.parametrize("width", [60, 80, 120])
def test_wide_tables_lose_dimensions_from_their_middle_and_keep_date_and_measures(width: int) -> None:
    shown = preview(wide_table(), title="t", kept=["Date"], whole=[f"Dim{i:02}" for i in range(30)])
    _, head, row, *rest = shown.text(width).splitlines()
    assert max(map(len, (head, row, *rest))) <= width
    assert head.split()[0] == "Version"
    assert head.split()[-3:] == ["Date", "Amount", "Heads"]
    assert row.split()[-3:] == ["201001", "1,234,567.5", "0.25"]
    assert head.split().count("…") == 1
    assert "columns not shown: Dim" in rest[0]


def test_a_page_is_as_wide_as_an_output_and_names_the_other_columns() -> None:
    shown = preview(wide_table(), title="t", kept=["Date"])
    head = re.findall(r"<th [^>]*>([^<]*)", shown.html())
    assert (head[0], head[-3:], head.count("…")) == ("Version", ["Date", "Amount", "Heads"], 1)
    for text in (shown.html(), shown.markdown()):
        assert f"{35 - len(head)} columns not shown: Dim" in text
    assert "not shown" not in preview(wide_table().select(["Version", "Dim00", "Date", "Amount"]), title="t").html()


def test_measures_go_last_and_the_outer_ones_stay() -> None:
    many = pa.table({"Region": ["N"], **{f"Measure{i:02}": [1000000.0 + i] for i in range(30)}})
    head = preview(many, title="t").text(60).splitlines()[1]
    assert head.split()[0] == "Region"  # numbers alone would say nothing
    assert "Measure29" in head
    dated = many.add_column(1, "Date", pa.array(["201001"]))
    head = preview(dated, title="t", kept=["Date"]).text(60).splitlines()[1]
    assert head.split()[:2] == ["…", "Date"]
    assert "Measure29" in head


def test_descriptions_are_shortened_before_a_column_is_left_out_and_ids_never_are() -> None:
    name = "C_A_MODEL_WITH_AN_ID_THAT_MUST_BE_COPIED_FROM_THE_LIST_AND_IS_LONGER_THAN_SIXTY"
    frame = shown_frame(
        pl.DataFrame({"id": [name], "description": ["What the model is about, at length"]}), whole=("id",)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        assert str(frame).splitlines()[2] == f"{name}  What the model is …"
    assert name in frame._repr_html_()


def test_an_id_as_wide_as_the_terminal_loses_its_middle_and_pushes_nothing_out() -> None:
    ids = ["S1", f"{'A_LONG_ID_' * 15}THE_END"]
    shown = preview(pa.table({"Store": ids, "Date": ["201001"] * 2, "Amount": [1.5, 2.5]}), title="t", whole=["Store"])
    *_, head, first, second = shown.text(60).splitlines()
    assert head.split() == ["Store", "Date", "Amount"]
    assert first.split() == ["S1", "201001", "1.5"]
    assert re.fullmatch(r"A_LONG_ID_A_LON…ONG_ID_THE_END  201001 +2\.5", second)
    assert ids[1] in shown.html()


def test_texts_of_east_asia_take_two_cells_and_marks_none() -> None:
    table = pa.table({"Region": ["東京都", "Tokyo", "re\u0301gion"], "Amount": [1.5, 2.5, 3.5]})
    _, _, wide, narrow, marked = preview(table, title="t").text(80).splitlines()
    assert wide == "東京都" + " " * 5 + "1.5"
    assert narrow == "Tokyo " + " " * 5 + "2.5"
    assert marked == "re\u0301gion" + " " * 5 + "3.5"
    cut = shown_frame(pl.DataFrame({"id": ["31"], "description": ["東京都の売上高の合計" * 3]}), whole=("id",))
    assert cut._preview().text(25).splitlines()[2] == "31  東京都の売上高の合計…"


def test_titles_and_notes_wrap_at_the_width_of_the_terminal() -> None:
    shown = preview(table(a=[1]), title="SALES/FactData: 3 rows, 4 columns", notes=("Each quarter is the mean of it.",))
    assert shown.text(20).splitlines()[:4] == [
        "SALES/FactData: 3",
        "rows, 4 columns",
        "Each quarter is the",
        "mean of it.",
    ]


def test_answers_look_like_every_table_and_are_ordinary_frames_otherwise() -> None:
    plain = pl.DataFrame(
        {"Sector": ["00", "30"], "jobs": [3212200, 15], "rate": [3212200.25, None], "year": [2015, 2016]}
    )
    frame = shown_frame(plain)
    assert str(frame).splitlines() == [
        "2 rows",
        "Sector       jobs          rate  year",
        "00      3,212,200  3,212,200.25  2015",
        "30             15          null  2016",
    ]
    assert frame.equals(plain)
    assert type(frame.filter(pl.col("year") > 2015)) is pl.DataFrame
    assert type(pickle.loads(pickle.dumps(frame))) is pl.DataFrame
    assert set(frame._repr_mimebundle_()) == {"text/html"}


@pytest.mark.parametrize(
    ("values", "shown"),
    [([201001, 202316], "201001"), ([20100131], "20100131"), ([2015], "2015"), ([123456], "123,456"), ([-9], "-9")],
)
def test_whole_numbers_of_unknown_columns_are_grouped_unless_they_may_be_periods(values: list[int], shown: str) -> None:
    assert preview(table(n=values), title="t").rows[0] == (shown,)
    assert preview(table(account_id=values), title="t").rows[0] == (str(values[0]),)


def test_a_notebook_gets_rows_to_page_through_sort_and_search() -> None:
    many = table(a=[f"</script>{i}" for i in range(5000)], b=[i + 0.5 for i in range(5000)])
    page = preview(many, title="t", more_rows=500).paged_html()
    store = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
    assert (store["total"], store["page"], store["numeric"]) == (5000, 10, [1])
    assert len(store["rows"]) == 510
    assert store["rows"][509] == ["</script>509", "509.5"]
    assert len(page.encode()) <= MAX_BYTES
    assert page.count("<tr") == 11  # without scripts there are the first rows
    assert page == preview(many, title="t", more_rows=500).paged_html()  # no random ids: saved notebooks stay the same
    few = preview(table(a=["x"] * 20), title="t", more_rows=500)
    assert few.paged_html() == few.html()


def test_long_texts_are_cut() -> None:
    shown = preview(table(a=["x" * 241, "x" * 240]), title="t")
    assert shown.rows == (("x" * 239 + "…",), ("x" * 240,))


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_a_notebook_never_gets_large(form: str) -> None:
    """Columns whose characters each need six to be escaped."""
    many = table(**{f"{'&' * 255}{i:02}": ["&" * 256] * 20 for i in range(5)})
    text = getattr(preview(many, title="t" * 60000, whole=many.column_names), form)()
    assert len(text.encode()) <= MAX_BYTES
    if form == "html":
        assert "rows are shown, to keep the notebook small." in text


def test_no_rows() -> None:
    assert preview(table(a=[]), title="t").text() == "t\na"
    assert "<tbody>\n</tbody>" in preview(table(a=[]), title="t").html()
