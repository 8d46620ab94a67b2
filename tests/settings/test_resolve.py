"""Arguments, then the environment, then .env, then defaults; every problem at once; no secret shown."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import fields
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import certifi
import pytest

from sacnb._settings import VARIABLES, Secret, Settings, variables
from sacnb.errors import SettingsError

TENANT = "https://acme.eu10.hcs.cloud.sap"
COMPLETE = {"SAC_TENANT_URL": TENANT, "SAC_CLIENT_ID": "sb-1!b2|client!b3", "SAC_CLIENT_SECRET": "canary$secret="}


def test_every_field_has_a_variable_and_every_variable_a_field() -> None:
    named = {f.name for f in fields(Settings)} - {"is_sandbox", "notes", "warnings", "sources", "dotenv_path"}
    assert named == {v.argument for v in VARIABLES}


def test_the_defaults_are_those_the_table_states(tmp_path: Path) -> None:
    settings = Settings.resolve(environ=COMPLETE)
    stated = {v.argument: v.default for v in VARIABLES}
    for name in ("token_lifetime_s", "connect_timeout_s", "read_timeout_s", "deadline_s", "cache_max_age_s"):
        assert getattr(settings, name) == float(stated[name])
    for name in ("max_attempts", "page_size", "streams"):
        assert getattr(settings, name) == int(stated[name])
    for name in ("auth", "replay", "log"):
        assert getattr(settings, name) == stated[name]
    assert settings.refresh_margin_s is None
    assert settings.ca_bundle is None
    assert settings.cache_dir.name == "sacnb"


def test_an_argument_wins_over_the_environment_and_that_over_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / "my.env"
    dotenv.write_text("SAC_PAGE_SIZE=1\nSAC_STREAMS=1\nSAC_MAX_ATTEMPTS=1\n", encoding="utf-8")
    environ = {**COMPLETE, "SAC_PAGE_SIZE": "2", "SAC_STREAMS": "2"}
    settings = Settings.resolve(environ=environ, dotenv_path=dotenv, page_size=3)
    assert (settings.page_size, settings.streams, settings.max_attempts) == (3, 2, 1)


def test_dotenv_is_found_from_the_working_directory_upwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(f"SAC_TENANT_URL={TENANT}\nSAC_TOKEN=t\n", encoding="utf-8")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert Settings.resolve().tenant_url == TENANT


def test_a_secret_in_dotenv_keeps_its_dollar_and_its_braces(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    secret = "0e0e$aB${HOME}!x|="
    dotenv.write_text(
        f"\ufeffSAC_TENANT_URL={TENANT}\nSAC_CLIENT_ID='sb-1!b2|c'\nSAC_CLIENT_SECRET='{secret}'\n", "utf-8"
    )
    settings = Settings.resolve(environ={}, dotenv_path=dotenv)
    assert settings.client_secret.reveal() == secret
    assert settings.client_id == "sb-1!b2|c"


def test_a_dotenv_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.env"):
        Settings.resolve(environ={}, dotenv_path=tmp_path / "nowhere.env")


def test_a_dotenv_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SAC_TENANT_URL=\xff\xfe")
    with pytest.raises(SettingsError, match="UTF-8"):
        Settings.resolve(environ={}, dotenv_path=tmp_path / ".env")


def test_an_empty_environment_names_everything_that_is_missing_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(environ={})
    text = str(caught.value)
    assert [name in text for name in ("SAC_TENANT_URL", "SAC_CLIENT_ID", "SAC_CLIENT_SECRET")] == [True] * 3
    assert "sandbox" in text
    assert "https://acme.eu10.hcs.cloud.sap" in text
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Run sacnb init")


@pytest.mark.parametrize("blank", ["", "   "])
def test_an_empty_variable_is_a_missing_one(blank: str) -> None:
    with pytest.raises(SettingsError, match="SAC_CLIENT_SECRET is missing"):
        Settings.resolve(environ={**COMPLETE, "SAC_CLIENT_SECRET": blank})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SAC_PAGE_SIZE", "many", "a whole number"),
        ("SAC_PAGE_SIZE", "0", "a whole number"),
        ("SAC_PAGE_SIZE", "1.5", "a whole number"),
        ("SAC_STREAMS", "17", "from 1 to 16"),
        ("SAC_MAX_ATTEMPTS", "-1", "a whole number"),
        ("SAC_READ_TIMEOUT_S", "0", "more than 0"),
        ("SAC_READ_TIMEOUT_S", "nan", "more than 0"),
        ("SAC_DEADLINE_S", "inf", "more than 0"),
        ("SAC_CACHE_MAX_AGE_S", "-1", "0 or more"),
        ("SAC_CACHE_HISTORY_MB", "-1", "megabytes, 0 or more"),
        ("SAC_REFRESH_MARGIN_S", "29", "at least 30"),
        ("SAC_AUTH", "basic", "client_credentials, authorization_code, static"),
        ("SAC_REPLAY", "on", "off, replay, record"),
        ("SAC_LOG", "loud", "debug, info, warning, error"),
        ("SAC_CA_BUNDLE", "/no/such/file.pem", "PEM file"),
        ("SAC_TOKEN_URL", "http://acme.example/oauth/token", "only over https"),
    ],
)
def test_a_malformed_variable_is_named_with_what_was_expected(variable: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(environ={**COMPLETE, variable: value})
    assert len(caught.value.problems) == 1
    assert variable in str(caught.value)
    assert expected in str(caught.value)


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(SettingsError, match="no argument 'tenant'"):
        Settings.resolve(environ=COMPLETE, tenant="x")


def test_an_argument_of_the_wrong_type_is_named() -> None:
    with pytest.raises(SettingsError, match="argument client_id must be a text, not int"):
        Settings.resolve(environ=COMPLETE, client_id=7)


def test_the_sandbox_needs_nothing_else() -> None:
    settings = Settings.resolve(environ={"SAC_TENANT_URL": "sandbox"})
    assert settings.is_sandbox
    pointed = settings.with_sandbox(
        tenant_url="http://127.0.0.1:1", token_url="http://127.0.0.1:1/t", client_id="i", client_secret="s"
    )
    assert (pointed.tenant_url, pointed.client_secret.reveal(), pointed.is_sandbox) == ("http://127.0.0.1:1", "s", True)


def test_the_token_url_is_derived_where_that_is_safe_with_a_note() -> None:
    settings = Settings.resolve(environ=COMPLETE)
    assert settings.token_url == "https://acme.authentication.eu10.hana.ondemand.com/oauth/token"
    assert any("derived" in note for note in settings.notes)


@pytest.mark.parametrize("tenant", ["https://sac.acme.example", "https://acme.us1.sapanalytics.cloud"])
def test_the_token_url_is_asked_for_where_it_cannot_be_derived(tenant: str) -> None:
    with pytest.raises(SettingsError, match="SAC_TOKEN_URL is missing"):
        Settings.resolve(environ={**COMPLETE, "SAC_TENANT_URL": tenant})


def test_a_pasted_token_alone_means_static() -> None:
    settings = Settings.resolve(environ={"SAC_TENANT_URL": "https://sac.acme.example", "SAC_TOKEN": "t"})
    assert settings.auth == "static"
    assert settings.token == Secret("t")


def test_static_without_a_token_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match="SAC_TOKEN is missing"):
        Settings.resolve(environ={"SAC_TENANT_URL": TENANT, "SAC_AUTH": "static"})


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_usual_bundle_variables_are_used_where_ours_is_not_set(tmp_path: Path, name: str) -> None:
    bundle, other = tmp_path / "corporate.pem", tmp_path / "own.pem"
    for file in (bundle, other):
        shutil.copy(certifi.where(), file)
    assert Settings.resolve(environ={**COMPLETE, name: str(bundle)}).ca_bundle == bundle
    assert Settings.resolve(environ={**COMPLETE, name: str(bundle), "SAC_CA_BUNDLE": str(other)}).ca_bundle == other


def test_a_secret_is_never_shown_and_never_pickled() -> None:
    settings = Settings.resolve(environ={**COMPLETE, "SAC_TOKEN": "canary-token"})
    shown = repr(settings) + str(settings) + repr(settings.client_secret) + f"{settings.client_secret}"
    assert "canary" not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(settings)


def _hash_of(value: Any) -> int:
    return hash(value)


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert _hash_of(Secret("a")) == _hash_of(Secret("a"))


def test_a_page_is_an_address_once_the_project_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables.documentation("docs/access.md") == "docs/access.md in the sources of sacnb"
    found = Message()
    found["Project-URL"] = "Documentation, https://docs.acme.example/sacnb/"
    monkeypatch.setattr(metadata, "metadata", lambda _: found)
    assert variables.documentation("docs/access.md") == "https://docs.acme.example/sacnb/docs/access.html"
