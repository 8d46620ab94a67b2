"""The paths that SAC documents, and what each stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .query import decode

__all__ = ["ADMIN_ROOT", "EXPORT_ROOT", "TOKEN_PATH", "Target", "target"]

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
ADMIN_ROOT: Final = "/sandbox/"
EXPORT_ROOT: Final = "/api/v1/dataexport"
_NAMESPACE: Final = re.compile(r"Namespaces\((?:NamespaceID=)?'((?:[^']|'')*)'\)")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path stands for; ``kind`` is the word that counters and misbehaviours use."""

    kind: str
    namespace: str = ""
    provider: str = ""
    entity_set: str = ""


def target(raw_path: str) -> Target:
    """Read a path as it came; segments are cut before they are decoded, so an encoded slash stays inside its name.

    Raises:
        Refusal: 400 for a path that is not percent-encoded UTF-8.
    """
    if raw_path == TOKEN_PATH:
        return Target("token")
    if raw_path.startswith(ADMIN_ROOT):
        return Target("admin")
    if raw_path == "/api/v1/csrf":
        return Target("csrf")
    if raw_path == "/api/v1/dataimport" or raw_path.startswith("/api/v1/dataimport/"):
        return Target("import")
    if not raw_path.startswith(EXPORT_ROOT + "/"):
        return Target("other")
    match [decode(part) for part in raw_path[len(EXPORT_ROOT) + 1 :].split("/")]:
        case ["administration", "$metadata"]:
            return Target("metadata")
        case ["administration", "Namespaces"]:
            return Target("namespaces")
        case ["administration", one] if found := _NAMESPACE.fullmatch(one):
            return Target("namespaces", found[1].replace("''", "'"))
        case ["administration", one, "Providers"] if found := _NAMESPACE.fullmatch(one):
            return Target("providers", found[1].replace("''", "'"))
        case ["providers", namespace, provider] | ["providers", namespace, provider, ""]:
            return Target("service", namespace, provider)
        case ["providers", namespace, provider, "$metadata"]:
            return Target("metadata", namespace, provider)
        case ["providers", namespace, provider, entity_set]:
            return Target(_kind_of_set(entity_set), namespace, provider, entity_set)
    return Target("other")


def _kind_of_set(entity_set: str) -> str:
    known = {"FactData": "facts", "FactDataAggregation": "aggregation", "MasterData": "master_data"}
    if entity_set.endswith("MasterWithHierarchy"):
        return "hierarchy"
    return known.get(entity_set, "master" if entity_set.endswith("Master") else "other")
