"""Conditions as people type them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from sacnb._odata.schema import Column, Schema
from sacnb._tenant import Tenant
from sacnb._tenant.question import Question, typed_where
from sacnb.errors import QueryError, SacError, UnknownNameError
from sacnb.sandbox import Sandbox

SCHEMA = Schema(
    "SALES",
    "FactData",
    (
        Column("Region", "Edm.String", "dimension"),
        Column("Open", "Edm.Boolean", "attribute"),
        Column("Amount", "Edm.Decimal", "measure"),
        Column("Pieces", "Edm.Int32", "measure"),
    ),
)


@pytest.mark.parametrize(
    ("pairs", "where"),
    [
        ([], {}),
        ([("Region", "31")], {"Region": "31"}),
        ([("Region", "true")], {"Region": "true"}),
        ([("Region", "31"), ("Region", "32"), ("Pieces", "4")], {"Region": ["31", "32"], "Pieces": Decimal(4)}),
        ([("Amount", "0.1")], {"Amount": Decimal("0.1")}),
        ([("Open", "True")], {"Open": True}),
        ([("Open", "false")], {"Open": False}),
    ],
)
def test_each_text_is_read_as_the_type_of_its_column(pairs: list[tuple[str, str]], where: dict[str, Any]) -> None:
    assert typed_where(pairs, SCHEMA) == where


@pytest.mark.parametrize(
    ("pair", "error", "says"),
    [
        (("Regoin", "31"), UnknownNameError, "Did you mean 'Region'"),
        (("Amount", "many"), QueryError, "'many' is not a number"),
        (("Open", "maybe"), QueryError, "expected true or false"),
    ],
)
def test_a_text_that_the_column_cannot_hold_is_refused(pair: tuple[str, str], error: type[SacError], says: str) -> None:
    with pytest.raises(error, match=says):
        typed_where([pair], SCHEMA)


def test_conditions_and_periods_make_the_same_query_as_in_python(
    sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    model = connect_to(sandbox).model("US_EMPLOYMENT")
    facts = Question(where=(("Sector", "31"), ("Sector", "32")), since="2015").facts(model)
    assert facts.cache_key == model.facts(where={"Sector": ["32", "31"]}, since="2015").cache_key
    assert Question().facts(model).cache_key == model.facts().cache_key


def test_a_cached_result_is_found_while_sac_is_unreachable(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    connect_to(sandbox).model("US_EMPLOYMENT").refresh(where={"Sector": "31"})
    sandbox.misbehave("error_503")
    facts = Question(where=(("Sector", "31"),)).facts(connect_to(sandbox).model("US_EMPLOYMENT"))
    assert facts.refresh(announce=lambda _: None).stale
