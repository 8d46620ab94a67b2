"""The variables a user can set, in one table, and the secrets among them, masked or in the system's keyring.

``.env.example`` and the documents are tested against the table.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sacnb._endpoints import REPLAY_TENANT_URL, REPLAY_TOKEN_URL
from sacnb._redact import Secret
from sacnb.errors import MissingExtraError, SettingsError

SANDBOX: Final = "sandbox"
_KEYRING_SERVICE: Final = "sacnb"


def documentation(page: str) -> str:
    """Return where people find a page of the documentation, which is not in the wheel.

    Its address begins with the URL ``Documentation`` of the project's metadata ([project.urls] in pyproject.toml).
    While that is not given, it is the page's place among the sources.
    """
    from importlib import metadata

    with suppress(metadata.PackageNotFoundError):
        for each in metadata.metadata("sacnb").get_all("Project-URL", ()):
            label, _, url = each.partition(",")
            if label.strip().lower() == "documentation":
                return f"{url.strip().rstrip('/')}/{page.removesuffix('.md')}.html"
    return f"{page} in the sources of sacnb"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable with its meaning, default and example as in ``.env.example``."""

    name: str
    meaning: str
    default: str
    example: str

    @property
    def argument(self) -> str:
        """Return the name of the argument of ``connect()``."""
        return self.name.removeprefix("SAC_").lower()


VARIABLES: Final = (
    Variable("SAC_PROFILE", "the profile with tenant and client, see sacnb init", "", "prod"),
    Variable("SAC_TENANT_URL", "the tenant, or 'sandbox' for the embedded one", "", "https://acme.eu10.hcs.cloud.sap"),
    Variable(
        "SAC_TOKEN_URL",
        "the Token URL of System > Administration > App Integration",
        "derived from the tenant URL where that is safe",
        "https://acme.authentication.eu10.hana.ondemand.com/oauth/token",
    ),
    Variable("SAC_CLIENT_ID", "the OAuth client's id", "", "sb-00000000-0000-0000-0000-000000000000!b0|client!b0"),
    Variable("SAC_CLIENT_SECRET", "the OAuth client's secret; single quotes keep $ and ! as they are", "", ""),
    Variable(
        "SAC_AUTH",
        "client_credentials, authorization_code for a named user who logs in, jupyter_server for a kernel whose "
        "Jupyter server has the client, or static for a pasted token",
        "client_credentials",
        "",
    ),
    Variable(
        "SAC_REDIRECT_URI",
        "where SAC sends the browser after a login, as registered with the OAuth client; port 0 takes a free one",
        "http://127.0.0.1:8414/",
        "",
    ),
    Variable("SAC_TOKEN", "a pasted access token: deprecated, it cannot be refreshed", "", ""),
    Variable("SAC_TOKEN_LIFETIME_S", "seconds assumed where SAC does not say, within 30 to 3600", "3600", ""),
    Variable(
        "SAC_REFRESH_MARGIN_S", "seconds before the end at which a token is refreshed, at least 30", "by policy", ""
    ),
    Variable("SAC_CONNECT_TIMEOUT_S", "seconds to wait for a connection", "10", ""),
    Variable("SAC_READ_TIMEOUT_S", "seconds to wait for the next bytes", "120", ""),
    Variable("SAC_DEADLINE_S", "seconds for one request with all its retries", "900", ""),
    Variable("SAC_MAX_ATTEMPTS", "tries for one request", "4", ""),
    Variable("SAC_PAGE_SIZE", "rows asked for in one page", "50000", ""),
    Variable("SAC_STREAMS", "requests at the same time in one download", "4", ""),
    Variable("SAC_MAX_ANSWER_MB", "megabytes that one answer may unpack to", "512", ""),
    Variable("SAC_MAX_DOCUMENT_MB", "the same, for $metadata, lists and whatever else is no page of rows", "128", ""),
    Variable("SAC_MAX_LIST_ROWS", "rows of a list over all its pages, such as members or models", "1000000", ""),
    Variable("SAC_MAX_EMPTY_PAGES", "pages without a row that may follow one another", "1000", ""),
    Variable("SAC_CACHE_DIR", "where results are kept", "the platform's user cache folder", ""),
    Variable("SAC_CACHE_MAX_AGE_S", "seconds a kept result is served without asking SAC; 0 always asks", "0", ""),
    Variable("SAC_CACHE_HISTORY_MB", "megabytes for earlier results, see cache.as_of(); 0 keeps none", "256", ""),
    Variable("SAC_CA_BUNDLE", "the file with your company's certificate authority", "the usual bundle variables", ""),
    Variable("SAC_REPLAY", "off, replay or record", "off", ""),
    Variable("SAC_REPLAY_CASSETTE", "the cassette that SAC_REPLAY means, by its name or as a file", "", "first_read"),
    Variable("SAC_LOG", "debug, info, warning or error", "warning", ""),
    Variable("SAC_LOG_FORMAT", "plain, or json for one object a line", "plain", ""),
)


