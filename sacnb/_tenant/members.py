"""A dimension's members: master data with its hierarchy, and a check of the members that a filter names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

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
from sacnb._odata.expression import Expression, col
from sacnb._odata.schema import is_account, is_version
from sacnb._odata.where import Under, both, columns_of, fixed_columns, members_named
from sacnb._results.files import write_excel
from sacnb._results.info import parents_of
from sacnb.errors import (
    InconsistentAnswer,
    NotFoundError,
    ParentMemberWarning,
    QueryError,
    RequestError,
    UnknownNameError,
    warn_user,
)

if TYPE_CHECKING:
    from sacnb._odata.metadata import Metadata
    from sacnb._odata.query import Query
    from sacnb._odata.schema import Column, Schema
    from sacnb._results.files import Target
    from sacnb._tenant.connection import Connection

__all__ = ["NamedMembers", "member_ids", "members_frame", "mixed_dimensions", "read_members"]


_MOST_LEAVES: Final = 12
# Longer lists of a filter are not held against the rows: finding their members costs more than it tells.
_MOST_COMPARED: Final = 100


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
        self._named = members_named(query.where)
        self._missing = {name: set(members) for name, members in self._named.items() if name in dimensions}
        # Of dimensions that are added up the rows do not show the members; of several, one may be missing.
        added_up = {column.name for column in schema.dimensions} - dimensions
        self._unseen = {name: members for name, members in self._named.items() if name in added_up}
        self._found: dict[str, set[str]] = {name: set() for name in self._missing}
        self._rows = False

    def observe(self, table: pa.Table) -> None:
        """Note the members in rows that have arrived.

        Raises InconsistentAnswer where there are more of them than the filter names: it was ignored on its way.
        """
        self._rows = self._rows or table.num_rows > 0
        for name, missing in self._missing.items():
            named = len(self._named[name])
            is_compared = named <= _MOST_COMPARED
            if name not in table.column_names or not (missing or is_compared):
                continue
            found = pc.unique(table[name]).to_pylist()
            missing.difference_update(found)
            if is_compared:  # their spelling may differ from the filter's: only their number is certain
                self._found[name].update(one.strip().casefold() for one in found if isinstance(one, str))
            if len(self._found[name]) > named:
                raise InconsistentAnswer(
                    f"The rows have more members of {name!r} than the {named:,} of the filter: it was ignored on its "
                    "way to SAC or there.",
                    hint="No data was saved. Is there a gateway or a cache between, which cuts addresses?",
                )

    def refuse_unknown(self) -> None:
        """Raise UnknownNameError, with the nearest ids, if a member without rows does not exist.

        Warns:
            ParentMemberWarning: It exists and is a parent, and the filter does not name the members below it.
        """
        unseen = {name: set(found) for name, found in self._unseen.items() if len(found) > 1 or not self._rows}
        for name, missing in {**self._missing, **unseen}.items():
            if not missing:
                continue
            rows = _master_rows(self._connection, self._query, name)
            if rows is None:
                continue
            known = {str(row["ID"]): str(row.get("Description") or "") for row in rows}
            for member in sorted(missing):
                if member not in known:
                    raise _unknown_member(member, name, known)
            self._warn_of_parents(name, missing)

    def _warn_of_parents(self, dimension: str, missing: set[str]) -> None:
        query = self._query
        rows = read_members(self._connection, query.provider_id, query.namespace, hierarchy_set(dimension))
        frame = None if rows is None else members_frame(rows)
        if frame is None or "parent" not in frame.columns or "id" not in frame.columns:
            return
        parents = parents_of(frame, dimension)
        for member in sorted(missing):
            below = _below(member, parents)[1:]
            if below and not self._named[dimension].intersection(below):
                leaves = [one for one in below if one not in parents.values()]
                shown = ", ".join(map(repr, leaves[:_MOST_LEAVES])) + (", …" if len(leaves) > _MOST_LEAVES else "")
                warn_user(
                    f"{member!r} of {dimension!r} is a parent, and a filter on it does not find the rows of the "
                    f"members below it: {shown}. To get them: where={{{dimension!r}: sacnb.under({member!r})}}.",
                    ParentMemberWarning,
                )


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


def member_ids(connection: Connection, query: Query, dimension: str) -> list[str] | None:
    """Return the ids of a dimension's members, sorted, or ``None`` if SAC does not list them."""
    rows = _master_rows(connection, query, dimension)
    return None if rows is None else sorted({str(row["ID"]) for row in rows})


def _master_rows(connection: Connection, query: Query, dimension: str) -> list[dict[str, Any]] | None:
    rows = read_members(connection, query.provider_id, query.namespace, master_set(dimension))
    return None if rows is None or not all("ID" in row for row in rows) else rows


def _unknown_member(member: str, dimension: str, known: Mapping[str, str]) -> UnknownNameError:
    """Return the error for a member that does not exist; for a description it names the id."""
    error = UnknownNameError("member", member, sorted(known), where=f"the dimension {dimension!r}")
    ids = [one for one, description in known.items() if description.casefold() == member.strip().casefold()]
    if ids:
        error.nearest = tuple(ids)
        error.hint = f"{member!r} is the description of {' and of '.join(map(repr, ids))}: filter by the id."
    return error


