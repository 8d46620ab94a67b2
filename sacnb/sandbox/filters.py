"""``$filter``: parsed by ``odata-query``, evaluated by polars.

SAP documents ``eq ne gt lt ge le``, ``contains``, ``startswith``, ``endswith``, ``and``, ``or``, ``not`` and
parentheses, strings in quotes and numbers without. That is what is understood; anything else of OData's grammar is
refused. Nulls follow OData 4.0, section 5.1.1.1 (unconfirmed for SAC): ``ne`` is true and ``lt le gt ge`` are false
where one side is null.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, Final

import polars as pl
from odata_query import ast
from odata_query.exceptions import ODataException
from odata_query.grammar import ODataLexer, ODataParser

from sacnb.sandbox.exchange import Refusal
from sacnb.sandbox.literals import Flat, comparison
from sacnb.sandbox.schema import Column

__all__ = ["Predicate", "parse_filter"]

_STRING_FUNCTIONS: Final[dict[str, Callable[[pl.Expr, str], pl.Expr]]] = {
    "contains": lambda value, part: value.str.contains(part, literal=True),
    "startswith": lambda value, part: value.str.starts_with(part),
    "endswith": lambda value, part: value.str.ends_with(part),
}
_OPERATORS: Final = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_MAX_DEPTH: Final = 100
_MIRRORED: Final = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
# The lexer takes these for whole words even where a longer name begins with them ("Allocation", "nullable_flag").
_WORDS: Final = frozenset({"ALL", "ANY", "NULL", "BOOLEAN"})
_NAME: Final = re.compile(r"[A-Za-z_][\w.]*")


class Predicate:
    """A filter as a polars expression, with the names of the columns it reads."""

    def __init__(self, expression: pl.Expr, names: frozenset[str]) -> None:
        self.expression = expression
        self.names = names


def parse_filter(text: str, columns: Iterable[Column]) -> Predicate:
    """Read a filter over these columns.

    Raises:
        Refusal: 400 when the filter is malformed, names an unknown property, or compares what cannot be compared.
    """
    try:
        tree = ODataParser().parse(_tokens(text.strip()))
    except ODataException:
        tree = None
    if tree is None:
        raise Refusal(400, f"The $filter {_shown(text)} is malformed.")
    reader = _Reader({c.name: c for c in columns})
    expression = reader.truth(tree)
    return Predicate(expression, frozenset(reader.names))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")


def _tokens(text: str) -> Iterator[Any]:
    """The lexer's tokens, with two repairs: names that begin with a keyword, and ``binary'...'`` literals."""
    lexer = ODataLexer()
    first: Any = None
    end = 0
    for token in lexer.tokenize(text):
        # Only tokens that have a method in the lexer move its index, and only those are joined: the others are single
        # characters, whose type is the character. Behind one of them the index is still where it was, so what lies
        # before it would be taken for both.
        is_character = token.type == token.value
        past = token.index + 1 if is_character else lexer.index
        if (
            first is not None
            and not is_character
            and token.index == end
            and _join(first, token, text[first.index : past])
        ):
            end = past
            continue
        if first is not None:
            yield first
        first, end = token, past
    if first is not None:
        yield first


def _join(first: Any, second: Any, raw: str) -> bool:
    """Make ``first`` one token of two that touch, where they are one; ``raw`` is the text of both."""
    if second.type == "STRING" and raw.lower().startswith("binary'"):
        first.type, first.value = "STRING", BinaryLiteral(second.value.val)
        return True
    if first.type in _WORDS and _NAME.fullmatch(raw):
        *namespace, name = raw.split(".")
        first.type, first.value = "ODATA_IDENTIFIER", ast.Identifier(name, tuple(namespace))
        return True
    return False


class BinaryLiteral(ast.String):
    """``binary'...'``, base64url inside; ``odata-query`` has no literal for it."""


def _name(identifier: Any) -> str:
    return ".".join([*identifier.namespace, identifier.name])


