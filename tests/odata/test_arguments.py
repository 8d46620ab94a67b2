"""Arguments of public functions come in many kinds and leave in one."""

from __future__ import annotations

import enum
import itertools
from collections import UserString, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacnb._arguments import duration, elements, flag, moment, names, one_of, plain, seconds, text, whole_number
from sacnb._odata.expression import col
from sacnb._odata.schema import Column
from sacnb._odata.where import bounds, from_where
from sacnb.errors import QueryError, SacError


def test_moments_of_pandas_are_those_of_python() -> None:
    at = datetime(2024, 1, 31, 12, 30)  # noqa: DTZ001 - a time of this machine
    assert moment("time", pd.Timestamp(at)) == moment("time", at) == at.astimezone()
    zoned = pd.Timestamp("2024-01-31T12:30", tz="Europe/Berlin")
    assert moment("time", zoned) == datetime(2024, 1, 31, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize("value", [timedelta(minutes=1), 60, np.int64(60), pd.Timedelta("60s"), Decimal(60)])
def test_durations_are_seconds_or_timedeltas(value: object) -> None:
    assert duration("older_than", value) == timedelta(minutes=1)


@pytest.mark.parametrize("value", ["x", -1, float("nan"), 1e300, float("inf"), [], True, date(2024, 1, 1), pd.NaT])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(QueryError, match="older_than must be"):
        duration("older_than", value)


class Dimension(enum.StrEnum):
    VERSION = "Version"
    DATE = "Date"


class OldSequence:
    """A sequence without ``__iter__``, as classes of the time before Python 2.2 have it."""

    def __init__(self, of: list[str]) -> None:
        self._of = of

    def __getitem__(self, at: int) -> str:
        return self._of[at]


ITERABLES: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda of: (one for one in of),
    "filter": lambda of: filter(None, of),
    "map": lambda of: map(str, of),
    "chain": itertools.chain,
    "dict keys": lambda of: dict.fromkeys(of).keys(),
    "dict values": lambda of: dict(enumerate(of)).values(),
    "deque": deque,
    "sequence without __iter__": OldSequence,
    "numpy": np.array,
    "numpy objects": lambda of: np.array(of, dtype=object),
    "pandas Series": lambda of: pd.Series(of, dtype="string"),
    "pandas Index": lambda of: pd.Index(of, dtype=object),
    "pandas Categorical": pd.Categorical,
    "polars Series": lambda of: pl.Series(of, dtype=pl.String),
    "polars Categorical": lambda of: pl.Series(of, dtype=pl.Categorical),
    "pyarrow Array": lambda of: pa.array(of, pa.string()),
    "pyarrow ChunkedArray": lambda of: pa.chunked_array([of], pa.string()),
}
# numpy cuts NUL off the end of a text, and has a type of its own for no text at all.
NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True, min_size=1)


@given(of=NAMES)
@settings(max_examples=25)
def test_names_are_the_same_in_every_kind_of_iterable(of: list[str]) -> None:
    for kind, build in ITERABLES.items():
        found = names("dims", build(of))
        assert found == tuple(of), kind
        assert {type(one) for one in found} == {str}, kind


@given(of=NAMES)
@settings(max_examples=25)
def test_sets_have_one_order_in_every_process(of: list[str]) -> None:
    assert names("dims", set(of)) == names("dims", frozenset(reversed(of))) == tuple(sorted(of, key=repr))


@pytest.mark.parametrize(
    "value", ["Version", np.str_("Version"), Dimension.VERSION, np.array("Version"), pa.scalar("Version")]
)
def test_one_text_is_one_name(value: Any) -> None:
    for found in (*(names("dims", value) or ()), text("date", value)):
        assert found == "Version"
        assert type(found) is str


def test_an_enumeration_is_a_list_of_its_values() -> None:
    assert names("dims", Dimension) == ("Version", "Date")


def test_nothing_stays_nothing_and_an_empty_list_an_empty_list() -> None:
    assert {names("dims", None), text("date", None), whole_number("limit", None), seconds("max_age_s", None)} == {None}
    assert names("dims", []) == names("dims", np.array([])) == names("dims", iter(())) == ()


