"""The rows of an import job: checked one by one, and written into the facts or the members of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

import polars as pl

from sacnb.sandbox.model import HIERARCHY_ROOT, Dimension, Model
from sacnb.sandbox.relation import FrameRelation, Relation
from sacnb.sandbox.schema import Column, polars_type

__all__ = ["DEFAULT_VERSION", "VERSION", "FactTable", "Members", "as_frame", "described", "metadata", "write_members"]

VERSION: Final = "Version"
DEFAULT_VERSION: Final = "public.Actual"
_UNASSIGNED: Final = "#"
# A date is a text of the model's own grain. Weeks, fiscal periods and other calendars are not offered.
# Python rounds to 28 digits by itself, and a measure has 31.
_EXACT: Final = Context(prec=60, traps=[InvalidOperation])
_DATE: Final = re.compile(r"\d{4}(\d{2}){0,2}")


def as_frame(relation: Relation) -> pl.DataFrame:
    """Return all rows of a relation."""
    return relation.rows(
        pl.int_range(relation.row_count, dtype=pl.Int64, eager=True), [c.name for c in relation.columns]
    )


def metadata(model: Model) -> dict[str, Any]:
    """Return the answer to ``/models/<id>/metadata``.

    ``factData`` has the form of DataHub's fixture. The other two are unconfirmed: their columns are named as the import
    mappings of live models name them (``Version___ID``, ``Date___CALMONTH``).
    """
    facts = [described(column, model) for column in model.facts.columns]
    keys = [column.name for column in model.facts.columns if column.key]
    members, member_keys = [], []
    for name in keys:
        found = model.dimensions.get(name)
        if found is None:
            continue
        id_name = f"{name}___{found.id_attribute}"
        member_keys.append(id_name)
        for attribute in found.members.columns:
            if attribute.name not in found.hidden_in_master_data:
                full = f"{name}___{attribute.name}"
                members.append(described(replace(attribute, name=full, key=full == id_name), model))
    measures = [entry for entry in facts if not entry["isKey"]]
    return {
        "factData": {"keys": keys, "columns": facts},
        "masterData": {"keys": member_keys, "columns": members},
        "masterFactData": {"keys": member_keys, "columns": [*members, *measures]},
    }


def described(column: Column, model: Model) -> dict[str, Any]:
    """Return a column as the import metadata describe it."""
    entry: dict[str, Any] = {
        "columnName": column.name,
        "columnDataType": "decimal" if column.is_number else "string",
        "maxLength": (column.precision or 31) + 1 if column.is_number else column.max_length or 256,
        "isKey": column.key,
        "propertyType": "DATE" if _is_date(model.dimensions.get(column.name.partition("___")[0])) else "PROPERTY",
        "descriptionName": column.name,
    }
    if column.is_number:
        entry |= {"precision": column.precision or 31, "scale": column.scale or 0}
    return entry


def _is_date(dimension: Dimension | None) -> bool:
    return dimension is not None and dimension.id_attribute != "ID"


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a dimension that may hold facts: ``leaves``; and why the others may not."""

    leaves: frozenset[str]
    parents: frozenset[str]
    calculated: frozenset[str]

    @classmethod
    def of(cls, dimension: Dimension) -> Members:
        """Return the members of *dimension*; one that is a parent in any hierarchy takes no facts."""
        frame = as_frame(dimension.members)
        ids = frame["ID"].to_list()
        hierarchies = [dimension.parents or {}, *dimension.more_hierarchies.values()]
        parents = frozenset(parent for parents in hierarchies for parent in parents.values())
        formulas = frame["Formula"].to_list() if "Formula" in frame.columns else [None] * len(ids)
        calculated = frozenset(i for i, formula in zip(ids, formulas, strict=True) if formula)
        return cls(frozenset(ids) - parents - calculated, parents, calculated)

    def refuse(self, name: str, member: str) -> str | None:
        """Return why a member takes no facts, in the words met in the field, or ``None``."""
        if member in self.leaves:
            return None
        if member in self.calculated:
            return f"cannot use calculated measure: {name} {member}"
        if member in self.parents:
            return f"must be leaf node in hierarchy: {name} {member}"
        return None if member == _UNASSIGNED else f"member does not exist: {name} {member}"


