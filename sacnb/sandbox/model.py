"""Models (SAC calls an exported model a provider): facts, members of dimensions, and the entity sets made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from sacnb.sandbox.relation import FrameRelation, JoinedRelation, Relation, frame_relation
from sacnb.sandbox.schema import Column, text_column

__all__ = ["HIERARCHY_ROOT", "Dimension", "Model", "date_dimension", "dimension", "table_model", "version_dimension"]

HIERARCHY_ROOT: Final = "<root>"


@dataclass(frozen=True, slots=True)
class Dimension:
    """The members of a dimension.

    ``members`` has ``ID``, ``Description`` and attributes; ``parents`` maps each member to its parent, if there is a
    hierarchy.

    ``id_attribute`` names the attribute that ``MasterData`` joins on: ``ID``, or ``CALMONTH`` for a date of months,
    as the import mappings of live models show (``Version___ID``, ``Date___CALMONTH``).

    ``parent_column`` is ``Parent`` in one public client, and ``<HIERARCHY>_PARENTID`` in widgets that run on tenants.
    ``root`` is the parent of a root; with ``None`` a root has no parent column at all (reported from live tenants).
    ``more_hierarchies`` maps further parent columns to their parents.
    """

    __module__ = "sacnb.sandbox"

    members: Relation
    parents: Mapping[str, str] | None = None
    id_attribute: str = "ID"
    hidden_in_master_data: frozenset[str] = frozenset()
    parent_column: str = "Parent"
    root: str | None = HIERARCHY_ROOT
    more_hierarchies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def with_hierarchy(self) -> Relation | None:
        """Return the members with one column of parents for each hierarchy, or ``None`` without one.

        A hierarchy with the column ``Parent`` has ``Level``, too (0 for a root).
        """
        if self.parents is None:
            return None
        columns = [*self.members.columns]
        numbers = pl.int_range(self.members.row_count, dtype=pl.Int64, eager=True)
        frame = self.members.rows(numbers, [c.name for c in columns])
        ids = frame["ID"].to_list()
        for name, parents in {self.parent_column: self.parents, **self.more_hierarchies}.items():
            above = [parents.get(i, HIERARCHY_ROOT) for i in ids]
            shown = [self.root if parent == HIERARCHY_ROOT else parent for parent in above]
            columns.append(replace(text_column(name), left_out_if_null=self.root is None))
            frame = frame.with_columns(pl.Series(name, shown, dtype=pl.String))
            if name == "Parent":
                columns.append(Column("Level", "Edm.Int32"))
                levels = [_level(member, parents) for member in ids]
                frame = frame.with_columns(pl.Series("Level", levels, dtype=pl.Int32))
        return FrameRelation(tuple(columns), frame)


def _level(member: str, parents: Mapping[str, str]) -> int:
    depth = 0
    while (member := parents.get(member, HIERARCHY_ROOT)) != HIERARCHY_ROOT:
        depth += 1
    return depth


@dataclass(frozen=True, slots=True)
class Model:
    """A provider of the Data Export Service.

    ``live`` marks a model with a live connection, ``datasphere`` one whose data SAP Datasphere stores: SAC does not
    export them (412). ``listed`` says whether the list of models has this one. Outside of the namespace ``sac`` a
    provider is a table: its rows are ``facts``, in the one entity set ``table_set``.
    """

    __module__ = "sacnb.sandbox"

    provider_id: str
    name: str
    description: str
    facts: Relation
    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    live: bool = False
    datasphere: bool = False
    listed: bool = True
    namespace: str = "sac"
    table_set: str = ""

    @property
    def is_refused(self) -> bool:
        """Return whether SAC does not export the model."""
        return self.live or self.datasphere

    def entity_sets(self) -> dict[str, Relation]:
        """Return all entity sets by name, ``MasterData`` before ``FactData`` as in the metadata of real models."""
        if self.table_set:
            return {self.table_set: self.facts}
        sets: dict[str, Relation] = {"MasterData": self.master_data(), "FactData": self.facts}
        for name, found in self.dimensions.items():
            sets[f"{name}Master"] = found.members
            hierarchy = found.with_hierarchy()
            if hierarchy is not None:
                sets[f"{name}MasterWithHierarchy"] = hierarchy
        return sets

    def master_data(self) -> Relation:
        """Return the facts joined with all attributes of their members, as ``<Dimension>___<Attribute>``."""
        columns: list[Column] = []
        attributes: dict[str, tuple[str, str]] = {}
        for column in self.facts.columns:
            found = self.dimensions.get(column.name)
            if not column.key or found is None:
                columns.append(column)
                continue
            for attribute in found.members.columns:
                if attribute.name not in found.hidden_in_master_data:
                    name = f"{column.name}___{attribute.name}"
                    attributes[name] = (column.name, attribute.name)
                    columns.append(replace(attribute, name=name, key=attribute.name == found.id_attribute))
        return JoinedRelation(
            columns=tuple(columns),
            facts=self.facts,
            members={name: d.members for name, d in self.dimensions.items()},
            attributes=attributes,
            member_ids={name: d.id_attribute for name, d in self.dimensions.items()},
        )


def dimension(
    members: pl.DataFrame, parents: Mapping[str, str] | None = None, *, lengths: Mapping[str, int] | None = None
) -> Dimension:
    """Return a dimension from a frame of texts with ``ID``, ``Description`` and attributes, and perhaps a hierarchy."""
    sizes = lengths or {}
    columns = [text_column(n, key=n == "ID", max_length=sizes.get(n, 256)) for n in members.columns]
    return Dimension(frame_relation(columns, members), parents)


def version_dimension(versions: Mapping[str, str]) -> Dimension:
    """Return the version dimension, with the attribute ``VERSION`` by which ``sacapi`` recognises it."""
    frame = pl.DataFrame({"ID": list(versions), "Description": list(versions.values()), "VERSION": list(versions)})
    return dimension(frame, lengths={"ID": 300, "VERSION": 300})


def date_dimension(months: Sequence[str]) -> Dimension:
    """Return a date dimension of months (``YYYYMM``).

    ``CALMONTH`` was seen on live tenants, and ``sacapi`` looks for ``DATE``; the names ``CALQUARTER`` and ``CALYEAR``
    are unconfirmed.
    """
    ids = pl.Series("ID", months, dtype=pl.String)
    year, month = ids.str.slice(0, 4), ids.str.slice(4)
    frame = pl.DataFrame(
        {
            "ID": ids,
            "Description": year + "-" + month,
            "DATE": ids,
            "CALMONTH": ids,
            "CALQUARTER": year + ((month.cast(pl.Int32) + 2) // 3).cast(pl.String),
            "CALYEAR": year,
        }
    )
    hidden = frozenset({"ID", "Description", "DATE"})
    return replace(dimension(frame), id_attribute="CALMONTH", hidden_in_master_data=hidden)


def table_model(
    provider_id: str,
    *,
    columns: Sequence[Column],
    rows: pl.DataFrame,
    name: str | None = None,
    description: str = "",
    dimensions: Mapping[str, Dimension] | None = None,
    trims_decimals: bool = False,
) -> Model:
    """Return a model with the facts ``rows``; ``columns`` declare the Edm types and the keys."""
    facts = frame_relation(columns, rows, trims_decimals=trims_decimals)
    return Model(provider_id, name or provider_id, description, facts, dimensions or {})


# Both are public names of sacnb.sandbox.
for _public in (dimension, table_model):
    _public.__module__ = "sacnb.sandbox"
