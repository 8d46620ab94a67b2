"""What a refresh would ask of SAC, and how much would come back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from sacnb.notebook.said import Said

if TYPE_CHECKING:
    from sacnb._tenant import Facts

__all__ = ["dry_run"]


def dry_run(facts: Facts) -> Said:
    """The first page of each request that ``facts`` needs, readable, and the rows that SAC counts for them.

    Counting asks SAC, but for no rows. Raises what ``count`` raises.
    """
    rows, most = facts.count(), facts.query.top
    if rows is not None and most is not None:
        rows = min(rows, most)
    tenant_url = facts.connection.tenant_url
    urls = [piece.url(tenant_url, facts.schema) for piece in facts.query.split(facts.schema, tenant_url)]
    return Said(
        *(f"GET {unquote(url.removeprefix(tenant_url))}" for url in urls),
        "SAC does not say how many rows there are." if rows is None else f"{rows:,} rows",
    )
