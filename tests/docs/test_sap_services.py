"""The page of SAP's services lists what the code calls, no less and no more."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sacnb
from sacnb import _endpoints
from sacnb._connections import open_session
from sacnb._endpoints import API_ROOT
from sacnb._settings import Settings
from sacnb._tenant import Tenant
from sacnb._wire.retry import RetryPlan
from sacnb.sandbox import Sandbox

PACKAGE = Path(sacnb.__file__).parent
_PATH = re.compile(r"/(?:api|sap|oauth2?|odata|scim2?)/[\w$/.{}-]*")


@pytest.fixture(scope="module")
def listed(documents: dict[str, Any], rows: Callable[[str], list[list[str]]]) -> list[str]:
    """The addresses in the table of the page."""
    table = rows(documents["docs/sap_services.md"].section("The services"))
    return [address for row in table for address in re.findall(r"`(/[^`]+)`", row[1])]


def _below(path: str, roots: list[str]) -> bool:
    return any(path == root or path.startswith((root + "/", root + "?")) for root in roots)


def _texts(path: Path) -> list[str]:
    """The texts in a module, less its docstrings and the messages of its errors: those hold blanks."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [text for text in found if isinstance(text, str) and " " not in text]


def test_the_page_lists_every_address_and_no_other(listed: list[str]) -> None:
    constants = {name: value for name, value in vars(_endpoints).items() if name.isupper() and isinstance(value, str)}
    paths = {value for value in constants.values() if value.startswith("/")} - {API_ROOT}
    assert {path for path in paths if not _below(path, listed)} == set()
    assert set(listed) <= paths


def test_addresses_of_sac_are_in_one_module() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if "sandbox" not in path.parts and path.name != "_endpoints.py"]
    found = {text for path in modules for text in _texts(path) if _PATH.fullmatch(text)}
    # The path of token endpoints, SAC's and Snowflake's, is part of an address that a user sets.
    assert {text for text in found if not text.startswith("/oauth/")} == set()


def test_a_tour_calls_only_what_is_listed(
    listed: list[str], sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    with connect_to(sandbox) as tenant:
        tenant.models()
        tenant.admin.users()
        tenant.admin.activities(limit=1)
        tenant.admin.statistics("planningVersion", limit=1)
        tenant.admin.files()
        model = tenant.model("US_EMPLOYMENT")
        model.facts(where={"Version": "public.Actual", "Date": "201507"}).refresh()
        model.members("Sector")
        track = model.track(where={"Sector": "31"})
        track.refresh()
        track.stop()
        plan = pl.DataFrame({"Date": ["201507"], "Sector": ["31"], "Employees": [12350.5]})
        model.write(plan, version="public.Plan")
    called = {entry.path for entry in sandbox.log if entry.kind != "token"}
    assert len(called) > 8
    assert {path for path in called if not _below(path, listed)} == set()


def test_the_defaults_are_those_of_the_page(
    documents: dict[str, Any], sandbox: Sandbox, connect_to: Callable[..., Tenant]
) -> None:
    page = " ".join(documents["docs/sap_services.md"].section("Polite defaults").split())
    settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"})
    assert f"pages of {settings.page_size:,} rows" in page
    assert (settings.streams, "at most four requests at the same time" in page) == (4, True)
    plan = RetryPlan()
    assert (plan.max_attempts, plan.retry_after_cap_s, plan.throttle_delay_s) == (4, 60.0, (1.0, 3.0))
    with open_session() as for_tokens:
        for session in (connect_to(sandbox)._connection.context.session, for_tokens):
            assert str(session.headers["User-Agent"]).startswith("sacnb ")
