"""A dimension's members: master data with its hierarchy, and a check of the members that a filter names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from sacnb._endpoints import (
    HIERARCHY_ROOT,
    HIERARCHY_SUFFIX,
    NO_SUCH_ENTITY_SET,
    PARENT_SUFFIX,
    entity_set_path,
    hierarchy_set,
    master_set,
)
from sacnb._frames.preview import shown_frame
from sacnb._odata.expression import And, Comparison, Expression, Membership
from sacnb._odata.schema import is_account, is_version
from sacnb._odata.where import columns_of, fixed_columns
from sacnb._write.slice import Place
from sacnb.errors import NotFoundError, RequestError, UnknownNameError

if TYPE_CHECKING:
    from sacnb._odata.query import Query
    from sacnb._odata.schema import Schema
    from sacnb._tenant.connection import Connection

__all__ = ["NamedMembers", "member_ids", "members_frame", "mixed_dimensions", "place_of", "read_members"]


def read_members(
    connection: Connection, provider_id: str, namespace: str, entity_set: str
) -> list[dict[str, Any]] | None:
    """Return the rows of a master set, or ``None`` if SAC says that there is none: 404 with its number 3707.

    A set with the hierarchy is also refused with 400 where the dimension has none (docs/sac_facts.md). Any other
    refusal is raised: a 404 of a gateway says nothing about the model.
    """
    path = entity_set_path(provider_id, entity_set, namespace)
    try:
        return connection.read_list(path, "read members")
    except NotFoundError as error:
        if error.sac_number != NO_SUCH_ENTITY_SET:
            raise
        return None
    except RequestError as error:
        if error.status != 400 or not entity_set.endswith(HIERARCHY_SUFFIX):
            raise
        return None


_IDS: Final = ("id", "parent")


def members_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return members as a frame: ``id``, ``description``, with a hierarchy ``parent`` and ``level``, then attributes.

    All columns are String except ``level`` (Int32; 0 for a root, null if the parent is not listed). ``parent`` is null
    for a root, which SAC writes as ``<root>``. SAP documents ``ID`` and ``Description`` only; ``Parent`` was seen in
    public code (unconfirmed) and is found by its name. A parent column may be called after its hierarchy, as in
    ``H1_PARENTID``; with several hierarchies the first one gives ``parent``, and the others stay attributes.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if not name.startswith("@")))
    id_name = _find(names, "id")
    description_name = _find(names, "description")
    parent_name = _parent_column(names)
    columns: dict[str, list[str | None]] = {}
    if id_name is not None:
        columns["id"] = [_text(row.get(id_name)) for row in rows]
    if description_name is not None:
        columns["description"] = [_text(row.get(description_name)) for row in rows]
    if parent_name is not None:
        columns["parent"] = [
            None if row.get(parent_name) in (None, "", HIERARCHY_ROOT) else _text(row[parent_name]) for row in rows
        ]
    taken = {id_name, description_name, parent_name}
    if parent_name is not None and id_name is not None:
        # Replace SAC's own level: it is unconfirmed whether it counts from 0 or 1.
        taken.add(_find(names, "level"))
    for name in names:
        if name not in taken:
            columns[name] = [_text(row.get(name)) for row in rows]
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    if "id" not in columns or "parent" not in columns:
        return shown_frame(frame, "member", whole=_IDS)
    levels = _levels(dict(zip(columns["id"], columns["parent"], strict=True)))
    level = pl.Series("level", [levels.get(member) for member in columns["id"]], dtype=pl.Int32)
    frame = frame.insert_column(frame.columns.index("parent") + 1, level)
    return shown_frame(frame, "member", whole=_IDS)


def _levels(parents: dict[str | None, str | None]) -> dict[str | None, int]:
    """Return each member's distance from its root; none for members of a cycle or below an unknown parent."""
    levels: dict[str | None, int] = {}
    for start in parents:
        path: dict[str | None, None] = {}
        member: str | None = start
        while member not in levels and member in parents and member not in path:
            path[member] = None
            member = parents[member]
            if member is None:
                break
        if member is not None and member not in levels:
            continue
        base = -1 if member is None else levels[member]
        for distance, passed in enumerate(reversed(path), start=1):
            levels[passed] = base + distance
    return levels


