"""Get a token from what the user pasted; and what every source of tokens is."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import requests
import urllib3

from sacnb import errors
from sacnb._auth.token import UNKNOWN_END, TokenEnvelope, is_token_text, utc_now
from sacnb._connections import open_session, watch
from sacnb._settings import Secret
from sacnb.errors import (
    AuthError,
    Cancelled,
    DeprecatedTokenWarning,
    MissingExtraError,
    RefreshError,
    RequestError,
    SacError,
    SettingsError,
    warn_user,
)

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


# Stands in requests of a kernel for the token that only the Jupyter server has; it opens nothing.
_KEPT: Final = "kept-by-the-jupyter-server"
_EVERYWHERE: Final = frozenset({"", "localhost", "0.0.0.0", "::", "*"})  # noqa: S104 - addresses that others listen on
_NO_SERVER_HINT: Final = (
    'SAC_AUTH=jupyter_server is for kernels of a Jupyter server with the extension of sacnb: pip install "sacnb[lab]" '
    "where the server is installed, and start it again."
)


class JupyterServer:
    """The tenant of the Jupyter server that started this kernel, which keeps secret and token to itself.

    ``fetch`` makes sure that the server has a valid token and returns its times. Requests go through the server, too.
    ``url`` and ``token`` are the server's; by default those of the server that started this process.
    """

    name = "jupyter_server"
    renewable = True

    def __init__(
        self,
        tenant_url: str,
        profile: str | None,
        *,
        url: str | None = None,
        token: Secret | None = None,
        timeout: tuple[float, float] = (10.0, 30.0),
        verify: bool | str = True,
    ) -> None:
        self.about = {"profile": profile or "", "tenant_url": tenant_url}
        self._place = None if url is None else (url, token or Secret(""))
        self._timeout = timeout
        self._verify = verify
        self._principal: str | None = None
        self._last: TokenEnvelope | None = None

    def __repr__(self) -> str:
        return "JupyterServer()"

    @property
    def principal(self) -> str:
        """The client or user of the server, under which results are cached. Raises RefreshError."""
        if self._principal is None:
            self.fetch(utc_now())
        assert self._principal is not None  # noqa: S101 - fetch has set it, or raised
        return self._principal

    @property
    def place(self) -> tuple[str, Secret]:
        """The address of the server's routes, and the server's own token. Raises SettingsError without a server."""
        if self._place is None:
            self._place = running_server()
        return self._place

    def fetch(self, now: datetime) -> TokenEnvelope:
        """Return the times of the server's token. Raises RefreshError as the server does."""
        last = self._last
        # Asked again long before the end, the caller wants a new one.
        force = last is not None and last.remaining_s(now) > 0.2 * last.lifetime_s
        url, token = self.place
        failure: SacError | None = None
        with open_session() as session, watch(sum(self._timeout)) as watched:
            try:
                reply = session.post(
                    f"{url}/token/ensure",
                    json={**self.about, "force": force},
                    headers={"Authorization": f"token {token.reveal()}"},
                    timeout=self._timeout,
                    verify=self._verify,
                    allow_redirects=False,
                )
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                failure = RefreshError(f"The Jupyter server did not answer ({type(error).__name__}).")
            if watched.ended == "stopped":
                failure = Cancelled("The operation was cancelled while it waited for a token.")
        if failure is not None:
            raise failure  # out here, so that no request with the server's token is its context
        found = read_reply(reply.status_code, reply.content)
        if found.get("is_refreshing"):
            raise RefreshError("The Jupyter server is still refreshing the token.", retry_after_s=1.0)
        try:
            self._principal = str(found["principal"])
            times = [found["token"][name] for name in ("issued_at", "expires_at")]
            issued, expires = (None if time is None else datetime.fromisoformat(time) for time in times)
        except (KeyError, TypeError, ValueError):
            raise AuthError("The Jupyter server has another version of sacnb.", hint=_NO_SERVER_HINT) from None
        self._last = TokenEnvelope(Secret(_KEPT), issued_at=issued or now, expires_at=expires or UNKNOWN_END)
        return self._last


def read_reply(status: int, body: bytes) -> Mapping[str, Any]:
    """Return the JSON of a route of the Jupyter server. Raises the error in it, and AuthError for a foreign answer."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and status in {200, 202}:
        return found
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        raise _error_of(found["error"])
    if status == 403:
        raise AuthError("The Jupyter server does not accept the token of this kernel.", hint="Restart the kernel.")
    raise AuthError(f"The Jupyter server answered {status}.", hint=_NO_SERVER_HINT)


def _error_of(found: Mapping[str, Any]) -> SacError:
    """Return the error that the server has sent, as the class that it was there."""
    kind = getattr(errors, str(found.get("type")), None)
    message, hint = str(found.get("message")), found.get("hint") or None
    if not (isinstance(kind, type) and issubclass(kind, SacError)):
        return AuthError(f"The Jupyter server: {message}", hint=hint)
    if issubclass(kind, RefreshError):
        try:
            at = datetime.fromisoformat(str(found.get("last_attempt_at")))
        except ValueError:
            at = None
        return RefreshError(
            message,
            error_code=str(found.get("error_code", "refresh_failed")),
            last_attempt_at=at,
            retry_after_s=found.get("retry_after_s"),
            hint=hint,
        )
    if issubclass(kind, RequestError):
        about: dict[str, Any] = {name: found.get(name) for name in ("status", "code", "sac_number", "request_id")}
        return kind(message, hint=hint, **about)
    if kind in {errors.BadAnswer, errors.QueryError, AuthError, Cancelled}:
        return kind(message, hint=hint)
    return SettingsError(f"{message} {hint}" if hint else message)


def running_server() -> tuple[str, Secret]:
    """Return the address of sacnb's routes on the Jupyter server that started this process, and the server's token.

    A server writes both into its runtime folder, which only its user can read. On a hub the token is the user's
    (JUPYTERHUB_API_TOKEN; unconfirmed). Raises SettingsError where there is no such server.
    """
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError as error:
        raise MissingExtraError("lab", "SAC_AUTH=jupyter_server") from error
    parents = [pid for pid in (os.environ.get("JPY_PARENT_PID", ""), str(os.getppid())) if pid.isdecimal()]
    for file in (Path(jupyter_runtime_dir()) / f"jpserver-{pid}.json" for pid in parents):
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        host = "127.0.0.1" if found["hostname"] in _EVERYWHERE else found["hostname"]
        scheme = "https" if found["secure"] else "http"
        token = found["token"] or os.environ.get("JUPYTERHUB_API_TOKEN", "")
        return f"{scheme}://{host}:{found['port']}{found['base_url']}sacnb", Secret(token)
    raise SettingsError(
        f"This process is no kernel of a Jupyter server. {_NO_SERVER_HINT} Worker processes on another machine need a "
        "client of their own: sacnb.read_slice(slice, tenant=sacnb.connect(slice.spec, auth='client_credentials'))."
    )
