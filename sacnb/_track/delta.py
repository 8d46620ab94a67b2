"""Read what a delta link leads to: rows that changed, whole, and the keys of rows that were deleted.

SAP's sample mixes both in ``value``: a changed row has ``"@odata.context": "#FactData/$entity"`` and all columns, a
deleted one ``"#FactData/$deletedEntity"`` and an ``id`` that holds its key. The form of OData 4.01 (``@removed``) is
read too. Links are followed as they come; only their origin is judged. Whatever else comes is a ``Doubt``, which costs
a full read and nothing more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa

from sacnb._frames.convert import arrow_schema, concat
from sacnb._frames.decode import decode_rows
from sacnb._http import SeenLinks
from sacnb._odata.envelope import DECODER
from sacnb._odata.page import Page, cut_page, next_page, resolved_link
from sacnb._odata.schema import NUMERIC_TYPES, Column
from sacnb._pull.plan import Job, link_of
from sacnb.errors import BadAnswer, RequestError

if TYPE_CHECKING:
    from sacnb._wire.message import Answer

__all__ = ["Delta", "Doubt", "key_in_id", "read_delta", "usable_link"]

_OPERATION: Final = "read changes"
# The answers for a link that SAC has forgotten are not documented; these count as that.
_GONE: Final = frozenset({400, 404, 410})
_CONTEXTS: Final = frozenset({"@odata.context", "@context"})
_IDS: Final = ("@odata.id", "@id", "id")
_REMOVED: Final = frozenset({"@removed", "@odata.removed"})
_PAIR: Final = re.compile(r"(?:([^\s=,'()]+)=)?('(?:[^']|'')*'|[^',()]+)(?:,|\Z)")


class Doubt(Exception):
    """Changes that cannot be merged with certainty; the text says why, and all rows have to be read."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Changes since a link was made.

    ``deleted`` are keys by column; each has one spelling, or two where the id may be percent-encoded. ``left_out`` are
    the measures that a changed row, by its number, does not have. ``link`` leads to the changes after these.
    """

    changed: pa.Table
    deleted: tuple[tuple[pa.Table, ...], ...] = ()
    left_out: Mapping[int, frozenset[str]] = field(default_factory=dict)
    link: str = ""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing changed."""
        return not len(self.changed) and not self.deleted


def usable_link(link: str, found_at: str, tenant_url: str) -> str:
    """Return a delta link in the form in which links are kept: without the tenant. Raises BadAnswer for a foreign one.

    It may lead to the page that it was found on: SAC need not give out another one.
    """
    return link_of(resolved_link(found_at, link, tenant_url))


def read_delta(job: Job, link: str) -> Delta:
    """Read all pages behind a delta link.

    Raises:
        Doubt: The link has expired, or an answer is not one of changes, or contradicts itself.
        BadAnswer: An answer was cut short on its way, each time.
        Cancelled: The user stopped the job.
        SacError: The session's errors.
    """
    try:
        return _walk(job, link)
    except BadAnswer as error:
        if error.truncated:
            raise
        raise Doubt(f"their pages cannot be trusted ({error.message})") from error


def _walk(job: Job, link: str) -> Delta:
    columns = job.columns
    changed: list[pa.Table] = [pa.Table.from_batches([], arrow_schema(columns))]
    deleted: list[tuple[pa.Table, ...]] = []
    left_out: dict[int, frozenset[str]] = {}
    rows = 0
    url: str | None = job.tenant_url + link
    seen, empty = SeenLinks(), 0
    while url is not None:
        seen.add(url)
        page, found, found_at = _page(job, url)
        empty = 0 if found else empty + 1
        if empty >= job.context.session.limits.empty_pages:
            raise Doubt(f"{empty:,} of their pages came one after the other without a row (SAC_MAX_EMPTY_PAGES)")
        texts: list[str] = []
        for text, row in found:
            if _is_deleted(row, job.query.entity_set):
                deleted.append(_deleted(row, job.query.entity_set, columns))
                continue
            missing = frozenset(one.name for one in columns if one.role == "measure" and one.name not in row)
            if missing:
                left_out[rows + len(texts)] = missing
            texts.append(text)
        if texts:
            changed.append(decode_rows(f"[{','.join(texts)}]".encode(), columns))
            rows += len(texts)
        url = next_page(page, found_at, origin=job.tenant_url, seen=seen)
        if url is None and page.delta_link is None:
            raise Doubt("the last page of changes has no link to the changes after it")
    following = usable_link(page.delta_link or "", found_at, job.tenant_url)
    return Delta(concat(changed), tuple(deleted), left_out, following)