class _Reader:
    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns
        self.names: set[str] = set()

    def truth(self, node: Any, depth: int = 0) -> pl.Expr:
        """The polars expression of a condition."""
        if depth > _MAX_DEPTH:
            raise Refusal(400, "The $filter is nested too deeply.")
        if isinstance(node, ast.BoolOp):
            return self._chain(node, depth + 1)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand, depth + 1)
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Boolean):
            return pl.lit(node.py_val)
        if isinstance(node, ast.Identifier) and self._column(node).edm_type == "Edm.Boolean":
            return pl.col(_name(node))
        raise Refusal(400, "The $filter is not a condition, or uses an operator that is not supported.")

    def _chain(self, node: Any, depth: int) -> pl.Expr:
        """A run of the same ``and`` or ``or``, flat: filters name hundreds of members, and recursion has an end."""
        kind, operands, waiting = type(node.op), [], [node]
        while waiting:
            current = waiting.pop()
            if isinstance(current, ast.BoolOp) and type(current.op) is kind:
                waiting += [current.right, current.left]
            else:
                operands.append(current)
        if kind is ast.And:
            return pl.all_horizontal([self.truth(o, depth) for o in operands])
        expressions: list[pl.Expr] = []
        members: dict[str, list[str]] = {}
        for operand in operands:
            pair = self._member(operand)
            if pair is None:
                expressions.append(self.truth(operand, depth))
            else:
                members.setdefault(pair[0], []).append(pair[1])
        expressions += [pl.col(name).is_in(values, nulls_equal=True) for name, values in members.items()]
        return reduce(operator.or_, expressions)

    def _member(self, node: Any) -> tuple[str, str] | None:
        """Name and value of ``Column eq 'value'`` over a string column: a list of them is a set, and a set is quick."""
        if not (isinstance(node, ast.Compare) and isinstance(node.comparator, ast.Eq)):
            return None
        if not (isinstance(node.left, ast.Identifier) and type(node.right) is ast.String):
            return None
        column = self._column(node.left)
        return (column.name, node.right.val) if column.edm_type == "Edm.String" else None

    def _compare(self, node: Any) -> pl.Expr:
        name = _OPERATORS.get(type(node.comparator))
        if name is None:
            raise Refusal(400, "The $filter uses an operator that is not supported.")
        left, right = self._operand(node.left), self._operand(node.right)
        if isinstance(left, Column):
            return comparison(left, name, right)
        if isinstance(right, Column):
            return comparison(right, _MIRRORED.get(name, name), left)
        raise Refusal(400, "The $filter compares two constants.")

    def _operand(self, node: Any) -> Column | Flat:
        if isinstance(node, ast.Identifier) and _name(node) not in {"INF", "NaN"}:
            return self._column(node)
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if negative else node
        if isinstance(inner, ast.Identifier):
            return Flat("special", ("-" if negative else "") + _name(inner))
        if not negative and isinstance(inner, ast.Null):
            return Flat("null", "null")
        kinds = {
            BinaryLiteral: "binary", ast.String: "string", ast.Integer: "number", ast.Float: "number",
            ast.Boolean: "boolean", ast.Date: "date", ast.Time: "time", ast.DateTime: "datetime",
            ast.Duration: "duration", ast.GUID: "guid",
        }  # fmt: skip
        kind = kinds.get(type(inner))
        if kind is None or (negative and kind != "number"):
            raise Refusal(400, "The $filter uses an operator or function that is not supported.")
        return Flat(kind, ("-" if negative else "") + inner.val)

    def _call(self, node: Any) -> pl.Expr:
        function = _STRING_FUNCTIONS.get(_name(node.func))
        if function is None:
            raise Refusal(400, f"The function {_name(node.func)!r} is not supported in $filter.")
        subject, part = node.args
        if not isinstance(subject, ast.Identifier) or type(part) is not ast.String:
            raise Refusal(400, f"In $filter, {_name(node.func)!r} takes a property and a string.")
        column = self._column(subject)
        if column.edm_type != "Edm.String":
            raise Refusal(400, f"In $filter, {_name(node.func)!r} takes strings; {column.name!r} is none.")
        return function(pl.col(column.name), part.val)

    def _column(self, node: Any) -> Column:
        column = self._columns.get(_name(node))
        if column is None:
            raise Refusal(400, f"The property {_name(node)!r} in $filter does not exist.")
        self.names.add(column.name)
        return column
