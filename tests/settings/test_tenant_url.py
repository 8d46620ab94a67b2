"""Pasted tenant addresses are read, or refused with a remedy."""

from __future__ import annotations

import pytest

from sacnb._settings.tenant_url import check_token_url, is_loopback, read_tenant_url

HOST = "https://acme.eu10.hcs.cloud.sap"


@pytest.mark.parametrize(
    ("pasted", "url", "said"),
    [
        (HOST, HOST, None),
        (f"{HOST}/", HOST, None),
        (f"{HOST}/api/v1", HOST, "api/v1"),
        (f"{HOST}/api/v1/dataexport/", HOST, "api/v1/dataexport"),
        ("acme.eu10.hcs.cloud.sap", HOST, "no scheme"),
        ("HTTPS://ACME.eu10.hcs.cloud.sap", HOST, None),
        (f"{HOST}/sap/fpa/ui/app.html#/modeler&/m/model/t.4.C9Z996:C9Z996", HOST, "'C9Z996'"),
        (f"{HOST}/sap/fpa/ui/tenants/006/app.html#/modeler&/m/model/t.4%3ACABC?x=1", HOST, "'CABC'"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765", None),
        ("http://localhost:1/x", "http://localhost:1", "'/x'"),
        ("http://[::1]:9", "http://[::1]:9", None),
        ("https://acme.us1.sapanalytics.cloud", "https://acme.us1.sapanalytics.cloud", "NEO"),
    ],
)
def test_pasted_addresses_are_read_with_notes(pasted: str, url: str, said: str | None) -> None:
    address = read_tenant_url(pasted)
    assert address.url == url
    assert (said is None) == (not address.notes)
    assert said is None or any(said in note for note in address.notes)


@pytest.mark.parametrize(
    ("pasted", "because"),
    [
        ("https://<tenant>.eu10.hcs.cloud.sap", "to be filled in"),
        ("http://acme.eu10.hcs.cloud.sap", "only over https"),
        ("ftp://acme.eu10.hcs.cloud.sap", "only over https"),
        ("https://me:word@acme.eu10.hcs.cloud.sap", "user name or password"),
        ("acme", "no full host name"),
        ("https://", "no full host name"),
        ("https://acme.eu10.hcs.cloud.sap:port", "not an address"),
        ("https://[::1", "not an address"),
        ("https://acme.authentication.eu10.hana.ondemand.com/oauth/token", "SAC_TOKEN_URL"),
    ],
)
def test_unusable_addresses_are_refused_with_a_remedy(pasted: str, because: str) -> None:
    with pytest.raises(ValueError, match=because) as caught:
        read_tenant_url(pasted)
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    ("region", "derived"),
    [("eu10", True), ("us30", True), ("eu1", False)],
)
@pytest.mark.parametrize("suffix", ["sapanalytics.cloud", "hcs.cloud.sap", "hanacloudservices.cloud.sap"])
def test_a_token_url_is_derived_for_cloud_foundry_hosts_only(region: str, derived: bool, suffix: str) -> None:
    token_url = read_tenant_url(f"https://acme-test.{region}.{suffix}").derived_token_url
    expected = f"https://acme-test.authentication.{region}.hana.ondemand.com/oauth/token"
    assert token_url == (expected if derived else None)


@pytest.mark.parametrize(
    ("pasted", "because"),
    [
        ("acme.authentication", "not a full address"),
        ("https://[::1", "not a full address"),
        ("http://acme.example/oauth/token", "only over https"),
        ("https://a:b@acme.example/oauth/token", "user name or password"),
        ("https://acme.example/oauth/token/alias/acme.aws", "OAuth2SAML"),
        ("https://acme.example/oauth/authorize", "Authorization URL"),
    ],
)
def test_a_wrong_token_url_is_refused(pasted: str, because: str) -> None:
    with pytest.raises(ValueError, match=because):
        check_token_url(pasted)


@pytest.mark.parametrize("url", ["https://acme.example/oauth/token", "http://localhost:4/oauth/token"])
def test_a_good_token_url_is_kept_as_it_is(url: str) -> None:
    assert check_token_url(url) == url


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("LOCALHOST", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
