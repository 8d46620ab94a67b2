"""A query knows its URL, its canonical text, and how to come in pieces that are together the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacnb._odata.expression import Expression, col
from sacnb._odata.query import MAX_URL_CHARS, Query
from sacnb._odata.schema import Column, Schema
from sacnb.errors import QueryError, UnknownNameError

TENANT = "https://acme.eu10.hcs.cloud.sap"
PATH = f"{TENANT}/api/v1/dataexport/providers/sac"
KEYS = ("Version", "Date", "Sector")
Judge = Callable[[Expression, Mapping[str, Any]], bool]


def facts(**more: Any) -> Query:
    return Query("US_EMPLOYMENT", **{"select": (*KEYS, "Employees"), "count": False, **more})


def options_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True))


URLS: list[tuple[Query, str]] = [
    (Query("X"), f"{PATH}/X/FactData?$count=true"),
    (Query("X", count=False), f"{PATH}/X/FactData"),
    (facts(), f"{PATH}/US_EMPLOYMENT/FactData?$select=Version,Date,Sector,Employees"),
    (
        facts(where=col("Sector") == "#", order_by=(("Date", True), ("Sector", False)), top=5, page_size=2, count=True),
        (
            f"{PATH}/US_EMPLOYMENT/FactData?$select=Version,Date,Sector,Employees&$filter=Sector%20eq%20'%23'"
            "&$orderby=Date%20desc,Sector&$top=5&$count=true&pagesize=2"
        ),
    ),
    (facts(where=~col("Sector").is_in([])), f"{PATH}/US_EMPLOYMENT/FactData?$select=Version,Date,Sector,Employees"),
    (
        Query("X", entity_set="FactDataAggregation", select=("Sector", "Employees"), top=0),
        f"{PATH}/X/FactDataAggregation?$select=Sector,Employees&$top=0&$count=true",
    ),
    (
        Query("sap.epm:Juice", namespace="a/b", entity_set="FactData", count=False),
        f"{TENANT}/api/v1/dataexport/providers/a%2Fb/sap.epm%3AJuice/FactData",
    ),
]


@pytest.mark.parametrize(("query", "expected"), URLS, ids=lambda v: str(v)[:50])
def test_the_url_says_what_is_asked(schema: Schema, query: Query, expected: str) -> None:
    assert query.url(TENANT, schema) == expected


def test_an_aggregation_always_says_what_it_groups_by(schema: Schema) -> None:
    url = Query("X", entity_set="FactDataAggregation").url(TENANT, schema)
    assert options_of(url)["$select"] == ",".join(schema.names)


def test_what_sac_ignores_or_gets_wrong_is_never_sent(schema: Schema) -> None:
    query = facts(where=col("Sector") == "31", order_by=(("Date", True),), top=5, page_size=2, count=True)
    assert set(options_of(query.url(TENANT, schema))) == {
        "$select",
        "$filter",
        "$orderby",
        "$top",
        "$count",
        "pagesize",
    }


def test_the_columns_come_back_in_the_order_asked_for(schema: Schema) -> None:
    query = facts(select=("Employees", "Sector", "Date", "Version"))
    assert [column.name for column in query.columns(schema)] == ["Employees", "Sector", "Date", "Version"]
    assert facts(select=()).columns(schema) == schema.columns


REFUSED: list[tuple[Query, str]] = [
    (facts(select=("Version", "Employees")), "'Date', 'Sector' is missing.*FactDataAggregation"),
    (facts(select=(*KEYS, "Date")), "'Date' more than once"),
    (
        Query("X", entity_set="FactDataAggregation", select=("Sector", "Employees"), order_by=(("Date", False),)),
        "not in select",
    ),
    (facts(where=col("Employees") == "31"), "expected a finite number"),
]


@pytest.mark.parametrize(("query", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_sac_would_refuse_or_get_wrong_is_refused_here(schema: Schema, query: Query, message: str) -> None:
    for ask in (query.options, query.canonical, lambda s: query.url(TENANT, s), lambda s: query.split(s, TENANT)):
        with pytest.raises(QueryError, match=message):
            ask(schema)


@pytest.mark.parametrize(
    "query",
    [facts(select=(*KEYS, "employees")), facts(order_by=(("employees", True),)), facts(where=col("employees") > 1)],
)
def test_an_unknown_column_names_the_nearest(schema: Schema, query: Query) -> None:
    with pytest.raises(UnknownNameError) as caught:
        query.options(schema)
    assert caught.value.nearest == ("Employees",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"top": -1},
        {"top": True},
        {"top": 1.0},
        {"page_size": 0},
        {"page_size": "5"},
        {"provider_id": ""},
        {"namespace": ""},
        {"provider_id": "a\nb"},
        {"provider_id": "\ud800"},
    ],
    ids=repr,
)
def test_a_query_that_makes_no_sense_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=next(iter(wrong))):
        Query(**{"provider_id": "X", **wrong})


a, b, many = col("Sector") == "a", col("Employees") > 1, col("Sector").is_in(["b", "a", "c"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (facts(page_size=5), facts(page_size=50_000, count=True)),
        (facts(where=a & b), facts(where=b & a & b)),
        (facts(where=many), facts(where=col("Sector").is_in({"c", "b", "a"}))),
        (facts(where=~col("Sector").is_in([])), facts()),
        (Query("X"), Query("X", select=(*KEYS, "Employees"))),
    ],
)
def test_the_same_question_has_one_canonical_text(schema: Schema, one: Query, other: Query) -> None:
    small = replace(schema, columns=schema.columns[:4])
    assert one.canonical(small) == other.canonical(small)


def test_another_question_has_another_canonical_text(schema: Schema) -> None:
    questions = [
        facts(),
        facts(select=("Date", "Version", "Sector", "Employees")),
        facts(where=a),
        facts(where=~a),
        facts(where=col("Sector").is_in([])),
        facts(top=5),
        facts(top=0),
        facts(order_by=(("Date", False),)),
        facts(order_by=(("Date", True),)),
        facts(order_by=(("Date", False), ("Sector", False))),
        facts(order_by=(("Sector", False), ("Date", False))),
        facts(namespace="other"),
        facts(entity_set="FactDataAggregation"),
        replace(facts(), provider_id="US_EMPLOYMENT/FactData"),
    ]
    assert len({question.canonical(schema) for question in questions}) == len(questions)


def test_the_canonical_text_is_readable_and_stays_as_it_is(schema: Schema) -> None:
    """Cache entries are found by it: to change it is to forget every one of them."""
    query = facts(where=many & b, order_by=(("Date", True),), top=5, page_size=7)
    assert query.canonical(schema) == (
        "/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData\n"
        "$select=Version,Date,Sector,Employees\n"
        "$filter=(Sector eq 'a' or Sector eq 'b' or Sector eq 'c') and Employees gt 1\n"
        "$orderby=Date desc\n"
        "$top=5"
    )
    assert facts().canonical(schema).endswith("$filter=true\n$orderby=\n$top=all")


# Splitting.


def test_a_short_query_is_its_own_only_piece_and_an_impossible_one_has_none(schema: Schema) -> None:
    query = facts(where=many, order_by=(("Date", True),), top=5)
    assert query.split(schema, TENANT) == (query,)
    assert facts(where=col("Sector").is_in([])).split(schema, TENANT) == ()
    assert facts(where=col("Sector").is_in([])).is_never(schema)
    assert not facts().is_never(schema)


LONG = col("Sector").is_in([f"member {n:05d} #" for n in range(1000)])
ALSO_LONG = col("Date").is_in([f"{n:06d}" for n in range(1000)])


def sectors(piece: Query) -> list[str]:
    """The values of ``Sector`` that a piece asks for."""
    where = piece.where
    assert where is not None
    for part in getattr(where, "operands", (where,)):
        if getattr(part, "column", None) == "Sector" and hasattr(part, "values"):
            return list(part.values)
    raise AssertionError(where)


@pytest.mark.parametrize(
    "where", [LONG, LONG & b, b & LONG & a, LONG & ~a, LONG & (a | b)], ids=["alone", "first", "middle", "not", "or"]
)
def test_a_long_list_is_shared_out(schema: Schema, where: Expression) -> None:
    query = facts(where=where, top=7, count=True, page_size=3)
    pieces = query.split(schema, TENANT)
    urls = [piece.url(TENANT, schema) for piece in pieces]
    assert max(map(len, urls)) <= MAX_URL_CHARS
    assert [member for piece in pieces for member in sectors(piece)] == list(LONG.values)
    assert all(replace(piece, where=None) == replace(query, where=None) for piece in pieces)
    # As few as that takes: each but the last is full, to within one member.
    assert all(len(url) > MAX_URL_CHARS - 100 for url in urls[:-1])


def test_comparisons_joined_by_or_are_a_list_too(schema: Schema) -> None:
    said: Expression = col("Sector") == "s0"
    for n in range(1, 500):
        said |= col("Sector") == f"s{n}"
    pieces = facts(where=b & (said | col("Sector").is_in(["s500", "s1"]))).split(schema, TENANT)
    assert len(pieces) > 1
    assert [member for piece in pieces for member in sectors(piece)] == [f"s{n}" for n in range(501)]


def test_members_that_are_written_the_same_come_once(schema: Schema) -> None:
    twice = col("Int32").is_in([n + zero for n in range(800) for zero in (0, 0.0)])
    keyed = replace(schema, columns=tuple(replace(c, role="dimension") for c in schema.columns if c.name == "Int32"))
    pieces = Query("X", where=twice).split(keyed, TENANT, 2000)
    asked = [value for piece in pieces for value in piece.where.values]  # type: ignore[union-attr]
    assert asked == list(range(800))


def test_two_long_lists_are_shared_out_crosswise(schema: Schema) -> None:
    sectors, dates = (replace(one, values=one.values[:600]) for one in (LONG, ALSO_LONG))
    pieces = facts(where=sectors & dates).split(schema, TENANT)
    assert all(len(piece.url(TENANT, schema)) <= MAX_URL_CHARS for piece in pieces)
    dates_of: dict[frozenset[Any], list[Any]] = {}
    for piece in pieces:
        asked, on = (one.values for one in piece.where.operands)  # type: ignore[union-attr]
        dates_of.setdefault(frozenset(asked), []).extend(on)
    # Blocks of sectors that do not overlap, and all dates with each of them, once.
    assert sum(map(len, dates_of)) == len(frozenset().union(*dates_of)) == 600
    assert all(len(on) == len(set(on)) == 600 for on in dates_of.values())
    assert len(dates_of) < len(pieces)  # the dates are shared out too


UNSPLITTABLE: list[tuple[str, Query, str]] = [
    ("not", facts(where=~LONG), "no list of members that could be split"),
    ("or", facts(where=LONG | b), "no list of members that could be split"),
    ("two columns", facts(where=LONG | ALSO_LONG), "no list of members"),
    ("a long value", facts(where=col("Sector") == "x" * 7000), "no list of members"),
    ("long values", facts(where=col("Sector").is_in(["x" * 7000, "y" * 7000])), "no list of members"),
    ("many columns", replace(facts(), provider_id="X" * 7000), "no list of members"),
    ("order", facts(where=LONG, order_by=(("Date", False),)), "sort the frame"),
    ("numbers with a fraction", facts(where=col("Employees").is_in(range(2000))), "no list of members"),
    (
        "aggregation by a measure",
        facts(entity_set="FactDataAggregation", select=("Sector", "Int32"), where=col("Int32").is_in(range(2000))),
        "no list of members",
    ),
    (
        "too many requests",
        facts(where=LONG & ALSO_LONG & col("Version").is_in(map(str, range(2000)))),
        "more than 20 requests",
    ),
    (
        "aggregation by something else",
        facts(entity_set="FactDataAggregation", select=("Date", "Employees"), where=LONG),
        "no list of members on a dimension in select",
    ),
]


@pytest.mark.parametrize(("query", "message"), [pytest.param(q, m, id=name) for name, q, m in UNSPLITTABLE])
def test_what_cannot_be_split_without_changing_the_answer_is_refused(
    schema: Schema, query: Query, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sacnb._odata.query._MAX_PIECES", 20)  # a thousand URLs take seconds
    with pytest.raises(QueryError, match=message):
        query.split(schema, TENANT)


def test_an_aggregation_is_split_along_what_it_groups_by(schema: Schema) -> None:
    query = facts(entity_set="FactDataAggregation", select=("Sector", "Employees"), where=LONG & ALSO_LONG)
    with pytest.raises(QueryError, match="no list of members on a dimension in select"):
        query.split(schema, TENANT)  # Date alone is too long, and is summed over
    pieces = replace(query, where=LONG & b).split(schema, TENANT)
    assert [member for piece in pieces for member in sectors(piece)] == list(LONG.values)


SMALL = Schema("P", "FactData", tuple(Column(name, "Edm.String", "dimension") for name in "AB"))
members = st.lists(st.none() | st.text(alphabet="ab'# ", max_size=3), min_size=1, max_size=8)
conditions = st.lists(
    st.one_of(
        st.builds(lambda v: col("A").is_in(v), members),
        st.builds(lambda v: col("B").is_in(v), members),
        st.builds(lambda v: (col("A") == v) | (col("A") == "a"), st.text(alphabet="ab#", max_size=2)),
        st.builds(lambda v: ~col("B").is_in(v), members),
        st.builds(lambda v: col("A").is_in(v) | (col("B") == "b"), members),
    ),
    min_size=1,
    max_size=3,
)


@given(conditions, st.integers(100, 220), st.lists(st.tuples(members, members), max_size=5))
def test_every_row_is_in_exactly_the_pieces_it_should_be(
    judge: Judge, parts: list[Expression], room: int, rows: list[tuple[list[Any], list[Any]]]
) -> None:
    where = parts[0]
    for part in parts[1:]:
        where &= part
    query = Query("P", where=where, count=False)
    try:
        pieces = query.split(SMALL, "", room)
    except QueryError:
        assert len(query.url("", SMALL)) > room
        return
    assert all(len(piece.url("", SMALL)) <= room for piece in pieces)
    for row in ({"A": one, "B": other} for left, right in rows for one in left for other in right):
        found = [piece for piece in pieces if piece.where is not None and judge(piece.where, row)]
        assert len(found) == (1 if judge(where, row) else 0)
