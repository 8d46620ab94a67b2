"""A page is cut where its rows end, by proof and not by luck; everything else is refused with the reason."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacnb._odata.page import Page, _cut_fast, _cut_slow, cut_page, read_list
from sacnb.errors import BadAnswer

LINK = "https://acme.eu10.hcs.cloud.sap/api/v1/dataexport/providers/sac/X/FactData?$skiptoken=5"
ROWS: list[dict[str, Any]] = [
    {"Version": "public.Actual", "Date": "202105", "Region": "Pacific West ", "Visitors": 67284},
    {"Version": "public.Actual", "Date": "#", "Region": 'O\'Hare "x" \\', "Visitors": None},
    {"Version": "public.Plan", "Date": "202106", "Region": "Zürich 東京 \U0001f600", "Visitors": 16.5},
]


def compact(members: dict[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()


def page(rows: list[dict[str, Any]] | None = None, **more: Any) -> bytes:
    return compact({"@odata.context": "$metadata#FactData", "value": ROWS if rows is None else rows, **more})


def either(body: bytes) -> Page:
    """The page by both ways, which have to agree; the quick one may pass only on what is not usual."""
    slow = _cut_slow(body)
    fast = _cut_fast(body)
    assert fast in (None, slow)
    assert cut_page(body) == slow
    return slow


GOOD: dict[str, tuple[bytes, dict[str, Any]]] = {
    "link at the end": (page(**{"@odata.nextLink": LINK}), {"next_link": LINK}),
    "link at the head": (compact({"@odata.nextLink": LINK, "value": ROWS}), {"next_link": LINK}),
    "link of OData 4.01": (page(**{"@nextLink": LINK}), {"next_link": LINK}),
    "link in lower case": (page(**{"@odata.nextlink": LINK}), {"next_link": LINK}),
    "link of OData 3": (page(**{"odata.nextLink": LINK}), {"next_link": LINK}),
    "the same link twice": (page(**{"@odata.nextLink": LINK, "@nextLink": LINK}), {"next_link": LINK}),
    "no link": (page(), {"next_link": None}),
    "null link": (page(**{"@odata.nextLink": None}), {"next_link": None}),
    "link with brackets": (page(**{"@odata.nextLink": LINK + "]}],"}), {"next_link": LINK + "]}],"}),
    "link with quotes": (page(**{"@odata.nextLink": LINK + '"],"a":"'}), {"next_link": LINK + '"],"a":"'}),
    "delta link": (page(**{"@odata.deltaLink": LINK}), {"delta_link": LINK}),
    "delta link as SAP prints it": (page(**{"@odata.deltalink": LINK}), {"delta_link": LINK}),
    "count": (page(**{"@odata.count": 1_000_000}), {"count": 1_000_000}),
    "count as text": (page(**{"@odata.count": "12"}), {"count": 12}),
    "count of OData 4.01": (page(**{"@count": 0}), {"count": 0}),
    "null count": (page(**{"@odata.count": None}), {"count": None}),
    "entities in page": (page(**{"@des.entitiesInPage": "3"}), {"rows_in_page": 3}),
    "entities nobody can read": (page(**{"@des.entitiesInPage": "null"}), {"rows_in_page": None}),
    "members that look like annotations": (page(nextLink="x", count="y"), {"next_link": None, "count": None}),
    "no rows": (page([]), {"is_empty": True}),
    "blanks for rows": (b'{"value": [ \r\n ] }', {"is_empty": True}),
    "one row": (page(ROWS[:1]), {"is_empty": False}),
    "nothing but rows": (compact({"value": ROWS}), {}),
    "byte order mark": (b"\xef\xbb\xbf" + page(**{"@nextLink": LINK}), {"next_link": LINK}),
    "blanks around": (b" \r\n\t" + page(**{"@nextLink": LINK}) + b" \r\n", {"next_link": LINK}),
    "pretty": (json.dumps({"value": ROWS, "@nextLink": LINK}, indent=4).encode(), {"next_link": LINK}),
    "array end in a string": (page([{"a": "x]"}, {"a": "y}]"}, {"a": 'z"}],"@odata.nextLink":"no'}]), {}),
    "whole end in a string": (page([{"a": "1"}, {"a": 'x"}]}'}, {"a": "y}]}"}]), {}),
    "start in a string": (compact({"@odata.context": 'x"value":[', "value": ROWS}), {}),
    "start in a name": (compact({'my"value': [1], "value": ROWS}), {}),
    "a value within": (compact({"extra": {"value": [1, 2]}, "value": ROWS}), {}),
    "an array that is nested, after one that is not": (b'{"value" :[],"x":{"value":[{"a":1},{"b":2}]}}', {}),
    "another array before": (compact({"other": [{"a": 1}, {"b": 2}], "value": ROWS}), {}),
    "another array after": (page(other=[{"a": 1}, {"b": 2}, {"c": 3}]), {}),
    "another page within": (page(other={"value": ROWS, "@nextLink": "no"}), {"next_link": None}),
    "arrays in rows": (page([{"a": ["x"], "b": 1}, {"a": [{"c": []}, {"d": 1}], "b": [2]}]), {}),
    "a column called value": (page([{"value": "x"}, {"value": "y"}]), {}),
    "a column called error": (page([{"error": "none", "a": 1}, {"error": None, "a": 2}]), {}),
    "an error that is a member": (page([{"Kind": "error"}, {"Kind": "error"}]), {}),
    "null error": (page(error=None), {}),
    "many digits": (b'{"value":[{"a":' + b"9" * 5000 + b'},{"a":1}]}', {}),
    "names that begin oddly": (page([{"é": 1}, {"é": 2}]), {}),
    "no columns at all": (b'{"value":[{},{}]}', {}),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_page_is_cut_where_its_rows_end(name: str) -> None:
    body, expected = GOOD[name]
    found = either(body)
    whole = json.loads(body.decode("utf-8-sig").replace("9" * 5000, "9"))
    assert json.loads(found.rows.replace(b"9" * 5000, b"9")) == whole["value"]
    assert bytes(found.view) == found.rows == body[found.start : found.end]
    assert found.is_empty is (whole["value"] == [])
    for attribute, value in expected.items():
        assert getattr(found, attribute) == value


@pytest.mark.parametrize("name", ["link at the end", "link at the head", "count", "no link", "byte order mark"])
def test_the_usual_pages_are_cut_the_quick_way(name: str) -> None:
    body, _ = GOOD[name]
    assert _cut_fast(body) == _cut_slow(body)


def test_a_large_page_is_not_parsed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    body = page(ROWS * 1000, **{"@odata.nextLink": LINK})
    monkeypatch.setattr("sacnb._odata.page._cut_slow", lambda _: pytest.fail("the slow way was taken"))
    assert cut_page(body).next_link == LINK


def test_the_repr_of_a_page_does_not_hold_its_rows() -> None:
    assert "Pacific" not in repr(cut_page(page()))


# What is not a page.

ERROR = {"code": "a1b2", "message": "Something went wrong [3707]"}
ERRORS: dict[str, tuple[bytes, bool]] = {
    "instead of rows": (compact({"error": ERROR}), False),
    "message as an object": (
        compact({"error": {"code": "", "message": {"lang": "en", "value": "went [3707]"}}}),
        False,
    ),
    "OAuth": (compact({"error": "invalid_token", "error_description": "went wrong [3707]"}), False),
    "beside the rows": (page(error=ERROR), True),
    "before the rows": (compact({"error": ERROR, "value": ROWS}), True),
    "as the last row": (page([*ROWS, {"error": ERROR}]), True),
    "as a row among others": (page([ROWS[0], {"error": ERROR}, ROWS[1]]), True),
    "as the only row": (page([{"error": ERROR}]), True),
    "as a row with annotations": (page([{"@odata.id": "1", "error": ERROR}]), True),
    "after the end": (page() + compact({"error": ERROR}), True),
    "after the end, on a line of its own": (page() + b"\r\n" + json.dumps({"error": ERROR}, indent=1).encode(), True),
    "after a row": (page()[:-2] + compact({"error": ERROR}), True),
    "after a comma": (page()[:-2] + b"," + compact({"error": ERROR}), True),
    "after half a row": (page()[:-30] + compact({"error": ERROR}), True),
    "as a member of the array": (page()[:-2] + b',"error":' + compact(ERROR) + b"}", True),
    "after a row, pretty": (page()[:-2] + json.dumps({"error": ERROR}, indent=2).encode() + b"]}", True),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("size", ["small", "large"])
def test_an_error_in_place_of_after_or_among_the_rows_is_reported_in_sacs_words(name: str, size: str) -> None:
    body, truncated = ERRORS[name]
    if size == "large":
        body = body.replace(b'"value":[', b'"value":[' + compact({"rows": ROWS * 1000})[9:-2] + b",", 1)
    with pytest.raises(BadAnswer, match=r"went.*\[3707\]") as caught:
        cut_page(body)
    assert caught.value.truncated is truncated
    assert _cut_fast(body) is None


REFUSED: dict[str, tuple[bytes, str, bool]] = {
    "empty": (b"", "is empty", True),
    "blank": (b" \r\n", "is empty", True),
    "only a byte order mark": (b"\xef\xbb\xbf", "is empty", True),
    "html": (b"<!DOCTYPE html><html><title>Log on</title></html>", "web page", False),
    "xml": (b'<?xml version="1.0"?><feed/>', "not JSON", False),
    "text": (b"upstream connect error", "not JSON", False),
    "csv": (b"Version,Date\npublic.Actual,202105\n", "not JSON", False),
    "an error that is cut short itself": (page()[:-2] + b'{"error":{"code":"c"', "not valid JSON", True),
    "an array": (compact(ROWS), "not JSON", False),  # type: ignore[arg-type]
    "utf-16": (page().decode().encode("utf-16"), "not JSON", False),
    "latin-1": (page([{"a": "é"}]).decode().encode("latin-1"), "not UTF-8", False),
    "no value": (compact({"@odata.context": "x", "rows": []}), "no array 'value', but '@odata.context'", False),
    "no members": (b"{}", "but nothing", False),
    "value null beside something else": (compact({"value": None, "x": 1}), "no array 'value'", False),
    "only something else": (compact({"nextLink": LINK}), "no array 'value'", False),
    "value an object": (compact({"value": {}}), "no array 'value'", False),
    "value text": (compact({"value": "[]"}), "no array 'value'", False),
    "value twice": (b'{"value":[],"value":[]}', "twice", False),
    "garbage after the end": (page() + b"x", "continues after its end", False),
    "two pages": (page() + page(), "continues after its end", False),
    "a page and a bracket": (page() + b"}", "continues after its end", False),
    "a comma at the end": (b'{"value":[],}', "not valid JSON", False),
    "no quotes": (b"{value:[]}", "not valid JSON", False),
    "no colon": (b'{"value" []}', "not valid JSON", False),
    "a bare word": (b'{"value":[nul]}', "not valid JSON", False),
    "a line end in a string": (b'{"value":[{"a":"x\ny"}]}', "not valid JSON", False),
    "nested beyond reason": (b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON", False),
    "two links": (page(**{"@odata.nextLink": LINK, "@nextLink": "x"}), "two values", False),
    "a link that is a number": (page(**{"@odata.nextLink": 5}), "nextLink", False),
    "a delta link that is a list": (page(**{"@odata.deltaLink": []}), "deltaLink", False),
    "a negative count": (page(**{"@odata.count": -1}), "count", False),
    "a count with a fraction": (page(**{"@odata.count": 1.5}), "count", False),
    "a count in words": (page(**{"@odata.count": "many"}), "count", False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_page_is_refused(name: str) -> None:
    body, message, truncated = REFUSED[name]
    with pytest.raises(BadAnswer, match=message) as caught:
        cut_page(body)
    assert caught.value.truncated is truncated


@pytest.mark.parametrize(
    "members",
    [
        {"value": None},
        {"@odata.context": "$metadata#FactData", "value": None},
        {"@odata.context": "$metadata#FactData"},
        {"odata.metadata": "$metadata#FactData"},
    ],
)
def test_an_empty_page_may_lack_its_array(members: dict[str, Any]) -> None:
    found = cut_page(compact({**members, "@odata.count": 20, "@odata.nextLink": LINK}))
    assert (found.rows, found.is_empty, found.count, found.next_link) == (b"[]", True, 20, LINK)
    assert cut_page(compact(members)).next_link is None
    assert read_list(compact(members)) == []


@pytest.mark.parametrize("status", [204, 205])
def test_an_answer_without_content_is_a_page_without_rows(status: int) -> None:
    found = cut_page(b"", status=status)
    assert (found.rows, found.is_empty, found.count, found.next_link) == (b"[]", True, None, None)
    assert read_list(b"", status=status) == []
    with pytest.raises(BadAnswer, match="not JSON"):
        cut_page(b"Bye", status=status)


@pytest.mark.parametrize("status", [202, 206])
@pytest.mark.parametrize("read", [cut_page, read_list])
def test_an_answer_that_is_not_all_of_it_is_refused(status: int, read: Callable[..., Any]) -> None:
    with pytest.raises(BadAnswer, match=str(status)) as caught:
        read(page(), status=status)
    assert caught.value.truncated


TRICKY = [
    {"a": "x}]}", "b": '{"value":[{"a":1},{"b":2}]}', "c": "},{"},
    {"a": '},{"a":1}]}', "b": ["x", {"c": []}], "c": "\\"},
    {"a": "end]}", "b": '"}]}', "c": 1.5e-7},
]


@pytest.mark.parametrize(
    "body",
    [
        page(**{"@odata.count": 3, "@odata.nextLink": LINK}),
        compact({"@odata.nextLink": LINK, "@odata.count": 3, "value": ROWS}),
        json.dumps({"value": ROWS, "@odata.nextLink": LINK}, indent=2).encode(),
        page(TRICKY, **{"@odata.nextLink": LINK}),
        page(TRICKY),
        page([]),
        page([{"a": "},{", ":1}]}": 2}]),
        b"\xef\xbb\xbf" + page(TRICKY, other=[{"a": 1}, {"a": 2}]),
        page([{"a": True, "b": None, "c": -1.25e300}, {"a": False, "b": "\u00e9", "c": 0}]),
    ],
)
def test_a_page_cut_short_anywhere_is_refused_and_may_be_asked_for_again(body: bytes) -> None:
    cut_page(body)
    for length in range(len(body)):
        with pytest.raises(BadAnswer) as caught:
            cut_page(body[:length])
        assert caught.value.truncated or length < 3  # less than a byte order mark says nothing
        assert _cut_fast(body[:length]) is None


# The quick way against the slow one.

pieces = [*'ab]}[{":,\\ #é\n', "value", "error", '"value":[', '}],"', "},{", "]}"]
nasty = st.lists(st.sampled_from(pieces), max_size=8).map("".join)
names = st.text(string.ascii_letters + "_@", min_size=1, max_size=4)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), nasty)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(nasty, scalars, max_size=2))
flat_rows = st.lists(st.dictionaries(names, scalars, min_size=1, max_size=3), min_size=2, max_size=5)
row_lists = flat_rows | st.lists(st.dictionaries(names, values, max_size=3), max_size=5)
extras = st.dictionaries(nasty.filter(lambda n: n not in ("value", "error") and "@" not in n), values, max_size=3)


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    annotations = draw(
        st.fixed_dictionaries(
            {},
            optional={"@odata.nextLink": nasty.filter(bool), "@odata.count": st.integers(0, 10**17), "@des.x": nasty},
        )
    )
    members = [("value", draw(row_lists)), *annotations.items(), *draw(extras).items()]
    ordered = dict(draw(st.permutations(members)))
    separators = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    text = json.dumps(ordered, separators=separators, ensure_ascii=draw(st.booleans()))
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" \r\n"]))
    return mark + text.encode() + draw(st.sampled_from([b"", b"\r\n "]))


@given(pages())
@example(page(ROWS, other=[{"a": 1}, {"b": 2}]))
def test_both_ways_find_the_same_page(body: bytes) -> None:
    found = either(body)
    whole = json.loads(body.decode("utf-8-sig"))
    assert json.loads(found.rows) == whole["value"]
    assert found.next_link == whole.get("@odata.nextLink")
    assert found.count == whole.get("@odata.count")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A page with a piece cut out, put in twice, replaced, or with another page in it."""
    body = draw(pages())
    begin = draw(st.integers(0, len(body)))
    end = draw(st.integers(begin, len(body)))
    piece = draw(st.sampled_from([b"", body[begin:end] * 2, b"]", b"}", b'"', b"},{", b"]}", b",", b'"value":[', body]))
    return body[:begin] + piece + body[end:]


