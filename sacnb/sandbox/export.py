"""The Data Export Service: namespaces, providers, metadata, and the entity sets of each provider."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import polars as pl

from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.metadata import csdl_json, csdl_xml
from sacnb.sandbox.misbehaviours import Rules
from sacnb.sandbox.model import Model
from sacnb.sandbox.pages import PAGE_MISBEHAVIOURS, Draft, csv_page, json_page, start_of
from sacnb.sandbox.query import decode, parse_options
from sacnb.sandbox.relation import (
    FrameRelation,
    Memory,
    Reader,
    Relation,
    aggregate,
    aggregation_columns,
    chosen_columns,
    frame_relation,
)
from sacnb.sandbox.schema import text_column

__all__ = ["ADMIN_ROOT", "EXPORT_ROOT", "TOKEN_PATH", "ExportService", "Target", "target"]

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


NAMESPACE: Final = "sac"
_PROVIDER_COLUMNS: Final = ("ProviderID", "ProviderName", "NamespaceID", "Description", "ServiceURL")
_NAMESPACE_ROW: Final = {"NamespaceID": NAMESPACE, "Description": "SAC Namespace"}


@dataclass(frozen=True, slots=True)
class _Provider:
    model: Model
    sets: Mapping[str, Relation]
    # Part of every key under which something of the provider is remembered: a replaced model leaves nothing behind.
    generation: int


class ExportService:
    """Answers requests under ``/api/v1/dataexport``. Called from worker threads."""

    def __init__(
        self, models: Iterable[Model], rules: Rules, *, max_page_size: int, memory_bytes: int, list_live: bool
    ) -> None:
        self._rules = rules
        self._list_live = list_live
        self._max_page_size = max_page_size
        self._lock = threading.Lock()
        self._providers: dict[str, _Provider] = {}
        self._generation = 0
        self._reader = Reader(memory_bytes=memory_bytes // 2)
        self._sums: Memory[FrameRelation] = Memory(memory_bytes // 4, lambda r: int(r.frame.estimated_size()))
        self._pages: Memory[Answer] = Memory(memory_bytes, lambda a: len(a.zipped or b""))
        for model in models:
            self.add(model)

    def add(self, model: Model) -> None:
        """Offer another model, in the place of one with the same id."""
        sets: dict[str, Relation] = {}
        if not model.live:
            sets = model.entity_sets()
            sums = aggregation_columns(model.facts)
            sets["FactDataAggregation"] = frame_relation(sums, pl.DataFrame(schema=[c.name for c in sums]))
        with self._lock:
            self._generation += 1
            self._providers[model.provider_id] = _Provider(model, sets, self._generation)

    def answer(self, exchange: Exchange, target: Target) -> Answer:
        """The answer to a GET request.

        Raises:
            Refusal: what SAC would refuse.
        """
        match target.kind:
            case "namespaces":
                return self._namespaces(target)
            case "providers":
                return self._list(exchange, target)
            case "metadata" if not target.provider:
                return _metadata(exchange, "sac.administration", self._administration(exchange))
            case "service":
                return self._service(target)
            case "metadata":
                return _metadata(exchange, NAMESPACE, self._provider(target).sets)
        if not target.entity_set:
            raise Refusal(404, "The endpoint is not valid.", 1305)
        return self._entities(exchange, target)

    def _provider(self, target: Target) -> _Provider:
        with self._lock:
            provider = self._providers.get(target.provider) if target.namespace == NAMESPACE else None
        if provider is None:
            raise Refusal(
                404, f"The provider {target.provider!r} does not exist in the namespace {target.namespace!r}."
            )
        if provider.model.live:
            # DataHub's connector meets this answer for models with a live connection.
            raise Refusal(412, "Requested ProviderID is not supported")
        return provider

    def _namespaces(self, target: Target) -> Answer:
        if not target.namespace:
            return _json({"@odata.context": "$metadata#Namespaces", "value": [_NAMESPACE_ROW]})
        _check_namespace(target)
        return _json({"@odata.context": "$metadata#Namespaces/$entity", **_NAMESPACE_ROW})

    def _list(self, exchange: Exchange, target: Target) -> Answer:
        """The providers. ``$top`` is ignored and the name to filter on is ``ProviderName``, as on a live tenant."""
        _check_namespace(target)
        options = parse_options(exchange.query)
        relation = self._administration(exchange)["Providers"]
        frame = relation.frame
        if options.filter is not None:
            frame = parse_filter(options.filter, relation.columns).keep(frame)
        return _json({"@odata.context": "$metadata#Providers", "value": frame.to_dicts()})

    def _administration(self, exchange: Exchange) -> dict[str, FrameRelation]:
        with self._lock:
            models = [p.model for p in self._providers.values() if self._list_live or not p.model.live]
        rows = [
            (m.provider_id, m.name, NAMESPACE, m.description, exchange.origin + _service_path(m.provider_id))
            for m in models
        ]
        providers = pl.DataFrame(rows, schema=dict.fromkeys(_PROVIDER_COLUMNS, pl.String), orient="row")
        columns = [text_column(n, key=n in {"ProviderID", "NamespaceID"}) for n in _PROVIDER_COLUMNS]
        names = [text_column(n, key=n == "NamespaceID") for n in _NAMESPACE_ROW]
        return {
            "Namespaces": frame_relation(names, pl.DataFrame([_NAMESPACE_ROW])),
            "Providers": frame_relation(columns, providers),
        }

    def _service(self, target: Target) -> Answer:
        sets = self._provider(target).sets
        # SAP's sample of a service document begins with FactData.
        names = ["FactData", *(name for name in sets if name != "FactData")]
        value = [{"name": name, "url": name} for name in names]
        return _json({"@odata.context": "$metadata", "value": value})

    def _entities(self, exchange: Exchange, target: Target) -> Answer:
        provider = self._provider(target)
        if target.entity_set == "AuditData":
            raise Refusal(400, "Data audit is not enabled for the model.", 3905)
        if target.entity_set not in provider.sets:
            raise Refusal(404, f"The entity set {target.entity_set!r} does not exist.", 3707)
        if not self._rules.is_quiet(PAGE_MISBEHAVIOURS):
            return self._page(exchange, target, provider)
        key = (provider.generation, exchange.origin, exchange.path, exchange.query)
        return self._pages.get(key, lambda: self._page(exchange, target, provider).pack())

    def _page(self, exchange: Exchange, target: Target, provider: _Provider) -> Answer:
        options = parse_options(exchange.query)
        if options.format == "xml":
            raise Refusal(400, "The $format is not supported for data.")
        relation, is_sum = provider.sets[target.entity_set], target.entity_set == "FactDataAggregation"
        columns = chosen_columns(options, relation, all_keys=not is_sum)
        size = min(options.page_size or self._max_page_size, self._max_page_size)
        start = start_of(exchange, options, size)
        key: tuple[Hashable, ...] = (provider.generation, target.entity_set)
        wanted = options
        if is_sum:
            key = (*key, options.filter, columns)
            facts = provider.model.facts
            relation = self._sums.get(key, lambda: aggregate(facts, options.filter, columns))
            wanted = replace(options, filter=None)
        cut = self._reader.cut(key, relation, wanted, columns, start=start, size=size)
        draft = Draft(target.entity_set, cut, columns, relation.trims_decimals, options)
        return csv_page(exchange, draft) if options.format == "csv" else json_page(exchange, draft)


def _service_path(provider_id: str) -> str:
    return f"{EXPORT_ROOT}/providers/{NAMESPACE}/{quote(provider_id, safe='')}/"


def _check_namespace(target: Target) -> None:
    if target.namespace != NAMESPACE:
        raise Refusal(404, f"The namespace {target.namespace!r} does not exist.")


def _json(document: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(document, ensure_ascii=False).encode())


def _metadata(exchange: Exchange, namespace: str, sets: Mapping[str, Relation]) -> Answer:
    """XML whatever ``Accept`` says; JSON for ``$format=JSON`` (SAP's guide)."""
    if "$format" in exchange.query or "%24format" in exchange.query:
        options = parse_options(exchange.query)
        if options.format == "json":
            return Answer(200, csdl_json(namespace, sets))
    return Answer(200, csdl_xml(namespace, sets), "application/xml;charset=utf-8")
