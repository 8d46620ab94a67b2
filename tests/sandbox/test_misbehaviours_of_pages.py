"""Every misbehaviour of pages, over HTTP, with a client independent of sacnb."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from sacnb.sandbox import MISBEHAVIOURS

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
TWO = {"pagesize": "2", "dollar_count": "true"}


def _link(api: Any) -> str:
    link: str = api.data("US_EMPLOYMENT", **TWO).json()["@odata.nextLink"]
    return link


def _service_relative(api: Any) -> None:
    link = _link(api)
    assert link.startswith("FactData?")
    base = f"{api.sandbox.tenant_url}/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData?x=1"
    assert api.get(urljoin(base, link)).json()["value"][0]["Sector"] == "31"


def _root_relative(api: Any) -> None:
    link = _link(api)
    assert link.startswith("/api/v1/dataexport/providers/sac/US_EMPLOYMENT/FactData?")
    assert api.get(api.sandbox.tenant_url + link).status_code == 200


def _absolute(api: Any) -> None:
    assert _link(api).startswith(api.sandbox.tenant_url + "/")


def _cross_origin(api: Any) -> None:
    assert urlsplit(_link(api)).netloc == "elsewhere.invalid"


def _looping(api: Any) -> None:
    first = api.data("US_EMPLOYMENT", **TWO)
    link = first.json()["@odata.nextLink"]
    again = api.get(link)
    assert again.json()["value"] == first.json()["value"]
    assert again.json()["@odata.nextLink"] == link


def _expired(api: Any) -> None:
    link = _link(api)
    api.sandbox.behave()
    assert [api.get(link).status_code for _ in range(2)] == [410, 410]


def _link_first(api: Any) -> None:
    names = list(api.data("US_EMPLOYMENT", **TWO).json())
    assert names.index("@odata.nextLink") < names.index("value")


def _rows(expected: int) -> Callable[[Any], None]:
    def check(api: Any) -> None:
        page = api.data("US_EMPLOYMENT", dollar_filter="Date eq '200601'", dollar_count="true").json()
        assert (len(page["value"]), page["@odata.count"]) == (expected, 15)

    return check


def _numeric_strings(api: Any) -> None:
    row = api.data("US_EMPLOYMENT", **TWO).json()["value"][0]
    assert row["Employees"] == "656.0000000"


def _unknown_column(api: Any) -> None:
    assert api.data("US_EMPLOYMENT", **TWO).json()["value"][0]["Surprise"] == 1


def _nulls_left_out(api: Any) -> None:
    rows = api.data("SCALE", dollar_filter="Amount eq null").json()["value"]
    assert rows
    assert all("Amount" not in row and "Quantity" in row for row in rows)


def _stream_error(api: Any) -> None:
    page = api.data("US_EMPLOYMENT", **TWO).json()
    assert list(page) == ["@odata.context", "value", "error"]
    assert len(page["value"]) == 2


def _page_cap(api: Any) -> None:
    page = api.data("US_EMPLOYMENT", dollar_count="true").json()
    assert (len(page["value"]), page["@odata.count"], "@odata.nextLink" in page) == (100, 3420, False)
    options = {"dollar_orderby": "Version,Date,Sector", "dollar_count": "true"}
    rows: list[Any] = []
    while len(rows) < page["@odata.count"]:
        rows += api.data("US_EMPLOYMENT", **options, dollar_skip=str(len(rows))).json()["value"]
    assert len({tuple(row.items()) for row in rows}) == len(rows) == 3420


def _thirds(api: Any, **options: str) -> list[list[str]]:
    pages = api.pages("US_EMPLOYMENT", dollar_filter="Date eq '200601'", pagesize="5", dollar_count="true", **options)
    return [[row["Sector"] for row in page["value"]] for page in pages]


PAGES = [["10", "20", "31", "32", "41"], ["42", "43", "44", "50", "55"], ["60", "65", "70", "80", "90"]]


def _page_skipped(api: Any) -> None:
    api.sandbox.misbehave("page_skipped", after=1, times=1)
    assert _thirds(api) == [PAGES[0], PAGES[2]]


def _page_swapped(api: Any) -> None:
    api.sandbox.misbehave("page_swapped", after=1, times=1)
    assert _thirds(api) == [PAGES[0], PAGES[2], PAGES[1]]


def _page_repeated(api: Any) -> None:
    api.sandbox.misbehave("page_repeated", times=1)
    assert _thirds(api) == [PAGES[0], PAGES[0], PAGES[2]]


def _unstable_order(api: Any) -> None:
    found = [sector for page in _thirds(api) for sector in page]
    assert len(found) == 15
    assert len(set(found)) < 15
    assert _thirds(api, dollar_orderby="Sector") == PAGES


def _endless_pages(api: Any) -> None:
    pages = api.pages("US_EMPLOYMENT", **TWO)
    found = [next(pages) for _ in range(20)]
    assert all(page["value"] == [] and page["@odata.count"] == 3420 for page in found)
    assert len({page["@odata.nextLink"] for page in found}) == 20


def _empty_last_page(api: Any) -> None:
    assert _thirds(api) == [*PAGES, []]


def _empty_page(api: Any) -> None:
    assert api.data("US_EMPLOYMENT", dollar_filter="Sector eq 'none'").json()["value"] is None


def _other_host(api: Any) -> None:
    port = api.sandbox.tenant_url.rpartition(":")[2]
    for asked, linked in [
        ("127.0.0.1", "localhost"),
        ("demo.eu10.sapanalytics.cloud", "demo.api.eu10.sapanalytics.cloud"),
        ("demo.api.eu10.sapanalytics.cloud", "demo.eu10.sapanalytics.cloud"),
    ]:
        path = "providers/sac/US_EMPLOYMENT/FactData?pagesize=1"
        page = api.get(path, headers={"Host": f"{asked}:{port}"}).json()
        assert page["@odata.nextLink"].startswith(f"http://{linked}:{port}/api/v1/")


def _next_link_empty(api: Any) -> None:
    page = api.data("US_EMPLOYMENT", dollar_filter="Date eq '200601'").json()
    assert (len(page["value"]), page["@odata.nextLink"]) == (15, "")


def _count_left_out(api: Any) -> None:
    page = api.data("US_EMPLOYMENT", **TWO).json()
    assert ("@odata.count" in page, page["@des.entitiesInPage"]) == (False, "2")


def _count_needs_all_columns(api: Any) -> None:
    assert "@odata.count" in api.data("SCALE", **TWO).json()
    columns = "Version,Date,Region,Channel,Product,Customer,Amount"
    assert "@odata.count" not in api.data("SCALE", **TWO, dollar_select=columns).json()


def _rows_lost(api: Any) -> None:
    page = api.data("US_EMPLOYMENT", **TWO).json()
    assert (len(page["value"]), page["@des.entitiesInPage"]) == (1, "2")


def _page_shape(api: Any) -> None:
    assert '","Date":"200601", "Sector":"10", "Emp' in api.data("US_EMPLOYMENT", **TWO).text.replace('", "D', '","D')


SHOWN: dict[str, Callable[[Any], None]] = {
    "page_cap": _page_cap,
    "page_skipped": _page_skipped,
    "page_swapped": _page_swapped,
    "page_repeated": _page_repeated,
    "unstable_order": _unstable_order,
    "endless_pages": _endless_pages,
    "empty_last_page": _empty_last_page,
    "empty_page": _empty_page,
    "next_link_service_relative": _service_relative,
    "next_link_root_relative": _root_relative,
    "next_link_absolute": _absolute,
    "next_link_other_host": _other_host,
    "next_link_cross_origin": _cross_origin,
    "next_link_looping": _looping,
    "next_link_expired": _expired,
    "next_link_first": _link_first,
    "next_link_empty": _next_link_empty,
    "count_left_out": _count_left_out,
    "count_needs_all_columns": _count_needs_all_columns,
    "rows_repeated": _rows(16),
    "rows_missing": _rows(14),
    "rows_lost": _rows_lost,
    "numeric_strings": _numeric_strings,
    "unknown_column": _unknown_column,
    "nulls_left_out": _nulls_left_out,
    "page_shape": _page_shape,
    "stream_error": _stream_error,
}


def test_every_misbehaviour_of_pages_is_shown_here() -> None:
    assert set(SHOWN) == {name for name, entry in MISBEHAVIOURS.items() if entry.within == "pages"}


@pytest.mark.parametrize("name", list(SHOWN))
def test_a_misbehaviour_strikes_is_counted_and_ends(start: Callable[..., Any], name: str) -> None:
    api = start(now=lambda: NOW)
    api.sandbox.misbehave(name)
    SHOWN[name](api)
    counts = api.sandbox.counts
    assert counts[f"misbehaved_{name}"] >= 1
    assert any(name in seen.misbehaviours for seen in api.sandbox.log)
    api.sandbox.behave(name)
    api.login()
    assert len(api.rows("US_EMPLOYMENT", pagesize="100", dollar_filter="Sector eq '31'")) == 228
    assert api.sandbox.counts[f"misbehaved_{name}"] == counts[f"misbehaved_{name}"]