@pytest.mark.parametrize(
    "value",
    [
        3,
        True,
        2.5,
        b"Version",
        bytearray(b"V"),
        object(),
        {"Version": 1},
        [["Version"]],
        ["Version", None],
        [b"V"],
        ["Version", float("nan")],
        [1],
        np.array([1.5]),
        np.array([["Version"]]),
        pd.DataFrame({"Version": []}),
        pl.DataFrame({"Version": ["a"]}),
        pl.LazyFrame({"Version": ["a"]}),
        pa.table({"Version": ["a"]}),
        pl.col("Version"),
        col("Version"),
        pd.NA,
        pd.NaT,
        pd.Series(["Version", None], dtype="string"),
        pa.array(["Version", None]),
        str,
        len,
        datetime.now(UTC),
        UserString("Version"),
        itertools.count(),
        itertools.repeat("Version"),
        np.ma.masked,
        range(3),
        Column("Version", "Edm.String", "dimension"),
        Exception("x"),
        1j,
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}",
)
def test_what_holds_no_names_is_a_typed_error_that_names_the_argument(value: Any) -> None:
    with pytest.raises(QueryError, match="dims"):
        names("dims", value)


SCALARS: list[tuple[Any, Any]] = [
    (np.int8(7), 7),
    (np.uint64(2**63), 2**63),
    (np.float64(0.1), 0.1),
    (np.bool_(True), True),
    (np.bytes_(b"a"), b"a"),
    (np.datetime64("2024-01-31"), date(2024, 1, 31)),
    (np.datetime64("2024-01-31T08:00"), datetime.fromisoformat("2024-01-31T08:00")),
    (np.datetime64("2024-01-31T08:00", "ns"), datetime.fromisoformat("2024-01-31T08:00")),
    (np.timedelta64(5, "D"), timedelta(5)),
    (np.timedelta64(5000, "ns"), timedelta(microseconds=5)),
    (pa.scalar(Decimal("1.5")), Decimal("1.5")),
    (pa.scalar(None), None),
    (np.array(5), 5),
    (Dimension.DATE, "Date"),
]


@pytest.mark.parametrize(("value", "expected"), SCALARS, ids=repr)
def test_scalars_become_pythons_own(value: Any, expected: Any) -> None:
    found = plain(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "value",
    [np.datetime64("NaT"), np.timedelta64(1, "M"), np.datetime64("2024-01-31T08:00:00.000000001"), np.ma.masked],
)
def test_scalars_that_python_cannot_hold_are_refused_in_a_filter(value: Any) -> None:
    for build in (
        lambda: col("Day") == value,
        lambda: from_where({"Day": value}),
        lambda: from_where({"Day": [value]}),
    ):
        with pytest.raises(QueryError, match="'Day'"):
            build()


@pytest.mark.parametrize(
    "value", [3, 3.0, np.int64(3), np.uint8(3), np.float32(3), Decimal(3), np.array(3), pa.scalar(3)]
)
def test_whole_numbers_come_in_many_types(value: Any) -> None:
    found = whole_number("limit", value)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.bool_(True),
        "3",
        2.5,
        -1,
        np.int64(-1),
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("1e999999999"),
        2**63,
        [3],
        pd.NA,
        pd.NaT,
        3j,
        b"3",
    ],
)
def test_what_is_no_number_of_rows_is_a_typed_error(value: Any) -> None:
    with pytest.raises(QueryError, match=r"^limit must be a whole number of at least 0, got "):
        whole_number("limit", value)


def test_zero_rows_a_page_are_as_few_as_minus_one() -> None:
    for value in (0, -1):
        with pytest.raises(QueryError, match=rf"page_size must be a whole number of at least 1, got {value}"):
            whole_number("page_size", value, least=1)


@pytest.mark.parametrize(
    "value", [90, 90.0, np.float64(90), np.timedelta64(90, "s"), timedelta(seconds=90), Decimal(90)]
)
def test_seconds_come_as_numbers_or_durations(value: Any) -> None:
    assert seconds("max_age_s", value) == 90.0


