"""Write a page: the envelope, the link to the next page, and the misbehaviours of both."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from sacnb.sandbox.encoding import csv_text, json_rows
from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.misbehaviours import MISBEHAVIOURS
from sacnb.sandbox.query import Options, split_query
from sacnb.sandbox.relation import Cut
from sacnb.sandbox.schema import Column
from sacnb.sandbox.shapes import shape_body, shape_rows
from sacnb.sandbox.tracking import TRACKING_PARAMETER

__all__ = ["PAGE_MISBEHAVIOURS", "Draft", "Place", "csv_page", "json_page", "place_of"]

# Pages are made anew while one of these is on.
PAGE_MISBEHAVIOURS: Final = tuple(name for name, entry in MISBEHAVIOURS.items() if entry.within == "pages")
_OF_PAGES: Final = frozenset({"$skiptoken", "%24skiptoken", "package", TRACKING_PARAMETER})
_EMPTY: Final = "empty-"
_ENDLESS: Final = "endless-"
_NO_ROWS: Final = pl.Series("row", [], dtype=pl.String)


@dataclass(frozen=True, slots=True)
class Place:
    """The row (after ``$skip``) at which a page starts, and the note that a misbehaviour left in its cursor."""

    start: int
    note: str = ""

    @property
    def empty_form(self) -> str | None:
        """The form of the empty page behind the last one, or ``None`` for any other page."""
        return self.note.removeprefix(_EMPTY) if self.note.startswith(_EMPTY) else None


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a page, before it is written."""

    entity_set: str
    place: Place
    cut: Cut
    columns: tuple[Column, ...]
    trim: bool
    options: Options
    is_narrowed: bool = False
    has_links: bool = True
    tracked: str = ""
    started: float = field(default_factory=time.perf_counter)


def place_of(exchange: Exchange, options: Options, size: int) -> Place:
    """Return the place of the page, by the cursor or by ``package``, which counts from 1 (unconfirmed).

    Raises:
        Refusal: the cursor belongs to another path or other options, or has expired.
    """
    if options.cursor is None:
        return Place((options.package - 1) * size)
    try:
        start, _, note = base64.urlsafe_b64decode(options.cursor.encode()).decode().split(":")
        place = Place(int(start), note)
        given = _cursor(exchange, options, place)
    except ValueError:
        given = ""
    if given != options.cursor:
        raise Refusal(400, "The $skiptoken is not valid.")
    if place.note.isdigit():
        raise Refusal(int(place.note), "The link to the next page has expired; start the query again.")
    return place


def _cursor(exchange: Exchange, options: Options, place: Place) -> str:
    """Return an opaque cursor with a fingerprint of the query, so that it is refused for another query.

    The server keeps no state: the cursor leads to the same page at any time, also after a restart.
    """
    query = repr((exchange.path, replace(options, cursor=None, package=1)))
    mark = hashlib.blake2s(f"{place.start}:{place.note}:{query}".encode(), digest_size=8).hexdigest()
    return base64.urlsafe_b64encode(f"{place.start}:{mark}:{place.note}".encode()).decode()


def _next_place(exchange: Exchange, draft: Draft) -> Place | None:
    if draft.place.empty_form is not None:
        return None
    start = draft.cut.next_start
    if start is None:
        last = exchange.take("empty_last_page") if draft.cut.frame.height else None
        return Place(draft.place.start + draft.cut.frame.height, _EMPTY + last["form"]) if last else None
    if not draft.has_links:
        return None
    expired = exchange.take("next_link_expired")
    return Place(start, str(expired["status"]) if expired else "")


def _next_link(exchange: Exchange, draft: Draft, place: Place | None) -> str | None:
    """Return the link to a page, with the options of the request; absolute, as SAP's own clients need it."""
    if place is None:
        return None
    cursor = _cursor(exchange, draft.options, place)
    kept = [f"{k}={v}" for k, v in split_query(exchange.query) if k not in _OF_PAGES]
    kept += [f"{TRACKING_PARAMETER}={draft.tracked}"] if draft.tracked else []
    query = "&".join([*kept, f"$skiptoken={cursor.replace('=', '%3D')}"])
    loop = exchange.take("next_link_looping")
    if loop:
        query = exchange.query if loop["to"] == "self" else "&".join(kept)
    if exchange.strikes("next_link_service_relative"):
        return f"{draft.entity_set}?{query}"
    if exchange.strikes("next_link_root_relative"):
        return f"{exchange.path}?{query}"
    origin = exchange.origin
    if exchange.strikes("next_link_other_host"):
        origin = _other_host(origin)
    other = exchange.take("next_link_cross_origin")
    exchange.strikes("next_link_absolute")
    return f"{other['origin'] if other else origin}{exchange.path}?{query}"


def _other_host(origin: str) -> str:
    """Return the tenant's other host: with ``.api`` behind the tenant's name, or without it.

    A sandbox addressed as ``127.0.0.1`` answers as ``localhost``, and the other way round.
    """
    pairs = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}
    scheme, _, netloc = origin.partition("://")
    host, colon, port = netloc.partition(":")
    tenant, _, rest = host.partition(".")
    other = f"{tenant}.{rest[4:]}" if rest.startswith("api.") else f"{tenant}.api.{rest}"
    return f"{scheme}://{pairs.get(host, other)}{colon}{port}"


