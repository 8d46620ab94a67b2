"""Keep the login of a named user in the system's keyring, shared by the processes of one user."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from filelock import FileLock, Timeout

from sacnb._files import make_private_folder
from sacnb._settings import Secret, Settings, profiles_path, system_keyring
from sacnb.errors import MissingExtraError, RefreshError, SettingsError

__all__ = ["KeptLogin", "Login"]

log = logging.getLogger("sacnb.auth")

_SERVICE: Final = "sacnb"
_LOCK_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Login:
    """A kept login: the refresh token and its owner."""

    refresh_token: Secret
    principal: str
    user: str
    email: str


class KeptLogin:
    """The place of one login in the keyring, named by profile, client, token endpoint and tenant.

    So settings that name another tenant or token endpoint, such as those of a stranger's ``.env``, never get it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.is_there = False

    @classmethod
    def of(cls, settings: Settings) -> KeptLogin:
        """Return the place of the login of *settings*."""
        about = (settings.profile or "-", settings.client_id, settings.token_url, settings.tenant_url)
        return cls(" ".join(("login", *about)))

    def check(self) -> None:
        """Raise MissingExtraError or SettingsError where there is no keyring to keep a login in."""
        self._ask("get_password")

    def read(self) -> Login | None:
        """Return the login; ``None`` where none is kept, or no keyring can be asked."""
        try:
            text = self._ask("get_password")
        except MissingExtraError:  # then none was ever kept
            return None
        except SettingsError as error:
            log.info("No kept login is used. %s", error.message)
            return None
        login = None if not text else _parsed(Secret(text))
        self.is_there = login is not None
        return login

    def write(self, login: Login) -> None:
        """Keep *login*, and see that it is there.

        Raises MissingExtraError without the extra ``keyring``, SettingsError where the keyring does not keep it.
        """
        values = {
            "refresh_token": login.refresh_token.reveal(),
            "principal": login.principal,
            "user": login.user,
            "email": login.email,
        }
        text = Secret(json.dumps(values))
        del values
        self._ask("set_password", text)
        self.is_there = self._ask("get_password") == text.reveal()
        if not self.is_there:
            raise SettingsError("The system's keyring does not keep the login: it returns something else.")

    def delete(self) -> bool:
        """Delete the login; return whether there was one. Raises SettingsError where the keyring refuses."""
        try:
            # Without the extra, or on a server without a keyring, no login was ever kept.
            was_there = _is_installed(system_keyring()) and bool(self._ask("get_password"))
        except MissingExtraError:
            return False
        if was_there:
            self._ask("delete_password")
        self.is_there = False
        return was_there

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time use the refresh token. Raises RefreshError where another one does not finish."""
        folder = profiles_path().parent
        make_private_folder(folder)
        lock = FileLock(folder / "login.lock", timeout=_LOCK_TIMEOUT_S, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise RefreshError(
                f"Another process has been renewing the login for {_LOCK_TIMEOUT_S:g} s ({folder / 'login.lock'})."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _ask(self, method: str, value: Secret | None = None) -> Any:
        keyring = system_keyring()
        arguments = (self._name,) if value is None else (self._name, value.reveal())
        reason = ""
        try:
            return getattr(keyring, method)(_SERVICE, *arguments)
        except keyring.errors.KeyringError as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
        finally:
            del arguments
        raise SettingsError(
            f"The system's keyring cannot be used for the login: {reason:.200} Log in without keeping it "
            "(%sac login, or tenant.login()), or unlock the keyring."
        )


def _is_installed(keyring: Any) -> bool:
    """Return whether this machine has a keyring that the module *keyring* knows."""
    from keyring.backends import fail

    return not isinstance(keyring.get_keyring(), fail.Keyring)


def _parsed(text: Secret) -> Login | None:
    try:
        values = json.loads(text.reveal())
        return Login(Secret(values["refresh_token"]), values["principal"], values["user"], values["email"])
    except (ValueError, TypeError, KeyError):
        log.warning("The login in the system's keyring is damaged, and is not used. Log in again: sacnb login")
        return None
