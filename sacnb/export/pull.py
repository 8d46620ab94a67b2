"""Pull a query to the end: every page of every part, in order, each row once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from sacnb.errors import BadAnswer, Cancelled, RowCountWarning
from sacnb.frames.convert import arrow_schema, concat
from sacnb.frames.decode import decode_rows
from sacnb.odata.pages import Page, cut_page, next_url

if TYPE_CHECKING:
    from sacnb.odata.metadata import Column, Schema
    from sacnb.odata.query import Query
    from sacnb.wire.context import DispatchContext
    from sacnb.wire.session import Answer

_OPERATION: Final = "pull facts"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is: rows and pages so far, the rows SAC announced (if it did), and the seconds since it began."""

    rows: int
    pages: int
    expected_rows: int | None
    elapsed_s: float


ProgressListener = Callable[[Progress], None]


def pull(
    context: DispatchContext,
    tenant_url: str,
    schema: Schema,
    query: Query,
    *,
    check_count: bool = True,
    progress: ProgressListener | None = None,
    cancelled: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> pa.Table:
    """Every row of ``query`` as one Arrow table, columns typed by ``schema`` in the order of the query's columns.

    Raises BadAnswer where rows are repeated, or where their number is not the one SAC announced (with
    ``check_count=False`` the latter is a RowCountWarning: for a model that others write to while it is read);
    Cancelled once ``cancelled()`` is true; and what the session raises.
    """
    columns = query.columns(schema)
    meter = _Meter(progress, clock)
    tables = []
    for part in query.split(schema, tenant_url):
        announced, received = None, 0
        for page in _pages(context, tenant_url, part.url(tenant_url, schema), cancelled):
            if announced is None and page.count is not None:
                announced = page.count if part.top is None else min(page.count, part.top)
                meter.expect(announced)
            table = decode_rows(page.rows, columns)
            received += table.num_rows
            context.telemetry.on_rows(table.num_rows)
            meter.add(table.num_rows)
            tables.append(table)
        _compare(query, announced, received, raises=check_count)
        if query.top is not None and meter.rows >= query.top:
            break  # Several parts were each asked for that many rows; together they may have more.
    table = concat(tables) if tables else arrow_schema(columns).empty_table()
    if query.top is not None:
        table = table.slice(0, query.top)
    _refuse_repeated_rows(table, query, columns)
    return table


class _Meter:
    """Adds up what arrived and tells the listener."""

    def __init__(self, listener: ProgressListener | None, clock: Callable[[], float]) -> None:
        self._listener = listener
        self._clock = clock
        self._began = clock()
        self.rows = self._pages = 0
        self._expected: int | None = None

    def expect(self, rows: int) -> None:
        self._expected = (self._expected or 0) + rows

    def add(self, rows: int) -> None:
        self.rows += rows
        self._pages += 1
        if self._listener is not None:
            self._listener(Progress(self.rows, self._pages, self._expected, self._clock() - self._began))


def _pages(
    context: DispatchContext, tenant_url: str, first_url: str, cancelled: Callable[[], bool] | None
) -> Iterator[Page]:
    """The pages of one request, following each page's own link: a loop, since a model may have thousands of pages."""
    url: str | None = first_url
    seen = {first_url}
    while url is not None:
        if cancelled is not None and cancelled():
            raise Cancelled("The pull was cancelled.", hint="The last good result is as it was.")
        cut: list[Page] = []

        def check(answer: Answer, cut: list[Page] = cut) -> None:
            # Inside the retry loop: a page that was cut short on its way is asked for again.
            cut[:] = [cut_page(answer.body)]

        answer = context.session.fetch("GET", url, operation=_OPERATION, check=check, cancelled=cancelled)
        page = cut[0]
        url = None if page.next_link is None else next_url(answer.url, page.next_link, origin=tenant_url, seen=seen)
        if url is not None:
            seen.add(url)
        yield page


def _compare(query: Query, announced: int | None, received: int, *, raises: bool) -> None:
    if announced is None or announced == received:
        return
    problem = (
        f"SAC announced {announced:,} rows of {query.provider_id}/{query.entity_set} and sent {received:,}; "
        "rows are missing or repeated."
    )
    if raises:
        raise BadAnswer(
            problem, hint="Pull again; if the model is being written to, use facts(..., check_count=False)."
        )
    warnings.warn(problem, RowCountWarning, stacklevel=2)


def _refuse_repeated_rows(table: pa.Table, query: Query, columns: tuple[Column, ...]) -> None:
    """A row's dimensions are its key; SAP reports repeats where pages have no order (KBA 3517434, import side)."""
    keys = [column.name for column in columns if column.role == "dimension"]
    if not keys or table.num_rows < 2:
        return
    import polars as pl

    frame = pl.from_arrow(table.select(keys))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table with columns never becomes a Series
    repeated = frame.is_duplicated()
    if repeated.any():
        first = frame.row(repeated.arg_max() or 0, named=True)
        raise BadAnswer(
            f"{repeated.sum():,} rows of {query.provider_id}/{query.entity_set} share their key with another row, "
            f"the first: {first}.",
            hint="Pull again; nothing of this answer was kept.",
        )
