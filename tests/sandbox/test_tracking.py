"""Change tracking over HTTP, with a client independent of sacnb: subscriptions, deltas, and what may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from changing import REGIONS, first_model, row

from sacnb.sandbox import MISBEHAVIOURS

TRACK = {"Prefer": "odata.track-changes"}
SUBSCRIPTIONS = "administration/Subscriptions"
FACTS = "providers/sac/CHANGING/FactData"


@pytest.fixture
def api(start: Callable[..., Any]) -> Any:
    return start(models=[first_model()])


def walk(api: Any, answer: Any) -> list[dict[str, Any]]:
    """The pages from an answer on; numbers are exact."""
    pages = []
    while True:
        assert answer.status_code == 200, answer.text
        pages.append(answer.json(parse_float=Decimal))
        if "@odata.nextLink" not in pages[-1]:
            return pages
        answer = api.get(pages[-1]["@odata.nextLink"])


def begin(api: Any, path: str = f"{FACTS}?pagesize=10", **headers: str) -> str:
    """Read all rows with change tracking; return the link to the changes."""
    pages = walk(api, api.get(path, headers=headers or TRACK))
    assert all("@odata.deltaLink" not in page for page in pages[:-1])
    link: str = pages[-1]["@odata.deltaLink"]
    return link


def changes(api: Any, link: str) -> tuple[list[dict[str, Any]], list[str], str]:
    """Follow a delta link; return changed rows, ids of deleted ones, and the next link."""
    pages = walk(api, api.get(link))
    rows = [one for page in pages for one in page["value"]]
    gone = [one["id"] for one in rows if one["@odata.context"].endswith("$deletedEntity")]
    return [one for one in rows if "@odata.id" in one], gone, pages[-1]["@odata.deltaLink"]


def test_without_the_header_nothing_is_tracked(api: Any) -> None:
    assert all("@odata.deltaLink" not in page for page in api.pages("CHANGING", pagesize="10"))
    assert api.get(SUBSCRIPTIONS).json()["value"] == []


@pytest.mark.parametrize("preference", ["track-changes", "odata.maxpagesize=5, odata.track-changes"])
def test_other_forms_of_the_header(api: Any, preference: str) -> None:
    assert "?deltaid=first-" in begin(api, Prefer=preference)


def test_changes_come_as_sap_prints_them(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", [row("O'Brien, (West)", amount="16")], deleted=[row("#", "202402")])
    (changed,), gone, following = changes(api, link)
    assert changed == {
        "@odata.context": "#FactData/$entity",
        "@odata.id": "FactData(Version='public.Actual',Date='202401',Region='O''Brien, (West)')",
        "Version": "public.Actual",
        "Date": "202401",
        "Region": "O'Brien, (West)",
        "Amount": Decimal("16.0000000"),
        "Units": 1,
    }
    assert gone == ["FactData(Version='public.Actual',Date='202402',Region='#')"]
    assert following != link
    assert changes(api, following)[:2] == ([], [])


def test_a_row_that_is_changed_back_has_not_changed(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", [row("North", amount="8")])
    api.sandbox.change("CHANGING", [row("North", amount="1.25")])
    assert changes(api, link)[0] == []


def test_a_link_can_be_asked_again_until_the_next_one_was(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", [row("North", amount="8")])
    first = changes(api, link)
    again = changes(api, link)
    assert first[0] == again[0]
    changes(api, again[2])
    assert api.get(link).status_code == 410
    assert api.get(first[2]).status_code == 404  # it was never asked for, and another one took its place


def test_pages_of_changes_stay_the_same_while_somebody_writes(api: Any) -> None:
    link = begin(api, f"{FACTS}?pagesize=2")
    api.sandbox.change("CHANGING", [row(region, amount="8") for region in REGIONS])
    first = api.get(link).json()
    api.sandbox.change("CHANGING", [row("North", amount="9")])
    rest = walk(api, api.get(first["@odata.nextLink"]))
    assert [len(page["value"]) for page in (first, *rest)] == [2, 2, 2]
    (changed,), _, _ = changes(api, rest[-1]["@odata.deltaLink"])
    assert changed["Amount"] == 9


def test_filter_and_columns_are_those_of_the_first_read(api: Any) -> None:
    link = begin(api, f"{FACTS}?$select=Version,Date,Region,Units&$filter=Region%20eq%20'North'")
    api.sandbox.change("CHANGING", [row("North", units=5), row("#", units=5), row("North", "202402", "9", 2)])
    (changed,), _, _ = changes(api, link)  # of the last row only the amount changed
    assert (changed["Units"], "Amount" in changed) == (5, False)


def test_members_are_tracked_too(api: Any) -> None:
    link = begin(api, "providers/sac/CHANGING/RegionMaster")
    api.sandbox.change("CHANGING", [{"ID": "East", "Description": "New"}], deleted=[{"ID": "#"}], dimension="Region")
    (changed,), gone, _ = changes(api, link)
    assert (changed["ID"], changed["Description"], gone) == ("East", "New", ["RegionMaster(ID='#')"])


def test_several_records_of_a_key_come_together(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", [row("North", amount="8")], append=True)
    assert [one["Amount"] for one in changes(api, link)[0]] == [Decimal("1.25"), Decimal(8)]


def test_a_built_in_model_changes_too(api: Any) -> None:
    link = begin(api, "providers/sac/US_EMPLOYMENT/FactData")
    api.sandbox.change("US_EMPLOYMENT", deleted=[{"Version": "public.Actual", "Date": "201507", "Sector": "31"}])
    assert len(changes(api, link)[1]) == 1


def test_subscriptions_are_listed_and_deleted(api: Any) -> None:
    link = begin(api)
    _, _, following = changes(api, link)
    first, second = api.get(SUBSCRIPTIONS).json()["value"]
    assert (first["ProviderID"], first["EntitySetName"], first["ExternalID"]) == ("CHANGING", "FactData", "null")
    assert (second["PreviousSubscriptionID"], second["ChainID"]) == (first["SubscriptionID"], first["ChainID"])
    assert second["CurrentDeltaLink"] == following
    key = f"NamespaceID='sac',ProviderID='CHANGING',SubscriptionID='{second['SubscriptionID']}'"
    assert api.get(f"{SUBSCRIPTIONS}({key})").json()["SubscriptionID"] == second["SubscriptionID"]
    of_model = api.get("administration/Providers(NamespaceID='sac',ProviderID='CHANGING')/Subscriptions").json()
    assert len(of_model["value"]) == 2
    url = f"{api.sandbox.tenant_url}/api/v1/dataexport/{SUBSCRIPTIONS}({key})?deleteChain=true"
    assert api.http.delete(url, timeout=20).status_code == 403  # no CSRF token
    token = api.get(SUBSCRIPTIONS, headers={"x-csrf-token": "fetch"}).headers["x-csrf-token"]
    assert api.http.delete(url, headers={"x-csrf-token": token}, timeout=20).status_code == 204
    assert api.get(SUBSCRIPTIONS).json()["value"] == []
    assert api.get(following).status_code == 404


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model_id": "NOPE"}, "no model 'NOPE'"),
        ({"dimension": "Nope"}, "no dimension 'Nope'"),
        ({"rows": [{"Version": "v", "Date": "d"}]}, "no 'Region'"),
        ({"rows": [{**row("North"), "Nope": 1}]}, "no column 'Nope'"),
        ({"rows": [row("North", units="many")]}, "value of 'Units' is no Edm.Int64"),  # type: ignore[arg-type]
        ({"rows": [row("North", amount="many")]}, "value of 'Amount' is no Edm.Decimal"),
        ({"model_id": "SCALE", "rows": [{}]}, "computed"),
    ],
)
def test_a_change_that_cannot_be_made(api: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        api.sandbox.change(**{"model_id": "CHANGING", **arguments})


# -- misbehaviours -----------------------------------------------------------------------------------------------------


def _three_pages(api: Any) -> list[list[str]]:
    """Follow the changes of six rows, two a page; return the regions page by page."""
    link = begin(api, f"{FACTS}?pagesize=2")
    api.sandbox.change("CHANGING", [row(region, amount="8") for region in REGIONS])
    return [[one["Region"] for one in page["value"]] for page in walk(api, api.get(link))]


def _regions(*numbers: int) -> list[list[str]]:
    return [list(REGIONS[2 * number : 2 * number + 2]) for number in numbers]


def _delta_expired(api: Any) -> None:
    assert api.get(begin(api)).status_code == 410


def _delta_forgets(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", [row("North", amount="8")])
    assert [len(changes(api, link)[0]) for _ in range(2)] == [1, 0]


def _delta_page_repeated(api: Any) -> None:
    assert _three_pages(api) == _regions(0, 0, 1)


def _delta_page_missing(api: Any) -> None:
    assert _three_pages(api) == _regions(1, 2)


def _delta_pages_swapped(api: Any) -> None:
    assert _three_pages(api) == _regions(1, 0, 2)


def _delta_rows_partial(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", [row("North", amount="1.25", units=2)])
    (changed,), _, _ = changes(api, link)
    assert (changed["Units"], "Amount" in changed) == (2, False)


def _delta_removed_form(api: Any) -> None:
    link = begin(api)
    api.sandbox.change("CHANGING", deleted=[row("North")])
    (gone,) = api.get(link).json()["value"]
    assert gone["@removed"] == {"reason": "deleted"}


def _delta_ignored(api: Any) -> None:
    page = api.get(begin(api)).json()
    assert (len(page["value"]), "@odata.deltaLink" in page) == (24, False)


def _delta_link_missing(api: Any) -> None:
    assert "@odata.deltaLink" not in walk(api, api.get(FACTS, headers=TRACK))[-1]


def _delta_link_cross_origin(api: Any) -> None:
    assert begin(api).startswith("https://elsewhere.invalid/api/v1/")


SHOWN: dict[str, Callable[[Any], None]] = {
    "delta_expired": _delta_expired,
    "delta_forgets": _delta_forgets,
    "delta_page_repeated": _delta_page_repeated,
    "delta_page_missing": _delta_page_missing,
    "delta_pages_swapped": _delta_pages_swapped,
    "delta_rows_partial": _delta_rows_partial,
    "delta_removed_form": _delta_removed_form,
    "delta_ignored": _delta_ignored,
    "delta_link_missing": _delta_link_missing,
    "delta_link_cross_origin": _delta_link_cross_origin,
}


def test_every_misbehaviour_of_tracking_is_shown_here() -> None:
    assert set(SHOWN) == {name for name, entry in MISBEHAVIOURS.items() if entry.within in {"delta", "tracked"}}


@pytest.mark.parametrize("name", SHOWN)
def test_a_misbehaviour_strikes_and_is_counted(api: Any, name: str) -> None:
    api.sandbox.misbehave(name)
    SHOWN[name](api)
    assert api.sandbox.counts[f"misbehaved_{name}"] >= 1
