"""The model as the import service describes it: its columns, and the members that take facts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Literal

from sacnb._endpoints import HIERARCHY_ROOT, PARENT_SUFFIX, UNASSIGNED
from sacnb._frames.types import MAX_DECIMAL_DIGITS
from sacnb.errors import BadAnswer

if TYPE_CHECKING:
    from sacnb._wire.session import SacSession

__all__ = [
    "MODELS",
    "Dates",
    "Destination",
    "ImportColumn",
    "ImportTable",
    "Members",
    "dates_as_written",
    "lower_keys",
    "read_import_metadata",
]

MODELS: Final = "models"
VERSION: Final = "Version"
# The ids of private versions begin so (seen in the field).
PRIVATE: Final = "private."
Kind = Literal["text", "number", "other"]
_MOST_DIGITS: Final = 9
_NUMBERS: Final = ("decimal", "int", "double", "float", "number")
_TEXTS: Final = ("string", "char", "text")


@dataclass(frozen=True, slots=True)
class Destination:
    """The model or table that is written into: its id within a service of the import service, and the tenant."""

    session: SacSession
    id: str
    tenant_url: str
    tenant_host: str
    principal: str
    service: str = MODELS


@dataclass(frozen=True, slots=True)
class ImportColumn:
    """A column that an import can fill. The limits are ``None`` where SAC says none."""

    name: str
    kind: Kind
    is_key: bool
    is_date: bool
    max_length: int | None
    precision: int | None
    scale: int | None


@dataclass(frozen=True, slots=True)
class ImportTable:
    """The columns of one import type, in SAC's order."""

    columns: tuple[ImportColumn, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the key columns: the dimensions."""
        return tuple(column.name for column in self.columns if column.is_key)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the other columns: the measures."""
        return tuple(column.name for column in self.columns if not column.is_key)

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> ImportColumn:
        """Return the column of that name."""
        return next(column for column in self.columns if column.name == name)


def lower_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return *value* with its keys in lower case: the sources spell them ``jobID`` and ``JobID``."""
    return {str(name).lower(): one for name, one in value.items()}


def read_import_metadata(body: bytes, part: str = "factData") -> ImportTable:
    """Return the columns of the import type *part*.

    The form of ``factData`` is that of public fixtures; that other types have the same form is unconfirmed.

    Raises BadAnswer for another form.
    """
    try:
        about = lower_keys(lower_keys(json.loads(body))[part.lower()])
        columns = [lower_keys(column) for column in about["columns"]]
        keys = set(about.get("keys") or ())
        table = ImportTable(tuple(_column(column, keys) for column in columns))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadAnswer(
            f"The import metadata have no columns for {part} where they are expected ({error!r}).",
            hint=f"Either the model takes no {part}, or SAC describes it in another form.",
        ) from None
    return table


def _column(about: Mapping[str, Any], keys: set[str]) -> ImportColumn:
    kind = str(about.get("columndatatype") or "").lower()
    is_number = any(word in kind for word in _NUMBERS)
    return ImportColumn(
        name=str(about["columnname"]),
        kind="number" if is_number else "text" if any(word in kind for word in _TEXTS) else "other",
        is_key=str(about.get("iskey")).lower() == "true" or about["columnname"] in keys,
        is_date=str(about.get("propertytype") or "").upper() == "DATE",
        max_length=None if is_number else _whole(about.get("maxlength")),
        precision=_digits(about.get("precision")),
        scale=_digits(about.get("scale")),
    )


def _digits(value: object) -> int | None:
    found = _whole(value)
    return None if found is None or found > MAX_DECIMAL_DIGITS else found


def _whole(value: object) -> int | None:
    """Return a number of digits or characters, also from its text; ``None`` where it is none, or tells no limit."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:_MOST_DIGITS])
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 10**_MOST_DIGITS else None  # type: ignore[operator,return-value]


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a dimension, with those that take no facts.

    ``parents`` are parents in any hierarchy: SAC answers "must be leaf node in hierarchy" (seen in the field).
    ``calculated`` have a formula; the name of that attribute is unconfirmed, so any whose name has "formula" in it is
    read.
    """

    ids: frozenset[str]
    parents: frozenset[str]
    calculated: frozenset[str]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Members:
        """Return the members in the rows of ``<Dim>MasterWithHierarchy`` or ``<Dim>Master``."""
        ids = {str(row["ID"]) for row in rows if row.get("ID") is not None}
        names = list(dict.fromkeys(name for row in rows for name in row))
        above = [name for name in names if name.casefold() == "parent" or name.upper().endswith(PARENT_SUFFIX)]
        formulas = [name for name in names if "formula" in name.casefold()]
        found = [row.get(name) for name in above for row in rows]
        parents = {str(one) for one in found if one not in (None, "", HIERARCHY_ROOT)}
        calculated = {str(row.get("ID")) for name in formulas for row in rows if row.get(name)}
        return cls(frozenset(ids), frozenset(parents), frozenset(calculated))

    def refuse(self, member: str) -> tuple[str, str] | None:
        """Return the kind of problem and its description for a member that takes no facts, or ``None``.

        Unassigned (``#``) takes facts without being listed.
        """
        if member in self.calculated:
            return "calculated member", "has a formula, and SAC refuses values for it"
        if member in self.parents:
            return "parent member", "is a parent in a hierarchy, and only leaves take values"
        if member not in self.ids and member != UNASSIGNED:
            return "unknown member", "does not exist (ids are case-sensitive)"
        return None


_FORMATS: Final[Mapping[str, str]] = {
    "9999": "%Y",
    "999999": "%Y%m",
    "9999-99": "%Y-%m",
    "99999999": "%Y%m%d",
    "9999-99-99": "%Y-%m-%d",
}
_MONTH: Final = re.compile(r"\d{4}-?(0[1-9]|1[0-2])(-?(0[1-9]|[12]\d|3[01]))?", re.ASCII)
# As pandas writes periods of months and times at midnight, and polars dates.
_HEADING: Final = re.compile(r"(\d{4}-\d{2})(-\d{2})?(?:[ T]00:00:00(?:\.0+)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Dates:
    """The texts that a date dimension takes: those of its members, or others written the same way."""

    ids: frozenset[str]
    shape: str | None
    example: str | None

    @property
    def format(self) -> str | None:
        """The format in which a date of Python or Arrow is written, or ``None`` where it is not known."""
        return _FORMATS.get(self.shape or "")

    def of_heading(self, text: str) -> str:
        """Return a heading as the dimension writes dates, where a frame turned a date or period into it."""
        found = _HEADING.fullmatch(text)
        if found is None or self.format is None or self.accepts(text):
            return text
        month, day = found.groups()
        if day is None and "%m" not in self.format:
            return text
        with suppress(ValueError):  # no such day
            return date.fromisoformat(month + (day or "-01")).strftime(self.format)
        return text

    def accepts(self, text: str) -> bool:
        """Return whether the dimension can have this date."""
        if text in self.ids or text == UNASSIGNED or self.shape is None:
            return True
        if _shape(text) != self.shape:
            return False
        return self.format in {None, "%Y"} or _MONTH.fullmatch(text) is not None


def dates_as_written(ids: Iterable[str]) -> Dates:
    """Return how the dates of a dimension are written; without members nothing is known."""
    known = frozenset(ids)
    shapes = {_shape(one): one for one in sorted(known) if any(c.isdigit() for c in one) and one.strip("0")}
    if len(shapes) != 1:
        return Dates(known, None, None)
    ((shape, example),) = shapes.items()
    return Dates(known, shape, example)


def _shape(text: str) -> str:
    return re.sub("[0-9]", "9", text)