def json_page(exchange: Exchange, draft: Draft, *, delta_link: str = "") -> Answer:
    """Return the page as JSON, in the order that SAC documents: rows, counts, nextLink, at the end deltaLink."""
    if exchange.strikes("endless_pages"):
        turn = int(draft.place.note.removeprefix(_ENDLESS)) if draft.place.note.startswith(_ENDLESS) else 0
        place: Place | None = Place(draft.place.start, f"{_ENDLESS}{turn + 1}")
        rows, entities, shape = _NO_ROWS, 0, ""
    else:
        rows, entities, shape = _rows(exchange, draft)
        place = _next_place(exchange, draft)
    tail = _counts(exchange, draft, entities)
    head = f'{{"@odata.context":{json.dumps("$metadata#" + draft.entity_set)}'
    link = _link_member(exchange, _next_link(exchange, draft, place))
    if link and place is not None and exchange.strikes("next_link_first"):
        head = f"{head},{link}"
    elif link:
        tail.append(link)
    if place is None and delta_link:
        tail.append(delta_link)
    inside, after = _stream_error(exchange)
    value = _value(exchange, draft, rows, inside)
    if value is None:
        return Answer(204)
    tail = [after] if after else tail
    body = b"%s,%s}" % (head.encode(), b",".join([*value, *(part.encode() for part in tail)]))
    return Answer(200, shape_body(body, shape) if shape else body, rows=rows.len())


def _counts(exchange: Exchange, draft: Draft, entities: int) -> list[str]:
    elapsed_ms = int((time.perf_counter() - draft.started) * 1000)
    counts = [f'"@des.entitiesInPage":"{entities}"', f'"@des.processingTimeInMilliseconds":"{elapsed_ms}"']
    if not draft.options.count or exchange.strikes("count_left_out"):
        return counts
    if draft.is_narrowed and exchange.strikes("count_needs_all_columns"):
        return counts
    return [f'"@odata.count":{draft.cut.total}', *counts]


def _link_member(exchange: Exchange, link: str | None) -> str:
    if link is not None:
        return f'"@odata.nextLink":{json.dumps(link)}'
    empty = exchange.take("next_link_empty")
    return f'"@odata.nextLink":{json.dumps(empty["text"])}' if empty else ""


def _value(exchange: Exchange, draft: Draft, rows: pl.Series, inside: str) -> list[bytes] | None:
    """Return the member ``value``, or no member where it is missing, or ``None`` for a page without content."""
    form = "list"
    if not rows.len():
        empty = exchange.take("empty_page")
        form = draft.place.empty_form or (empty["form"] if empty else "list")
    match form:
        case "204":
            return None
        case "missing":
            return []
        case "null":
            return [b'"value":null']
    # Take bytes from polars: a Python string of a whole page would cost more than everything else here.
    parts = [rows.str.join(",").cast(pl.Binary).item()] if rows.len() else []
    if inside:
        parts.append(inside.encode())
    return [b'"value":[%s]' % b",".join(parts)]


def csv_page(exchange: Exchange, draft: Draft) -> Answer:
    """Return the page as CSV. SAC's link between CSV pages is not known; the sandbox sends ``Link`` (RFC 8288)."""
    body = csv_text(draft.cut.frame, draft.columns, trim=draft.trim, delimiter=draft.options.delimiter)
    link = _next_link(exchange, draft, _next_place(exchange, draft))
    headers = {} if link is None else {"Link": f'<{link}>; rel="next"'}
    return Answer(200, body, "text/csv;charset=utf-8", headers, rows=draft.cut.frame.height)


def _rows(exchange: Exchange, draft: Draft) -> tuple[pl.Series, int, str]:
    """Return the rows as JSON texts, the number of rows that the page declares, and the shape of the page."""
    frame, columns = draft.cut.frame, draft.columns
    if frame.height == 0 or draft.place.empty_form is not None:
        return _NO_ROWS, 0, ""
    has_measures = any(c.is_number and not c.key for c in columns)
    as_text = has_measures and exchange.strikes("numeric_strings")
    if has_measures and exchange.strikes("nulls_left_out"):
        columns = tuple(replace(c, left_out_if_null=True) if c.is_number and not c.key else c for c in columns)
    rows = json_rows(frame, columns, trim=draft.trim, as_text=as_text)
    surprise = exchange.take("unknown_column")
    if surprise:
        extra = f",{json.dumps(surprise['column'])}:1}}"
        rows = rows.str.head(-1) + extra
    repeated = exchange.take("rows_repeated")
    if repeated:
        rows = pl.concat([rows, rows.tail(int(repeated["rows"]))])
    rows = _without(rows, exchange.take("rows_missing"))
    wanted = exchange.take("page_shape")
    shape = str(wanted["shape"]) if wanted else ""
    if shape:
        rows = pl.Series("row", shape_rows(rows.to_list(), columns, shape), dtype=pl.String)
    return _without(rows, exchange.take("rows_lost")), rows.len(), shape


def _without(rows: pl.Series, lost: Mapping[str, Any] | None) -> pl.Series:
    return rows.head(max(rows.len() - int(lost["rows"]), 0)) if lost else rows


def _stream_error(exchange: Exchange) -> tuple[str, str]:
    """Return OData's error object for a failure after the first rows: (inside ``value``, after ``value``)."""
    options: Mapping[str, str] | None = exchange.take("stream_error")
    if options is None:
        return "", ""
    member = Refusal(500, "The extraction failed.").body().decode()[1:-1]
    return (f"{{{member}}}", "") if options["where"] == "inside" else ("", member)
