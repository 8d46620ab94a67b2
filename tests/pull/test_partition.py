"""However a pull is split, the same rows come: none twice, none lost, ``#``, nulls and unknown members included."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sacnb.sandbox
from sacnb import col
from sacnb._pull.count import count_rows
from sacnb._pull.partition import Lists, Ranges, make_plan, member_groups
from sacnb._tenant import Tenant
from sacnb.errors import BadAnswer, QueryError, RequestError
from sacnb.sandbox import Column, Dimension, Sandbox, table_model
from sacnb.sandbox.relation import frame_relation

ConnectTo = Callable[..., Tenant]

KEYS = ["Month", "Product", "Region", "Store", "Day"]
COLUMNS = (
    Column("Month", key=True),
    Column("Product", key=True),
    Column("Region", key=True),
    Column("Store", "Edm.Int64", key=True),
    Column("Day", "Edm.Date", key=True),
    Column("Amount", "Edm.Decimal", precision=31, scale=7),
)
MONTHS = [f"{year}{month:02d}" for year in (2023, 2024) for month in range(1, 13)]
PRODUCTS = [f"P-{number:03d}" for number in range(40)]
# Members that no list can be cut by digits: blanks at the end, quotes, a line end, what is special in URLs and JSON.
REGIONS = ["#", "North ", "O'Hare", "Zürich", "日本", "50% + a&b=c;d/e?f", "Line\nbreak", 'x},{"y', "<b>", "", " "]
DAYS = [f"2024-{month:02d}-{day:02d}" for month in (1, 2, 3) for day in (1, 15, 28)]

Row = tuple[str | None, str | None, str | None, int | None, str | None]


def members(ids: list[str]) -> Dimension:
    frame = pl.DataFrame({"ID": ids, "Description": ids}, schema={"ID": pl.String, "Description": pl.String})
    return Dimension(frame_relation([Column("ID", key=True), Column("Description")], frame))


def model_of(rows: list[Row]) -> Any:
    """A model whose lists of members know most members, and not all: SAC's may be behind the facts, too."""
    frame = pl.DataFrame(
        [(*row, number) for number, row in enumerate(rows)],
        schema=["Month", "Product", "Region", "Store", "Day", "Amount"],
        orient="row",
        infer_schema_length=None,
    ).with_columns(pl.col("Day").cast(pl.String).str.to_date(), pl.col("Store").cast(pl.Int64))
    known = {"Month": MONTHS[3:], "Product": PRODUCTS[::2], "Region": REGIONS[:8], "Day": DAYS[1:]}
    stores = [str(number) for number in range(-5, 120, 7)]
    dimensions = {name: members(ids) for name, ids in {**known, "Store": stores}.items()}
    return table_model("SPLIT", columns=COLUMNS, rows=frame, dimensions=dimensions)


ROWS = st.lists(
    st.tuples(
        st.sampled_from([*MONTHS, "#", "2024", "unknown", None]),
        st.sampled_from([*PRODUCTS, "P-1000", "p-003", "#", None]),
        st.sampled_from([*REGIONS, None]),
        st.integers(-10, 130) | st.none(),
        st.sampled_from([*DAYS, None]),
    ),
    unique=True,
    max_size=80,
)
WHERES = st.sampled_from(
    [
        None,
        {"Product": PRODUCTS[:20:2]},
        col("Month") >= "202401",
        (col("Month") == "202401") | (col("Region") == "#") | (col("Store") < 50),
        {"Month": ["202405", "202406", "202407"], "Region": ["Zürich", "#", "North "]},
        col("Region") == None,  # noqa: E711 - a condition
    ]
)
PARTITIONS = st.sampled_from(["auto", 2, 3, 5, 16, "package", *([name] for name in KEYS)])


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    with sacnb.sandbox.start() as started:
        yield started


