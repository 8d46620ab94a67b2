"""The columns of an entity set, with their types, roles and dates.

SAC writes dates as strings at the model's grain (``"202105"``), and the type of a column does not say so. The entity
type ``MasterData`` does, whose columns are called ``<dimension>___<attribute>``: a date dimension has one attribute per
level of its calendar, and the finest is the grain. ``CALMONTH`` was seen on live tenants; the other names are SAP's
usual ones and unconfirmed here. Attributes of the set ``<dimension>Master`` are read the same way.

Generic names (``MONTH``, ``YEAR``) count only for a column whose own name says date, because a product may have a
``YEAR`` too, and only where SAP's own names are absent. ``DATE`` tells no grain: SAP's own client takes it for the key
of a date dimension of any grain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sacnb._rendering import Preview, Previewed
from sacnb.errors import UnknownNameError

__all__ = [
    "EDM_PRIMITIVES",
    "INTEGER_TYPES",
    "MASTER_SEPARATOR",
    "NUMERIC_TYPES",
    "Column",
    "DateColumn",
    "Grain",
    "Role",
    "Schema",
    "date_columns",
    "is_account",
    "is_version",
]

Role = Literal["dimension", "measure", "attribute"]
Grain = Literal["day", "week", "month", "quarter", "year"]

INTEGER_TYPES: Final = frozenset({"Edm.Byte", "Edm.SByte", "Edm.Int16", "Edm.Int32", "Edm.Int64"})
NUMERIC_TYPES: Final = INTEGER_TYPES | {"Edm.Decimal", "Edm.Double", "Edm.Single"}
# The primitive types of OData 4.01 that can be compared with a literal; anything else is kept as it was declared.
EDM_PRIMITIVES: Final = NUMERIC_TYPES | {
    "Edm.Binary",
    "Edm.Boolean",
    "Edm.Date",
    "Edm.DateTimeOffset",
    "Edm.Duration",
    "Edm.Guid",
    "Edm.String",
    "Edm.TimeOfDay",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an entity set, as ``$metadata`` declares it.

    ``edm_type`` is the Edm type, with type definitions resolved (``"Edm.Decimal"``); a type that is not known is kept
    as declared (``"Edm.Fancy"``, ``"sac.Color"``). ``max_length`` is in characters, ``precision`` and ``scale`` in
    decimal digits. ``None`` says that the number is not fixed: not declared, ``max``, ``variable`` or ``floating``.
    (For an undeclared scale the standard says 0; values with digits after the point still have to be readable.)
    """

    name: str
    edm_type: str
    role: Role
    nullable: bool = True
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class DateColumn:
    """A column that holds dates, and the grain they are written in; ``None`` where ``$metadata`` does not tell."""

    __module__ = "sacnb"

    name: str
    grain: Grain | None


@dataclass(frozen=True, slots=True)
class Schema(Previewed):
    """The columns of one entity set of one provider, in the order of ``$metadata``.

    Keys are dimensions, numbers that are not keys are measures, and everything else is an attribute: it can be selected
    and filtered, but is not part of the key. ``date_columns`` begins with the one that is most likely the model's date.
    """

    __module__ = "sacnb"

    provider_id: str
    entity_set: str
    columns: tuple[Column, ...]
    namespace: str = "sac"
    date_columns: tuple[DateColumn, ...] = ()

    @property
    def dimensions(self) -> tuple[Column, ...]:
        """The key columns."""
        return self._of("dimension")

    @property
    def measures(self) -> tuple[Column, ...]:
        """The numeric columns that are not keys."""
        return self._of("measure")

    @property
    def attributes(self) -> tuple[Column, ...]:
        """The columns that are neither dimensions nor measures."""
        return self._of("attribute")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, in the order of ``$metadata``."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column called ``name``, exactly.

        Raises:
            UnknownNameError: there is none; the error holds the nearest names.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UnknownNameError("column", name, self.names, where=f"{self.provider_id}/{self.entity_set}")

    def grain_of(self, name: str) -> Grain | None:
        """Return the grain of the date column ``name``; ``None`` where it is unknown or the column is no date."""
        return next((date.grain for date in self.date_columns if date.name == name), None)

    def __str__(self) -> str:
        return self._preview().text()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's signature
        """Print the preview in IPython; ``repr`` stays Python that builds the schema again."""
        printer.text("Schema(...)" if cycle else str(self))

    def _preview(self) -> Preview:
        rows = tuple((one.name, one.role, _type_in_words(one), self._about(one)) for one in self.columns)
        counts = ", ".join(
            f"{len(columns)} {role}{'' if len(columns) == 1 else 's'}"
            for role, columns in (
                ("dimension", self.dimensions),
                ("measure", self.measures),
                ("attribute", self.attributes),
            )
        )
        title = f"{self.provider_id}/{self.entity_set}: {counts}"
        return Preview(title, (), ("column", "role", "type", "about"), (False,) * 4, rows, "")

    def _about(self, column: Column) -> str:
        grain = self.grain_of(column.name)
        is_date = any(date.name == column.name for date in self.date_columns)
        date = (f"date by {grain}" if grain else "date of unknown grain") if is_date else ""
        return ", ".join(part for part in (column.label or "", date) if part)

    def _of(self, role: Role) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role == role)


def is_version(name: str) -> bool:
    """Return whether a column is the dimension of versions, which has this name in every model (or ``dim_...``)."""
    return name.removeprefix("dim_").casefold() == "version"


def is_account(name: str) -> bool:
    """Return whether a column is the account dimension of a classic account model, by SAC's convention for its name."""
    return name.removeprefix("dim_").casefold() == "account"


def _type_in_words(column: Column) -> str:
    """Return a type with its facets: ``Edm.Decimal(31, 7)``, ``Edm.String(256)``."""
    if column.precision is not None:
        return f"{column.edm_type}({column.precision}, {'any' if column.scale is None else column.scale})"
    return f"{column.edm_type}({column.max_length})" if column.max_length is not None else column.edm_type


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
_GENERATED_SUFFIX: Final = re.compile(r"(?<!_)_+(?=[a-z]*[0-9])[0-9a-z]{10}$")
# Date, AddedDate, posting_date, POSTING_DATE; not Update, not candidate.
_DATE_NAME: Final = re.compile(r"(?:.*_)?(?:date|Date|DATE)|.*[a-z0-9]Date", re.DOTALL)


def date_columns(columns: Iterable[Column], attributes: Mapping[str, Iterable[str]]) -> tuple[DateColumn, ...]:
    """Return the date columns among ``columns``, the likeliest date of the model first.

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
