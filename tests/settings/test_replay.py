"""Replaying needs no tenant, and a cassette does not depend on the variables of one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacnb._endpoints import REPLAY_TENANT_URL, REPLAY_TOKEN_URL
from sacnb._settings import ReplayChoice, Settings
from sacnb.errors import SettingsError


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SAC_TENANT_URL": "sandbox"},
        {"SAC_TENANT_URL": "http://not-allowed.example", "SAC_AUTH": "nonsense"},
        {"SAC_TENANT_URL": "https://acme.eu10.hcs.cloud.sap", "SAC_CLIENT_ID": "mine", "SAC_CLIENT_SECRET": "canary"},
        {"SAC_TENANT_URL": "https://acme.eu10.hcs.cloud.sap", "SAC_TOKEN": "canary"},
    ],
)
def test_replaying_needs_no_tenant_and_looks_at_none(environ: dict[str, str]) -> None:
    settings = Settings.resolve(environ={**environ, "SAC_REPLAY": "replay", "SAC_REPLAY_CASSETTE": "first_read"})
    assert (settings.tenant_url, settings.token_url) == (REPLAY_TENANT_URL, REPLAY_TOKEN_URL)
    assert (settings.is_sandbox, settings.auth, settings.token) == (False, "client_credentials", None)
    assert (settings.client_id, settings.client_secret.reveal()) == ("replay", "replay")
    assert settings.replay_cassette == "first_read"


def test_recording_needs_a_tenant() -> None:
    with pytest.raises(SettingsError, match="SAC_TENANT_URL is missing"):
        Settings.resolve(environ={"SAC_REPLAY": "record"})


@pytest.mark.parametrize("mode", ["replay", "record"])
def test_request_shaping_variables_are_ignored_with_a_cassette(mode: str, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("SAC_STREAMS=2\n", encoding="utf-8")
    environ = {"SAC_TENANT_URL": "sandbox", "SAC_REPLAY": mode, "SAC_PAGE_SIZE": "7"}
    settings = Settings.resolve(environ=environ, dotenv_path=dotenv)
    assert (settings.page_size, settings.streams) == (50_000, 4)
    assert [note.split()[0] for note in settings.notes] == ["SAC_PAGE_SIZE", "SAC_STREAMS"]
    assert Settings.resolve(environ=environ, page_size=11).page_size == 11


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        ({}, {}, ReplayChoice(None, None)),
        ({"SAC_REPLAY": "off"}, {}, ReplayChoice("off", None)),
        ({"SAC_REPLAY": "record", "SAC_REPLAY_CASSETTE": "a"}, {}, ReplayChoice("record", "a")),
        ({"SAC_REPLAY": "record", "SAC_REPLAY_CASSETTE": "a"}, {"replay": "replay"}, ReplayChoice("replay", "a")),
        ({"SAC_REPLAY_CASSETTE": "a"}, {"replay_cassette": Path("b")}, ReplayChoice(None, "b")),
    ],
)
def test_the_choice_alone_can_be_asked_for(
    environ: dict[str, str], arguments: dict[str, str], expected: ReplayChoice
) -> None:
    assert ReplayChoice.resolve(environ=environ, **arguments) == expected


def test_an_unknown_replay_mode_is_refused() -> None:
    with pytest.raises(SettingsError, match="off, replay, record"):
        ReplayChoice.resolve(environ={"SAC_REPLAY": "on"})
