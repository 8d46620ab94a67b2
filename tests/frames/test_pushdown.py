"""What SAC is asked for a polars predicate: as much as is safe, and never so much that a row gets lost."""

from __future__ import annotations

import datetime as dt
import operator
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.io.plugins import register_io_source

from sacnb._odata.expression import And, Comparison, Expression, Membership, Or, TextMatch
from sacnb._odata.query import to_odata
from sacnb._odata.schema import Column, DateColumn, Schema
from sacnb._pushdown.translate import PushDown, push_down

c = pl.col

SCHEMA: Final = Schema(
    "SALES",
    "FactData",
    (
        Column("Version", "Edm.String", "dimension"),
        Column("Date", "Edm.String", "dimension"),
        Column("Day", "Edm.String", "dimension"),
        Column("Region", "Edm.String", "dimension"),
        Column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
        Column("Variable", "Edm.Decimal", "measure"),
        Column("Count", "Edm.Int32", "measure"),
        Column("Ratio", "Edm.Double", "measure"),
        Column("Open", "Edm.Boolean", "attribute"),
        Column("On", "Edm.Date", "attribute"),
        Column("At", "Edm.DateTimeOffset", "attribute"),
        Column("Clock", "Edm.TimeOfDay", "attribute"),
        Column("Guid", "Edm.Guid", "attribute"),
    ),
    date_columns=(DateColumn("Date", "month"), DateColumn("Day", "day")),
)
TYPES: Final[dict[str, pl.DataType]] = {
    "Version": pl.String(),
    "Date": pl.String(),
    "Day": pl.String(),
    "Region": pl.String(),
    "Amount": pl.Float64(),
    "Variable": pl.Float64(),
    "Count": pl.Int32(),
    "Ratio": pl.Float64(),
    "Open": pl.Boolean(),
    "On": pl.Date(),
    "At": pl.Datetime("us", "UTC"),
    "Clock": pl.Time(),
    "Guid": pl.String(),
}
EXACT_TYPES: Final = {**TYPES, "Amount": pl.Decimal(31, 7), "Variable": pl.Decimal(38, 10)}
NOON: Final = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)


def arriving(predicate: pl.Expr, types: Mapping[str, pl.DataType] = TYPES) -> pl.Expr | None:
    """A predicate as polars hands it to a source, optimized; ``None`` where polars keeps it to itself."""
    seen: list[pl.Expr | None] = []

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        seen.append(predicate)
        yield pl.DataFrame(schema=dict(types)).select(columns or list(types))

    register_io_source(source, schema=dict(types)).filter(predicate).collect()
    return seen[0] if seen else None


def shapes_of(*shapes: pl.Expr | None) -> list[pl.Expr]:
    return [shape for shape in shapes if shape is not None]


def sent(pushed: PushDown) -> str | None:
    return None if pushed.where is None else to_odata(pushed.where, SCHEMA)


