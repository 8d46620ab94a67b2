"""Read and write the files that hold settings: ``.env``, and the profiles in the user's configuration folder."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Final

from sacnb._files import make_private_folder, read_bounded, write_file
from sacnb._redact import Secret
from sacnb._settings.variables import IDENTITY, SANDBOX, SECRETS, VARIABLES, keyring_secret
from sacnb.errors import MissingExtraError, SacWarning, SettingsError, warn_user

__all__ = [
    "Dotenv",
    "Profile",
    "all_secrets",
    "check_profile_name",
    "is_profile_name",
    "profile_names",
    "profiles_path",
    "read_dotenv",
    "read_profile",
    "save_dotenv",
    "save_profile",
]

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_IN_KEYRING: Final = "keyring"
# A cassette belongs to a notebook and not to a tenant.
_NOT_IN_PROFILES: Final = frozenset({"SAC_PROFILE", "SAC_REPLAY", "SAC_REPLAY_CASSETTE"})
_KEYS: Final = {one.argument: one.name for one in VARIABLES if one.name not in _NOT_IN_PROFILES}
_NAME: Final = re.compile(r"\w[\w-]*")
_HEADER: Final = re.compile(r"""\s*\[\s*(["']?)([\w-]+)\1\s*\]\s*(?:#.*)?""")
_KEY: Final = re.compile(r"""\s*(["']?)([\w-]+)\1\s*=""")


@dataclass(frozen=True, slots=True)
class Dotenv:
    """The variables of one ``.env`` file; ``path`` is ``None`` where there is none."""

    path: Path | None = None
    is_named: bool = False
    values: Mapping[str, str | Secret] = field(default_factory=dict, repr=False)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def named(cls, path: str | os.PathLike[str]) -> Dotenv:
        """Read the file that the user named."""
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
            return cls(problems=(f"The .env file is named by a text or a path, got {path!r:.80}.",))
        try:
            file = Path(path).expanduser()
        except RuntimeError:  # ~somebody, who is not known here
            file = Path(path)
        try:
            if not file.is_file():
                return cls(problems=(f"There is no file {os.fspath(path)!r}, which was named as the .env file.",))
        except (OSError, ValueError) as error:
            return cls(problems=(f"The .env file {os.fspath(path)!r} cannot be read: {error}.",))
        return cls._read(file.absolute(), is_named=True, notes=())

    @classmethod
    def find(cls, *, search: bool) -> Dotenv:
        """Read the nearest ``.env`` from the working folder upwards that does not belong to a stranger."""
        try:
            start = Path.cwd() if search else None
        except OSError:
            return cls(notes=("The working folder does not exist any more, so no .env was looked for.",))
        if start is None:
            return cls()
        notes: list[str] = []
        for folder in (start, *start.parents):
            file = folder / ".env"
            try:
                if not file.is_file():
                    continue
                is_strange = _is_strange(file, start)
            except OSError:
                continue
            if is_strange:
                notes.append(
                    f"{file} belongs to another user and is not used; if you trust it, name it: "
                    f"sacnb.connect(dotenv_path={str(file)!r})."
                )
                continue
            if folder != start:
                notes.append(f"Settings are read from {file}, which is above the working folder.")
            return cls._read(file, is_named=False, notes=tuple(notes))
        return cls(notes=tuple(notes))

    @classmethod
    def _read(cls, file: Path, *, is_named: bool, notes: tuple[str, ...]) -> Dotenv:
        from dotenv import dotenv_values

        try:
            text = _decoded(read_bounded(file, 1))
        except OSError as error:
            return cls(
                file, is_named, problems=(f"The file {str(file)!r} cannot be read: {error.strerror}.",), notes=notes
            )
        if isinstance(text, int):
            problem = f"The file {str(file)!r} is not UTF-8 text (line {text}). Save it as UTF-8."
            return cls(file, is_named, problems=(problem,), notes=notes)
        if "\x00" in text:
            line = text[: text.index("\x00")].count("\n") + 1
            problem = f"The file {str(file)!r} holds a NUL character (line {line}). Remove it."
            return cls(file, is_named, problems=(problem,), notes=notes)
        # Without interpolation: a "$" in a client's secret is a "$".
        read = dotenv_values(stream=StringIO(text), interpolate=False)
        values = {
            name: Secret(value) if name in SECRETS else value for name, value in read.items() if value is not None
        }
        return cls(file, is_named, values, notes=notes)


def _is_strange(file: Path, start: Path) -> bool:
    """Return whether somebody else put *file* there: not this user, the system, or the owner of the folder *start*.

    In a container the folder of a project often belongs to a user of the host, and the ``.env`` in it too.
    """
    if not hasattr(os, "geteuid"):
        return False
    trusted = {os.geteuid(), 0, start.stat().st_uid}
    if (caller := os.environ.get("SUDO_UID", "")).isdecimal():
        trusted.add(int(caller))
    return not {file.stat().st_uid, file.lstat().st_uid} <= trusted


def _decoded(content: bytes) -> str | int:
    """Return the text of a file, or the number of the line that is not UTF-8.

    Windows PowerShell writes UTF-16; Notepad marks UTF-8.
    """
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    beginning = content[:200]
    if encoding == "utf-8" and 3 * beginning.count(b"\x00") > len(beginning):
        encoding = "utf-16-be" if content[:1] == b"\x00" else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        return content[: error.start].count(b"\n") + 1


def read_dotenv(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the variables in the ``.env`` file *path*. Raises SettingsError where it cannot be read."""
    found = Dotenv.named(path)
    if found.problems:
        raise SettingsError(found.problems)
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in found.values.items()}


@dataclass(frozen=True, slots=True)
class Profile:
    """A named tenant: the values of its variables, and whether the keyring has its secret."""

    name: str
    path: Path
    values: Mapping[str, Any] = field(repr=False)
    in_keyring: bool
    notes: tuple[str, ...]

    @property
    def source(self) -> str:
        """The profile and its file, for messages."""
        return f"the profile {self.name!r} in {self.path}"


def profiles_path() -> Path:
    """Return the place of the file with the profiles. Raises SettingsError where the user has no home folder."""
    from platformdirs import user_config_path

    try:
        folder = user_config_path("sacnb", appauthor=False)
    except RuntimeError:  # no HOME and no entry in passwd
        folder = Path()
    if not folder.is_absolute():
        raise SettingsError("There is no home folder, so there are no profiles: set HOME, or use a .env file.")
    return folder / "profiles.toml"


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles. Raises SettingsError where the file cannot be read."""
    _, tables = _load(profiles_path())
    return tuple(tables)


def read_profile(name: str) -> Profile:
    """Return the profile *name*. Raises SettingsError, without a value, where there is none or it is damaged."""
    check_profile_name(name)
    path = profiles_path()
    text, tables = _load(path)
    if name not in tables:
        there = f"There are: {', '.join(tables)}." if tables else "There are none yet."
        near = difflib.get_close_matches(name, tables, n=1)
        cure = f"Did you mean {near[0]!r}?" if near else f"Make it: sacnb init --profile {name}"
        raise SettingsError(f"There is no profile {name!r} in {path}. {there} {cure}")
    table = tables[name]
    problems = [
        f"{path}, line {_line_of(text, name, key)}: {problem}"
        for key, value in table.items()
        if (problem := _problem_of(name, key, value))
    ]
    if table.get(_IN_KEYRING) is True and "client_secret" in table:
        problems.append(
            f"{path}, line {_line_of(text, name, 'client_secret')}: the profile {name!r} has client_secret and "
            "keyring = true; keep one of them."
        )
    if problems:
        raise SettingsError(problems)
    values = {_KEYS[key]: value for key, value in table.items() if key in _KEYS}
    values = {key: Secret(value) if key in SECRETS else value for key, value in values.items()}
    return Profile(name, path, values, table.get(_IN_KEYRING) is True, tuple(_notes_about(path)))


def is_profile_name(name: str) -> bool:
    """Return whether a profile can have this name."""
    return name != SANDBOX and _NAME.fullmatch(name) is not None


def check_profile_name(name: str) -> None:
    """Raise SettingsError if no profile can have this name."""
    if name == SANDBOX:
        raise SettingsError("A profile cannot be called 'sandbox': that is the embedded tenant. Choose another name.")
    if not is_profile_name(name):
        raise SettingsError(f"{name!r:.80} cannot be the name of a profile: use letters, digits, _ and -.")


def _problem_of(name: str, key: str, value: object) -> str | None:
    """Return what is wrong with a value in a profile, without the value."""
    if key == _IN_KEYRING:
        return None if isinstance(value, bool) else f"keyring of the profile {name!r} must be true or false."
    if key not in _KEYS:
        near = difflib.get_close_matches(key.lower().removeprefix("sac_"), [*_KEYS, _IN_KEYRING], n=1)
        cure = f"Did you mean {near[0]!r}?" if near else f"There is: {', '.join(_KEYS)}, {_IN_KEYRING}."
        return f"the profile {name!r} has the unknown key {key!r:.80}. {cure}"
    if isinstance(value, str) or (isinstance(value, int | float) and _KEYS[key] not in {*IDENTITY, *_TEXTS}):
        return None if not isinstance(value, bool) else f"{key} of the profile {name!r} must be a number."
    return f"{key} of the profile {name!r} must be a text in quotes."


_TEXTS: Final = frozenset({"SAC_CACHE_DIR", "SAC_CA_BUNDLE", "SAC_LOG"})


def _load(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the text of the profiles and their tables; nothing where there is no file.

    The errors of the TOML parser hold the text, and with it secrets, so none of them is the context of ours.
    """
    try:
        content = read_bounded(path, 1)
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise SettingsError(f"The profiles in {path} cannot be read: {error.strerror or error}.") from None
    text = _decoded(content)
    if isinstance(text, int):
        raise SettingsError(f"The profiles in {path} are not UTF-8 text (line {text}). Save the file as UTF-8.")
    text = text.replace("\r\n", "\n")
    found = _parsed(text)
    if isinstance(found, str):
        raise SettingsError(
            f"The profiles in {path} are not valid TOML: {found}. A line is [name], or key = 'text in single quotes', "
            "and occurs once."
        )
    for key, value in found.items():
        if not isinstance(value, dict):
            line = _line_of(text, "", key)
            raise SettingsError(f"{path}, line {line}: {key!r:.80} stands before the first [name] of a profile.")
    return text, found


def _parsed(text: str) -> dict[str, Any] | str:
    """Return the content of a TOML text, or the place of its first mistake."""
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; numbers of thousands of digits; nesting
        place = re.search(r"\(at (line \d+, column \d+|end of document)\)$", str(error))
        return place[1] if place else "an unknown place"


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Return each line with its end, the profile it belongs to, and its key."""
    profile = ""
    for line in StringIO(text, newline="\n"):  # str.splitlines() also ends lines where TOML does not
        if header := _HEADER.fullmatch(line.rstrip("\n")):
            profile = header[2]
        key = _KEY.match(line)
        yield line, profile, "" if header or key is None else key[2]


def _line_of(text: str, profile: str, key: str) -> int:
    places = [number for number, (_, *place) in enumerate(_lines(text), start=1) if place == [profile, key]]
    return places[0] if places else 1


def _notes_about(path: Path) -> Iterator[str]:
    if os.name != "nt" and path.stat().st_mode & 0o077:
        yield f"Other users of this machine may read {path}, which holds secrets. Run: chmod 600 {path}"


def all_secrets() -> tuple[Secret, ...]:
    """Return the secrets of every profile. Raises SettingsError where the profiles are there and cannot be read."""
    found = []
    try:
        path = profiles_path()
    except SettingsError:  # no home folder, so no profiles
        return ()
    _, tables = _load(path)
    for name, table in tables.items():
        texts = [table.get(key) for key in ("client_secret", "token")]
        found += [Secret(text) for text in texts if isinstance(text, str) and text]
        if table.get(_IN_KEYRING) is True:
            try:
                found.append(keyring_secret(name))
            except (SettingsError, MissingExtraError) as error:
                warn_user(f"The secret of the profile {name!r} is not known to this search: {error}", SacWarning)
    return tuple(found)


def save_profile(name: str, values: Mapping[str, str | Secret], *, in_keyring: bool) -> Path:
    """Write tenant and client of a profile into a file that only the user can read, and return the file.

    Other profiles, other keys of this one and comments stay. Raises SettingsError where the file cannot be read.
    """
    check_profile_name(name)
    path = profiles_path()
    text, before = _load(path)
    gone = {_IN_KEYRING, *(key for key, variable in _KEYS.items() if variable in IDENTITY)}
    given = {key: values[variable] for key, variable in _KEYS.items() if variable in values}
    plain = {key: value.reveal() if isinstance(value, Secret) else value for key, value in given.items()}
    new: dict[str, Any] = {**plain, **({_IN_KEYRING: True} if in_keyring else {})}
    added = "".join(f"{key} = {_toml(value)}\n" for key, value in new.items())
    parts = []
    for line, profile, key in _lines(text or "# The profiles of sacnb: sacnb --profile NAME, SAC_PROFILE=NAME\n"):
        if profile == name and key in gone:
            continue
        parts.append(line if line.endswith("\n") else f"{line}\n")
        if profile == name and _HEADER.fullmatch(line.rstrip("\n")):
            parts.append(added)
    if name not in before:
        parts.append(f"\n[{_toml(name) if not name.isascii() else name}]\n{added}")
    kept = {key: value for key, value in before.get(name, {}).items() if key not in gone}
    # Only what TOML itself reads back as meant replaces the file: it may be written in a way that lines do not show.
    if _parsed("".join(parts)) != {**before, name: {**kept, **new}}:
        raise SettingsError(f"The profile {name!r} cannot be changed in {path}. Remove its lines, and try again.")
    make_private_folder(path.parent)
    write_file(path.resolve(), "".join(parts).encode(), durable=True)
    return path


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    # Without escapes, so that it reads as it was typed; JSON's escapes are TOML's too.
    return f"'{text}'" if "'" not in text and text.isprintable() else json.dumps(text, ensure_ascii=False)


def save_dotenv(path: Path, values: Mapping[str, str | Secret]) -> None:
    """Write tenant and client into a ``.env`` that only the user can read; other variables and comments stay.

    Raises SettingsError where the file is there and cannot be read.
    """
    from dotenv.parser import parse_stream

    text = ""
    if path.exists():
        found = Dotenv.named(path)
        if found.problems:
            raise SettingsError(found.problems)
        text = str(_decoded(path.read_bytes()))
    plain = {key: value.reveal() if isinstance(value, Secret) else value for key, value in values.items()}
    kept = "".join(one.original.string for one in parse_stream(StringIO(text)) if one.key not in IDENTITY)
    lines = [f"{key}={_dotenv(value)}\n" for key, value in plain.items()]
    kept += "\n" if kept and not kept.endswith("\n") else ""
    write_file(path.resolve(), (kept + "".join(lines)).encode(), durable=True)
    written = read_dotenv(path)
    assert {name: written.get(name) for name in plain} == plain  # noqa: S101 - what was typed is what will be sent


def _dotenv(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
