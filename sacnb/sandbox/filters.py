"""``$filter``: read by the grammar of OASIS, understood as far as SAP documents it.

The grammar is that of ``odata-abnf-construction-rules.txt`` (OData 4.01, section 4): where blanks may and must stand,
all forms of literals, keywords in any case. SAP documents ``eq ne gt lt ge le``, ``contains``, ``startswith``,
``endswith``, ``and``, ``or``, ``not`` and parentheses. Everything else of the grammar is refused by name, and every
refusal is a 400.

Nulls follow OData 4.0, section 5.1.1.1 (unconfirmed for SAC): ``ne`` is true and ``lt le gt ge`` are false where one
side is null. ``and``, ``or`` and ``not`` know three values; a row is kept where the filter is true.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from sacnb.sandbox.conditions import Always, Condition, Flag, Not, Predicate, Text, both, either
from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.literals import Literal, compare, compare_columns
from sacnb.sandbox.schema import Column

__all__ = ["parse_filter"]

_MAX_DEPTH: Final = 100
_YEAR: Final = r"-?(?:0[0-9]{3}|[1-9][0-9]{3,})"
_DATE: Final = rf"{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME: Final = rf"{_CLOCK}(?::(?:[0-5][0-9]|60)(?:\.[0-9]{{1,12}})?)?"
_HEX: Final = "[0-9A-Fa-f]"
# A name may hold any letter of Unicode; its characters are looked at one by one in _check_name.
_NAME: Final = r"[A-Za-z_\x80-\U0010ffff][A-Za-z_0-9\x80-\U0010ffff]*"
_LITERAL: Final = re.compile(
    rf"""(?:
    (?P<guid>{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}})
    |(?P<datetime>{_DATE}[Tt]{_TIME}(?:[Zz]|[+-]{_CLOCK}))
    |(?P<date>{_DATE})
    |(?P<time>{_TIME})
    |(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?(?:[Ee][+-]?[0-9]+)?)
    |(?P<special>NaN|-?INF)
    |(?P<boolean>[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])
    |(?P<null>null)
    )(?![A-Za-z_0-9.'\x80-\U0010ffff])
    |(?P<string>'(?:[^']|'')*')(?!')
    |(?P<prefixed>(?P<prefix>{_NAME}(?:\.{_NAME})*)'(?:[^']|'')*')
    """,
    re.VERBOSE,
)
_QUALIFIED: Final = re.compile(rf"{_NAME}(?:\.{_NAME})*")
_BLANKS: Final = re.compile(r"[ \t]*")
_NOT: Final = re.compile(r"not[ \t]+", re.IGNORECASE)
_AND: Final = re.compile(r"[ \t]+and[ \t]+", re.IGNORECASE)
_OR: Final = re.compile(r"[ \t]+or[ \t]+", re.IGNORECASE)
# Negation, $it and $root, aliases, arrays, objects and JSON texts.
_OTHER_EXPRESSION: Final = re.compile(r"[-$@\[{\"]")
_OPERATOR: Final = re.compile(r"[ \t]+([A-Za-z]+)[ \t]+")
_COMPARISONS: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_UNSUPPORTED: Final = frozenset({"has", "in", "add", "sub", "mul", "div", "divby", "mod"})
_FUNCTIONS: Final = frozenset({"contains", "startswith", "endswith"})
_MIRRORED: Final = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
# What the grammar calls identifierLeadingCharacter, and what may follow it.
_LEADING: Final = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nl"})
_FOLLOWING: Final = _LEADING | {"Nd", "Mn", "Mc", "Pc", "Cf"}

_Operand = Condition | Column | Literal


def parse_filter(text: str, columns: Iterable[Column]) -> Predicate:
    """Read a filter over these columns.

    Raises:
        Refusal: 400 when the filter is malformed, names an unknown property, or compares what cannot be compared.
    """
    return _Parser(text, {column.name: column for column in columns}).predicate()


@dataclass(slots=True)
class _Parser:
    """A recursive descent through the grammar; ``at`` is the character to read next."""

    text: str
    columns: Mapping[str, Column]
    at: int = 0
    depth: int = 0

    def predicate(self) -> Predicate:
        self._skip(_BLANKS)
        operand, end = self._either(), self.at
        self._skip(_BLANKS)
        if self.at < len(self.text):
            self.at = end
            self._malformed()
        return Predicate(self._condition(operand))

    def _either(self) -> _Operand:
        first = self._both()
        if not self._skip(_OR):
            return first
        found = [self._condition(first), self._condition(self._both())]
        while self._skip(_OR):
            found.append(self._condition(self._both()))
        return either(found)

    def _both(self) -> _Operand:
        first = self._comparison()
        if not self._skip(_AND):
            return first
        found = [self._condition(first), self._condition(self._comparison())]
        while self._skip(_AND):
            found.append(self._condition(self._comparison()))
        return both(found)

    def _comparison(self) -> _Operand:
        left = self._unary()
        while (word := _OPERATOR.match(self.text, self.at)) is not None:
            name = word[1].lower()
            if name in _UNSUPPORTED:
                raise Refusal(400, f"The operator {name!r} is not supported in $filter.")
            if name not in _COMPARISONS:
                break  # "and" or "or", which the callers look for
            self.at = word.end()
            left = _compared(left, name, self._unary())
        return left

    def _unary(self) -> _Operand:
        negations = 0
        while self._skip(_NOT):
            negations += 1
        if self._mark("("):
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise Refusal(400, "The $filter is nested too deeply.")
            self._skip(_BLANKS)
            found = self._either()
            self._close()
            self.depth -= 1
        else:
            found = self._literal() or self._named()
        if not negations:
            return found
        condition = self._condition(found)
        return Not(condition) if negations % 2 else condition

    def _literal(self) -> Literal | None:
        match = _LITERAL.match(self.text, self.at)
        if match is None or match.lastgroup is None:
            return None
        kind, raw = match.lastgroup, match[0]
        if kind == "prefixed":
            prefix = match["prefix"].lower()
            if prefix not in {"binary", "duration"}:
                raise Refusal(400, f"The literal {_shown(raw)} is not supported in $filter.")
            kind, raw = prefix, raw[len(prefix) :]
        self.at = match.end()
        quoted = kind in {"string", "binary", "duration"}
        return Literal(kind, raw[1:-1].replace("''", "'") if quoted else raw)

    def _named(self) -> _Operand:
        match = _QUALIFIED.match(self.text, self.at)
        if match is None:
            if _OTHER_EXPRESSION.match(self.text, self.at):
                raise Refusal(400, f"The $filter {_shown(self.text)} uses an expression that is not supported.")
            self._malformed()
        name = match[0]
        for part in name.split("."):
            self._check_name(part)
        self.at = match.end()
        if self._mark("("):
            return self._call(name)
        if self._mark("/"):
            raise Refusal(400, f"Paths such as '{name}/...' are not supported in $filter.")
        column = self.columns.get(name)
        if column is None:
            raise Refusal(400, f"The property {name!r} in $filter does not exist.")
        return column

    def _call(self, name: str) -> Condition:
        function = name.lower()
        if function == "not":
            raise Refusal(400, "In $filter, 'not' needs a blank behind it.")
        if function not in _FUNCTIONS:
            raise Refusal(400, f"The function {name!r} is not supported in $filter.")
        self._skip(_BLANKS)
        arguments = [self._either()]
        self._skip(_BLANKS)
        while self._mark(","):
            self._skip(_BLANKS)
            arguments.append(self._either())
            self._skip(_BLANKS)
        self._close()
        match arguments:
            case [Column() as column, Literal("string", part)]:
                if column.edm_type != "Edm.String":
                    raise Refusal(400, f"In $filter, {function!r} takes strings; {column.name!r} is none.")
                return Text(function, column, part)
        raise Refusal(400, f"In $filter, {function!r} takes a property and a string.")

    def _condition(self, operand: _Operand) -> Condition:
        match operand:
            case Column(edm_type="Edm.Boolean"):
                return Flag(operand)
            case Literal("boolean", text):
                return Always(text.lower() == "true")
            case Column() | Literal():
                raise Refusal(400, f"The $filter {_shown(self.text)} has a value where a condition is needed.")
        return operand

    def _check_name(self, name: str) -> None:
        for position, character in enumerate(name):
            allowed = _FOLLOWING if position else _LEADING
            if not character.isascii() and unicodedata.category(character) not in allowed:
                self._malformed()

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True

    def _mark(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += 1
        return True

    def _close(self) -> None:
        self._skip(_BLANKS)
        if not self._mark(")"):
            self._malformed()

    def _malformed(self) -> NoReturn:
        where = f"at {_shown(self.text[self.at :])}" if self.at < len(self.text) else "at its end"
        raise Refusal(400, f"The $filter {_shown(self.text)} is malformed {where}.")


def _compared(left: _Operand, operator: str, right: _Operand) -> Condition:
    match left, right:
        case Column(), Column():
            return compare_columns(left, operator, right)
        case Column(), Literal():
            return compare(left, operator, right)
        case Literal(), Column():
            return compare(right, _MIRRORED.get(operator, operator), left)
        case Literal(), Literal():
            raise Refusal(400, "The $filter compares two constants, which is not supported.")
    raise Refusal(400, "The $filter compares a condition, which is not supported.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
