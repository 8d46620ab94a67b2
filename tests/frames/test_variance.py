"""Plan against actual: exact differences, missing sides, what is added up, and what is good news."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from sacnb._charts.variance import Variance
from sacnb._odata.schema import Schema
from sacnb._results.result import Result
from sacnb.errors import ContractError, MixedAccountsWarning, UnknownNameError

Facts = Callable[..., tuple[pa.Table, Schema]]
PLAN, ACTUAL = "public.Plan", "public.Actual"
BOTH = {"base": PLAN, "against": ACTUAL}


@pytest.fixture
def result(facts: Facts, result_of: Callable[..., Result]) -> Callable[..., Result]:
    def make(columns: list[str], rows: list[list[Any]], **options: Any) -> Result:
        return result_of(*facts(columns, rows, **options))

    return make


def test_differences_are_exact_and_rounded_once(result: Callable[..., Result]) -> None:
    plan, actual = Decimal("413534.2"), Decimal("413534.3000001")
    rows = [[ACTUAL, "A", "413534.3000001"], [PLAN, "A", "413534.2"], [ACTUAL, "B", -1], [PLAN, "B", -3]]
    made = result(["Version", "Region", "Amount"], rows).variance(**BOTH)
    assert made.frame.columns == ["dim_Region", "base", "against", "variance", "relative", "outcome"]
    first, second = made.frame.rows()
    assert first[:5] == ("A", float(plan), float(actual), 0.1000001, float(Fraction(actual - plan) / Fraction(plan)))
    assert first[3] != float(actual) - float(plan)  # what floats would say
    assert second[:5] == ("B", -3.0, -1.0, 2.0, 2 / 3)  # relative to the size of the base


def test_a_side_without_a_row_counts_as_nothing_and_is_said(result: Callable[..., Result]) -> None:
    rows = [[ACTUAL, "new", 5], [PLAN, "gone", 4], [ACTUAL, "zero", 1], [PLAN, "zero", 0]]
    made = result(["Version", "Region", "Amount"], rows).variance(**BOTH)
    assert made.frame.drop("outcome").rows() == [
        ("gone", 4.0, None, -4.0, -1.0),
        ("new", None, 5.0, 5.0, None),
        ("zero", 0.0, 1.0, 1.0, None),
    ]
    assert (
        "1 of 3 have no value in public.Plan and 1 of 3 have no value in public.Actual, which counts as 0." in made.note
    )


def test_what_is_not_compared_by_is_added_up_and_said(result: Callable[..., Result]) -> None:
    rows = [
        [version, month, region, "#", value]
        for version, value in ((ACTUAL, 3), (PLAN, 2), ("public.Forecast", 100))
        for month in ("202401", "202402", "202404")
        for region in "AB"
    ]
    everything = result(["Version", "Date", "Region", "CostCenter", "Amount"], rows)
    made = everything.variance(**BOTH, by="Region")
    assert made.frame.select("dim_Region", "variance").rows() == [("A", 3.0), ("B", 3.0)]
    assert made.note.startswith("Adds up date (3), which is wrong for headcounts")
    assert len(everything.variance(**BOTH)) == 6
    assert "Added up" not in everything.variance(**BOTH).note
    by_quarter = everything.variance(**BOTH, by="Date", grain="quarter")
    assert by_quarter.frame["variance"].to_list() == [4.0, 2.0]
    assert str(by_quarter.frame["date"][1]) == "2024-04-01"
    assert "Each quarter is the sum of its months." in by_quarter.note
    assert everything.variance(**BOTH, by=[]).frame["variance"].to_list() == [6.0]


ACCOUNTS = pl.DataFrame({"id": ["rev", "cost", "cash", "flip"], "accType": ["INC", "EXP", "AST", "INC"]})


@pytest.mark.parametrize(
    ("account", "plan", "actual", "outcome"),
    [
        ("rev", -100, -120, "favourable"),  # a ledger's sign
        ("rev", 100, 120, "favourable"),
        ("rev", -100, -90, "unfavourable"),
        ("cost", 100, 120, "unfavourable"),
        ("cost", -100, -90, "favourable"),
        ("cost", 100, None, "favourable"),
        ("cash", 100, 120, "neutral"),
        ("flip", -100, 120, "neutral"),
        ("rev", 7, 7, "neutral"),
        ("else", 1, 2, "neutral"),
    ],
)
def test_what_is_favourable_follows_from_the_type_of_account(
    result: Callable[..., Result], account: str, plan: int, actual: int | None, outcome: str
) -> None:
    rows = [[PLAN, account, plan], [ACTUAL, "other", 1], *([[ACTUAL, account, actual]] if actual is not None else [])]
    made = result(["Version", "Account", "Amount"], rows).variance(**BOTH, accounts=ACCOUNTS)
    assert made.frame.filter(pl.col("dim_Account") == account)["outcome"].to_list() == [outcome]
    as_mapping = dict(ACCOUNTS.rows())
    assert result(["Version", "Account", "Amount"], rows).variance(**BOTH, accounts=as_mapping).frame.equals(made.frame)


def test_without_types_nothing_is_called_favourable(result: Callable[..., Result]) -> None:
    made = result(["Version", "Region", "Amount"], [[PLAN, "A", 1], [ACTUAL, "A", 2]])
    assert made.variance(**BOTH).frame["outcome"].to_list() == ["neutral"]
    assert "is unknown" in made.variance(**BOTH).note
    assert made.variance(**BOTH, better="higher").frame["outcome"].to_list() == ["favourable"]
    assert made.variance(**BOTH, better="lower").frame["outcome"].to_list() == ["unfavourable"]
    with pytest.raises(UnknownNameError, match="Did you mean 'higher'"):
        made.variance(**BOTH, better="high")  # type: ignore[arg-type]


def test_accounts_that_are_added_up_are_warned_of(result: Callable[..., Result]) -> None:
    rows = [[version, account, "X", 1] for version in (PLAN, ACTUAL) for account in ("rev", "cost")]
    made = result(["Version", "Account", "Region", "Amount"], rows)
    with pytest.warns(MixedAccountsWarning, match="revenue and costs"):
        made.variance(**BOTH, by="Region")
    with pytest.warns(MixedAccountsWarning), pytest.raises(ContractError, match="by the account"):
        made.variance(**BOTH, by="Region", accounts=ACCOUNTS)


def test_unknown_names_are_refused_with_the_nearest(result: Callable[..., Result]) -> None:
    made = result(["Version", "Region", "Amount"], [[PLAN, "A", 1], [ACTUAL, "A", 2]])
    with pytest.raises(UnknownNameError, match=r"version 'public.Plann'.*'public.Plan'"):
        made.variance(base="public.Plann", against=ACTUAL)
    with pytest.raises(UnknownNameError, match="Did you mean 'Region'"):
        made.variance(**BOTH, by="Regio")
    with pytest.raises(UnknownNameError, match="Did you mean 'Amount'"):
        made.variance(**BOTH, measure="Amont")
    with pytest.raises(ContractError, match="are both"):
        made.variance(base=PLAN, against=PLAN)
    with pytest.raises(ContractError, match="needs dates"):
        made.variance(**BOTH, grain="month")
    with pytest.raises(ContractError, match="'Version'"):
        result(["Region", "Amount"], [["A", 1]]).variance(**BOTH)
    with pytest.raises(ContractError, match="id and a type"):
        result(["Version", "Account", "Amount"], [[PLAN, "a", 1], [ACTUAL, "a", 2]]).variance(
            **BOTH, accounts=ACCOUNTS.select("id")
        )


def test_several_measures_are_chosen_from(result: Callable[..., Result]) -> None:
    rows = [[PLAN, "A", 1, 5], [ACTUAL, "A", 2, 9]]
    made = result(["Version", "Region", "Amount", "Price"], rows, measures=("Amount", "Price"))
    assert made.variance(**BOTH, measure="Price").frame["variance"].to_list() == [4.0]
    with pytest.raises(ContractError, match="measure="):
        made.variance(**BOTH)


def sales(result: Callable[..., Result], members: int = 3) -> Variance:
    rows = [[PLAN, f"M{i:02}", 100] for i in range(members)] + [[ACTUAL, f"M{i:02}", 100 + i] for i in range(members)]
    return result(["Version", "Region", "Amount"], rows).variance(**BOTH, by="Region", better="higher")


def test_bars_show_the_largest_first_and_say_the_rest(result: Callable[..., Result]) -> None:
    spec = sales(result).plot(labels={"Region": {"M02": "West"}}).altair.to_dict()
    assert spec["encoding"]["y"]["sort"] == ["West", "M01", "M00"]
    assert spec["encoding"]["color"]["scale"] == {"domain": ["favourable", "neutral"], "range": ["#0072b2", "#767676"]}
    many = sales(result, 30).plot()
    assert len(many.data) == 25
    assert "The 25 largest of 30 members of Region are shown." in many.description
    assert "The largest variances are M29 +29, M28 +28 and M27 +27." in many.description


def test_a_waterfall_goes_from_total_to_total(result: Callable[..., Result]) -> None:
    chart = sales(result, 30).plot("waterfall")
    steps = chart.data
    assert len(steps) == 2 + 15 + 1
    assert (steps["name"][0], steps["name"][-2], steps["name"][-1]) == ("Plan", "Other (15)", "Actual")
    assert steps["end"][0] == steps["begin"][1] == 3000.0
    assert steps["end"][-2] == steps["end"][-1] == 3000.0 + sum(range(30))
    assert steps["end"].to_list()[:-2] == steps["begin"].to_list()[1:-1]
    assert "From 3,000 to 3,435." in chart.description
    assert "The axis does not start at zero." in chart.description
    assert chart.png().startswith(b"\x89PNG")
    from_zero = result(["Version", "Region", "Amount"], [[PLAN, "A", 1], [ACTUAL, "A", 3]])
    spec = from_zero.variance_plot(**BOTH, by="Region", kind="waterfall").altair.to_dict()
    assert spec["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 3]


def test_bars_by_date_keep_their_order(result: Callable[..., Result]) -> None:
    rows = [[v, m, i * k] for v, k in ((PLAN, 1), (ACTUAL, 2)) for i, m in enumerate(("202403", "202401", "202402"))]
    chart = result(["Version", "Date", "Amount"], rows).variance_plot(**BOTH, by="Date", theme="dark")
    assert chart.altair.to_dict()["encoding"]["x"]["sort"] == ["2024-01", "2024-02", "2024-03"]
    assert chart.altair.to_dict()["background"] == "#1e1e1e"


def test_a_chart_of_two_dimensions_is_refused(result: Callable[..., Result]) -> None:
    rows = [[v, a, b, 1] for v in (PLAN, ACTUAL) for a in "AB" for b in "XY"]
    made = result(["Version", "One", "Two", "Amount"], rows).variance(**BOTH)
    with pytest.raises(ContractError, match="One and Two"):
        made.plot()
    with pytest.raises(UnknownNameError, match="'waterfall'"):
        made.plot("water")  # type: ignore[arg-type]


def test_variances_show_as_a_table(result: Callable[..., Result]) -> None:
    made = sales(result)
    assert repr(made).startswith("SALES: Amount, public.Actual against public.Plan\nHigher is favourable.\n")
    assert "<td" in made._repr_html_()
    assert "| M01 |" in made._repr_markdown_()
