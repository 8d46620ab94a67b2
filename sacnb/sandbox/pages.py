"""Write a page: the envelope, the link to the next page, the misbehaviours of both, and other shapes of its JSON.

A shape is one of ``PAGE_SHAPES``. "Once" is the last row of each page. "The last dimension" is the last text column of
the key, "the first measure" the first column of numbers outside the key. A number with more digits is padded to nine
decimals, and a ``1`` follows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

import polars as pl

from sacnb.sandbox.encoding import csv_text, json_rows
from sacnb.sandbox.exchange import Answer, Exchange, Refusal
from sacnb.sandbox.misbehaviours import MISBEHAVIOURS
from sacnb.sandbox.query import Options, split_query
from sacnb.sandbox.relation import Cut
from sacnb.sandbox.schema import Column
from sacnb.sandbox.tracking import TRACKING_PARAMETER

__all__ = [
    "PAGE_MISBEHAVIOURS",
    "SWAPPED",
    "Draft",
    "Place",
    "csv_page",
    "json_page",
    "place_of",
    "shape_body",
    "shape_rows",
]

# No page is cached while one of these is on.
PAGE_MISBEHAVIOURS: Final = tuple(name for name, entry in MISBEHAVIOURS.items() if entry.within == "pages")
_OF_PAGES: Final = frozenset({"$skiptoken", "%24skiptoken", "package", TRACKING_PARAMETER})
# The note in the link to a page that has the rows of the page before it, which had those of this one.
SWAPPED: Final = "swapped"
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
    next_note: str = ""
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
    return Place(start, str(expired["status"]) if expired else draft.next_note)


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


# -- shapes ----------------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
_EXTRA: Final = ',"@odata.id":"FactData(1)","Foo":[1,{"a":2}]}'
_DEPTH: Final = 10_000
_NULL_KEY_EVERY: Final = 100


class _Number(str):
    """A number of JSON, as its text."""

    __slots__ = ()


_Cell = str | bool | None


def shape_rows(rows: Sequence[str], columns: Sequence[Column], shape: str) -> list[str]:
    """Return the JSON objects of a page in this shape; a shape of the whole body leaves them as they are."""
    if not rows:
        return []
    if shape == "extra_members":
        return [row[:-1] + _EXTRA for row in rows]
    if shape == "deep_value":
        return [f'{rows[0][:-1]},"Deep":{"[" * _DEPTH}{"]" * _DEPTH}}}', *rows[1:]]
    change = _CHANGES.get(shape)
    if change is None:
        return list(rows)
    column_of, step, edit = change
    name = column_of(columns)
    if name is None:
        return list(rows)
    chosen = {len(rows) - 1} if step is None else set(range(0, len(rows), step))
    return [_edited(row, name, edit) if number in chosen else row for number, row in enumerate(rows)]


def shape_body(body: bytes, shape: str) -> bytes:
    """Return the body of a page in this shape; a shape of rows leaves it as it is."""
    text = body.decode()
    match shape:
        case "blanks" | "json_dumps":
            after = {",": ", "} if shape == "blanks" else {",": ", ", ":": ": "}
            text = "".join(after.get(token, token) for token in _TOKEN.findall(text))
        case "pretty":
            text = "".join(_indented(text))
        case "escaped":
            text = re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], text)
    return text.encode()


def _indented(text: str) -> Iterator[str]:
    depth = 0
    for part in _TOKEN.findall(text):
        if part in {"{", "["}:
            depth += 1
            yield f"{part}\n{'  ' * depth}"
        elif part in {"}", "]"}:
            depth -= 1
            yield f"\n{'  ' * depth}{part}"
        elif part == ",":
            yield f",\n{'  ' * depth}"
        else:
            yield ": " if part == ":" else part


def _edited(row: str, name: str, edit: Callable[[_Cell], str | None]) -> str:
    pairs: list[tuple[str, _Cell]] = json.loads(row, parse_float=_Number, parse_int=_Number, object_pairs_hook=list)
    parts = []
    for member, value in pairs:
        text = edit(value) if member == name else _written(value)
        if text is not None:
            parts.append(f"{json.dumps(member, ensure_ascii=False)}:{text}")
    return "{" + ",".join(parts) + "}"


def _written(value: _Cell) -> str:
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _last_dimension(columns: Sequence[Column]) -> str | None:
    return next((c.name for c in reversed(columns) if c.key and c.edm_type == "Edm.String"), None)


def _first_measure(columns: Sequence[Column]) -> str | None:
    return next((c.name for c in columns if c.is_number and not c.key), None)


def _exponent(value: _Cell) -> str:
    return f"{Decimal(value):E}" if isinstance(value, _Number) else _written(value)


def _quoted(value: _Cell) -> str:
    return f'"{value}"' if isinstance(value, _Number) else _written(value)


def _more_digits(value: _Cell) -> str:
    return f"{Decimal(value):.9f}1" if isinstance(value, _Number) else _written(value)


# For each shape of rows: the column it changes, every n-th row (None: the last one), and the new text (None: left out).
_CHANGES: Final[
    dict[
        str,
        tuple[Callable[[Sequence[Column]], str | None], int | None, Callable[[_Cell], str | None]],
    ]
] = {
    "exponents": (_first_measure, 1, _exponent),
    "exponent_once": (_first_measure, None, _exponent),
    "number_text_once": (_first_measure, None, _quoted),
    "more_digits": (_first_measure, 1, _more_digits),
    "more_digits_once": (_first_measure, None, _more_digits),
    "null_measures": (_first_measure, 3, lambda _: "null"),
    "measures_left_out": (_first_measure, 2, lambda _: None),
    "null_key_once": (_last_dimension, None, lambda _: "null"),
    "null_keys": (_last_dimension, _NULL_KEY_EVERY, lambda _: "null"),
    "text_number_once": (_last_dimension, None, lambda _: "12"),
    "lone_surrogate_once": (_last_dimension, None, lambda _: '"\\ud83d"'),
    "row_separators": (_last_dimension, 1, lambda value: json.dumps(f"}},{{{value}", ensure_ascii=False)),
}
