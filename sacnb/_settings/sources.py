"""Find the value of each variable, in the arguments, a profile, the environment or a ``.env`` file, and what to trust.

A cloned repository or a shared folder may hold a ``.env``. What the user sets, and a file that the user names, are
trusted; a file that was found is only trusted with the secrets in it.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sacnb._arguments import plain
from sacnb._redact import Secret
from sacnb._settings.files import Dotenv, Profile, all_secrets, read_profile
from sacnb._settings.variables import IDENTITY, SECRETS, VARIABLES, keyring_secret
from sacnb.errors import SettingsError

__all__ = ["Given", "Sources", "configured_secrets", "show"]

# They shape the requests. A cassette must fit every machine, so with one only the code decides them.
_SHAPE_VARIABLES: Final = ("SAC_PAGE_SIZE", "SAC_STREAMS")

# They decide where a secret or a token is sent, which certificates are trusted, and whose numbers the user sees.
_GUARDED_VARIABLES: Final = (
    "SAC_PROFILE",
    "SAC_TENANT_URL",
    "SAC_TOKEN_URL",
    "SAC_REDIRECT_URI",
    "SAC_CA_BUNDLE",
    "SAC_REPLAY",
    "SAC_REPLAY_CASSETTE",
)

# Paths and file names may hold characters that no address, id or secret has.
_PATHS: Final = frozenset({"SAC_CACHE_DIR", "SAC_CA_BUNDLE", "SAC_REPLAY_CASSETTE"})
# Straight quotes, and those that a word processor makes of them.
_QUOTES: Final = frozenset(
    {"''", '""', "``", "\u2018\u2019", "\u201c\u201d", "\u201e\u201c", "\u201a\u2018", "\u00ab\u00bb"}
)
_CONTROLS: Final = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}


@dataclass(frozen=True, slots=True)
class Given:
    """The value of one variable. The text of a secret is wrapped, so that no traceback with locals shows it.

    ``origin`` names the value in messages, ``source`` is where it was read. ``is_found`` is true for a value from a
    ``.env`` that nobody named, which may be a stranger's.
    """

    value: Any
    origin: str
    source: str
    is_found: bool = False


class Sources:
    """The variables that are set, with ``problems``, ``notes`` and ``warnings`` about them.

    Raises SettingsError where the named profile cannot be read; everything else is gathered in ``problems``.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None,
        dotenv_path: str | os.PathLike[str] | None,
        arguments: Mapping[str, Any],
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.profile: Profile | None = None
        self._environ = os.environ if environ is None else environ
        self._arguments = arguments
        chosen = arguments.get("profile")
        # "" means no profile, whatever the environment says.
        self._wants_no_profile = isinstance(chosen, str) and not chosen.strip()
        names_profile = not self._wants_no_profile and bool(
            chosen is not None or self._environ.get("SAC_PROFILE", "").strip()
        )
        # A caller that hands in an environment, or names a profile, means that one, and no file found by chance.
        self.dotenv = (
            Dotenv.find(search=environ is None and not names_profile)
            if dotenv_path is None
            else Dotenv.named(dotenv_path)
        )
        self.problems += self.dotenv.problems
        self.notes += self.dotenv.notes
        self.profile = self._read_profile()
        self._given = {
            variable.name: given for variable in VARIABLES if (given := self._lookup(variable.name)) is not None
        }
        if self.profile is not None:
            self._note_what_is_unused(self.profile)

    def get(self, name: str) -> Given | None:
        """Return what is given for the variable *name*."""
        return self._given.get(name)

    def forget(self, name: str) -> None:
        """Treat the variable *name* as not set."""
        del self._given[name]

    def environment(self, name: str) -> str | None:
        """Return the value of another program's variable; empty counts as not set."""
        return self._environ.get(name) or None

    def provenance(self) -> dict[str, str]:
        """Return where each variable that is set was read."""
        return {name: given.source for name, given in self._given.items()}

    def usual_auth(self) -> str:
        """Return the kind of sign-in that the given secrets are for."""
        has_client = any(name in self._given for name in ("SAC_CLIENT_ID", "SAC_CLIENT_SECRET"))
        return "static" if "SAC_TOKEN" in self._given and not has_client else "client_credentials"

    def open_keyring(self) -> None:
        """Read the client secret of a profile that keeps it in the keyring, unless another one is given."""
        profile = self.profile
        if profile is None or not profile.in_keyring or "SAC_CLIENT_SECRET" in self._given:
            return
        if not self._is_found("SAC_PROFILE"):  # refused by check_trust(), and nobody is asked to unlock anything
            secret = keyring_secret(profile.name)
            source = f"the keyring, for {profile.source}"
            self._given["SAC_CLIENT_SECRET"] = Given(secret, "SAC_CLIENT_SECRET (in the keyring)", source)

    def check_trust(self, names: tuple[str, ...] = _GUARDED_VARIABLES) -> None:
        """Refuse to send the user's secret where a ``.env`` says that was found and not named."""
        path = str(self.dotenv.path)
        cure = (
            f"if you trust the file, name it: sacnb.connect(dotenv_path={path!r}) or sacnb --env-file "
            f"{shlex.quote(path)}."
        )
        if "SAC_PROFILE" in names and self.profile is not None and self._is_found("SAC_PROFILE"):
            self.problems.append(
                f"SAC_PROFILE comes from {path}, which was found and not named. Such a file must not decide which of "
                "your secrets is used: set SAC_PROFILE in the environment, pass profile=... to connect(), or, " + cure
            )
            return
        found = [name for name in names if self._is_found(name)]
        kind, source = self._secret_from_elsewhere()
        if source is None or not found:
            return
        one = len(found) == 1
        self.problems.append(
            f"{', '.join(found)} {'comes' if one else 'come'} from {path}, which was found and not named, while "
            f"{kind} comes from {source}. Such a file must "
            f"not decide where your secret goes: set {'it' if one else 'them'} in {source} too, or, " + cure
        )

    def warn_of_a_chosen_sandbox(self) -> None:
        """Warn where a found ``.env`` chose the sandbox although a secret says that a tenant is meant."""
        kind, source = self._secret_from_elsewhere()
        if source is not None and self._is_found("SAC_TENANT_URL"):
            self.warnings.append(
                f"The data is the sandbox's and made up: SAC_TENANT_URL=sandbox comes from {self.dotenv.path}, which "
                f"was found and not named, although {kind} comes from {source}. Set SAC_TENANT_URL in {source} too, or "
                'say that the sandbox is meant: sacnb.connect("sandbox").'
            )

    def pass_over_cache_dir(self) -> bool:
        """Forget a cache folder from a ``.env`` that was found, if the secret is from elsewhere; return whether so.

        Such a folder could hold results that a stranger made up. Unlike the other guarded variables it is not refused:
        the default folder is as good, and a user who connects to another tenant than that of the ``.env`` needs no
        other.
        """
        _, source = self._secret_from_elsewhere()
        if source is None or not self._is_found("SAC_CACHE_DIR"):
            return False
        self.forget("SAC_CACHE_DIR")
        self.notes.append(
            f"SAC_CACHE_DIR of {self.dotenv.path} is not used: the file was found and not named, and the "
            f"secret comes from {source}. Set SAC_CACHE_DIR in {source} too, or name the file (dotenv_path=...)."
        )
        return True

    def usual_cache_dir(self) -> Path:
        """Return the platform's cache folder of the user; one among temporary files where there is no home folder."""
        from platformdirs import user_cache_path

        # No HOME and no entry in passwd, as in a container that runs under a number: it raises, or leaves "~".
        with suppress(RuntimeError):
            folder = user_cache_path("sacnb", appauthor=False)
            if folder.is_absolute():
                return folder
        user = os.getuid() if hasattr(os, "getuid") else 0
        try:
            folder = Path(tempfile.gettempdir()) / f"sacnb-{user}"
        except FileNotFoundError:
            self.problems.append("There is neither a home folder nor a temporary one: set SAC_CACHE_DIR to a folder.")
            return Path()
        self.notes.append(
            f"There is no home folder, so results are kept in {folder}; set SAC_CACHE_DIR to keep them elsewhere."
        )
        if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != user):
            self.problems.append(
                f"There is no home folder, and {folder} belongs to another user: set SAC_CACHE_DIR to your own folder."
            )
        return folder

    def leave_to_the_code(self, replay: str) -> None:
        """Forget the variables that would make the requests of one machine differ from those of another."""
        for name in _SHAPE_VARIABLES:
            given = self.get(name)
            if given is not None and given.source != "the arguments":
                self.forget(name)
                self.notes.append(f"{name} is not used with SAC_REPLAY={replay}: a cassette must fit every machine.")

    def _secret_from_elsewhere(self) -> tuple[str, str | None]:
        """Return what is sent to the tenant, and its source unless that is the ``.env`` that was found."""
        auth = self.get("SAC_AUTH")
        is_static = str(self.usual_auth() if auth is None else auth.value).lower() == "static"
        secret = self.get("SAC_TOKEN" if is_static else "SAC_CLIENT_SECRET")
        source = None if secret is None or secret.is_found else secret.source
        return "the token" if is_static else "the client secret", source

    def _is_found(self, name: str) -> bool:
        given = self.get(name)
        return given is not None and given.is_found

    def _read_profile(self) -> Profile | None:
        """Return the named profile. A replay needs none, and runs on machines that do not have it."""
        if self._wants_no_profile:
            return None
        given, replay = self._lookup("SAC_PROFILE"), self._lookup("SAC_REPLAY")
        if given is None or (replay is not None and str(replay.value).lower() == "replay"):
            return None
        if not isinstance(given.value, str):
            raise SettingsError(f"{given.origin} must be a text, not {type(given.value).__name__}.")
        profile = read_profile(given.value)
        self.notes += profile.notes
        return profile

    def _note_what_is_unused(self, profile: Profile) -> None:
        unused = [
            name
            for name in IDENTITY
            if (self._environ.get(name) or self.dotenv.values.get(name))
            and self._arguments.get(_argument(name)) is None
        ]
        if unused:
            self.notes.append(f"{', '.join(unused)} is not used: {profile.source} names tenant and client.")

    def _lookup(self, name: str) -> Given | None:
        argument, profile = _argument(name), self.profile
        given = self._given_from(name, self._arguments.get(argument), f"the argument {argument}", "the arguments")
        if given is None and profile is not None:
            origin = f"{argument} of {profile.source}"
            given = self._given_from(name, profile.values.get(name), origin, profile.source)
            if name in IDENTITY:
                return given
        file, is_found = str(self.dotenv.path), not self.dotenv.is_named
        return (
            given
            or self._given_from(name, self._environ.get(name), name, "the environment")
            or self._given_from(name, self.dotenv.values.get(name), f"{name} (in .env)", file, is_found=is_found)
        )

    def _given_from(self, name: str, value: Any, origin: str, source: str, *, is_found: bool = False) -> Given | None:
        is_secret = name in SECRETS
        if isinstance(value, Secret):
            value = value.reveal()
        value = plain(value)
        if isinstance(value, str):
            value = self._cleaned(name, value, origin)
        if value is None or (isinstance(value, str) and not value):
            return None
        return Given(Secret(value) if is_secret and isinstance(value, str) else value, origin, source, is_found)

    def _cleaned(self, name: str, text: str, origin: str) -> str:
        """Return *text* without what was pasted around it; complain about characters that cannot be seen."""
        text = text.strip()
        if len(text) > 1 and text[0] + text[-1] in _QUOTES:
            text = text[1:-1].strip()
            self.notes.append(
                f"{origin} was in quotes, which were taken off (docker run --env-file passes quotes on: leave them out "
                "in its file)."
            )
        hidden = _hidden(text, is_path=name in _PATHS)
        if hidden is not None:
            self.problems.append(
                f"{origin} holds {hidden}, which cannot be seen; type or paste the value again without it."
            )
        return text


