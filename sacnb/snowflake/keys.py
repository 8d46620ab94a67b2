"""The user's RSA key, read from every form in which Snowflake's users keep it, and the names that go into a token."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from typing import Any, Final, NoReturn

from sacnb._files import read_bounded
from sacnb._settings import Secret
from sacnb.errors import MissingExtraError, SettingsError

__all__ = ["PrivateKey", "account_host", "account_name", "user_name"]

_DOMAIN: Final = re.compile(r"\.snowflakecomputing\.(?:com|cn)$")
_CLOUDS: Final = frozenset({"aws", "azure", "gcp"})
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_MIN_KEY_BITS: Final = 2048
_PEM_MARK: Final = "-----BEGIN "
_HOW_TO_MAKE: Final = (
    "Make one with: openssl genrsa 2048 | openssl pkcs8 -topk8 -inform PEM -out rsa_key.p8 (add -nocrypt for no "
    "passphrase), and register its public key: alter user ... set rsa_public_key='...'."
)


def account_host(account: str) -> str:
    """Return the host of *account*: an identifier, a locator with its region, a host name or an address.

    Host names have no underscores, account names may: Snowflake serves them under dashes.
    Raises SettingsError where no host name can be made of it.
    """
    text = _bare(account)
    host = text if _DOMAIN.search(text) else f"{text}.snowflakecomputing.com"
    host = host.replace("_", "-")
    if not _HOST.fullmatch(host) or ".." in host:
        raise SettingsError(
            f"SNOWFLAKE_ACCOUNT is {account!r}; expected an account identifier such as 'myorg-myaccount', or a locator "
            "with its region such as 'xy12345.eu-central-1'."
        )
    return host


def account_name(account: str) -> str:
    """Return *account* as it stands in a token: upper case, without a region, and the organization joined by a dash.

    ``xy12345.eu-central-1.aws`` is a locator and its region, ``myorg.my_account`` an organization and its account.
    Region names contain dashes, and account names cannot.
    """
    head, *rest = [part for part in _DOMAIN.sub("", _bare(account)).split(".") if part != "privatelink"]
    if rest and rest[0] == "global":  # <account>-<external id>.global
        head, rest = head.partition("-")[0], []
    if rest and ("-" in rest[0] or rest[-1] in _CLOUDS):
        rest = []
    return "-".join((head, *rest)).upper()


def user_name(user: str) -> str:
    """Return *user* as it stands in a token. Raises SettingsError for an empty one."""
    name = user.strip().strip('"')
    if not name:
        raise SettingsError("SNOWFLAKE_USER is empty; expected the login name of a user with a registered public key.")
    return name.upper()


def _bare(account: str) -> str:
    text = re.sub(r"^https?://", "", account.strip().lower()).split("/")[0]
    if not text:
        raise SettingsError("SNOWFLAKE_ACCOUNT is empty; expected an account identifier such as 'myorg-myaccount'.")
    return text


class PrivateKey:
    """An RSA key of at least 2048 bits, which can sign and tell its public fingerprint, and never shows itself.

    Read from PEM (PKCS#8, encrypted PKCS#8, PKCS#1) or DER, as bytes, as text (line breaks may be escaped, as in
    variables of CI systems), or from a file. Raises SettingsError, whose text and traceback hold nothing of the key,
    and MissingExtraError.
    """

    __slots__ = ("_key", "fingerprint", "size_bits")

    def __init__(self, source: Secret | str | bytes | os.PathLike[str], passphrase: Secret | str | None = None) -> None:
        content = _content(source)
        given = passphrase if isinstance(passphrase, Secret) or passphrase is None else Secret(passphrase)
        problem, key = _load(content, given)
        if problem:
            raise SettingsError(problem)  # out here, so that the library's error with its frames is no context of it
        self._key: Any = key
        self.size_bits: int = key.key_size
        self.fingerprint = _fingerprint(key)
        """``SHA256:`` and the hash of the public key, as ``describe user`` shows it in RSA_PUBLIC_KEY_FP."""

    def sign(self, claims: dict[str, Any]) -> Secret:
        """Return *claims* as a JWT with an RS256 signature."""
        import jwt

        return Secret(jwt.encode(claims, self._key, algorithm="RS256"))

    def __repr__(self) -> str:
        return f"PrivateKey({self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A private key is not pickled. Send its path to the worker, and read it there.")


def _content(source: Secret | str | bytes | os.PathLike[str]) -> Secret:
    """Return the key as text; DER as base64 within the marks of PEM."""
    text: str | None = None
    if isinstance(source, Secret):
        text = source.reveal()
    elif isinstance(source, str) and _PEM_MARK in source:
        text = source
    if text is None and not isinstance(source, bytes):
        path = Path(str(source)).expanduser()
        try:
            source = read_bounded(path, 1)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
        except ValueError:
            reason = "no file has such a name"
        else:
            reason = ""
        if reason:
            # A text that is neither PEM nor a file may be the key itself without its first line: not repeated.
            shown = f"{str(path)!r}" if isinstance(source, os.PathLike) or len(str(source)) < 256 else "given"
            raise SettingsError(
                f"The private key {shown} cannot be read ({reason}). Expected a file, or the text of one that begins "
                f"with '{_PEM_MARK}'. {_HOW_TO_MAKE}"
            )
    if text is None:
        raw = source if isinstance(source, bytes) else b""
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):  # as Windows PowerShell writes it
            raw = raw.decode("utf-16", "replace").encode()
        text = raw.decode("latin-1") if _PEM_MARK.encode() in raw else _as_pem(raw)
    text = text.strip().strip("'\"")
    return Secret(text if "\n" in text else text.replace("\\n", "\n"))


def _as_pem(raw: bytes) -> str:
    # The outer sequence of encrypted PKCS#8 begins with another one, that of a plain key with a version number.
    head = raw[4:5] if raw[1:2] == b"\x82" else raw[2:3]
    label = "ENCRYPTED PRIVATE KEY" if head == b"\x30" else "PRIVATE KEY"
    return f"-----BEGIN {label}-----\n{base64.encodebytes(raw).decode()}-----END {label}-----\n"


def _load(content: Secret, passphrase: Secret | None) -> tuple[str, Any]:
    """Return the key, or what is wrong with it."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise MissingExtraError("snowflake", "Signing in to Snowflake with a key pair") from None
    is_encrypted = "ENCRYPTED" in content.reveal()
    word = passphrase.reveal().encode() if passphrase is not None and is_encrypted else None
    if is_encrypted and not word:
        return "The private key is encrypted; its passphrase is missing (SNOWFLAKE_PRIVATE_KEY_PASSPHRASE).", None
    try:
        key = load_pem_private_key(content.reveal().encode(), password=word)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if is_encrypted:
            return "The private key cannot be decrypted: is SNOWFLAKE_PRIVATE_KEY_PASSPHRASE the right one?", None
        return f"The private key cannot be read: it is damaged, or no PEM of PKCS#8 or PKCS#1. {_HOW_TO_MAKE}", None
    if not isinstance(key, RSAPrivateKey):
        return f"The private key is no RSA key, and Snowflake takes no others. {_HOW_TO_MAKE}", None
    if key.key_size < _MIN_KEY_BITS:
        return f"The RSA key has {key.key_size} bits; Snowflake asks for at least {_MIN_KEY_BITS}. {_HOW_TO_MAKE}", None
    return "", key


def _fingerprint(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode("ascii")
