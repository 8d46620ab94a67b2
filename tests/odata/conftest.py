"""A schema with every kind of column, the published samples, and a judge that applies a filter to a row in Python."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sacnb._odata.expression import And, Comparison, Expression, Membership, Not, Or, TextMatch
from sacnb._odata.schema import Column, DateColumn, Schema

_COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_MATCH: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def _judge(expression: Expression, row: Mapping[str, Any]) -> bool:
    """Whether a row is kept, by the rules of OData 4.0 for nulls: ``eq`` and ``ne`` know them, the others are false."""
    match expression:
        case Comparison(column, sign, value):
            if sign not in ("eq", "ne") and (row[column] is None or value is None):
                return False
            return bool(_COMPARE[sign](row[column], value))
        case Membership(column, values):
            return row[column] in values
        case TextMatch(column, function, text):
            return row[column] is not None and _MATCH[function](row[column], text)
        case Not(operand):
            return not _judge(operand, row)
        case And(operands):
            return all(_judge(one, row) for one in operands)
        case Or(operands):
            return any(_judge(one, row) for one in operands)
    raise AssertionError(expression)


@pytest.fixture(scope="session")
def judge() -> Callable[[Expression, Mapping[str, Any]], bool]:
    return _judge


@pytest.fixture(scope="session")
def samples() -> Path:
    return Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Two text dimensions and a date as keys, two measures, and an attribute of every other type."""
    attributes = {
        "Note": "Edm.String",
        "Flag": "Edm.Boolean",
        "Day": "Edm.Date",
        "Instant": "Edm.DateTimeOffset",
        "Clock": "Edm.TimeOfDay",
        "Lasts": "Edm.Duration",
        "Id": "Edm.Guid",
        "Blob": "Edm.Binary",
        "Odd": "Edm.Fancy",
        "Color": "sac.Color",
        "Tags": "Collection(Edm.String)",
    }
    return Schema(
        provider_id="US_EMPLOYMENT",
        entity_set="FactData",
        columns=(
            Column("Version", "Edm.String", "dimension"),
            Column("Date", "Edm.String", "dimension"),
            Column("Sector", "Edm.String", "dimension"),
            Column("Employees", "Edm.Decimal", "measure", precision=31, scale=7),
            Column("Rate", "Edm.Double", "measure"),
            Column("Small", "Edm.Single", "measure"),
            Column("Byte", "Edm.Byte", "measure"),
            Column("SByte", "Edm.SByte", "measure"),
            Column("Int16", "Edm.Int16", "measure"),
            Column("Int32", "Edm.Int32", "measure"),
            Column("Int64", "Edm.Int64", "measure"),
            *(Column(name, edm_type, "attribute") for name, edm_type in attributes.items()),
        ),
        date_columns=(DateColumn("Date", "month"), DateColumn("Day", "day"), DateColumn("Instant", "day")),
    )
