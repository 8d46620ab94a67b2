"""The shapes of a page by name, and the forms of a page without rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from sacnb.sandbox import OPTIONS
from sacnb.sandbox.misbehaviours import EMPTY_FORMS, PAGE_SHAPES

Row = dict[str, Any]
ROWS = 240


@pytest.fixture(scope="module")
def scale(shared: Any) -> Iterator[tuple[Any, list[Row]]]:
    """A client, and the rows of ``SCALE`` as they are without a misbehaviour."""
    options = {"dollar_top": str(ROWS)}
    yield lambda: shared.data("SCALE", **options), shared.data("SCALE", **options).json(parse_float=Decimal)["value"]
    shared.sandbox.behave()


def _shaped(api: Any, ask: Callable[[], Any], shape: str) -> tuple[str, list[Row]]:
    api.sandbox.misbehave("page_shape", shape=shape)
    try:
        answer = ask()
    finally:
        api.sandbox.behave("page_shape")
    return answer.text, answer.json(parse_float=Decimal)["value"]


def _last(rows: list[Row], **changes: Any) -> list[Row]:
    return [*rows[:-1], {**rows[-1], **changes}]


def _ten_decimals(row: Row) -> Row:
    amount = row["Amount"]
    return row if amount is None else {**row, "Amount": Decimal(f"{Decimal(amount):.9f}1")}


# The rows of a page in each shape, computed from the plain rows.
MEANING: dict[str, Callable[[list[Row]], list[Row]]] = {
    **dict.fromkeys(["blanks", "json_dumps", "pretty", "escaped", "exponents", "exponent_once"], list),
    "extra_members": lambda rows: [{**row, "@odata.id": "FactData(1)", "Foo": [1, {"a": 2}]} for row in rows],
    "number_text_once": lambda rows: _last(rows, Amount=str(rows[-1]["Amount"])),
    "null_key_once": lambda rows: _last(rows, Customer=None),
    "null_keys": lambda rows: [{**row, "Customer": None} if n % 100 == 0 else row for n, row in enumerate(rows)],
    "text_number_once": lambda rows: _last(rows, Customer=12),
    "lone_surrogate_once": lambda rows: _last(rows, Customer="\ud83d"),
    "row_separators": lambda rows: [{**row, "Customer": "},{" + row["Customer"]} for row in rows],
    "more_digits_once": lambda rows: [*rows[:-1], _ten_decimals(rows[-1])],
    "more_digits": lambda rows: [_ten_decimals(row) for row in rows],
    "null_measures": lambda rows: [{**row, "Amount": None} if n % 3 == 0 else row for n, row in enumerate(rows)],
    "measures_left_out": lambda rows: [
        {name: value for name, value in row.items() if name != "Amount" or n % 2} for n, row in enumerate(rows)
    ],
}
WRITTEN = {
    "blanks": '"Date":"',
    "json_dumps": '", "Date": "',
    "pretty": '",\n      "Date": "',
    "escaped": "\\ud83d\\ude80 Orbit",
    "exponents": "E+",
    "exponent_once": "E+",
    "row_separators": '"},{0000',
}


@pytest.mark.parametrize("shape", [shape for shape in PAGE_SHAPES if shape != "deep_value"])
def test_a_shape_changes_text_and_values_as_described(shared: Any, scale: Any, shape: str) -> None:
    ask, plain = scale
    text, rows = _shaped(shared, ask, shape)
    assert rows == MEANING[shape](plain)
    assert WRITTEN.get(shape, "") in text
    assert text != ask().text


def test_a_deep_value_is_deeper_than_python_reads(shared: Any, scale: Any) -> None:
    with pytest.raises(RecursionError):
        _shaped(shared, scale[0], "deep_value")


def test_every_shape_is_described_and_has_a_meaning() -> None:
    assert set(MEANING) | {"deep_value"} == set(PAGE_SHAPES)
    assert all(OPTIONS["shape"].accepts(shape) and text for shape, text in PAGE_SHAPES.items())


@pytest.mark.parametrize("shape", list(MEANING))
def test_a_page_without_rows_or_measures_keeps_its_values(shared: Any, shape: str) -> None:
    for options in [{"dollar_filter": "Sector eq 'none'"}, {"entity_set": "VersionMaster"}]:
        plain = shared.data("US_EMPLOYMENT", **options).json()["value"]
        _, rows = _shaped(shared, lambda options=options: shared.data("US_EMPLOYMENT", **options), shape)
        assert len(rows) == len(plain)


@pytest.mark.parametrize("form", EMPTY_FORMS)
def test_an_empty_page_has_the_form_that_was_chosen(start: Callable[..., Any], form: str) -> None:
    api = start()
    api.sandbox.misbehave("empty_page", form=form)
    answers = [api.data("US_EMPLOYMENT", dollar_filter="Sector eq 'none'", dollar_count="true")]
    api.sandbox.behave()
    api.sandbox.misbehave("empty_last_page", form=form)
    page = api.data("US_EMPLOYMENT", dollar_filter="Date eq '200601'").json()
    assert len(page["value"]) == 15
    answers.append(api.get(page["@odata.nextLink"]))
    for answer in answers:
        if form == "204":
            assert (answer.status_code, answer.content, "Content-Type" in answer.headers) == (204, b"", False)
            continue
        document = json.loads(answer.text)
        assert "@odata.nextLink" not in document
        assert document.get("value", "missing") == {"list": [], "null": None, "missing": "missing"}[form]
    assert api.sandbox.counts["misbehaved_empty_last_page"] == 1


@pytest.mark.parametrize("text", ["", " ", None])
def test_the_last_link_can_be_empty_blank_or_null(start: Callable[..., Any], text: str | None) -> None:
    api = start()
    api.sandbox.misbehave("next_link_empty", text=text)
    pages = api.data("US_EMPLOYMENT", pagesize="2000").json(), api.data("US_EMPLOYMENT", pagesize="4000").json()
    assert pages[0]["@odata.nextLink"].startswith("http")
    assert pages[1]["@odata.nextLink"] == text


def test_a_capped_page_has_links_where_a_small_page_is_asked_for(start: Callable[..., Any]) -> None:
    api = start()
    api.sandbox.misbehave("page_cap", rows=1000, links=True)
    for size, rows in [("1500", 1000), ("1000", 3420), ("500", 3420)]:
        assert len(api.rows("US_EMPLOYMENT", pagesize=size)) == rows
