"""Get tokens from an OAuth client, or from what the user pasted."""

from __future__ import annotations

import base64
import json
import logging
import re
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from sacnb._auth.endpoint import EndpointOptions, TokenEndpoint
from sacnb._auth.token import UNKNOWN_END, TokenEnvelope, is_token_text
from sacnb._http import seal
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


class ClientCredentials:
    """The technical user of an OAuth client: SAC's "2-legged" flow.

    ``style`` is the way in which the client identifies itself: ``"basic"``, a header with id and secret as they are and
    only ``grant_type`` in the body, or ``"body"``, all three in the body. In the header they are *not* form-encoded
    first, although RFC 6749 2.3.1 asks for it: SAC's ids hold ``!`` and ``|``, and every client known to work sends
    them raw. Raises SettingsError for an address that is not https (plain http is allowed to this machine only).
    """

    name = "client_credentials"
    renewable = True

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: Secret | str,
        *,
        style: Literal["basic", "body"] = "basic",
        options: EndpointOptions | None = None,
    ) -> None:
        client_secret = client_secret if isinstance(client_secret, Secret) else Secret(client_secret)
        self.principal = client_id
        self._secret = client_secret
        missing = [
            name
            for name, value in (("SAC_CLIENT_ID", client_id), ("SAC_CLIENT_SECRET", self._secret.reveal()))
            if not value
        ]
        if missing:
            raise SettingsError([f"{name} is missing, and client_credentials needs it." for name in missing])
        self._style = style
        self._endpoint = TokenEndpoint(token_url, options or EndpointOptions())

    def __repr__(self) -> str:
        return f"ClientCredentials({self._endpoint.host!r}, client_id={self.principal!r})"

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Ask the token endpoint once. Raises RefreshError; its traceback holds no secret."""
        try:
            return self._fetch(now)
        except BaseException as error:
            seal(error)
            raise

    def _fetch(self, now: datetime) -> TokenEnvelope:
        form: dict[str, Secret | str] = {"grant_type": "client_credentials"}
        if self._style == "body":
            form |= {"client_id": self.principal, "client_secret": self._secret}
        basic = (self.principal, self._secret) if self._style == "basic" else None
        return self._endpoint.token_in(self._endpoint.post(form, basic=basic, now=now), now)


class StaticToken:
    """A pasted token: deprecated, never refreshed, and of no use after the first 401.

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
