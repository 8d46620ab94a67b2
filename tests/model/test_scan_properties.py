"""The same rows with and without push-down, for expressions that nobody would think of."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sacnb.sandbox
from sacnb._settings import Settings
from sacnb._tenant import Model
from sacnb._tenant.connector import connect_with
from sacnb.sandbox import Sandbox

pytestmark = [  # sums are not the point here
    pytest.mark.filterwarnings("ignore::sacnb.errors.MixedAccountsWarning"),
]

MODELS: Final = ("PLANNING", "EDM_TYPES", "SCALE")
NAMES: Final = {
    "PLANNING": ["Version", "Date", "Account", "CostCenter", "Region", "SignedData"],
    "EDM_TYPES": [
        "Id", "Boolean", "Byte", "Int16", "Int64", "Single", "Double", "Decimal", "String", "Date", "TimeOfDay",
        "DateTimeOffset", "Duration", "Guid",
    ],
    "SCALE": ["Version", "Date", "Region", "Channel", "Product", "Customer", "Amount", "Quantity"],
}  # fmt: skip
# What is compared with beside the values that are there: near them, or awkward in a filter.
BESIDE: Final[dict[type, list[Any]]] = {
    str: ["#", "", "O'Hare", "Pacific West ", "Pacific West", "50%", "zürich", "2010", "201506", "2015-06", "\\", "日"],
    float: [0.0, 0.1, -0.5, 1e9, 1e20, float("inf"), float("nan")],
    int: [0, 1, 7, -1],
    Decimal: [Decimal("0.1"), Decimal(7)],
    date: [date(2000, 1, 1)],
    datetime: [datetime(2000, 1, 1, tzinfo=UTC)],
    timedelta: [timedelta(0)],
}

Side = tuple[Sandbox, Model, pl.DataFrame]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, bool], Side]]:
    """Each model as it is asked, and all its rows as a frame: by name, with decimals or without."""
    environ = {"SAC_TENANT_URL": "sandbox", "SAC_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    settings = Settings.resolve(environ=environ, page_size=700)
    frames: dict[tuple[str, bool], pl.DataFrame] = {}
    with (
        sacnb.sandbox.start(scale_rows=2000) as sandbox,
        connect_with(settings, sandbox=sandbox) as tenant,
    ):
        models = {name: tenant.model(name) for name in MODELS}

        def side(name: str, decimals: bool) -> Side:
            if (name, decimals) not in frames:
                frames[name, decimals] = models[name].facts().fetch().polars(decimals=decimals)
            return sandbox, models[name], frames[name, decimals]

        yield side


def values_of(frame: pl.DataFrame, name: str) -> st.SearchStrategy[Any]:
    """Values of a column, some that are not there, and null."""
    there = frame[name].drop_nulls().unique(maintain_order=True).to_list()
    some = random.Random(7).sample(there, min(len(there), 20))
    return st.sampled_from([*some, *BESIDE.get(type(there[0]), []), None])


def condition_on(frame: pl.DataFrame, name: str) -> st.SearchStrategy[pl.Expr]:
    dtype = frame.schema[name]
    values = values_of(frame, name)
    typed = values.map(pl.lit)
    made = [
        st.builds(
            lambda sign, value: sign(pl.col(name), value),
            st.sampled_from([operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]),
            typed,
        ),
        st.builds(
            lambda low, high, closed: pl.col(name).is_between(low, high, closed=closed),
            typed, typed, st.sampled_from(["both", "left", "right", "none"]),
        ),
        typed.map(lambda value: pl.col(name).eq_missing(value)),
        typed.map(lambda value: pl.col(name).ne_missing(value)),
        st.sampled_from([pl.col(name).is_null(), pl.col(name).is_not_null()]),
        st.builds(
            lambda members, nulls_equal: pl.col(name).is_in(members, nulls_equal=nulls_equal),
            st.lists(values, max_size=4), st.booleans(),
        ),
    ]  # fmt: skip
    if dtype == pl.Boolean:
        made.append(st.just(pl.col(name)))
    if dtype == pl.String:
        ways = st.sampled_from(["starts_with", "ends_with"])
        places = st.integers(0, 4)
        parts = st.builds(lambda text, at, length: (text or "")[at : at + length], values, places, places)
        made += [
            st.builds(lambda way, part: getattr(pl.col(name).str, way)(part), ways, parts),
            parts.map(lambda part: pl.col(name).str.contains(part, literal=True)),
            st.sampled_from([
                pl.col(name).str.contains("^[A-Z0-9]"),
                pl.col(name).str.len_chars() > 4,
                pl.col(name).cast(pl.Int64, strict=False) > 201506,
                pl.col(name).str.to_uppercase() == "O'HARE",
            ]),
        ]  # fmt: skip
    if dtype.is_numeric():
        made.append(
            st.sampled_from([pl.col(name).abs() > 5, pl.col(name) * 2 < 20, pl.col(name).cast(pl.String) == "7"])
        )
    return st.one_of(made)


def predicates(frame: pl.DataFrame, names: list[str]) -> st.SearchStrategy[pl.Expr]:
    return st.recursive(
        st.sampled_from(names).flatmap(lambda name: condition_on(frame, name)),
        lambda inner: st.one_of(
            st.builds(operator.and_, inner, inner),
            st.builds(operator.or_, inner, inner),
            inner.map(operator.invert),
        ),
        max_leaves=4,
    )


@pytest.mark.filterwarnings("ignore:.* several versions of '(PLANNING|SCALE)':sacnb.errors.MixedVersionsWarning")
@pytest.mark.filterwarnings("ignore::sacnb.errors.PrecisionWarning")
@pytest.mark.parametrize("name", MODELS)
@given(data=st.data(), decimals=st.booleans())
def test_push_down_changes_no_row(
    sides: Callable[[str, bool], Side], name: str, decimals: bool, data: st.DataObject
) -> None:
    _, model, frame = sides(name, decimals)
    predicate = data.draw(predicates(frame, NAMES[name]), label="predicate")
    columns = data.draw(st.lists(st.sampled_from(frame.columns), min_size=1, unique=True), label="columns")
    rows = data.draw(st.sampled_from([None, 0, 1, 5, 1000]), label="rows")
    limit_first = data.draw(st.booleans(), label="limit first")

    def steps(lazy: pl.LazyFrame) -> pl.DataFrame:
        if rows is not None and limit_first:
            lazy = lazy.head(rows)
        lazy = lazy.filter(predicate).select(columns)
        return (lazy if rows is None or limit_first else lazy.head(rows)).collect()

    assert_frame_equal(steps(model.scan(decimals=decimals)), steps(frame.lazy()), check_exact=True)


@pytest.mark.filterwarnings("ignore::sacnb.errors.PrecisionWarning")
@pytest.mark.parametrize(
    ("name", "predicate", "sent"),
    [
        ("PLANNING", pl.col("Region") == "#", "Region%20eq%20'%23'"),
        ("PLANNING", (pl.col("Date") >= "202407") & (pl.col("SignedData") > 0), "SignedData%20gt%200"),
        ("SCALE", pl.col("Region") == "Pacific West ", "Region%20eq%20'Pacific%20West%20'"),
        ("SCALE", pl.col("Region").is_in(["O'Hare", "50% + tax & duty = a/b?c;d"]), "O''Hare"),
        ("SCALE", pl.col("Region").str.starts_with("🚀"), "startswith(Region,'%F0%9F%9A%80')"),
        ("EDM_TYPES", pl.col("Boolean") & (pl.col("Id") < 30), "Boolean%20eq%20true"),
        ("EDM_TYPES", pl.col("Date") == date(2024, 2, 29), "Date%20eq%202024-02-29"),
        ("EDM_TYPES", pl.col("Decimal") == 0.1, "Decimal%20ge%200.0999999"),
    ],
)
def test_the_filter_reaches_the_server_and_fewer_rows_come_back(
    sides: Callable[[str, bool], Side], name: str, predicate: pl.Expr, sent: str
) -> None:
    sandbox, model, frame = sides(name, False)
    before = len(sandbox.log)
    found = model.scan().filter(predicate).collect()
    asked = [
        entry for entry in sandbox.log[before:] if entry.path.endswith("/FactData") and "$top=0" not in entry.query
    ]
    assert sent in asked[0].query
    assert 0 < found.height <= sum(entry.rows for entry in asked) < frame.height
    assert_frame_equal(found, frame.filter(predicate))
