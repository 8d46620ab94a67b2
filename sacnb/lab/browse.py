"""Lists for the panel's tree: models, their dimensions and measures, members, and the age of what is cached."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sacnb._rendering import printable
from sacnb._results.info import principal_digest
from sacnb.lab.answers import when

if TYPE_CHECKING:
    import polars as pl

    from sacnb._results.info import ResultInfo
    from sacnb.lab.tenants import Held

__all__ = ["cached_json", "members_json", "model_json", "models_json"]

# More than anybody reads; the search finds the rest.
_MOST_MODELS: Final = 200
_MOST_MEMBERS: Final = 500


def models_json(held: Held, search: str, *, fresh: bool = False) -> dict[str, Any]:
    """Return the models with the text *search* in id, name or description. Raises what ``Tenant.models`` raises."""
    rows = held.models(fresh=fresh).rows()
    wanted = search.strip().casefold()
    found = [row for row in rows if any(wanted in (cell or "").casefold() for cell in row)]
    cached = _cached(held)
    return {
        "models": [
            {
                "id": model_id,
                "name": printable(name or ""),
                "description": printable(description or ""),
                "cached": cached.get(model_id),
            }
            for model_id, name, description in found[:_MOST_MODELS]
        ],
        "matching": len(found),
        "total": len(rows),
    }


def model_json(held: Held, model_id: str, *, fresh: bool = False) -> dict[str, Any]:
    """Return dimensions and measures of a model. Raises what ``Model.schema`` raises."""
    schema = held.model(model_id, fresh=fresh).schema
    dates = {date.name: date.grain for date in schema.date_columns}
    return {
        "id": model_id,
        "dimensions": [
            {"name": one.name, "label": printable(one.label or ""), "is_date": one.name in dates}
            for one in schema.dimensions
        ],
        "measures": [{"name": one.name, "label": printable(one.label or "")} for one in schema.measures],
        "cached": _cached(held).get(model_id),
    }


def members_json(held: Held, model_id: str, dimension: str, search: str, *, fresh: bool = False) -> dict[str, Any]:
    """Return the members of a dimension in the order of their hierarchy, those with *search* and what is above them.

    Raises what ``Model.members`` raises.
    """
    frame = held.members(model_id, dimension, fresh=fresh)
    members, matching = _in_order(frame, search.strip().casefold())
    return {
        "id": model_id,
        "dimension": dimension,
        "members": members,
        "matching": matching,
        "total": len(frame),
    }


def _in_order(frame: pl.DataFrame, wanted: str) -> tuple[list[dict[str, Any]], int]:
    ids: list[str] = frame["id"].to_list() if "id" in frame.columns else []
    texts = frame["description"].to_list() if "description" in frame.columns else [None] * len(ids)
    above = frame["parent"].to_list() if "parent" in frame.columns else [None] * len(ids)
    labels = {one: text or "" for one, text in zip(ids, texts, strict=True)}
    parents = {one: parent if parent in labels else None for one, parent in zip(ids, above, strict=True)}
    children: dict[str | None, list[str]] = {}
    for one, parent in parents.items():
        children.setdefault(parent, []).append(one)
    levels: dict[str, int] = {}
    for start in (*children.get(None, []), *parents):  # members of a cycle come last, as roots
        todo = [(start, 0)]
        while todo:
            one, level = todo.pop()
            if one not in levels:
                levels[one] = level
                todo += [(child, level + 1) for child in reversed(children.get(one, []))]
    matching = [one for one in levels if wanted in one.casefold() or wanted in labels[one].casefold()]
    shown = set(matching[:_MOST_MEMBERS])
    if wanted:
        for one in matching[:_MOST_MEMBERS]:
            parent = parents[one]
            while parent is not None and parent not in shown:
                shown.add(parent)
                parent = parents[parent]
    members = [
        {"id": one, "description": printable(labels[one]), "level": levels[one], "is_parent": one in children}
        for one in levels
        if one in shown
    ]
    return members, len(matching)


def _cached(held: Held) -> dict[str, dict[str, Any]]:
    """Return the newest cached result of each model that belongs to this tenant and principal."""
    connection = held.tenant._connection
    ours = (connection.tenant_host.casefold(), principal_digest(connection.principal))
    newest: dict[str, ResultInfo] = {}
    for entry in connection.cache.entries():
        info = entry.info
        if info is None or (info.tenant_host.casefold(), info.principal) != ours:
            continue
        present = newest.get(info.provider_id)
        if present is None or present.last_refresh_time < info.last_refresh_time:
            newest[info.provider_id] = info
    return {model_id: cached_json(info, held.now() - info.last_refresh_time) for model_id, info in newest.items()}


def cached_json(info: ResultInfo, age: timedelta) -> dict[str, Any]:
    """Return rows and age of a cached result."""
    return {
        "rows": info.row_count,
        "refreshed_at": when(info.last_refresh_time),
        "age_s": max(0, int(age.total_seconds())),
    }
