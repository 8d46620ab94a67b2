"""What can stand at the cursor in the SQL of a ``%%sac`` cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sacnb.notebook.suggestions import Knowledge, Suggestions, beginning_with

__all__ = ["complete_sql"]

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
    return Suggestions(fragment, {_quoted(name): what for name, what in names.items()})


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


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{name}"'
