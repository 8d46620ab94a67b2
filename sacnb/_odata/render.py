"""Write a filter expression as OData: exactly as asked for the URL, or in one canonical form for cache keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sacnb._odata.expression import And, Comparison, Expression, Membership, Not, Or, TextMatch
from sacnb._odata.literal import literal
from sacnb._odata.schema import EDM_PRIMITIVES, Schema
from sacnb.errors import QueryError

__all__ = ["canonical_filter", "is_never", "to_odata"]


@dataclass(frozen=True, slots=True)
class _Terms:
    """Conditions joined by one word; a single condition binds tighter than any word."""

    joined_by: Literal["and", "or"]
    parts: tuple[str, ...]

    def text(self) -> str:
        return f" {self.joined_by} ".join(self.parts)


def to_odata(expression: Expression, schema: Schema) -> str:
    """``expression`` as the value of ``$filter``, not yet percent-encoded.

    One that keeps every row is empty text, one that keeps none (an empty ``is_in``) is ``false``: right by the OData
    standard, but not a question that SAC has to be asked.

    Raises:
        UnknownNameError: a column is not in ``schema``.
        QueryError: a value does not fit its column, or text is looked for in a column that holds none.
    """
    found = _render(expression, schema, canonical=False)
    if isinstance(found, bool):
        return "" if found else "false"
    return found.text()


def canonical_filter(expression: Expression, schema: Schema) -> str:
    """A text that is the same for the same question: the order and repetition of operands and members do not count.

    ``"true"`` if it keeps every row, ``"false"`` if none. Raises as ``to_odata`` does.
    """
    found = _render(expression, schema, canonical=True)
    return str(found).lower() if isinstance(found, bool) else found.text()


def is_never(expression: Expression, schema: Schema) -> bool:
    """Whether no row can match, whatever SAC holds: because of an empty ``is_in``. Raises as ``to_odata`` does."""
    return _render(expression, schema, canonical=False) is False


def _render(expression: Expression, schema: Schema, *, canonical: bool) -> _Terms | bool:
    match expression:
        case Comparison(column, operator, value):
            return _Terms("or", (f"{column} {operator} {literal(value, schema.column(column))}",))
        case Membership(column, values):
            of = schema.column(column)
            return _terms("or", [f"{column} eq {literal(value, of)}" for value in values], canonical=canonical)
        case TextMatch():
            return _Terms("or", (_text_match(expression, schema),))
        case Not(operand):
            inner = _render(operand, schema, canonical=canonical)
            return not inner if isinstance(inner, bool) else _Terms("or", (f"not ({inner.text()})",))
        case And(operands):
            return _join("and", operands, schema, canonical=canonical)
        case Or(operands):
            return _join("or", operands, schema, canonical=canonical)
    raise QueryError(f"{expression!r} is not a condition that sacnb knows.")


def _join(
    word: Literal["and", "or"], operands: tuple[Expression, ...], schema: Schema, *, canonical: bool
) -> _Terms | bool:
    settles = word == "or"  # one true operand settles an or, one false operand an and
    parts: list[str] = []
    settled = False
    for operand in operands:
        inner = _render(operand, schema, canonical=canonical)
        if isinstance(inner, bool):
            settled = settled or inner is settles
        elif len(inner.parts) == 1 or inner.joined_by == word:
            parts.extend(inner.parts)
        else:
            parts.append(f"({inner.text()})")
    if settled:
        return settles
    return _terms(word, parts, canonical=canonical) if parts else not settles


def _terms(word: Literal["and", "or"], parts: list[str], *, canonical: bool) -> _Terms | bool:
    """Parts without repetition, sorted if asked; nothing to choose from is false for ``or``, true for ``and``."""
    distinct = dict.fromkeys(parts)
    if not distinct:
        return word == "and"
    return _Terms(word, tuple(sorted(distinct) if canonical else distinct))


def _text_match(expression: TextMatch, schema: Schema) -> str:
    column = schema.column(expression.column)
    if column.edm_type in EDM_PRIMITIVES - {"Edm.String"}:
        raise QueryError(
            f"{expression!r}: {column.name!r} holds {column.edm_type}, not text.",
            hint="Compare it with ==, <, <=, >, >= or between.",
        )
    return f"{expression.function}({column.name},{literal(expression.text, column)})"
