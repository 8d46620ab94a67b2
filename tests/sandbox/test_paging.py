from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


@pytest.mark.parametrize("size", ["1", "7", "999", "1000", "1001", "5000"])
def test_pages_hold_every_row_once_in_order(start: Callable[..., Any], size: str) -> None:
    api = start(max_page_size=5000, scale_rows=1000 if int(size) > 7 else 30)
    whole = api.data("SCALE").json()
    assert "@odata.nextLink" not in whole
    pages = list(api.pages("SCALE", pagesize=size))
    assert [r["Customer"] for p in pages for r in p["value"]] == [r["Customer"] for r in whole["value"]]
    assert all(len(p["value"]) == int(size) for p in pages[:-1])
    assert [int(p["@des.entitiesInPage"]) for p in pages] == [len(p["value"]) for p in pages]


def test_the_maximum_page_size_limits_every_page(start: Callable[..., Any]) -> None:
    api = start(max_page_size=400)
    for options in [{}, {"pagesize": "5000"}]:
        pages = list(api.pages("SCALE", **options))
        assert [len(p["value"]) for p in pages] == [400, 400, 200]


def test_every_page_has_the_count_of_all_pages(start: Callable[..., Any]) -> None:
    api = start()
    pages = list(api.pages("US_EMPLOYMENT", pagesize="1000", dollar_count="true"))
    assert [p["@odata.count"] for p in pages] == [3420] * 4
    assert all("@odata.count" not in p for p in api.pages("US_EMPLOYMENT", pagesize="2000"))


@pytest.mark.parametrize(
    ("top", "skip", "expected"),
    [("10", "0", range(10)), ("10", "995", range(995, 1000)), ("0", "0", range(0)), ("5", "2000", range(0))],
)
def test_top_and_skip_limit_the_rows_and_not_the_count(
    start: Callable[..., Any], top: str, skip: str, expected: range
) -> None:
    api = start()
    every = [row["Customer"] for row in api.rows("SCALE")]
    pages = list(api.pages("SCALE", dollar_top=top, dollar_skip=skip, pagesize="3", dollar_count="true"))
    assert [row["Customer"] for p in pages for row in p["value"]] == [every[i] for i in expected]
    assert {p["@odata.count"] for p in pages} == {1000}


def test_package_is_the_nth_page_and_its_link_leads_on(start: Callable[..., Any]) -> None:
    api = start()
    every = [row["Customer"] for row in api.rows("SCALE")]
    assert [r["Customer"] for r in api.rows("SCALE", pagesize="300", package="3")] == every[600:]
    assert api.data("SCALE", pagesize="300", package="9").json()["value"] == []


def test_a_link_gives_the_same_page_again_in_any_order_and_after_a_restart(start: Callable[..., Any]) -> None:
    first, second = start(), start()
    options = {"dollar_filter": "Quantity gt 500", "dollar_orderby": "Amount desc,Customer", "pagesize": "50"}
    pages = list(first.pages("SCALE", **options))
    links = [page["@odata.nextLink"] for page in pages[:-1]]
    assert len(links) > 5
    random.Random(4).shuffle(links)
    with ThreadPoolExecutor(8) as pool:
        here = list(pool.map(lambda link: first.get(link).json()["value"], links))
    there = [
        second.get(link.replace(first.sandbox.tenant_url, second.sandbox.tenant_url)).json()["value"] for link in links
    ]
    assert here == there
    assert sorted(map(str, here)) == sorted(str(_plain(page["value"])) for page in pages[1:])


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v if v is None or isinstance(v, str | int) else float(v) for k, v in row.items()} for row in rows]


def test_a_cursor_is_valid_for_its_own_query_only(start: Callable[..., Any]) -> None:
    api = start()
    link = api.data("US_EMPLOYMENT", pagesize="10", dollar_filter="Sector eq '10'").json()["@odata.nextLink"]
    assert api.get(link).status_code == 200
    assert api.get(link.replace("eq%20%2710%27", "eq%20%2720%27")).status_code == 400
    assert api.get(link.replace("pagesize=10", "pagesize=20")).status_code == 400
    assert api.get(link.replace("US_EMPLOYMENT", "PLANNING")).status_code == 400


def test_a_link_works_with_its_options_repeated(start: Callable[..., Any]) -> None:
    """SAP's own Postman sample appends the link's query to a request that has these options already."""
    api = start()
    link = api.data("US_EMPLOYMENT", pagesize="10", dollar_count="true").json()["@odata.nextLink"]
    assert api.get(f"{link}&pagesize=10&$count=true").json()["value"] == api.get(link).json()["value"]


def test_the_link_keeps_the_host_the_client_used(start: Callable[..., Any]) -> None:
    api = start()
    url = api.sandbox.tenant_url.replace("127.0.0.1", "localhost")
    answer = api.get("providers/sac/US_EMPLOYMENT/FactData?pagesize=1", headers={"Host": url.removeprefix("http://")})
    assert answer.json()["@odata.nextLink"].startswith(url)


def test_orderby_sorts_nulls_first_and_keeps_the_order_of_ties(start: Callable[..., Any]) -> None:
    api = start()
    rows = api.rows("SCALE")
    expected = sorted(rows, key=lambda r: (r["Amount"] is not None, r["Amount"] or 0))
    assert api.rows("SCALE", dollar_orderby="Amount", pagesize="300") == expected
    down = sorted(rows, key=lambda r: (r["Amount"] is not None, r["Amount"] or 0), reverse=True)
    found = api.rows("SCALE", dollar_orderby="Amount \t DESC", pagesize="300")
    assert [r["Amount"] for r in found] == [r["Amount"] for r in down]
    regions = api.rows("SCALE", dollar_orderby="Region desc,Product asc,Region", pagesize="300")
    two_keys = sorted(sorted(rows, key=lambda r: r["Product"]), key=lambda r: r["Region"].encode(), reverse=True)
    assert regions == two_keys


def test_an_empty_model_has_one_empty_page(start: Callable[..., Any]) -> None:
    page = start(scale_rows=0).data("SCALE", dollar_count="true").json()
    assert (page["value"], page["@odata.count"], "@odata.nextLink" in page) == ([], 0, False)
