"""What can stand at the cursor in a line of ``%sac``, or in the first line of ``%%sac``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Final

from sacnb.notebook.arguments import options_of, words
from sacnb.notebook.commands import COMMANDS
from sacnb.notebook.suggestions import Knowledge, Suggestions, beginning_with
from sacnb.replay.places import names as cassettes

__all__ = ["complete_arguments", "complete_line", "split"]

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
