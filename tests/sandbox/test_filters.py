"""``$filter`` compared with the same filter written by hand in polars."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb.sandbox import Column, table_model
from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.models.scale import scale
from sacnb.sandbox.models.small import edm_types
from sacnb.sandbox.relation import FrameRelation

c = pl.col
FACTS = edm_types().facts
assert isinstance(FACTS, FrameRelation)
FRAME = FACTS.frame
MIN, MAX = Decimal("-999999999999999999999999.9999999"), Decimal("999999999999999999999999.9999999")


def _number(text: str) -> pl.Expr:
    return pl.lit(Decimal(text), dtype=pl.Decimal(38, 7))


# A filter and its meaning. Comparisons follow OData: with null, only ``ne`` is true.
TABLE: list[tuple[str, pl.Expr]] = [
    ("Boolean eq true", c("Boolean").eq_missing(other=True)),
    ("Boolean", c("Boolean")),
    ("not Boolean", ~c("Boolean")),
    ("Boolean ne true", c("Boolean").ne_missing(other=True)),
    ("true", pl.lit(value=True)),
    ("Byte eq 255", c("Byte").eq_missing(255)),
    ("255 eq Byte", c("Byte").eq_missing(255)),
    ("7 lt Byte", c("Byte") > 7),
    ("Byte lt 256", c("Byte").is_not_null()),
    ("Byte gt 256", pl.lit(value=False)),
    ("Byte ne 256", pl.lit(value=True)),
    ("Byte gt -1", c("Byte").is_not_null()),
    ("Byte ge 6.5", c("Byte") >= 7),
    ("Byte gt 6.5", c("Byte") >= 7),
    ("Byte lt 6.5", c("Byte") < 7),
    ("Byte le 7.0", c("Byte") <= 7),
    ("Byte eq 7.5", pl.lit(value=False)),
    ("Byte ne 7.5", pl.lit(value=True)),
    ("SByte le -128", c("SByte") <= -128),
    ("Int16 gt 7", c("Int16") > 7),
    ("Int32 eq 2147483647", c("Int32").eq_missing(2**31 - 1)),
    ("Int64 gt 9007199254740992", c("Int64") > 2**53),
    ("Int64 eq 9007199254740993", c("Int64").eq_missing(2**53 + 1)),
    ("Int64 eq 9007199254740992", c("Int64").eq_missing(2**53)),
    ("Int64 ge -9223372036854775808", c("Int64").is_not_null()),
    ("Int64 lt 9223372036854775808", c("Int64").is_not_null()),
    ("Single eq 0.5", c("Single").eq_missing(0.5)),
    ("Single lt -1", c("Single") < -1),
    ("Double eq 0.1", c("Double").eq_missing(0.1)),
    ("Double lt 1e-299", c("Double") < 1e-299),
    ("Double eq INF", c("Double").eq_missing(float("inf"))),
    ("Double eq -INF", c("Double").eq_missing(float("-inf"))),
    ("Double eq NaN", c("Double").is_nan().fill_null(value=False)),
    ("Decimal eq 0.1", c("Decimal").eq_missing(_number("0.1"))),
    ("Decimal eq 0.10", c("Decimal").eq_missing(_number("0.1"))),
    ("Decimal gt 0.00000005", c("Decimal") > _number("0")),
    ("Decimal gt 0.00000015", c("Decimal") > _number("0.0000001")),
    ("Decimal eq 999999999999999999999999.9999999", c("Decimal").eq_missing(pl.lit(MAX, dtype=pl.Decimal(31, 7)))),
    ("Decimal lt 999999999999999999999999.9999998", c("Decimal") < pl.lit(MAX, dtype=pl.Decimal(31, 7))),
    ("Decimal lt 1e30", c("Decimal").is_not_null()),
    ("Decimal lt -1e30", pl.lit(value=False)),
    ("Decimal gt -12.34", c("Decimal") > _number("-12.34")),
    ("String eq 'plain'", c("String").eq_missing("plain")),
    ("String ne 'plain'", c("String").ne_missing("plain")),
    ("String eq ''", c("String").eq_missing("")),
    ("String eq 'O''Hare'", c("String").eq_missing("O'Hare")),
    ("String eq 'Zürich '", c("String").eq_missing("Zürich ")),
    ("String eq 'Zürich'", pl.lit(value=False)),
    ("String eq 'null'", c("String").eq_missing("null")),
    ("String eq null", c("String").is_null()),
    ("String ne null", c("String").is_not_null()),
    ("null eq String", c("String").is_null()),
    ("String gt null", pl.lit(value=False)),
    ("String gt 'p'", c("String") > "p"),
    ("String le '42'", c("String") <= "42"),
    ("contains(String,'in')", c("String").str.contains("in", literal=True)),
    ("contains(String,'.')", c("String").str.contains(".", literal=True)),
    ("startswith(String,'2024')", c("String").str.starts_with("2024")),
    ("endswith(String,'\\')", c("String").str.ends_with("\\")),
    ("not contains(String,'in')", ~c("String").str.contains("in", literal=True)),
    ("not (String eq 'plain')", c("String").ne_missing("plain")),
    ("Date eq 2024-02-29", c("Date").eq_missing(date(2024, 2, 29))),
    ("Date lt 1970-01-02", c("Date") < date(1970, 1, 2)),
    ("TimeOfDay gt 07:30:00", c("TimeOfDay") > time(7, 30)),
    ("TimeOfDay eq 23:59:59.999999", c("TimeOfDay").eq_missing(time(23, 59, 59, 999_999))),
    ("DateTimeOffset le 1970-01-01T00:00:00Z", c("DateTimeOffset") <= datetime(1970, 1, 1, tzinfo=UTC)),
    (
        "DateTimeOffset eq 2024-03-01T01:59:59.123456+02:00",
        c("DateTimeOffset").eq_missing(pl.lit(datetime(2024, 2, 29, 23, 59, 59, 123_456, tzinfo=UTC))),
    ),
    ("Duration gt duration'PT0S'", c("Duration") > timedelta(0)),
    ("Duration eq duration'P1DT2H3M4.5S'", c("Duration").eq_missing(timedelta(days=1, seconds=7384.5))),
    ("Duration eq duration'-PT1M30S'", c("Duration").eq_missing(-timedelta(seconds=90))),
    ("Guid eq 01234567-89AB-cdef-0123-456789abcdef", c("Guid").eq_missing("01234567-89ab-cdef-0123-456789abcdef")),
    ("Binary eq binary'AP_-'", c("Binary").eq_missing(b"\x00\xff\xfe")),
    ("Binary eq binary'cGxhaW4'", c("Binary").eq_missing(b"plain")),
    ("Binary ne null", c("Binary").is_not_null()),
    ("Int16 eq SByte", c("Int16").eq_missing(c("SByte"))),
    ("Byte gt 0 and Int16 gt 0", (c("Byte") > 0) & (c("Int16") > 0)),
    ("Byte gt 0 or String eq 'plain' and Boolean", (c("Byte") > 0) | (c("String").eq_missing("plain") & c("Boolean"))),
    (
        "(Byte gt 0 or String eq 'plain') and Boolean",
        ((c("Byte") > 0) | c("String").eq_missing("plain")) & c("Boolean"),
    ),
    ("not (Boolean and Byte gt 0)", ~(c("Boolean") & (c("Byte") > 0).fill_null(value=False))),
    (
        "String eq 'plain' or String eq '42' or String eq null",
        c("String").is_in(["plain", "42"]) | c("String").is_null(),
    ),
    ("String ne 'plain' and String ne '42'", c("String").is_null() | ~c("String").is_in(["plain", "42"])),
    ("(((Byte eq 7)))", c("Byte").eq_missing(7)),
    ("  Byte   eq   7  ", c("Byte").eq_missing(7)),
    # Blanks wherever the grammar has BWS or RWS, keywords in any case, all forms of literals
    ("( true )", pl.lit(value=True)),
    ("(\tByte\teq \t7 )", c("Byte").eq_missing(7)),
    ("( Boolean eq true )", c("Boolean").eq_missing(other=True)),
    ("( String eq null )", c("String").is_null()),
    ("( Double eq INF )", c("Double").eq_missing(float("inf"))),
    ("contains( String , 'in' )", c("String").str.contains("in", literal=True)),
    ("not  (  Boolean  )", ~c("Boolean")),
    ("not not Boolean", c("Boolean")),
    ("Byte EQ 7 OR Byte Lt 1", c("Byte").eq_missing(7) | (c("Byte") < 1)),
    ("NOT StartsWith(String,'plain') AND Boolean Eq TRUE", ~c("String").str.starts_with("plain") & c("Boolean")),
    ("(Byte) eq ('x')".replace("'x'", "7"), c("Byte").eq_missing(7)),
    ("Byte eq +7", c("Byte").eq_missing(7)),
    ("Byte eq 70e-1", c("Byte").eq_missing(7)),
    ("Byte lt 1e999999999", c("Byte").is_not_null()),
    ("Byte ge -1E+9999999999999999999999", c("Byte").is_not_null()),
    ("Byte gt 1e-999999999", c("Byte") >= 7),
    ("Decimal eq " + "9" * 5000, pl.lit(value=False)),
    ("Double lt 1e400", (c("Double") < float("inf")) & c("Double").is_not_nan()),
    ("Double ge 1e400", c("Double").eq_missing(float("inf"))),
    ("Double le -1e400", c("Double").eq_missing(float("-inf"))),
    ("Single gt 1e39", c("Single").eq_missing(float("inf"))),
    ("Single eq 16777216", c("Single").eq_missing(16_777_216.0)),
    ("Date gt 0000-01-01", c("Date").is_not_null()),
    ("Date gt -10000-04-01", c("Date").is_not_null()),
    ("Date lt 10000-01-01", c("Date").is_not_null()),
    ("Date ge 1582-10-15", c("Date") >= date(1582, 10, 15)),
    ("TimeOfDay eq 07:30", c("TimeOfDay").eq_missing(time(7, 30))),
    ("TimeOfDay lt 23:59:60", c("TimeOfDay").is_not_null()),
    ("TimeOfDay le 23:59:59.9999990001", c("TimeOfDay").is_not_null()),
    ("TimeOfDay eq 23:59:59.9999990001", pl.lit(value=False)),
    ("DateTimeOffset eq 1970-01-01t00:00z", c("DateTimeOffset").eq_missing(datetime(1970, 1, 1, tzinfo=UTC))),
    ("DateTimeOffset eq 1969-12-31T23:59:60Z", c("DateTimeOffset").eq_missing(datetime(1970, 1, 1, tzinfo=UTC))),
    ("DateTimeOffset gt -0044-03-15T12:00-01:30", c("DateTimeOffset").is_not_null()),
    ("Duration eq 'P1DT2H3M4.5S'", c("Duration").eq_missing(timedelta(days=1, seconds=7384.5))),
    ("Duration lt DURATION'p400d'", c("Duration") < timedelta(days=400)),
    ("Binary eq binary'cGxhaW4='", c("Binary").eq_missing(b"plain")),
    ("Binary gt binary''", c("Binary") > b""),
    ("Boolean gt false", c("Boolean")),
    ("Int64 gt Decimal", c("Int64").cast(pl.Decimal(38, 7)) > c("Decimal").cast(pl.Decimal(38, 7))),
    ("Byte ne SByte", c("Byte").ne_missing(c("SByte"))),
    ("String le String", c("String").is_not_null()),
    ("String eq null and not (String eq 'plain')", c("String").is_null()),
    ("String eq null and String ne 'plain' and String ne '42'", c("String").is_null()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning"), TABLE, ids=[text[:60] for text, _ in TABLE])
def test_a_filter_keeps_the_rows_it_means(text: str, meaning: pl.Expr) -> None:
    kept = parse_filter(text, FACTS.columns).keep(FRAME)
    assert kept["Id"].to_list() == FRAME.filter(meaning)["Id"].to_list()


def test_filters_mean_the_same_over_http(shared: Any) -> None:
    for text, meaning in TABLE[::12]:
        expected = FRAME.filter(meaning)["Id"].to_list()
        page = shared.data("EDM_TYPES", dollar_filter=text, dollar_count="true").json()
        assert ([row["Id"] for row in page["value"]], page["@odata.count"]) == (expected, len(expected)), text


def test_the_table_tells_filters_apart() -> None:
    """A filter that keeps all rows, or none, proves little."""
    kept = [FRAME.filter(meaning).height for _, meaning in TABLE]
    assert sum(0 < k < FRAME.height for k in kept) > 60


@pytest.mark.parametrize(
    "text",
    [
        "String eq 42", "Byte eq '7'", "Decimal gt 'x'", "Boolean eq 1", "Date eq '2024-02-29'", "Guid eq 'x'",
        "Date eq 2024-02-29T00:00:00Z", "DateTimeOffset eq 2024-02-29", "DateTimeOffset eq 2024-02-29T10:00:00",
        "Date eq 2023-02-29", "Duration eq '0S'", "Duration eq duration'P1M'", "Binary eq 'x'", "Binary eq binary'A'",
        "Byte eq INF", "String eq Byte", "String in ('a','b')", "Byte add 1 eq 2", "-Byte eq 1", "String",
        "hassubset(String,'a')",
        "tolower(String) eq 'plain'", "length(String) eq 5", "contains(Byte,'1')", "contains('a',String)",
        "contains(String,Guid)", "contains(String)", "'a' eq 'a'", "Nope eq 1", "a/b eq 1", "String eq 'open",
        "String eq 'a' and", "and", "()", "String = 'a'", "String eq \"a\"", "Byte has 1", "-null eq String",
        "contains(String,'a') eq true", "not(String)", "not(Boolean)", "Boolean eq true eq true", "String/x eq 1",
        "@p eq 1", "$it eq 1", "String in ['a']", "Boolean has Sales.Color'Red'", "null", "not null", "'a'", "Byte",
        "Duration eq duration'+PT1S'",
        "Duration eq duration'P'", "Duration eq duration'P1DT'", "Binary eq binary'Zh'", "Byte eq 42.", "Byte eq .5",
        "DateTimeOffset eq 2011-12-31T24:00Z", "Byte eq 1\u00a0", "Byte\neq 1", "Byte eq 7)", "(Byte eq 7", "Byte eq7",
        "contains (String,'a')", "Byte eq 7 or", "Byte eq 7 or(Byte eq 8)", "Byte eq 7 foo Byte eq 8", "String eq 'a''",
        "Byte eq NULL", "Double eq nan", "Double eq inf", "Guid eq 01234567-89ab-cdef-0123-456789abcde",
    ],
)  # fmt: skip
def test_unsupported_and_malformed_filters_are_refused(text: str) -> None:
    with pytest.raises(Refusal, match=r"\$filter|compared") as caught:
        parse_filter(text, FACTS.columns)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["( true", "( ", "(String eq 'a' ) )", "String eq 42", "Byte in (1,2)", "\x00", "'"])
def test_a_refused_filter_is_a_400_in_the_envelope_of_sac(shared: Any, text: str) -> None:
    answer = shared.data("EDM_TYPES", dollar_filter=text)
    assert (answer.status_code, set(answer.json()), set(answer.json()["error"])) == (
        400,
        {"error"},
        {"code", "message"},
    )


@pytest.mark.parametrize(
    "name",
    ["Allocation", "AnyRegion", "nullable_flag", "TrueValue", "falsehood", "all1", "Note", "Order", "andrew", "x.y"],
)
def test_names_that_begin_like_a_keyword_are_names(name: str) -> None:
    frame = pl.DataFrame({name: ["a", "b"]})
    for text in [f"{name} eq 'a'", f"'a' eq {name}", f"startswith({name},'a')", f"not ({name} eq 'b')"]:
        predicate = parse_filter(text, [Column(name)])
        assert predicate.keep(frame)[name].to_list() == ["a"], text
        assert predicate.names == {name}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(B eq true) and N eq 1", [1]),
        ("(B eq false or B eq true) and N eq 2", [2]),
        ("(N eq 3 or (B eq null))", [3]),
        ("not (B eq true)", [2, 3]),
    ],
)
def test_a_bracket_behind_a_keyword_closes(text: str, expected: list[int]) -> None:
    """``true)`` was once read as one name."""
    frame = pl.DataFrame({"B": [True, False, None], "N": [1, 2, 3]})
    columns = [Column("B", "Edm.Boolean"), Column("N", "Edm.Int64")]
    assert parse_filter(text, columns).keep(frame)["N"].to_list() == expected


@pytest.mark.parametrize("count", [2, 5000])
def test_long_lists_of_members_are_read_at_once(count: int) -> None:
    frame = pl.DataFrame({"M": [f"m{i}" for i in range(0, 2 * count, 2)], "N": ["n"] * count})
    text = " or ".join(f"M eq 'm{i}'" for i in range(count))
    columns = [Column("M"), Column("N")]
    assert parse_filter(text, columns).keep(frame).height == count // 2
    text = " and ".join(f"M ne 'm{i}'" for i in range(count))
    assert parse_filter(text, columns).keep(frame).height == count - count // 2


def test_nesting_without_end_is_refused_and_not_a_crash() -> None:
    with pytest.raises(Refusal, match="nested too deeply"):
        parse_filter("not (" * 100_000 + "M eq 'a'" + ")" * 100_000, [Column("M")])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AWKWARD = st.sampled_from(
    [
        "",
        " ",
        "'",
        "''",
        "a'b",
        "%",
        "%27",
        "#",
        "+",
        "&",
        "=",
        ";",
        "{}",
        "a or b",
        "Zürich ",
        "日本",
        "🚀",
        "\\",
        '"',
        "\n",
    ]
)


@given(values=st.lists(TEXTS | AWKWARD, min_size=1, max_size=8, unique=True), data=st.data())
def test_filters_find_any_text(shared: Any, values: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(values) | TEXTS)
    part = data.draw(st.sampled_from(["eq", "ne", "contains", "startswith", "endswith"]))
    frame = pl.DataFrame({"Id": range(len(values)), "Text": values}, schema={"Id": pl.Int64, "Text": pl.String})
    model = table_model("TEXTS", columns=[Column("Id", "Edm.Int64", key=True), Column("Text")], rows=frame)
    shared.sandbox.add_model(model)
    literal = "'" + wanted.replace("'", "''") + "'"
    text = f"Text {part} {literal}" if part in {"eq", "ne"} else f"{part}(Text,{literal})"
    by_hand = {
        "eq": lambda v: v == wanted,
        "ne": lambda v: v != wanted,
        "contains": lambda v: wanted in v,
        "startswith": lambda v: v.startswith(wanted),
        "endswith": lambda v: v.endswith(wanted),
    }[part]
    expected = [{"Id": i, "Text": v} for i, v in enumerate(values) if by_hand(v)]
    assert shared.rows("TEXTS", dollar_filter=text) == expected


def test_filters_work_on_scale_across_the_blocks_it_is_read_in(shared: Any) -> None:
    names = ["Version", "Date", "Region", "Channel", "Product", "Customer", "Amount"]
    facts = scale(300_000).facts.rows(pl.int_range(300_000, dtype=pl.Int64, eager=True), names)
    region = 'The "Loop"'
    found = shared.rows(
        "SCALE", pagesize="1000", dollar_count="true", dollar_filter=f"Region eq '{region}' and Amount ge 90000000.5",
        dollar_select="Version,Date,Region,Channel,Product,Customer,Amount",
    )  # fmt: skip
    expected = facts.filter(pl.col("Region") == region, pl.col("Amount") >= 90000000.5)
    assert found == expected.rows(named=True)
    assert len(found) > 500
