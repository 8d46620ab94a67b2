"""Completion on Tab for magics and calls: commands, options, models, columns, members and values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from sacnb.notebook.arguments import options_of, words
from sacnb.notebook.commands import COMMANDS
from sacnb.notebook.session import Catalogue, Knowledge, Suggestions, beginning_with, described
from sacnb.replay.document import names as cassettes

if TYPE_CHECKING:
    from sacnb._tenant import Model, Tenant
    from sacnb.notebook.session import Session

__all__ = ["Completion", "complete_arguments", "complete_line", "complete_sql"]

_QUOTES: Final = "\"'"
_ROLES: Final = {"dimension": "dimension", "dims": "dimension", "measures": "measure"}


def complete_line(text: str, knowledge: Knowledge) -> Suggestions:
    """Return suggestions for ``%sac``; *text* is the line from there to the cursor."""
    earlier, fragment = split(text)
    if not earlier:
        known = {name: described("command", command.summary) for name, command in COMMANDS.items()}
        return Suggestions(fragment, beginning_with(fragment, known))
    command = COMMANDS.get(earlier[0])
    if command is None:
        return Suggestions(fragment)
    return complete_arguments(command.parser, earlier[1:], fragment, knowledge)


def complete_arguments(
    parser: argparse.ArgumentParser, earlier: list[str], fragment: str, knowledge: Knowledge
) -> Suggestions:
    """Return suggestions for the word that begins with *fragment*, after the *earlier* words."""
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
    """Return the words before the cursor, and the beginning of the word at it, with its opening quote."""
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
    """Return the positional arguments by name, and the option that still needs its value."""
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
    """Return the possible values of an argument, quoted where necessary."""
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
        case "where" | "under":
            found = _conditions(typed, model, knowledge)
        case "tenant":
            found = beginning_with(typed, knowledge.tenants())
        case "profile":
            found = beginning_with(typed, knowledge.profiles())
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
    """Return *text* as one word of a line."""
    if not any(letter.isspace() or letter in _QUOTES for letter in text):
        return text
    quote = "'" if '"' in text else '"'
    return f"{quote}{text}{quote}"


# Texts, quoted names and comments, to their end or, if the cursor is in them, to the end of the text.
_TOKEN: Final = re.compile(r"'(?:[^']|'')*('?)|\"[^\"]*(\"?)|--[^\n]*(\n?)|/\*(?:.*?\*/|.*\Z)()", re.DOTALL)
# A pattern that could begin within a word takes the square of its length: a cell may hold a picture as base64.
_WORD: Final = re.compile(r"(?<![\w$])[\w$]*\Z")
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w*)\Z")
_NAME: Final = r'(?:[\w$]+|"[^"]+")'
_FROM: Final = re.compile(rf"\b(?:from|join)\s+({_NAME})", re.IGNORECASE)
_AFTER_FROM: Final = re.compile(r"\b(?:from|join)\s+\Z", re.IGNORECASE)
_COMPARED: Final = re.compile(
    rf"(?<![\w$])(?:{_NAME}\.)?({_NAME})\s*(?:=|<>|!=|(?:not\s+)?like|(?:not\s+)?in\s*\((?:\s*'(?:[^']|'')*'\s*,)*)\s*\Z",
    re.IGNORECASE,
)
_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")


def complete_sql(before: str, whole: str, knowledge: Knowledge) -> Suggestions:
    """Return suggestions for the cursor after *before*, the beginning of the SQL text *whole*."""
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
    """Return the first character and the start of the text, quoted name or comment around the cursor."""
    for token in _TOKEN.finditer(before):
        is_closed = any(token.groups()) or token[0].endswith("*/")
        if token.end() == len(before) and not is_closed:
            return token[0][0], token.start()
    return None


def _named(before: str, whole: str, knowledge: Knowledge) -> Mapping[str, str]:
    """Return models after ``from`` and ``join``, and elsewhere columns of the query's models."""
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
    """Return the names after ``from`` and ``join``, each once."""
    return list(dict.fromkeys(name.strip('"') for name in _FROM.findall(whole)))


def _quoted_name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{name}"'


# ``sac.model("US_`` and ``sac["US_``; the name is that of a variable with a tenant.
_MODEL_CALL: Final = re.compile(
    r"""(?<!\w)(?P<tenant>[^\W\d]\w*)(?:\.(?:model|explore)\(|\[)\s*['"](?P<fragment>[^'"]*)$"""
)
# ``jobs.facts(dims=["Sec`` and ``sac["US_EMPLOYMENT"].members("Sec``.
_MODEL: Final = r"""(?<!\w)(?P<name>[^\W\d]\w*)(?:(?:\.model\(|\[)\s*(?P<q>['"])(?P<id>[^'"]+)(?P=q)\s*[\])])?"""
_COLUMN_CALL: Final = re.compile(
    rf"""{_MODEL}\.(?P<method>members|facts|scan|refresh_panel)\("""
    r"""(?P<before>(?:[^'"]|'[^'\n]*'|"[^"\n]*")*)['"](?P<fragment>[^'"\n]*)$"""
)
_MEMBER_OF: Final = re.compile(r"""['"](?P<column>[^'"]+)['"]\s*:\s*(?:[\[({][^\])}]*)?$""")
_ARGUMENT: Final = re.compile(r"""(?<!\w)(?P<name>\w+)\s*=\s*[\[(]?[^=]*$""")
_TEXT: Final = re.compile(r"""'[^']*'|"[^"]*\"""")
_ROLE_OF: Final = {"dims": ("dimension",), "measures": ("measure",)}


