"""The paths that SAC documents, and what each stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sacnb.sandbox.query import decode

__all__ = ["ADMIN_ROOT", "EXPORT_ROOT", "TOKEN_PATH", "Target", "target"]

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
ADMIN_ROOT: Final = "/sandbox/"
EXPORT_ROOT: Final = "/api/v1/dataexport"
_FIXED: Final = {TOKEN_PATH: "token", "/api/v1/csrf": "csrf", "/api/v1/dataimport": "import"}
_PREFIXES: Final = {ADMIN_ROOT: "admin", "/api/v1/dataimport/": "import"}
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
    if raw_path in _FIXED:
        return Target(_FIXED[raw_path])
    for prefix, kind in _PREFIXES.items():
        if raw_path.startswith(prefix):
            return Target(kind)
    if raw_path.startswith(EXPORT_ROOT + "/"):
        return _export([decode(part) for part in raw_path[len(EXPORT_ROOT) + 1 :].split("/")])
    return Target("other")


def _export(parts: list[str]) -> Target:
    found = Target("other")
    match parts:
        case ["administration", "$metadata"]:
            found = Target("metadata")
        case ["administration", "Namespaces"]:
            found = Target("namespaces")
        case ["administration", one] if key := _NAMESPACE.fullmatch(one):
            found = Target("namespaces", key[1].replace("''", "'"))
        case ["administration", one, "Providers"] if key := _NAMESPACE.fullmatch(one):
            found = Target("providers", key[1].replace("''", "'"))
        case ["providers", namespace, provider] | ["providers", namespace, provider, ""]:
            found = Target("service", namespace, provider)
        case ["providers", namespace, provider, "$metadata"]:
            found = Target("metadata", namespace, provider)
        case ["providers", namespace, provider, entity_set]:
            found = Target(_kind_of_set(entity_set), namespace, provider, entity_set)
    return found


def _kind_of_set(entity_set: str) -> str:
    known = {"FactData": "facts", "FactDataAggregation": "aggregation", "MasterData": "master_data"}
    if entity_set.endswith("MasterWithHierarchy"):
        return "hierarchy"
    return known.get(entity_set, "master" if entity_set.endswith("Master") else "other")
