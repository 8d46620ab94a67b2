"""Read SAC's logs, which come as pages of CSV: activities of users, and the statistics of its system models.

Paths and parameters are those of SAP's guide. It does not name the columns, so they are read as SAC calls them, and as
texts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sacnb._odata.envelope import first_byte, refuse_foreign
from sacnb.errors import BadAnswer, QueryError

if TYPE_CHECKING:
    import polars as pl

    from sacnb._wire.session import SacSession

__all__ = ["MOST_ROWS", "STATISTICS", "moment", "read_log"]

# Of one page (SAP's guide), and what SAC sends unasked.
MOST_ROWS: Final = 100_000
STATISTICS: Final = (
    *("backend", "client", "dataManagement", "error", "license", "licenseConcurrent", "planningDataAction"),
    *("planningVersion", "resource", "resourceRecentAccess", "user", "userAdoption", "userLive", "userSession"),
)


def read_log(
    session: SacSession, path: str, what: str, *, limit: int | None, params: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return all rows of a log, the oldest first, or with *limit* the last ones.

    Raises RequestError, and BadAnswer for pages that do not fit together.
    """
    import polars as pl

    pages: list[pl.DataFrame] = []
    # The log grows at its end, so in this order a page that was read does not change.
    order = {"sortKey": "timestamp", "sortDescending": "FALSE" if limit is None else "TRUE"}
    size = MOST_ROWS if limit is None else limit
    while not pages or pages[-1].height >= size:
        asked = {**order, **(params or {}), "pageSize": str(size), "pageIndex": str(len(pages) + 1)}
        # JSON is refused with 406 (reported from a live tenant).
        answer = session.fetch(
            "GET", path, operation=f"read {what}", params=asked, accept="text/csv", expect="any", is_bulk=True
        )
        page = _frame(answer.body, what)
        if page.height > size or (pages and page.height and page.columns != pages[0].columns):
            raise BadAnswer(
                f"The pages of {what} do not fit together: page {len(pages) + 1} has {page.height:,} rows of "
                f"{', '.join(page.columns)}; asked for {size:,}.",
                hint="Run it again.",
            )
        pages.append(page)
        if limit is not None:
            return page.reverse()
    return pl.concat([page for page in pages if page.height] or pages[:1])


def moment(argument: str, value: object) -> str:
    """Return a time as SAC takes it. Raises QueryError for one without a zone, and for anything else."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise QueryError(f"{argument} must be a datetime with a zone, got {value!r}.", hint="datetime.now(UTC)")
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _frame(body: bytes, what: str) -> pl.DataFrame:
    import polars as pl

    if not body.strip():
        return pl.DataFrame()
    if first_byte(body) in {b"<", b"{", b"["}:  # a page for a login, or an error, read as a heading without rows
        refuse_foreign(body, what, "CSV")
    try:
        return pl.read_csv(io.BytesIO(body), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise BadAnswer(f"The answer to {what} is not CSV: {error}.") from None