def _hidden(text: str, *, is_path: bool) -> str | None:
    """Return the name and place of the first character in *text* that cannot be seen."""
    for position, character in enumerate(text, start=1):
        category = unicodedata.category(character)
        at_an_end = position in {1, len(text)}
        # In the middle of a file's name, joiners belong to scripts and emoji.
        is_hidden = category in {"Cc", "Zl", "Zp"} or (category == "Cf" and (at_an_end or not is_path))
        is_hidden |= not is_path and (category == "Cs" or (category == "Zs" and character != " "))
        if is_hidden:
            name = _CONTROLS.get(character) or unicodedata.name(character, "a control character")
            return f"{name} (U+{ord(character):04X}) at position {position}"
    return None


def _argument(name: str) -> str:
    return name.removeprefix("SAC_").lower()


def configured_secrets(
    *,
    environ: Mapping[str, str] | None = None,
    dotenv_path: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> tuple[Secret, ...]:
    """Return every secret in arguments, profiles, environment and ``.env``, even where other settings are wrong.

    Raises SettingsError where a ``.env`` or the profiles are there and cannot be read: a search for secrets must not
    miss them.
    """
    sources = Sources(environ, dotenv_path, {"profile": ""})
    if sources.dotenv.problems:
        raise SettingsError(sources.dotenv.problems)
    everywhere = [sources.dotenv.values, {name: sources.environment(name) for name in SECRETS}]
    everywhere.append({variable.name: arguments.get(variable.argument) for variable in VARIABLES})
    texts = []
    for values in everywhere:
        for name in SECRETS:
            value = values.get(name)
            text = value.reveal() if isinstance(value, Secret) else str(value or "")
            texts += [text.strip(), sources._cleaned(name, text, name)]
    for secret in all_secrets():
        texts += [secret.reveal().strip(), sources._cleaned("SAC_CLIENT_SECRET", secret.reveal(), "a profile")]
    return tuple(Secret(text) for text in dict.fromkeys(texts) if text)


def show(value: object) -> str:
    """Return *value* for a message; a text that may be a secret in the wrong place is not repeated."""
    if isinstance(value, str) and _may_be_secret(value):
        return f"a text of {len(value)} characters (not shown, it may be a secret)"
    return repr(value)


def _may_be_secret(text: str) -> bool:
    return bool(re.search(r"[$!|]|=$|eyJ|[^\s./\\:<>]{20,}", text)) or len(text) > 200
