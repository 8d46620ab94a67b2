"""Read the facts of a model into a Dask frame, slice by slice on the workers.

    import sacnb.dask

    frame = sacnb.dask.read(sac.model("SALES").facts(where={"Version": "public.Actual"}), partitions=16)
    frame.groupby("Region").Amount.sum().compute()

The workers need sacnb, and the secret of the client in their own environment, profile or ``.env``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sacnb._arguments import flag
from sacnb._frames.convert import to_pandas
from sacnb._tenant.connector import facts_of, read_slice
from sacnb._tenant.facts import Facts
from sacnb.errors import MissingExtraError

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd

    from sacnb._slices.slice import Slice

__all__ = ["read"]


def read(
    facts: Facts | str,
    *,
    partitions: int | str | Sequence[str],
    at_once: int | None = None,
    decimals: bool = False,
    tenant_url: str | None = None,
    profile: str | None = None,
    **question: Any,
) -> dd.DataFrame:
    """Return the facts as a Dask frame, whose partitions the workers read from SAC when it is computed.

    The rows and types are those of ``fetch().pandas()``, with texts in Dask's own type; with *decimals* measures are
    exact Arrow decimals. Columns that Dask does not need are not requested, except dimensions. SAC is asked for counts
    now, and each worker compares its rows with them. The partition of a worker that is lost is read by another one.

    Args:
        facts: A query, or the id of a model; then *tenant_url* and *profile* are arguments of ``connect()``, and
            *question* those of ``Model.facts``.
        partitions: A number from 1 to 256, "auto" or the dimension to divide by, as in ``Facts.partitions``.
        at_once: The number of partitions that are read at the same time, which share ``SAC_STREAMS``; by default the
            threads of the current Dask client, or of this machine.
        decimals: Return exact decimals, not float64.
        tenant_url: The tenant, where *facts* is an id.
        profile: The profile, where *facts* is an id.
        question: The filter and columns, where *facts* is an id.

    Raises what ``Facts.partitions`` raises; MissingExtraError where the extra ``dask`` is not installed.
    """
    try:
        import dask.dataframe as dd
    except ImportError as error:
        raise MissingExtraError("dask", "sacnb.dask") from error
    decimals = flag("decimals", decimals)
    query = facts_of(facts, tenant_url=tenant_url, profile=profile, **question)
    slices = query.partitions(partitions, at_once=_threads() if at_once is None else at_once)
    meta = to_pandas(slices[0].schema.empty_table(), decimals=decimals)
    return dd.from_map(
        _read, slices, decimals=decimals, meta=meta, label=f"sacnb-{query.query.provider_id}", enforce_metadata=False
    )


def _read(piece: Slice, columns: list[str] | None = None, *, decimals: bool) -> pd.DataFrame:
    """Return the rows of a slice; Dask finds the argument *columns*, and fills in those that it needs."""
    narrow = piece if columns is None else piece.narrowed(columns)
    with read_slice(narrow) as reader:
        frame = to_pandas(reader.read_all(), decimals=decimals)
    return frame if columns is None else frame[columns]


def _threads() -> int:
    """Return the number of tasks that Dask runs at the same time."""
    from dask.system import CPU_COUNT

    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            threads: int = sum(distributed.default_client().nthreads().values())
        except ValueError:  # there is no client
            pass
        else:
            return max(1, threads)
    return int(CPU_COUNT)
