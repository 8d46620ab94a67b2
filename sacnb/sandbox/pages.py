"""A page as SAC sends it: the envelope, the link to the next one, and all that can be wrong with them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from sacnb.sandbox.encoding import csv_text, json_rows
from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.query import Options, split_query
from sacnb.sandbox.relation import Cut
from sacnb.sandbox.schema import Column

__all__ = ["PAGE_MISBEHAVIOURS", "Draft", "csv_page", "json_page", "start_of"]

PAGE_MISBEHAVIOURS: Final = (
    "next_link_service_relative", "next_link_root_relative", "next_link_absolute", "next_link_cross_origin",
    "next_link_looping", "next_link_expired", "next_link_first", "rows_repeated", "rows_missing", "numeric_strings",
    "unknown_column", "nulls_left_out", "stream_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """What goes onto a page, before it is written."""

    entity_set: str
    cut: Cut
    columns: tuple[Column, ...]
    trim: bool
    options: Options
    started: float = field(default_factory=time.perf_counter)


def start_of(exchange: Exchange, options: Options, size: int) -> int:
    """The row (after ``$skip``) at which the page starts: what the cursor says, or the package asked for.

    ``package`` counts from 1 (unconfirmed).

    Raises:
        Refusal: a cursor that the sandbox did not give for this path and these options, or one that has expired.
    """
    if options.cursor is None:
        return (options.package - 1) * size
    try:
        start, _, expired = base64.urlsafe_b64decode(options.cursor.encode()).decode().split(":")
        given = _cursor(exchange, options, int(start), int(expired))
    except ValueError:
        given = ""
        expired = "0"
    if given != options.cursor:
        raise Refusal(400, "The $skiptoken is not valid.")
    if expired != "0":
        raise Refusal(int(expired), "The link to the next page has expired; start the query again.")
    return int(start)


def _cursor(exchange: Exchange, options: Options, start: int, expired: int = 0) -> str:
    """An opaque cursor; it holds a fingerprint of the query, so that it cannot be used for another one.

    It says all there is to say: asked again, today or after a restart, it gives the same page.
    """
    query = repr((exchange.path, replace(options, cursor=None, package=1)))
    mark = hashlib.blake2s(f"{start}:{expired}:{query}".encode(), digest_size=8).hexdigest()
    return base64.urlsafe_b64encode(f"{start}:{mark}:{expired}".encode()).decode()


def _next_link(exchange: Exchange, draft: Draft) -> str | None:
    """The link to the next page, absolute (which is what SAP's own clients need), with the options of the request."""
    start = draft.cut.next_start
    if start is None:
        return None
    expired = exchange.take("next_link_expired")
    cursor = _cursor(exchange, draft.options, start, int(expired["status"]) if expired else 0)
    kept = [f"{k}={v}" for k, v in split_query(exchange.query) if k not in {"$skiptoken", "%24skiptoken", "package"}]
    query = "&".join([*kept, f"$skiptoken={cursor.replace('=', '%3D')}"])
    loop = exchange.take("next_link_looping")
    if loop:
        query = exchange.query if loop["to"] == "self" else "&".join(kept)
    if exchange.strikes("next_link_service_relative"):
        return f"{draft.entity_set}?{query}"
    if exchange.strikes("next_link_root_relative"):
        return f"{exchange.path}?{query}"
    other = exchange.take("next_link_cross_origin")
    exchange.strikes("next_link_absolute")
    return f"{other['origin'] if other else exchange.origin}{exchange.path}?{query}"


def json_page(exchange: Exchange, draft: Draft) -> Answer:
    """The page as JSON, in the order SAC documents: rows first, counts after them, nextLink at the end."""
    rows = _rows(exchange, draft)
    link = _next_link(exchange, draft)
    link_text = "" if link is None else f'"@odata.nextLink":{json.dumps(link)}'
    head = f'{{"@odata.context":{json.dumps("$metadata#" + draft.entity_set)}'
    if link_text and exchange.strikes("next_link_first"):
        head, link_text = f"{head},{link_text}", ""
    inside, after = _stream_error(exchange)
    tail = [f'"@odata.count":{draft.cut.total}'] if draft.options.count else []
    elapsed_ms = int((time.perf_counter() - draft.started) * 1000)
    tail += [f'"@des.entitiesInPage":"{rows.len()}"', f'"@des.processingTimeInMilliseconds":"{elapsed_ms}"']
    if link_text:
        tail.append(link_text)
    if after:
        tail = [after]
    # As bytes from polars: a Python string of a whole page would cost more than all the rest.
    parts = [rows.str.join(",").cast(pl.Binary).item()] if rows.len() else []
    if inside:
        parts.append(inside.encode())
    body = b'%s,"value":[%s],%s}' % (head.encode(), b",".join(parts), ",".join(tail).encode())
    return Answer(200, body, rows=rows.len())


def csv_page(exchange: Exchange, draft: Draft) -> Answer:
    """The page as CSV. How SAC links CSV pages is not known; here it is a ``Link`` header (RFC 8288)."""
    body = csv_text(draft.cut.frame, draft.columns, trim=draft.trim, delimiter=draft.options.delimiter)
    link = _next_link(exchange, draft)
    headers = {} if link is None else {"Link": f'<{link}>; rel="next"'}
    return Answer(200, body, "text/csv;charset=utf-8", headers, rows=draft.cut.frame.height)


def _rows(exchange: Exchange, draft: Draft) -> pl.Series:
    frame, columns = draft.cut.frame, draft.columns
    if frame.height == 0:
        return pl.Series("row", [], dtype=pl.String)
    has_numbers = any(c.is_number and not c.key for c in columns)
    as_text = has_numbers and exchange.strikes("numeric_strings")
    rows = json_rows(frame, columns, trim=draft.trim, as_text=as_text)
    if has_numbers and exchange.strikes("nulls_left_out"):
        for column in (c for c in columns if c.is_number and not c.key):
            rows = rows.str.replace("," + json.dumps(column.name, ensure_ascii=False) + ":null", "", literal=True)
    surprise = exchange.take("unknown_column")
    if surprise:
        extra = f",{json.dumps(surprise['column'])}:1}}"
        rows = rows.str.head(-1) + extra
    repeated = exchange.take("rows_repeated")
    if repeated:
        rows = pl.concat([rows, rows.tail(int(repeated["rows"]))])
    missing = exchange.take("rows_missing")
    return rows.head(max(rows.len() - int(missing["rows"]), 0)) if missing else rows


def _stream_error(exchange: Exchange) -> tuple[str, str]:
    """An error object as OData sends it when a failure comes after the first rows: (inside value, after value)."""
    options: Mapping[str, str] | None = exchange.take("stream_error")
    if options is None:
        return "", ""
    member = Refusal(500, "The extraction failed.").body().decode()[1:-1]
    return (f"{{{member}}}", "") if options["where"] == "inside" else ("", member)
