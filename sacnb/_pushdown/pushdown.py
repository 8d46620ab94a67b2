"""What of a polars predicate SAC is asked for, condition by condition; how, and what stays, is in ``translate``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from operator import and_

import polars as pl

from sacnb._odata.expression import Expression
from sacnb._odata.schema import Schema
from sacnb._pushdown.predicate import conjuncts
from sacnb._pushdown.translate import Stays, Translator

__all__ = ["Kept", "PushDown", "Sent", "push_down"]


@dataclass(frozen=True, slots=True)
class Sent:
    """A condition of the predicate as polars writes it, and what SAC is asked for it."""

    text: str
    where: Expression


@dataclass(frozen=True, slots=True)
class Kept:
    """A condition that only polars checks, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class PushDown:
    """A predicate, taken apart. polars checks all of it again, also what was sent."""

    sent: tuple[Sent, ...] = ()
    kept: tuple[Kept, ...] = ()

    @property
    def where(self) -> Expression | None:
        """A filter that keeps at least the rows the predicate keeps; ``None`` for all rows."""
        return reduce(and_, (sent.where for sent in self.sent)) if self.sent else None

    def without(self, dropped: Sent, reason: str) -> PushDown:
        """The same with one condition not sent."""
        rest = tuple(one for one in self.sent if one is not dropped)
        return PushDown(rest, (*self.kept, Kept(dropped.text, reason)))


def push_down(
    predicate: pl.Expr | None, schema: Schema, filterable: Collection[str] | None = None, *, decimals: bool = False
) -> PushDown:
    """What of a predicate over the columns of ``schema`` can be sent.

    Args:
        predicate: As polars hands it to a source; ``None`` keeps every row.
        schema: The columns.
        filterable: The columns that SAC may be asked to filter by; by default all.
        decimals: Whether the frame shows ``Edm.Decimal`` as decimals, and not as float64.
    """
    if predicate is None:
        return PushDown()
    allowed = frozenset(schema.names if filterable is None else filterable)
    translator = Translator(schema, allowed, decimals=decimals)
    sent: list[Sent] = []
    kept: list[Kept] = []
    for conjunct in conjuncts(predicate):
        found = translator.rows(conjunct.predicate)
        if isinstance(found, Stays):
            kept.append(Kept(conjunct.text, found.reason))
        else:
            sent.append(Sent(conjunct.text, found))
    return PushDown(tuple(sent), tuple(kept))
