"""What would be asked of SAC, and how much would come back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from sacnb.export.count import count_rows
from sacnb.export.job import Job
from sacnb.notebook.said import Said

if TYPE_CHECKING:
    from sacnb.model import Facts

__all__ = ["dry_run"]


def dry_run(facts: Facts) -> Said:
    """The requests that ``facts`` would begin with, readable, and the rows that SAC counts for them.

    Counting asks SAC, but for no rows. Raises what the session raises.
    """
    connection, query = facts.connection, facts.query
    job = Job(context=connection.context, tenant_url=connection.tenant_url, schema=facts.schema, query=query)
    (counted,) = count_rows(job, [query.where])
    if counted is not None and query.top is not None:
        counted = min(counted, query.top)
    urls = [
        piece.url(connection.tenant_url, facts.schema) for piece in query.split(facts.schema, connection.tenant_url)
    ]
    return Said(
        *(f"GET {unquote(url.removeprefix(connection.tenant_url))}" for url in urls),
        "SAC does not say how many rows." if counted is None else f"{counted:,} rows",
    )