@dataclass(slots=True)
class FactTable:
    """The fact rows that a job has staged, by key; a later row silently replaces an earlier one."""

    model: Model
    mapping: Mapping[str, str]
    defaults: Mapping[str, Any]
    rows: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    _date_lengths: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        dates = {name: as_frame(d.members)["ID"] for name, d in self.model.dimensions.items() if _is_date(d)}
        self._date_lengths = {name: len(ids[0]) for name, ids in dates.items() if len(ids)}

    @property
    def keys(self) -> list[str]:
        """The names of the key columns."""
        return [column.name for column in self.model.facts.columns if column.key]

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return the source columns that no column of the model takes."""
        taken = {*self.mapping.values(), *(c.name for c in self.model.facts.columns)}
        return [name for name in names if name not in taken]

    def stage(self, row: Mapping[str, Any]) -> str | None:
        """Stage a row, or return why it is dropped: types and lengths are looked at here, members in ``validate``."""
        found: dict[str, Any] = {}
        for column in self.model.facts.columns:
            source = self.mapping.get(column.name, column.name)
            if source in row or column.name in self.defaults:
                self.given.add(column.name)
            value = row.get(source)
            value = self.defaults.get(column.name) if value is None else value
            if column.name == VERSION and value is None:
                value = DEFAULT_VERSION
            read = (
                _number(value, column)
                if column.is_number
                else _text(value, column, self._date_lengths.get(column.name))
            )
            if isinstance(read, _Invalid):
                return f"Invalid column value for: {column.name}"
            found[column.name] = read
        self.rows[tuple(found[name] for name in self.keys)] = found
        return None

    def validate(self, model: Model, *, private: str | None = None) -> list[tuple[dict[str, Any], str]]:
        """Take the rows out whose members take no facts in *model*; return them with the reasons.

        With *private* the rows are those of a private version, the only one that they may name.
        """
        members = {n: Members.of(d) for n, d in model.dimensions.items() if n in self.keys and not _is_date(d)}
        if private is not None:
            members[VERSION] = Members(frozenset({private}), frozenset(), frozenset())
        rejected: list[tuple[dict[str, Any], str]] = []
        for key, row in list(self.rows.items()):
            reason = next((why for n, m in members.items() if (why := m.refuse(n, row[n]))), None)
            if reason is not None:
                rejected.append((self.rows.pop(key), reason))
        return rejected

    def frame(self) -> pl.DataFrame:
        """Return the staged rows."""
        schema = {column.name: polars_type(column) for column in self.model.facts.columns}
        return pl.DataFrame(list(self.rows.values()), schema=schema, orient="row")

    def affected(self, scope: Sequence[str]) -> tuple[pl.DataFrame, int]:
        """Return the combinations of members that CleanAndReplace clears, and the number of rows it deletes."""
        wanted = self.frame().select(scope).unique(maintain_order=True)
        return wanted, as_frame(self.model.facts).join(wanted, on=list(scope), how="semi").height

    def written(self, method: str, scope: Sequence[str]) -> Model:
        """Return the model with the staged rows written."""
        new, old, keys = self.frame(), as_frame(self.model.facts), self.keys
        left_out = [
            column.name for column in self.model.facts.columns if not column.key and column.name not in self.given
        ]
        if method == "Update" and left_out:  # a measure that no row has stays as it is (unconfirmed)
            stays = old.group_by(keys).agg(pl.col(left_out).last())
            new = new.drop(left_out).join(stays, on=keys, how="left").select(old.columns)
        if method == "CleanAndReplace":
            kept = old.join(new.select(scope).unique(), on=list(scope), how="anti")
        elif method == "Append":
            measures = [name for name in new.columns if name not in keys]
            touched = old.join(new.select(keys), on=keys, how="semi")
            sums = [pl.when(pl.col(m).is_not_null().any()).then(pl.col(m).sum()).cast(new.schema[m]) for m in measures]
            new = pl.concat([touched, new]).group_by(keys, maintain_order=True).agg(sums).select(new.columns)
            kept = old.join(new.select(keys), on=keys, how="anti")
        else:
            kept = old.join(new.select(keys), on=keys, how="anti")
        facts = FrameRelation(self.model.facts.columns, pl.concat([kept, new]), self.model.facts.trims_decimals)
        return replace(self.model, facts=facts, dimensions=self._with_new_dates(new))

    def _with_new_dates(self, new: pl.DataFrame) -> Mapping[str, Dimension]:
        """Return the dimensions; a date dimension spans years in SAC, and here only the dates that occur."""
        found = dict(self.model.dimensions)
        for name, dimension in self.model.dimensions.items():
            if name not in self.keys or not _is_date(dimension):
                continue
            have = as_frame(dimension.members)
            fresh = sorted(set(new[name]) - set(have["ID"]))
            if not fresh:
                continue
            rows = [{c.name: _date_attribute(c.name, one) for c in dimension.members.columns} for one in fresh]
            frame = pl.concat([have, pl.DataFrame(rows, schema=have.schema, orient="row")]).sort("ID")
            found[name] = replace(dimension, members=FrameRelation(dimension.members.columns, frame))
        return found


def _date_attribute(attribute: str, date: str) -> str:
    if attribute == "Description":
        return f"{date[:4]}-{date[4:]}" if len(date) > 4 else date
    if attribute == "CALYEAR":
        return date[:4]
    if attribute == "CALQUARTER" and len(date) >= 6:
        return f"{date[:4]}{(int(date[4:6]) + 2) // 3}"
    return date


class _Invalid:
    pass


_INVALID: Final = _Invalid()


def _number(value: Any, column: Column) -> Decimal | _Invalid | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return _INVALID
    try:
        number = Decimal(str(value))
        scale = column.scale or 0
        rounded = _EXACT.quantize(number, Decimal(1).scaleb(-scale)) if number.is_finite() else None
    except InvalidOperation:
        return _INVALID
    if rounded is None or rounded.adjusted() >= (column.precision or 31) - scale:
        return _INVALID
    return rounded


def _text(value: Any, column: Column, date_length: int | None) -> str | _Invalid | None:
    if value is None or value == "":
        return _INVALID if column.key else None
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if text is None or len(text) > (column.max_length or 256):
        return _INVALID
    if date_length is not None and (len(text) != date_length or not _DATE.fullmatch(text)):
        return _INVALID
    return text


def write_members(model: Model, rows: Sequence[Mapping[str, Any]], mapping: Mapping[str, str], method: str) -> Model:
    """Return the model with members added or changed; ``CleanAndReplace`` drops the members that no row names.

    Columns are ``<Dimension>___<Attribute>``. A member keeps the attributes that its row does not have (unconfirmed).
    A new member is a leaf outside of all hierarchies: the import service has none.
    """
    changed = dict(model.dimensions)
    for name, dimension in model.dimensions.items():
        id_column = f"{name}___{dimension.id_attribute}"
        attributes = {c.name: f"{name}___{c.name}" for c in dimension.members.columns}
        attributes[dimension.id_attribute] = id_column
        given: dict[str, dict[str, str]] = {}
        for row in rows:
            member = row.get(mapping.get(id_column, id_column))
            if member is not None:
                found = {a: row[mapping.get(c, c)] for a, c in attributes.items() if mapping.get(c, c) in row}
                given[str(member)] = {"ID": str(member), **found}
        if not given:
            continue
        have = as_frame(dimension.members)
        kept = {str(row["ID"]): row for row in have.iter_rows(named=True)}
        merged = {} if method == "CleanAndReplace" else dict(kept)
        for member, values in given.items():
            merged[member] = {**dict.fromkeys(have.columns), **kept.get(member, {}), **values}
        frame = pl.DataFrame(list(merged.values()), schema=have.schema, orient="row")
        parents = dimension.parents
        if parents is not None:
            parents = {member: parents.get(member, HIERARCHY_ROOT) for member in merged}
        changed[name] = replace(dimension, members=FrameRelation(dimension.members.columns, frame), parents=parents)
    return replace(model, dimensions=changed)
