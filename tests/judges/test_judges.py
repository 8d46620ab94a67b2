"""The judges that need nothing but the project's environment, in a small seeded form; all of them: ``make judges``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

import sacnb

from .conditions import ODATA, POLARS, AllOf, AnyOf, Compare, Match, Not, Row
from .metadata_judge import judge_generated
from .reading import NotAFilter, filter_of, read_filter
from .rows import TYPES
from .sandboxed import judge_filters, judge_scans, judge_sql, judged, judged_rows
from .verdict import Verdict

pytestmark = pytest.mark.filterwarnings("ignore::sacnb.errors.PrecisionWarning")


@pytest.fixture(scope="module")
def rows() -> Sequence[Row]:
    return judged_rows(7)


@pytest.fixture(scope="module")
def tenant(rows: Sequence[Row], tmp_path_factory: pytest.TempPathFactory) -> Iterator[sacnb.Tenant]:
    with judged(rows, tmp_path_factory.mktemp("cache")) as tenant:
        yield tenant


def passes(verdict: Verdict, tried: int) -> bool:
    assert not verdict.wrong, str(verdict)
    return verdict.tried == tried


def test_filters_are_written_as_they_are_meant(tenant: sacnb.Tenant, rows: Sequence[Row]) -> None:
    assert passes(judge_filters(tenant, rows, seed=11, count=150, answered=False), 150)


def test_filters_are_answered_by_the_sandbox_as_plain_python_answers_them(
    tenant: sacnb.Tenant, rows: Sequence[Row]
) -> None:
    assert passes(judge_filters(tenant, rows, seed=12, count=25), 25)


def test_scans_give_the_rows_that_plain_python_gives(tenant: sacnb.Tenant, rows: Sequence[Row]) -> None:
    assert passes(judge_scans(tenant, rows, seed=13, count=25), 25)


def test_sql_gives_the_rows_that_plain_python_gives(tenant: sacnb.Tenant, rows: Sequence[Row]) -> None:
    assert passes(judge_sql(tenant, rows, seed=14, count=15), 15)


def test_metadata_is_read_as_it_was_declared() -> None:
    assert passes(judge_generated(seed=15, count=150), 150)


def test_the_judges_can_say_no(tenant: sacnb.Tenant, rows: Sequence[Row]) -> None:
    other = [{**row, "Region": "elsewhere", "Count": None, "Flag": row["Flag"] is None} for row in rows]
    assert judge_filters(tenant, other, seed=11, count=8).wrong
    assert judge_scans(tenant, other, seed=13, count=8).wrong
    assert judge_sql(tenant, other, seed=14, count=8).wrong


@pytest.mark.parametrize(
    ("condition", "by_odata", "by_polars"),
    [
        (Compare("Region", "eq", "a"), False, None),
        (Compare("Region", "ne", "a"), True, None),
        (Compare("Region", "lt", "a"), False, None),
        (Compare("Region", "eq", None), True, None),
        (Compare("Region", "ne", None, null_safe=True), False, False),
        (Match("Region", "contains", "a"), None, None),
        (Not(Match("Region", "contains", "a")), None, None),
        (Not(Compare("Region", "lt", "a")), True, None),
        (AllOf((Match("Region", "contains", "a"), Compare("Count", "eq", 2))), False, False),
        (AnyOf((Match("Region", "contains", "a"), Compare("Count", "eq", 1))), True, True),
        (AnyOf((Match("Region", "contains", "a"), Compare("Count", "eq", 2))), None, None),
        (Compare("Ratio", "gt", 1e300), False, True),
        (Compare("Ratio", "eq", float("nan")), False, True),
    ],
)
def test_unknown_stays_unknown_unless_the_rules_say_otherwise(
    condition: Compare | Match | Not, by_odata: bool | None, by_polars: bool | None
) -> None:
    row = {"Region": None, "Count": 1, "Ratio": float("nan")}
    assert condition.truth(row, ODATA) is by_odata
    assert condition.truth(row, POLARS) is by_polars


@pytest.mark.parametrize(
    "raw",
    [
        "Region%20eq%20a", "Region%20eq%20'a", "Region eq 'a'", "Region%20eq%20'a''", "Count%20eq%20'1'",
        "Region%20eq%201", "not(Flag%20eq%20true)", "Region%20eq%20'a'%20and", "(Region%20eq%20'a'",
        "Count%20eq%201%zz",
        "Region%20is%20null", "contains(Count,'1')", "Region%20eq%20'%23'%20Region%20eq%20'a'",
        "Day%20eq%20'2024-02-29'",
    ],
)  # fmt: skip
def test_the_reader_of_filters_refuses_what_odata_refuses(raw: str) -> None:
    with pytest.raises(NotAFilter):
        read_filter(raw, TYPES)


def test_the_reader_of_filters_puts_and_before_or() -> None:
    url = "http://x/FactData?$select=Id&$filter=Count%20eq%201%20or%20Count%20eq%202%20and%20not%20(Region%20eq%20'a%2Bb')"
    one, two, text = Compare("Count", "eq", 1), Compare("Count", "eq", 2), Compare("Region", "eq", "a+b")
    raw = filter_of(url)
    assert raw is not None
    assert read_filter(raw, TYPES) == AnyOf((one, AllOf((two, Not(text)))))
