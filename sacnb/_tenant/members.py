"""A dimension's members: its master data, with the hierarchy where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from sacnb._endpoints import HIERARCHY_ROOT, entity_set_path
from sacnb.errors import NotFoundError

if TYPE_CHECKING:
    from sacnb._tenant.connection import Connection


def read_members(
    connection: Connection, provider_id: str, namespace: str, entity_set: str
) -> list[dict[str, Any]] | None:
    """The rows of a master set, or ``None`` where SAC has no such set (404, SAC's number 3707)."""
    path = entity_set_path(provider_id, entity_set, namespace)
    try:
        return connection.read_list(path, "read members")
    except NotFoundError:
        return None


def members_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Members as a frame: ``id``, ``description``, with a hierarchy ``parent`` and ``level``, then SAC's attributes.

    All columns are String but ``level`` (Int32, 0 for a root, null where the parent is not in the list). ``parent`` is
    null for a root, which SAC writes as ``<root>``. SAP documents ``ID`` and ``Description`` only; ``Parent`` was seen
    in public code (unconfirmed) and is found by its name.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if not name.startswith("@")))
    id_name = _find(names, "id")
    description_name = _find(names, "description")
    parent_name = _find(names, "parent") or _only([name for name in names if "parent" in name.casefold()])
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
        # SAC's own level, where it sends one, is replaced: it is unconfirmed whether it counts from 0 or 1.
        taken.add(_find(names, "level"))
    for name in names:
        if name not in taken:
            columns[name] = [_text(row.get(name)) for row in rows]
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    if "id" not in columns or "parent" not in columns:
        return frame
    levels = _levels(dict(zip(columns["id"], columns["parent"], strict=True)))
    level = pl.Series("level", [levels.get(member) for member in columns["id"]], dtype=pl.Int32)
    return frame.insert_column(frame.columns.index("parent") + 1, level)


def _levels(parents: dict[str | None, str | None]) -> dict[str | None, int]:
    """How far each member is from its root; members of a circle or below an unknown parent have no level."""
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


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
