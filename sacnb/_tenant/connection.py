"""A connected tenant, as models and the cache need it, and what they read from it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from sacnb._arguments import one_of
from sacnb._cache.folder import CacheKey
from sacnb._endpoints import (
    DEFAULT_NAMESPACE,
    IMPORT_TABLES,
    NAMESPACES_PATH,
    TABLES,
    entity_set_path,
    metadata_path,
    provider_path,
    providers_path,
)
from sacnb._odata.metadata import Metadata, parse_metadata
from sacnb._odata.page import read_list, read_pages
from sacnb._rendering import Preview, Previewed, fact_table
from sacnb._results.info import ResultInfo, principal_digest
from sacnb._settings import SANDBOX
from sacnb._write.target import MODELS, Destination
from sacnb.errors import BadAnswer, CacheError, NotFoundError, QueryError, SacError, UnknownNameError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._cache.store import Cache
    from sacnb._odata.schema import Schema
    from sacnb._pull.progress import ProgressOption
    from sacnb._settings.resolve import Settings
    from sacnb._wire.context import DispatchContext
    from sacnb._wire.message import Answer
    from sacnb._write.report import WriteReport

Source = Literal["sac", "sandbox"]


@dataclass(frozen=True, slots=True)
class Connection:
    """A connected tenant: what requests, results and the cache need to know of it.

    ``tenant_host`` names the tenant in cache keys and results (``sandbox`` for the embedded one, whose port changes);
    """

    context: DispatchContext
    settings: Settings
    cache: Cache
    tenant_host: str
    source: Source

    @property
    def principal(self) -> str:
        """The client or user, because two users may see different rows; a named user is known once logged in."""
        if self.source == "sandbox" and self.settings.auth != "authorization_code":
            return SANDBOX  # it makes up a client at each start; all of them see the same data
        return self.context.guard.principal

    @property
    def tenant_url(self) -> str:
        """The tenant's origin."""
        return self.settings.tenant_url

    def url(self, path: str) -> str:
        """Return the URL of a path of this tenant."""
        return self.tenant_url + path

    def destination(self, name: str, service: str = MODELS) -> Destination:
        """Return a model, or a table of another service, as what an import writes into."""
        session, host = self.context.session, self.tenant_host
        return Destination(session, name, self.tenant_url, host, self.principal, service)

    def read_list(self, path: str, operation: str) -> list[dict[str, Any]]:
        """Return all rows of an OData list, following its pages."""
        session = self.context.session

        def get(url: str) -> Answer:
            return session.fetch("GET", url, operation=operation, check=_check)

        return read_pages(get, self.url(path), session.limits, origin=self.tenant_url)


def _check(answer: Answer) -> None:
    read_list(answer.body, status=answer.status)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as the tenant lists it. ``name`` may occur twice; ``id`` does not."""

    id: str
    name: str
    description: str
    namespace: str


def list_models(connection: Connection, namespace: str = DEFAULT_NAMESPACE) -> tuple[ModelEntry, ...]:
    """Return the models of a namespace that the Data Export Service offers to this client, in SAC's order."""
    rows = connection.read_list(providers_path(namespace), "list models")
    return tuple(
        ModelEntry(
            id=str(row.get("ProviderID", "")),
            name=str(row.get("ProviderName") or ""),
            description=str(row.get("Description") or ""),
            namespace=str(row.get("NamespaceID") or namespace),
        )
        for row in rows
    )


def entries_frame(entries: Iterable[ModelEntry]) -> pl.DataFrame:
    """Return a list of models or tables as a frame: ``id``, ``name``, ``description``, all String."""
    import polars as pl

    rows = [(entry.id, entry.name, entry.description) for entry in entries]
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "name", "description"), pl.String), orient="row")


def list_tables(connection: Connection, kind: str) -> tuple[ModelEntry, ...]:
    """Return the tables of a kind. Raises what ``Tenant.tables`` raises."""
    namespace, _ = TABLES[kind]
    listed = [str(row.get("NamespaceID")) for row in connection.read_list(NAMESPACES_PATH, "list namespaces")]
    if namespace not in listed:
        raise QueryError(
            f"SAC offers this client no {kind} tables: the namespace {namespace!r} is not listed.",
            hint=f"It lists: {', '.join(listed)}. Which tenants have more is unconfirmed (docs/planning.md).",
        )
    return list_models(connection, namespace)


def read_table(connection: Connection, kind: str, table_id: str) -> list[dict[str, Any]]:
    """Return the rows of a table. Raises what ``Tenant.table`` raises."""
    namespace, entity_set = TABLES[kind]
    known = [entry.id for entry in list_tables(connection, kind)]
    if table_id not in known:
        raise UnknownNameError(f"{kind} table", table_id, known, where="this tenant")
    found = connection.read_list(provider_path(table_id, namespace), "read service document")
    sets = [str(row.get("name")) for row in found]
    # The name is that of one public client (unconfirmed), so the only set there is will do.
    chosen = entity_set if entity_set in sets else sets[0] if len(sets) == 1 else None
    if chosen is None:
        raise BadAnswer(f"{table_id!r} has no entity set {entity_set!r}; it has {', '.join(sets) or 'none'}.")
    rows = connection.read_list(entity_set_path(table_id, chosen, namespace), "read table")
    return [{name: value for name, value in row.items() if not name.startswith("@")} for row in rows]


