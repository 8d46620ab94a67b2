"""Which columns hold dates, and at which grain: read from names and types, because SAC declares neither.

SAC writes dates as strings at the model's grain (``"202105"``), and nothing in the type of a column says so. What tells
is the entity type ``MasterData``, whose columns are called ``<dimension>___<attribute>``: a date dimension has one
attribute per level of its calendar, and the finest one is the grain. ``CALMONTH`` was seen on live tenants; the other
names are SAP's usual ones and unconfirmed here. Attributes of the set ``<dimension>Master`` are read the same way.

Generic names (``MONTH``, ``YEAR``) count only for a column whose own name says date, since a product may have a
``YEAR`` too, and only where SAP's own names are absent. ``DATE`` says nothing: SAP's own client takes it for the key of
a date dimension of any grain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from sacnb._odata.schema import Column, DateColumn, Grain

__all__ = ["MASTER_SEPARATOR", "date_columns"]

MASTER_SEPARATOR: Final = "___"

_FINEST_FIRST: Final[tuple[Grain, ...]] = ("day", "week", "month", "quarter", "year")
_CALENDAR: Final[Mapping[str, Grain]] = {
    "CALDAY": "day",
    "CALWEEK": "week",
    "CALMONTH": "month",
    "CALQUARTER": "quarter",
    "CALYEAR": "year",
}
_GENERIC: Final[Mapping[str, Grain]] = {
    "DAY": "day",
    "WEEK": "week",
    "MONTH": "month",
    "QUARTER": "quarter",
    "YEAR": "year",
}
_TYPED: Final = frozenset({"Edm.Date", "Edm.DateTimeOffset"})
# SAC appends ten generated characters to names that would collide: Store_3z2g5g06m4, Sales_Manager__5w3m5d06b5.
_GENERATED_SUFFIX: Final = re.compile(r"_+(?=[a-z]*[0-9])[0-9a-z]{10}$")
# Date, AddedDate, posting_date, POSTING_DATE; not Update, not candidate.
_DATE_NAME: Final = re.compile(r"(?:.*_)?(?:date|Date|DATE)|.*[a-z0-9]Date", re.DOTALL)


def date_columns(columns: Iterable[Column], attributes: Mapping[str, Iterable[str]]) -> tuple[DateColumn, ...]:
    """The date columns among ``columns``, the most likely one to be the model's date first.

    ``Edm.Date`` and ``Edm.DateTimeOffset`` are of day grain. A string column is a date if its master attributes
    (``attributes``: column name to attribute names) are those of a calendar, or if it is called ``Date`` or
    ``...Date``; without such attributes its grain is not known. The first one is called exactly ``Date`` if there is
    one, then dimensions come before attributes, known grains before unknown ones.
    """
    found: list[tuple[tuple[bool, bool, bool], DateColumn]] = []
    for column in columns:
        named = _sounds_like_date(column.name)
        if column.edm_type in _TYPED:
            grain: Grain | None = "day"
        elif column.edm_type == "Edm.String":
            grain = _finest(attributes.get(column.name, ()), generic=named)
            if grain is None and not named:
                continue
        else:
            continue
        rank = (column.name.casefold() != "date", column.role != "dimension", grain is None)
        found.append((rank, DateColumn(column.name, grain)))
    return tuple(date for _, date in sorted(found, key=lambda pair: pair[0]))


def _sounds_like_date(name: str) -> bool:
    return _DATE_NAME.fullmatch(_GENERATED_SUFFIX.sub("", name)) is not None


def _finest(attributes: Iterable[str], *, generic: bool) -> Grain | None:
    names = {name.upper() for name in attributes}
    for known in (_CALENDAR, _GENERIC) if generic else (_CALENDAR,):
        grains = {grain for name, grain in known.items() if name in names}
        if grains:
            return next(grain for grain in _FINEST_FIRST if grain in grains)
    return None