def _find(names: list[str], wanted: str) -> str | None:
    return next((name for name in names if name.casefold() == wanted), None)


def _parent_column(names: list[str]) -> str | None:
    found = _find(names, "parent")
    by_hierarchy = [name for name in names if name.upper().endswith(PARENT_SUFFIX)]
    others = [name for name in names if "parent" in name.casefold()]
    if found is None and by_hierarchy:
        return by_hierarchy[0]
    return found or (others[0] if len(others) == 1 else None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


class NamedMembers:
    """The members that a query's filter names, less those that have occurred in its rows.

    A member without rows may be a typo, and only then are the dimension's members read.
    """

    def __init__(self, connection: Connection, query: Query, schema: Schema) -> None:
        self._connection = connection
        self._query = query
        dimensions = {column.name for column in query.columns(schema) if column.role == "dimension"}
        named = _members_by_name(query.where)
        self._missing = {name: members for name, members in named.items() if name in dimensions}

    def observe(self, table: pa.Table) -> None:
        """Note the members in rows that have arrived."""
        for name, missing in self._missing.items():
            if missing:
                missing.difference_update(pc.unique(table[name]).to_pylist())

    def refuse_unknown(self) -> None:
        """Raise UnknownNameError, with the nearest ids, if a member without rows does not exist."""
        for name, missing in self._missing.items():
            known = member_ids(self._connection, self._query, name) if missing else None
            unknown = [member for member in sorted(missing) if known is not None and member not in known]
            if unknown and known is not None:
                raise UnknownNameError("member", unknown[0], sorted(known), where=f"the dimension {name!r}")


def mixed_dimensions(query: Query, schema: Schema, kept: Iterable[str]) -> tuple[str, ...]:
    """Return the dimensions of accounts and versions that *kept* leaves out and the filter does not decide on.

    The one measure of a classic account model mixes revenue, costs and headcount (seen on live tenants), and every
    model may hold actuals and plans. The names of the two dimensions are only conventions, so callers warn and do not
    raise. Any filter on accounts is a decision; of versions only one may be left.
    """
    decided = {*kept, *fixed_columns(query.where)}
    filtered = columns_of(query.where)
    return tuple(
        column.name
        for column in schema.dimensions
        if column.name not in decided
        and (is_version(column.name) or (is_account(column.name) and column.name not in filtered))
    )


def member_ids(connection: Connection, query: Query, dimension: str) -> set[str] | None:
    """Return the ids of a dimension's members, or ``None`` if SAC does not list them."""
    rows = read_members(connection, query.provider_id, query.namespace, master_set(dimension))
    if rows is None or not all("ID" in row for row in rows):
        return None
    return {str(row["ID"]) for row in rows}


def _members_by_name(where: Expression | None) -> dict[str, set[str]]:
    """Return by column the texts of each ``==`` and ``is_in`` that every row must match."""
    found: dict[str, set[str]] = {}
    parts: Iterable[Expression] = where.operands if isinstance(where, And) else () if where is None else (where,)
    for part in parts:
        if isinstance(part, Comparison) and part.operator == "eq" and isinstance(part.value, str):
            found.setdefault(part.column, set()).add(part.value)
        elif isinstance(part, Membership):
            found.setdefault(part.column, set()).update(value for value in part.values if isinstance(value, str))
    return found


def place_of(
    connection: Connection,
    model_id: str,
    namespace: str,
    entity_sets: Collection[str],
    read_facts: Callable[[Mapping[str, list[str]]], pa.Table],
) -> Place:
    """Return how a write reaches and reads a model that has these entity sets."""

    def members(dimension: str) -> list[dict[str, Any]] | None:
        wanted = [name for name in (hierarchy_set(dimension), master_set(dimension)) if name in entity_sets]
        for entity_set in wanted:
            rows = read_members(connection, model_id, namespace, entity_set)
            if rows is not None:
                return rows
        return None

    return Place(
        session=connection.context.session,
        model_id=model_id,
        tenant_host=connection.tenant_host,
        principal=connection.principal,
        read_members=members,
        read_facts=read_facts,
    )
