"""The next page is where SAC says, on the tenant's own origin, and never where we have been."""

from __future__ import annotations

import pytest
import requests

from sacnb._odata.page import cut_page, next_page, next_url
from sacnb.errors import BadAnswer

TENANT = "https://acme.eu10.hcs.cloud.sap"
ROOT = f"{TENANT}/api/v1/dataexport/providers/sac/X/"
CURRENT = f"{ROOT}FactData?$filter=Sector%20eq%20'31'&pagesize=5"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (f"{ROOT}FactData?$skiptoken=5", f"{ROOT}FactData?$skiptoken=5"),
        ("/api/v1/dataexport/providers/sac/X/FactData?$skiptoken=5", f"{ROOT}FactData?$skiptoken=5"),
        ("FactData?$skiptoken=5", f"{ROOT}FactData?$skiptoken=5"),
        ("?$skiptoken=5", f"{ROOT}FactData?$skiptoken=5"),
        ("../Y/FactData?$skiptoken=5", f"{TENANT}/api/v1/dataexport/providers/sac/Y/FactData?$skiptoken=5"),
        ("//acme.eu10.hcs.cloud.sap/x?a", f"{TENANT}/x?a"),
        ("https://ACME.eu10.hcs.cloud.sap:443/x?a", "https://ACME.eu10.hcs.cloud.sap:443/x?a"),
        ("HTTPS://acme.eu10.hcs.cloud.sap/x?a", "HTTPS://acme.eu10.hcs.cloud.sap/x?a"),
        ("FactData?$filter=a%20eq%20%27%23%27&x=%2b", f"{ROOT}FactData?$filter=a%20eq%20%27%23%27&x=%2b"),
        ("FactData?$filter=Region eq '#'&n=2", f"{ROOT}FactData?$filter=Region eq '%23'&n=2"),
        ("FactData?", f"{ROOT}FactData?"),
        (f"{TENANT}/x;y?$skiptoken=", f"{TENANT}/x;y?$skiptoken="),
    ],
)
def test_every_form_of_link_is_followed_as_it_stands(link: str, expected: str) -> None:
    if link == "FactData?":
        expected = expected.removesuffix("?")  # an empty query asks for the same
    assert next_url(CURRENT, link, origin=TENANT) == expected


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/FactData?$skiptoken=5",
        "//evil.example/FactData",
        "https://acme.eu10.hcs.cloud.sap:8443/x",
        "http://acme.eu10.hcs.cloud.sap:8080/x",
        "https://acme.eu11.hcs.cloud.sap/x",
        "https://api.eu10.hcs.cloud.sap/x",
        "https://acme.api.api.eu10.hcs.cloud.sap/x",
        "https://evil.api.eu10.hcs.cloud.sap/x",
        "http:////evil.example/x",
        "////evil.example/x",
        "https://acme.eu10.hcs.cloud.sap//evil.example/x",
        "https://acme.eu10.hcs.cloud.sap.evil.example/x",
        "https://evil.acme.eu10.hcs.cloud.sap/x",
        "https://acme.eu10.hcs.cloud.sap@evil.example/x",
        "https://user:secret@acme.eu10.hcs.cloud.sap/x",
        "https://user@acme.eu10.hcs.cloud.sap/x",
        "https://@acme.eu10.hcs.cloud.sap/x",
        "https:evil.example/x",
        "https:///x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "sap.epm:Model/FactData",
        "https://acme.eu10.hcs.cloud.sap:99999/x",
        "https://acme.eu10.hcs.cloud.sap:port/x",
    ],
)
def test_a_link_that_leaves_the_tenant_is_not_followed(link: str) -> None:
    for origin in (TENANT, None):
        with pytest.raises(BadAnswer, match="not followed") as caught:
            next_url(CURRENT, link, origin=origin)
        assert "secret" not in str(caught.value)


SET = f"{TENANT}/api/v1/dataexport/administration/Namespaces(NamespaceID='sac')/Providers"


