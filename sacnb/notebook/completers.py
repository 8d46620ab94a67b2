"""What can stand at the cursor in a line of ``%sac``, or in the first line of ``%%sac``.

What can stand where the cursor is.

What can stand at the cursor in the SQL of a ``%%sac`` cell.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sacnb.notebook.arguments import options_of, words
from sacnb.notebook.commands import COMMANDS
from sacnb.replay.document import names as cassettes

if TYPE_CHECKING:
    from sacnb._odata.schema import Schema
    from sacnb.notebook.catalogue import Catalogue

__all__ = ["Knowledge", "Suggestions", "beginning_with", "complete_arguments", "complete_line", "complete_sql", "split"]

_VALUES: Final = (str, int, float, Decimal, date, list, tuple)
_OF_IPYTHON: Final = frozenset({"In", "Out"})


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Texts for the place of ``fragment``, which ends at the cursor; each with a word or two of what it is."""

    fragment: str
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known, within the time there is: nothing is known of a tenant before one is connected."""

    catalogue: Catalogue | None
    until: float
    variables: Mapping[str, Any] = field(default_factory=dict)

    def models(self) -> Mapping[str, str]:
        """Ids of models, and their names."""
        found = self.catalogue.models(self.until) if self.catalogue is not None else None
        return {model: name or "model" for model, name in (found or {}).items()}

    def columns(self, model: str, *roles: str) -> Mapping[str, str]:
        """Columns of a model with one of the roles (or any), and which it is."""
        schema = self._schema(model)
        columns = schema.columns if schema is not None else ()
        return {column.name: column.role for column in columns if not roles or column.role in roles}

    def dates(self, model: str) -> Mapping[str, str]:
        """Date columns of a model."""
        schema = self._schema(model)
        return {date.name: date.grain or "date" for date in schema.date_columns} if schema is not None else {}

    def members(self, model: str, dimension: str) -> Mapping[str, str]:
        """Ids of a dimension's members, and their descriptions."""
        if self.catalogue is None or dimension not in self.columns(model, "dimension"):
            return {}
        found = self.catalogue.members(model, dimension, self.until) or {}
        return {member: description or "member" for member, description in found.items()}

    def values(self) -> Mapping[str, str]:
        """The user's variables that SQL can take as values, and their types."""
        return self._variables_that(lambda value: isinstance(value, _VALUES))

    def dictionaries(self) -> Mapping[str, str]:
        """The user's dictionaries."""
        return self._variables_that(lambda value: isinstance(value, Mapping))

    def _variables_that(self, fit: Callable[[object], bool]) -> Mapping[str, str]:
        ours = {name: value for name, value in self.variables.items() if name not in _OF_IPYTHON and name[0] != "_"}
        return {name: type(value).__name__ for name, value in ours.items() if fit(value)}

    def _schema(self, model: str) -> Schema | None:
        # Only of models that are there: a name that is still being typed is not worth a question.
        if self.catalogue is None or model not in self.models():
            return None
        return self.catalogue.schema(model, self.until)


def beginning_with(prefix: str, texts: Mapping[str, str] | Iterable[str], what: str = "") -> dict[str, str]:
    """Those that begin with ``prefix``, in any case of letters; if none does, those that have it somewhere."""
    described = texts if isinstance(texts, Mapping) else dict.fromkeys(texts, what)
    wanted = prefix.casefold()
    found = {text: kind for text, kind in described.items() if text.casefold().startswith(wanted)}
    return found or {text: kind for text, kind in described.items() if wanted in text.casefold()}


_QUOTES: Final = "\"'"
_ROLES: Final = {"dimension": "dimension", "dims": "dimension", "measures": "measure"}


def complete_line(text: str, knowledge: Knowledge) -> Suggestions:
    """Suggestions behind ``%sac``, of which ``text`` is the part from there to the cursor."""
    earlier, fragment = split(text)
    if not earlier:
        return Suggestions(fragment, beginning_with(fragment, {n: c.summary for n, c in COMMANDS.items()}))
    command = COMMANDS.get(earlier[0])
    if command is None:
        return Suggestions(fragment)
    return complete_arguments(command.parser, earlier[1:], fragment, knowledge)


def complete_arguments(
    parser: argparse.ArgumentParser, earlier: list[str], fragment: str, knowledge: Knowledge
) -> Suggestions:
    """Suggestions for the word that begins with ``fragment``, after the words that come earlier."""
    places, pending = _read(parser, earlier)
    if pending is not None:
        return Suggestions(fragment, _values(pending, fragment, places, knowledge))
    option, equals, value = fragment.partition("=")
    if option.startswith("-") and equals:
        action = parser._option_string_actions.get(option)
        if action is None or action.nargs == 0:
            return Suggestions(fragment)
        found = _values(action, value, places, knowledge)
        return Suggestions(fragment, {f"{option}={text}": what for text, what in found.items()})
    if fragment.startswith("-"):
        return Suggestions(fragment, beginning_with(fragment, (*options_of(parser), "--help"), "option"))
    waiting = [action for action in parser._actions if not action.option_strings and action.dest not in places]
    return Suggestions(fragment, _values(waiting[0], fragment, places, knowledge) if waiting else {})


def split(text: str) -> tuple[list[str], str]:
    """The words before the one at the cursor, and what is there of that one, with a quote it may begin with."""
    start, quote = 0, ""
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        elif letter.isspace():
            start = index + 1
    return words(text[:start]), text[start:]


