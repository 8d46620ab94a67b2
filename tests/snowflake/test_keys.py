"""The private key in all its forms, and names as they stand in a token."""

from __future__ import annotations

import base64
import hashlib
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sacnb._settings import Secret
from sacnb.errors import SettingsError
from sacnb.snowflake.keys import PrivateKey, account_host, account_name, user_name

WORD = "planted-passphrase"  # planted


def pem(
    key: Any, form: PrivateFormat = PrivateFormat.PKCS8, word: str | None = None, encoding: Encoding = Encoding.PEM
) -> bytes:
    encryption = BestAvailableEncryption(word.encode()) if word else NoEncryption()
    made: bytes = key.private_bytes(encoding, form, encryption)
    return made


@pytest.fixture(scope="module")
def fingerprint(rsa_key: Any) -> str:
    public = rsa_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("word", [None, WORD])
def test_a_key_is_read_from_every_form(
    form: PrivateFormat, word: str | None, rsa_key: Any, fingerprint: str, tmp_path: Path
) -> None:
    content = pem(rsa_key, form, word)
    path = tmp_path / "rsa_key.p8"
    path.write_bytes(content)
    sources: list[Any] = [content, content.decode(), Secret(content.decode()), path, str(path)]
    if not (word and form is PrivateFormat.TraditionalOpenSSL):  # the headers of such a file end with an empty line
        sources.append('"' + content.decode().strip().replace("\n", "\\n") + '"')
    assert {PrivateKey(source, word).fingerprint for source in sources} == {fingerprint}


@pytest.mark.parametrize("word", [None, WORD])
def test_a_key_is_read_from_der(word: str | None, rsa_key: Any, fingerprint: str) -> None:
    assert PrivateKey(pem(rsa_key, word=word, encoding=Encoding.DER), word).fingerprint == fingerprint


def test_a_passphrase_that_is_not_needed_does_no_harm(rsa_key: Any, fingerprint: str) -> None:
    assert PrivateKey(pem(rsa_key), WORD).fingerprint == fingerprint


@pytest.mark.parametrize(
    ("make", "word", "message"),
    [
        (lambda key: pem(key, word=WORD), None, "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"),
        (lambda key: pem(key, word=WORD), "wrong", "the right one"),
        (lambda key: pem(key)[:300], None, "damaged"),
        (lambda _: pem(ec.generate_private_key(ec.SECP256R1())), None, "no RSA key"),
        (lambda _: pem(rsa.generate_private_key(65537, 1024)), None, "1024 bits"),
        (lambda _: "/no/such/file.p8", None, "No such file"),
        (lambda _: "", None, "cannot be read"),
    ],
)
def test_a_bad_key_is_named_without_showing_it(make: Any, word: str | None, message: str, rsa_key: Any) -> None:
    source = make(rsa_key)
    with pytest.raises(SettingsError, match=message) as caught:
        PrivateKey(source, word)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=False).format())
    body = source.decode() if isinstance(source, bytes) else "nothing"
    assert not any(line in shown for line in body.splitlines() if len(line) > 40 and not line.startswith("---"))


def test_a_key_shows_itself_nowhere(rsa_key: Any) -> None:
    key = PrivateKey(pem(rsa_key))
    assert repr(key) == f"PrivateKey({key.fingerprint})"
    assert str(key) == repr(key)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize(
    ("account", "host", "name"),
    [
        ("xy12345", "xy12345.snowflakecomputing.com", "XY12345"),
        (" XY12345.eu-central-1 ", "xy12345.eu-central-1.snowflakecomputing.com", "XY12345"),
        ("xy12345.west-us-2.azure", "xy12345.west-us-2.azure.snowflakecomputing.com", "XY12345"),
        ("xy12345.eu-central-1.privatelink", "xy12345.eu-central-1.privatelink.snowflakecomputing.com", "XY12345"),
        ("myorg-my_account", "myorg-my-account.snowflakecomputing.com", "MYORG-MY_ACCOUNT"),
        ("myorg.my_account", "myorg.my-account.snowflakecomputing.com", "MYORG-MY_ACCOUNT"),
        ("acc-ext1.global", "acc-ext1.global.snowflakecomputing.com", "ACC"),
        ("https://myorg-acc.snowflakecomputing.com/", "myorg-acc.snowflakecomputing.com", "MYORG-ACC"),
        ("myorg-acc.snowflakecomputing.cn", "myorg-acc.snowflakecomputing.cn", "MYORG-ACC"),
    ],
)
def test_accounts_become_hosts_and_names(account: str, host: str, name: str) -> None:
    assert account_host(account) == host
    assert account_name(account) == name


@pytest.mark.parametrize("account", ["", "  ", "a b", "ä", "a..b", "https://", "user@host"])
def test_what_is_no_account_is_refused(account: str) -> None:
    with pytest.raises(SettingsError, match="SNOWFLAKE_ACCOUNT"):
        account_host(account)


def test_users_are_upper_case() -> None:
    assert user_name(' "svc_sac" ') == "SVC_SAC"
    with pytest.raises(SettingsError, match="SNOWFLAKE_USER"):
        user_name(" ")


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig", "utf-16-be"])
def test_a_key_file_of_windows_is_read(coding: str, rsa_key: Any, fingerprint: str, tmp_path: Path) -> None:
    text = ("\ufeff" if coding == "utf-16-be" else "") + pem(rsa_key).decode().replace("\n", "\r\n")
    (tmp_path / "key.p8").write_bytes(text.encode(coding))
    assert PrivateKey(tmp_path / "key.p8").fingerprint == fingerprint
