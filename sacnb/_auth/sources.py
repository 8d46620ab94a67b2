"""Get a token from what the user pasted; and what every source of tokens is."""

from __future__ import annotations

import base64
import json
import logging
import re
from datetime import UTC, datetime
from typing import Final, Protocol

from sacnb._auth.token import UNKNOWN_END, TokenEnvelope, is_token_text
from sacnb._settings import Secret
from sacnb.errors import DeprecatedTokenWarning, RefreshError, SettingsError, warn_user

log = logging.getLogger("sacnb.auth")

MIGRATE_HINT: Final = (
    "Create an OAuth client (System > Administration > App Integration), set SAC_CLIENT_ID and SAC_CLIENT_SECRET, and "
    "remove SAC_TOKEN: tokens are then obtained and refreshed automatically."
)

_PASTED_SCHEME: Final = re.compile(r"^bearer(?:\s+|$)", re.IGNORECASE)


class TokenSource(Protocol):
    """Obtains tokens. ``fetch`` is called by one thread at a time, by the guard, which does everything else.

    ``name`` is for logs. ``principal`` is the owner of the tokens, stable and not secret: results are cached under it,
    since two users may see different rows. ``renewable`` is false where a second ``fetch`` cannot help.
    """

    @property
    def name(self) -> str:
        """Return the kind of source, for logs."""
        ...

    @property
    def principal(self) -> str:
        """Return the owner of the tokens."""
        ...

    @property
    def renewable(self) -> bool:
        """Return whether another ``fetch`` can bring a newer token."""
        ...

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Return a token. Raises RefreshError, ``non_retriable`` where something must be changed first."""
        ...


class StaticToken:
    """A pasted token: deprecated, never refreshed, and useless after the first 401.

    The expiry is read from a JWT. Of any other token only SAC knows it, and ``expires_at`` is ``UNKNOWN_END``. Warns
    with DeprecatedTokenWarning and in the log. ``setting`` names the token in messages; ``migrate_hint`` tells how to
    get one that can be refreshed.
    """

    name = "static"
    principal = "static"
    renewable = False

    def __init__(self, value: Secret | str, *, setting: str = "SAC_TOKEN", migrate_hint: str = MIGRATE_HINT) -> None:
        self.migrate_hint = migrate_hint
        self._setting = setting
        value = value if isinstance(value, Secret) else Secret(value)  # from here on no traceback shows it
        text = _PASTED_SCHEME.sub("", value.reveal().strip(), count=1)
        if not is_token_text(text):
            del text
            raise SettingsError(
                f"{setting} is empty or holds blanks or line breaks; expected the access token alone. {migrate_hint}"
            )
        self._value = Secret(text)
        log.warning("A pasted token (%s) is used; it cannot be refreshed. %s", setting, migrate_hint)
        warn_user(f"A pasted token cannot be refreshed. {migrate_hint}", DeprecatedTokenWarning)

    def __repr__(self) -> str:
        return "StaticToken(**********)"

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Return the pasted token. Raises RefreshError if its own expiry has passed."""
        expires_at = expiry_of_jwt(self._value)
        if expires_at is not None and expires_at <= now:
            raise RefreshError(
                f"The pasted token ({self._setting}) expired at {expires_at:%Y-%m-%d %H:%M} UTC.",
                error_code="non_retriable",
                hint=self.migrate_hint,
            )
        return TokenEnvelope(self._value, issued_at=now, expires_at=expires_at or UNKNOWN_END)


def expiry_of_jwt(token: Secret) -> datetime | None:
    """Return the ``exp`` claim. The signature is not checked: the claim only spares a request that would fail."""
    parts = token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None