def _read(parser: argparse.ArgumentParser, earlier: Iterable[str]) -> tuple[Mapping[str, str], argparse.Action | None]:
    """Which positional arguments are there, by name, and the option that waits for its value."""
    waiting = [action.dest for action in parser._actions if not action.option_strings]
    places: dict[str, str] = {}
    pending: argparse.Action | None = None
    for word in earlier:
        if pending is not None:
            pending = None
        elif word.startswith("-"):
            action = parser._option_string_actions.get(word)
            pending = action if action is not None and action.nargs != 0 else None
        elif waiting:
            places[waiting.pop(0)] = word
    return places, pending


def _values(
    action: argparse.Action, fragment: str, places: Mapping[str, str], knowledge: Knowledge
) -> Mapping[str, str]:
    """What an argument can be, each quoted where it has to be."""
    typed = fragment.lstrip(_QUOTES)
    if action.choices is not None:
        return beginning_with(typed, [str(choice) for choice in action.choices], "action")
    model = places.get("model", "")
    match action.dest:
        case "model":
            found = beginning_with(typed, knowledge.models())
        case "dimension":
            found = beginning_with(typed, knowledge.columns(model, _ROLES[action.dest]))
        case "dims" | "measures":
            head, comma, last = typed.rpartition(",")
            rest = beginning_with(last, knowledge.columns(model, _ROLES[action.dest]))
            found = {f"{head}{comma}{name}": what for name, what in rest.items() if name not in head.split(",")}
        case "date":
            found = beginning_with(typed, knowledge.dates(model))
        case "where":
            found = _conditions(typed, model, knowledge)
        case "cassette":
            found = beginning_with(typed, cassettes(), "cassette")
        case "params":
            found = beginning_with(typed, knowledge.dictionaries())
        case _:
            found = {}
    return {_quoted(text): what for text, what in found.items()}


def _conditions(typed: str, model: str, knowledge: Knowledge) -> dict[str, str]:
    column, equals, value = typed.partition("=")
    if not equals:
        return {f"{name}=": what for name, what in beginning_with(column, knowledge.columns(model)).items()}
    members = beginning_with(value, knowledge.members(model, column))
    return {f"{column}={member}": what for member, what in members.items()}


def _quoted(text: str) -> str:
    """``text`` as one word of a line."""
    if not any(letter.isspace() or letter in _QUOTES for letter in text):
        return text
    quote = "'" if '"' in text else '"'
    return f"{quote}{text}{quote}"


# Texts, quoted names and comments, each to its end or, where the cursor is in it, to the end of what is there.
_TOKEN: Final = re.compile(r"'(?:[^']|'')*('?)|\"[^\"]*(\"?)|--[^\n]*(\n?)|/\*(?:.*?\*/|.*\Z)()", re.DOTALL)
_WORD: Final = re.compile(r"[\w$]*\Z")
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w*)\Z")
_NAME: Final = r'(?:[\w$]+|"[^"]+")'
_FROM: Final = re.compile(rf"\b(?:from|join)\s+({_NAME})", re.IGNORECASE)
_AFTER_FROM: Final = re.compile(r"\b(?:from|join)\s+\Z", re.IGNORECASE)
_COMPARED: Final = re.compile(
    rf"(?:{_NAME}\.)?({_NAME})\s*(?:=|<>|!=|(?:not\s+)?like|(?:not\s+)?in\s*\((?:\s*'(?:[^']|'')*'\s*,)*)\s*\Z",
    re.IGNORECASE,
)
_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")


def complete_sql(before: str, whole: str, knowledge: Knowledge) -> Suggestions:
    """Suggestions for the cursor behind ``before``, the beginning of the SQL text ``whole``."""
    opened = _open_token(before)
    if opened is not None:
        kind, start = opened
        fragment = before[start + 1 :]
        if kind == "'":
            return _member(before[:start], fragment, whole, knowledge)
        if kind == '"':
            return Suggestions(fragment, beginning_with(fragment, _named(before[:start], whole, knowledge)))
        return Suggestions("")
    parameter = _PARAMETER.search(before)
    if parameter is not None:
        return Suggestions(parameter[1], beginning_with(parameter[1], knowledge.values()))
    found = _WORD.search(before)
    fragment = found[0] if found else ""
    names = beginning_with(fragment, _named(before[: len(before) - len(fragment)], whole, knowledge))
    return Suggestions(fragment, {_quoted_name(name): what for name, what in names.items()})


def _open_token(before: str) -> tuple[str, int] | None:
    """The text, quoted name or comment that the cursor is in: its first letter, and where it begins."""
    for token in _TOKEN.finditer(before):
        is_closed = any(token.groups()) or token[0].endswith("*/")
        if token.end() == len(before) and not is_closed:
            return token[0][0], token.start()
    return None


def _named(before: str, whole: str, knowledge: Knowledge) -> Mapping[str, str]:
    """Models behind ``from`` and ``join``, columns of the models in the query elsewhere."""
    if _AFTER_FROM.search(before):
        return knowledge.models()
    return {name: what for model in _models(whole) for name, what in knowledge.columns(model).items()}


def _member(before: str, fragment: str, whole: str, knowledge: Knowledge) -> Suggestions:
    compared = _COMPARED.search(before)
    if compared is None:
        return Suggestions(fragment)
    column = compared[1].strip('"')
    members = {name: what for model in _models(whole) for name, what in knowledge.members(model, column).items()}
    found = beginning_with(fragment.replace("''", "'"), members)
    return Suggestions(fragment, {name.replace("'", "''"): what for name, what in found.items()})


def _models(whole: str) -> list[str]:
    """The names behind ``from`` and ``join``, each once."""
    return list(dict.fromkeys(name.strip('"') for name in _FROM.findall(whole)))


def _quoted_name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{name}"'
