"""Log a named user in: show the link, wait for the browser or for what is pasted, and enter the token."""

from __future__ import annotations

import getpass
import os
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from sacnb._auth.guard import TokenGuard
from sacnb._auth.named_user import AuthorizationCode, Who, who_of
from sacnb._auth.named_user_login import Listener, is_served_here, read_pasted
from sacnb._auth.token import TokenEnvelope
from sacnb._http import seal
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._settings import Secret, Settings
from sacnb.errors import AuthError

__all__ = ["Browser", "Identity", "find_browser", "identity", "log_in", "user_source"]

PROMPT: Final = "Address of the page that the browser ends at, or the code in it (not shown): "
# Where one of these is set, the user's browser is on another machine.
_REMOTE: Final = ("SSH_CONNECTION", "SSH_TTY", "JUPYTERHUB_SERVICE_PREFIX", "COLAB_RELEASE_TAG", "CODESPACES")
_ANY_PORT: Final = 8414

_KINDS: Final = {"authorization_code": "named user", "static": "pasted token"}

Browser = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Identity(Previewed):
    """The user and the client that a connection acts as.

    ``kind`` is ``"named user"``, ``"technical user"`` or ``"pasted token"``. ``user`` and ``email`` are what the token
    says, empty where it does not say. ``is_kept`` tells that the login is in the system's keyring.
    """

    kind: str
    user: str
    email: str
    client_id: str
    tenant_host: str
    expires_at: datetime | None
    is_kept: bool

    def __str__(self) -> str:
        user = self.user or ("a user whose name the token does not say" if self.kind == "named user" else self.kind)
        return f"{user} at {self.tenant_host}" + (", kept in the system's keyring" if self.is_kept else "")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001, ARG002 - IPython's signature
        printer.text(str(self))

    def _preview(self) -> Preview:
        facts = {
            "kind": self.kind,
            "user": self.user or "the token does not say",
            "e-mail": self.email or "the token does not say",
            "tenant": self.tenant_host,
            "token valid until": f"{self.expires_at:%Y-%m-%d %H:%M:%S} UTC" if self.expires_at else "it does not say",
        }
        if self.kind == "named user":
            facts["login"] = "kept in the system's keyring" if self.is_kept else "ends with this program"
        return fact_table("Who am I", facts)


def identity(guard: TokenGuard, settings: Settings, tenant_host: str) -> Identity:
    """Return who *guard* has tokens for; gets one if need be. Raises RefreshError."""
    token, source = guard.ensure().token, guard.source
    named = source if isinstance(source, AuthorizationCode) else None
    who = who_of(token.value) if named is None and settings.auth == "static" else Who() if named is None else named.who
    return Identity(
        kind=_KINDS.get(settings.auth, "technical user"),
        user=who.user,
        email=who.email,
        client_id=settings.client_id,
        tenant_host=tenant_host,
        expires_at=token.expires_at if token.end_is_known else None,
        is_kept=named is not None and named.is_kept,
    )


def find_browser() -> Browser | None:
    """Return how to open a browser window on this machine; ``None`` where the user would not see it."""
    if any(os.environ.get(name) for name in _REMOTE):
        return None
    with suppress(webbrowser.Error):
        found = webbrowser.get()
        # A browser in the terminal would take it from the program that waits for the login.
        is_text = isinstance(found, webbrowser.GenericBrowser) and not isinstance(found, webbrowser.BackgroundBrowser)
        return None if is_text else found.open
    return None


def user_source(guard: TokenGuard) -> AuthorizationCode:
    """Return the source of *guard*. Raises AuthError where no named user can log in."""
    if not isinstance(guard.source, AuthorizationCode):
        raise AuthError(
            f"This connection signs in with {guard.source.name.replace('_', ' ')}, so nobody can log in.",
            hint='Set SAC_AUTH=authorization_code, or connect with sacnb.connect(auth="authorization_code").',
        )
    return guard.source


def log_in(
    guard: TokenGuard,
    *,
    to: str,
    keep: bool,
    paste: bool | None,
    timeout_s: float,
    show: Callable[[str], None] | None = None,
    ask: Callable[[str], str] | None = None,
    find: Callable[[], Browser | None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TokenEnvelope:
    """Log a named user in, and return the token, which *guard* gives out from now on.

    ``show`` shows the link, by default on stdout. With ``paste`` the user pastes the address through ``ask``, which
    must not show it; by default only where ``find`` finds no browser, or SAC does not send it to this machine.
    Raises AuthError, RefreshError, and SettingsError where *keep* is not possible.
    """
    source = user_source(guard)
    if keep:
        source.check_keeping()
    show = show or (lambda link: print(f"Log in to {to}: {link}", flush=True))  # noqa: T201 - a user asked for it
    ask = ask or getpass.getpass  # looked up now: Jupyter replaces it while a cell runs
    browser = (find or find_browser)()
    is_here = is_served_here(source.redirect_uri)
    if paste is False and not is_here:
        raise AuthError(
            f"SAC sends the browser to {source.redirect_uri}, which is not this machine.",
            hint="Paste the address, or set SAC_REDIRECT_URI to http://127.0.0.1:8414/ here and at the OAuth client.",
        )
    try:
        if paste or (paste is None and (browser is None or not is_here)):
            attempt = source.begin(_with_port(source.redirect_uri))
            show(attempt.url)
            code = read_pasted(attempt, Secret(ask(PROMPT)))
        else:
            listener = Listener(source.redirect_uri)
            attempt = source.begin(listener.redirect_uri)
            with listener.serving(attempt) as link:
                show(link)
                if browser is not None:
                    browser(link)
                code = attempt.code_in(listener.wait(timeout_s, clock))
    except BaseException as error:
        seal(error)
        raise
    return guard.adopt(lambda now: source.exchange(attempt, code, now, keep=keep))


def _with_port(redirect_uri: str) -> str:
    """Return an address for pasting, where nothing listens; never port 0, which means a free one."""
    parts = urlsplit(redirect_uri)
    if parts.port != 0:
        return redirect_uri
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlunsplit(parts._replace(netloc=f"{host}:{_ANY_PORT}"))
