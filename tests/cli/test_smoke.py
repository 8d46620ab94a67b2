"""The installation's own test, and the recording that it reads."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources

import pytest
from click.testing import Result

from sacnb._endpoints import metadata_path
from sacnb._tenant import Tenant
from sacnb.cli.commands import check as smoke
from sacnb.cli.failures import ExitCode
from sacnb.sandbox import Sandbox

Invoke = Callable[..., Result]


def test_it_ends_with_smoke_ok(invoke: Invoke) -> None:
    result = invoke("smoke")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "SMOKE OK"


def test_it_needs_no_network_and_no_optional_part() -> None:
    program = (
        "import sys, socket\n"
        "for name in ('aiohttp', 'altair', 'vl_convert', 'IPython', 'ipywidgets'):\n"
        "    sys.modules[name] = None\n"
        "def refuse(*_): raise RuntimeError('the network was used')\n"
        "socket.socket.connect = refuse\n"
        "sys.argv = ['sacnb', 'smoke']\n"
        "from sacnb.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("SMOKE OK\n")


def test_a_wrong_figure_is_noticed(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = smoke.recorded()
    monkeypatch.setattr(smoke, "recorded", lambda: dataclasses.replace(whole, table=whole.table.slice(1)))
    result = invoke("smoke")
    assert result.exit_code == ExitCode.NO
    assert "SMOKE FAILED: rows: expected 180, got 179" in result.stderr


def test_the_recording_is_what_the_sandbox_answers(sandbox: Sandbox, connect_to: Callable[..., Tenant]) -> None:
    tenant = connect_to(sandbox)
    data = resources.files("sacnb.cli") / "data"
    facts = tenant.model("US_EMPLOYMENT").facts(where={"Version": "public.Actual"}, since="2015")
    answer = json.loads(tenant.read(facts.url.removeprefix(sandbox.tenant_url)))
    recorded = json.loads((data / "us_employment_2015.json").read_bytes())
    assert answer["value"] == recorded["value"]
    assert answer.keys() == recorded.keys()
    metadata = tenant._connection.context.session.fetch(
        "GET",
        sandbox.tenant_url + metadata_path("US_EMPLOYMENT"),
        operation="read $metadata",
        accept="application/xml",
        expect="xml",
    )
    assert metadata.body == (data / "us_employment_metadata.xml").read_bytes()