def complete_model(call: re.Match[str], knowledge: Knowledge) -> Suggestions:
    """Return the models for ``sac.model("`` and ``sac["``."""
    return Suggestions(call["fragment"], beginning_with(call["fragment"], knowledge.models()))


def complete_column(call: re.Match[str], model_id: str, knowledge: Knowledge) -> Suggestions | None:
    """Return the columns or members for a text in a call of a model; ``None`` after the end of the call."""
    before, fragment = call["before"], call["fragment"]
    depth = 1
    for bracket in re.findall(r"[()]", _TEXT.sub("", before)):
        depth += 1 if bracket == "(" else -1
        if depth == 0:
            return None
    member_of, argument = _MEMBER_OF.search(before), _ARGUMENT.search(before)
    if call["method"] == "members":
        known = knowledge.columns(model_id, "dimension")
    elif member_of is not None:
        known = knowledge.members(model_id, member_of["column"])
    elif argument is not None and argument["name"] == "date":
        known = knowledge.dates(model_id)
    else:
        known = knowledge.columns(model_id, *_ROLE_OF.get(argument["name"] if argument is not None else "", ()))
    return Suggestions(fragment, beginning_with(fragment, known))


# A line of its own, or an assignment: ``models = %sac models``.
_LINE: Final = re.compile(r"\s*(?:[^=%#'\"]+=\s*)?%sac\s")
_REPLAY: Final = re.compile(r"\s*%sac_replay\s")
_CELL: Final = re.compile(r"%%sac(?=\s|$)")
_matcher: Final[Any] = context_matcher


class Completion:
    """A matcher for IPython's completer, for magics and for calls of tenants and models.

    It suggests what is known of the connected tenant, waits up to ``wait_s()`` seconds for SAC, and never connects.
    ``cell`` parses the first line of ``%%sac``, ``replay`` a line of ``%sac_replay``; ``variables`` are the user's.
    """

    def __init__(
        self,
        session: Session,
        wait_s: Callable[[], float],
        cell: argparse.ArgumentParser,
        replay: argparse.ArgumentParser,
        variables: Mapping[str, Any],
    ) -> None:
        self._session = session
        self._wait_s = wait_s
        self._cell = cell
        self._replay = replay
        self._variables = variables
        self._catalogues: WeakKeyDictionary[Tenant | Model, Catalogue] = WeakKeyDictionary()

    @_matcher(identifier="sacnb")  # type: ignore[untyped-decorator]
    def matcher(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return the completions at the cursor, which replace all others; none outside of the magics."""
        found = self._suggestions(context)
        if found is None or not found.texts:
            return {"completions": []}
        return {
            "completions": [SimpleCompletion(text, type=what) for text, what in found.texts.items()][: context.limit],
            "matched_fragment": found.fragment,
            "suppress": True,
            "ordered": True,
        }

    def _suggestions(self, context: CompletionContext) -> Suggestions | None:
        before = context.text_until_cursor
        lines = context.full_text.split("\n")
        cell = _CELL.match(lines[0])
        line = _LINE.match(before)
        replay = _REPLAY.match(before)
        if cell is None and line is None and replay is None:
            return self._in_call("\n".join([*lines[: context.cursor_line], before]))
        knowledge = self._knowledge(self._session.catalogue)
        if replay is not None:
            return complete_arguments(self._replay, *split(before[replay.end() :]), knowledge)
        if cell is None:
            return complete_line(before[line.end() :], knowledge) if line is not None else None
        if context.cursor_line == 0:
            return complete_arguments(self._cell, *split(before[cell.end() :]), knowledge)
        earlier = lines[1 : context.cursor_line]
        return complete_sql("\n".join([*earlier, before]), "\n".join(lines[1:]), knowledge)

    def _in_call(self, before: str) -> Suggestions | None:
        """Return suggestions for a text in a call of a tenant or a model that is a variable."""
        from sacnb._tenant import Model, Tenant

        call = _MODEL_CALL.search(before)
        if call is not None:
            tenant = self._variables.get(call["tenant"])
            return complete_model(call, self._knowledge_of(tenant)) if isinstance(tenant, Tenant) else None
        call = _COLUMN_CALL.search(before)
        if call is None:
            return None
        found = self._variables.get(call["name"])
        if isinstance(found, Tenant) and call["id"]:
            return complete_column(call, call["id"], self._knowledge_of(found))
        if isinstance(found, Model) and not call["id"]:
            return complete_column(call, found.id, self._knowledge_of(found))
        return None

    def _knowledge_of(self, found: Tenant | Model) -> Knowledge:
        from sacnb._tenant import Tenant

        catalogue = self._session.catalogue
        if catalogue is None or not catalogue.belongs_to(found):
            catalogue = self._catalogues.get(found)
        if catalogue is None:
            # Another object with the same connection: the catalogue must not keep *found* alive.
            catalogue = self._catalogues[found] = Catalogue(Tenant(found._connection))
        return self._knowledge(catalogue)

    def _knowledge(self, catalogue: Catalogue | None) -> Knowledge:
        until = catalogue.clock() + self._wait_s() if catalogue is not None else 0.0
        return Knowledge(catalogue, until, self._variables)
