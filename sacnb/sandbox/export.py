"""The Data Export Service: namespaces, providers, metadata, and the entity sets of each provider."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

import polars as pl

from sacnb.sandbox.actions import ACTIONS_ROOT, action_kind
from sacnb.sandbox.directory import SCIM_ROOT
from sacnb.sandbox.directory_logs import ACTIVITIES_PATH, FILES_PATH, STATISTICS_ROOT
from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.imports import IMPORT_ROOT, import_kind
from sacnb.sandbox.login import AUTHORIZE_PATH
from sacnb.sandbox.metadata import csdl_json, csdl_xml
from sacnb.sandbox.misbehaviours import Rules
from sacnb.sandbox.model import Model
from sacnb.sandbox.pages import PAGE_MISBEHAVIOURS, SWAPPED, Draft, csv_page, json_page, place_of
from sacnb.sandbox.query import Options, decode, parse_options, split_query
from sacnb.sandbox.relation import (
    Cut,
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
from sacnb.sandbox.tracking import TRACKING_PARAMETER, TrackedRead, Tracking, tracks_changes

__all__ = ["ADMIN_ROOT", "EXPORT_ROOT", "TOKEN_PATH", "ExportService", "Target", "target"]

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
ADMIN_ROOT: Final = "/sandbox/"
EXPORT_ROOT: Final = "/api/v1/dataexport"
_FIXED: Final = {TOKEN_PATH: "token", AUTHORIZE_PATH: "authorize", "/api/v1/csrf": "csrf"}
_NAMESPACE: Final = re.compile(r"Namespaces\((?:NamespaceID=)?'((?:[^']|'')*)'\)")


@dataclass(frozen=True, slots=True)
class Target:
    """The meaning of a path; ``kind`` is the word that counters and misbehaviours use."""

    kind: str
    namespace: str = ""
    provider: str = ""
    entity_set: str = ""


def target(method: str, raw_path: str, query: str = "") -> Target:
    """Parse a raw path; a ``deltaid`` in the query makes it a delta link.

    Segments are split before decoding, so that an encoded slash stays inside its name.

    Raises:
        Refusal: 400 for a path that is not percent-encoded UTF-8.
    """
    if raw_path in _FIXED:
        return Target(_FIXED[raw_path])
    if raw_path.startswith(ADMIN_ROOT):
        return Target("admin")
    if raw_path.startswith(IMPORT_ROOT + "/"):
        return Target(import_kind(method, raw_path))
    if raw_path.startswith(ACTIONS_ROOT + "/"):
        return Target(action_kind(method))
    if raw_path.startswith(EXPORT_ROOT + "/"):
        found = _export([decode(part) for part in raw_path[len(EXPORT_ROOT) + 1 :].split("/")])
        is_delta = found.entity_set and any(name == "deltaid" for name, _ in split_query(query))
        return replace(found, kind="delta") if is_delta else found
    is_log = raw_path in {ACTIVITIES_PATH, FILES_PATH} or raw_path.startswith(STATISTICS_ROOT + "/")
    return Target("directory" if is_log or raw_path.startswith(SCIM_ROOT + "/") else "other")


def _export(parts: list[str]) -> Target:
    found = Target("other")
    match parts:
        case ["administration", "$metadata"]:
            found = Target("metadata")
        case ["administration", "Namespaces"]:
            found = Target("namespaces")
        case ["administration", one] if one.startswith("Subscriptions"):
            found = Target("subscriptions", entity_set=one)
        case ["administration", one, "Subscriptions"] if one.startswith("Providers("):
            found = Target("subscriptions", entity_set=one)
        case ["administration", one] if key := _NAMESPACE.fullmatch(one):
            found = Target("namespaces", key[1].replace("''", "'"))
        case ["administration", one, "Providers"] if key := _NAMESPACE.fullmatch(one):
            found = Target("providers", key[1].replace("''", "'"))
        case ["providers", namespace, provider] | ["providers", namespace, provider, ""]:
            found = Target("service", namespace, provider)
        case ["providers", namespace, provider, "$metadata"]:
            found = Target("metadata", namespace, provider)
        case ["providers", namespace, provider, _, "$count"]:
            found = Target("count", namespace, provider)
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


@dataclass(frozen=True)
class _Provider:
    model: Model
    # Part of every cache key of the provider, so that nothing cached survives when the model is replaced.
    generation: int

    @cached_property
    def sets(self) -> Mapping[str, Relation]:
        """Entity sets by name, made when the first of them is asked for: a sandbox has more models than are."""
        if self.model.live:
            return {}
        sets = self.model.entity_sets()
        if "FactData" in sets:
            sums = aggregation_columns(self.model.facts)
            sets["FactDataAggregation"] = frame_relation(sums, pl.DataFrame(schema=[c.name for c in sums]))
        return sets


class ExportService:
    """The paths below ``/api/v1/dataexport``. Called from worker threads."""

    def __init__(
        self,
        models: Iterable[Model],
        rules: Rules,
        *,
        tracking: Tracking,
        max_page_size: int,
        memory_bytes: int,
        list_live: bool,
    ) -> None:
        self._rules = rules
        self._tracking = tracking
        self._list_live = list_live
        self._max_page_size = max_page_size
        self._lock = threading.Lock()
        self._providers: dict[str, _Provider] = {}
        self._generation = 0
        self._turns = 0
        self._reader = Reader(memory_bytes=memory_bytes // 2)
        self._sums: Memory[FrameRelation] = Memory(memory_bytes // 4, lambda r: int(r.frame.estimated_size()))
        self._pages: Memory[Answer] = Memory(memory_bytes, lambda a: len(a.zipped or b""))
        for model in models:
            self.add(model)

    def add(self, model: Model) -> None:
        """Serve another model; it replaces a model with the same id."""
        with self._lock:
            self._generation += 1
            self._providers[model.provider_id] = _Provider(model, self._generation)

    def models(self) -> list[Model]:
        """Return all models, those that no list has, too."""
        with self._lock:
            return [provider.model for provider in self._providers.values()]

    def answer(self, exchange: Exchange, target: Target) -> Answer:
        """Answer a request: a GET, or the deletion of a subscription.

        Raises:
            Refusal: SAC would refuse the request.
        """
        if target.kind == "subscriptions":
            return self._tracking.administer(exchange, target.entity_set)
        return self._read(exchange, target)

    def _read(self, exchange: Exchange, target: Target) -> Answer:
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
                return _metadata(exchange, target.namespace, self._provider(target).sets)
        if target.kind == "count":
            raise Refusal(406, "Not Acceptable")  # seen on a live tenant
        if not target.entity_set:
            raise Refusal(404, "The endpoint is not valid.", 1305)
        return self._entities(exchange, target)

    def _provider(self, target: Target) -> _Provider:
        with self._lock:
            provider = self._providers.get(target.provider)
        if provider is None or provider.model.namespace != target.namespace:
            raise Refusal(
                404, f"The provider {target.provider!r} does not exist in the namespace {target.namespace!r}."
            )
        if provider.model.is_refused:
            # DataHub's connector reports this answer for models with a live connection. For models that Datasphere
            # stores it is unconfirmed.
            raise Refusal(412, "Requested ProviderID is not supported")
        return provider

    def _namespaces(self, target: Target) -> Answer:
        if not target.namespace:
            return _json({"@odata.context": "$metadata#Namespaces", "value": self._namespace_rows()})
        return _json({"@odata.context": "$metadata#Namespaces/$entity", **self._namespace(target)})

    def _namespace_rows(self) -> list[dict[str, str]]:
        """Return the namespaces: that of models, and those of the tables that are there."""
        others = sorted({model.namespace for model in self.models()} - {NAMESPACE})
        return [_NAMESPACE_ROW, *({"NamespaceID": name, "Description": name} for name in others)]

    def _namespace(self, target: Target) -> dict[str, str]:
        found = next((row for row in self._namespace_rows() if row["NamespaceID"] == target.namespace), None)
        if found is None:
            raise Refusal(404, f"The namespace {target.namespace!r} does not exist.")
        return found

    def _list(self, exchange: Exchange, target: Target) -> Answer:
        """List the providers. ``$top`` is ignored and names are filtered by ``ProviderName``, as on a live tenant."""
        self._namespace(target)
        options = parse_options(exchange.query)
        relation = self._administration(exchange)["Providers"]
        frame = relation.frame.filter(pl.col("NamespaceID") == target.namespace)
        if options.filter is not None:
            frame = parse_filter(options.filter, relation.columns).keep(frame)
        return _json({"@odata.context": "$metadata#Providers", "value": frame.to_dicts()})

    def _administration(self, exchange: Exchange) -> dict[str, FrameRelation]:
        with self._lock:
            every = [p.model for p in self._providers.values() if p.model.listed]
        models = [m for m in every if self._list_live or not m.is_refused]
        rows = [(m.provider_id, m.name, m.namespace, m.description, exchange.origin + _service_path(m)) for m in models]
        providers = pl.DataFrame(rows, schema=dict.fromkeys(_PROVIDER_COLUMNS, pl.String), orient="row")
        columns = [text_column(n, key=n in {"ProviderID", "NamespaceID"}) for n in _PROVIDER_COLUMNS]
        names = [text_column(n, key=n == "NamespaceID") for n in _NAMESPACE_ROW]
        return {
            "Namespaces": frame_relation(names, pl.DataFrame(self._namespace_rows())),
            "Providers": frame_relation(columns, providers),
        }

    def _service(self, target: Target) -> Answer:
        sets = self._provider(target).sets
        # In SAP's sample of a service document FactData comes first.
        names = sorted(sets, key=lambda name: name != "FactData")
        value = [{"name": name, "url": name} for name in names]
        return _json({"@odata.context": "$metadata", "value": value})

    def _entities(self, exchange: Exchange, target: Target) -> Answer:
        provider = self._provider(target)
        if target.entity_set == "AuditData":
            raise Refusal(400, "Data audit is not enabled for the model.", 3905)
        flat = target.entity_set.removesuffix("WithHierarchy")
        if target.entity_set not in provider.sets and flat in provider.sets and exchange.strikes("no_hierarchy_400"):
            # Widgets that run on tenants take a 400 here for "no hierarchy".
            raise Refusal(400, f"The dimension of {flat!r} has no hierarchy.")
        if target.entity_set not in provider.sets:
            raise Refusal(404, f"The entity set {target.entity_set!r} does not exist.", 3707)
        if target.kind == "delta" and not exchange.strikes("delta_ignored"):
            return self._tracking.page(exchange, target.entity_set, provider.sets[target.entity_set])
        if tracks_changes(exchange) or not self._rules.is_quiet(PAGE_MISBEHAVIOURS):
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
        cap = exchange.take("page_cap")
        has_links = cap is None or (cap["links"] and size <= cap["rows"])
        size = min(size, cap["rows"]) if cap else size
        place = place_of(exchange, options, size)
        key: tuple[Hashable, ...] = (provider.generation, target.entity_set)
        wanted = options
        if is_sum:
            key = (*key, options.filter, columns)
            facts = provider.model.facts
            relation = self._sums.get(key, lambda: aggregate(facts, options.filter, columns))
            wanted = replace(options, filter=None)
        rotation = self._rotation(exchange, options, place.start)

        def cut_at(start: int) -> Cut:
            return self._reader.cut(key, relation, wanted, columns, start=start, size=size, rotation=rotation)

        cut = cut_at(place.start)
        if cut.next_start is not None and exchange.strikes("page_skipped"):
            cut = cut_at(cut.next_start)
        if place.start >= size and exchange.strikes("page_repeated"):
            cut = replace(cut, frame=cut_at(place.start - size).frame)
        note, by_links = "", has_links and "package=" not in exchange.query
        if place.note == SWAPPED:
            cut = replace(cut, frame=cut_at(place.start - size).frame)
        elif cut.next_start is not None and by_links and exchange.strikes("page_swapped"):
            cut, note = replace(cut, frame=cut_at(cut.next_start).frame), SWAPPED
        is_narrowed = len(columns) < len(relation.columns)
        tracked = self._tracked(exchange, target, TrackedRead(relation, columns, options.filter, size))
        trims = relation.trims_decimals
        draft = Draft(target.entity_set, place, cut, columns, trims, options, is_narrowed, has_links, note, tracked)
        if options.format == "csv":
            return csv_page(exchange, draft)
        link = self._tracking.link_member(exchange, tracked) if tracked and cut.next_start is None else ""
        return json_page(exchange, draft, delta_link=link)

    def _tracked(self, exchange: Exchange, target: Target, read: TrackedRead) -> str:
        """Return the id of the subscription that a page belongs to, begun with the first one; empty without any.

        An aggregation is not tracked here, although SAC's subscriptions know its name.
        """
        known = dict(split_query(exchange.query)).get(TRACKING_PARAMETER, "")
        if known or target.entity_set == "FactDataAggregation" or not tracks_changes(exchange):
            return known
        return self._tracking.begin(exchange, (target.namespace, target.provider), target.entity_set, read)

    def _rotation(self, exchange: Exchange, options: Options, start: int) -> int:
        """Return how far the order of rows is turned for this request."""
        if options.order_by or start + options.skip == 0 or not exchange.strikes("unstable_order"):
            return 0
        with self._lock:
            self._turns += 1
            return self._turns


def _service_path(model: Model) -> str:
    return f"{EXPORT_ROOT}/providers/{model.namespace}/{quote(model.provider_id, safe='')}/"


def _json(document: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(document, ensure_ascii=False).encode())


def _metadata(exchange: Exchange, namespace: str, sets: Mapping[str, Relation]) -> Answer:
    """Return XML, whatever ``Accept`` says, and JSON for ``$format=JSON`` (SAP's guide)."""
    if "$format" in exchange.query or "%24format" in exchange.query:
        options = parse_options(exchange.query)
        if options.format == "json":
            return Answer(200, csdl_json(namespace, sets))
    annotated = exchange.strikes("hierarchy_annotations")
    return Answer(200, csdl_xml(namespace, sets, hierarchies=annotated), "application/xml;charset=utf-8")