@pytest.mark.parametrize(
    "link",
    [
        "Providers?$skiptoken=2",
        "./Providers?$skiptoken=2",
        "?$skiptoken=2",
        "Namespaces(NamespaceID='sac')/Providers?$skiptoken=2",
        "Namespaces(NamespaceID=%27sac%27)/Providers?$skiptoken=2",
        "/Namespaces(NamespaceID='sac')/Providers?$skiptoken=2",
        "administration/Namespaces(NamespaceID='sac')/Providers?$skiptoken=2",
        "api/v1/dataexport/administration/Namespaces(NamespaceID='sac')/Providers?$skiptoken=2",
        "/api/v1/dataexport/administration/Namespaces(NamespaceID='sac')/Providers?$skiptoken=2",
        f" {SET}?$skiptoken=2 ",
        f"{SET}?$skiptoken=2".replace("https:", "http:"),
        f"{SET}?$skiptoken=2".replace("https:", "http:").replace(".sap/", ".sap:443/"),
        f"{SET}?$skiptoken=2".replace("acme.", "acme.api."),
        f"{SET}?$skiptoken=2".replace("acme.", "acme.api.").replace("https:", "http:"),
    ],
)
def test_a_link_may_be_relative_to_any_root_and_written_by_a_gateway(link: str) -> None:
    assert next_url(SET, link, origin=TENANT) == f"{SET}?$skiptoken=2"
    by_api_host = SET.replace("acme.", "acme.api.")
    origin = TENANT.replace("acme.", "acme.api.")
    assert next_url(by_api_host, link, origin=origin) == f"{by_api_host}?$skiptoken=2"


def test_a_link_never_turns_plain_http_into_another_address() -> None:
    with pytest.raises(BadAnswer, match="not followed"):
        next_url("http://127.0.0.1:8080/x", "https://127.0.0.1:8080/x?page=2")


@pytest.mark.parametrize("link", ["FactData?$skiptoken=1", CURRENT])
def test_an_empty_page_that_leads_back_is_the_last_one(link: str) -> None:
    seen = {CURRENT, f"{ROOT}FactData?$skiptoken=1"}
    last = cut_page(b'{"value":[],"@odata.nextLink":"%s"}' % link.encode())
    assert next_page(last, CURRENT, seen=seen, origin=TENANT) is None
    with pytest.raises(BadAnswer, match="leads back"):
        next_page(cut_page(last.body.replace(b"[]", b'[{"a":1}]')), CURRENT, seen=seen, origin=TENANT)


@pytest.mark.parametrize("link", ['""', '"  "', "null"])
def test_a_link_without_an_address_means_the_last_page(link: str) -> None:
    page = cut_page(b'{"value":[{"a":1}],"@odata.nextLink":%s}' % link.encode())
    assert page.next_link is None
    assert next_page(page, CURRENT, origin=TENANT) is None


def test_an_empty_page_with_a_new_link_is_not_the_last_one() -> None:
    page = cut_page(b'{"value":[],"@odata.nextLink":"FactData?$skiptoken=9"}')
    assert next_page(page, CURRENT, origin=TENANT) == f"{ROOT}FactData?$skiptoken=9"


def test_the_origin_of_the_tenant_counts_and_not_only_that_of_the_page() -> None:
    assert next_url("https://other.example/a", "b") == "https://other.example/b"
    with pytest.raises(BadAnswer, match="not followed"):
        next_url("https://other.example/a", "b", origin=TENANT)


@pytest.mark.parametrize(
    "link", ["", "  ", "a\x00b", "a\tb", "https://acme.eu10.hcs.cloud.sap\\@evil.example/", "a\x7f"]
)
def test_a_link_with_characters_that_no_link_has_is_refused(link: str) -> None:
    with pytest.raises(BadAnswer, match="no link may have"):
        next_url(CURRENT, link)


def test_a_link_longer_than_any_server_takes_is_refused() -> None:
    assert next_url(CURRENT, "x" * 30_000).endswith("xxx")
    with pytest.raises(BadAnswer, match="longer than"):
        next_url(CURRENT, "x" * 40_000)


def test_a_link_that_is_no_url_is_refused() -> None:
    with pytest.raises(BadAnswer, match="not a URL"):
        next_url(CURRENT, "https://[::1/x")


@pytest.mark.parametrize("link", [CURRENT, CURRENT.removeprefix(TENANT), "FactData?" + CURRENT.partition("?")[2]])
def test_a_link_to_the_page_itself_is_refused(link: str) -> None:
    with pytest.raises(BadAnswer, match="leads back"):
        next_url(CURRENT, link)


def test_a_circle_is_refused_when_it_closes() -> None:
    url, seen = CURRENT, {CURRENT}
    for link in ("FactData?$skiptoken=1", "?$skiptoken=2"):
        url = next_url(url, link, seen=seen, origin=TENANT)
        seen.add(url)
    with pytest.raises(BadAnswer, match="leads back"):
        next_url(url, f"{ROOT}FactData?$skiptoken=1", seen=seen, origin=TENANT)


@pytest.mark.parametrize("link", ["FactData?$skiptoken=a%20b'c(d)~e%2B", "/x?a=1,2:3;4@5!6*7"])
def test_requests_sends_a_proper_link_unchanged(link: str) -> None:
    url = next_url(CURRENT, link)
    assert requests.Request("GET", url).prepare().url == url
