"""Settings come from arguments, then from the environment; secrets stay hidden."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

import sacnb.snowflake
from sacnb._settings import configured_secrets
from sacnb.errors import DeprecatedTokenWarning, SettingsError
from sacnb.snowflake.settings import VARIABLES, resolve

WORD = "planted-passphrase"  # planted
TOKEN = "planted-token-0123456789"  # planted


@pytest.fixture
def environ(rsa_key: Any, tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "key.p8"
    path.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(WORD.encode())))
    return {
        "SNOWFLAKE_ACCOUNT": "myorg-acc",
        "SNOWFLAKE_USER": "svc",
        "SNOWFLAKE_PRIVATE_KEY_FILE": str(path),
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": WORD,
        "SNOWFLAKE_DATABASE": "db",
        "SNOWFLAKE_SCHEMA": "",
    }


def test_variables_are_read_and_arguments_win(environ: dict[str, str]) -> None:
    found = resolve({}, environ)
    assert (found.url, found.token_type, found.database, found.schema, found.margin_s, found.verify) == (
        "https://myorg-acc.snowflakecomputing.com",
        "KEYPAIR_JWT",
        "db",
        None,
        30,
        True,
    )
    assert found.source.principal == "MYORG-ACC.SVC"
    found = resolve({"user": "other", "url": "https://127.0.0.1:8443/", "refresh_margin_s": 60}, environ)
    assert (found.source.principal, found.url, found.margin_s) == ("MYORG-ACC.OTHER", "https://127.0.0.1:8443", 60)


def test_the_key_may_be_text(environ: dict[str, str]) -> None:
    environ["SNOWFLAKE_PRIVATE_KEY"] = Path(environ.pop("SNOWFLAKE_PRIVATE_KEY_FILE")).read_text()
    assert resolve({}, environ).source.principal == "MYORG-ACC.SVC"


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        sacnb.snowflake.connect(environ={})
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "SNOWFLAKE_ACCOUNT",
        "SNOWFLAKE_USER",
        "SNOWFLAKE_PRIVATE_KEY_FILE",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "http://myorg.example"),
        ("url", "ftp://x"),
        ("ca_bundle", "/no/such/file.pem"),
        ("jwt_lifetime_s", "soon"),
        ("jwt_lifetime_s", 0),
        ("refresh_margin_s", "nan"),
        ("account", 3),
    ],
)
def test_what_is_malformed_is_named(name: str, value: Any, environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"SNOWFLAKE_{name.upper()}"):
        resolve({name: value}, environ)


def test_a_pasted_token_works_with_a_warning(environ: dict[str, str]) -> None:
    with pytest.warns(DeprecatedTokenWarning, match="SNOWFLAKE_PRIVATE_KEY_FILE"):
        found = resolve({"token": TOKEN, "token_type": "programmatic_access_token"}, environ)
    assert (found.source.name, found.token_type) == ("static", "PROGRAMMATIC_ACCESS_TOKEN")
    assert TOKEN not in f"{found!r}{found.source!r}"


def test_secrets_are_in_no_repr_and_no_error(environ: dict[str, str]) -> None:
    found = resolve({}, environ)
    assert WORD not in f"{found!r}{vars(found.source)!r}"
    with pytest.raises(SettingsError) as caught:
        resolve({"private_key_passphrase": "planted-wrong-word"}, environ)  # planted
    assert "planted" not in str(caught.value)


def test_every_variable_is_an_argument() -> None:
    import inspect

    arguments = set(inspect.signature(sacnb.snowflake.connect).parameters) - {"environ"}
    assert {f"SNOWFLAKE_{name.upper()}" for name in arguments} == set(VARIABLES)


def test_importing_is_light() -> None:
    heavy = "{'polars', 'pandas', 'pyarrow', 'cryptography', 'jwt', 'aiohttp', 'requests'}"
    code = f"import sys, sacnb.snowflake; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_search_for_secrets_knows_those_of_snowflake() -> None:
    environ = {"SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": WORD, "SNOWFLAKE_TOKEN": TOKEN}
    assert {secret.reveal() for secret in configured_secrets(environ=environ)} == {WORD, TOKEN}
