"""Find the settings of Snowflake: in the arguments, then in the environment variables ``SNOWFLAKE_*``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sacnb._auth.sources import StaticToken, TokenSource
from sacnb._auth.token import MAX_LIFETIME_S, MIN_MARGIN_S
from sacnb._http import Origin
from sacnb._settings import Secret
from sacnb._settings.ca_bundle import usable_bundle
from sacnb.errors import SettingsError
from sacnb.snowflake.engine import MIGRATE_HINT
from sacnb.snowflake.keys import PrivateKey, account_host
from sacnb.snowflake.tokens import KeyPairJwt

__all__ = ["TOKEN_TYPES", "VARIABLES", "SnowflakeSettings", "resolve"]

TOKEN_TYPES: Final = ("KEYPAIR_JWT", "OAUTH", "PROGRAMMATIC_ACCESS_TOKEN")
# The argument of each variable is its name without the prefix, in lower case.
VARIABLES: Final[Mapping[str, str]] = {
    "SNOWFLAKE_ACCOUNT": "the account identifier, such as myorg-myaccount",
    "SNOWFLAKE_USER": "the login name of a user with a registered public key",
    "SNOWFLAKE_PRIVATE_KEY_FILE": "the file with the user's private key (PKCS#8 or PKCS#1, encrypted or not)",
    "SNOWFLAKE_PRIVATE_KEY": "the private key itself, in place of the file",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "the passphrase of an encrypted key",
    "SNOWFLAKE_DATABASE": "the database of the tables",
    "SNOWFLAKE_SCHEMA": "their schema",
    "SNOWFLAKE_URL": "the address of the account, where it is not https://<account>.snowflakecomputing.com",
    "SNOWFLAKE_CA_BUNDLE": "a PEM file with your company's certificate authority",
    "SNOWFLAKE_JWT_LIFETIME_S": "seconds a signed token lives, within 30 to 3600 (3600)",
    "SNOWFLAKE_REFRESH_MARGIN_S": "seconds before its end at which a token is refreshed, at least 30 (30)",
    "SNOWFLAKE_MAX_ANSWER_MB": "megabytes that one answer may unpack to: tokens, and the status of channels (64)",
    "SNOWFLAKE_TOKEN": "a pasted token in place of the key: deprecated, it cannot be refreshed",
    "SNOWFLAKE_TOKEN_TYPE": f"the kind of the pasted token: {', '.join(TOKEN_TYPES)} (OAUTH)",
}


@dataclass(frozen=True, slots=True)
class SnowflakeSettings:
    """The needs of a client; tokens come from ``source``, and are of Snowflake's kind ``token_type``."""

    url: str
    source: TokenSource = field(repr=False)
    token_type: str
    database: str | None
    schema: str | None
    verify: bool | str
    margin_s: float
    max_answer_mb: int = 64


def resolve(arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> SnowflakeSettings:
    """Return the settings in *arguments* and *environ* (by default the process's). Empty values count as not set.

    Raises SettingsError, for all that is missing at once, and MissingExtraError.
    """
    given = _Given(arguments, os.environ if environ is None else environ)
    key_source: Any = given.take("private_key_file") or given.secret("private_key")
    token, passphrase = given.secret("token"), given.secret("private_key_passphrase")
    account, user = given.text("account"), given.text("user")
    problems = []
    if not account:
        problems.append("SNOWFLAKE_ACCOUNT is missing; expected an account identifier such as 'myorg-myaccount'.")
    if token is None and not user:
        problems.append("SNOWFLAKE_USER is missing; expected the login name of a user with a registered public key.")
    if token is None and key_source is None:
        problems.append("SNOWFLAKE_PRIVATE_KEY_FILE is missing; expected the file with the user's private key.")
    if problems:
        raise SettingsError(problems)
    source: TokenSource
    if token is not None:
        source = StaticToken(token, setting="SNOWFLAKE_TOKEN", migrate_hint=MIGRATE_HINT)
        token_type = given.one_of("token_type", TOKEN_TYPES, "OAUTH")
    else:
        lifetime_s = given.number("jwt_lifetime_s", MAX_LIFETIME_S)
        source = KeyPairJwt(account, user, PrivateKey(key_source, passphrase), lifetime_s=lifetime_s)
        token_type = "KEYPAIR_JWT"  # noqa: S105 - the kind of a token
    return SnowflakeSettings(
        url=_address(given.text("url") or f"https://{account_host(account)}"),
        source=source,
        token_type=token_type,
        database=given.text("database") or None,
        schema=given.text("schema") or None,
        verify=_verify(given.text("ca_bundle")),
        margin_s=given.number("refresh_margin_s", MIN_MARGIN_S),
        max_answer_mb=given.whole("max_answer_mb", 64, "megabytes"),
    )


class _Given:
    """The values that are set, by argument."""

    def __init__(self, arguments: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        known = {variable.removeprefix("SNOWFLAKE_").lower(): variable for variable in VARIABLES}
        self._values = {
            argument: arguments[argument] if arguments.get(argument) is not None else environ.get(variable) or None
            for argument, variable in known.items()
        }

    def take(self, argument: str) -> Any:
        return self._values[argument]

    def secret(self, argument: str) -> Secret | None:
        value = self._values.pop(argument)
        if value is None or isinstance(value, Secret):
            return value
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if not isinstance(value, str):
            raise SettingsError(f"{_name(argument)} must be text, got a value of type {type(value).__name__}.")
        return Secret(value)

    def text(self, argument: str) -> str:
        value = self._values[argument]
        if value is not None and not isinstance(value, str | os.PathLike):
            raise SettingsError(f"{_name(argument)} must be text, got {value!r}.")
        return "" if value is None else os.fspath(value).strip()

    def number(self, argument: str, default: float) -> float:
        value = self._values[argument]
        try:
            number = default if value is None else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not number > 0:
            raise SettingsError(f"{_name(argument)} is {value!r}; expected a number of seconds, such as {default:g}.")
        return number

    def whole(self, argument: str, default: int, unit: str) -> int:
        value = self._values[argument]
        try:
            number = default if value is None else int(str(value))
        except ValueError:
            number = 0
        if number < 1:
            raise SettingsError(f"{_name(argument)} is {value!r}; expected {unit}, 1 or more, such as {default}.")
        return number

    def one_of(self, argument: str, allowed: tuple[str, ...], default: str) -> str:
        text = self.text(argument).upper() or default
        if text not in allowed:
            raise SettingsError(f"{_name(argument)} is {text!r}; expected {' or '.join(allowed)}.")
        return text


def _name(argument: str) -> str:
    return f"SNOWFLAKE_{argument.upper()}"


def _address(url: str) -> str:
    origin = Origin.of(url)
    if origin is None or not origin.may_carry_secrets:
        raise SettingsError(f"SNOWFLAKE_URL is {url!r}; expected an address such as https://myorg-acc.example.com.")
    return url.rstrip("/")


def _verify(bundle: str) -> bool | str:
    if not bundle:
        return True
    try:
        return usable_bundle(Path(bundle).expanduser())
    except ValueError as error:
        raise SettingsError(f"SNOWFLAKE_CA_BUNDLE {error}") from None
