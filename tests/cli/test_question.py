"""The options that select facts make the same query as the arguments in Python."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sacnb._odata.where import under
from sacnb._tenant import Model, Tenant
from sacnb._tenant.question import Question
from sacnb.cli.question import question_options
from sacnb.errors import QueryError, UnknownNameError
from sacnb.sandbox import Sandbox

ConnectTo = Callable[..., Tenant]


@click.command()
@question_options
@click.pass_context
def ask(ctx: click.Context, question: dict[str, Any]) -> None:
    ctx.obj.append(Question(**question))


def parsed(*args: str) -> Question:
    heard: list[Question] = []
    result = CliRunner().invoke(ask, list(args), obj=heard)
    assert result.exit_code == 0, result.output
    return heard[0]


@pytest.fixture
def jobs(sandbox: Sandbox, connect_to: ConnectTo) -> Model:
    return connect_to(sandbox).model("US_EMPLOYMENT")


@pytest.fixture
def types(sandbox: Sandbox, connect_to: ConnectTo) -> Model:
    return connect_to(sandbox).model("EDM_TYPES")


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ([], {}),
        (["--where", "Version=public.Actual"], {"where": {"Version": "public.Actual"}}),
        (
            ["--where", "Sector=31", "--where", "Version=public.Plan", "--where", "Sector=32"],
            {"where": {"Sector": ["31", "32"], "Version": "public.Plan"}},
        ),
        (["--where", "Sector=a=b"], {"where": {"Sector": "a=b"}}),
        (["--where", "Sector="], {"where": {"Sector": ""}}),
        (["--where", "Sector=O'Hare, 100 %"], {"where": {"Sector": "O'Hare, 100 %"}}),
        (["--under", "Sector=30"], {"where": {"Sector": under("30")}}),
        (["--under", "Sector=30", "--under", "Sector=20"], {"where": {"Sector": [under("30"), under("20")]}}),
        (["--since", "2010", "--until", "2011-Q2"], {"since": "2010", "until": "2011-Q2"}),
        (
            ["--since", "2010-03", "--where", "Sector=31", "--date", "Date"],
            {"since": "2010-03", "where": {"Sector": "31"}, "date": "Date"},
        ),
        (["--dims", "Date,Sector"], {"dims": ["Date", "Sector"]}),
        (["--dims", "Date", "--dims", "Sector"], {"dims": ["Date", "Sector"]}),
        (["--dims", ""], {"dims": []}),
        (["--measures", "Employees", "--dims", "Date"], {"measures": ["Employees"], "dims": ["Date"]}),
        (["--no-check-count"], {"check_count": False}),
        (["--repeated", "keep"], {"repeated": "keep"}),
    ],
)
def test_the_query_is_that_of_the_library(typed: list[str], arguments: dict[str, Any], jobs: Model) -> None:
    ours, theirs = parsed(*typed).facts(jobs), jobs.facts(**arguments)
    assert ours.query.canonical(ours.schema) == theirs.query.canonical(theirs.schema)
    assert ours.cache_key == theirs.cache_key
    assert (ours.check_count, ours.repeated) == (theirs.check_count, theirs.repeated)


@pytest.mark.parametrize("text", ["Version", "=public.Actual", ""])
def test_a_filter_without_column_or_value_is_refused_with_an_example(text: str) -> None:
    result = CliRunner().invoke(ask, ["--where", text], obj=[])
    assert result.exit_code == 2
    assert "--where Version=public.Actual" in result.stderr


def column_of(model: Model, edm_type: str) -> str:
    return next(column.name for column in model.schema.columns if column.edm_type == edm_type)


@pytest.mark.parametrize(
    ("edm_type", "text", "value"),
    [
        ("Edm.Int32", "7", 7),
        ("Edm.Decimal", "1.50", Decimal("1.5")),
        ("Edm.Double", "-2.5e3", -2500.0),
        ("Edm.Boolean", "True", True),
        ("Edm.Boolean", "false", False),
        ("Edm.Date", "2010-01-31", "2010-01-31"),
        ("Edm.String", "7", "7"),
    ],
)
def test_a_value_is_read_as_its_columns_type(edm_type: str, text: str, value: object, types: Model) -> None:
    name = column_of(types, edm_type)
    ours, theirs = parsed("--where", f"{name}={text}").facts(types), types.facts(where={name: value})
    assert ours.query.canonical(ours.schema) == theirs.query.canonical(theirs.schema)


@pytest.mark.parametrize(
    ("edm_type", "text", "expected"),
    [
        ("Edm.Int32", "seven", "not a number"),
        ("Edm.Int32", "7.5", "whole number"),
        ("Edm.Boolean", "yes", "expected true or false"),
        ("Edm.Date", "January", "does not fit"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_before_anything_is_asked(
    edm_type: str, text: str, expected: str, types: Model
) -> None:
    with pytest.raises(QueryError, match=expected):
        parsed("--where", f"{column_of(types, edm_type)}={text}").facts(types)


def test_a_column_that_is_not_there_gets_the_nearest(jobs: Model) -> None:
    with pytest.raises(UnknownNameError, match="'Sector'"):
        parsed("--where", "Sektor=31").facts(jobs)
