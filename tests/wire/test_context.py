"""The engine that ``connect()`` builds out of the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from sacnb._auth import ClientCredentials, StaticToken, TokenEnvelope
from sacnb._settings import Secret, Settings
from sacnb._wire import DispatchContext, Telemetry, build_context
from sacnb.errors import DeprecatedTokenWarning, SettingsError


class Somebody:
    name = "somebody"
    principal = "somebody@acme.example"
    renewable = True

    def fetch(self, now: datetime) -> TokenEnvelope:
        return TokenEnvelope(Secret("theirs"), now, now + timedelta(hours=1))


def test_the_settings_reach_their_places(
    tenant: Any, connect: Callable[..., DispatchContext], authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = connect(
        tenant,
        connect_timeout_s=3,
        read_timeout_s=70,
        deadline_s=400,
        max_attempts=7,
        max_answer_mb=3,
        refresh_margin_s=90,
        ca_bundle=str(bundle),
    )
    assert context.session.timeout == (3.0, 70.0)
    assert context.session.verify == str(bundle)
    assert context.session.limits.answer.megabytes == 3
    assert (context.retry_plan.max_attempts, context.retry_plan.deadline_s) == (7, 400.0)
    assert context.refresh_policy.margin_s == 90.0
    assert context.guard.policy is context.refresh_policy
    assert context.session.guard is context.guard
    assert context.session.telemetry is context.telemetry
    assert isinstance(context.guard.source, ClientCredentials)
    assert context.guard.principal == "sb-client!b1|client!b2"
    assert not tenant.seen  # building sends nothing


def test_without_a_bundle_requests_own_is_used(tenant: Any, connect: Callable[..., DispatchContext]) -> None:
    assert connect(tenant).session.verify is True


@pytest.mark.parametrize(("configured_s", "lifetime_s"), [(1200, 1200.0), (5, 30.0), (86400, 3600.0)])
def test_the_assumed_lifetime_is_clamped(
    configured_s: float, lifetime_s: float, tenant: Any, reply: Any, connect: Callable[..., DispatchContext]
) -> None:
    tenant.answers["/oauth/token"] = [reply(body=b'{"access_token":"t"}')]
    assert connect(tenant, token_lifetime_s=configured_s).guard.ensure().token.lifetime_s == lifetime_s


def test_the_guard_tells_the_telemetry(tenant: Any, connect: Callable[..., DispatchContext]) -> None:
    context = connect(tenant)
    context.guard.ensure()
    assert context.telemetry.summary().refreshes == {"absent": 1}


def test_a_token_that_was_pasted(tenant: Any, settings_for: Callable[..., Settings]) -> None:
    settings = settings_for(tenant, token="pasted", client_id=None, client_secret=None)
    with pytest.warns(DeprecatedTokenWarning):
        context = build_context(settings)
    with context:
        assert isinstance(context.guard.source, StaticToken)
        context.session.get("/x")
    assert tenant.seen[-1].bearer == "pasted"


def test_static_without_a_token_is_refused(tenant: Any, settings_for: Callable[..., Settings]) -> None:
    settings = dataclasses.replace(settings_for(tenant), auth="static")
    with pytest.raises(SettingsError, match="SAC_TOKEN is missing"):
        build_context(settings)


def test_a_source_and_a_telemetry_of_ones_own(tenant: Any, settings_for: Callable[..., Settings]) -> None:
    telemetry = Telemetry()
    with build_context(settings_for(tenant), source=Somebody(), telemetry=telemetry) as context:
        assert context.guard.principal == "somebody@acme.example"
        assert context.telemetry is telemetry
        context.session.fetch("GET", "/x", operation="x")
    assert tenant.seen[-1].bearer == "theirs"


def test_a_closed_context_can_send_again(tenant: Any, connect: Callable[..., DispatchContext]) -> None:
    context = connect(tenant)
    context.session.get("/x")
    context.close()
    assert context.session.get("/x").status_code == 200


def test_the_wall_clock_is_the_real_one_by_default(tenant: Any, settings_for: Callable[..., Settings]) -> None:
    with build_context(settings_for(tenant)) as context:
        issued_at = context.guard.ensure().token.issued_at
    assert abs(issued_at - datetime.now(UTC)) < timedelta(seconds=60)
