"""Read the rows of a slice as Arrow record batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from sacnb._endpoints import FACT_DATA_AGGREGATION
from sacnb._pull.collect import summed
from sacnb._pull.plan import Job, Plan, segments_of
from sacnb._pull.stream import BatchStream
from sacnb._pull.totals import has_single_records
from sacnb.errors import BadAnswer, RepeatedKeysWarning, warn_user

if TYPE_CHECKING:
    from sacnb._pull.plan import Records
    from sacnb._slices.slice import Slice
    from sacnb._wire.context import DispatchContext

__all__ = ["read"]


def read(piece: Slice, context: DispatchContext, tenant_url: str) -> pa.RecordBatchReader:
    """Return the rows of a slice, page by page; nothing is requested before the first batch is read.

    Each slice holds whole keys, so records are added up in each by itself.

    Reading raises:
        BadAnswer: The rows are not as many as SAC counted when the slice was made; or a sum has too many digits.
        SacError: What a stream raises.
    """
    job = Job(
        context=context,
        tenant_url=tenant_url,
        schema=piece.model_schema,
        query=piece.query,
        check_count=piece.check_count,
        clock=context.session.clock,
        repeated="keep" if piece.repeated == "sum" else piece.repeated,
        share=piece.share,
    )
    adds_up = piece.repeated == "sum" and piece.query.entity_set != FACT_DATA_AGGREGATION
    return pa.RecordBatchReader.from_batches(piece.schema, _batches(piece, job, adds_up=adds_up))


def _batches(piece: Slice, job: Job, *, adds_up: bool) -> Iterator[pa.RecordBatch]:
    def plan(job: Job) -> Plan:
        segments = segments_of(job.query, job.schema, job.tenant_url, expected_rows=piece.expected_rows)
        return Plan(segments, expected_rows=piece.expected_rows)

    def note(records: Records) -> None:
        warn_user(records.notice(job.label, "sum"), RepeatedKeysWarning)

    with BatchStream(job, plan) as stream:
        rows: Iterable[pa.RecordBatch] = stream
        if adds_up:
            rows = summed(stream, piece.columns, lambda: has_single_records(job), note)
        for batch in rows:
            yield from _cast(batch, piece)


def _cast(batch: pa.RecordBatch, piece: Slice) -> list[pa.RecordBatch]:
    """Return the rows in the promised types; nothing is rounded to fit."""
    try:
        return pa.Table.from_batches([batch]).cast(piece.schema).to_batches()  # type: ignore[no-any-return]
    except pa.ArrowInvalid as error:
        raise BadAnswer(
            f"A sum in {piece!r} has more digits than $metadata declares, and its reader has one schema: {error}",
            hint="Use facts(...).fetch(), which widens the column; or facts(..., repeated='keep').",
        ) from error