def table_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the rows of a table as a frame: columns with numbers only are Float64, all others String."""
    import polars as pl

    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pl.DataFrame(
        [
            pl.Series(name, values, dtype=pl.Float64, strict=False)
            if all(isinstance(one, int | float | None) and not isinstance(one, bool) for one in values)
            else pl.Series(name, [None if one is None else str(one) for one in values], dtype=pl.String)
            for name, values in columns.items()
        ]
    )


TableKind = Literal["dimension", "currency", "unit"]


def table_kind(kind: object) -> TableKind:
    """Return *kind* checked; by default public dimensions."""
    found = one_of("kind", kind, get_args(TableKind))
    return cast("TableKind", found or "dimension")


def write_rows(
    connection: Connection,
    table: tuple[str, str],
    frame: object,
    *,
    replaces: bool,
    progress: ProgressOption,
    options: Mapping[str, Any],
) -> WriteReport:
    """Write rows into a table, given by kind and id. Raises what ``Tenant.write_table`` raises."""
    from sacnb._pull.progress import progress_listener
    from sacnb._write.order import make_order
    from sacnb._write.tables import write_table

    kind, table_id = table
    order = make_order(**options)

    def read_rows() -> list[dict[str, Any]] | None:
        try:
            return read_table(connection, kind, table_id)
        except (QueryError, UnknownNameError) as error:
            _log.info("The %s table %s cannot be read: %s", kind, table_id, error)
            return None

    to = connection.destination(table_id, IMPORT_TABLES[kind][0])
    with progress_listener(progress) as listener:
        return write_table(to, kind, frame, replace(order, listener=listener), replaces=replaces, read_rows=read_rows)


_log = logging.getLogger("sacnb.tenant")


def schema_of_last_result(connection: Connection, model_id: str, namespace: str, reason: SacError) -> Schema | None:
    """Return the schema of this user's newest cached result of a model, or ``None`` if nothing is cached.

    A program that starts while SAC is unreachable needs it to find its cached result: the cache key is made with the
    schema. ``reason`` is why SAC could not be asked; problems of the cache are added to it as notes.
    """
    ours = (connection.tenant_host.casefold(), principal_digest(connection.principal), model_id, namespace)
    try:
        infos = [entry.info for entry in connection.cache.entries() if entry.info and _whose(entry.info) == ours]
    except CacheError as error:
        reason.add_note(f"The cache cannot be read either: {error}")
        return None
    for info in sorted(infos, key=lambda info: info.last_refresh_time, reverse=True):
        try:
            schema = connection.cache.load(CacheKey.of(info)).schema
        except CacheError as error:
            reason.add_note(f"A cached result of the model cannot be used either: {error}")
            continue
        _log.info("Using the columns of the last cached result of %s, because SAC is unreachable: %s", model_id, reason)
        return schema
    return None


def _whose(info: ResultInfo) -> tuple[str, str, str, str]:
    return info.tenant_host.casefold(), info.principal, info.provider_id, info.namespace


def read_metadata(connection: Connection, model_id: str, namespace: str) -> Metadata:
    """Return the ``$metadata`` of a model. Raises what ``Model.metadata`` raises."""
    path = metadata_path(model_id, namespace)
    try:
        answer = connection.context.session.fetch(
            "GET",
            connection.url(path),
            operation="read $metadata",
            accept="application/xml",
            expect="xml",
            check=lambda found: _parse_check(found.body),
        )
    except NotFoundError as error:
        raise _unknown(connection, model_id, namespace, error) from error
    metadata = parse_metadata(answer.body, content_type=answer.headers.get("Content-Type"))
    if metadata.document.hierarchies:
        _log.info("$metadata of %r annotates hierarchies (unused): %s", model_id, metadata.document.hierarchies)
    return metadata


def _unknown(connection: Connection, model_id: str, namespace: str, error: NotFoundError) -> SacError:
    """Return the error for a model that SAC does not have, with the nearest ids from the list of models."""
    try:
        entries = list_models(connection, namespace)
    except SacError as catalogue_error:
        error.add_note(f"The list of models could not be read either: {catalogue_error}")
        return error
    if any(entry.id == model_id for entry in entries):
        error.add_note(
            f"SAC lists {model_id!r}, so the 404 came from a gateway on the way, or SAP Datasphere stores the "
            "model's data (a seamless planning model), which SAC does not export."
        )
        return error
    unknown = UnknownNameError("model", model_id, [entry.id for entry in entries], where="this tenant")
    for entry in entries:
        if entry.name.casefold() == model_id.casefold():
            unknown.add_note(f"{entry.name!r} is the name of the model {entry.id!r}: use sac.model({entry.id!r}).")
    return unknown


def _parse_check(body: bytes) -> None:
    parse_metadata(body)


@dataclass(frozen=True, slots=True)
class TokenStatus(Previewed):
    """A token's times, without the token: issued and expires (both UTC), and the seconds remaining.

    ``end_is_known`` is false for a pasted token that does not say when it expires; its times are then meaningless.
    """

    issued_at: datetime
    expires_at: datetime
    remaining_s: float
    renewed: bool
    end_is_known: bool = True

    def __str__(self) -> str:
        if not self.end_is_known:
            return "OK, using a pasted token (SAC_TOKEN); it does not say when it expires"
        minutes, seconds = divmod(int(self.remaining_s), 60)
        return f"OK, the token is valid until {self.expires_at:%H:%M:%S} UTC ({minutes} min {seconds} s)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001, ARG002 - IPython's signature
        printer.text(str(self))

    def _preview(self) -> Preview:
        facts = {
            "issued": f"{self.issued_at:%Y-%m-%d %H:%M:%S} UTC",
            "valid until": f"{self.expires_at:%Y-%m-%d %H:%M:%S} UTC" if self.end_is_known else "it does not say",
            "remaining": f"{self.remaining_s:.0f} s" if self.end_is_known else "it does not say",
            "renewed just now": "yes" if self.renewed else "no",
        }
        return fact_table("The token", facts)
