"""Filters: build one with ``col``, take one from keywords, bound one by dates, write one as OData.

The tree is in ``tree``, its text in ``render``, dates in ``bounds``; this is the door to all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sacnb._odata.expression import And, ColumnRef, Comparison, Expression, Membership, Not, Or, TextMatch, col
from sacnb._odata.render import canonical_filter, is_never, to_odata
from sacnb._odata.where import When, bounds
from sacnb.errors import QueryError

__all__ = [
    "And",
    "ColumnRef",
    "Comparison",
    "Expression",
    "Membership",
    "Not",
    "Or",
    "TextMatch",
    "When",
    "both",
    "bounds",
    "canonical_filter",
    "col",
    "from_where",
    "is_never",
    "to_odata",
]


def from_where(where: Mapping[str, object] | Expression | None) -> Expression | None:
    """A filter from keywords, all of which must hold: ``{"Version": "public.Actual", "Sector": ["31", "32"]}``.

    A plain value means equal, a list (or tuple, set, series) means one of its values, ``None`` means no value; an empty
    list matches no row. An ``Expression`` is passed through. Nothing to filter by gives ``None``.

    Raises:
        QueryError: ``where`` is neither, or holds something that is no plain value.
    """
    if where is None or isinstance(where, Expression):
        return where
    if not isinstance(where, Mapping):
        raise QueryError(
            f"where got {where!r}, a {type(where).__name__}.",
            hint="Give a dict of column to value or list of values, or an expression such as col('Sector') == '31'.",
        )
    result: Expression | None = None
    for name, wanted in where.items():
        result = both(result, _condition(name, wanted))
    return result


def both(one: Expression | None, other: Expression | None) -> Expression | None:
    """The two filters joined by ``and``; either may be missing."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _condition(name: str, wanted: object) -> Expression:
    if isinstance(wanted, Expression | ColumnRef):
        raise QueryError(
            f"where[{name!r}] holds the condition {wanted!r}, not a value.",
            hint="Give expressions as where= itself, joined with &.",
        )
    if isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes):
        return col(name).is_in(wanted)
    return col(name) == wanted