@given(damaged())
@example(page(ROWS) + page(ROWS))
@example(page(ROWS)[:-1] + b"," + page(ROWS)[1:])
@example(compact({"value": [{"a": 1}]})[:-1] + b'"value":[{"a":1},{"b":2}]}')
def test_a_damaged_page_is_never_taken_for_another_one(body: bytes) -> None:
    """Where the quick way cuts what the slow way refuses, the damage is in the rows, and no decoder takes them."""
    fast = _cut_fast(body)
    if fast is None:
        return
    try:
        slow: Page | None = _cut_slow(body)
    except BadAnswer:
        slow = None
    if slow is not None:
        assert fast == slow
    else:
        with pytest.raises(ValueError, match=r"."):
            json.loads(fast.rows)


def test_the_quick_way_leaves_only_damage_within_the_rows_to_the_decoder() -> None:
    body = page([{"a": 1}, {"a": 2}, {"a": 3}]).replace(b'{"a":1}', b'{"a"=1}')
    found = _cut_fast(body)
    assert found is not None
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(found.rows)
    with pytest.raises(BadAnswer):
        _cut_slow(body)


def test_the_quick_way_wants_a_bracket_after_the_last_row() -> None:
    assert _cut_fast(page(ROWS)) is not None
    assert _cut_fast(page(ROWS)[:-2] + b")}") is None


def test_a_list_is_read_as_objects() -> None:
    assert read_list(page(ROWS)) == ROWS
    assert read_list(b'{"value":[]}') == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"value":["FactData"]}', "Element 0 of a list is 'FactData'"),
        (b'{"value":[{},null]}', "Element 1 of a list is None"),
        (b'{"value":[{}', "not valid JSON"),
        (b'{"value":[{"a":' + b"9" * 5000 + b"}]}", "number that cannot be read"),
        (compact({"error": ERROR}), r"\[3707\]"),
        (b"<html></html>", "web page came for a list"),
        (b"", "empty"),
    ],
)
def test_a_list_of_something_else_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadAnswer, match=message):
        read_list(body)
