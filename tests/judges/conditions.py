"""Conditions on rows, evaluated in plain Python with three truth values.

Nothing here comes from sacnb or polars. A condition is built twice, as one of these values and as whatever is judged
(``sacnb.col``, ``polars.col``, SQL), and both have to keep the same rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Row = Mapping[str, Any]

_ORDERED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_MATCHES: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


@dataclass(frozen=True)
class Rules:
    """What the compared side does with rows without a value, and with NaN.

    OData 4.0 (part 2, 5.1.1.1): ``eq`` and ``ne`` are never unknown, and ``lt le gt ge`` are false beside null. SQL:
    every comparison with null is unknown. polars: as SQL, and NaN equals itself and is larger than any number.
    """

    equality_is_known: bool
    order_is_known: bool
    nan_is_largest: bool = False
    null_literal_is_known: bool = False


ODATA: Final = Rules(equality_is_known=True, order_is_known=True)
# What OData and SQL have in common: whatever a server makes of a comparison that is unknown here, a condition that is
# true or false here is so there.
COMMON: Final = Rules(equality_is_known=False, order_is_known=False, null_literal_is_known=True)
POLARS: Final = Rules(equality_is_known=False, order_is_known=False, nan_is_largest=True)


class Condition:
    """A condition on a row."""

    def truth(self, row: Row, rules: Rules) -> bool | None:
        """Return whether the condition holds for *row*; ``None`` is unknown."""
        raise NotImplementedError

    def kept(self, rows: Iterable[Row], rules: Rules) -> list[Row]:
        """Return the rows for which the condition is true."""
        return [row for row in rows if self.truth(row, rules) is True]


@dataclass(frozen=True)
class Compare(Condition):
    """One column against one value; ``null_safe`` is polars' ``eq_missing`` and SQL's ``is not distinct from``."""

    column: str
    sign: str
    value: Any
    null_safe: bool = False

    def truth(self, row: Row, rules: Rules) -> bool | None:
        found = row[self.column]
        if self.sign in {"eq", "ne"}:
            known = self.null_safe or rules.equality_is_known or (self.value is None and rules.null_literal_is_known)
            if (found is None or self.value is None) and not known:
                return None
            same = found is None and self.value is None
            if found is not None and self.value is not None:
                same = _key(found, rules) == _key(self.value, rules)
            return same is (self.sign == "eq")
        if found is None or self.value is None:
            return False if rules.order_is_known else None
        return _ORDERED[self.sign](_key(found, rules), _key(self.value, rules))


@dataclass(frozen=True)
class OneOf(Condition):
    """One column against a list of values, as ``eq`` joined by ``or``."""

    column: str
    values: tuple[Any, ...]
    null_safe: bool = False

    def truth(self, row: Row, rules: Rules) -> bool | None:
        return AnyOf(tuple(Compare(self.column, "eq", value, self.null_safe) for value in self.values)).truth(
            row, rules
        )


@dataclass(frozen=True)
class Match(Condition):
    """One text column against a part of its text; case counts."""

    column: str
    way: str
    text: str

    def truth(self, row: Row, rules: Rules) -> bool | None:
        found = row[self.column]
        return None if found is None else _MATCHES[self.way](found, self.text)


@dataclass(frozen=True)
class Constant(Condition):
    """Every row, or none."""

    value: bool

    def truth(self, row: Row, rules: Rules) -> bool | None:
        return self.value


@dataclass(frozen=True)
class Not(Condition):
    """The opposite; unknown stays unknown."""

    part: Condition

    def truth(self, row: Row, rules: Rules) -> bool | None:
        found = self.part.truth(row, rules)
        return None if found is None else not found


@dataclass(frozen=True)
class AllOf(Condition):
    """Conditions joined by ``and``: false beats unknown."""

    parts: tuple[Condition, ...]

    def truth(self, row: Row, rules: Rules) -> bool | None:
        found = [part.truth(row, rules) for part in self.parts]
        return False if False in found else None if None in found else True


@dataclass(frozen=True)
class AnyOf(Condition):
    """Conditions joined by ``or``: true beats unknown."""

    parts: tuple[Condition, ...]

    def truth(self, row: Row, rules: Rules) -> bool | None:
        found = [part.truth(row, rules) for part in self.parts]
        return True if True in found else None if None in found else False


def _key(value: Any, rules: Rules) -> Any:
    """Return *value* in a form whose order is the one of the rules."""
    if rules.nan_is_largest and isinstance(value, float):
        return (1, 0.0) if math.isnan(value) else (0, value)
    return value
