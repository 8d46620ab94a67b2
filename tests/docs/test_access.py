"""The pages on access, settings and refusals match the settings, the host rules and the token endpoint."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime

import pytest

from sacnb import errors, sandbox
from sacnb._auth import ClientCredentials
from sacnb._auth.endpoint import TokenEndpoint
from sacnb._endpoints import derive_token_url
from sacnb._settings import VARIABLES, Settings
from sacnb._settings.tenant_url import read_tenant_url
from sacnb.errors import RefreshError


@pytest.fixture
def page(documents):
    return documents["docs/access.md"]


@pytest.fixture
def refusals(documents):
    return documents["docs/troubleshooting.md"]


def _bare(cell: str) -> str:
    return cell.strip("`")


def test_the_table_of_variables_is_that_of_the_settings(documents, rows) -> None:
    table = rows(documents["docs/settings.md"].section("The variables"))
    shown = [(_bare(name), meaning, default) for name, meaning, default in table]
    assert shown == [(variable.name, variable.meaning, variable.default or "none") for variable in VARIABLES]


def test_the_placeholders_are_accepted_as_settings(page, rows) -> None:
    values = {_bare(row[0]): _bare(row[2]) for row in rows(page.section("In short"))}
    settings = Settings.resolve(environ=values)
    assert settings.client_id == values["SAC_CLIENT_ID"]
    assert settings.client_secret.reveal() == values["SAC_CLIENT_SECRET"]
    assert settings.notes == ()


def test_pasted_addresses_are_understood_as_shown(page, rows) -> None:
    pairs = [(_bare(left), _bare(right)) for left, right in rows(page.section("Tenant URL and token URL"))]
    pasted = [pair for pair in pairs if "oauth/token" not in pair[1]]
    derived = [pair for pair in pairs if "oauth/token" in pair[1]]
    assert len(pasted) == 4
    assert len(derived) == 3
    for text, used in pasted:
        assert read_tenant_url(text).url == used
    for host, token_url in derived:
        assert derive_token_url(host) == token_url


def test_a_region_that_is_called_neo_derives_nothing(page) -> None:
    regions = re.findall(r"`([a-z]{2}\d)`", page.section("Tenant URL and token URL"))
    assert regions
    for region in regions:
        assert derive_token_url(f"acme.{region}.sapanalytics.cloud") is None


def test_the_errors_named_exist(refusals) -> None:
    named = set(re.findall(r"`(\w+Error|BadAnswer)`", refusals.text))
    assert {"AuthError", "ForbiddenError", "NotFoundError", "LiveConnectionError", "ThrottledError"} <= named
    assert named <= set(errors.__all__)


def test_the_environment_variables_of_others_are_those_that_are_read(page) -> None:
    from sacnb._settings.resolve import _BUNDLE_VARIABLES

    shown = ", ".join(f"`{name}`" for name in _BUNDLE_VARIABLES[:-1]) + f" and `{_BUNDLE_VARIABLES[-1]}`"
    assert shown in page.text


def test_a_wrong_secret_is_refused_in_the_words_shown(refusals, rows) -> None:
    first = _bare(rows(refusals.section("401: who are you?"))[0][0])
    with sandbox.start() as tenant:
        source = ClientCredentials(tenant.token_url, tenant.client_id, "wrong")
        with pytest.raises(RefreshError) as caught:
            source.fetch(datetime.now(UTC))
    assert first in str(caught.value)


def test_the_other_words_of_the_token_endpoint_are_in_its_code(refusals, rows) -> None:
    source = re.sub(r'"\s+\+?\s*\(?f?"', "", inspect.getsource(TokenEndpoint))
    quoted = [
        text for row in rows(refusals.section("401: who are you?"))[2:] for text in re.findall(r"`([^`]+)`", row[0])
    ]
    assert len(quoted) == 5
    for text in quoted:
        for part in text.replace("(...)", "...").split("..."):
            assert part.strip() in source, text


def test_the_statuses_have_a_section_each(refusals) -> None:
    assert [heading.split(":")[0] for heading in refusals.headings if re.match(r"\d{3}:", heading)] == [
        "401",
        "403",
        "404",
        "412",
        "429",
    ]