@pytest.mark.parametrize(
    ("predicate", "odata"),
    [
        (c("Version") == "public.Actual", "Version eq 'public.Actual'"),
        (pl.lit("O'Hare") == c("Region"), "Region eq 'O''Hare'"),
        (c("Region").eq_missing("#"), "Region eq '#'"),
        (~c("Region").ne_missing("#"), "Region eq '#'"),
        (c("Region").is_in(["31", "32", None]), "Region eq '31' or Region eq '32'"),
        (c("Region").is_in([]), "false"),
        (c("Region").str.contains("a", literal=True), "contains(Region,'a')"),
        (c("Region").str.contains("Pacific West "), "contains(Region,'Pacific West ')"),
        (c("Region").str.contains("a.b", literal=True), "contains(Region,'a.b')"),
        (c("Region").str.starts_with("50%"), "startswith(Region,'50%')"),
        (c("Region").str.ends_with("日本"), "endswith(Region,'日本')"),
        (c("Date") >= "201001", "Date ge '201001'"),
        (c("Date") < "2010", "Date lt '2010' or Date eq '#'"),
        (
            c("Date").is_between(pl.lit("2010"), pl.lit("201106"), closed="left"),
            "Date ge '2010' and (Date lt '201106' or Date eq '#')",
        ),
        (~(c("Date") < "2010"), "Date ge '2010'"),
        (c("Date") >= "2010-07", "Date ge '2010'"),
        (c("Day") >= "2010-07-01", "Day ge '2010'"),
        (c("Day") > "20100701", "Day ge '2010'"),
        (c("Day") <= "2010-07-01", "Day lt '2011' or Day eq '#'"),
        (c("Amount") > 100, "Amount gt 100"),
        (c("Amount") != 0, "Amount ne 0"),
        (~(c("Amount") == 0), "Amount ne 0"),
        (c("Amount") >= 0.1, "Amount ge 0.0999999"),
        (c("Amount") < 0.1, "Amount le 0.1"),
        (c("Amount") == 0.1, "Amount ge 0.0999999 and Amount le 0.1000001"),
        (c("Amount") == 1 / 3, "false"),
        (c("Amount").is_in([1.0, 2.0]), "Amount eq 1 or Amount eq 2"),
        (~c("Amount").is_in([1.0, 2.0]), "Amount ne 1 and Amount ne 2"),
        (pl.lit(5) < c("Amount"), "Amount gt 5"),
        (c("Count") <= 7, "Count le 7"),
        (c("Open"), "Open eq true"),
        (~c("Open"), "Open eq false"),
        (c("Open") == True, "Open eq true"),  # noqa: E712
        (c("On") >= dt.date(2024, 1, 31), "On ge 2024-01-31"),
        (c("At") != NOON, "At ne 2024-01-31T12:00:00Z"),
        (
            (c("Region") == "a") & (c("Amount") > 1) & ~(c("Count") > 2),
            "Region eq 'a' and Amount gt 1 and Count le 2",
        ),
        ((c("Region") == "a") | (c("Amount") > 1), "Region eq 'a' or Amount gt 1"),
        (~((c("Amount") > 1) | (c("Count") == 2)), "Amount le 1 and Count ne 2"),
        (~((c("Amount") > 1) & (c("Count") == 2)), "Amount le 1 or Count ne 2"),
        (pl.any_horizontal(c("Region") == "a", c("Open")), "Region eq 'a' or Open eq true"),
        # Of "and" what can be sent is sent, also below an "or".
        ((c("Region") == "a") & (c("Region") != "b"), "Region eq 'a'"),
        (
            (c("Open") & c("Region").is_not_null()) | (c("Region") == "b"),
            "Open eq true or Region eq 'b'",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_sent(predicate: pl.Expr, odata: str) -> None:
    optimized = arriving(predicate)
    assert optimized is not None
    for shape in (predicate, optimized):
        found = sent(push_down(shape, SCHEMA))
        assert found is not None
        # polars puts conditions in an order of its own.
        assert sorted(found.split(" and ")) == sorted(odata.split(" and "))


@pytest.mark.parametrize(
    ("predicate", "reason"),
    [
        (c("Region") != "a", "the same text"),
        (~c("Region").is_in(["a"]), "the same text"),
        (~c("Region").str.contains("a", literal=True), "the same text"),
        (c("Region").is_null(), "no form"),
        (c("Region").is_not_null(), "no form"),
        (c("Region").ne_missing("a"), "no value"),
        (c("Region").eq_missing(None), "no value|no form"),
        (c("Region").is_in(["a", None], nulls_equal=True), "no value"),
        (~c("Count").is_in([1], nulls_equal=True), "no value"),
        (c("Region") < "b", "order"),
        (c("Region").is_between(pl.lit("a"), pl.lit("b")), "order"),
        (c("Day") >= "#", "order"),
        (c("Day") <= "9999", "order"),
        (c("Region") == "", "empty text"),
        (c("Region").str.starts_with(""), "empty text"),
        (c("Region").str.starts_with("#"), "'#'"),
        (c("Region").is_in(["a", ""]), "empty text"),
        (c("Region") == "Line\nbreak", "control character"),
        (c("Region").str.contains("a\\b", literal=True), "backslash"),
        (c("Region").str.contains("^a"), "no form"),
        (c("Region").str.contains("(?i)a"), "no form"),
        (c("Region").str.contains(c("Version")), "no form"),
        (c("Region").str.to_lowercase() == "a", "no form"),
        (c("Region") == c("Version"), "no form"),
        (c("Region").is_in(c("Version").implode()), "no form"),
        (c("Region").cast(pl.Categorical) == "a", "no form"),
        (c("Region").cast(pl.Int64, strict=False) > 1, "no form"),
        (c("Count").cast(pl.String) == "1", "no form"),
        (c("Region").str.len_chars() > 2, "no form"),
        (c("Amount") * 2 > 1, "no form"),
        (c("Amount").fill_null(0) > 1, "no form"),
        (c("Amount").abs() > 1, "no form"),
        (c("Amount") > c("Count"), "no form"),
        (c("Amount") > c("Amount").mean(), "no form"),
        (c("Amount").is_first_distinct(), "no form"),
        (c("Amount") > float("inf"), "digits"),
        (c("Amount") >= 1e20, "digits"),
        (c("Amount") != 0.1, "digits"),
        (c("Variable") > 1, "not declared"),
        (c("Ratio") > 1, "NaN"),
        (c("Open") ^ (c("Count") > 1), "no form"),
        (pl.when(c("Open")).then(c("Count") > 1).otherwise(c("Count") > 2), "no form"),
        (c("Clock") >= dt.time(12), "no form"),
        (c("Guid") == "01234567-89ab-cdef-0123-456789abcdef", "no form"),
        (c("On").dt.year() == 2024, "no form"),
        (c("On").cast(pl.Datetime("us")) >= dt.datetime(2024, 1, 31), "no form"),  # noqa: DTZ001
        ((c("Region") == "a") | (c("Region") != "b"), "the same text"),
    ],
    ids=str,
)  # fmt: skip
def test_what_stays_and_why(predicate: pl.Expr, reason: str) -> None:
    for shape in shapes_of(predicate, arriving(predicate)):
        pushed = push_down(shape, SCHEMA)
        assert pushed.where is None
        assert len(pushed.kept) >= 1
        assert all(re.search(reason, kept.reason) for kept in pushed.kept)


@pytest.mark.parametrize(
    ("predicate", "odata"),
    [
        (c("Amount") > Decimal("0.1"), "Amount ge 0.1"),
        (c("Amount") >= Decimal("100.00"), "Amount ge 100"),
        (c("Amount") == Decimal("0.12345678"), "false"),
        (c("Amount").cast(pl.Float64) >= 0.1, "Amount ge 0.0999999"),
        (c("Variable") > Decimal(1), None),
    ],
    ids=str,
)
def test_decimals_are_compared_as_decimals(predicate: pl.Expr, odata: str | None) -> None:
    assert sent(push_down(predicate, SCHEMA, decimals=True)) == odata


def test_conditions_are_taken_apart_and_each_says_what_becomes_of_it() -> None:
    pushed = push_down((c("Region") == "a") & (c("Amount") * 2 > 1) & (c("Version") != "b"), SCHEMA)
    assert [to_odata(one.where, SCHEMA) for one in pushed.sent] == ["Region eq 'a'"]
    assert [one.text for one in pushed.kept] == [
        '[([(col("Amount")) * (dyn int: 2)]) > (dyn int: 1)]',
        '[(col("Version")) != ("b")]',
    ]
    assert push_down(None, SCHEMA) == PushDown()


def test_only_columns_that_may_be_filtered_by_are_sent() -> None:
    pushed = push_down((c("Region") == "a") & (c("Amount") > 1), SCHEMA, ["Region"])
    assert sent(pushed) == "Region eq 'a'"
    assert "before it adds up" in pushed.kept[0].reason


def test_a_chain_of_hundreds_is_sent_and_one_that_is_too_deep_stays() -> None:
    """How deep is too deep is for Python to say: 3.11 gives up where 3.13 does not."""
    chain = c("Region") == "0"
    for number in range(1, 400):
        chain |= c("Region") == str(number)
    where = push_down(chain, SCHEMA).where
    assert isinstance(where, Or)
    assert len(where.operands) == 400
    for number in range(400, 3000):
        chain |= c("Region") == str(number)
    where = push_down(chain, SCHEMA).where
    assert where is None or (isinstance(where, Or) and len(where.operands) == 3000)


# -- no row is lost ----------------------------------------------------------------------------------------------------

TEXTS: Final = [
    "#", "a", "A", "ab", "ß", "SS", "Pacific West", "Pacific West ", " Leading", "O'Hare", "50%", "5_", "Back\\slash",
    "Line\nbreak", "🚀 Orbit", "\uffff", "Zürich", "", None,
]  # fmt: skip
# Dates are never empty: SAC writes "#".
MONTHS: Final = ["201001", "201012", "201101", "999912", "#", None]
DAYS: Final = ["20100101", "2010-01-01", "20101231", "2010-12-31", "2011-01-01", "#", None]
AMOUNTS: Final = [
    "0", "0.1", "0.0999999", "0.1000001", "-0.1", "100", "100.0000001", "1000000000", "1000000000.0000001",
    "999999999999999999999999.9999999", "12345678901234567.1234567", None,
]  # fmt: skip
COUNTS: Final = [-(2**31), -1, 0, 1, 7, 2**31 - 1, None]
DATES: Final = [dt.date(2024, 1, 31), dt.date(2024, 2, 1), dt.date(9999, 12, 31), None]
INSTANTS: Final = [NOON, NOON + dt.timedelta(microseconds=1), None]


def _rows() -> list[dict[str, Any]]:
    drawn = random.Random(7)
    pools: dict[str, list[Any]] = {
        "Version": TEXTS, "Date": MONTHS, "Day": DAYS, "Region": TEXTS,
        "Amount": [None if text is None else Decimal(text) for text in AMOUNTS],
        "Variable": [Decimal(1), Decimal("0.9999999999"), None], "Count": COUNTS,
        "Ratio": [0.5, float("nan"), float("inf"), None],
        "Open": [True, False, None], "On": DATES, "At": INSTANTS, "Clock": [dt.time(12), None], "Guid": ["a", None],
    }  # fmt: skip
    return [{name: drawn.choice(pool) for name, pool in pools.items()} for _ in range(200)]


ROWS: Final = _rows()
EXACT: Final = pl.DataFrame(ROWS, schema=EXACT_TYPES)
FRAMES: Final = {
    True: EXACT,
    False: EXACT.with_columns(
        pl.Series(name, [None if row[name] is None else float(row[name]) for row in ROWS], dtype=pl.Float64)
        for name in ("Amount", "Variable")
    ),
}


_TEXTS: Final[dict[str, Callable[[str], str]]] = {
    "exact": str,
    "any case": str.casefold,
    "blanks at the end": str.rstrip,
}
_ORDERS: Final[dict[str, Callable[[str], Any]]] = {
    "bytes": str.encode,
    "UTF-16": lambda text: text.encode("utf-16-be"),
    "any case": str.casefold,
    "only letters and digits": lambda text: re.sub(r"\W", "", text),
}
_NUMBERS: Final[dict[str, Callable[[Decimal, Decimal], tuple[Any, Any]]]] = {
    "as decimals": lambda value, bound: (value, bound),
    "the bound became a double": lambda value, bound: (value, Decimal(float(bound))),
    "both became doubles": lambda value, bound: (float(value), float(bound)),
}
_PATTERNS: Final[dict[str, str]] = {
    "with wildcards": r"(?P<any>%)|(?P<one>_)|(?P<sign>.)",
    "with escapes": r"\\?(?P<sign>.)|\\$",
}


@dataclass(frozen=True)
class Server:
    """One way in which SAC might read what it does not document."""

    nulls: str = "as OData"
    texts: str = "exact"
    patterns: str = "exact"
    order: str = "bytes"
    numbers: str = "as decimals"

    def keeps(self, where: Expression, row: Mapping[str, Any]) -> bool:
        match where:
            case And(operands):
                return all(self.keeps(one, row) for one in operands)
            case Or(operands):
                return any(self.keeps(one, row) for one in operands)
            case Membership(column, values):
                return any(self._compare("eq", row[column], value) for value in values)
            case Comparison(column, sign, value):
                return self._compare(sign, row[column], value, is_date=column in {"Date", "Day"})
            case TextMatch(column, function, text):
                return not self._is_null(row[column]) and self._matches(function, row[column], text)
        raise AssertionError(f"{where!r} must not be sent")

    def _is_null(self, value: Any) -> bool:
        return value is None or (value == "" and self.nulls == "also empty text") or (value == "#" == self.nulls)

    def _compare(self, sign: str, value: Any, other: Any, *, is_date: bool = False) -> bool:
        assert other is not None, "null must not be sent"
        if self._is_null(value) and not value == other == "#":
            return sign == "ne" and self.nulls != "as SQL"
        if isinstance(other, str):
            if sign not in {"eq", "ne"}:
                assert is_date, "texts must not be compared by order"
                value, other = _ORDERS[self.order](value), _ORDERS[self.order](other)
            else:
                value, other = _TEXTS[self.texts](value), _TEXTS[self.texts](other)
        elif isinstance(other, Decimal | int) and not isinstance(other, bool):
            value, other = _NUMBERS[self.numbers](Decimal(value), Decimal(other))
        return bool(getattr(operator, sign)(value, other))

    def _matches(self, function: str, value: str, part: str) -> bool:
        if self.patterns in _TEXTS:
            value, part = _TEXTS[self.patterns](value), _TEXTS[self.patterns](part)
            plain = {"contains": str.__contains__, "startswith": str.startswith, "endswith": str.endswith}[function]
            return bool(plain(value, part))
        signs = [found.groupdict() for found in re.finditer(_PATTERNS[self.patterns], part, re.DOTALL)]
        body = "".join(
            ".*" if sign.get("any") else "." if sign.get("one") else re.escape(sign["sign"] or "") for sign in signs
        )
        before, after = {"contains": (".*", ".*"), "startswith": ("", ".*"), "endswith": (".*", "")}[function]
        return re.fullmatch(before + body + after, value, re.DOTALL) is not None


SERVERS: Final = [
    Server(),
    *(Server(nulls=nulls) for nulls in ("as SQL", "also empty text", "#")),
    *(Server(texts=texts) for texts in _TEXTS),
    *(Server(patterns=patterns) for patterns in ("any case", *_PATTERNS)),
    *(Server(order=order) for order in _ORDERS),
    *(Server(numbers=numbers) for numbers in _NUMBERS),
    Server("as SQL", "any case", "with wildcards", "UTF-16", "both became doubles"),
]

texts = st.sampled_from(TEXTS)
signs = st.sampled_from([operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
known_amounts = st.sampled_from([text for text in AMOUNTS if text is not None])


def comparisons(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[pl.Expr]:
    column = st.sampled_from(names).map(lambda name: pl.col(name))  # noqa: PLW0108 - hypothesis wants a function with a name
    typed = values.map(pl.lit)
    return st.one_of(
        st.builds(lambda sign, left, right: sign(left, right), signs, column, typed),
        st.builds(lambda sign, left, right: sign(left, right), signs, typed, column),
        st.builds(lambda left, right: left.eq_missing(right), column, typed),
        st.builds(lambda left, right: left.ne_missing(right), column, typed),
        st.builds(
            lambda left, low, high, closed: left.is_between(low, high, closed=closed),
            column, typed, typed, st.sampled_from(["both", "left", "right", "none"]),
        ),
        column.map(lambda left: left.is_null()),
        column.map(lambda left: left.is_not_null()),
    )  # fmt: skip


def lists(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[pl.Expr]:
    return st.builds(
        lambda name, members, nulls_equal: pl.col(name).is_in(members, nulls_equal=nulls_equal),
        st.sampled_from(names), st.lists(values, max_size=4), st.booleans(),
    )  # fmt: skip


matches = st.builds(
    lambda name, function, text: getattr(c(name).str, function)(pl.lit(text, dtype=pl.String)),
    st.sampled_from(["Region", "Version", "Date"]), st.sampled_from(["starts_with", "ends_with"]), texts,
) | st.builds(lambda text, name: c(name).str.contains(pl.lit(text, dtype=pl.String), literal=True), texts,
    st.sampled_from(["Region", "Version", "Date"]),
)  # fmt: skip
CONDITIONS: Final[dict[str, st.SearchStrategy[pl.Expr]]] = {
    "texts": st.one_of(comparisons(["Region", "Version"], texts), lists(["Region", "Version"], texts)),
    "parts of texts": st.one_of(
        matches,
        st.sampled_from([c("Region").str.contains("^a|ß"), c("Region").str.contains("5.", literal=True)]),
    ),
    "dates as texts": st.one_of(
        comparisons(["Date"], st.sampled_from([*MONTHS, "2010", "2010-07", "x"])),
        comparisons(["Day"], st.sampled_from([*DAYS, "2010", "9999"])),
    ),
    "floats": st.one_of(
        comparisons(["Amount"], st.one_of(known_amounts.map(float), st.floats(), st.none())),
        comparisons(["Amount"], st.integers(-(2**60), 2**60)),
        lists(["Amount"], st.one_of(known_amounts.map(float), st.none())),
        comparisons(["Variable"], st.sampled_from([0.9999999999, 1.0])),
        comparisons(["Ratio"], st.sampled_from([0.5, float("nan"), float("-inf"), None])),
    ),
    "decimals": st.one_of(
        comparisons(["Amount"], st.one_of(known_amounts.map(Decimal), st.decimals(-1000, 1000, places=9))),
        comparisons(["Amount"], st.integers(-(10**9), 10**9)),
        comparisons(["Variable"], st.sampled_from([Decimal("0.9999999999"), Decimal(1)])),
        known_amounts.map(lambda text: pl.col("Amount").cast(pl.Float64) >= float(text)),
    ),
    "other types": st.one_of(
        comparisons(["Count"], st.sampled_from(COUNTS)),
        lists(["Count"], st.sampled_from(COUNTS)),
        comparisons(["On"], st.sampled_from(DATES)),
        comparisons(["At"], st.sampled_from(INSTANTS)),
        st.sampled_from([c("Open"), c("Open") == False, c("Open") != True]),  # noqa: E712
    ),
}  # fmt: skip
CONDITIONS["everything"] = st.one_of(
    *(strategy for name, strategy in CONDITIONS.items() if name != "decimals"),
    st.sampled_from([
        pl.lit(True), pl.lit(False), pl.lit(None, dtype=pl.Boolean),
        c("Region").str.to_lowercase() == "a",
        c("Region").str.contains("^a|ß"),
        c("Date").cast(pl.Int32, strict=False) > 201001,
        c("Region") == c("Version"),
    ]),
)  # fmt: skip


def nested(conditions: st.SearchStrategy[pl.Expr]) -> st.SearchStrategy[pl.Expr]:
    return st.recursive(
        conditions,
        lambda inner: st.one_of(
            st.builds(operator.and_, inner, inner),
            st.builds(operator.or_, inner, inner),
            st.builds(operator.xor, inner, inner),
            inner.map(operator.invert),
        ),
        max_leaves=5,
    )


@pytest.mark.parametrize("kind", CONDITIONS)
@given(data=st.data())
def test_no_reading_of_what_is_sent_loses_a_row(kind: str, data: st.DataObject) -> None:
    predicate = data.draw(nested(CONDITIONS[kind]))
    decimals = kind == "decimals"
    frame = FRAMES[decimals]
    kept = frame.with_row_index().filter(predicate)["index"].to_list()
    for shape in shapes_of(predicate, arriving(predicate, frame.schema)):
        where = push_down(shape, SCHEMA, decimals=decimals).where
        if where is None:
            continue
        for server in SERVERS:
            lost = [ROWS[number] for number in kept if not server.keeps(where, ROWS[number])]
            assert not lost, f"{server} asked with {to_odata(where, SCHEMA)}"
