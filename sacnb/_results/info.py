"""The origin of a result, also as metadata of a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, cast, get_args

import polars as pl
import pyarrow as pa

from sacnb._arguments import names, whole_number
from sacnb._endpoints import HIERARCHY_ROOT, PARENT_SUFFIX
from sacnb._frames.convert import column_from_dict, column_to_dict
from sacnb._frames.periods import date_range
from sacnb._frames.tidy import CONTRACT_VERSION
from sacnb._odata.schema import Column, DateColumn, Schema, is_version
from sacnb._results.files import UnusableFileError
from sacnb.errors import MixedAccountsWarning, MixedVersionsWarning, QueryError, UnknownNameError, warn_user

__all__ = [
    "METADATA_KEYS",
    "REASON",
    "KnownMembers",
    "Repeated",
    "ResultInfo",
    "Source",
    "about_of",
    "digest_of",
    "from_metadata",
    "parents_of",
    "path_of",
    "principal_digest",
    "rollup_pairs",
    "said_of_mixed",
    "to_metadata",
    "warn_of_mixed",
]

Source = Literal["sac", "sandbox"]
Repeated = Literal["sum", "keep", "error"]

_PREFIX: Final = "sacnb."
# In the warning of an old result, between what everybody must know and the error, with address and request id.
REASON: Final = " Reason: "
METADATA_KEYS: Final = tuple(
    _PREFIX + name
    for name in (
        *("contract_version", "last_refresh_time", "source", "tenant_host", "principal", "provider_id", "namespace"),
        *("entity_set", "query", "row_count", "min_date", "max_date", "columns", "schema"),
        *("repeated", "repeated_keys", "mixed", "digest"),
    )
)
_DIGEST: Final = _PREFIX + "digest"


def principal_digest(principal: str) -> str:
    """Return a principal (client id or user) as 16 hex digits: distinguishes two without naming them."""
    return hashlib.sha256(principal.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultInfo:
    """The origin of a result.

    ``query`` is canonical; ``principal`` is a digest; ``last_refresh_time`` is when SAC sent the rows, in UTC;
    ``min_date`` and ``max_date`` are the first days of the first and last period in the date column, or ``None``
    without one; ``columns`` are those of the result, in order. ``repeated_keys`` is the number of keys for which SAC
    sent several records, and ``repeated`` what became of these: ``"sum"``, ``"keep"`` or ``"error"``. ``mixed``
    names the dimensions of accounts and versions whose members were added up.
    """

    provider_id: str
    namespace: str
    entity_set: str
    query: str
    tenant_host: str
    principal: str
    source: Source
    last_refresh_time: datetime
    row_count: int
    min_date: date | None
    max_date: date | None
    columns: tuple[Column, ...]
    contract_version: int = CONTRACT_VERSION
    repeated: Repeated = "sum"
    repeated_keys: int = 0
    mixed: tuple[str, ...] = ()

    @classmethod
    def describe(
        cls,
        table: pa.Table,
        schema: Schema,
        *,
        provider_id: str,
        namespace: str,
        entity_set: str,
        query: str,
        tenant_host: str,
        principal: str,
        source: Source,
        last_refresh_time: datetime,
        repeated: Repeated = "sum",
        repeated_keys: int = 0,
        mixed: tuple[str, ...] = (),
    ) -> ResultInfo:
        """Describe rows that were just fetched; counts and dates are read from the table.

        Args:
            table: The rows.
            schema: The columns of the entity set they come from.
            provider_id: The model.
            namespace: The model's namespace.
            entity_set: The entity set, such as ``"FactData"``.
            query: The query in canonical form.
            tenant_host: The tenant.
            principal: The client id or user; only a digest is stored.
            source: ``"sac"`` or ``"sandbox"``.
            last_refresh_time: The current time, with a time zone.
            repeated: What became of several records for one key.
            repeated_keys: The number of such keys.
            mixed: The dimensions of accounts and versions whose members were added up.

        Raises:
            ValueError: The time has no time zone.
        """
        if last_refresh_time.tzinfo is None:
            raise ValueError(f"last_refresh_time needs a time zone, got {last_refresh_time!r}.")
        first, last = date_range(table, schema)
        return cls(
            provider_id=provider_id,
            namespace=namespace,
            entity_set=entity_set,
            query=query,
            tenant_host=tenant_host,
            principal=principal_digest(principal),
            source=source,
            last_refresh_time=last_refresh_time.astimezone(UTC),
            row_count=table.num_rows,
            min_date=first,
            max_date=last,
            columns=tuple(schema.column(name) for name in table.column_names),
            repeated=repeated,
            repeated_keys=repeated_keys,
            mixed=mixed,
        )


def to_metadata(info: ResultInfo, schema: Schema, arrow_schema: pa.Schema) -> dict[str, str]:
    """Return info and schema as texts for a file's footer: every key of ``METADATA_KEYS``.

    Parquet has checksums for its rows but not for its footer; ``digest`` covers the texts and the column types.
    """
    values = {
        **{field.name: getattr(info, field.name) for field in dataclasses.fields(info)},
        "last_refresh_time": info.last_refresh_time.isoformat(timespec="microseconds"),
        "min_date": info.min_date.isoformat() if info.min_date else "",
        "max_date": info.max_date.isoformat() if info.max_date else "",
        "mixed": _json(info.mixed),
        "columns": _json([column_to_dict(column) for column in info.columns]),
        "schema": _json(
            {
                "provider_id": schema.provider_id,
                "entity_set": schema.entity_set,
                "namespace": schema.namespace,
                "columns": [column_to_dict(column) for column in schema.columns],
                "date_columns": [{"name": one.name, "grain": one.grain} for one in schema.date_columns],
            }
        ),
    }
    texts = {key: str(values[key.removeprefix(_PREFIX)]) for key in METADATA_KEYS if key != _DIGEST}
    return {**texts, _DIGEST: digest_of(texts, arrow_schema)}


def digest_of(texts: Mapping[str, str], arrow_schema: pa.Schema) -> str:
    """Return ``sacnb.digest``: 64 hex digits that differ if a text or the name or type of a column does."""
    types = [[field.name, str(field.type)] for field in arrow_schema]
    return hashlib.sha256(_json([sorted(texts.items()), types]).encode("utf-8", "surrogatepass")).hexdigest()


def from_metadata(metadata: Mapping[str, str], arrow_schema: pa.Schema) -> tuple[ResultInfo, Schema]:
    """Read info and schema from the texts of ``to_metadata``.

    Raises:
        UnusableFileError: The metadata is not from sacnb, of another contract version, or damaged.
    """
    version = metadata.get(_PREFIX + "contract_version")
    if version is None:
        raise UnusableFileError("was not written by sacnb")
    if version != str(CONTRACT_VERSION):
        raise UnusableFileError(f"has version {version} of the data contract; this sacnb reads {CONTRACT_VERSION}")
    texts = {key: text for key, text in metadata.items() if key.startswith(_PREFIX) and key != _DIGEST}
    if metadata.get(_DIGEST) != digest_of(texts, arrow_schema):
        raise UnusableFileError("is damaged (its metadata was changed)")
    try:
        values = {key.removeprefix(_PREFIX): text for key, text in texts.items()}
        return _info(values), _schema(json.loads(values["schema"]))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as e:
        raise UnusableFileError(f"has unreadable metadata ({e!r})") from e


def _info(values: Mapping[str, str]) -> ResultInfo:
    if values["source"] not in get_args(Source):
        raise ValueError(f"source {values['source']!r}")
    repeated = values.get("repeated", "error")  # as in files of versions that refused several records
    if repeated not in get_args(Repeated):
        raise ValueError(f"repeated {repeated!r}")
    return ResultInfo(
        provider_id=values["provider_id"],
        namespace=values["namespace"],
        entity_set=values["entity_set"],
        query=values["query"],
        tenant_host=values["tenant_host"],
        principal=values["principal"],
        source=cast("Source", values["source"]),
        last_refresh_time=datetime.fromisoformat(values["last_refresh_time"]),
        row_count=int(values["row_count"]),
        min_date=date.fromisoformat(values["min_date"]) if values["min_date"] else None,
        max_date=date.fromisoformat(values["max_date"]) if values["max_date"] else None,
        columns=tuple(map(column_from_dict, json.loads(values["columns"]))),
        repeated=cast("Repeated", repeated),
        repeated_keys=int(values.get("repeated_keys", "0")),
        mixed=tuple(map(str, json.loads(values.get("mixed", "[]")))),
    )


def parents_of(members: pl.DataFrame, dimension: str, hierarchy: str | None = None) -> dict[str, str | None]:
    """Return each member's parent, ``None`` above roots; *members* is the frame of ``model.members()``.

    Raises:
        QueryError: The members have no such hierarchy.
    """
    by_name = {name.casefold().removesuffix(PARENT_SUFFIX.casefold()): name for name in members.columns}
    column = "parent" if hierarchy is None else by_name.get(hierarchy.casefold().removesuffix(PARENT_SUFFIX.casefold()))
    if column not in members.columns or "id" not in members.columns:
        others = [name.removesuffix(PARENT_SUFFIX) for name in members.columns if name.endswith(PARENT_SUFFIX)]
        there = f" It has {', '.join(others)} besides its first one." if others else ""
        which = "no hierarchy" if hierarchy is None else f"no hierarchy {hierarchy!r}"
        raise QueryError(f"The members of {dimension!r} have {which}.{there}", hint="model.members() shows them.")
    pairs = members.select("id", pl.col(column).alias("up")).rows()
    return {one: None if up in {None, "", HIERARCHY_ROOT} else str(up) for one, up in pairs}


def path_of(member: str, parents: Mapping[str, str | None]) -> list[str]:
    """Return a member and all above it, upwards. A cycle ends where it would begin again."""
    path: dict[str, None] = {}
    at: str | None = member
    while at is not None and at in parents and at not in path:
        path[at] = None
        at = parents[at]
    return list(path)


def rollup_pairs(
    dimension: str, wanted: object, members: pl.DataFrame, hierarchy: str | None
) -> tuple[pl.DataFrame, bool]:
    """Return pairs of members and the nodes that they are added up to, and whether other members stay as they are.

    With a level, a member goes to the one at this level above it (0 is the root), and stays if it is at a higher level
    itself. With nodes, it goes to each of them that it is, or is below.

    Raises:
        UnknownNameError: There is no such node.
        QueryError: *wanted* is neither a level nor nodes, or there is no hierarchy.
    """
    parents = parents_of(members, dimension, hierarchy)
    paths = {member: path_of(member, parents) for member in parents}
    argument = f"rollup[{dimension!r}]"
    if isinstance(wanted, int):
        level = whole_number(argument, wanted) or 0
        if isinstance(wanted, bool):
            raise QueryError(f"{argument} must be a level or members, got {wanted!r}.")
        pairs = [(member, path[max(len(path) - 1 - level, 0)]) for member, path in paths.items()]
    else:
        nodes = names(argument, wanted) or ()
        for node in nodes:
            if node not in parents:
                raise UnknownNameError("member", node, parents, where=f"the dimension {dimension!r}")
        pairs = [(member, node) for member, path in paths.items() for node in path if node in set(nodes)]
    return pl.DataFrame(pairs, schema=["id", "node"], orient="row"), isinstance(wanted, int)


class KnownMembers:
    """The members of a result's dimensions: those that were read, and a way to read more, which is not pickled."""

    def __init__(
        self,
        read: Callable[[str], pl.DataFrame | None] | None = None,
        known: Mapping[str, pl.DataFrame] | None = None,
    ) -> None:
        self._read = read
        self._known = dict(known or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return KnownMembers, (None, self._known)

    def of(self, dimension: str) -> pl.DataFrame:
        """Return the members of a dimension.

        Raises:
            QueryError: They are not known, and cannot be read; and what reading them raises.
        """
        if dimension not in self._known:
            frame = None if self._read is None else self._read(dimension)
            if frame is None:
                why = "SAC has no master data for it" if self._read else "the result was read from a file or a pickle"
                raise QueryError(
                    f"The members of {dimension!r} are not known: {why}.",
                    hint=f"Pass them: members={{{dimension!r}: model.members({dimension!r})}}.",
                )
            self._known[dimension] = frame
        return self._known[dimension]

    def names(self) -> tuple[str, ...]:
        """Return the dimensions whose members are known."""
        return tuple(self._known)

    def texts(self, dimension: str, *, read: bool) -> dict[str, str]:
        """Return descriptions by id; without *read* only if the members are known. Empty if there are none."""
        if read and dimension not in self._known and self._read is not None:
            self._known[dimension] = self._none if (found := self._read(dimension)) is None else found
        frame = self._known.get(dimension)
        if frame is None or not {"id", "description"} <= set(frame.columns):
            return {}
        return {one: words for one, words in frame.select("id", "description").rows() if words}

    _none: Final = pl.DataFrame(schema={"id": pl.String})


def about_of(info: ResultInfo, warning: str | None = None) -> dict[str, object]:
    """Return model, query, time and what is to be known of a result, for people."""
    known = {
        "model": info.provider_id,
        "tenant": info.tenant_host,
        "source": info.source,
        "entity set": info.entity_set,
        "query": info.query,
        "refreshed": f"{info.last_refresh_time:%Y-%m-%d %H:%M:%S} UTC",
        "rows": f"{info.row_count:,}",
        "warning": " ".join(filter(None, (warning, said_of_mixed(info.mixed)))),
    }
    return {name: value for name, value in known.items() if value}


def said_of_mixed(mixed: Iterable[str]) -> str:
    """Return the note on the accounts and versions that a result adds up; empty if there are none."""
    parts = ["versions" if is_version(name) else f"all members of {name}" for name in mixed]
    return f"Adds up {' and '.join(parts)}." if parts else ""


def warn_of_mixed(mixed: Iterable[str], provider_id: str, *, what: str, cure: str) -> None:
    """Warn of accounts and versions that are added up.

    Args:
        mixed: The dimensions that are added up.
        provider_id: The model.
        what: Subject and verb, such as "This query adds up".
        cure: What to do instead of a filter, such as "add it to dims".

    Warns:
        MixedAccountsWarning: Accounts are added up.
        MixedVersionsWarning: Versions are added up.
    """
    for name in mixed:
        if is_version(name):
            warn_user(
                f"{what} several versions of {provider_id!r}, such as actuals and plan. Filter {name!r} to one of "
                f"them or {cure}; sac.model({provider_id!r}, version='public.Actual') filters every query.",
                MixedVersionsWarning,
            )
        else:
            warn_user(
                f"{what} all members of {name!r} in {provider_id!r}, revenue and costs alike. Filter {name!r} or "
                f"{cure}.",
                MixedAccountsWarning,
            )


def _schema(values: Mapping[str, Any]) -> Schema:
    return Schema(
        provider_id=values["provider_id"],
        entity_set=values["entity_set"],
        namespace=values["namespace"],
        columns=tuple(map(column_from_dict, values["columns"])),
        date_columns=tuple(DateColumn(**one) for one in values["date_columns"]),
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
