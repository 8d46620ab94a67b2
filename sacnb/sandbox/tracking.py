"""Change tracking: subscriptions, delta links, and the pages of changes behind them.

``Prefer: odata.track-changes`` on the first page starts a subscription, and the last page has ``@odata.deltaLink``. Its
answer has the rows that changed since the first page was asked for, and ids of those that are gone; its last page has
the next link. SAP documents the header, the two shapes of rows and the fields of a subscription; ``deltaid`` was seen
live. Unconfirmed are all the rest: that members are tracked like facts, that a link can be asked again until the one
after it was, the answer for an expired link, and how the pages of changes are linked.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import polars as pl

from sacnb.sandbox.encoding import json_rows
from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.filters import parse_filter
from sacnb.sandbox.model import Model
from sacnb.sandbox.query import decode, split_query
from sacnb.sandbox.relation import FrameRelation, Relation, frame_relation
from sacnb.sandbox.schema import Column, polars_type

__all__ = ["TRACKING_PARAMETER", "TrackedRead", "Tracking", "changed_model", "tracks_changes"]

# In the links between the pages of a tracked read, so that the last page knows its subscription.
TRACKING_PARAMETER: Final = "tracking"
_PLACE: Final = "\0place"
_LAST: Final = "\0last"
_PREFERENCE: Final = re.compile(r"(?:odata\.)?track-changes", re.IGNORECASE)
_KEY: Final = re.compile(r"(\w+)='((?:[^']|'')*)'")
_FIELDS: Final = (
    "NamespaceID", "ProviderID", "SubscriptionID", "EntitySetName", "ExternalID", "ChainID", "PreviousSubscriptionID",
    "StartTime", "EndTime", "LastAccessed", "CurrentDeltaLink",
)  # fmt: skip


def tracks_changes(exchange: Exchange) -> bool:
    """Return whether a request asks for change tracking."""
    wanted = exchange.headers.get("Prefer", "").split(",")
    return any(_PREFERENCE.fullmatch(one.strip()) for one in wanted)


@dataclass(frozen=True, slots=True)
class TrackedRead:
    """Rows, columns, filter and page size of a read that tracks changes."""

    relation: Relation
    columns: tuple[Column, ...]
    condition: str | None
    page_rows: int


@dataclass(slots=True)
class _Subscription:
    """Rows as they were at a time, by reference: relations do not change, models are replaced."""

    id: str
    chain: str
    previous: str | None
    provider: tuple[str, str]
    entity_set: str
    path: str
    origin: str
    relation: Relation
    columns: tuple[Column, ...]
    condition: str | None
    page_rows: int
    started: datetime
    accessed: datetime
    changes: list[str] = field(default_factory=list)
    successor: str | None = None
    was_asked: bool = False
    is_expired: bool = False

    @property
    def link(self) -> str:
        return f"{self.origin}{self.path}?deltaid={self.id}"

    @property
    def keys(self) -> list[str]:
        return [column.name for column in self.columns if column.key]

    def rows_of(self, relation: Relation) -> pl.DataFrame:
        numbers = pl.int_range(relation.row_count, dtype=pl.Int64, eager=True)
        frame = relation.rows(numbers, [column.name for column in relation.columns])
        if self.condition is not None:
            frame = parse_filter(self.condition, relation.columns).keep(frame)
        return frame.select([column.name for column in self.columns])


class Tracking:
    """All subscriptions of a sandbox. Called from worker threads."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, _Subscription] = {}

    def begin(
        self,
        exchange: Exchange,
        provider: tuple[str, str],
        entity_set: str,
        read: TrackedRead,
    ) -> str:
        """Start a subscription; its changes are those after the rows of *read*. Return its id."""
        # A public client has an id of this form, whose prefix says that no link must be taken apart.
        name, now = f"first-{uuid.uuid4()}", self._now()
        with self._lock:
            self._known[name] = _Subscription(
                id=name,
                chain=str(uuid.uuid4()),
                previous=None,
                provider=provider,
                entity_set=entity_set,
                path=exchange.path,
                origin=exchange.origin,
                relation=read.relation,
                columns=read.columns,
                condition=read.condition,
                page_rows=read.page_rows,
                started=now,
                accessed=now,
            )
        return name

    def link_member(self, exchange: Exchange, name: str) -> str:
        """Return the member ``@odata.deltaLink`` of a last page; empty where a misbehaviour leaves it out."""
        with self._lock:
            found = self._known.get(name)
        return "" if found is None else _link_member(exchange, found)

    def expire(self) -> None:
        """Let all subscriptions of now expire."""
        with self._lock:
            for one in self._known.values():
                one.is_expired = True

    # -- changes -----------------------------------------------------------------------------------------------------

    def page(self, exchange: Exchange, entity_set: str, relation: Relation) -> Answer:
        """Answer a delta link, or the link to a further page of it.

        Raises:
            Refusal: the subscription is unknown (404) or has expired (410).
        """
        given = {decode(name): decode(value) for name, value in split_query(exchange.query)}
        expired = exchange.take("delta_expired")
        with self._lock:
            found = self._known.get(given["deltaid"])
            if found is None or found.entity_set != entity_set or found.path != exchange.path:
                raise Refusal(404, "There is no subscription with this delta id.")
            if found.is_expired or expired:
                raise Refusal(expired["status"] if expired else 410, "The delta link has expired.")
            found.accessed = self._now()
            number = _page_number(given.get("$skiptoken"), found)
            if number == 0:
                self._walk(exchange, found, relation)
            return self._written(exchange, found, number)

    def _walk(self, exchange: Exchange, found: _Subscription, relation: Relation) -> None:
        """Fix the changes that the pages of this walk show, and start the subscription that follows."""
        before = self._known.get(found.previous or "")
        if before is not None:  # whoever asks for this link has the changes before it
            before.is_expired = True
        self._known.pop(found.successor or "", None)
        changes: list[str] = []
        if relation is not found.relation and not (found.was_asked and exchange.strikes("delta_forgets")):
            changes = _changes(exchange, found, relation)
        name, now = str(uuid.uuid4()), self._now()
        found.changes, found.successor, found.was_asked = changes, name, True
        self._known[name] = replace(
            found, id=name, previous=found.id, relation=relation, started=now, accessed=now, origin=exchange.origin,
            changes=[], successor=None, was_asked=False,
        )  # fmt: skip

    def _written(self, exchange: Exchange, found: _Subscription, number: int) -> Answer:
        size, total = found.page_rows, len(found.changes)
        last = max(-(-total // size) - 1, 0)
        shown, following = number, number + 1
        if exchange.strikes("delta_pages_swapped"):
            shown = number ^ 1 if number ^ 1 <= last else number
        if number and exchange.strikes("delta_page_repeated"):
            shown = number - 1
        if number < last and exchange.strikes("delta_page_missing"):
            shown, following = number + 1, number + 2
        rows = found.changes[shown * size : (shown + 1) * size]
        tail = [f'"@des.entitiesInPage":"{len(rows)}"']
        if following <= last:
            link = f"{exchange.origin}{found.path}?deltaid={found.id}&$skiptoken={following}"
            tail.append(f'"@odata.nextLink":{json.dumps(link)}')
        else:
            tail += filter(None, [_link_member(exchange, self._known[found.successor or ""])])
        context = json.dumps(f"$metadata#{found.entity_set}/$delta")
        body = f'{{"@odata.context":{context},"value":[{",".join(rows)}],{",".join(tail)}}}'
        return Answer(200, body.encode(), rows=len(rows))

    # -- administration ----------------------------------------------------------------------------------------------

    def administer(self, exchange: Exchange, wanted_key: str) -> Answer:
        """Answer ``Subscriptions``, one of them, or those of a provider.

        Raises:
            Refusal: 404 for an unknown subscription, 405.
        """
        keys = {name: value.replace("''", "'") for name, value in _KEY.findall(wanted_key)}
        with self._lock:
            known = [one for one in self._known.values() if not one.is_expired]
            wanted = [one for one in known if all(_described(one)[name] == value for name, value in keys.items())]
            if "SubscriptionID" not in keys:
                if exchange.method != "GET":
                    raise Refusal(405, f"The method {exchange.method} is not allowed.", headers={"Allow": "GET"})
                return _json(
                    {"@odata.context": "$metadata#Subscriptions", "value": [_described(one) for one in wanted]}
                )
            if not wanted:
                raise Refusal(404, f"The subscription {keys['SubscriptionID']!r} does not exist.")
            if exchange.method == "GET":
                return _json({"@odata.context": "$metadata#Subscriptions/$entity", **_described(wanted[0])})
            if exchange.method != "DELETE":
                raise Refusal(405, f"The method {exchange.method} is not allowed.", headers={"Allow": "GET, DELETE"})
            whole = ("deleteChain", "true") in split_query(exchange.query)
            for one in [other for other in known if whole and other.chain == wanted[0].chain] or wanted:
                del self._known[one.id]
        return Answer(204)


def _link_member(exchange: Exchange, one: _Subscription) -> str:
    if exchange.strikes("delta_link_missing"):
        return ""
    other = exchange.take("delta_link_cross_origin")
    link = f"{other['origin']}{one.path}?deltaid={one.id}" if other else one.link
    return f'"@odata.deltaLink":{json.dumps(link)}'


def _page_number(token: str | None, found: _Subscription) -> int:
    if token is None:
        return 0
    if not token.isdigit() or not found.was_asked:
        raise Refusal(400, "The $skiptoken is not valid.")
    return int(token)


def _described(one: _Subscription) -> dict[str, str]:
    """Return the fields of a subscription; SAP's sample writes null as the text "null"."""
    values = (
        *(*one.provider, one.id, one.entity_set, None, one.chain, one.previous, one.started.isoformat(), None),
        *(one.accessed.isoformat(), one.link),
    )
    return {name: "null" if value is None else value for name, value in zip(_FIELDS, values, strict=True)}


def _changes(exchange: Exchange, found: _Subscription, relation: Relation) -> list[str]:
    """Return the rows that changed and the ids of those that are gone, as JSON."""
    before, after, keys = found.rows_of(found.relation), found.rows_of(relation), found.keys
    numbered = [frame.with_columns(pl.int_range(pl.len()).over(keys).alias("\0record")) for frame in (before, after)]
    old, new = numbered
    differing = [_without(one, other, one.columns).select(keys) for one, other in ((new, old), (old, new))]
    touched = pl.concat(differing).unique(maintain_order=True)
    changed = after.join(touched, on=keys, how="semi", nulls_equal=True, maintain_order="left")
    gone = _without(touched, after, keys)
    name, trim = found.entity_set, relation.trims_decimals
    shown = [replace(column, left_out_if_null=column.left_out_if_null and column.key) for column in found.columns]
    rows = json_rows(changed, shown, trim=trim).to_list() if changed.height else []
    if rows and exchange.strikes("delta_rows_partial"):
        rows = _partial(rows, changed, before, keys)
    head = f'{{"@odata.context":"#{name}/$entity","@odata.id":'
    ids = [_id(name, keys, key) for key in changed.select(keys).rows()]
    texts = [f"{head}{json.dumps(one, ensure_ascii=False)},{row[1:]}" for one, row in zip(ids, rows, strict=True)]
    removed = [_id(name, keys, key) for key in gone.rows()]
    if exchange.strikes("delta_removed_form"):
        texts += [json.dumps({"@removed": {"reason": "deleted"}, "@id": one}, ensure_ascii=False) for one in removed]
    else:
        context = f"#{name}/$deletedEntity"
        texts += [json.dumps({"@odata.context": context, "id": one}, ensure_ascii=False) for one in removed]
    return texts


def _without(frame: pl.DataFrame, other: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    return frame.join(other, on=list(names), how="anti", nulls_equal=True, maintain_order="left")


def _partial(rows: Sequence[str], changed: pl.DataFrame, before: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """Leave out the measures that have not changed, as OData allows."""
    known = {tuple(row[key] for key in keys): row for row in before.to_dicts()}
    texts = []
    for text, row in zip(rows, changed.to_dicts(), strict=True):
        was = known.get(tuple(row[key] for key in keys), {})
        kept: dict[str, Any] = json.loads(text, parse_float=_Digits, parse_int=_Digits)
        same = [name for name in row if name not in keys and name in was and was[name] == row[name]]
        members = (f"{json.dumps(name)}:{_text(value)}" for name, value in kept.items() if name not in same)
        texts.append("{" + ",".join(members) + "}")
    return texts


class _Digits(str):
    __slots__ = ()


def _text(value: Any) -> str:
    return str(value) if isinstance(value, _Digits) else json.dumps(value, ensure_ascii=False)


def _id(entity_set: str, keys: Sequence[str], values: Iterable[Any]) -> str:
    pairs = zip(keys, values, strict=True)
    return f"{entity_set}({','.join(f'{name}={_literal(value)}' for name, value in pairs)})"


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _json(document: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(document, ensure_ascii=False).encode())


# -- scripted changes --------------------------------------------------------------------------------------------------


def changed_model(
    model: Model,
    rows: Iterable[Mapping[str, Any]] = (),
    deleted: Iterable[Mapping[str, Any]] = (),
    *,
    dimension: str | None = None,
    append: bool = False,
) -> Model:
    """Return the model with rows added, replaced by key (or appended as further records), and deleted.

    With *dimension* the rows are members. *deleted* are rows, of which the key columns count.

    Raises:
        ValueError: there is no such dimension, or a row has no such column, lacks a key, or is no fact in memory.
    """
    if dimension is not None and dimension not in model.dimensions:
        raise ValueError(f"{model.provider_id} has no dimension {dimension!r}; it has: {', '.join(model.dimensions)}.")
    relation = model.facts if dimension is None else model.dimensions[dimension].members
    if not isinstance(relation, FrameRelation):
        raise ValueError(f"The rows of {model.provider_id} are computed, and cannot be changed.")  # noqa: TRY004
    keys = [column.name for column in relation.columns if column.key]
    new, gone = _frame(relation, rows), _frame(relation, deleted).select(keys)
    replaced = gone if append else pl.concat([gone, new.select(keys)])
    # A row that is replaced keeps its place: a read whose pages follow each other sees no row twice.
    placed = relation.frame.with_row_index(_PLACE)
    places = (
        placed.select(_PLACE, *keys).unique(keys, keep="first") if not append else placed.select(_PLACE, *keys).clear()
    )
    arrived = new.with_row_index(_LAST).join(places, on=keys, how="left", nulls_equal=True)
    arrived = arrived.with_columns(pl.coalesce(_PLACE, pl.col(_LAST) + placed.height).alias(_PLACE))
    rows_in_order = pl.concat([_without(placed, replaced, keys), arrived.select(placed.columns)]).sort(_PLACE)
    frame = rows_in_order.select(relation.frame.columns)
    changed = frame_relation(relation.columns, frame, trims_decimals=relation.trims_decimals)
    if dimension is None:
        return replace(model, facts=changed)
    members = replace(model.dimensions[dimension], members=changed)
    return replace(model, dimensions={**model.dimensions, dimension: members})


def _frame(relation: FrameRelation, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    known = {column.name: column for column in relation.columns}
    given = [dict(row) for row in rows]
    for row in given:
        if unknown := row.keys() - known.keys():
            raise ValueError(f"There is no column {min(unknown)!r}; there is: {', '.join(known)}.")
        if missing := [name for name, column in known.items() if column.key and row.get(name) is None]:
            raise ValueError(f"A row has no {missing[0]!r}, which is part of the key.")
    columns = []
    for name, column in known.items():
        values = [row.get(name) for row in given]
        try:
            if column.edm_type == "Edm.Decimal":  # texts and floats as people write them, exactly
                values = [None if value is None else str(value) for value in values]
                columns.append(pl.Series(name, values, dtype=pl.String).cast(polars_type(column), strict=True))
            else:
                columns.append(pl.Series(name, values, dtype=polars_type(column)))
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise ValueError(f"A value of {name!r} is no {column.edm_type}: {error}") from error
    return pl.DataFrame(columns)