@settings(suppress_health_check=list(HealthCheck))
@given(
    rows=ROWS,
    options=st.fixed_dictionaries({"where": WHERES, "page_size": st.sampled_from([3, 10, 1000])}),
    partitions=PARTITIONS,
)
def test_any_partitions_give_the_rows_of_the_single_stream(
    shared_sandbox: Sandbox,
    connect_to: ConnectTo,
    rows: list[Row],
    options: dict[str, Any],
    partitions: Any,
) -> None:
    shared_sandbox.add_model(model_of(rows))
    model = connect_to(shared_sandbox).model("SPLIT")
    single = model.facts(**options).fetch().polars(decimals=True)
    split = model.facts(**options, partitions=partitions).fetch().polars(decimals=True)
    assert split.sort("Amount").equals(single.sort("Amount"))
    streamed = model.facts(**options, partitions=partitions).stream().read_all()
    assert pl.DataFrame(streamed).equals(split)


# -- one rule after the other ----------------------------------------------------------------------------------------


def rows_for_all_months(per_month: int = 10) -> list[Row]:
    return [(month, PRODUCTS[i % 40], REGIONS[i % 3], i, DAYS[0]) for month in [*MONTHS, "#"] for i in range(per_month)]


def filters_of(sandbox: Sandbox) -> list[str]:
    """The filters of the pages that were asked for, in the order they were; not those of counts."""
    pages = [entry.query.split("&") for entry in sandbox.log if entry.kind == "facts" and "$top=0" not in entry.query]
    filters = [unquote(part.removeprefix("$filter=")) for page in pages for part in page if part.startswith("$filter=")]
    return list(dict.fromkeys(filters))


