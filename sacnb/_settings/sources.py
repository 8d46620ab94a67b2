"""Find the value of each variable: in the arguments, then in the environment, then in a ``.env`` file."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Final

from sacnb._arguments import plain
from sacnb._settings.variables import SECRETS, VARIABLES, Secret
from sacnb.errors import SettingsError

__all__ = ["Given", "Sources", "configured_secrets", "read_dotenv", "show"]

# Paths and file names may hold characters that no address, id or secret has.
_PATHS: Final = frozenset({"SAC_CACHE_DIR", "SAC_CA_BUNDLE", "SAC_REPLAY_CASSETTE"})
# Straight quotes, and those that a word processor makes of them.
_QUOTES: Final = frozenset(
    {"''", '""', "``", "\u2018\u2019", "\u201c\u201d", "\u201e\u201c", "\u201a\u2018", "\u00ab\u00bb"}
)
_CONTROLS: Final = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


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
    """The variables that are set, with ``problems`` and ``notes`` about them; reading raises nothing."""

    def __init__(
        self,
        environ: Mapping[str, str] | None,
        dotenv_path: str | os.PathLike[str] | None,
        arguments: Mapping[str, Any],
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        # A caller that hands in an environment means that one, and no file found by chance.
        self.dotenv = _Dotenv.named(dotenv_path) if dotenv_path is not None else _Dotenv.find(search=environ is None)
        self.problems += self.dotenv.problems
        self.notes += self.dotenv.notes
        self._environ = os.environ if environ is None else environ
        self._given = {name: given for name, given in self._gather(arguments) if given is not None}

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

    def _gather(self, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Given | None]]:
        for variable in VARIABLES:
            name, argument = variable.name, variable.argument
            file, is_found = self.dotenv.path, not self.dotenv.is_named
            yield (
                name,
                self._given_from(name, arguments.get(argument), f"the argument {argument}", "the arguments")
                or self._given_from(name, self._environ.get(name), name, "the environment")
                or self._given_from(
                    name, self.dotenv.values.get(name), f"{name} (in .env)", str(file), is_found=is_found
                ),
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


@dataclass(frozen=True, slots=True)
class _Dotenv:
    """The variables of one ``.env`` file; ``path`` is ``None`` where there is none."""

    path: Path | None = None
    is_named: bool = False
    values: Mapping[str, str | Secret] = field(default_factory=dict, repr=False)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def named(cls, path: str | os.PathLike[str]) -> _Dotenv:
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
    def find(cls, *, search: bool) -> _Dotenv:
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
    def _read(cls, file: Path, *, is_named: bool, notes: tuple[str, ...]) -> _Dotenv:
        from dotenv import dotenv_values

        try:
            text = _decoded(file.read_bytes())
        except OSError as error:
            return cls(
                file, is_named, problems=(f"The file {str(file)!r} cannot be read: {error.strerror}.",), notes=notes
            )
        if isinstance(text, int):
            problem = f"The file {str(file)!r} is not UTF-8 text (line {text}). Save it as UTF-8."
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
    if encoding == "utf-8" and b"\x00" in content[:200]:
        encoding = "utf-16-be" if content[:1] == b"\x00" else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        return content[: error.start].count(b"\n") + 1


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


def read_dotenv(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the variables in the ``.env`` file *path*. Raises SettingsError where it cannot be read."""
    found = _Dotenv.named(path)
    if found.problems:
        raise SettingsError(found.problems)
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in found.values.items()}


def configured_secrets(
    *,
    environ: Mapping[str, str] | None = None,
    dotenv_path: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> tuple[Secret, ...]:
    """Return every secret in the arguments, the environment and the ``.env``, even where other settings are wrong.

    Raises SettingsError where a ``.env`` is there and cannot be read: a search for secrets must not miss it.
    """
    sources = Sources(environ, dotenv_path, {})
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
    return tuple(Secret(text) for text in dict.fromkeys(texts) if text)


def show(value: object) -> str:
    """Return *value* for a message; a text that may be a secret in the wrong place is not repeated."""
    if isinstance(value, str) and _may_be_secret(value):
        return f"a text of {len(value)} characters (not shown, it may be a secret)"
    return repr(value)


def _may_be_secret(text: str) -> bool:
    return bool(re.search(r"[$!|]|=$|eyJ|[^\s./\\:<>]{20,}", text)) or len(text) > 200
