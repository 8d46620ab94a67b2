"""The options of ``format("sacnb")`` and Spark's filters, without Spark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from sacnb._odata.query import to_odata
from sacnb._odata.schema import Column, Schema
from sacnb._pushdown.translate import sift
from sacnb.errors import QueryError
from sacnb.spark.filters import condition
from sacnb.spark.options import Options

CANARY = "canary-secret$Zm9v="


@pytest.mark.parametrize(
    "name", ["clientSecret", "SAC_CLIENT_SECRET", "client-secret", "token", "accessToken", "password", "apiKey"]
)
def test_an_option_with_a_secret_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(QueryError, match=name) as caught:
        Options({"provider": "SALES", name: CANARY})
    assert CANARY not in str(caught.value)
    assert "SAC_CLIENT_SECRET where driver and executors start" in (caught.value.hint or "")


def test_options_are_read_however_spark_writes_their_names() -> None:
    options = Options(
        {"PATH": "SALES", "tenanturl": "sandbox", "token_url": "https://acme.example/token", "checkcount": "FALSE"}
        | {"dims": "Date, Region", "partitions": "16", "at-once": "4", "pageSize": "10000"}
    )
    assert options.connect == {
        "tenant_url": "sandbox", "token_url": "https://acme.example/token", "page_size": 10_000,
    }  # fmt: skip
    assert options.model == {"model_id": "SALES"}
    assert options.for_read() == {"dims": ["Date", "Region"], "check_count": False, "partitions": 16, "at_once": 4}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "provider"),
        ({"provider": "A", "partitons": "4"}, "no option 'partitons'. Did you mean 'partitions'"),
        ({"provider": "A", "page_size": "many"}, "'page_size' is 'many'; expected a whole number"),
        ({"provider": "A", "check_count": "maybe"}, "expected true or false"),
        ({"provider": "A", "method": "Update"}, "A read has no option 'method'"),
    ],
)
def test_what_is_no_option_is_refused(given: dict[str, str], match: str) -> None:
    def read() -> None:
        options = Options(given)
        _ = options.connect, options.model, options.for_read()

    with pytest.raises(QueryError, match=match):
        read()


def test_a_write_has_options_of_its_own() -> None:
    options = Options({"provider": "A", "version": "public.Plan", "method": "Update", "confirm": "7"})
    assert options.for_write() == {"version": "public.Plan", "method": "Update", "confirm": 7}
    with pytest.raises(QueryError, match="A write has no option 'dims'"):
        Options({"provider": "A", "dims": "Date"}).for_write()


# -- filters, with classes of Spark's names and fields ---------------------------------------------------------------


@dataclass(frozen=True)
class OfValue:
    attribute: tuple[str, ...]
    value: Any = None


class EqualTo(OfValue): ...


class EqualNullSafe(OfValue): ...


class LessThan(OfValue): ...


class LessThanOrEqual(OfValue): ...


class GreaterThan(OfValue): ...


class GreaterThanOrEqual(OfValue): ...


class In(OfValue): ...


class IsNull(OfValue): ...


class StringStartsWith(OfValue): ...


class StringContains(OfValue): ...


@dataclass(frozen=True)
class Not:
    child: Any


def column(name: str, edm_type: str, role: Any = "dimension", **more: Any) -> Column:
    return Column(name, edm_type, role, **more)


SCHEMA = Schema(
    "M",
    "FactData",
    (
        column("Region", "Edm.String"),
        column("Day", "Edm.Date"),
        column("At", "Edm.DateTimeOffset"),
        column("Count", "Edm.Int32"),
        column("Amount", "Edm.Decimal", "measure", precision=31, scale=7),
        column("Rate", "Edm.Double", "measure"),
    ),
)


@pytest.mark.parametrize(
    ("one", "sent"),
    [
        (EqualTo(("Region",), "EMEA"), "Region eq 'EMEA'"),
        (EqualNullSafe(("Region",), "EMEA"), "Region eq 'EMEA'"),
        (In(("Region",), ("EMEA", "APJ")), "Region eq 'EMEA' or Region eq 'APJ'"),
        (In(("Region",), ("EMEA", None)), "Region eq 'EMEA'"),
        (StringStartsWith(("Region",), "E"), "startswith(Region,'E')"),
        (StringContains(("Region",), "E"), "contains(Region,'E')"),
        (GreaterThanOrEqual(("Day",), date(2024, 1, 31)), "Day ge 2024-01-31"),
        (LessThan(("At",), datetime(2024, 1, 31, tzinfo=UTC)), "At lt 2024-01-31T00:00:00Z"),
        (GreaterThan(("Count",), 7), "Count gt 7"),
        (Not(LessThan(("Count",), 7)), "Count ge 7"),
        (LessThanOrEqual(("Amount",), Decimal("5.0000000")), "Amount le 5"),
        # What SAC may read in another way is left to Spark.
        (Not(EqualTo(("Region",), "EMEA")), None),
        (EqualNullSafe(("Region",), None), None),
        (IsNull(("Region",)), None),
        (GreaterThan(("Region",), "EMEA"), None),
        (EqualTo(("Rate",), 0.5), None),
        (LessThan(("At",), datetime(2024, 1, 31)), None),  # noqa: DTZ001 - Spark's time without a zone
        (EqualTo(("Region", "Name"), "EMEA"), None),
        (EqualTo(("Elsewhere",), "EMEA"), None),
        (EqualTo(("Region",), ""), None),
    ],
    ids=str,
)
def test_spark_s_filters_are_sent_as_far_as_that_loses_no_row(one: Any, sent: str | None) -> None:
    pushed = sift([condition(one)], SCHEMA, decimals=True)
    assert (None if pushed.where is None else to_odata(pushed.where, SCHEMA)) == sent
    assert len(pushed.sent) + len(pushed.kept) == 1