def _below(member: str, parents: Mapping[str, str | None]) -> list[str]:
    """Return a member and its descendants, each parent before its children."""
    children: dict[str | None, list[str]] = {}
    for one, up in parents.items():
        children.setdefault(up, []).append(one)
    found: dict[str, None] = {}
    todo = [member]
    while todo:
        at = todo.pop(0)
        if at not in found:
            found[at] = None
            todo += children.get(at, [])
    return list(found)


def with_members_below(where: object, read: Callable[[str], pl.DataFrame]) -> Any:
    """Return *where* with the members that each ``under`` stands for.

    Raises:
        UnknownNameError: The dimension has no such member.
        QueryError: It has no such hierarchy; and what *read* raises, which returns the members of a dimension.
    """
    if not isinstance(where, Mapping):
        return where

    def members(name: str, value: object) -> list[object]:
        if not isinstance(value, Under):
            return [value]
        frame = read(name)
        parents = parents_of(frame, name, value.hierarchy)
        if value.member not in parents:
            descriptions = frame["description"].to_list() if "description" in frame.columns else [""] * len(frame)
            known = {one: text or "" for one, text in zip(frame["id"], descriptions, strict=True)}
            raise _unknown_member(value.member, name, known)
        return list(_below(value.member, parents))

    resolved: dict[Any, Any] = {}
    for name, wanted in where.items():
        several = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        if any(isinstance(one, Under) for one in several):
            resolved[name] = [member for one in several for member in members(str(name), one)]
        else:
            resolved[name] = wanted
    return resolved


def dimension_members(
    connection: Connection, metadata: Metadata | None, provider_id: str, namespace: str, dimension: str
) -> pl.DataFrame | None:
    """Return a dimension's members with its hierarchy, if it has one, or ``None`` if SAC has no master data.

    Without *metadata* SAC is asked for both sets.
    """
    sets = (hierarchy_set(dimension), master_set(dimension))
    wanted = [name for name in sets if metadata is None or name in metadata.entity_sets]
    for entity_set in wanted or [master_set(dimension)]:
        rows = read_members(connection, provider_id, namespace, entity_set)
        if rows is not None:
            return members_frame(rows)
    return None


def check_names(
    kind: Literal["dimension", "measure"], names: Iterable[str], known: Iterable[Column], provider_id: str
) -> None:
    """Raise UnknownNameError, with the nearest names, for the first name that is not one of *known*."""
    known_names = [column.name for column in known]
    for name in names:
        if name not in known_names:
            raise UnknownNameError(kind, name, known_names, where=f"the model {provider_id!r}")


def chosen_columns(
    schema: Schema,
    dims: Sequence[str] | None,
    measures: Sequence[str] | None,
    select: Sequence[str] | None,
) -> tuple[Column, ...]:
    """Return the columns to request: dimensions first, each group in the order given."""
    if select is not None:
        if dims is not None or measures is not None:
            raise QueryError(
                "select cannot be combined with dims or measures.", hint="Use select alone, or dims and measures."
            )
        return tuple(schema.column(name) for name in select)
    check_names("dimension", dims or (), schema.dimensions, schema.provider_id)
    check_names("measure", measures or (), schema.measures, schema.provider_id)
    if dims is None and measures is None:
        return schema.columns
    kept_dims = [schema.column(name) for name in dims] if dims is not None else list(schema.dimensions)
    kept_measures = [schema.column(name) for name in measures] if measures is not None else list(schema.measures)
    return (*kept_dims, *kept_measures)


def version_dimension(schema: Schema) -> str:
    """Return the name of the version dimension. Raises QueryError if there is none."""
    for column in schema.dimensions:
        if is_version(column.name):
            return column.name
    raise QueryError(
        f"The model {schema.provider_id!r} has no dimension Version.",
        hint=f"Its dimensions are {', '.join(column.name for column in schema.dimensions)}.",
    )


def with_version(schema: Schema, version: str | None, where: Expression | None) -> Expression | None:
    """Return a filter with the version of a model, unless the filter names versions itself."""
    if version is None:
        return where
    dimension = version_dimension(schema)
    return where if dimension in columns_of(where) else both(col(dimension) == version, where)


def write_workbook(connection: Connection, schema: Schema, members: Mapping[str, pl.DataFrame], target: Target) -> None:
    """Write the columns of a model, and the members of dimensions, as the sheets of an Excel workbook."""
    columns = [
        {
            "name": column.name,
            "role": column.role,
            "label": column.label,
            "type": column.edm_type,
            "max_length": column.max_length,
            "precision": column.precision,
            "scale": column.scale,
            "grain": schema.grain_of(column.name),
        }
        for column in schema.columns
    ]
    types = {name: pl.Int64 if name in {"max_length", "precision", "scale"} else pl.String for name in columns[0]}
    sheets = {"Schema": pl.DataFrame(columns, schema=types).to_arrow()}
    sheets.update((name, frame.to_arrow()) for name, frame in members.items())
    read = f"{connection.context.session.now():%Y-%m-%d %H:%M:%S} UTC"
    about = {"model": schema.provider_id, "tenant": connection.tenant_host, "namespace": schema.namespace, "read": read}
    write_excel(sheets, about, target)
