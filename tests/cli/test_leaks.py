"""The program at its most talkative, in good and bad weather, shows no secret and no piece of one."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import leaks
import pytest
from click.testing import Result

from sacnb.sandbox import Sandbox

CALLS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("models",), {}),
    (("models", "--json"), {}),
    (("describe", "US_EMPLOYMENT"), {}),
    (("refresh", "US_EMPLOYMENT", "--where", "Sector=31"), {}),
    (("export", "US_EMPLOYMENT", "--where", "Sector=31", "--output", "rows.csv"), {}),
    (("doctor",), {}),
    (("models",), {"name": "unauthorized", "on": "api"}),
    (("models",), {"name": "forbidden", "on": "api"}),
    (("models",), {"name": "html_login", "on": "api"}),
    (("models",), {"name": "token_invalid_client"}),
    (("models",), {"name": "truncated_json", "on": "token"}),
    (("doctor",), {"name": "token_invalid_client"}),
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The secrets that are sent, while http.client prints all that it sends."""
    found: set[str] = set()
    send = http.client.HTTPConnection.send

    def noted(connection: http.client.HTTPConnection, data: Any) -> None:
        text = bytes(data).decode("latin-1") if isinstance(data, bytes | bytearray) else ""
        found.update(re.findall(r"^(?:Authorization: \w+|Cookie:|x-csrf-token:) (?!Fetch)(\S+)", text, re.M | re.I))
        found.update(parse_qs(text.rpartition("\r\n")[2]).get("client_secret", ()))
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", noted)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    return found


def test_nothing_that_it_prints_or_writes_holds_a_secret(
    invoke: Callable[..., Result],
    tenant: Sandbox,
    sent: set[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = {}
    for number, (arguments, trouble) in enumerate(CALLS):
        if trouble:
            tenant.misbehave(**trouble)
        result = invoke("-vv", *arguments)
        tenant.behave()
        name = f"{number}: {' '.join(arguments)} {trouble.get('name', '')}"
        assert (result.exit_code == 0) == (not trouble), f"{name}: {result.output}"
        assert result.output
        texts[name] = f"{result.stdout}{result.stderr}{result.output}{result.exception!r}"
    texts["log"] = caplog.text + repr([vars(record) for record in caplog.records])
    for file in tmp_path.rglob("*"):
        if file.is_file():
            texts[file.name] = file.read_bytes().decode("latin-1")
    secrets = {one for one in {*sent, tenant.client_secret} if len(one) >= leaks.PIECE_CHARS}
    assert len(secrets) > 3
    assert len(texts) > len(CALLS) + 1
    found = leaks.places(texts, secrets)
    assert found == [], "\n".join(found[:20])
