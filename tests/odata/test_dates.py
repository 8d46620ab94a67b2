"""Which columns are dates, and at which grain, is read from names and types alone."""

from __future__ import annotations

import pytest

from sacnb._odata.metadata import parse_metadata
from sacnb._odata.schema import Column, Role, date_columns


def text(name: str, role: Role = "dimension") -> Column:
    return Column(name, "Edm.String", role)


@pytest.mark.parametrize(
    ("attributes", "grain"),
    [
        (["CALMONTH"], "month"),
        (["CALYEAR", "CALMONTH", "CALQUARTER"], "month"),
        (["CALYEAR", "CALQUARTER"], "quarter"),
        (["CALYEAR"], "year"),
        (["CALWEEK", "CALYEAR"], "week"),
        (["CALMONTH", "CALDAY", "CALWEEK"], "day"),
        (["calmonth"], "month"),
        (["DATE", "CALMONTH"], "month"),
        (["YEAR", "MONTH"], "month"),
        (["DAY"], "day"),
        (["WEEK"], "week"),
        (["QUARTER"], "quarter"),
        (["ID", "Description"], None),
        ([], None),
    ],
)
def test_the_finest_calendar_attribute_is_the_grain(attributes: list[str], grain: str | None) -> None:
    (found,) = date_columns([text("Date")], {"Date": attributes})
    assert (found.name, found.grain) == ("Date", grain)


@pytest.mark.parametrize(
    ("name", "is_date"),
    [
        ("Date", True),
        ("DATE", True),
        ("date", True),
        ("AddedDate", True),
        ("posting_date", True),
        ("POSTING_DATE", True),
        ("Posting_Date", True),
        ("Date_3z2g5g06m4", True),
        ("AddedDate__5w3m5d06b5", True),
        ("Update", False),
        ("UPDATE", False),
        ("candidate", False),
        ("Dated", False),
        ("Date_population", False),
        ("Sector", False),
    ],
)
def test_a_name_that_says_date_is_enough(name: str, is_date: bool) -> None:
    assert [found.name for found in date_columns([text(name)], {})] == ([name] if is_date else [])


def test_a_calendar_makes_a_date_of_any_name_but_a_year_alone_does_not() -> None:
    found = date_columns([text("Period"), text("Product")], {"Period": ["CALMONTH"], "Product": ["YEAR", "DATE"]})
    assert [(one.name, one.grain) for one in found] == [("Period", "month")]


@pytest.mark.parametrize("edm_type", ["Edm.Date", "Edm.DateTimeOffset"])
def test_typed_dates_are_days_whatever_their_name(edm_type: str) -> None:
    found = date_columns([Column("Booked", edm_type, "attribute")], {})
    assert [(one.name, one.grain) for one in found] == [("Booked", "day")]


@pytest.mark.parametrize("edm_type", ["Edm.Int32", "Edm.Decimal", "Edm.TimeOfDay"])
def test_numbers_and_times_called_date_are_none(edm_type: str) -> None:
    assert date_columns([Column("Date", edm_type, "dimension")], {"Date": ["CALMONTH"]}) == ()


def test_the_likeliest_date_comes_first() -> None:
    columns = [
        Column("Changed", "Edm.DateTimeOffset", "attribute"),
        text("ValidDate"),
        text("AddedDate"),
        text("Date"),
    ]
    found = date_columns(columns, {"AddedDate": ["CALMONTH"]})
    assert [one.name for one in found] == ["Date", "AddedDate", "ValidDate", "Changed"]


def test_the_attributes_come_from_master_data_and_from_the_dimensions_own_set() -> None:
    head = '<Edmx><DataServices><Schema Namespace="sac">'
    facts = (
        '<EntityType Name="FactData"><Key><PropertyRef Name="A_Date"/><PropertyRef Name="B_Date"/>'
        '<PropertyRef Name="B"/></Key><Property Name="A_Date" Type="Edm.String"/>'
        '<Property Name="B_Date" Type="Edm.String"/><Property Name="B" Type="Edm.String"/></EntityType>'
    )
    joined = (
        '<EntityType Name="MasterData"><Property Name="A_Date___CALQUARTER"/><Property Name="CALDAY"/></EntityType>'
    )
    own = (
        '<EntityType Name="B_DateMaster"><Property Name="ID" Type="Edm.String"/>'
        '<Property Name="CALDAY" Type="Edm.String"/></EntityType>'
    )
    body = f"{head}{joined}{facts}{own}</Schema></DataServices></Edmx>".encode()
    found = parse_metadata(body).schema("P").date_columns
    assert [(one.name, one.grain) for one in found] == [("A_Date", "quarter"), ("B_Date", "day")]