@pytest.mark.parametrize(
    "value", [True, "90", -1, float("nan"), Decimal("NaN"), Decimal("sNaN"), timedelta(-1), [90], pd.NA]
)
def test_what_is_no_number_of_seconds_is_a_typed_error(value: Any) -> None:
    with pytest.raises(QueryError, match=r"^max_age_s must be"):
        seconds("max_age_s", value)


def test_flags_are_true_or_false() -> None:
    assert [flag("strict", one) for one in (True, np.bool_(True), 1, False, 0, np.False_)] == [True] * 3 + [False] * 3
    for value in ("no", None, 2, [], float("nan"), pd.NA, np.array([True, False])):
        with pytest.raises(QueryError, match=r"^strict must be True or False, got "):
            flag("strict", value)


def test_a_choice_is_one_of_the_allowed_texts() -> None:
    assert one_of("repeated", np.str_("sum"), ("sum", "keep")) == "sum"
    for value in ("total", 1, ["sum"], b"sum"):
        with pytest.raises(QueryError, match="must be 'sum' or 'keep', got"):
            one_of("repeated", value, ("sum", "keep"))


@given(of=st.lists(st.integers(-(2**60), 2**60), unique=True, min_size=1))
@settings(max_examples=25)
def test_a_filter_reads_every_kind_of_iterable_once(of: list[int]) -> None:
    expected = from_where({"Employees": list(of)})
    kinds: list[Any] = [
        tuple(of),
        iter(of),
        (one for one in of),
        map(int, of),
        np.array(of),
        pd.Series(of),
        pd.Index(of),
        pl.Series(of),
        pa.array(of),
        dict.fromkeys(of).keys(),
        deque(of),
    ]
    for kind in kinds:
        found = from_where({"Employees": kind})
        assert found == expected
        assert found == col("Employees").is_in(of)


ARGUMENTS: dict[str, Callable[[Any], object]] = {
    "names": lambda value: names("dims", value),
    "elements": lambda value: elements("where", value),
    "text": lambda value: text("date", value),
    "whole_number": lambda value: whole_number("limit", value),
    "seconds": lambda value: seconds("max_age_s", value),
    "flag": lambda value: flag("strict", value),
    "one_of": lambda value: one_of("repeated", value, ("sum", "keep")),
    "where": from_where,
    "where value": lambda value: from_where({"Sector": value}),
    "is_in": lambda value: col("Sector").is_in(value),
    "compared": lambda value: col("Sector") == value,
    "between": lambda value: col("Sector").between(value, value),
    "contains": lambda value: col("Sector").contains(value),
    "col": col,
    "since": lambda value: bounds(Column("Date", "Edm.String", "dimension"), value, None, "month"),
    "until": lambda value: bounds(Column("Day", "Edm.Date", "dimension"), None, value, "day"),
}
ANYTHING = st.deferred(
    lambda: st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.decimals(),
        st.dates(),
        st.datetimes(),
        st.timedeltas(),
        st.complex_numbers(),
        st.sampled_from([one for one, _ in SCALARS]),
        st.sampled_from([np.ma.masked, pd.NA, pd.NaT, np.datetime64("NaT"), pl.col("x"), col("x"), object(), int, ...]),
        st.lists(ANYTHING, max_size=3).flatmap(lambda of: st.sampled_from([of, tuple(of), iter(of), deque(of)])),
        st.lists(st.one_of(st.text(), st.none(), st.integers(-9, 9)), max_size=3).map(lambda of: np.array(of, object)),
        st.lists(st.floats(), max_size=3).flatmap(
            lambda of: st.sampled_from([np.array(of), pd.Series(of), pl.Series(of, dtype=pl.Float64)])
        ),
        st.dictionaries(st.text(), st.integers(), max_size=2),
    )
)


@given(name=st.sampled_from(sorted(ARGUMENTS)), value=ANYTHING)
@settings(max_examples=max(60, settings.default.max_examples))
def test_every_argument_is_understood_or_refused_with_an_error_of_ours(name: str, value: Any) -> None:
    try:
        ARGUMENTS[name](value)
    except SacError as error:
        assert str(error)  # noqa: PT017 - only the type and that it says something