@dataclass(frozen=True, slots=True)
class Bound:
    """The megabytes that an answer may unpack to, and the setting that says so."""

    megabytes: int
    setting: str


ANSWER: Final = Bound(512, "SAC_MAX_ANSWER_MB")
DOCUMENT: Final = Bound(128, "SAC_MAX_DOCUMENT_MB")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what one connection takes in, by the settings ``SAC_MAX_...``; docs/security.md lists them.

    Pages of rows, and answers that are handed on as they are, have ``answer``. An answer that is parsed in one piece
    takes many times its length in memory, so it has ``document``, unless ``answer`` is smaller.
    """

    answer: Bound = ANSWER
    document: Bound = DOCUMENT
    list_rows: int = 1_000_000
    empty_pages: int = 1_000


# Those of Snowflake are read by its own room; a search for secrets knows them too.
SECRETS: Final = frozenset(
    {
        "SAC_CLIENT_SECRET",
        "SAC_TOKEN",
        "SNOWFLAKE_PRIVATE_KEY",
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
        "SNOWFLAKE_TOKEN",
    }
)
# They say which tenant is read, and as whom. A profile has its own, never mixed with those of the environment.
IDENTITY: Final = (
    "SAC_TENANT_URL",
    "SAC_TOKEN_URL",
    "SAC_CLIENT_ID",
    "SAC_CLIENT_SECRET",
    "SAC_AUTH",
    "SAC_REDIRECT_URI",
    "SAC_TOKEN",
)


# Placeholders for a replay, which asks no tenant.
REPLAYED: Final = MappingProxyType(
    {
        "tenant_url": REPLAY_TENANT_URL,
        "is_sandbox": False,
        "token_url": REPLAY_TOKEN_URL,
        "client_id": "replay",
        "client_secret": Secret("replay"),
        "auth": "client_credentials",
        "redirect_uri": "",
        "token": None,
    }
)


def keyring_secret(name: str) -> Secret:
    """Return the client secret of a profile from the system's keyring.

    Raises MissingExtraError without the extra ``keyring``, SettingsError where the keyring has or gives no secret.
    """
    keyring = system_keyring()
    try:
        text = keyring.get_password(_KEYRING_SERVICE, name)
    except keyring.errors.KeyringError as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SettingsError(
            f"The secret of the profile {name!r} is in the system's keyring, which does not give it: {reason:.200} "
            f"Unlock the keyring, or keep the secret in the file: sacnb init --profile {name}"
        ) from None
    if not text:
        raise SettingsError(
            f"The system's keyring has no secret of the profile {name!r}. Store it: sacnb init --profile {name} "
            "--keyring"
        )
    return Secret(text)


def keep_in_keyring(name: str, secret: Secret) -> None:
    """Store the client secret of a profile in the system's keyring, and see that it is there.

    Raises MissingExtraError without the extra ``keyring``, SettingsError where the keyring does not keep it.
    """
    keyring = system_keyring()
    try:
        keyring.set_password(_KEYRING_SERVICE, name, secret.reveal())
        is_kept = keyring.get_password(_KEYRING_SERVICE, name) == secret.reveal()
        reason = "what it returns differs from what was stored."
    except keyring.errors.KeyringError as error:
        is_kept, reason = False, str(error).partition("\n")[0] or type(error).__name__
    if not is_kept:
        raise SettingsError(f"The system's keyring does not keep the secret: {reason:.200} Leave --keyring out.")


def system_keyring() -> Any:
    """Return the module ``keyring``. Raises MissingExtraError without it."""
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise MissingExtraError("keyring", "A secret in the system's keyring") from error
    return keyring
