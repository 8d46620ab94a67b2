"""Members that a question names: one that brings no row may be a slip, and is looked up then, and only then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from sacnb._endpoints import master_set
from sacnb._odata.expression import And, Comparison, Expression, Membership
from sacnb._tenant.members import read_members
from sacnb.errors import UnknownNameError

if TYPE_CHECKING:
    from sacnb._odata.query import Query
    from sacnb._odata.schema import Schema
    from sacnb._tenant.connection import Connection

__all__ = ["AskedMembers", "member_ids"]


class AskedMembers:
    """The members that the filter of a query names, and which of them no row has had so far."""

    def __init__(self, connection: Connection, query: Query, schema: Schema) -> None:
        self._connection = connection
        self._query = query
        dimensions = {column.name for column in query.columns(schema) if column.role == "dimension"}
        named = _members_by_name(query.where)
        self._missing = {name: members for name, members in named.items() if name in dimensions}

    def observe(self, table: pa.Table) -> None:
        """Rows have come, with all the dimensions of the answer."""
        for name, missing in self._missing.items():
            if missing:
                missing.difference_update(pc.unique(table[name]).to_pylist())

    def refuse_unknown(self) -> None:
        """All rows have come: raise UnknownNameError, with the nearest ids, for a member that does not exist."""
        for name, missing in self._missing.items():
            known = member_ids(self._connection, self._query, name) if missing else None
            unknown = [member for member in sorted(missing) if known is not None and member not in known]
            if unknown and known is not None:
                raise UnknownNameError("member", unknown[0], sorted(known), where=f"the dimension {name!r}")


def member_ids(connection: Connection, query: Query, dimension: str) -> set[str] | None:
    """The ids of a dimension's members, or ``None`` where SAC has no list of them."""
    rows = read_members(connection, query.provider_id, query.namespace, master_set(dimension))
    if rows is None or not all("ID" in row for row in rows):
        return None
    return {str(row["ID"]) for row in rows}


def _members_by_name(where: Expression | None) -> dict[str, set[str]]:
    """The texts that every row has to be one of, by column: of each ``==`` and ``is_in`` that is joined by ``and``."""
    found: dict[str, set[str]] = {}
    parts: Iterable[Expression] = where.operands if isinstance(where, And) else () if where is None else (where,)
    for part in parts:
        if isinstance(part, Comparison) and part.operator == "eq" and isinstance(part.value, str):
            found.setdefault(part.column, set()).add(part.value)
        elif isinstance(part, Membership):
            found.setdefault(part.column, set()).update(value for value in part.values if isinstance(value, str))
    return found
