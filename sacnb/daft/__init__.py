"""Read the facts of a model into a Daft frame, slice by slice.

    import sacnb.daft

    frame = sacnb.daft.read(sac.model("SALES").facts(where={"Version": "public.Actual"}), partitions=16)
    frame.where(frame["Region"] == "EMEA").sum("Amount").collect()

Processes of Daft's own need sacnb, and the secret of the client in their environment, profile or ``.env``. Daft calls
its interface for data sources early and subject to change; sacnb is tested with the release that its lock file names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sacnb._pull.partition import checked_partitions
from sacnb._tenant.connector import facts_of
from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    import daft

    from sacnb._tenant.facts import Facts

__all__ = ["read"]


def read(
    facts: Facts | str,
    *,
    partitions: int | str | Sequence[str],
    at_once: int | None = None,
    tenant_url: str | None = None,
    profile: str | None = None,
    **question: Any,
) -> daft.DataFrame:
    """Return the facts as a Daft frame, whose tasks read from SAC when it is collected.

    Rows and exact decimals are those of ``fetch().arrow()``. Daft's filters are sent to SAC as far as that loses no
    row, and measures that it does not need are not requested.

    Args:
        facts: A query, or the id of a model; then *tenant_url* and *profile* are arguments of ``connect()``, and
            *question* those of ``Model.facts``.
        partitions: A number from 1 to 256, "auto" or the dimension to divide by, as in ``Facts.partitions``.
        at_once: The number of slices that are read at the same time, which share ``SAC_STREAMS``; by default all.
        tenant_url: The tenant, where *facts* is an id.
        profile: The profile, where *facts* is an id.
        question: The filter and columns, where *facts* is an id.

    Raises what ``Model.facts`` raises; MissingExtraError where the extra ``daft`` is not installed. Collecting raises
    what ``Facts.partitions`` and ``read_slice`` raise.
    """
    try:
        from sacnb.daft.source import FactsSource
    except ImportError as error:
        raise MissingExtraError("daft", "sacnb.daft") from error
    checked_partitions(partitions)  # now, and not when the frame is collected
    query = facts_of(facts, tenant_url=tenant_url, profile=profile, **question)
    return FactsSource(query, partitions, at_once).read()
