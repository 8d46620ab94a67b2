"""The rows that filters are tried on, and seeded generators of conditions over them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any, Final
from uuid import UUID

import sacnb

from .conditions import AllOf, AnyOf, Compare, Condition, Match, Not, OneOf, Row

# A key, and a column of each primitive type.
TYPES: Final[dict[str, str]] = {
    "Id": "Edm.Int64",
    "Region": "Edm.String",
    "Note": "Edm.String",
    "Flag": "Edm.Boolean",
    "Small": "Edm.Byte",
    "Count": "Edm.Int32",
    "Large": "Edm.Int64",
    "Amount": "Edm.Decimal",
    "Ratio": "Edm.Double",
    "Half": "Edm.Single",
    "Day": "Edm.Date",
    "Moment": "Edm.DateTimeOffset",
    "Clock": "Edm.TimeOfDay",
    "Span": "Edm.Duration",
    "Code": "Edm.Guid",
    "Raw": "Edm.Binary",
}
UNORDERED: Final = frozenset({"Edm.Boolean", "Edm.Guid", "Edm.Binary"})

TEXTS: Final = (
    "", " ", "#", "a", "A", "b ", " b", "O'Hare", "''", "'", "EMEA/North", "http://x/?a=b&c=d#e", "100%", "%27", "%2F",
    "a+b", "a b", "a;b=c", "(x)", ")", "(", "a,b", "and", "x or y", "' or true or '", "null", "true", "42", "$filter",
    "@p", "*", "\\", '"', "{}", "[]", "<a>", "|", "^", "`", "~", "Zürich", "Zu\u0308rich", "日本", "🚀", "\u00a0",
    "\ufeff", "\u200d", "\ue000", "ß", "İ", "\u0131", "2024", "202401", "duration'P1D'", "a''b", "!", "a.b-c_d:e",
)  # fmt: skip
_LARGEST: Final = "999999999999999999999999.9999999"
_POOLS: Final[dict[str, Sequence[Any]]] = {
    "Edm.String": TEXTS,
    "Edm.Boolean": (True, False),
    "Edm.Byte": (0, 1, 7, 255),
    "Edm.Int32": (0, -1, 7, 2**31 - 1, -(2**31), 1000),
    "Edm.Int64": (0, -1, 7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)),
    "Edm.Decimal": tuple(
        map(Decimal, ("0", "0.1", "-0.1", "7", "7.5", "1234567.1234567", "-0.0000001", _LARGEST))
    ),
    "Edm.Double": (0.0, 0.1, -0.5, 1e300, -1e-300, 7.0, math.inf, -math.inf, math.nan),
    "Edm.Single": (0.0, 0.5, -1.25, 16_777_216.0, 7.0, math.nan),
    "Edm.Date": (date(1, 1, 1), date(987, 6, 5), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)),
    "Edm.DateTimeOffset": (
        datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 123_456, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC),
    ),
    "Edm.TimeOfDay": (time(0), time(7, 30), time(23, 59, 59, 999_999)),
    "Edm.Duration": (timedelta(0), timedelta(days=1, seconds=5), -timedelta(seconds=90, microseconds=1)),
    "Edm.Guid": ("01234567-89ab-cdef-0123-456789abcdef", "ffffffff-ffff-4fff-bfff-ffffffffffff"),
    "Edm.Binary": (b"", b"\x00\xff\xfe", b"plain"),
}  # fmt: skip
_MOST_PARTS: Final = 3


def pool(edm_type: str) -> Sequence[Any]:
    """Return the values that columns of this type hold."""
    return _POOLS[edm_type]


def make_rows(random_: random.Random, count: int, types: dict[str, str] = TYPES) -> list[Row]:
    """Return *count* rows; every column but ``Id`` has some without a value."""
    pools = {kind: pool(kind) for kind in types.values()}
    return [
        {
            name: number
            if name == "Id"
            else None
            if random_.random() < 0.15
            else random_.choice(pools[kind])
            for name, kind in types.items()
        }
        for number in range(1, count + 1)
    ]  # fmt: skip


class Conditions:
    """Seeded conditions over columns of these types, each with the ``sacnb.col`` expression that says the same."""

    def __init__(
        self,
        random_: random.Random,
        types: dict[str, str] = TYPES,
        texts: Sequence[str] = TEXTS,
    ) -> None:
        self._random = random_
        self._names = [name for name in types if name != "Id"]
        self._types = types
        self._texts = texts

    def one(self, depth: int = 3) -> tuple[Condition, Any]:
        """Return a condition and its expression, with ``and``, ``or`` and ``not`` nested up to *depth* times."""
        kind = self._random.random()
        if depth == 0 or kind < 0.35:
            return self._leaf()
        if kind < 0.55:
            inner, expression = self.one(depth - 1)
            return Not(inner), ~expression
        parts = [self.one(depth - 1) for _ in range(self._random.randint(2, _MOST_PARTS))]
        conditions = tuple(condition for condition, _ in parts)
        joined = parts[0][1]
        if kind < 0.78:
            for _, expression in parts[1:]:
                joined = joined & expression
            return AllOf(conditions), joined
        for _, expression in parts[1:]:
            joined = joined | expression
        return AnyOf(conditions), joined

    def _leaf(self) -> tuple[Condition, Any]:
        name = self._random.choice(self._names)
        kind = self._types[name]
        column = sacnb.col(name)
        choice = self._random.random()
        if kind == "Edm.String" and choice < 0.3:
            way = self._random.choice(["contains", "startswith", "endswith"])
            text = self._random.choice(self._texts)
            return Match(name, way, text), getattr(column, way)(text)
        if choice < 0.45:
            values = [self._value(kind, none=0.1) for _ in range(self._random.randint(0, 4))]
            return OneOf(name, tuple(value for value, _ in values)), column.is_in([said for _, said in values])
        if choice < 0.6 and kind not in UNORDERED:
            (low, said_low), (high, said_high) = self._value(kind), self._value(kind)
            both = AllOf((Compare(name, "ge", low), Compare(name, "le", high)))
            return both, column.between(said_low, said_high)
        signs = ["eq", "ne"] if kind in UNORDERED else ["eq", "ne", "lt", "le", "gt", "ge"]
        sign = self._random.choice(signs)
        value, said = self._value(kind, none=0.15 if sign in {"eq", "ne"} else 0)
        return Compare(name, sign, value), getattr(column, f"__{sign}__")(said)

    def _value(self, kind: str, none: float = 0) -> tuple[Any, Any]:
        """Return a value, and one of the forms in which a user may say it."""
        if self._random.random() < none:
            return None, None
        values = self._texts if kind == "Edm.String" else pool(kind)
        value = self._random.choice([one for one in values if one == one])  # noqa: PLR0124 - no NaN
        said = self._random.choice(_FORMS.get(kind, (_as_it_is,)))(value)
        return value, said


def _without_zeros(value: Decimal) -> Decimal:
    with localcontext(prec=100):
        return value.normalize()


def _as_it_is(value: Any) -> Any:
    return value


def _in_another_zone(value: datetime) -> datetime:
    return value.astimezone(timezone(timedelta(hours=5, minutes=45))) if value.year > 1 else value


# A float only where it reads back as the same number.
_FORMS: Final[dict[str, tuple[Callable[[Any], Any], ...]]] = {
    "Edm.Byte": (_as_it_is, Decimal, float),
    "Edm.Int32": (_as_it_is, Decimal, float),
    "Edm.Int64": (_as_it_is, Decimal),
    "Edm.Decimal": (
        _as_it_is,
        _without_zeros,
        lambda value: float(value) if Decimal(repr(float(value))) == value else value,
    ),
    "Edm.Double": (_as_it_is, lambda value: Decimal(repr(value)) if math.isfinite(value) else value),
    "Edm.Date": (_as_it_is, date.isoformat),
    "Edm.DateTimeOffset": (_as_it_is, datetime.isoformat, _in_another_zone),
    "Edm.TimeOfDay": (_as_it_is, time.isoformat),
    "Edm.Guid": (_as_it_is, str.upper, UUID),
}