def test_dates_are_tried_first_and_the_partitions_have_about_the_same_size(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    sandbox.add_model(model_of(rows_for_all_months()))
    connect_to(sandbox, streams=1).model("SPLIT").facts(partitions=4, page_size=1000).fetch()
    per_partition = [entry.rows for entry in sandbox.log if entry.kind == "facts" and "pagesize=1000" in entry.query]
    assert all(text.startswith("Month ") for text in filters_of(sandbox))
    assert len(per_partition) == 4
    assert sum(per_partition) == 250
    assert all(40 <= rows <= 90 for rows in per_partition)


def test_rows_without_a_value_are_asked_for_where_there_are_some_or_may_come_to_be(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    rows = rows_for_all_months()
    sandbox.add_model(model_of(rows))
    model = connect_to(sandbox).model("SPLIT")
    model.facts(partitions=["Month"], page_size=10).fetch()
    # Where the parts add up, it is not even counted.
    assert not any("Month eq null" in unquote(entry.query) for entry in sandbox.log)
    model.facts(partitions=["Month"], page_size=10, check_count=False).fetch()
    assert filters_of(sandbox)[-1] == "Month eq null"
    sandbox.add_model(model_of([*rows, (None, "P-001", "#", 5, DAYS[0])]))
    assert len(model.facts(partitions=["Month"], page_size=10).fetch()) == 251


def test_uneven_partitions_are_made_of_finer_groups(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    """Nearly all rows are of the last year: a quarter of the months would have nearly all of them."""
    rows = [(month, PRODUCTS[i], "#", i, DAYS[0]) for month in MONTHS for i in range(2 if month < "202407" else 40)]
    sandbox.add_model(model_of(rows))
    model = connect_to(sandbox, streams=1).model("SPLIT")
    assert len(model.facts(partitions=3, page_size=1000).fetch()) == len(rows)
    pages = [entry.rows for entry in sandbox.log if entry.kind == "facts" and "pagesize=1000" in entry.query]
    assert sum(pages) == len(rows)
    assert max(pages) <= len(rows) / 2


def test_the_order_is_that_of_the_partitions_whatever_comes_first(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    sandbox.add_model(model_of(rows_for_all_months()))
    tables = [
        connect_to(sandbox, streams=streams).model("SPLIT").facts(partitions=8, page_size=14).fetch().arrow()
        for streams in (1, 8)
    ]
    assert all(table.equals(tables[0]) for table in tables)


@pytest.mark.parametrize(
    ("page_size", "streams", "expected"),
    [
        (1000, 4, 1),  # one page
        (100, 4, 1),  # three pages: not worth it
        (63, 4, 2),  # four pages: two streams with two each
        (10, 4, 4),
        (10, 1, 1),
    ],
)
def test_auto_gives_each_stream_two_pages_at_least(
    sandbox: Sandbox, connect_to: ConnectTo, page_size: int, streams: int, expected: int
) -> None:
    sandbox.add_model(model_of(rows_for_all_months()))
    connect_to(sandbox, streams=streams).model("SPLIT").facts(partitions="auto", page_size=page_size).fetch()
    assert max(1, len(filters_of(sandbox))) == expected


class NotCounting:
    """A session of a service that does not know ``$top=0``."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def fetch(self, method: str, url: str, **options: Any) -> Any:
        if "$top=0" in url:
            raise RequestError("$top must be positive", status=400)
        return self._session.fetch(method, url, **options)


def test_without_counts_there_is_one_stream_and_the_log_says_why(
    sandbox: Sandbox, connect_to: ConnectTo, caplog: pytest.LogCaptureFixture
) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts()
    job = facts._job(facts._named_members())
    job = dataclasses.replace(job, context=dataclasses.replace(job.context, session=NotCounting(job.context.session)))
    assert count_rows(job, [None]) == [None]
    with caplog.at_level(logging.WARNING, "sacnb.pull"):
        assert len(make_plan(job, 4, lambda _: MONTHS).segments) == 1
    assert "one stream, because SAC does not count the rows" in caplog.text
    with pytest.raises(QueryError, match="needs a row count"):
        make_plan(job, "package", lambda _: MONTHS)


def test_counting_asks_for_no_rows(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    assert model.facts().count() == 3420
    assert model.facts(where={"Sector": ["31", "nobody"]}).count() == 228
    assert model.facts(where={"Sector": []}).count() == 0
    assert sandbox.counts["rows"] == 0


def test_groups_that_do_not_add_up_are_not_used(
    sandbox: Sandbox, connect_to: ConnectTo, caplog: pytest.LogCaptureFixture
) -> None:
    """As if SAC compared texts in a way of its own: the first count is of more rows than the groups have."""
    sandbox.add_model(model_of(rows_for_all_months()))
    facts = connect_to(sandbox).model("SPLIT").facts(page_size=1000)

    def members_of(_: str) -> list[str]:
        # A row goes away between the first count and the others.
        sandbox.add_model(model_of(rows_for_all_months()[:-1]))
        return MONTHS

    with caplog.at_level(logging.WARNING, "sacnb.pull"):
        plan = make_plan(facts._job(facts._named_members()), 4, members_of)
    assert len(plan.segments) == 1
    assert "do not add up to the 250 rows" in caplog.text


@pytest.mark.parametrize("partitions", [0, 257, -1, True, 2.5, "many", [], ["Month", "Product"], [3]])
def test_invalid_partitions_are_refused(sandbox: Sandbox, connect_to: ConnectTo, partitions: Any) -> None:
    with pytest.raises(QueryError, match="partitions="):
        connect_to(sandbox).model("US_EMPLOYMENT").facts(partitions=partitions)


@pytest.mark.parametrize("option", [{"limit": 5}, {"order_by": ["Date"]}])
def test_a_limit_or_an_order_has_one_stream(sandbox: Sandbox, connect_to: ConnectTo, option: dict[str, Any]) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    with pytest.raises(QueryError, match=f"{next(iter(option))} and partitions"):
        model.facts(partitions=3, **option).fetch()
    auto = model.facts(partitions="auto", page_size=100, **option).fetch()
    assert auto.arrow().equals(model.facts(page_size=100, **option).fetch().arrow())


def test_aggregations_are_split_by_kept_dimensions_only(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    whole = model.facts(dims=["Date", "Version"]).fetch().polars(decimals=True).sort("Date", "Version")
    split = model.facts(dims=["Date", "Version"], partitions=["Date"], page_size=20).fetch()
    assert split.polars(decimals=True).sort("Date", "Version").equals(whole)
    with pytest.raises(QueryError, match="'Sector' is not a dimension of the answer"):
        model.facts(dims=["Date", "Version"], partitions=["Sector"]).fetch()
    assert len(model.facts(dims=["Version"], partitions=2, check_count=False).fetch()) == 2


def test_all_streams_together_stay_within_their_number(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    sandbox.add_model(model_of(rows_for_all_months()))
    result = connect_to(sandbox, streams=2).model("SPLIT").facts(partitions=16, page_size=7).fetch()
    assert len(result) == 250
    assert sandbox.counts["tokens_issued"] == 1


# -- pages by their numbers ------------------------------------------------------------------------------------------


def test_packages_are_asked_for_by_number_and_give_the_rows_in_their_order(
    sandbox: Sandbox, connect_to: ConnectTo
) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    single = model.facts(page_size=500).fetch()
    asked = len(sandbox.log)
    split = model.facts(page_size=500, partitions="package").fetch()
    assert split.arrow().equals(single.arrow())
    packages = [entry.query.rpartition("package=")[2] for entry in sandbox.log[asked:] if "package=" in entry.query]
    assert sorted(packages) == ["1", "2", "3", "4", "5", "6", "7"]


def test_packages_smaller_than_asked_for_are_followed_by_links(connect_to: ConnectTo) -> None:
    with sacnb.sandbox.start(max_page_size=400) as sandbox:
        model = connect_to(sandbox).model("US_EMPLOYMENT")
        single = model.facts().fetch().polars(decimals=True)
        split = model.facts(page_size=1000, partitions="package").fetch().polars(decimals=True)
        assert split.equals(single)


def test_packages_are_always_compared_with_the_count(sandbox: Sandbox, connect_to: ConnectTo) -> None:
    facts = connect_to(sandbox).model("US_EMPLOYMENT").facts(page_size=500, partitions="package", check_count=False)
    sandbox.misbehave("rows_missing", times=1, after=1)
    with pytest.raises(BadAnswer, match="announced 3,420 rows"):
        facts.fetch()


# -- groups ----------------------------------------------------------------------------------------------------------


def text_column(name: str = "x") -> Any:
    from sacnb._odata.schema import Column as SchemaColumn

    return SchemaColumn(name, "Edm.String", "dimension")


@pytest.mark.parametrize(
    ("members", "bounds"),
    [
        (["202401", "202402", "#", "202403", "202404"], ("202402", "202403", "202404")),
        (["P-10", "P-11", "P-12", "P-13", "Q", "R"], ("P-11", "P-12", "P-13")),
        (["1", "10", "2", "20"], ("2",)),  # of one length only; the others are in between, wherever that is
        (["A1", "B2", "C3", "D4"], None),  # letters may sort in any way
        (["Nord", "Süd"], None),
        (["202401"], None),
        ([], None),
    ],
)
def test_bounds_differ_in_digits_at_the_same_places_only(members: list[str], bounds: tuple[str, ...] | None) -> None:
    found = member_groups(text_column(), members, 4)
    assert (found.bounds if isinstance(found, Ranges) else None) == bounds


@given(st.lists(st.sampled_from([*REGIONS, "a", "b", "c", "d"]), unique=True), st.integers(2, 20))
def test_lists_have_every_member_once_but_those_that_cannot_be_sent(names: list[str], most: int) -> None:
    found = member_groups(text_column(), names, most)
    sendable = sorted(name for name in names if "\n" not in name)
    if len(sendable) < 2:
        assert found is None
        return
    assert isinstance(found, Lists)
    assert [member for one in found.members for member in one] == sendable
    assert found.count == min(most, len(sendable))
    sizes = [len(one) for one in found.members]
    assert max(sizes) - min(sizes) <= 1


@given(st.sets(st.integers(0, 999), min_size=2), st.integers(2, 30), st.integers(0, 999), st.data())
def test_every_value_is_in_exactly_one_range(numbers: set[int], most: int, value: int, data: st.DataObject) -> None:
    found = member_groups(text_column(), [f"{number:03d}" for number in numbers], most)
    assert isinstance(found, Ranges)
    edges = [None, *found.bounds, None]
    cuts = sorted(data.draw(st.sets(st.integers(1, found.count - 1), max_size=5))) if found.count > 1 else []
    inside = 0
    for first, end in zip([0, *cuts], [*cuts, found.count], strict=True):
        low, high = edges[first], edges[end]
        text = f"{value:03d}"
        inside += (low is None or text >= str(low)) and (high is None or text < str(high))
        if low is not None or high is not None:
            assert repr(found.where(first, end)).count("col(") == (low is not None) + (high is not None)
    assert inside == 1