def _page(job: Job, url: str) -> tuple[Page, list[tuple[str, dict[str, Any]]], str]:
    """Return a page, its rows, and the URL that it came from."""
    cut: list[tuple[Page, list[tuple[str, dict[str, Any]]]]] = []

    def check(answer: Answer) -> None:
        # Inside the retry loop: a page that is no JSON, or lost rows on its way, is asked for again.
        page = cut_page(answer.body, status=answer.status)
        rows = list(_rows(page))
        if page.rows_in_page not in {None, len(rows)}:
            raise BadAnswer(
                f"A page of changes holds {len(rows):,} rows, and says itself that it has {page.rows_in_page:,}.",
                truncated=True,
            )
        cut[:] = [(page, rows)]

    try:
        answer = job.context.session.fetch(
            "GET", url, operation=_OPERATION, check=check, cancelled=job.cancelled, is_bulk=True
        )
    except RequestError as error:
        if error.status in _GONE:
            raise Doubt(f"the link to them was answered {error.status}, as one that has expired") from error
        raise
    return *cut.pop(), answer.url


def _rows(page: Page) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the text of each row, which keeps all digits of its numbers, and its members."""
    try:
        text = page.rows.decode()
        at = _after_blanks(text, 1)
        while text[at] != "]":
            row, end = DECODER.raw_decode(text, at)
            if not isinstance(row, dict):
                raise BadAnswer(f"A row of the changes is {row!r:.80} where an object was expected.")
            yield text[at:end], row
            at = _after_blanks(text, end)
            if text[at] == ",":
                at = _after_blanks(text, at + 1)
            elif text[at] != "]":
                raise ValueError(f"a comma was expected at {at}")
    except (ValueError, IndexError, RecursionError, InvalidOperation) as error:
        raise BadAnswer(f"The rows of a page of changes are not valid JSON: {error}.", truncated=True) from error


def _after_blanks(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _is_deleted(row: Mapping[str, Any], entity_set: str) -> bool:
    """Return whether a row stands for one that is gone. Raises Doubt for one that is neither that nor a whole row."""
    if _REMOVED & row.keys():
        return True
    context = next((str(row[name]) for name in row if name.casefold() in _CONTEXTS), f"#{entity_set}/$entity")
    if context.endswith("/$deletedEntity"):
        return True
    if not context.endswith((f"#{entity_set}/$entity", f"#{entity_set}")):
        raise Doubt(f"a row of the changes is of the kind {context!r:.80}")
    return False


def _deleted(row: Mapping[str, Any], entity_set: str, columns: Sequence[Column]) -> tuple[pa.Table, ...]:
    """Return the key of a deleted row as a table of one row; two of them where its id can be read in two ways."""
    keys = [column for column in columns if column.role == "dimension"]
    if all(key.name in row for key in keys):
        return (_key_table({key.name: row[key.name] for key in keys}, keys),)
    text = next((row[name] for name in _IDS if isinstance(row.get(name), str)), "")
    # Whether SAC percent-encodes ids is not known; a member may hold a percent sign itself.
    found = [key_in_id(text, entity_set, keys)]
    if "%" in text:
        found.append(key_in_id(unquote(text), entity_set, keys))
    return tuple(_key_table(one, keys) for number, one in enumerate(found) if one not in found[:number])


def key_in_id(text: str, entity_set: str, keys: Sequence[Column]) -> dict[str, Any]:
    """Return the key in ``FactData(Version='public.Actual',Date='202401')``, which may stand at the end of a URL.

    Raises:
        Doubt: The text is something else, or does not name every dimension once.
    """
    names = [key.name for key in keys]
    before, opening, inside = text.partition(f"{entity_set}(")
    values: dict[str, Any] = {}
    at = 0
    if opening and inside.endswith(")") and (not before or before.endswith("/")):
        inside = inside[:-1]
        while (pair := _PAIR.match(inside, at)) and at < len(inside):
            name = pair[1] if pair[1] is not None else names[0] if len(names) == 1 else ""
            name = name if name in names else unquote(name)
            if name in values:
                break
            values[name] = _value(pair[2])
            at = pair.end()
        if at == len(inside) and not inside.endswith(",") and values.keys() == set(names):
            return values
    raise Doubt(f"the id of a deleted row cannot be read: {text!r:.200}")


def _value(literal: str) -> str | None:
    if literal.startswith("'"):
        return literal[1:-1].replace("''", "'")
    return None if literal == "null" else literal


def _key_table(values: Mapping[str, Any], keys: Sequence[Column]) -> pa.Table:
    members = []
    for key in keys:
        value = values[key.name]
        is_bare = value is None or isinstance(value, bool) or key.edm_type in {*NUMERIC_TYPES, "Edm.Boolean"}
        shown = str(value) if is_bare and isinstance(value, str) else json.dumps(value if is_bare else str(value))
        members.append(f"{json.dumps(key.name)}:{shown}")
    try:
        return decode_rows(f"[{{{','.join(members)}}}]".encode(), keys)
    except BadAnswer as error:
        raise Doubt(f"the key of a deleted row does not fit its columns: {error}") from error
